"""One sweep, many ways to run it: replicas, packing and threads must not change a character; tensor parallelism only the last digits, and
with parallel.deterministic nothing at all. ROPESWEEP_ISA is left alone: other instructions may round differently.
"""
import json
import os
import random

import harness as h
from harness import expect

WORDS = json.loads(h.read(h.TINY_GEMMA, "words.json"))
CONFIG = """\
model: {path: MODEL, dtype: fp32}
parallel: {threads: 1, batch_tokens: 2048}
seed: 11
output: out
sweep:
  context: [48, 160]
  rope:
    - default
    - {rope_type: yarn, factor: 4, original_max_position_embeddings: 64}
    - {rope_type: dynamic, factor: 2, original_max_position_embeddings: 64}
    - {rope_type: self_extend, group: 4, window: 16}
    - {rope_type: dca, chunk: 40}
    - alibi
    - {rope_type: band, band: {wavelength: [100, .inf]}, op: freeze}
    - {rope_type: leaky_rerope, window: 24, leak: 3}
    - {rope_type: p_rope, p: 0.5}
    - {rope_type: rerope, window: 24}
  softmax: [1, adaptive, {type: top_k, k: 8}]
tasks:
  - {name: perplexity, text: "text/*.txt", samples: 3}
  - {name: perplexity, label: strided, text: "text/*.txt", samples: 2, stride: 20}
  - {name: jsonl, file: data.jsonl, samples: 4, max_new_tokens: 9, stop: " fox"}
  - {name: niah, samples: 1, noise: [" all", " also", " and"], noise_order: random, separator: "", intro: "", needle: " the key {key} is {value} .",
     question: " the key {key} is", answer_prefix: "", value_type: word, keys: KEYS, values: VALUES, max_new_tokens: 2}
  - {name: kv_lookup, samples: 2, keys: KEYS, values: VALUES, max_new_tokens: 1}
  - {name: passkey, samples: 1, noise: [" now and then ."], intro: "", needle: " the key is {key} .", question: " key ?", answer_prefix: "", max_new_tokens: 7}
"""


def write_inputs(folder):
    draw = random.Random(5)
    words = WORDS["keys"] + WORDS["values"]
    for name, n in (("a.txt", 30), ("b.txt", 350), ("c.txt", 700)):  # a.txt fills no window
        h.write(folder, f"text/{name}", "".join(" " + draw.choice(words) for _ in range(n)) + " \u00e9\u2603")
    lines = [{"input": "".join(" " + draw.choice(words) for _ in range(n)), "outputs": [draw.choice(words)], "answer_prefix": prefix}
             for n, prefix in ((1, ""), (7, " the key"), (20, ""), (33, " is"))]
    h.write(folder, "data.jsonl", "".join(json.dumps(line) + "\n" for line in lines))
    text = CONFIG.replace("MODEL", h.TINY_GEMMA)
    h.write(folder, "sweep.yaml", text.replace("KEYS", json.dumps(WORDS["keys"])).replace("VALUES", json.dumps(WORDS["values"])))


def sweep(folder, name, ranks=0, **settings):
    """Runs the sweep with `parallel` settings and dtype; returns its output folder."""
    dtype = settings.pop("dtype", "fp32")
    arguments = ["sweep.yaml", "-q", "--output", name, "--set", f"model.dtype={dtype}"]
    for key, value in settings.items():
        arguments += ["--set", f"parallel.{key}={value}"]
    h.run(*arguments, ranks=ranks, cwd=folder, code=0, timeout=120)
    return os.path.join(folder, name)


def report_text(folder):
    """report.json without what may differ and without what the launch itself chose."""
    value = json.loads(h.read(folder, "report.json"), parse_float=str, parse_int=str)
    value["config"].pop("parallel")
    for key in ("ranks", "tensor", "device", "deterministic"):
        value["run"].pop(key, None)
    return json.dumps(h.stable(value))


def same(folder, reference, name, ranks, settings):
    other = sweep(folder, name, ranks, **settings)
    h.expect_equal(h.samples(other), h.samples(reference), "samples.jsonl")
    h.expect_equal(report_text(other), report_text(reference), "report.json")


def tolerance(sample, dtype):
    """Relative, of nll. A sum in another order may swap the k-th key with the next, and moves what is rounded to bf16 after each layer."""
    if sample["softmax"]["type"] == "top_k":
        return 1e-2 if dtype == "bf16" else 1e-3
    return 1e-3 if dtype == "bf16" else 1e-5


def close(folder, reference, name, ranks, settings):
    """The same samples, numbers close, the same texts but for bf16's near ties."""
    dtype = settings["dtype"]
    other = sweep(folder, name, ranks, **settings)
    mine, theirs = h.records(other), h.records(reference)
    expect(len(mine) == len(theirs), f"{len(mine)} and {len(theirs)} samples")
    strayed, spoken = 0, 0
    for a, b in zip(mine, theirs):
        one, two = a.pop("nll", 1.0), b.pop("nll", 1.0)
        expect(abs(one - two) <= tolerance(b, dtype) * abs(two), f"nll {one} and {two}\n{a}")
        parts = [s.pop("by_position", []) for s in (a, b)]
        expect([p[:2] for p in parts[0]] == [p[:2] for p in parts[1]], f"{parts[0]} and {parts[1]}")
        for (_, n, x), (_, _, y) in zip(*parts):
            expect(abs(x - y) <= tolerance(b, dtype) * (abs(y) + n), f"by_position: {x} and {y}\n{a}")
        parts = [s.pop("by_distance", []) for s in (a, b)]  # a bucket of one or two tokens has one token's error, which has no bound to test here
        expect([p[:2] for p in parts[0]] == [p[:2] for p in parts[1]], f"{parts[0]} and {parts[1]}")
        expect(not parts[0] or abs(sum(p[2] for p in parts[0]) - one) <= 1e-12 * abs(one), f"by_distance: {parts[0]} of {one}")
        texts = [[s.pop(key, None) for key in ("resps", "scores", "n_tokens")] for s in (a, b)]
        spoken += texts[1][0] is not None
        strayed += texts[0] != texts[1]
        h.expect_equal(json.dumps(a), json.dumps(b), "a sample")
    expect(strayed <= (0.02 * spoken if dtype == "bf16" else 0), f"{strayed} of {spoken} texts differ")
    points = [[p["id"] for p in h.report(f)["points"]] for f in (other, reference)]
    h.expect_equal(*points, "ids of points")


