#!/usr/bin/env python3
"""The program on a backend against transformers, on a random model of Gemma's shape: losses of whole windows.

    parity_transformers.py BINARY [--backend cuda] [--context 1024] [--windows 8]

fp32: every window's nll agrees with transformers' fp32 to 1e-5 relative. bf16: the error against transformers' fp32, as the root mean
square over the windows, is no larger than that of transformers' own bf16 (whose residual stream is bf16, where ours is fp32).
"""

import argparse
import math
import sys
import tempfile
from pathlib import Path

import torch
import transformers
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM

from model_files import make_model, make_text, perplexity_config, run_program


@torch.inference_mode()
def reference(folder, windows, dtype):
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, attn_implementation="eager").eval()
    out = []
    for ids in windows:
        logits = model(torch.tensor([ids]), use_cache=False).logits[0, :-1]
        out.append(torch.nn.functional.cross_entropy(logits.double(), torch.tensor(ids[1:]), reduction="sum").item())
    return out


def rms(errors):
    return math.sqrt(sum(e * e for e in errors) / len(errors))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("binary", type=Path)
    parser.add_argument("--backend", default="cuda")
    parser.add_argument("--context", type=int, default=1024)
    parser.add_argument("--windows", type=int, default=8)
    args = parser.parse_args()
    transformers.utils.logging.disable_progress_bar()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = make_model(folder / "model")
        text = make_text(folder / "text.txt", args.context * (args.windows + 1))
        tokens = Tokenizer.from_file(str(model / "tokenizer.json")).encode(text.read_text(), add_special_tokens=False).ids
        step = args.context - 1
        windows = [[2] + tokens[i * step:(i + 1) * step] for i in range(args.windows)]
        exact, theirs = reference(model, windows, torch.float32), reference(model, windows, torch.bfloat16)
        command = [args.binary.resolve(), "--backend", args.backend]
        good = True
        for dtype in ("fp32", "bf16"):
            config = perplexity_config(model, text, dtype, args.context, args.windows)
            ours = list(run_program(command, config, folder).values())
            errors = [a / b - 1 for a, b in zip(ours, exact, strict=True)]
            limit = 1e-5 if dtype == "fp32" else rms([a / b - 1 for a, b in zip(theirs, exact)])
            worst = max(map(abs, errors)) if dtype == "fp32" else rms(errors)
            good = good and worst <= limit
            print(f"{'ok  ' if worst <= limit else 'FAIL'} {dtype}: relative error of a window's nll {worst:.2e}, allowed {limit:.2e}"
                  f" ({'largest' if dtype == 'fp32' else 'rms; allowed: transformers in bf16'}, {args.windows} windows of {args.context})")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
