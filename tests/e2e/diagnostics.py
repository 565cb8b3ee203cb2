"""diagnostics.json: the same bytes for every number of ranks, after an interruption and from shards; scores do not notice it."""
import json
import os

import harness as h
from harness import expect

CONFIG = f"""\
model: {{path: {h.TINY_GEMMA}, dtype: fp32}}
parallel: {{threads: 1}}
sweep: {{rope: [default, nope], softmax: [1, sparsemax], context: [48]}}
tasks:
  - {{name: perplexity, text: text.txt, samples: 3}}
  - {{name: induction, samples: 2}}
"""
ON = ("--set", "diagnostics=all", "--set", "diagnostic_offsets=[2, 7]")


def setup():
    folder = h.new_folder()
    h.write(folder, "c.yaml", CONFIG)
    h.write(folder, "text.txt", "the sun and the hat of a fox in the fog . " * 40)
    return folder


def run(folder, output, *arguments, **options):
    return h.run("c.yaml", "--output", output, *arguments, cwd=folder, code=0, **options)


def text_of(folder, output):
    return h.read(f"{folder}/{output}", "diagnostics.json")


def the_same_bytes_however_it_ran():
    folder = setup()
    run(folder, "one", *ON)
    expected = text_of(folder, "one")
    run(folder, "two", *ON, "--set", "parallel.tensor=2", "--set", "parallel.batch_tokens=29", ranks=2)
    expect(text_of(folder, "two") == expected, "two ranks, other batches")
    run(folder, "later")
    expect(h.samples(f"{folder}/later") == h.samples(f"{folder}/one"), "scores with and without diagnostics")
    run(folder, "later", *ON)
    expect(text_of(folder, "later") == expected, "switched on later")
    run(folder, "s0", *ON, "--shard", "0/2")
    run(folder, "s1", *ON, "--shard", "1/2")
    h.run("merge", "s0", "s1", "-o", "merged", cwd=folder, code=0)
    expect(text_of(folder, "merged") == expected, "merged from shards")


def what_stands_in_it():
    folder = setup()
    run(folder, "out", *ON)
    points = json.loads(text_of(folder, "out"))["points"]
    expect(len(points) == 8, f"{len(points)} points")
    for point in points:
        induction, softmax = point["task"] == "induction", point["softmax"]["type"] == "temperature"
        expect(point["rows"] == (94 if induction else 144), f"{point['rows']} rows of {point['task']}")
        for layer in point["layers"]:
            for head in layer["heads"]:
                expect(head["dispersion_bound_holds"] is (True if softmax else None), "the bound")
                expect((head["induction_score"] is not None) == induction, "induction score")
                expect(set(head["offset_mass"]) == {"2", "7"}, "offsets")
                expect(0 <= head["sink_mass"] <= 1 <= head["effective_n"] <= 48, "ranges")
    h.run("c.yaml", "--output", "out", cwd=folder, code=0)
    expect(not os.path.exists(f"{folder}/out/diagnostics.json"), "a stale file, diagnostics being off")


def mistakes_are_named():
    folder = setup()
    for value, word in (("diagnostics=entropi", "entropi"), ("diagnostics=[all, nil]", "nil"), ("diagnostic_offsets=[3]", "diagnostics")):
        result = h.run("c.yaml", "--set", value, cwd=folder, code=2)
        expect(word in result.err, value, result)


if __name__ == "__main__":
    the_same_bytes_however_it_ran()
    what_stands_in_it()
    mistakes_are_named()
