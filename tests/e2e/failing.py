"""Samples that cannot run: their point fails with the reason, all others are done, the exit code is 3 and stays 3."""
import json
import os

import harness as h
from harness import expect

CONFIG = """\
model: {path: MODEL, dtype: fp32}
parallel: {threads: 1}
output: out
sweep:
  context: [24, 96]
  rope: [default, alibi]
tasks:
  - {name: jsonl, file: data.jsonl, samples: 3, max_new_tokens: 4}
  - {name: perplexity, text: text.txt, samples: 2}
"""
LINES = [{"input": "the sun", "outputs": ["a"]}, {"input": " the sky is" * 20, "outputs": ["b"]}, {"input": "the fog", "outputs": ["c"]}]


def folder_of(config=CONFIG, lines=LINES):
    folder = h.new_folder()
    h.write(folder, "sweep.yaml", config.replace("MODEL", h.TINY_GEMMA))
    h.write(folder, "data.jsonl", "".join(json.dumps(line) + "\n" for line in lines))
    h.write(folder, "text.txt", " the sun and the sky" * 100)
    return folder


def points(folder, **wanted):
    return [p for p in h.report(folder)["points"] if all(p[k] == v for k, v in wanted.items())]


def long_prompt(ranks):
    """The second line has more than 60 tokens: too long for the context of 24, not for that of 96."""
    folder = folder_of()
    result = h.run("sweep.yaml", ranks=ranks, cwd=folder, code=3)
    out = os.path.join(folder, "out")
    failed, done = points(out, status="failed"), points(out, status="done")
    expect(len(failed) == 2 and len(done) == 6, f"{len(failed)} failed, {len(done)} done", result)
    for point in failed:
        expect(point["task"] == "jsonl" and point["context"] == 24, "another point failed", json.dumps(point))
        expect("doc_id 1" in point["reason"] and "24" in point["reason"], "the reason", json.dumps(point))
        expect("metrics" not in point or not point["metrics"], "a failed point has metrics", json.dumps(point))
    run = h.report(out)["run"]
    expect((run["points_done"], run["points_failed"]) == (6, 2), "points_done, points_failed", json.dumps(run))
    expect(run["status"] != "complete", "exit 3 and yet complete", json.dumps(run))
    expect("doc_id 1" in result.out, "the table does not name the failed sample", result)
    errors = [s for s in h.records(out) if "error" in s]
    expect(len(errors) == 2 and all(s["doc_id"] == 1 and "resps" not in s for s in errors), "samples with an error", json.dumps(errors))
    expect(len(h.records(out)) == 2 * 2 * (3 + 2), "samples")


def again():
    """Nothing is tried again, nothing is forgotten."""
    folder = folder_of()
    h.run("sweep.yaml", "-q", cwd=folder, code=3)
    before = h.samples(os.path.join(folder, "out"))
    h.run("sweep.yaml", "-q", ranks=2, cwd=folder, code=3)
    h.expect_equal(h.samples(os.path.join(folder, "out")), before, "samples.jsonl")
    h.run("report", "out", cwd=folder, code=3)
    h.expect_equal(h.samples(os.path.join(folder, "out")), before, "samples.jsonl after `report`")


def tensor_parallel():
    folder = folder_of()
    h.run("sweep.yaml", "-q", "--set", "parallel.tensor=2", ranks=2, cwd=folder, code=3)
    expect(len(points(os.path.join(folder, "out"), status="failed")) == 2, "failed points")


def corrected():
    """A point that failed for its file is another point once the file is another; the rest is reused."""
    folder = folder_of()
    h.run("sweep.yaml", "-q", cwd=folder, code=3)
    h.write(folder, "data.jsonl", "".join(json.dumps(LINES[0]) + "\n" for _ in range(3)))
    h.run("sweep.yaml", "-q", cwd=folder, code=0)
    out = os.path.join(folder, "out")
    expect(h.status(out) == "complete" and not points(out, status="failed"), "status")
    expect(not [s for s in h.records(out) if "error" in s], "the old error is still there")


def all_fail():
    folder = folder_of(lines=[LINES[1]] * 2)
    h.run("sweep.yaml", "-q", "--set", "sweep.context=24", cwd=folder, code=3)
    expect(len(points(os.path.join(folder, "out"), status="failed")) == 2, "failed points")


def not_finite():
    """One weight that is NaN: every point fails, none of them has a number."""
    folder = folder_of()
    model = h.link_model(folder)
    header, data = h.read_safetensors(model)
    begin = header["model.norm.weight"]["data_offsets"][0]
    h.write_safetensors(model, header, data[:begin] + b"\xc0\x7f" + data[begin + 2:])
    h.run("sweep.yaml", "-q", "--set", "model.path=model", ranks=2, cwd=folder, code=3)
    out = os.path.join(folder, "out")
    expect(len(points(out, status="failed")) == 8, "failed points")
    reasons = {p["reason"] for p in points(out, status="failed") if p["task"] == "perplexity"}
    expect(all("finite" in r for r in reasons), f"reasons {reasons}")
    for name in ("report.json", "report.yaml", "samples.jsonl"):
        text = h.read(out, name).decode().lower()
        expect("nan" not in text.replace("finance", "") or '"nan"' not in text, f"NaN in {name}")


def not_finite_beside(*more, ranks):
    """Logits over 1e-38 are beyond fp32: these points fail, and the others, which share batches with them, are what they are without."""
    folder = folder_of()
    entries = ("--set", "sweep.softmax=[1, {temperature: 1.0e-38}]", "--set", "sweep.context=96")
    h.run("sweep.yaml", "-q", *entries, *more, ranks=ranks, cwd=folder, code=3)
    out = os.path.join(folder, "out")
    failed, done = points(out, status="failed"), points(out, status="done")
    expect(len(failed) == 4 and len(done) == 4, f"{len(failed)} failed, {len(done)} done")
    expect(all(p["softmax"]["temperature"] < 1 and "non-finite logits" in p["reason"] and not p.get("metrics") for p in failed),
           "the failed points", json.dumps(failed))
    h.run("sweep.yaml", "-q", *entries[2:], "--output", "alone", cwd=folder, code=0)
    mine = [line for line in h.samples(out) if json.loads(line)["softmax"]["temperature"] == "1"]
    h.expect_equal(mine, h.samples(os.path.join(folder, "alone")), "samples of the points that are done")


def shard_with_failures():
    folder = folder_of()
    codes = [h.run("sweep.yaml", "-q", "--shard", f"{i}/2", "--output", f"part{i}", cwd=folder).code for i in range(2)]
    expect(3 in codes and set(codes) <= {0, 3}, f"exit codes {codes}")
    h.run("merge", "part0", "part1", "-o", "all", cwd=folder, code=3)
    expect(len(points(os.path.join(folder, "all"), status="failed")) == 2, "failed points")


def main():
    suite = h.Suite()
    suite.case("a prompt longer than the context", long_prompt, 0)
    suite.case("a prompt longer than the context, two ranks", long_prompt, 2)
    suite.case("the same command again", again)
    suite.case("tensor parallel", tensor_parallel)
    suite.case("the file corrected", corrected)
    suite.case("every sample fails", all_fail)
    suite.case("logits that are not finite", not_finite)
    suite.case("logits that are not finite beside others", lambda: not_finite_beside(ranks=2))
    suite.case("the same, tensor parallel", lambda: not_finite_beside("--set", "parallel.tensor=2", ranks=2))
    suite.case("shards and merge", shard_with_failures)
    suite.end()


main()
