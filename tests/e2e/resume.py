"""Runs that are cut off and go on: by signals, by death, by damage, by other settings, by shards. Whatever happened, the samples in the end
are those of an undisturbed run.
"""
import os
import random
import resource
import signal
import time

import harness as h
from cut_off import LONG, begin, expect_gone, expect_resumes, out_of, records_in, remove_output, run, write_config
from harness import expect

# --- cut off in mid-run: a sweep that takes seconds ---

def stopped(folder, reference, number, whom, ranks, ranks_then, *more):
    """whom: ranks that get the signal; None: the launcher (or the program where there is none)."""
    remove_output(folder)
    process, pids = begin(folder, ranks, *more)
    for pid in [process.pid] if whom is None else [pids[i] for i in whom]:
        os.kill(pid, number)
    result = h.wait(process, 60)
    expect(result.code == 75, "not exit code 75", result)
    expect(h.status(out_of(folder)) == "partial" and h.yaml_status(out_of(folder)) == "partial", "status is not partial")
    expect_gone(pids)
    some = h.samples(out_of(folder))
    expect(0 < len(some) < len(reference), f"{len(some)} of {len(reference)} samples")
    expect(set(some) <= set(reference), "a sample that the undisturbed run does not have")
    expect_resumes(folder, reference, ranks_then, *more)


def stopped_at_once(folder, reference):
    """As soon as the journal is there, a signal must not end the run by its default action."""
    remove_output(folder)
    process = h.start(["sweep.yaml", "-q"], 0, folder)
    h.wait_until(lambda: os.path.exists(os.path.join(folder, "out/journal/lock")), "the journal")
    os.kill(process.pid, signal.SIGTERM)
    result = h.wait(process, 60)
    expect(result.code == 75, "not exit code 75", result)
    expect(h.status(out_of(folder)) == "partial", "status is not partial")
    expect_resumes(folder, reference, 2)


def launcher_ended(number):
    """SIGTERM or SIGINT to mpirun: it sends SIGTERM a second later and SIGKILL after one more, so that reports must come at once. What it returns is its
    own affair, as long as it is not 0."""
    folder = h.new_folder()
    write_config(folder, "500, 900", "default, {rope_type: yarn, factor: [2, 4, 8, 16]}", 43)
    process, pids = begin(folder, 2)
    process.send_signal(number)
    result = h.wait(process, 60)
    expect(result.code != 0, "exit code 0", result)
    expect_gone(pids)
    expect(h.status(out_of(folder)) == "partial", "status is not partial")
    expect(0 < len(h.samples(out_of(folder))) <= records_in(folder), "samples.jsonl does not have what the journal had")


def write_long_answers(folder, new_tokens):
    """Samples of which many decode together, and end together."""
    write_config(folder, str(new_tokens + 200), "default, {rope_type: yarn, factor: 4}", 1)
    text = h.read(folder, "sweep.yaml").decode().replace("max_new_tokens: 1}", f"max_new_tokens: {new_tokens}}}")
    text = text.replace("samples: 4", "samples: 20").replace("batch_tokens: 1024", "batch_tokens: 4096")
    h.write(folder, "sweep.yaml", text.replace("  - {name: perplexity, text: text.txt, samples: 1}\n", ""))


def grace_finishes():
    """What has begun may end; nothing else begins."""
    folder = h.new_folder()
    write_long_answers(folder, 1800)
    process, _ = begin(folder, 0, "--grace", "60", records=1)
    time.sleep(0.3 * (time.monotonic() - process.begun))  # the next samples decode by then
    before = records_in(folder)
    process.terminate()
    result = h.wait(process, 60)
    expect(result.code == 75 and h.status(out_of(folder)) == "partial", "not exit code 75", result)
    after = records_in(folder)
    expect(before < after < 80, f"{before} samples before the signal, {after} in the end, of 80", result)
    expect(len(h.samples(out_of(folder))) == after, "samples.jsonl is not what the journal has")


