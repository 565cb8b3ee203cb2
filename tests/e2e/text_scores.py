"""What a scored text's record says of its tokens, against windows of other lengths: nothing here is computed but differences of sums."""
import json
import os
import random

import harness as h
from harness import expect

WORDS = json.loads(h.read(h.TINY_GEMMA, "words.json"))
CONFIG = f"""\
model: {{path: {h.TINY_GEMMA}, dtype: fp32}}
parallel: {{threads: 1, batch_tokens: 100}}
output: out
sweep:
  context: [32, 64, 128, 300]
tasks:
  - {{name: perplexity, text: text.txt, samples: 3}}
  - {{name: perplexity, label: strided, text: text.txt, samples: 3, stride: 20}}
"""


def by_position(sample):
    return {start: (n, nll) for start, n, nll in sample["by_position"]}


def sums_agree(records):
    for sample in records:
        parts = sample["by_position"]
        expect(sum(n for _, n, _ in parts) == sample["n_tokens"], f"tokens of {sample}")
        expect(abs(sum(nll for _, _, nll in parts) - sample["nll"]) <= 1e-12 * sample["nll"], f"nll of {sample}")


def counts_are_those_of_the_positions(records):
    for sample in records:
        first = sample["tokens"] - sample["n_tokens"]  # the last tokens of a window are scored
        expected = {}
        for position in range(first, sample["tokens"]):
            start = 1 << (position.bit_length() - 1)
            expected[start] = expected.get(start, 0) + 1
        found = {start: n for start, (n, _) in by_position(sample).items()}
        expect(found == expected, f"{found} tokens by position, not {expected}")


def longer_windows_add_a_bucket(records):
    """The first window of a document is its beginning at every context: one of 128 tokens has positions 64 to 127 more than one of 64."""
    firsts = {s["context"]: s for s in records if s["task"] == "perplexity" and s["doc_id"] == 0}
    for short, long in ((32, 64), (64, 128)):
        n, nll = by_position(firsts[long])[short]
        expect(n == short, f"{n} tokens from position {short} on")
        expect(abs(firsts[long]["nll"] - firsts[short]["nll"] - nll) <= 1e-12 * firsts[long]["nll"], f"nll of positions {short} on")


def points_add_up_their_samples(folder, records):
    for point in h.report(folder)["points"]:
        mine = [s for s in records if s["point"] == point["id"]]
        for bucket in point["by_position"]:
            parts = [by_position(s)[bucket["from"]] for s in mine if bucket["from"] in by_position(s)]
            tokens, nll = sum(n for n, _ in parts), sum(nll for _, nll in parts)
            expect(bucket["to"] == 2 * bucket["from"] - 1 and bucket["n_tokens"] == tokens, f"{bucket}")
            expect(abs(bucket["nll_per_token"]["value"] - nll / tokens) <= 1e-12, f"{bucket}")
        expect({b["from"] for b in point["by_position"]} == {start for s in mine for start in by_position(s)}, "buckets of a point")


def main():
    suite = h.Suite()
    folder = h.new_folder()
    draw = random.Random(3)
    h.write(folder, "text.txt", "".join(" " + draw.choice(WORDS["keys"] + WORDS["values"]) for _ in range(900)))
    h.write(folder, "c.yaml", CONFIG)
    h.run("c.yaml", "-q", cwd=folder, code=0)
    out = os.path.join(folder, "out")
    records = h.records(out)
    expect(len(records) == 4 * 2 * 3, f"{len(records)} samples")
    suite.case("by_position: sums", sums_agree, records)
    suite.case("by_position: counts", counts_are_those_of_the_positions, records)
    suite.case("by_position: windows of other lengths", longer_windows_add_a_bucket, records)
    suite.case("by_position: points", points_add_up_their_samples, out, records)
    suite.end()


main()
