"""Nothing is lost, whatever dies: runs that are killed, stopped, frozen or starved of disk at random moments, with resumes at other numbers
of ranks. However often that happens, samples.jsonl and the metrics end up as those of an undisturbed run, bit for bit.

  kills.py ROPESWEEP SHIM TRIALS [SEED [TRIAL]]    SHIM: tools/faulty_files.c, built; TRIAL: this one alone, of the same seed

A trial starts a job, disturbs it, starts the next one in the same folder, and so on one to three times; the last job is left alone. The
kinds of disturbance are dealt like cards, so that each occurs equally often.
"""
import json
import math
import os
import random
import shutil
import signal
import sys
import time

import harness as h
from harness import expect

SOFT = (0, 75)
SHIM, TRIALS = os.path.abspath(sys.argv[2]), int(sys.argv[3])
SEED = int(sys.argv[4]) if len(sys.argv) > 4 else 1
ONLY = int(sys.argv[5]) if len(sys.argv) > 5 else None
h.CHOSEN = []

WORDS = json.loads(h.read(h.TINY_GEMMA, "words.json"))
CONFIG = """\
model: {path: MODEL, dtype: fp32}
parallel: {threads: 1, batch_tokens: 512}
seed: 3
output: out
sweep:
  context: [60, 300, 600]
  rope: [default, {rope_type: yarn, factor: 4}, {rope_type: ntk, factor: 2}]
  softmax: [1, {temperature: 0.8}]
tasks:
  - {name: perplexity, text: text.txt, samples: 40}
  - {name: kv_lookup, samples: 40, stop_width: 1.2, stop_min: 10, keys: KEYS, values: VALUES, max_new_tokens: 1}
"""
LOG = "out/journal/records.log"


def write_sweep(folder):
    text = CONFIG.replace("MODEL", h.TINY_GEMMA)
    h.write(folder, "sweep.yaml", text.replace("KEYS", json.dumps(WORDS["keys"])).replace("VALUES", json.dumps(WORDS["values"])))
    draw = random.Random(8)
    h.write(folder, "text.txt", "".join(" " + draw.choice(WORDS["keys"]) for _ in range(20000)))


def records_in(folder):
    path = os.path.join(folder, LOG)
    return h.read(folder, LOG).count(b"\n") if os.path.exists(path) else 0


def results(folder):
    """What must not depend on how the run came about."""
    out = os.path.join(folder, "out")
    report = h.stable(h.report(out))
    for launch in ("ranks", "tensor", "device"):
        report["run"].pop(launch)
    report["config"].pop("parallel")
    expect(h.yaml_status(out) == report["run"]["status"], "report.yaml and report.json differ in status")
    return h.samples(out), json.dumps(report, indent=1)


# --- jobs ---

class Job:
    """A launched run. ranks 1 is without a launcher half of the time."""

    def __init__(self, folder, draw, before, env=None, options=()):
        self.folder, self.env = folder, env or {}
        self.tensor = draw.choice((1, 2))
        self.ranks = draw.choice([n for n in ((1, 2, 3, 4) if self.tensor == 1 else (2, 4)) if n != before])
        self.launched = self.ranks > 1 or draw.random() < 0.5
        more = ["-q", "--set", f"parallel.tensor={self.tensor}", *options]
        self.there = records_in(folder)
        self.process = h.start(["sweep.yaml", *more], self.ranks if self.launched else 0, folder, self.env)

    def ended(self):
        return self.process.poll() is not None

    def members(self):
        """Living processes of this job, by id: whether each is a rank. The launcher's children stay in its session."""
        found = {}
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                with open(f"/proc/{pid}/stat", "rb") as f:
                    state, _, _, session = f.read().rsplit(b")", 1)[1].split()[:4]
                if int(session) == self.process.pid and state not in (b"Z", b"X"):
                    found[int(pid)] = os.readlink(f"/proc/{pid}/exe") == os.path.realpath(h.PROGRAM)
            except OSError:
                continue
        return found

    def a_rank(self, draw):
        """One of the ranks; None where the job ended first."""
        while not self.ended():
            pids = sorted(pid for pid, is_rank in self.members().items() if is_rank)
            if pids:
                return draw.choice(pids)
            time.sleep(0.002)
        return None

    def wait_for_moment(self, draw, total):
        """Somewhere between the launch and the last report."""
        chance = draw.random()
        if chance < 0.15:
            time.sleep(draw.random())
            return "soon"
        if chance < 0.3:
            name = draw.choice(("samples.jsonl", "report.json", "report.csv", "report.html", "journal/run.json"))
            path = os.path.join(self.folder, "out", name + ".tmp")
            while not self.ended() and not os.path.exists(path):
                time.sleep(0.0005)
            return f"in {name}"
        records = self.there + int(draw.random() * draw.choice((0.5, 1)) * max(total - self.there, 0))
        while not self.ended() and records_in(self.folder) < records:
            time.sleep(0.002)
        return f"after {records} records"

    def end(self, timeout=60):
        result = h.wait(self.process, timeout)
        h.wait_until(lambda: not self.members(), "the end of every process", timeout=20)
        crashes = [128 + number if self.launched else -number for number in (signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS)]
        expect(result.code not in crashes, "a crash", result)
        for word in ("Segmentation", "Bus error"):
            expect(word not in result.err, "a crash", result)
        return result

    def kill(self):
        for pid in self.members():
            send(pid, signal.SIGKILL)


