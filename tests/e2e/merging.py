"""`merge`: the parts of a sweep become the whole one, byte for byte; what does not belong together is refused and named; overlaps and gaps are
told."""
import ctypes
import ctypes.util
import json
import os
import shutil

import harness as h
from harness import expect

WORDS = json.loads(h.read(h.TINY_GEMMA, "words.json"))
CONFIG = f"""\
model: {{path: {h.TINY_GEMMA}, dtype: fp32}}
parallel: {{threads: 1}}
output: whole
sweep: {{context: [40, 90], rope: [default, {{rope_type: linear, factor: 2}}], softmax: [1, 0.8]}}
tasks:
  - {{name: perplexity, text: text.txt, samples: 5}}
  - {{name: kv_lookup, samples: 4, keys: {json.dumps(WORDS["keys"])}, values: {json.dumps(WORDS["values"])}, max_new_tokens: 1}}
"""
N_SHARDS = 3
XXHASH = ctypes.CDLL(ctypes.util.find_library("xxhash"))
XXHASH.XXH3_64bits.restype = ctypes.c_uint64


class Sweep:
    """One sweep run whole and in shards, made once; each case works on a copy."""

    def __init__(self):
        self.folder = h.new_folder()
        h.write(self.folder, "sweep.yaml", CONFIG)
        h.write(self.folder, "text.txt", "".join(" " + WORDS["keys"][i * i % len(WORDS["keys"])] for i in range(4000)))
        self.run("--output", "whole")
        for i in range(N_SHARDS):
            self.shard(i)

    def run(self, *more):
        h.run("sweep.yaml", "-q", *more, cwd=self.folder, code=0)

    def shard(self, i, name=None, *more):
        self.run("--shard", f"{i}/{N_SHARDS}", "--output", name or f"part{i}", *more)

    def copy(self):
        folder = h.new_folder()
        for name in ("whole", *(f"part{i}" for i in range(N_SHARDS))):
            shutil.copytree(os.path.join(self.folder, name), os.path.join(folder, name))
        return folder


def merge(folder, *parts, code, output="all"):
    return h.run("merge", *parts, "-o", output, cwd=folder, code=code)


def numbers(folder):
    """report.json's points as text, without what may differ."""
    return json.dumps([h.stable(p) for p in h.report(folder)["points"]])


def expect_whole(folder, output="all"):
    one, other = os.path.join(folder, "whole"), os.path.join(folder, output)
    h.expect_equal(h.samples(other), h.samples(one), "samples.jsonl")
    h.expect_equal(numbers(other), numbers(one), "points of report.json")
    expect(h.status(other) == h.yaml_status(other) == "complete", "status")


def log_of(folder, part):
    return os.path.join(folder, part, "journal", "records.log")


def lines_of(folder, part):
    with open(log_of(folder, part), "rb") as f:
        return f.read().splitlines(keepends=True)


def refused(folder, *parts, words):
    result = merge(folder, *parts, code=2)
    expect(len(result.lines("ropesweep: ")) == 1, "not one message", result)
    for word in words:
        expect(word in result.err, f"'{word}' is not named", result)
    expect(not os.path.exists(os.path.join(folder, "all")), "the output folder was made", result)


# --- whole ---

def equals_the_whole(sweep):
    folder = sweep.copy()
    for order in ((0, 1, 2), (2, 0, 1)):
        result = merge(folder, *(f"part{i}" for i in order), code=0, output=f"all{order[0]}")
        expect(not result.lines("warning: "), "a warning", result)
        expect_whole(folder, f"all{order[0]}")


def merges_of_merges(sweep):
    """A merge can be merged again: with the last shard, and with itself."""
    folder = sweep.copy()
    result = merge(folder, "part0", "part2", code=3, output="two")
    expect([line for line in result.lines("warning: ") if "shard 1/3 is missing" in line], "the missing shard", result)
    for output, parts in (("all", ("two", "part1")), ("all2", ("part1", "two"))):
        result = merge(folder, *parts, code=0, output=output)
        expect(not result.lines("warning: "), "a warning", result)
        expect_whole(folder, output)
    merge(folder, "all", "whole", code=0, output="all3")
    expect_whole(folder, "all3")


def merged_twice(sweep):
    """The same command again, and one that a shard more follows, go on in the same folder."""
    folder = sweep.copy()
    merge(folder, "part0", "part1", code=3)
    merge(folder, "part0", "part1", "part2", code=0)
    expect_whole(folder)
    merge(folder, "part0", "part1", "part2", code=0)
    expect_whole(folder)


# --- what does not belong together ---

def edit_plan(folder, part, edit):
    h.edit_json(os.path.join(folder, part, "journal"), "plan.json", edit)


def other_plan(sweep, edit, *words):
    folder = sweep.copy()
    edit_plan(folder, "part1", edit)
    refused(folder, "part0", "part1", "part2", words=("part0", "part1", *words))


def put(*path):
    """Sets the last but one as a key below the others."""
    def edit(plan):
        for name in path[:-2]:
            plan = plan[name]
        plan[path[-2]] = path[-1]
    return edit


