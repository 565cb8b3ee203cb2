#!/usr/bin/env python3
"""Times transformers on a model folder: prefill with every token scored, and decoding at batch 1 with a KV cache.

    peer_transformers.py MODEL_DIR --text FILE [--lengths 2048 8192] [--dtypes bf16 fp32] [--threads 2]

Prints one JSON line a measurement: {what, n, dtype, threads, seconds, tokens_per_s}. `what` is prefill_nll (n tokens in,
the natural-log loss of each after the first, summed) or decode (n tokens out, after --prompt tokens in). seconds is the
median of --repeats runs after one warm-up run. prefill_nll lines also carry nll_per_token, so that two programs can be
seen to have done the same work.
"""

import argparse
import json
import statistics
import sys
import time
from pathlib import Path

import torch
import transformers
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
ROWS = 1024  # logits are made this many positions at a time: 8192 x 49152 of them at once would be 1.6 GB


@torch.inference_mode()
def prefill_nll(model, ids):  # ids: [1, n]
    hidden = model.model(ids, use_cache=False).last_hidden_state[0, :-1]  # [n-1, d_model]
    total = 0.0
    for rows, targets in zip(hidden.split(ROWS), ids[0, 1:].split(ROWS)):
        logp = torch.log_softmax(model.lm_head(rows).float(), dim=-1)
        total -= logp.gather(-1, targets[:, None]).sum().item()
    return total


@torch.inference_mode()
def decode_seconds(model, prompt, n_new):  # prompt: [1, n]
    out = model(prompt, use_cache=True, logits_to_keep=1)
    token = out.logits[:, -1].argmax(-1, keepdim=True)
    start = time.perf_counter()
    for _ in range(n_new):
        out = model(token, past_key_values=out.past_key_values, use_cache=True)
        token = out.logits[:, -1].argmax(-1, keepdim=True)
    return time.perf_counter() - start


def timed(run):
    start = time.perf_counter()
    value = run()
    return time.perf_counter() - start, value


def report(what, n, dtype, threads, seconds, **more):
    line = {"what": what, "n": n, "dtype": dtype, "threads": threads, "seconds": round(seconds, 6),
            "tokens_per_s": round(n / seconds, 3), **more}
    print(json.dumps(line), flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("--text", type=Path, required=True, help="real text; its first tokens are the input")
    parser.add_argument("--lengths", type=int, nargs="*", default=[2048, 8192], help="none: no prefill")
    parser.add_argument("--dtypes", nargs="+", choices=list(DTYPES), default=["bf16", "fp32"])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--prompt", type=int, default=512, help="tokens in the cache before decoding")
    parser.add_argument("--decode", type=int, default=64, help="tokens to decode; 0: no decoding")
    args = parser.parse_args()

    torch.set_num_threads(args.threads)
    transformers.utils.logging.disable_progress_bar()
    tokenizer = Tokenizer.from_file(str(args.model / "tokenizer.json"))
    bos = json.loads((args.model / "config.json").read_text())["bos_token_id"]
    tokens = tokenizer.encode(args.text.read_text(encoding="utf-8"), add_special_tokens=False).ids
    longest = max(args.lengths + [args.prompt if args.decode else 0])
    if len(tokens) + 1 < longest:
        print(f"{args.text}: {len(tokens)} tokens, {longest - 1} needed", file=sys.stderr)
        return 2
    ids = torch.tensor([[bos] + tokens[:longest]])

    for dtype in args.dtypes:
        model = AutoModelForCausalLM.from_pretrained(args.model, dtype=DTYPES[dtype], attn_implementation="sdpa").eval()
        for n in args.lengths:
            prefill_nll(model, ids[:, :n])
            runs = [timed(lambda: prefill_nll(model, ids[:, :n])) for _ in range(args.repeats)]
            report("prefill_nll", n, dtype, args.threads, statistics.median(s for s, _ in runs),
                   nll_per_token=runs[0][1] / (n - 1))
        if args.decode:
            decode_seconds(model, ids[:, :args.prompt], args.decode)
            seconds = [decode_seconds(model, ids[:, :args.prompt], args.decode) for _ in range(args.repeats)]
            report("decode", args.decode, dtype, args.threads, statistics.median(seconds), prompt=args.prompt)
        del model
    return 0


if __name__ == "__main__":
    sys.exit(main())