def send(pid, number):
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass


# --- disturbances: each gets a trial, starts a job, and tells what it did ---

def to_rank(number, codes):
    """codes: those that a run may end with that has made records before; None: any but 0."""
    def disturb(trial):
        job = trial.start()
        moment = job.wait_for_moment(trial.draw, trial.total)
        pid, computing = job.a_rank(trial.draw), records_in(job.folder) > job.there
        if pid:
            send(pid, number)
        result = job.end()
        if computing and codes:
            expect(result.code in codes, f"exit code {result.code}, not one of {codes}", result)
        return result, moment
    return disturb


def to_launcher(number, codes=None):
    def disturb(trial):
        job = trial.start(launched=True)
        moment = job.wait_for_moment(trial.draw, trial.total)
        computing = records_in(job.folder) > job.there
        send(job.process.pid, number)
        result = job.end()
        if computing and codes:
            expect(result.code in codes, f"exit code {result.code}, not one of {codes}", result)
        return result, moment
    return disturb


def frozen(trial):
    """A rank that neither works nor dies: once they compute, the others end the job. Alone, or while MPI starts, nobody is there to notice."""
    job = trial.start(options=["--set", "parallel.heartbeat=3"])
    moment = job.wait_for_moment(trial.draw, trial.total)
    pid, watched = job.a_rank(trial.draw), records_in(job.folder) > job.there and job.ranks > 1
    if pid:
        send(pid, signal.SIGSTOP)
        if not watched:
            time.sleep(1)
            job.kill()
    result = job.end()
    if watched:  # below 0: mpirun 4.1 itself, which has been seen to crash while it ends a job that aborts
        expect(result.code in SOFT or result.code < 0, f"exit code {result.code}, not one of {SOFT}", result)
    return result, moment


def damaged(edit):
    """The job is killed, and its journal damaged: the next one must say so."""
    def disturb(trial):
        job = trial.start()
        moment = job.wait_for_moment(trial.draw, trial.total)
        job.kill()
        result = job.end()
        log = h.read(job.folder, LOG) if records_in(job.folder) else b""
        if log:
            h.write(job.folder, LOG, edit(log, trial.draw))
            trial.expects_warning = True
        return result, moment
    return disturb


def cut(log, draw):
    end = log.rstrip(b"\n").rfind(b"\n") + 1
    return log[:draw.randrange(end + 1, len(log))]


