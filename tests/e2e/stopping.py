"""Points that stop early: where the rule says, whoever made the samples, in whatever order and however often the run was cut off."""
import json
import math
import os
import shutil
import signal

import harness as h
from harness import expect

WORDS = json.loads(h.read(h.TINY_GEMMA, "words.json"))
CONFIG = """\
model: {path: MODEL, dtype: fp32}
parallel: {threads: 1, batch_tokens: TOKENS}
seed: 3
output: out
sweep:
  context: [100, 240]
  rope: [default, {rope_type: yarn, factor: 4}, {rope_type: ntk, factor: 2}, nope]
  softmax: [1, {temperature: 0.8}]
tasks:
  - {name: kv_lookup, samples: SAMPLES, stop_width: WIDTH, stop_min: 10, keys: KEYS, values: VALUES, max_new_tokens: 1}
  - {name: kv_lookup, label: all, samples: 15, keys: KEYS, values: VALUES, max_new_tokens: 2}
baseline: {rope: default, softmax: 1}
"""
MOST = 90


def write_config(folder, width=0.5, samples=MOST, tokens=1024, name="sweep.yaml"):
    text = CONFIG.replace("MODEL", h.TINY_GEMMA).replace("TOKENS", str(tokens)).replace("SAMPLES", str(samples)).replace("WIDTH", str(width))
    h.write(folder, name, text.replace("KEYS", json.dumps(WORDS["keys"])).replace("VALUES", json.dumps(WORDS["values"])))


def run(folder, *more, ranks=0, code=0):
    return h.run("sweep.yaml", "-q", *more, ranks=ranks, cwd=folder, code=code, timeout=120)


def out_of(folder, name="out"):
    return os.path.join(folder, name)


# --- the rule, written down again ---

def lower_end(x, width):
    """The least mean that bets do not rule out, to 1e-7."""
    def wins(mean):
        capital, total, squares = 1.0, 0.5, 0.25
        for t, value in enumerate(x):
            capital *= 1 + min(width / 4 / (squares / (t + 1)), 0.75 / mean) * (value - mean)
            if capital >= 40:
                return True
            total += value
            squares += (value - total / (t + 2)) ** 2
        return False
    low, high = 0.0, 1.0
    while high - low > 1e-9:
        middle = (low + high) / 2
        low, high = (middle, high) if wins(middle) else (low, middle)
    return low


def sequence(differences, width):
    x = [(d + 1) / 2 for d in differences]
    return 2 * lower_end(x, width) - 1, 1 - 2 * lower_end([1 - value for value in x], width)


def looks(most):
    n = 10
    while n < most:
        yield n
        n += (n + 1) // 2
    yield most


def expected_samples(scores, baseline, width):
    """Of a point whose every sample up to where it stops is known."""
    for n in looks(MOST):
        low, high = sequence([a - b for a, b in zip(scores[:n], baseline[:n])], width)
        if high - low <= width or n == MOST:
            return n
    raise AssertionError


# --- cases ---

def check_stops(folder, width):
    """Every point stops where the rule says, and the report says so."""
    points = h.report(out_of(folder))["points"]
    scores = {}
    for sample in h.records(out_of(folder)):
        scores.setdefault(sample["point"], []).append(sample["scores"]["accuracy"])
    taken = {}
    for context in (100, 240):
        cell = [p for p in points if p["task"] == "kv_lookup" and p["context"] == context]
        baseline = next(p for p in cell if "versus_baseline" not in p)
        for point in cell:
            expect(point["n"] == point["samples"] == len(scores[point["id"]]), f"{point['n']} samples are told, {len(scores[point['id']])} there")
            if point is baseline:
                continue
            n = expected_samples(scores[point["id"]], scores[baseline["id"]], width)
            expect(point["n"] == n, f"a point stopped at {point['n']}, the rule says {n}")
            low, high = sequence([a - b for a, b in zip(scores[point["id"]], scores[baseline["id"]])], width)
            told = point["versus_baseline"]["accuracy"]["confidence_sequence"]
            expect(math.isclose(told[0], low, abs_tol=1e-6) and math.isclose(told[1], high, abs_tol=1e-6), f"{told}, expected {low}, {high}")
            taken.setdefault(n, 0)
        expect(baseline["n"] == max(p["n"] for p in cell if p is not baseline), "the baseline goes as far as the longest of its points")
    expect(min(taken) < MOST, f"something stops before {MOST}: {sorted(taken)}")
    expect(len(taken) > 1, f"not all stop alike: {sorted(taken)}")
    expect(all(p["n"] == 15 and "confidence_sequence" not in json.dumps(p) for p in points if p["task"] == "all"), "a task without a rule")