def grace_ends(seconds):
    """Samples that take longer are dropped when it is over."""
    folder = h.new_folder()
    write_long_answers(folder, 30000)
    process, _ = begin(folder, 0, "--grace", str(seconds), records=0)
    h.wait_until(lambda: os.path.exists(os.path.join(out_of(folder), "journal/lock")), "the journal")
    time.sleep(1)
    signalled = time.monotonic()
    process.terminate()
    result = h.wait(process, 60)
    lasted = time.monotonic() - signalled
    expect(result.code == 75 and h.status(out_of(folder)) == "partial", "not exit code 75", result)
    expect(lasted < (seconds + 8) * h.SLOW, f"it took {lasted:.1f} s", result)


def disk_full(folder, reference):
    """No more than a part of a record fits: as with a signal, what is there is kept."""
    remove_output(folder)
    process, pids = begin(folder, 0, restore_signals=False)  # Python ignores SIGXFSZ, and so does what it starts
    room = len(h.read(folder, "out/journal/records.log")) + 100
    resource.prlimit(pids[0], resource.RLIMIT_FSIZE, (room, room))
    result = h.wait(process)
    expect(result.code == 75, "not exit code 75", result)
    expect([line for line in result.lines("ropesweep: ") if "records.log" in line], "the file is not named", result)
    expect_resumes(folder, reference, 2)


def killed(folder, reference, seed):
    """Ranks die without a word, several times over; the job must end each time."""
    draw = random.Random(seed)
    remove_output(folder)
    deaths = 0
    for _ in range(3):
        ranks = draw.choice([2, 3])
        process, pids = begin(folder, ranks, records=records_in(folder) + draw.randrange(1, 40))
        finished = process.poll() is not None
        if not finished:
            os.kill(pids[draw.randrange(ranks)], signal.SIGKILL)
        result = h.wait(process, 60)
        if not finished and result.code != 0:  # 0: the last record came before the signal
            expect(result.code != 75, "a killed rank is not a stop that was asked for", result)
            deaths += 1
        expect_gone(pids)
    expect(deaths > 0, "no rank was killed in time")
    expect_resumes(folder, reference, 2)


def long_cases(suite):
    folder = h.new_folder()
    write_config(folder, *LONG)
    run(folder, "-q", ranks=2, code=0)
    reference = h.samples(out_of(folder))
    term, usr1 = signal.SIGTERM, signal.SIGUSR1
    for name, number, whom, ranks, then in (("SIGTERM, no launcher", term, None, 0, 2), ("SIGUSR1, no launcher", usr1, None, 0, 0),
                                            ("SIGTERM to rank 0 of 2", term, [0], 2, 3), ("SIGTERM to rank 1 of 2", term, [1], 2, 0),
                                            ("SIGUSR1 to rank 2 of 3", usr1, [2], 3, 2), ("SIGTERM to both ranks", term, [0, 1], 2, 4),
                                            ("SIGUSR1 to mpirun, which hands it on", usr1, None, 2, 2)):
        suite.case(name, stopped, folder, reference, number, whom, ranks, then)
    suite.case("SIGTERM as soon as there is a journal", stopped_at_once, folder, reference)
    suite.case("SIGTERM to mpirun", launcher_ended, signal.SIGTERM)
    suite.case("SIGINT to mpirun", launcher_ended, signal.SIGINT)
    suite.case("a grace in which samples end", grace_finishes)
    for seconds in (0, 2):
        suite.case(f"a grace of {seconds} s in which none ends", grace_ends, seconds)
    suite.case("a full disk", disk_full, folder, reference)
    for seed in (1, 2):
        suite.case(f"SIGKILL to a rank, three times, seed {seed}", killed, folder, reference, seed)
    tensor = ("--set", "parallel.tensor=2", "--set", "parallel.deterministic=true")
    remove_output(folder)
    run(folder, "-q", *tensor, ranks=2, code=0)
    reference = h.samples(out_of(folder))
    suite.case("tensor 2: SIGTERM to the group's second rank", stopped, folder, reference, term, [1], 2, 4, *tensor)
    suite.case("tensor 2 of 4 ranks: SIGUSR1 to rank 3", stopped, folder, reference, usr1, [3], 4, 2, *tensor)