def flip(log, draw):
    place = draw.randrange(len(log) * 9 // 10)
    return log[:place] + bytes([log[place] ^ 1 << draw.randrange(8)]) + log[place + 1:]


REPORTS = ("samples.jsonl", "report.json", "report.yaml", "report.csv", "report.html", "run.json", "plan.json", "records.log", "lock")
RIDDEN_OUT = ("any=EINTR%25", "any=SHORT%30", "write=SHORT%20,any=EINTR%10", "lock=ENOLCK@1+", "lock=EOPNOTSUPP@1+")


def fatal_plan(draw):
    n, error = int(math.exp(draw.uniform(0, 5.5))), draw.choice(("ENOSPC", "EDQUOT", "EIO", "ESTALE"))
    call = draw.choice(("any", "open", "read", "write", "write", "sync", "truncate", "rename", "mkdir", "unlink", "map"))
    few = 1 + n % 3
    return draw.choice((f"any={error}@{n}", f"any={error}@{n}+", f"any={error}%1", f"{call}={error}@{few}", f"{call}={error}@{few}+",
                        f"write={error}@{n}", f"write={error}@{n}+", f"any:{draw.choice(REPORTS)}={error}@{few}+",
                        f"write:records.log=SHORT@{n},write:records.log={error}@{n}+",
                        f"truncate:records.log={error}@1+,write:records.log=SHORT@{n},write:records.log={error}@{n}+"))


REASONS = ("No space left on device", "Disk quota exceeded", "Input/output error", "Stale file handle")


def faulty(codes, plan_of):
    """codes: those that a run may end with under such a plan."""
    def disturb(trial):
        plan, log = plan_of(trial.draw), os.path.join(trial.folder, "faults.txt")
        job = trial.start(env={"LD_PRELOAD": SHIM, "FAULTY_FOLDER": os.path.realpath(os.path.join(trial.folder, "out")),
                               "FAULTY_PLAN": plan, "FAULTY_SEED": str(trial.draw.randrange(1 << 30)), "FAULTY_LOG": log,
                               "ASAN_OPTIONS": "verify_asan_link_order=0:" + h.ENVIRONMENT["ASAN_OPTIONS"]})
        result = job.end()
        fired = os.path.exists(log)
        expect(result.code in (codes if fired else (0,)), f"exit code {result.code} under {plan}", result)
        errors = result.lines("ropesweep: ")
        expect(len(errors) == (1 if result.code else 0), "not one line for a failure", result)
        expect(not errors or "out" in errors[0] and any(reason in errors[0] for reason in REASONS), "no file or no reason", result)
        if fired:
            os.unlink(log)
        return result, plan + ("" if fired else " (none fired)")
    return disturb


KINDS = {
    "SIGKILL to a rank": to_rank(signal.SIGKILL, None),
    "SIGTERM to a rank": to_rank(signal.SIGTERM, SOFT),
    "SIGINT to a rank": to_rank(signal.SIGINT, SOFT),
    "SIGUSR1 to a rank": to_rank(signal.SIGUSR1, SOFT),
    "SIGKILL to mpirun": to_launcher(signal.SIGKILL),
    "SIGTERM to mpirun": to_launcher(signal.SIGTERM),
    "SIGINT to mpirun": to_launcher(signal.SIGINT),
    "SIGUSR1 to mpirun": to_launcher(signal.SIGUSR1, SOFT),
    "SIGSTOP to a rank": frozen,
    "torn journal": damaged(cut),
    "flipped bit": damaged(flip),
    "file faults to ride out": faulty((0,), lambda draw: draw.choice(RIDDEN_OUT)),
    "file faults that stop": faulty(SOFT, fatal_plan),
}


# --- trials ---

class Trial:
    def __init__(self, number, folder, reference):
        self.draw, self.folder, self.reference = random.Random(f"{SEED} {number}"), folder, reference
        self.total, self.before, self.job, self.expects_warning = len(reference[0]), 0, None, False

    def start(self, launched=False, env=None, options=()):
        self.job = Job(self.folder, self.draw, self.before, env, options)
        while launched and not self.job.launched:
            self.job.kill()
            self.job.end()
            self.job = Job(self.folder, self.draw, self.before, env, options)
        self.before = self.job.ranks
        return self.job

    def check(self, result):
        """After each job: nothing in the folder may be half of a thing or wrong."""
        out = os.path.join(self.folder, "out")
        if self.expects_warning_shown:
            warned = [line for line in result.lines("warning: ") if "journal" in line]
            expect(warned or result.code, "the damage was not named", result)
        if result.code == 0:
            h.expect_equal(results(self.folder)[0], self.reference[0], "samples.jsonl")
            h.expect_equal(results(self.folder)[1], self.reference[1], "report.json")
        elif os.path.exists(os.path.join(out, "report.json")):
            h.report(out)
        if os.path.exists(os.path.join(out, "samples.jsonl")):
            expect(set(h.samples(out)) <= set(self.reference[0]), "a sample that the undisturbed run does not have")

    def run(self, kinds):
        for kind in kinds:
            self.expects_warning_shown, self.expects_warning = self.expects_warning, False
            result, what = KINDS[kind](self)
            job = self.job
            print(f"  {kind}, {what}; {job.ranks} ranks, tensor {job.tensor}{'' if job.launched else ', no launcher'}: exit code "
                  f"{result.code}, {job.there} -> {records_in(self.folder)} records, {result.seconds:.1f} s", flush=True)
            self.check(result)
        self.expects_warning_shown = self.expects_warning
        job = self.start()
        result = job.end()
        print(f"  left alone; {job.ranks} ranks, tensor {job.tensor}: exit code {result.code}, {job.there} -> {records_in(self.folder)} "
              f"records, {result.seconds:.1f} s", flush=True)
        expect(result.code == 0, f"exit code {result.code}", result)
        self.check(result)


def kinds_of(number):
    """One to three for each trial, from decks that hold every kind once."""
    first = 6 * (number // 3) + (0, 1, 3)[number % 3]
    cards = []
    for deck in range(first // len(KINDS), (first + 2) // len(KINDS) + 1):
        cards += random.Random(f"{SEED} deck {deck}").sample(list(KINDS), len(KINDS))
    first %= len(KINDS)
    return cards[first:first + 1 + number % 3]


def trial(number, reference):
    folder = h.new_folder()
    write_sweep(folder)
    t = Trial(number, folder, reference)
    try:
        t.run(kinds_of(number))
    finally:
        if t.job:
            t.job.kill()
        shutil.rmtree(folder, ignore_errors=True)


def main():
    suite, folder = h.Suite(), h.new_folder()
    write_sweep(folder)
    h.run("sweep.yaml", "-q", cwd=folder, code=0)
    reference = results(folder)
    for number in range(TRIALS) if ONLY is None else [ONLY]:
        suite.case(f"seed {SEED}, trial {number}: {', then '.join(kinds_of(number))}", trial, number, reference)
    suite.end()


main()
