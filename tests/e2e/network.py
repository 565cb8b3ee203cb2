"""A job on several hosts whose network is slow, loses frames, or is cut in the middle of the run (hosts.py). Exits 77, skipped, where there can
be no such hosts.
"""
import json
import os
import random
import shutil
import sys
import time

import harness as h
from harness import expect
from hosts import Hosts, unable

SKIPPED = 77
WORDS = json.loads(h.read(h.TINY_GEMMA, "words.json"))
CONFIG = f"""\
model: {{path: {h.TINY_GEMMA}, dtype: fp32}}
parallel: {{threads: 1, batch_tokens: 1024}}
output: out
sweep: {{context: [100, 500], rope: [default, {{rope_type: yarn, factor: 4}}], softmax: [1, 0.8]}}
tasks:
  - {{name: perplexity, text: text.txt, samples: 30}}
  - {{name: kv_lookup, samples: 4, keys: {json.dumps(WORDS["keys"])}, values: {json.dumps(WORDS["values"])}, max_new_tokens: 1}}
"""
# mpirun's own way to find out that a host is gone; by default it takes minutes.
KEEPALIVE = [w for name, value in (("time", 2), ("intvl", 1), ("probes", 2)) for w in ("--mca", f"oob_tcp_keepalive_{name}", str(value))]
KEEPALIVE_SECONDS = 4


class Sweep:
    """A sweep and the samples that it has on one host. settings: of all its runs."""

    def __init__(self, *settings):
        self.settings = [w for setting in settings for w in ("--set", setting)]
        self.folder = h.new_folder()
        draw = random.Random(8)
        h.write(self.folder, "sweep.yaml", CONFIG)
        h.write(self.folder, "text.txt", "".join(" " + draw.choice(WORDS["keys"]) for _ in range(40000)))
        h.run("sweep.yaml", "-q", "--output", "local", *self.settings, ranks=2, cwd=self.folder, code=0)
        self.reference = h.samples(os.path.join(self.folder, "local"))
        self.out = os.path.join(self.folder, "out")

    def records(self):
        try:
            return h.read(self.out, "journal/records.log").count(b"\n")
        except OSError:
            return 0

    def start(self, hosts, *options, ranks_each=1):
        return h.start(["sweep.yaml", *self.settings], hosts.launcher(self.folder, ranks_each, *options))

    def expect_whole(self, result, names):
        expect(result.code == 0, "exit code", result)
        h.expect_equal(h.samples(self.out), self.reference, "samples.jsonl")
        expect(set(h.report(self.out)["run"]["hosts"]) == set(names), "the hosts of the report")

    def remove_output(self):
        shutil.rmtree(self.out, ignore_errors=True)


def slow(sweep, n_hosts, ranks_each, delay, loss, seed):
    """Frames come late or never; the samples are those of one host."""
    sweep.remove_output()
    hosts = Hosts(n_hosts, delay, loss, seed)
    try:
        result = h.wait(sweep.start(hosts, ranks_each=ranks_each), 90)
        sweep.expect_whole(result, hosts.names)
        expect(hosts.lost > 0 or loss == 0, "no frame was lost", result)
        expect(hosts.carried > 100, f"{hosts.carried} frames are not all of the job's messages", result)
    finally:
        hosts.stop()


def gone(hosts, process):
    return process.poll() is not None and not any(hosts.processes_on(name) for name in hosts.names)


def cut(sweep, n_hosts, victim, options, deadline, *words):
    """A host's link is cut in the middle of the run: every process of the job ends, on both sides of the cut, and a line names the host. The
    same command then goes on from what is there."""
    sweep.remove_output()
    hosts = Hosts(n_hosts, delay=0.0003)
    try:
        process = sweep.start(hosts, *options)
        h.wait_until(lambda: sweep.records() >= 20 or process.poll() is not None, "records in the journal")
        hosts.cut(victim)
        begun = time.monotonic()
        while not gone(hosts, process) and time.monotonic() - begun < deadline * h.SLOW:
            time.sleep(0.05)
        left = {name: len(hosts.processes_on(name)) for name in hosts.names}
        result = h.wait(process, 1)
        expect(not any(left.values()), f"processes left {deadline} s after the cut: {left}", result)
        expect(result.code != 0, "exit code 0", result)
        for word in words:
            expect(word in result.err, f"'{word}' is not named", result)
        before = sweep.records()
        expect(20 <= before <= len(sweep.reference), f"{before} records at the end", result)
        hosts.mend()
        result = h.wait(sweep.start(hosts, *options), 60)
        expect(f"{before} of " in result.err and "reused" in result.err, f"{before} records stood there", result)
        sweep.expect_whole(result, hosts.names)
    finally:
        hosts.stop()


def main():
    reason = unable()
    if reason:
        print(f"skipped: {reason}")
        sys.exit(SKIPPED)
    suite = h.Suite()
    replicas, shards = Sweep(), Sweep("parallel.tensor=2", "sweep.context=100", "tasks.0.samples=12")
    suite.case("two hosts, frames late and lost", slow, replicas, 2, 1, 0.005, 0.02, 1)
    suite.case("three hosts with two ranks each, frames late and lost", slow, replicas, 3, 2, 0.001, 0.01, 2)
    suite.case("two hosts share the model, frames late and lost", slow, shards, 2, 1, 0.0003, 0.0005, 3)
    suite.case("mpirun finds the cut: replicas", cut, replicas, 2, "n1", KEEPALIVE, KEEPALIVE_SECONDS + 6, "n1", "lost communication")
    suite.case("mpirun finds the cut: shards of the model", cut, shards, 2, "n1", KEEPALIVE, KEEPALIVE_SECONDS + 6, "n1", "lost communication")
    suite.end()


main()