def other_version(plan):
    for point in plan["points"]:
        point["task_version"] += point["task"] == "kv_lookup"


def other_settings(sweep, settings, *words):
    """Real runs with other settings, as opposed to edited plans."""
    folder = sweep.copy()
    h.write(folder, "sweep.yaml", CONFIG)
    shutil.copy(os.path.join(sweep.folder, "text.txt"), folder)
    h.run("sweep.yaml", "-q", "--shard", f"1/{N_SHARDS}", "--output", "part1", "--fresh", *settings, cwd=folder, code=0)
    refused(folder, "part0", "part1", "part2", words=("part0", "part1", *words))


def other_text(sweep):
    """The config is the same, the file that it names is not."""
    folder = sweep.copy()
    h.write(folder, "sweep.yaml", CONFIG)
    h.write(folder, "text.txt", h.read(sweep.folder, "text.txt").replace(b" ", b"  ", 1))
    h.run("sweep.yaml", "-q", "--shard", f"1/{N_SHARDS}", "--output", "part1", "--fresh", cwd=folder, code=0)
    refused(folder, "part0", "part1", "part2", words=("part0", "part1", "perplexity", "data files"))


def other_ranks(sweep):
    """How the work was spread is no difference."""
    folder = sweep.copy()
    h.write(folder, "sweep.yaml", CONFIG)
    shutil.copy(os.path.join(sweep.folder, "text.txt"), folder)
    h.run("sweep.yaml", "-q", "--shard", f"1/{N_SHARDS}", "--output", "part1", "--fresh", "--set", "parallel.tensor=2", "--set",
          "parallel.batch_tokens=512", ranks=2, cwd=folder, code=0)
    merge(folder, "part0", "part1", "part2", code=0)
    expect_whole(folder)


def other_counts(sweep):
    folder = sweep.copy()
    edit_plan(folder, "part1", put("shard", "count", 4))
    refused(folder, "part0", "part1", words=("part0", "part1", "4 shards", "3"))


# --- overlaps ---

def changed(line, old, new):
    """A journal's line with another text in its record, and the checksum that this has."""
    record = line[17:-1]
    expect(old in record, f"{old} is not in {record}")
    record = record.replace(old, new)
    return b"%016x %s\n" % (XXHASH.XXH3_64bits(record, ctypes.c_size_t(len(record))), record)


def overlap(sweep):
    folder = sweep.copy()
    again = lines_of(folder, "part1")[:7]
    with open(log_of(folder, "part0"), "ab") as f:
        f.writelines(again)
    result = merge(folder, "part0", "part1", "part2", code=0)
    warnings = result.lines("warning: ")
    expect(len(warnings) == 1 and "7 samples" in warnings[0] and "part0" in warnings[0] and "part1" in warnings[0], "the overlap", result)
    expect_whole(folder)


def same_folder_twice(sweep):
    folder = sweep.copy()
    result = merge(folder, "part0", "part1", "part2", "part1", code=0)
    expect([l for l in result.lines("warning: ") if "shard 1/3" in l and "twice" in l], "the shard", result)
    expect_whole(folder)


def other_bytes(sweep):
    """The same sample with another result: damage, or a run that was not deterministic."""
    folder = sweep.copy()
    line = next(l for l in lines_of(folder, "part1") if b'"nll": ' in l)
    record = json.loads(line[17:])
    with open(log_of(folder, "part0"), "ab") as f:
        f.write(changed(line, b'"nll": ', b'"nll": 1'))
    refused(folder, "part0", "part1", "part2", words=("part0", "part1", record["point"], f"sample {record['doc_id']} ", "perplexity"))
    refused(folder, "part2", "part1", "part0", words=("part0", "part1", record["point"]))


def other_times(sweep):
    """Which replica made a sample and how long it took is no difference."""
    folder = sweep.copy()
    line = lines_of(folder, "part1")[0]
    with open(log_of(folder, "part0"), "ab") as f:
        f.write(changed(line, b'"seconds": ', b'"seconds": 7'))
    merge(folder, "part0", "part1", "part2", code=0)
    expect_whole(folder)


def output_contradicts(sweep):
    """A sample that the output folder has from an earlier merge is not the parts'."""
    folder = sweep.copy()
    merge(folder, "part0", "part1", "part2", code=0)
    lines = lines_of(folder, "all")
    lines[5] = changed(lines[5], b'"n_tokens": ', b'"n_tokens": 1')
    h.write(folder, "all/journal/records.log", b"".join(lines))
    before = h.snapshot(folder)
    result = merge(folder, "part0", "part1", "part2", code=2)
    expect("all" in result.err and json.loads(lines[5][17:])["point"] in result.err, "the sample is not named", result)
    expect(not h.differences(before, h.snapshot(folder)), "something was changed")


# --- gaps ---