# --- what stands in the folder, and other settings: a small sweep ---

SMALL = ("40, 90", "default, {rope_type: linear, factor: 2}", 5)
SAMPLES = 2 * 2 * 2 * (5 + 4)


def small_folder(ranks=0):
    folder = h.new_folder()
    write_config(folder, *SMALL)
    return folder, run(folder, "-q", ranks=ranks, code=0)


def damage(folder, edit):
    """edit(bytes) of the journal's log; the run's other files stay."""
    path = os.path.join(folder, "out/journal/records.log")
    h.write(folder, "out/journal/records.log", edit(h.read(folder, path)))


def flip(at):
    def edit(log):
        place = int(len(log) * at)
        return log[:place] + bytes([log[place] ^ 0x20]) + log[place + 1:]
    return edit


def damaged(edit):
    folder, _ = small_folder()
    reference, before = h.samples(out_of(folder)), records_in(folder)
    damage(folder, edit)
    result = run(folder, code=0)
    warnings = [line for line in result.lines("warning: ") if "journal" in line]
    expect(warnings, "no warning says `journal`", result)
    h.expect_equal(h.samples(out_of(folder)), reference, "samples.jsonl")
    expect(records_in(folder) >= before, "the lost record is not in the journal again")
    expect(h.status(out_of(folder)) == "complete", "status")


def again_changes_nothing(ranks):
    folder, _ = small_folder()
    before = h.snapshot(folder, with_times=True)
    run(folder, ranks=ranks, code=0)
    changed = h.differences(before, h.snapshot(folder, with_times=True))
    expect(not changed, f"the second run changed {changed}")


def lost_file(name):
    """A folder that lost a file is made whole again, to the byte."""
    folder, _ = small_folder()
    reference, report = h.samples(out_of(folder)), h.stable(h.report(out_of(folder)))
    os.unlink(os.path.join(folder, name))
    run(folder, "-q", code=0)
    expect(os.path.exists(os.path.join(folder, name)), f"{name} is not there again")
    h.expect_equal(h.samples(out_of(folder)), reference, "samples.jsonl")
    h.expect_equal(h.stable(h.report(out_of(folder))), report, "report.json")


def two_at_once():
    """One of them works, the other is sent away and disturbs nothing."""
    folder = h.new_folder()
    write_config(folder, "200, 300", SMALL[1], 30)
    first = h.start(["sweep.yaml", "-q"], 0, folder)
    h.wait_until(lambda: records_in(folder) > 0, "the first records")
    os.kill(first.pid, signal.SIGSTOP)  # so that it lasts as long as the other one takes to start
    second = run(folder, "-q", ranks=2, code=2)
    os.kill(first.pid, signal.SIGCONT)
    expect(len(second.lines("ropesweep: ")) == 1 and str(first.pid) in second.err, "the other run is not named", second)
    expect(h.wait(first).code == 0, "the first run was disturbed")
    expect(len(h.samples(out_of(folder))) == 2 * 2 * 2 * (30 + 4), "samples")


