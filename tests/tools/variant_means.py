"""Means over all tasks of a sweep by variant and context, in percent, from OUTPUT/samples.jsonl, as a Markdown table:

    python3 tests/tools/variant_means.py OUTPUT

The last column is the mean paired difference from the first variant of the file, +- 1.96 standard errors over all its samples.
"""
import json
import os
import sys

SHOWN = ("factor", "p", "rope_theta")


def name_of(sample, thetas):
    rope, softmax = sample["rope"], sample["softmax"]
    keys = [f"{k} {rope[k]:g}" for k in SHOWN if k in rope and (k != "rope_theta" or rope[k] != thetas[0])]
    temperature = f"T={softmax['temperature']:g}" if softmax["type"] == "temperature" else softmax["type"]
    return ", ".join([" ".join([rope["rope_type"], *keys]), temperature])


def percent(values):
    return f"{100 * sum(values) / len(values):.1f}"


def difference(variant, baseline):
    d = [variant[key] - baseline[key] for key in variant]
    mean = sum(d) / len(d)
    error = (sum((x - mean) ** 2 for x in d) / (len(d) - 1) / len(d)) ** 0.5
    return f"{100 * mean:+.1f} ± {196 * error:.1f}"


def main():
    with open(os.path.join(sys.argv[1], "samples.jsonl")) as f:
        samples = [json.loads(line) for line in f]
    thetas = [s["rope"]["rope_theta"] for s in samples if "rope_theta" in s["rope"]]
    variants = {}
    for s in samples:
        variants.setdefault(name_of(s, thetas), {})[s["task"], s["context"], s["doc_id"]] = next(iter(s["scores"].values()))
    contexts = sorted({s["context"] for s in samples})
    baseline = next(iter(variants.values()))
    print("| |", *(f"{c} |" for c in contexts), "all | difference |")
    print("|---" * (len(contexts) + 3) + "|")
    for name, scores in variants.items():
        cells = [percent([v for (_, c, _), v in scores.items() if c == context]) for context in contexts]
        print(f"| {name} |", *(f"{c} |" for c in cells), f"{percent(scores.values())} | {'' if scores is baseline else difference(scores, baseline)} |")


main()
