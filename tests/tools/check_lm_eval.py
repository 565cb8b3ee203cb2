#!/usr/bin/env python3
"""Reads what `ropesweep report DIR --format lm-eval` wrote with lm-evaluation-harness's own code, and prints its table of each variant.

    check_lm_eval.py DIR [TASK METRIC]

Finds the files by its rules, recomputes every value from the samples with its aggregations (and, of means, the standard error), makes the
table, the W&B logger's summary and data frames, and loads each task's samples of all variants as one data set. With TASK METRIC also its
mean of that metric over the contexts of the task. Exits 1 at the first thing that differs. Needs: pip install lm-eval torch (which bring
datasets, pandas and xxhash).
"""

import json
import math
import os
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace

os.environ.setdefault("HF_HUB_OFFLINE", "1")
import datasets  # noqa: E402  (after the variable it reads)
import lm_eval.api.metrics as metrics  # noqa: E402
import xxhash  # noqa: E402
from lm_eval import utils  # noqa: E402
from lm_eval.api.group import Group  # noqa: E402
from lm_eval.config.group import AggMetricConfig  # noqa: E402
from lm_eval.loggers import WandbLogger  # noqa: E402
from lm_eval.result_schema import EvalResults, SampleResult  # noqa: E402

KEYS_OF_OURS = {"ropesweep_version"}


def expect(condition, what):
    if not condition:
        sys.exit(f"not so: {what}")


def close(a, b):
    return math.isclose(a, b, rel_tol=1e-12)


def check_schema(tree, samples):
    expect(set(tree) - set(EvalResults.__annotations__) == KEYS_OF_OURS, f"keys {sorted(set(tree) - set(EvalResults.__annotations__))}")
    fixed = set(SampleResult.__annotations__)
    for name, rows in samples.items():
        for sample in rows:
            expect(set(sample) == fixed | set(sample["metrics"]), f"{name}: keys {sorted(set(sample) ^ fixed)}")


def check_values(tree, samples):
    for name, rows in samples.items():
        result = tree["results"][name]
        expect(result["sample_len"] == len(rows) == tree["n-samples"][name]["effective"], f"{name}: number of samples")
        for metric in tree["configs"][name]["metric_list"]:
            items, key = [s[metric["metric"]] for s in rows], metric["metric"]
            if f"{key},none" not in result:
                expect(all(n == 0 for _, n in items), f"{name}: has no {key}")
                continue
            value = getattr(metrics, metric["aggregation"])(items)
            expect(close(value, result[key + ",none"]), f"{name} {key}: {value} of the samples, {result[key + ',none']}")
            if metric["aggregation"] == "mean" and len(items) > 1:
                error = metrics.mean_stderr(items)
                expect(close(error, result[key + "_stderr,none"]), f"{name} {key}: standard error {error} of the samples")


def check_hashes(tree, files, samples):
    def digest(text):
        return xxhash.xxh3_128_hexdigest(text.encode())
    for name, rows in samples.items():
        for line, sample in zip(Path(files[name]).read_text(encoding="utf-8").splitlines(), rows):
            doc = line[line.index('"doc": ') + len('"doc": '):line.index(', "target": ')]
            expect(json.loads(doc) == sample["doc"] and digest(doc) == sample["doc_hash"], f"{name}: doc_hash of {doc}")
            expect(digest(sample["target"]) == sample["target_hash"], f"{name}: target_hash of {sample['target']}")
        every = "".join(s["doc_hash"] + s["prompt_hash"] + s["target_hash"] for s in rows)
        expect(digest(every) == tree["task_hashes"][name], f"{name}: task_hashes")


def check_loggers(tree, samples):
    logger = object.__new__(WandbLogger)
    logger.post_init(tree)
    logger._get_config()
    summary, numbers = logger._sanitize_results_dict()
    expect(len(numbers) >= len(tree["results"]) and f"{next(iter(samples))}/alias" in summary, f"W&B summary {summary}")
    for name, rows in samples.items():
        as_run = [{**s, "arguments": [list(arguments.values()) for arguments in s["arguments"].values()]} for s in rows]
        frame = logger._generate_dataset(as_run, tree["configs"][name])
        expect(len(frame) == len(rows), f"{name}: data frame")


def check_variant(folder):
    paths = sorted(str(p) for p in folder.iterdir())
    stamp = max(utils.get_file_datetime(p) for p in utils.get_sample_results_filenames(paths))  # of the last run
    results = [p for p in utils.get_results_filenames(paths) if p.endswith(f"results_{stamp}.json")]
    files = {utils.get_file_task_name(os.path.basename(p)): p for p in utils.get_sample_results_filenames(paths) if stamp in p}
    expect(len(results) == 1, f"{folder}: results {results}")
    tree = json.loads(Path(results[0]).read_text(encoding="utf-8"))
    samples = {name: [json.loads(line) for line in Path(p).read_text(encoding="utf-8").splitlines()] for name, p in files.items()}
    expect(samples.keys() == tree["results"].keys(), f"{folder}: tasks {sorted(samples)}")
    expect(utils.sanitize_model_name(tree["model_name_sanitized"]) == folder.name, f"{folder}: model_name_sanitized")
    check_schema(tree, samples)
    check_values(tree, samples)
    check_hashes(tree, files, samples)
    check_loggers(tree, samples)
    print(f"{tree['model_name']}\n{utils.make_table(tree)}")
    return tree, files


def check_datasets(files):
    """A task's samples of all variants as one data set: their columns must agree."""
    with tempfile.TemporaryDirectory() as cache:
        for name, paths in files.items():
            rows = datasets.load_dataset("json", data_files=paths, split="train", cache_dir=cache)
            lines = sum(len(Path(p).read_text(encoding="utf-8").splitlines()) for p in paths)
            expect(len(rows) == lines, f"{name}: {len(rows)} rows of {lines}")
            print(f"{name}: {len(rows)} samples of {len(paths)} variants as one data set")


class Contexts(Group):
    """The task at all its contexts."""

    def get_all_tasks(self, recursive=True):
        return [SimpleNamespace(task_name=name) for name in self.metadata["tasks"]]


def print_means(trees, task, metric):
    for tree in trees:
        names = [name for name, result in tree["results"].items() if result["alias"].rpartition("@")[0] == task and f"{metric},none" in result]
        expect(names, f"no task {task} has {metric}")
        group = Contexts(task, aggregate_metric_list=[AggMetricConfig(metric=metric)], metadata={"tasks": names})
        mean = group.aggregate(tree["results"])
        weights = [tree["n-samples"][name]["effective"] for name in names]
        total = sum(w * tree["results"][name][f"{metric},none"] for w, name in zip(weights, names))
        expect(close(mean[f"{metric},none"], total / sum(weights)), f"{task}: mean over its contexts")
        print(f"{tree['model_name']}: {task} {metric} {mean[f'{metric},none']:.4f} over {len(names)} contexts")


def main(arguments):
    if len(arguments) not in (1, 3):
        print(__doc__, file=sys.stderr)
        return 2
    trees, files = [], {}
    for folder in sorted(Path(arguments[0], "lm-eval").iterdir()):
        tree, of_tasks = check_variant(folder)
        trees.append(tree)
        for name, path in of_tasks.items():
            files.setdefault(name, []).append(path)
    check_datasets(files)
    if arguments[1:]:
        print_means(trees, *arguments[1:])
    print(f"{len(trees)} variants read")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