def one_entry_more():
    folder, _ = small_folder()
    write_config(folder, SMALL[0], SMALL[1] + ", alibi", SMALL[2])
    result = run(folder, code=0)
    expect(f"{SAMPLES} of {SAMPLES * 3 // 2} samples" in result.err and "reused" in result.err, "how many are reused", result)
    expect(len(h.samples(out_of(folder))) == SAMPLES * 3 // 2, "samples")
    expect(h.status(out_of(folder)) == "complete", "status")


def more_samples():
    folder, _ = small_folder()
    write_config(folder, SMALL[0], SMALL[1], SMALL[2] + 2)
    result = run(folder, code=0)
    expect(f"{SAMPLES} of {SAMPLES + 16} samples" in result.err and "reused" in result.err, "how many are reused", result)
    write_config(folder, *SMALL)  # and fewer again: everything is there, the reports follow the config
    result = run(folder, code=0)
    expect("16 samples there are not asked for" in result.err and "are kept" in result.err, "what is not used is not said", result)
    expect(len(h.samples(out_of(folder))) == SAMPLES, "samples of the smaller config")


def reordered():
    """The same entries in another order are the same points."""
    folder, _ = small_folder()
    reference = h.samples(out_of(folder))
    write_config(folder, "90, 40", ", ".join(reversed(SMALL[1].split(", ", 1))), SMALL[2])
    result = run(folder, code=0)
    expect(f"{SAMPLES} of {SAMPLES} samples" in result.err, "all are reused", result)
    expect(sorted(h.samples(out_of(folder))) == sorted(reference), "other samples")


def limit():
    folder, _ = small_folder()
    reference = h.samples(out_of(folder))
    remove_output(folder)
    run(folder, "-q", "--limit", "2", code=0)
    few = h.samples(out_of(folder))
    expect(len(few) == 2 * 2 * 2 * (2 + 2) and set(few) <= set(reference), "samples under --limit 2")
    result = run(folder, code=0)
    expect(f"{len(few)} of {SAMPLES} samples" in result.err, "how many are reused", result)
    h.expect_equal(h.samples(out_of(folder)), reference, "samples.jsonl")


def fresh():
    folder, _ = small_folder()
    before = h.snapshot(out_of(folder))
    result = run(folder, "--fresh", "--set", "model.dtype=bf16", code=0)
    expect("old-1" in result.err, "the place of the old results is not named", result)
    old = os.path.join(out_of(folder), "old-1")
    changed = h.differences(before, h.snapshot(old))
    expect(not changed, f"moving aside changed {changed}")
    expect(h.report(out_of(folder))["model"]["dtype"] == "bf16" and h.status(out_of(folder)) == "complete", "the new results")
    run(folder, "-q", "--fresh", code=0)
    expect(os.path.isdir(os.path.join(out_of(folder), "old-2")), "no old-2")
    h.expect_equal(h.samples(out_of(folder)), h.samples(old), "samples.jsonl")


def shards():
    """Each of three jobs does its share with ranks of its own; merged, they are the whole."""
    folder, _ = small_folder()
    whole, ids = h.samples(out_of(folder)), [p["id"] for p in h.report(out_of(folder))["points"]]
    for i in range(3):
        run(folder, "-q", "--shard", f"{i}/3", "--output", f"part{i}", ranks=i, code=0)
        expect(h.samples(os.path.join(folder, f"part{i}")), f"shard {i} has nothing to do")
    h.run("merge", "part2", "part0", "part1", "-o", "all", cwd=folder, code=0)
    merged = os.path.join(folder, "all")
    h.expect_equal(h.samples(merged), whole, "samples.jsonl")
    h.expect_equal([p["id"] for p in h.report(merged)["points"]], ids, "points")
    expect(h.status(merged) == "complete", "status")
    result = h.run("merge", "part0", "part2", "-o", "some", cwd=folder)
    expect(result.code not in (0, 1), "a shard is missing", result)
    some = os.path.join(folder, "some")
    expect(h.status(some) == "partial" and h.yaml_status(some) == "partial", "status is not partial")
    expect(set(h.samples(some)) < set(whole), "samples")
    expect(any(p["status"] == "missing" for p in h.report(some)["points"]), "no point is missing")


def shard_cut_off():
    """A shard is resumed like any run; a shard too many or of another sweep is refused."""
    folder, _ = small_folder()
    whole = h.samples(out_of(folder))
    for i in range(2):
        run(folder, "-q", "--shard", f"{i}/2", "--output", f"part{i}", code=0)
    damage_path = os.path.join("part1", "journal", "records.log")
    h.write(folder, damage_path, h.read(folder, damage_path)[:-100])
    result = h.run("merge", "part0", "part1", "-o", "short", cwd=folder)
    expect(result.code not in (0, 1), "a sample is missing", result)
    run(folder, "-q", "--shard", "1/2", "--output", "part1", code=0)
    h.run("merge", "part0", "part1", "-o", "all", cwd=folder, code=0)
    h.expect_equal(h.samples(os.path.join(folder, "all")), whole, "samples.jsonl")
    run(folder, "-q", "--set", "model.dtype=bf16", "--output", "other", code=0)
    result = h.run("merge", "part0", "other", "-o", "mixed", cwd=folder, code=2)
    expect(len(result.lines("ropesweep: ")) == 1 and "other" in result.err, "the folder is not named", result)
    result = run(folder, "-q", "--shard", "0/2", "--output", "part1", code=2)
    expect("part1" in result.err and "shard" in result.err, "two shards in one folder", result)


def rebuilt_reports():
    folder, _ = small_folder()
    before = h.snapshot(out_of(folder))
    for name in ("report.yaml", "report.json", "report.csv", "report.html", "samples.jsonl"):
        os.unlink(os.path.join(out_of(folder), name))
    h.run("report", "out", cwd=folder, code=0)
    changed = h.differences(before, h.snapshot(out_of(folder)))
    expect(not changed, f"`report` made other files: {changed}")


def gates():
    folder, _ = small_folder()
    run(folder, "-q", "--set", "sweep.softmax=1", "--output", "other", code=0)
    result = h.run("compare", "out", "other", cwd=folder, code=0)
    expect("perplexity" in result.out and "kv_lookup" in result.out, "what is compared", result)
    h.run("compare", "out", "other", "--gate", "perplexity nll_per_token <= 0.001", cwd=folder, code=0)
    result = h.run("compare", "out", "other", "--gate", "perplexity nll_per_token <= -5", cwd=folder, code=4)
    expect("nll_per_token" in result.out + result.err, "the gate is not named", result)
    for gate in ("perplexity nll_per_token", "perplexity nonsense <= 1", "nosuchtask accuracy >= 0", "perplexity@77 nll_per_token >= 0"):
        result = h.run("compare", "out", "other", "--gate", gate, cwd=folder, code=2)
        expect(len(result.lines("ropesweep: ")) == 1 and gate.split()[0] in result.err, "the gate is not named", result)


def small_cases(suite):
    suite.case("torn tail: 7 bytes", damaged, lambda log: log[:-7])
    suite.case("torn tail: only the newline", damaged, lambda log: log[:-1])
    suite.case("torn tail: half of the log", damaged, lambda log: log[:len(log) // 2])
    for at in (0.0, 0.31, 0.5, 0.77):
        suite.case(f"a flipped bit at {at:.0%} of the log", damaged, flip(at))
    suite.case("the same command again", again_changes_nothing, 0)
    suite.case("the same command again, two ranks", again_changes_nothing, 2)
    for name in ("out/report.json", "out/samples.jsonl", "out/journal/records.log", "out/journal/plan.json"):
        suite.case(f"{name} is lost", lost_file, name)
    suite.case("two runs in one folder at once", two_at_once)
    suite.case("one rope entry more", one_entry_more)
    suite.case("more samples, then fewer", more_samples)
    suite.case("entries in another order", reordered)
    suite.case("--limit, then without", limit)
    suite.case("--fresh", fresh)
    suite.case("shards and merge", shards)
    suite.case("a shard cut off, a foreign shard", shard_cut_off)
    suite.case("report rebuilds the reports", rebuilt_reports)
    suite.case("compare and gates", gates)


def main():
    suite = h.Suite()
    small_cases(suite)
    long_cases(suite)
    suite.end()


main()