def has_all_it_should(reference):
    """The comparison below would be worth little if the sweep had not run as meant."""
    lines = h.records(reference)
    expect(len(lines) == 10 * 3 * 2 * (3 + 2 + 4 + 1 + 2 + 1), f"{len(lines)} samples")
    expect(len({(s["point"], s["doc_id"]) for s in lines}) == len(lines), "(point, doc_id) is not unique")
    expect(h.status(reference) == "complete" and h.yaml_status(reference) == "complete", "status")
    expect(all(p["status"] == "done" and p["metrics"] for p in h.report(reference)["points"]), "a point without metrics")
    nlls = {s["nll"] for s in lines if s["task"] == "perplexity" and s["doc_id"] == 0 and s["context"] == 160}
    expect(len(nlls) == 30, f"only {len(nlls)} of 30 variants have an nll of their own")
    expect(len({s["prompt_hash"] for s in lines if "nll" in s}) <= 10, "prompts differ between variants")


def check_dtype(suite, folder, dtype):
    reference = sweep(folder, f"{dtype}-reference", dtype=dtype)
    suite.case(f"{dtype}: every point ran", has_all_it_should, reference)
    runs = [("again", 0, {}), ("1 rank of a launcher", 1, {}), ("2 replicas", 2, {}), ("4 replicas", 4, {}),
            ("batches of 64 tokens", 0, {"batch_tokens": 64}), ("batches of 300 tokens, 2 replicas", 2, {"batch_tokens": 300}),
            ("batches of 4096 tokens", 0, {"batch_tokens": 4096}), ("2 threads", 0, {"threads": 2})]
    for name, ranks, settings in runs:
        suite.case(f"{dtype}: {name}", same, folder, reference, f"{dtype}-{name}", ranks, dict(settings, dtype=dtype))
    for tensor, ranks, batch in ((2, 2, 2048), (4, 4, 300), (2, 4, 64)):
        name = f"tensor {tensor} of {ranks} ranks, batches of {batch}"
        settings = {"tensor": tensor, "dtype": dtype, "batch_tokens": batch}
        suite.case(f"{dtype}: {name}", same, folder, reference, f"{dtype}-{name}", ranks, settings)
    free = sweep(folder, f"{dtype}-free", deterministic="false", dtype=dtype)
    for tensor, ranks in ((2, 2), (4, 4), (2, 4)):
        name = f"not deterministic, tensor {tensor} of {ranks} ranks"
        settings = {"tensor": tensor, "dtype": dtype, "deterministic": "false"}
        suite.case(f"{dtype}: {name}", close, folder, free, f"{dtype}-{name}", ranks, settings)


LONG = """\
model: {path: MODEL}
parallel: {threads: 1, batch_tokens: 64}
sweep:
  rope: [default, {rope_type: self_extend, group: 4, window: 64}]
  context: [512, 1024]
tasks: [{name: perplexity, text: long/*.txt, samples: 2}]
"""


def layer_by_layer(folder):
    """A text whose whole cache has no room gives the same numbers, layer by layer; where that has none either the sweep is refused."""
    h.write(folder, "long.yaml", LONG.replace("MODEL", h.TINY_GEMMA))
    draw = random.Random(6)
    h.write(folder, "long/a.txt", "".join(" " + draw.choice(WORDS["keys"]) for _ in range(2500)))
    h.run("long.yaml", "-q", "--output", "whole", cwd=folder, code=0)
    small = ["--set", "parallel.memory=0.0023"]
    expect("layer by layer" in h.run("plan", "long.yaml", *small, cwd=folder, code=0).out, "plan does not say so")
    expect("layer by layer" not in h.run("plan", "long.yaml", cwd=folder, code=0).out, "plan says so without need")
    for ranks in (0, 2):
        h.run("long.yaml", "-q", "--output", f"layers{ranks}", *small, ranks=ranks, cwd=folder, code=0)
        h.expect_equal(h.samples(os.path.join(folder, f"layers{ranks}")), h.samples(os.path.join(folder, "whole")), "samples.jsonl")
    refused = h.run("long.yaml", "-q", "--output", "none", "--set", "parallel.memory=0.0015", cwd=folder, code=2)
    said = refused.err
    expect("perplexity at context 512 needs" in said and "and there is 1.536 MiB" in said, said)


def main():
    suite, folder = h.Suite(), h.new_folder()
    write_inputs(folder)
    for dtype in ("fp32", "bf16"):
        check_dtype(suite, folder, dtype)
    suite.case("texts without room for a whole cache", layer_by_layer, folder)
    suite.end()


main()
