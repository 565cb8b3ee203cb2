"""What a scored text's record says of its tokens: by position, against windows of other lengths, of which only differences are taken; key
tokens, against goldens of the package longppl and its definition (tests/golden/longppl).
"""
import json
import math
import os
import random
import subprocess

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


SPLITS = ("by_position", "by_distance")


def parts_of(sample, split):
    return {start: (n, nll) for start, n, nll in sample[split]}


def by_position(sample):
    return parts_of(sample, "by_position")


def sums_agree(records, split):
    for sample in records:
        parts = sample[split]
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


def counts_are_those_of_the_distances(folder, records):
    """The windows cut again from the text's tokens; how far back each token stood last, counted naively."""
    ids = subprocess.run(h.command(["tokenize", h.TINY_GEMMA]), input=h.read(folder, "text.txt"), capture_output=True, env=h.ENVIRONMENT, check=True).stdout.split()
    for sample in (s for s in records if s["task"] == "perplexity"):
        body = sample["context"] - 1
        window = ["BOS", *ids[sample["doc_id"] * body : (sample["doc_id"] + 1) * body]]
        expected = {}
        for position in range(1, len(window)):
            before = [k for k in range(position) if window[k] == window[position]]
            distance = position - before[-1] if before else 0
            start = 1 << (distance.bit_length() - 1) if distance else 0
            expected[start] = expected.get(start, 0) + 1
        found = {start: n for start, (n, _) in parts_of(sample, "by_distance").items()}
        expect(found == expected, f"{found} tokens by distance, not {expected}")


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
        for split in SPLITS:
            for bucket in point[split]:
                parts = [parts_of(s, split)[bucket["from"]] for s in mine if bucket["from"] in parts_of(s, split)]
                tokens, nll = sum(n for n, _ in parts), sum(nll for _, nll in parts)
                expect(bucket["to"] == max(2 * bucket["from"] - 1, 0) and bucket["n_tokens"] == tokens, f"{bucket}")
                expect(abs(bucket["nll_per_token"]["value"] - nll / tokens) <= 1e-12, f"{bucket}")
            expect({b["from"] for b in point[split]} == {start for s in mine for start in parts_of(s, split)}, f"buckets {split}")


