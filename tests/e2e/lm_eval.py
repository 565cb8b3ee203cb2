"""`report --format lm-eval`: lm-evaluation-harness's layout, held against report.json and samples.jsonl. tests/tools/check_lm_eval.py reads the
same files with lm-evaluation-harness itself.
"""
import calendar
import json
import math
import os
import re
import statistics
import time

import harness as h
from harness import expect

CONFIG = f"""\
model: {{path: {h.TINY_GEMMA}, dtype: fp32}}
parallel: {{threads: 1}}
output: out
sweep: {{context: [48, 64], rope: [default, {{rope_type: yarn, factor: [2, 4]}}], softmax: [1, {{temperature: 1.25}}]}}
tasks:
  - {{name: perplexity, text: text.txt, samples: 3, stride: 20}}
  - {{name: kv_lookup, label: "look/up", samples: 6, max_new_tokens: 1}}
  - {{name: kv_lookup, label: "look up", samples: 1, max_new_tokens: 2}}
  - {{name: jsonl, file: data.jsonl, samples: 2, max_new_tokens: 2}}
  - {{name: jsonl, label: long, file: long.jsonl, samples: 1, max_new_tokens: 2}}
"""
ROWS = [{"input": " the sun and the", "outputs": ["sky", "caf\u00e9 \"x\""]}, {"input": " a key", "outputs": ["cat"]}]
SECTIONS = ("results", "configs", "versions", "n-shot", "higher_is_better", "n-samples", "task_hashes")
SAMPLE_KEYS = ["doc_id", "doc", "target", "arguments", "resps", "filtered_resps", "filter", "metrics", "doc_hash", "prompt_hash", "target_hash"]


def finished_sweep():
    folder = h.new_folder()
    h.write(folder, "c.yaml", CONFIG)
    h.write(folder, "text.txt", " the sun and the sky" * 50)
    h.write(folder, "data.jsonl", "".join(json.dumps(row) + "\n" for row in ROWS))
    h.write(folder, "long.jsonl", json.dumps({"input": " the sun" * 100, "outputs": ["sky"]}) + "\n")  # no context holds it: failed points
    h.run("c.yaml", "-q", cwd=folder, code=3)
    return os.path.join(folder, "out")


class Variant:
    def __init__(self, folder):
        self.name = os.path.basename(folder)
        results = [name for name in os.listdir(folder) if name.startswith("results_")]
        expect(len(results) == 1, f"{results}")
        self.tree = json.loads(h.read(folder, results[0]))
        self.stamp = results[0][len("results_"):-len(".json")]
        self.samples = {}
        for name in sorted(set(os.listdir(folder)) - set(results)):
            task, stamp = name[name.find("_") + 1:name.rfind("_")], name[name.rfind("_") + 1:]  # as lm-evaluation-harness takes names apart
            expect(name.startswith("samples_") and stamp == self.stamp + ".jsonl", f"{name} beside {results[0]}")
            self.samples[task] = [json.loads(line) for line in h.read(folder, name).decode().splitlines()]


def exported(out):
    folder = os.path.join(out, "lm-eval")
    return [Variant(os.path.join(folder, name)) for name in sorted(os.listdir(folder))]


def label_of(point):
    rope, softmax = point["rope"], point["softmax"]
    name = "default" if rope["rope_type"] == "default" else f"yarn factor={rope['factor']}"
    return f"{name} / T={softmax['temperature']}"


def pairs(out, variants):
    """Each done point of report.json with its variant and its task's name there."""
    by_label = {v.tree["model_name"]: v for v in variants}
    found = []
    for point in h.report(out)["points"]:
        if point["status"] == "done":
            variant = by_label[label_of(point)]
            names = [n for n, r in variant.tree["results"].items() if r["alias"] == f"{point['task']}@{point['context']}"]
            expect(len(names) == 1, f"{point['task']}@{point['context']} is {names}")
            found.append((point, variant, names[0]))
    return found