def gaps(sweep):
    """A shard that is not there by its number, samples that one lacks by their point."""
    folder = sweep.copy()
    lines = lines_of(folder, "part0")
    point = json.loads(lines[0][17:])["point"]
    lost = [l for l in lines if json.loads(l[17:])["point"] == point][:2]
    h.write(folder, "part0/journal/records.log", b"".join(l for l in lines if l not in lost))
    result = merge(folder, "part0", "part2", code=3)
    warnings = result.lines("warning: ")
    points = {p["id"]: p for p in h.report(os.path.join(folder, "part1"))["points"]}
    samples = sum(p["n"] for p in points.values())
    expect(any(f"shard 1/3 is missing: {samples} samples of {len(points)} points" in w for w in warnings), "the shard", result)
    total = len([l for l in lines if json.loads(l[17:])["point"] == point])
    expect(any(point in w and f"2 of {total} samples" in w for w in warnings), "the point", result)
    expect(len(warnings) == 2, "other warnings", result)
    out = os.path.join(folder, "all")
    expect(h.status(out) == h.yaml_status(out) == "partial", "status")
    missing = {p["id"] for p in h.report(out)["points"] if p["status"] == "missing"}
    expect(missing == {point, *points}, f"missing points {missing}")
    expect(len(h.samples(out)) == len(h.samples(os.path.join(folder, "whole"))) - samples - 2, "samples")


def damaged(sweep):
    folder = sweep.copy()
    lines = lines_of(folder, "part2")
    point = json.loads(lines[3][17:])["point"]
    lines[3] = lines[3].replace(b'"n_tokens": ', b'"n_tokens: "')
    lines[-1] = lines[-1][:-20]
    h.write(folder, "part2/journal/records.log", b"".join(lines))
    before = h.snapshot(os.path.join(folder, "part2"))
    result = merge(folder, "part0", "part1", "part2", code=3)
    expect([w for w in result.lines("warning: ") if "part2/journal/records.log:4: " in w and "left out" in w], "the line", result)
    expect([w for w in result.lines("warning: ") if "part2/journal/records.log" in w and "torn" in w], "the tail", result)
    expect([w for w in result.lines("warning: ") if point in w and "1 of " in w], "the point", result)
    expect(not h.differences(before, h.snapshot(os.path.join(folder, "part2"))), "a part was changed")


# --- the output folder ---

def refused_output(sweep, prepare, *words):
    folder = sweep.copy()
    prepare(folder)
    before = h.snapshot(folder)
    result = merge(folder, "part0", "part1", "part2", code=2)
    for word in words:
        expect(word in result.err, f"'{word}' is not named", result)
    expect(not h.differences(before, h.snapshot(folder)), f"changed: {h.differences(before, h.snapshot(folder))}")


def onto_itself(sweep):
    folder = sweep.copy()
    before = h.snapshot(folder)
    result = merge(folder, "part0", "part1", "part2", output="part1", code=2)
    expect("part1" in result.err, "the folder is not named", result)
    expect(not h.differences(before, h.snapshot(folder)), "something was changed")


def main():
    suite = h.Suite()
    sweep = Sweep()
    suite.case("all shards are the whole, in any order", equals_the_whole, sweep)
    suite.case("a merge of merges", merges_of_merges, sweep)
    suite.case("merged again, and with one shard more", merged_twice, sweep)
    suite.case("a shard made by two ranks", other_ranks, sweep)
    suite.case("other weights", other_plan, sweep, put("model", "digest", "0" * 32), "model.digest", "0" * 32)
    suite.case("another dtype", other_settings, sweep, ("--set", "model.dtype=bf16"), "model.dtype", "bf16", "fp32")
    suite.case("another program", other_plan, sweep, put("program", "version", "0.0.9"), "program.version", "0.0.9")
    suite.case("another version of a task", other_plan, sweep, other_version, "kv_lookup", "version")
    suite.case("another seed", other_settings, sweep, ("--set", "seed=7"), "seed is 7, not 1234")
    suite.case("more samples", other_settings, sweep, ("--set", "tasks.0.samples=6"), "tasks.0.samples is 6, not 5")
    suite.case("another baseline", other_settings, sweep, ("--set", "baseline.softmax=0.8"), "baseline")
    suite.case("sums in another order", other_settings, sweep, ("--set", "parallel.deterministic=false"), "deterministic")
    suite.case("other contexts", other_settings, sweep, ("--set", "sweep.context=40"), "sweep.context", "40")
    suite.case("another data file", other_text, sweep)
    suite.case("other numbers of shards", other_counts, sweep)
    suite.case("an overlap", overlap, sweep)
    suite.case("a folder twice", same_folder_twice, sweep)
    suite.case("an overlap that contradicts", other_bytes, sweep)
    suite.case("an overlap made at another time", other_times, sweep)
    suite.case("an output folder that contradicts", output_contradicts, sweep)
    suite.case("a missing shard and missing samples", gaps, sweep)
    suite.case("damaged records", damaged, sweep)
    suite.case("-o with another sweep's results", refused_output, sweep, lambda f: shutil.copytree(os.path.join(f, "part0"), os.path.join(f, "all")),
               "all", "another plan")
    suite.case("-o with files that are no run's", refused_output, sweep, lambda f: h.write(f, "all/report.yaml", "mine"), "report.yaml")
    suite.case("-o is one of the parts", onto_itself, sweep)
    suite.end()


main()
