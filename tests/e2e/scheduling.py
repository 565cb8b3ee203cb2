"""Who computes: what the report says of replicas, a rank 0 that only serves, and a replica that stops while it holds samples."""
import os
import random
import signal
import socket

import harness as h
from harness import expect

CONFIG = """\
model: {path: MODEL, dtype: fp32}
parallel: {threads: 1, batch_tokens: 1024}
output: out
sweep: {context: [60, 400], rope: [default, {rope_type: yarn, factor: 4}]}
tasks: [{name: perplexity, text: text.txt, samples: 12}]
"""
SAMPLES = 48


def new_sweep():
    folder = h.new_folder()
    draw = random.Random(4)
    h.write(folder, "text.txt", "".join(" " + draw.choice(("cat", "dog", "hen", "oak")) for _ in range(12000)))
    h.write(folder, "sweep.yaml", CONFIG.replace("MODEL", h.TINY_GEMMA))
    return folder


def run(folder, name, *settings, ranks=0, code=0, **more):
    arguments = [word for setting in settings for word in ("--set", setting)]
    return h.run("sweep.yaml", "-v", "--output", name, *arguments, ranks=ranks, cwd=folder, code=code, **more)


def replicas(folder, name, ranks):
    """run.replica, whose entries are those of `ranks`."""
    found = h.report(os.path.join(folder, name))["run"]["replica"]
    expect([r["rank"] for r in found] == ranks, f"replicas of ranks {ranks}: {found}")
    for replica in found:
        expect(replica["host"] == socket.gethostname().split(".")[0], f"host of {replica}")
        expect(replica["seconds_busy"] > 0 and replica["seconds_idle"] >= 0, f"seconds of {replica}")
    expect(sum(r["samples"] for r in found) >= SAMPLES, f"samples of {found}")
    return found


def report_of_replicas(folder, reference):
    result = run(folder, "two", ranks=2)
    found = replicas(folder, "two", [0, 1])
    for r in found:
        expect(f"replica of rank {r['rank']} on {r['host']}: {r['samples']} samples, " in result.err, "a line a replica", result)
    h.expect_equal(h.samples(os.path.join(folder, "two")), reference, "samples.jsonl")


def only_serves(folder, reference, name, ranks, tensor, leaders):
    run(folder, name, "parallel.scheduler_computes=false", f"parallel.tensor={tensor}", ranks=ranks)
    replicas(folder, name, leaders)
    h.expect_equal(h.samples(os.path.join(folder, name)), reference, "samples.jsonl")


def none_left(folder):
    result = run(folder, "none", "parallel.scheduler_computes=false", code=2)
    expect("scheduler_computes: false leaves none of the 1 rank to compute (start it with 2 or more)" in result.err, "what to do", result)
    expect(len(result.lines("ropesweep: ")) <= 1, "one message", result)


def planned(folder):
    result = h.run("plan", "sweep.yaml", "--ranks", "8", "--set", "parallel.scheduler_computes=false", cwd=folder, code=0)
    expect("8 ranks = 7 replicas x tensor 1, and rank 0's only serves" in result.out, "the layout", result)


def records_in(folder, name):
    try:
        return h.read(folder, f"{name}/journal/records.log").count(b"\n")
    except FileNotFoundError:
        return 0


def stopped_replica(folder, reference):
    """What it holds is computed by the others; when it wakes up there is nothing left to do."""
    process = h.start(["sweep.yaml", "--output", "asleep"], ranks=3, cwd=folder)
    last = h.ranks_of(process, 3)[2]
    h.wait_until(lambda: records_in(folder, "asleep") > 0, "a first record")
    os.kill(last, signal.SIGSTOP)
    try:
        h.wait_until(lambda: records_in(folder, "asleep") == SAMPLES, "all records while a replica sleeps", 20)
    finally:
        os.kill(last, signal.SIGCONT)
    result = h.wait(process)
    expect(result.code == 0, "complete", result)
    h.expect_equal(h.samples(os.path.join(folder, "asleep")), reference, "samples.jsonl")


def main():
    suite, folder = h.Suite(), new_sweep()
    run(folder, "alone")
    reference = h.samples(os.path.join(folder, "alone"))
    expect(len(reference) == SAMPLES, f"{len(reference)} samples")
    suite.case("the report tells where replicas' time went", report_of_replicas, folder, reference)
    suite.case("rank 0 only serves", only_serves, folder, reference, "serves", 3, 1, [1, 2])
    suite.case("rank 0 only serves, two ranks a replica", only_serves, folder, reference, "serves2", 4, 2, [2])
    suite.case("rank 0 only serves, and nobody is left", none_left, folder)
    suite.case("rank 0 only serves, planned", planned, folder)
    suite.case("a replica stops while it holds samples", stopped_replica, folder, reference)
    suite.end()


main()