def layout(out, variants):
    run = h.report(out)["run"]
    expect({v.tree["model_name"] for v in variants} == {label_of(p) for p in h.report(out)["points"]}, "a folder a variant")
    for v in variants:
        expect(v.tree["model_name_sanitized"] == v.name and re.fullmatch(r"[\w=.]+", v.name), f"folder {v.name}")
        expect(v.stamp == run["started"].replace(":", "-").rstrip("Z"), f"{v.stamp}, started {run['started']}")
        expect(v.tree["date"] == calendar.timegm(time.strptime(run["started"], "%Y-%m-%dT%H:%M:%SZ")), "date")
        expect(v.tree["git_hash"] == h.report(out)["program"]["commit"] and v.tree["group_subtasks"] == {}, "git_hash, group_subtasks")
        for section in SECTIONS:
            expect(v.tree[section].keys() == v.samples.keys(), f"{section} has {sorted(v.tree[section])}")


def names(variants):
    """Labels that look alike as file names stay apart, and a failed point is left out."""
    for v in variants:
        aliases = {name: r["alias"] for name, r in v.tree["results"].items()}
        for context in (48, 64):
            expect(aliases[f"look_up@{context}"] == f"look/up@{context}" and aliases[f"look_up@{context}_2"] == f"look up@{context}", f"{aliases}")
        expect(len(aliases) == 8 and not any(a.startswith("long@") for a in aliases.values()), f"{aliases}")


def values(out, variants):
    found = pairs(out, variants)
    expect(len(found) == 6 * 2 * 4, f"{len(found)} done points")
    for point, v, name in found:
        result = v.tree["results"][name]
        expect(result["name"] == name and result["sample_len"] == point["n"], f"{result}")
        expect(v.tree["n-samples"][name] == {"original": point["samples"], "effective": point["n"]}, "n-samples")
        expect(v.tree["n-shot"][name] == 0 and v.tree["versions"][name] >= 1, "n-shot and version")
        expected = {}
        for metric, estimate in point["metrics"].items():
            expected[f"{metric},none"] = float(estimate["value"])
            expected[f"{metric}_stderr,none"] = "N/A" if estimate["stderr"] is None else float(estimate["stderr"])
        given = {k: x for k, x in result.items() if "," in k}
        expect(given == expected and all(isinstance(x, (float, str)) for x in given.values()), f"{given}, not {expected}")
        lower = {"nll_per_token", "perplexity"}
        expect(v.tree["higher_is_better"][name] == {m: m not in lower for m in point["metrics"]}, "higher_is_better")
        expect([m["metric"] for m in v.tree["configs"][name]["metric_list"]] == list(point["metrics"]), "metric_list")
        arguments = v.tree["config"]["model_args"]
        bare = {k: x for k, x in point["rope"].items() if k not in ("inv_freq_digest", "attention_factor")}
        expect(arguments["rope"] == bare and arguments["softmax"] == point["softmax"], f"{arguments}")


def samples(out, variants):
    """Each line is its record of samples.jsonl, said otherwise."""
    records = {}
    for record in h.records(out):
        records.setdefault(record["point"], []).append(record)
    for point, v, name in pairs(out, variants):
        expect(len(v.samples[name]) == len(records[point["id"]]), f"{name}: samples")
        for sample, record in zip(v.samples[name], records[point["id"]]):
            expect(list(sample) == SAMPLE_KEYS + sample["metrics"] and sample["metrics"] == list(point["metrics"]), f"keys {list(sample)}")
            expect(sample["doc_id"] == record["doc_id"] and sample["prompt_hash"] == record["prompt_hash"], f"{sample}")
            expect(sample["doc"].items() <= record.items() and sample["doc"]["tokens"] == record["tokens"], f"doc {sample['doc']}")
            expect(record["prompt_hash"] in sample["arguments"]["gen_args_0"]["arg_0"], "arguments")
            answer = record["resps"][0] if "resps" in record else sample["filtered_resps"][0]
            expect(sample["resps"] == [[answer]] and sample["filtered_resps"] == [answer], f"resps {sample['resps']}")
            target = record.get("target", [""])
            expect((json.loads(sample["target"]) if len(target) > 1 else [sample["target"]]) == target, f"target {sample['target']}")
            if "nll" in record:
                expect(float(answer) == -record["nll"], f"log-likelihood {answer}")
                expect(sample["nll_per_token"] == [record["nll"], record["n_tokens"]], f"{sample}")
                expect(sample["perplexity"] == [-record["nll"], record["n_tokens"]], f"{sample}")
            else:
                expect({m: sample[m] for m in sample["metrics"]} == record["scores"], f"scores {sample}")


