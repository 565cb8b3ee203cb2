"""Disks that fail at a chosen call, and folders that are held by somebody: one clear line, exit code 75 or 2, and nothing lost.

  faults.py ROPESWEEP SHIM [NAME-PART]...    SHIM: tools/faulty_files.c, built
"""
import fcntl
import json
import os
import shutil
import signal
import sys
import threading
import time

import harness as h
from harness import expect

SHIM = os.path.abspath(sys.argv[2])
h.CHOSEN = sys.argv[3:]
WORDS = json.loads(h.read(h.TINY_GEMMA, "words.json"))
CONFIG = """\
model: {path: MODEL, dtype: fp32}
parallel: {threads: 1, batch_tokens: 512}
output: out
sweep: {context: [60, 200], rope: [default, {rope_type: linear, factor: 2}], softmax: [1]}
tasks:
  - {name: kv_lookup, samples: SAMPLES, keys: KEYS, values: VALUES, max_new_tokens: 1}
"""
FILES = ("samples.jsonl", "report.json", "report.yaml", "report.csv", "report.html", "journal/run.json")


def new_sweep(samples=5):
    folder, text = h.new_folder(), CONFIG.replace("MODEL", h.TINY_GEMMA).replace("SAMPLES", str(samples))
    h.write(folder, "sweep.yaml", text.replace("KEYS", json.dumps(WORDS["keys"])).replace("VALUES", json.dumps(WORDS["values"])))
    return folder


def out_of(folder):
    return os.path.join(folder, "out")


def faulty(folder, plan):
    """Environment under which calls on files of the output folder fail."""
    return {"LD_PRELOAD": SHIM, "FAULTY_FOLDER": os.path.realpath(out_of(folder)), "FAULTY_PLAN": plan,
            "FAULTY_LOG": os.path.join(folder, "faults.txt"),
            "ASAN_OPTIONS": "verify_asan_link_order=0:" + h.ENVIRONMENT["ASAN_OPTIONS"]}


def run(folder, *more, plan=None, ranks=0, code=0):
    result = h.run("sweep.yaml", *more, ranks=ranks, cwd=folder, env=faulty(folder, plan) if plan else None, code=code)
    if plan:
        expect(os.path.exists(os.path.join(folder, "faults.txt")), f"nothing failed under {plan}", result)
        os.unlink(os.path.join(folder, "faults.txt"))
    return result


def expect_one_line(result, *parts):
    errors = result.lines("ropesweep: ")
    expect(len(errors) == 1 and all(part in errors[0] for part in parts), f"not one line with {parts}", result)


def results(folder):
    report = h.stable(h.report(out_of(folder)))
    report["run"].pop("ranks")
    return h.samples(out_of(folder)), report


def expect_whole(folder, reference, what):
    now = results(folder)
    h.expect_equal(now[0], reference[0], f"{what}: samples.jsonl")
    h.expect_equal(now[1], reference[1], f"{what}: report.json")
    expect(not [name for name in h.snapshot(out_of(folder)) if name.endswith(".tmp")], f"{what}: an unfinished file is left")


# --- disks ---

def failing_report(reference, name, plan, reason):
    """All samples are there, but a report cannot be written."""
    folder = new_sweep()
    result = run(folder, "-q", plan=plan, code=75)
    expect_one_line(result, name, reason)
    there = os.path.exists(os.path.join(out_of(folder), name))
    expect(not there or name == "journal/run.json", f"{name} is there all the same")
    again = run(folder)
    expect("20 of 20 samples" in again.err, "not all samples are reused", again)
    expect_whole(folder, reference, name)


def half_replaced(reference, name):
    """A whole set of reports, then a journal that lost a record, and a run that can write some of the reports only: the next one must not
    take them for whole.
    """
    folder = new_sweep()
    run(folder, "-q")
    log = h.read(out_of(folder), "journal/records.log")
    h.write(out_of(folder), "journal/records.log", log[:-5])
    run(folder, "-q", plan=f"any:{name}=EIO@1+,write:records.log=ENOSPC@1+", code=75)
    run(folder, "-q", plan="write:report.json=ENOSPC@1+,rename:samples.jsonl=EIO@1+", code=75)
    run(folder, "-q")
    expect_whole(folder, reference, name)


def stops(reference, plan, file, reason):
    folder = new_sweep()
    expect_one_line(run(folder, "-q", plan=plan, ranks=2, code=75), file, reason)
    run(folder, "-q")
    expect_whole(folder, reference, plan)


def rides_out(reference, plan):
    folder = new_sweep()
    expect(not run(folder, "-q", plan=plan).err, "something was said")
    expect_whole(folder, reference, plan)