def the_same(folder, reference, what):
    h.expect_equal(h.samples(out_of(folder)), h.samples(out_of(reference)), f"samples.jsonl {what}")
    one, other = h.stable(h.report(out_of(folder))), h.stable(h.report(out_of(reference)))
    h.expect_equal(json.dumps([one["points"], one["variants"]]), json.dumps([other["points"], other["variants"]]), f"report {what}")


def reference_run():
    folder = h.new_folder()
    write_config(folder)
    run(folder)
    return folder


def rule(reference):
    check_stops(reference, 0.5)
    before = h.snapshot(out_of(reference), with_times=True)
    run(reference)
    expect(not h.differences(before, h.snapshot(out_of(reference), with_times=True)), "the same config again changes nothing")


def launched(reference, ranks, tokens, *more):
    folder = h.new_folder()
    write_config(folder, tokens=tokens)
    run(folder, *more, ranks=ranks)
    the_same(folder, reference, f"of {ranks} ranks")


def interrupted(reference, ranks, at):
    """Stopped in mid-run as often as it takes, then to the end."""
    folder = h.new_folder()
    write_config(folder)
    for records in at:
        process = h.start(["sweep.yaml", "-q"], ranks, folder)
        journal = os.path.join(folder, "out/journal/records.log")
        count = lambda: h.read(folder, "out/journal/records.log").count(b"\n") if os.path.exists(journal) else 0
        h.wait_until(lambda: count() >= records or process.poll() is not None, "records in the journal")
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
        h.wait(process, timeout=60)
    run(folder, ranks=ranks)
    the_same(folder, reference, "after interruptions")


def narrower_and_back(reference):
    """Another width goes on from the samples that are there; the first width again tells what it told."""
    folder = h.new_folder()
    shutil.copytree(out_of(reference), out_of(folder))
    write_config(folder, width=0.35)
    run(folder)
    fewer = sum(p["n"] for p in h.report(out_of(reference))["points"])
    expect(sum(p["n"] for p in h.report(out_of(folder))["points"]) > fewer, "a narrower interval takes more samples")
    check_stops(folder, 0.35)
    write_config(folder)
    run(folder)
    the_same(folder, reference, "after a narrower width")


def sharded(reference):
    folder = h.new_folder()
    write_config(folder)
    for i in range(3):
        run(folder, "--shard", f"{i}/3", "--output", f"shard{i}")
    h.run("merge", "-q", *(out_of(folder, f"shard{i}") for i in range(3)), "-o", out_of(folder), cwd=folder, code=0)
    the_same(folder, reference, "of shards")
    write_config(folder, width=0.4)
    run(folder, "--shard", "0/3", "--output", "other")
    result = h.run("merge", out_of(folder, "other"), out_of(folder, "shard1"), "-o", out_of(folder, "both"), cwd=folder, code=2)
    expect("stop_width" in result.err, "shards of two rules", result)


def unable(_):
    """Where a sample cannot run nothing is left out: the point takes all of its samples, and fails."""
    folder = h.new_folder()
    key = WORDS["keys"][0]
    lines = [{"input": f" {key}" * (150 if i == 4 else 20 + i), "outputs": [key.strip()]} for i in range(40)]
    h.write(folder, "questions.jsonl", "".join(json.dumps(line) + "\n" for line in lines))
    write_config(folder)
    text = h.read(folder, "sweep.yaml").decode()
    task = "  - {name: jsonl, file: questions.jsonl, samples: 40, stop_width: 1.2, stop_min: 10, metric: contains, max_new_tokens: 2}\n"
    h.write(folder, "sweep.yaml", text[:text.index("tasks:")] + "tasks:\n" + task)
    result = run(folder, ranks=2, code=3)
    for point in h.report(out_of(folder))["points"]:
        short = point["context"] == 100
        expect(point["status"] == ("failed" if short else "done"), f"{point['context']}: {point['status']}", result)
        expect((point["n"], point["samples"]) == (39, 40) if short else point["n"] < 40, f"{point['context']}: {point['n']} of {point['samples']}")


def main():
    suite = h.Suite()
    reference = reference_run()
    suite.case("points stop where the rule says", rule, reference)
    for ranks, tokens, more in ((1, 64, ()), (2, 512, ()), (3, 1024, ()), (2, 2048, ("--set", "parallel.tensor=2")), (4, 300, ("--set", "parallel.tensor=2"))):
        suite.case(f"{ranks} ranks, batches of {tokens} tokens{' tensor 2' if more else ''}", launched, reference, ranks, tokens, *more)
    suite.case("cut off and gone on, alone", interrupted, reference, 0, (5, 120, 260))
    suite.case("cut off and gone on, 3 ranks", interrupted, reference, 3, (40, 200))
    suite.case("a narrower width, and back", narrower_and_back, reference)
    suite.case("shards", sharded, reference)
    suite.case("samples that cannot run", unable, reference)
    suite.end()


main()