def aggregates(variants):
    """Samples add up to results under the aggregation that `configs` names."""
    def weighted_mean(items):
        return math.fsum(x for x, _ in items) / math.fsum(n for _, n in items)
    aggregate = {"mean": statistics.fmean, "weighted_mean": weighted_mean, "weighted_perplexity": lambda items: math.exp(-weighted_mean(items))}
    for v in variants:
        for name, rows in v.samples.items():
            for metric in v.tree["configs"][name]["metric_list"]:
                items, result = [s[metric["metric"]] for s in rows], v.tree["results"][name]
                value, error = result[metric["metric"] + ",none"], result[metric["metric"] + "_stderr,none"]
                expect(math.isclose(aggregate[metric["aggregation"]](items), value, rel_tol=1e-13), f"{name} {metric['metric']} {value}")
                if metric["aggregation"] == "mean":
                    expected = statistics.stdev(items) / math.sqrt(len(items)) if len(items) > 1 else "N/A"
                    expect(expected == error or math.isclose(expected, error, rel_tol=1e-12), f"{name}: {error}, not {expected}")


def hashes(variants):
    """Equal for equal content, in every variant; of other content others."""
    seen = {"doc": {}, "target": {}}
    for v in variants:
        for rows in v.samples.values():
            for sample in rows:
                for what, known in seen.items():
                    known.setdefault(json.dumps(sample[what]), set()).add(sample[what + "_hash"])
    for what, known in seen.items():
        every = [digest for digests in known.values() for digest in digests]
        expect(len(known) > 3 and all(len(d) == 1 for d in known.values()) and len(set(every)) == len(known), f"{what}_hash")
    expect(all(v.tree["task_hashes"] == variants[0].tree["task_hashes"] for v in variants), "task_hashes of the same samples")


def again(out):
    before = h.snapshot(os.path.join(out, "lm-eval"))
    h.run("report", out, "--format=lm-eval", code=3)
    expect(h.differences(before, h.snapshot(os.path.join(out, "lm-eval"))) == [], "not the same files twice")


def without_facts(out):
    """A run that was killed leaves no facts of itself: its plan's time stands for it."""
    started = "2020-02-03T04:05:06"
    os.unlink(os.path.join(out, "journal", "run.json"))
    seconds = calendar.timegm(time.strptime(started, "%Y-%m-%dT%H:%M:%S"))
    os.utime(os.path.join(out, "journal", "plan.json"), (seconds, seconds))
    h.run("report", out, "--format", "lm-eval", code=3)
    path = os.path.join(out, "lm-eval", "default_T=1", f"results_{started.replace(':', '-')}.json")
    expect(json.loads(h.read("/", path))["date"] == seconds, "date")


def refuses():
    folder = h.new_folder()
    result = h.run("report", folder, "--format", "lmeval", code=2)
    expect("lm-eval" in result.err, "the format is not named", result)
    h.run("merge", folder, "-o", folder, "--format", "lm-eval", code=2)


def main():
    suite = h.Suite()
    out = finished_sweep()
    result = h.run("report", out, "--format", "lm-eval", code=3)
    expect(result.out.splitlines()[-1] == os.path.join(out, "lm-eval"), "the folder is not named", result)
    variants = exported(out)
    suite.case("lm-eval: folders and keys", layout, out, variants)
    suite.case("lm-eval: names", names, variants)
    suite.case("lm-eval: values are report.json's", values, out, variants)
    suite.case("lm-eval: samples are samples.jsonl's", samples, out, variants)
    suite.case("lm-eval: samples add up", aggregates, variants)
    suite.case("lm-eval: hashes", hashes, variants)
    suite.case("lm-eval: the same twice", again, out)
    suite.case("lm-eval: a run without facts", without_facts, out)
    suite.case("lm-eval: what it refuses", refuses)
    suite.end()


main()
