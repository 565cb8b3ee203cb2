#!/usr/bin/env python3
"""What transformers (fp32, CPU) says about a model folder and a text: window losses and greedy text, as JSON.

    smollm2_reference.py MODEL_DIR TEXT [-o OUT.json] [--contexts 1024 4096] [--windows 2]

perplexity: the task of that name. The text is one document, tokenized whole; window i is BOS followed by its tokens
[i*(c-1), (i+1)*(c-1)), c the context; nll is the sum, in nats, over the c-1 tokens after BOS.
greedy: BOS + 199 tokens cut from the text at a few places, then 32 greedy tokens; gap is the difference of the two
largest logits at each step, so that a reader can tell a wrong token from a near tie. EOS does not stop it.
Both hold for the default rope and plain softmax. The output names the text by its length and digest, not by its path.
"""

import argparse
import hashlib
import json
import sys
from pathlib import Path

import torch
import transformers
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM

ROWS = 512  # positions whose logits exist at one time
PROMPT, NEW = 200, 32
CUTS = (0.1, 0.4, 0.7)  # where prompts begin, as a share of the text's tokens


@torch.inference_mode()
def window_nll(model, ids):
    x = torch.tensor([ids])
    hidden = model.model(x, use_cache=False).last_hidden_state[0, :-1]
    total = 0.0
    for rows, targets in zip(hidden.split(ROWS), x[0, 1:].split(ROWS)):
        logp = torch.log_softmax(model.lm_head(rows).double(), dim=-1)
        total -= logp.gather(-1, targets[:, None]).sum().item()
    return total


@torch.inference_mode()
def greedy(model, prompt):
    out = model(torch.tensor([prompt]), use_cache=True, logits_to_keep=1)
    tokens, gaps = [], []
    while True:
        top = torch.topk(out.logits[0, -1], 2)
        gaps.append(float(f"{(top.values[0] - top.values[1]).item():.6g}"))
        tokens.append(top.indices[0].item())
        if len(tokens) == NEW:
            return tokens, gaps
        out = model(torch.tensor([tokens[-1:]]), past_key_values=out.past_key_values, use_cache=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("text", type=Path)
    parser.add_argument("-o", "--output", type=Path, help="default: standard output")
    parser.add_argument("--contexts", type=int, nargs="+", default=[1024, 4096])
    parser.add_argument("--windows", type=int, default=2)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()

    torch.set_num_threads(args.threads)
    transformers.utils.logging.disable_progress_bar()
    raw = args.text.read_bytes()
    tokenizer = Tokenizer.from_file(str(args.model / "tokenizer.json"))
    tokens = tokenizer.encode(raw.decode("utf-8"), add_special_tokens=False).ids
    needed = args.windows * (max(args.contexts) - 1)
    if len(tokens) < max(needed, 10 * PROMPT):
        print(f"{args.text}: {len(tokens)} tokens, too few for {args.windows} windows", file=sys.stderr)
        return 2
    bos = json.loads((args.model / "config.json").read_text())["bos_token_id"]
    model = AutoModelForCausalLM.from_pretrained(args.model, dtype=torch.float32, attn_implementation="sdpa").eval()

    result = {
        "made_with": f"transformers {transformers.__version__}, torch {torch.__version__.split('+')[0]}, fp32, sdpa",
        "weights_sha256": hashlib.sha256((args.model / "model.safetensors").read_bytes()).hexdigest(),
        "text": {"bytes": len(raw), "sha256": hashlib.sha256(raw).hexdigest(), "tokens": len(tokens),
                 "first_tokens": tokens[:16]},
        "perplexity": [],
        "greedy": [],
    }
    for c in args.contexts:
        for i in range(args.windows):
            nll = window_nll(model, [bos] + tokens[i * (c - 1):(i + 1) * (c - 1)])
            result["perplexity"].append({"context": c, "window": i, "nll": nll, "n_tokens": c - 1})
    for cut in CUTS:
        start = int(cut * len(tokens))
        prompt = [bos] + tokens[start:start + PROMPT - 1]
        made, gaps = greedy(model, prompt)
        result["greedy"].append({"first_token": start, "prompt": prompt, "tokens": made, "gap": gaps,
                                 "text": tokenizer.decode(made, skip_special_tokens=False)})
    text = json.dumps(result, ensure_ascii=False, indent=1) + "\n"
    args.output.write_text(text, encoding="utf-8") if args.output else sys.stdout.write(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
