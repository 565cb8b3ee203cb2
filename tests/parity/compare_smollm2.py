#!/usr/bin/env python3
"""Runs ropesweep on what smollm2_reference.py asked of transformers and compares.

    smollm2_reference.py MODEL_DIR TEXT -o REFERENCE.json
    compare_smollm2.py BINARY MODEL_DIR TEXT REFERENCE.json [--dtype fp32]

Window nll must agree to 1e-5 relative in fp32 (in bf16 the difference is only printed), greedy texts must be equal up to the first
step whose two largest logits are nearer than 1e-3.
"""
import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from tokenizers import Tokenizer

NEW = 32


def run(args, folder, config):
    (folder / "config.yaml").write_text(json.dumps(config))  # JSON is YAML
    subprocess.run([args.binary, "-q", folder / "config.yaml"], check=True)
    return [json.loads(line) for line in (folder / "out/samples.jsonl").open()]


def perplexity(args, folder, reference, model):
    contexts = sorted({w["context"] for w in reference["perplexity"]})
    samples = run(args, folder, {"model": model, "output": "out", "sweep": {"context": contexts},
                                 "tasks": [{"name": "perplexity", "text": os.path.abspath(args.text), "samples": 2}]})
    ours = {(s["context"], s["doc_id"]): s["nll"] for s in samples}
    worst = 0.0
    for w in reference["perplexity"]:
        nll = ours[w["context"], w["window"]]
        error = abs(nll / w["nll"] - 1)
        worst = max(worst, error)
        print(f"context {w['context']} window {w['window']}: nll {nll:.6f}, transformers {w['nll']:.6f}, relative {error:.2e}")
    return worst <= 1e-5


def greedy(args, folder, reference, model, tokenizer):
    asked = []
    with (folder / "prompts.jsonl").open("w") as out:
        for g in reference["greedy"]:
            text = tokenizer.decode(g["prompt"][1:])
            if tokenizer.encode(text, add_special_tokens=False).ids != g["prompt"][1:]:
                print(f"prompt at token {g['first_token']}: cut inside a word, its text has other ids; left out")
                continue
            asked.append(g)
            out.write(json.dumps({"input": text, "outputs": ["-"]}) + "\n")
    samples = run(args, folder, {"model": model, "output": "out", "sweep": {"context": 512},
                                 "tasks": [{"name": "jsonl", "file": "prompts.jsonl", "max_new_tokens": NEW, "samples": len(asked)}]})
    good = bool(asked)
    for g, s in zip(asked, samples):
        ties = [i for i, gap in enumerate(g["gap"]) if gap < 1e-3]
        tokens = g["tokens"][: ties[0]] if ties else g["tokens"]
        expected = tokenizer.decode(tokens)
        same = s["resps"][0].startswith(expected)
        good = good and same
        print(f"prompt at token {g['first_token']}: {len(tokens)} greedy tokens {'equal' if same else 'DIFFER'}, smallest gap {min(g['gap']):.3g}")
    return good


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("binary")
    parser.add_argument("model")
    parser.add_argument("text")
    parser.add_argument("reference")
    parser.add_argument("--dtype", default="fp32")
    args = parser.parse_args()
    reference = json.loads(Path(args.reference).read_text())
    model = {"path": os.path.abspath(args.model), "dtype": args.dtype}
    with tempfile.TemporaryDirectory() as a, tempfile.TemporaryDirectory() as b:
        good = perplexity(args, Path(a), reference, model)
        good = greedy(args, Path(b), reference, model, Tokenizer.from_file(f"{args.model}/tokenizer.json")) and good
    sys.exit(0 if good or args.dtype != "fp32" else 1)


main()