def fresh_cut_short(reference):
    """--fresh stops in mid-move; nothing of the old results is lost, and the same command goes on."""
    folder = new_sweep()
    run(folder, "-q")
    before = {os.path.basename(name): content for name, (content, _) in h.snapshot(out_of(folder)).items() if content}
    expect_one_line(run(folder, "-q", "--fresh", plan="rename=EIO@3", code=75), "out/", "Input/output error")
    run(folder, "-q", "--fresh")
    after = [(os.path.basename(name), content) for name, (content, _) in h.snapshot(out_of(folder)).items() if "old-" in name]
    expect(all(item in after for item in before.items()), "an old file is lost")
    expect_whole(folder, reference, "--fresh")


def other_commands(reference):
    folder = new_sweep()
    run(folder, "-q")
    for command in (["report", "out"], ["merge", "out", "-o", "out/merged"]):
        result = h.run(*command, cwd=folder, env=faulty(folder, "write:report.csv=ENOSPC@1+"), code=75)
        expect_one_line(result, "report.csv", "No space left on device")
        h.run(*command, cwd=folder, code=0)
    expect_whole(folder, reference, "report")


def two_writers(reference):
    """`report` and a run, or two of them, may write one report at the same time: one waits for the other, and no file is a mixture. What a
    dead one left is written over.
    """
    folder = new_sweep()
    run(folder, "-q")
    for name in ("report.json", "journal/run.json"):
        h.write(out_of(folder), name + ".tmp", "x" * 1000000)
    with open(os.path.join(out_of(folder), "report.json.tmp")) as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        process = h.start(["report", "out"], 0, folder)
        time.sleep(0.5)
        expect(process.poll() is None, "it did not wait for the other writer")
        os.unlink(other.name)
    expect(h.wait(process).code == 0, "exit code")
    expect_whole(folder, reference, "report")


# --- folders that are held ---

LOCK = "out/journal/lock"


def held_elsewhere():
    """A holder on another host that shows life is let be, with its name; once it is silent, it is gone."""
    folder, ends = new_sweep(), threading.Event()
    path = h.write(folder, LOCK, "node17 4242\n")
    beats = threading.Thread(target=lambda: [os.utime(path) for _ in iter(lambda: ends.wait(1), True)])
    beats.start()
    try:
        result = run(folder, code=2)
    finally:
        ends.set()
        beats.join()
    expect_one_line(result, LOCK, "host node17", "pid 4242")
    expect(not os.path.exists(os.path.join(folder, "out/journal/records.log")), "the refused run wrote to the folder")
    result = run(folder)
    expect("taken over" in result.err and "node17" in result.err, "no notice", result)
    expect(h.read(folder, LOCK) == b"", "the lock still names a holder")


def killed_holder(plan):
    """What a killed run of this host leaves is taken over at once."""
    folder = new_sweep(200)
    first = h.start(["sweep.yaml", "-q"], 0, folder)
    h.wait_until(lambda: os.path.exists(os.path.join(folder, "out/journal/records.log")), "the journal")
    os.kill(first.pid, signal.SIGSTOP)
    result = run(folder, plan=plan, code=2)
    expect_one_line(result, LOCK, f"pid {first.pid}")
    os.kill(first.pid, signal.SIGKILL)
    h.wait(first)
    result = run(folder, plan=plan)
    expect("taken over" in result.err and f"pid {first.pid}" in result.err, "no notice", result)


def main():
    suite, folder = h.Suite(), new_sweep()
    run(folder, "-q")
    reference = results(folder)
    shutil.rmtree(out_of(folder))
    full, broken = "No space left on device", "Input/output error"
    for name in FILES:
        base = os.path.basename(name)
        suite.case(f"no room for {name}", failing_report, reference, name, f"write:{base}=SHORT@1,write:{base}=ENOSPC@1+", full)
        suite.case(f"{name} cannot be put in place", failing_report, reference, name, f"rename:{base}=EIO@1+", broken)
        suite.case(f"reports replaced up to {name}", half_replaced, reference, base)
    for plan, file, reason in (("write:records.log=ENOSPC@7+", "records.log", full), ("sync:records.log=EIO@1", "records.log", broken),
                               ("write:records.log=SHORT@7,write:records.log=EDQUOT@7+,truncate:records.log=EIO@1+", "records.log", "quota"),
                               ("open:records.log=EIO@1+", "records.log", broken), ("write:plan.json=ENOSPC@1+", "plan.json", full),
                               ("mkdir=ENOSPC@1+", "out", full), ("mkdir:journal=EIO@1+", "out/journal", broken),
                               ("write:lock=ENOSPC@1+", "lock", full), ("sync:journal=EIO@1+", "journal", broken)):
        suite.case(f"{plan}", stops, reference, plan, file, reason)
    for plan in ("any=EINTR%30", "any=SHORT%50"):
        suite.case(f"{plan} is ridden out", rides_out, reference, plan)
    suite.case("--fresh is cut short", fresh_cut_short, reference)
    suite.case("report and merge", other_commands, reference)
    suite.case("two writers of a report", two_writers, reference)
    suite.case("held from another host", held_elsewhere)
    suite.case("a killed holder", killed_holder, None)
    suite.case("a killed holder, no locks on the file system", killed_holder, "lock=ENOLCK@1+")
    suite.end()


main()
