#!/usr/bin/env python3
"""Evaluates tiny-gemma beyond its training length: RoPE variants and attention temperatures by total length.

    python eval.py --model DIR --samples 200 --out eval.json

Every prompt is seen by every variant (paired). A score is the share of prompts whose answer is the argmax token
(prompt in, one token out; copy: the share of second-copy tokens, teacher-forced). se is the standard
error over prompts, for one-token answers sqrt(p (1 - p) / n).
Lengths are tokens of the prompt with BOS, plus the answer's first n - 1 tokens for copy.
"""
import argparse
import concurrent.futures
import json
import math
import os
import time

import numpy as np
import torch
from safetensors.torch import load_file

import train as T


def inv_default(b, d):
    return np.array([b ** (-2 * k / d) for k in range(d // 2)])


def rope(name, c, factor=4.0, p=1.0):
    """(inv_freq, attention factor)"""
    d, b, L = c["head_dim"], c["rope_theta"], c["max_position_embeddings"]
    g = inv_default(b, d)
    if name == "default":
        return g, 1.0
    if name == "linear":
        return g / factor, 1.0
    if name == "ntk":
        return inv_default(b * factor ** (d / (d - 2)), d), 1.0
    if name == "yarn":
        def cd(r):
            return d * math.log(L / (2 * math.pi * r)) / (2 * math.log(b))
        lo, hi = max(math.floor(cd(32)), 0), min(math.ceil(cd(1)), d - 1)
        ramp = np.clip((np.arange(d // 2) - lo) / ((hi - lo) or .001), 0, 1)
        return g / factor * ramp + g * (1 - ramp), .1 * math.log(factor) + 1
    if name == "p_rope":
        g[int(p * d / 2):] = 0
        return g, 1.0
    if name == "p_rope_reversed":
        g[:d // 2 - int(p * d / 2)] = 0
        return g, 1.0
    if name == "nope":
        return g * 0, 1.0
    raise ValueError(name)


# name, (rope variant, options), softmax: beta on the logits, or "log_n"
POINTS = [
    ("default", ("default", {}), 1.0),
    ("linear 4", ("linear", {}), 1.0),
    ("ntk 4", ("ntk", {}), 1.0),
    ("yarn 4", ("yarn", {}), 1.0),
    ("p_rope 0.75", ("p_rope", {"p": .75}), 1.0),
    ("p_rope 0.5", ("p_rope", {"p": .5}), 1.0),
    ("nope", ("nope", {}), 1.0),
    ("T 0.8", ("default", {}), 1 / .8),
    ("T 1.25", ("default", {}), 1 / 1.25),
    ("log_n", ("default", {}), "log_n"),
    ("yarn 4, T 0.8", ("yarn", {}), 1 / .8),
    ("yarn 4, T 1.25", ("yarn", {}), 1 / 1.25),
    ("yarn 4, log_n", ("yarn", {}), "log_n"),
]
IN_LENGTH = (("kv_lookup", (16, 32, 64, 96, 122, 128)), ("needle", (24, 64, 128)), ("needle_4", (64, 128)),
             ("copy", (33, 65, 127)), ("max", (8, 12, 20, 36, 68, 128)))


def prompts(task, length, n, seed):
    rng = np.random.default_rng([seed, length, sum(map(ord, task))])
    out = []
    for _ in range(n):
        if task == "kv_lookup":
            a, b = T.kv_lookup(rng, (length - 2) // 2)
        elif task == "needle":
            a, b = T.needle(rng, length - 1, 1)
        elif task == "needle_4":
            a, b = T.needle(rng, length - 1, 4)
        elif task == "max":
            a, b = T.maximum(rng, length - 4)
        elif task == "copy":
            a, b = T.copy(rng, (length - 1) // 2)
        out.append((a, b))
    return out


def score(p, c, ps, point, task):
    _, (name, opt), soft = point
    head = p["model.embed_tokens.weight"].T
    inv, a = rope(name, c, **opt)
    m = 1 + len(ps[0][0]) + len(ps[0][1]) - 1
    cos, sin = T.rope_table(inv, m, a)
    scale = None
    if soft == "log_n":
        scale = torch.log(torch.arange(1, m + 1).float()) / math.log(c["max_position_embeddings"])
    elif soft != 1.0:
        scale = torch.full((m,), soft)
    hits = []
    rows = max(1, 16384 // m)
    with torch.no_grad():
        for i in range(0, len(ps), rows):
            part = ps[i:i + rows]
            n = len(part[0][0])
            ids = torch.tensor([[T.BOS] + [T.ID[w] for w in x + y[:-1]] for x, y in part])
            want = torch.tensor([[T.ID[w] for w in y] for _, y in part])
            h = T.hidden(p, c, ids, cos, sin, scale, last=n == m - 1)
            h = h[:, -want.shape[1]:]
            hits.append(((h @ head).argmax(-1) == want).float().mean(1))
    hits = torch.cat(hits)
    return hits.mean().item(), hits.std(unbiased=False).item() / len(hits) ** .5


def cell(job):
    model, task, length, i, samples, seed = job
    torch.set_num_threads(1)
    with open(os.path.join(model, "config.json")) as f:
        c = json.load(f)
    p = {k: v.float() for k, v in load_file(os.path.join(model, "model.safetensors")).items()}
    v, se = score(p, c, prompts(task, length, samples, seed), POINTS[i], task)
    return {"accuracy": round(v, 4), "se": round(se, 4)}


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--model", required=True)
    ap.add_argument("--samples", type=int, default=200)
    ap.add_argument("--lengths", default="128,256,512,1024")
    ap.add_argument("--tasks", default="kv_lookup,needle,needle_4,max")
    ap.add_argument("--seed", type=int, default=7)
    ap.add_argument("--jobs", type=int, default=2)
    ap.add_argument("--out")
    args = ap.parse_args()
    t0, lengths = time.time(), [int(x) for x in args.lengths.split(",")]
    res = {"samples": args.samples, "seed": args.seed, "in_training_length": {}, "beyond": {}}
    pool = concurrent.futures.ProcessPoolExecutor(args.jobs)

    def start(task, length, i):
        return pool.submit(cell, (args.model, task, length, i, args.samples, args.seed))

    def write():
        if args.out:
            with open(args.out, "w") as f:
                json.dump(res, f, indent=1)
                f.write("\n")
    inside = [(task, length, start(task, length, 0)) for task, ls in IN_LENGTH for length in ls]
    beyond = [(task, [(x[0], [start(task, length, i) for length in lengths]) for i, x in enumerate(POINTS)])
              for task in args.tasks.split(",")]
    print("default, within the training length")
    for task, length, f in inside:
        r = res["in_training_length"].setdefault(task, {})[length] = f.result()
        print("  %-10s %5d  %.3f +- %.3f" % (task, length, r["accuracy"], r["se"]), flush=True)
    for task, table in beyond:
        print("%-17s" % task + "".join("%17d" % x for x in lengths))
        for name, fs in table:
            line = "  %-15s" % name
            for length, f in zip(lengths, fs):
                r = res["beyond"].setdefault(task, {}).setdefault(name, {})[length] = f.result()
                line += "  %.3f +- %.3f" % (r["accuracy"], r["se"])
            print(line, flush=True)
        write()
    write()
    print("%.0f s" % (time.time() - t0))


if __name__ == "__main__":
    main()
