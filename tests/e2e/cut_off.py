"""What tests of runs that are cut off share: a sweep that takes seconds, started and met again."""
import json
import os
import random
import shutil

import harness as h
from harness import expect

WORDS = json.loads(h.read(h.TINY_GEMMA, "words.json"))
CONFIG = """\
model: {path: MODEL, dtype: fp32}
parallel: {threads: 1, batch_tokens: 1024}
seed: 3
output: out
sweep:
  context: [CONTEXTS]
  rope: [ROPES]
  softmax: [1, {temperature: 0.8}]
tasks:
  - {name: perplexity, text: text.txt, samples: SAMPLES}
  - {name: kv_lookup, samples: 4, keys: KEYS, values: VALUES, max_new_tokens: 1}
"""


def write_config(folder, contexts, ropes, samples):
    text = CONFIG.replace("MODEL", h.TINY_GEMMA).replace("CONTEXTS", contexts).replace("ROPES", ropes).replace("SAMPLES", str(samples))
    h.write(folder, "sweep.yaml", text.replace("KEYS", json.dumps(WORDS["keys"])).replace("VALUES", json.dumps(WORDS["values"])))
    draw = random.Random(8)
    h.write(folder, "text.txt", "".join(" " + draw.choice(WORDS["keys"]) for _ in range(40000)))


def run(folder, *more, ranks=0, code=None):
    return h.run("sweep.yaml", *more, ranks=ranks, cwd=folder, code=code, timeout=90)


def records_in(folder):
    try:
        return h.read(folder, "out/journal/records.log").count(b"\n")
    except FileNotFoundError:
        return 0


def remove_output(folder):
    shutil.rmtree(os.path.join(folder, "out"), ignore_errors=True)


def out_of(folder):
    return os.path.join(folder, "out")


LONG = ("100, 500", "default, {rope_type: yarn, factor: 4}", 30)


def begin(folder, ranks, *more, records=3, **popen):
    """Starts the long sweep; returns the process and its ranks once so many samples are done and others are not."""
    process = h.start(["sweep.yaml", "-q", *more], ranks, folder, **popen)
    pids = h.ranks_of(process, ranks) if ranks else [process.pid]
    h.wait_until(lambda: records_in(folder) >= records or process.poll() is not None, "records in the journal")
    return process, pids


def expect_gone(pids):
    h.wait_until(lambda: not any(os.path.exists(f"/proc/{pid}") for pid in pids), "the end of every rank", timeout=60)


def expect_resumes(folder, reference, ranks, *more):
    """The same command goes on with what is there and ends with the samples of the undisturbed run."""
    before = records_in(folder)
    result = run(folder, *more, ranks=ranks, code=0)
    expect(before == 0 or f"{before} of " in result.err and "reused" in result.err, f"{before} records stood there", result)
    expect(h.status(out_of(folder)) == "complete", "status")
    h.expect_equal(h.samples(out_of(folder)), reference, "samples.jsonl")