GOLDEN = json.loads(h.read(h.SOURCE, "tests/golden/longppl/goldens.json"))
ROPES = [f"{{rope_type: default, rope_theta: {theta:g}}}" for theta in GOLDEN["theta"]]
LONGPPL = f"""\
model: {{path: model, dtype: fp32}}
parallel: {{threads: 1, batch_tokens: 100}}
output: out
sweep:
  context: {GOLDEN["context"]}
  rope: [{", ".join(ROPES)}]
tasks:
  - {{name: longppl, text: "*.txt", samples: 9, short_context: {GOLDEN["short_context"]}, slide: {GOLDEN["slide"]}}}
  - {{name: perplexity, text: "*.txt", samples: 2}}
baseline: {{rope: {ROPES[0]}}}
"""
N_TEXTS = len(GOLDEN["cases"][0]["windows"])
N_WINDOWS = N_TEXTS * -(-(GOLDEN["context"] - GOLDEN["short_context"]) // GOLDEN["slide"])


def longppl_folder(bos=True):
    folder = h.new_folder()
    h.link_model(folder)
    if not bos:
        config = json.loads(h.read(h.TINY_GEMMA, "config.json"))
        del config["bos_token_id"]
        h.replace(folder, "model/config.json", json.dumps(config))
    for i, text in enumerate(GOLDEN["texts"]):
        h.write(folder, f"{i}.txt", text)
    h.write(folder, "c.yaml", LONGPPL)
    h.run("c.yaml", "-q", cwd=folder, code=0)
    return folder


def longppl_points(folder, out="out"):
    return [p for p in h.report(os.path.join(folder, out))["points"] if p["task"] == "longppl"]


def agrees_with_the_package(case):
    folder = longppl_folder(case["bos"])
    keys = sum(w["keys"] for w in case["windows"])
    for i, point in enumerate(longppl_points(folder)):
        nll = sum(w["nll"][i] for w in case["windows"]) / keys
        expect(point["status"] == "done" and point["n"] == point["samples"] == N_TEXTS and point["key_tokens"] == keys, json.dumps(point))
        found = point["metrics"]
        expect(abs(found["nll_per_key_token"]["value"] - nll) <= 1e-6, f"{found} and not {nll}")
        expect(abs(found["longppl"]["value"] / math.exp(found["nll_per_key_token"]["value"]) - 1) <= 1e-12, f"{found}")
        expect(sum(b["n_tokens"] for b in point["by_position"]) == N_TEXTS * (GOLDEN["context"] - GOLDEN["short_context"]), "tokens of texts")
        expect(("versus_baseline" in point) == (i == 1), "versus_baseline")
    mine = [s for s in h.records(os.path.join(folder, "out")) if s["task"] == "longppl"]
    expect(len(mine) == 2 * N_TEXTS + N_WINDOWS, f"{len(mine)} samples")
    expect(sum("short_window" in s for s in mine) == N_WINDOWS, "short windows")


def other_ways(folder):
    """Replicas, tensors, resumption and shards change nothing."""
    reference = os.path.join(folder, "out")
    before = h.samples(reference)
    h.run("c.yaml", "-q", cwd=folder, code=0)
    h.expect_equal(h.samples(reference), before, "samples.jsonl of a second run")
    for ranks, tensor in ((2, 1), (2, 2)):
        h.run("c.yaml", "-q", "--output", f"r{ranks}t{tensor}", "--set", f"parallel.tensor={tensor}", ranks=ranks, cwd=folder, code=0)
        h.expect_equal(h.samples(os.path.join(folder, f"r{ranks}t{tensor}")), before, "samples.jsonl")
    for shard in range(2):
        h.run("c.yaml", "-q", "--output", f"s{shard}", "--shard", f"{shard}/2", cwd=folder, code=0)
    h.run("merge", "s0", "s1", "-o", "all", cwd=folder, code=0)
    h.expect_equal(h.samples(os.path.join(folder, "all")), before, "samples.jsonl of merged shards")
    h.expect_equal(json.dumps(h.stable(longppl_points(folder, "all"))), json.dumps(h.stable(longppl_points(folder))), "points of merged shards")


def another_baseline(folder):
    """The other baseline's windows are made, all texts are used again, and the result is that of a run of its own."""
    setting = ["--set", f"baseline.rope={ROPES[1]}"]
    h.run("c.yaml", "-q", "--output", "own", *setting, cwd=folder, code=0)
    result = h.run("c.yaml", *setting, cwd=folder, code=0)
    expect(f"{2 * (N_TEXTS + 2)} of {2 * (N_TEXTS + 2) + N_WINDOWS} samples" in result.err, result.err)
    h.expect_equal(h.samples(os.path.join(folder, "out")), h.samples(os.path.join(folder, "own")), "samples.jsonl")
    h.expect_equal(json.dumps(h.stable(longppl_points(folder))), json.dumps(h.stable(longppl_points(folder, "own"))), "points")


def more_samples(folder):
    """A text's windows keep their numbers when `samples` grows."""
    h.run("c.yaml", "-q", "--output", "few", "--limit", "1", cwd=folder, code=0)
    result = h.run("c.yaml", "--output", "few", "--limit", "2", cwd=folder, code=0)
    expect(f"{2 * 2 + N_WINDOWS // N_TEXTS} of" in result.err, result.err)
    h.run("c.yaml", "-q", "--output", "two", "--limit", "2", cwd=folder, code=0)
    h.expect_equal(h.samples(os.path.join(folder, "few")), h.samples(os.path.join(folder, "two")), "samples.jsonl")


def without_its_baseline(folder):
    """A shard that does not have the baseline is done, but knows no key tokens."""
    for shard in range(4):
        h.run("c.yaml", "-q", "--output", f"q{shard}", "--shard", f"{shard}/4", cwd=folder, code=0)
    points = [p for shard in range(4) for p in longppl_points(folder, f"q{shard}")]
    expect(len(points) == 2 and all(p["status"] == "done" for p in points), f"{points}")
    lonely = points[[p["rope"]["rope_theta"] for p in points].index(GOLDEN["theta"][1])]
    expect(lonely["key_tokens"] == 0 and lonely["metrics"]["longppl"]["value"] is None, f"{lonely}")


def main():
    suite = h.Suite()
    for case in GOLDEN["cases"]:
        suite.case(f"longppl: goldens {'with' if case['bos'] else 'without'} BOS", agrees_with_the_package, case)
    folder = longppl_folder()
    suite.case("longppl: other ways to run it", other_ways, folder)
    suite.case("longppl: more samples", more_samples, folder)
    suite.case("longppl: a shard without the baseline", without_its_baseline, folder)
    suite.case("longppl: another baseline", another_baseline, folder)
    folder = h.new_folder()
    draw = random.Random(3)
    h.write(folder, "text.txt", "".join(" " + draw.choice(WORDS["keys"] + WORDS["values"]) for _ in range(900)))
    h.write(folder, "c.yaml", CONFIG)
    h.run("c.yaml", "-q", cwd=folder, code=0)
    out = os.path.join(folder, "out")
    records = h.records(out)
    expect(len(records) == 4 * 2 * 3, f"{len(records)} samples")
    for split in SPLITS:
        suite.case(f"{split}: sums", sums_agree, records, split)
    suite.case("by_position: counts", counts_are_those_of_the_positions, records)
    suite.case("by_position: windows of other lengths", longer_windows_add_a_bucket, records)
    suite.case("by_distance: counts", counts_are_those_of_the_distances, folder, records)
    suite.case("splits: points", points_add_up_their_samples, out, records)
    suite.end()


main()
