#!/usr/bin/env python3
"""What the ropesweep of a card is measured against: the card's own roofs, torch's attention kernels, and transformers on the same model.

    peer_transformers.py roofs                                                matrix product and copy at their fastest
    peer_transformers.py attention                                            scaled_dot_product_attention, by backend
    peer_transformers.py model DIR [--prefill N...] [--decode BATCH...]       the token ids of bench_gpu model
    peer_transformers.py sweep DIR TEXT --config CONFIG.json                  perplexity over rope and temperature, patched in place

One JSON line a measurement: medians after a warm-up, taken when the card is done, on random data. --tiny --device cpu rehearses.
"""

import argparse
import contextlib
import json
import statistics
import time
from pathlib import Path

import numpy as np
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

ROWS = 4096  # positions whose logits exist at one time
SDPA = {"flash": SDPBackend.FLASH_ATTENTION, "cudnn": SDPBackend.CUDNN_ATTENTION}


def report(what, program, **values):
    print(json.dumps({"what": what, "program": program, **values}), flush=True)


def wait(device):
    if device == "cuda":
        torch.cuda.synchronize()


def seconds_of(run, args, at_least=0.3, most=20, warm=False):
    """Median seconds of a run; warm: it has run before."""
    if not warm:
        run()
    wait(args.device)
    times = []
    while sum(times) < at_least or len(times) < 3:
        start = time.perf_counter()
        run()
        wait(args.device)
        times.append(time.perf_counter() - start)
        if len(times) == most or args.tiny:
            break
    return statistics.median(times)


@contextlib.contextmanager
def sdpa(name):
    if name is None:
        yield
    else:
        with sdpa_kernel([SDPA[name]]):
            yield


# ---------------------------------------------------------------- the card


def roofs(args):
    n = 256 if args.tiny else 8192
    a, b = (torch.randn(n, n, device=args.device, dtype=torch.bfloat16) for _ in range(2))
    out = torch.empty(n, n, device=args.device, dtype=torch.bfloat16)
    batch = 1 if args.tiny else 8  # products a run, so that launching does not show

    def multiply():
        for _ in range(batch):
            torch.mm(a, b, out=out)

    seconds = seconds_of(multiply, args) / batch
    report("roof_product", "torch", n=n, dtype="bf16", seconds=seconds, tflops=2 * n**3 / seconds / 1e12)
    size = 1 << (20 if args.tiny else 31)
    source = torch.randint(0, 1 << 30, (size // 4,), device=args.device, dtype=torch.int32)
    target = torch.empty_like(source)
    seconds = seconds_of(lambda: target.copy_(source), args)
    report("roof_copy", "torch", bytes=2 * size, seconds=seconds, gb_per_s=2 * size / seconds / 1e9)


def attention(args):
    for heads, kv_heads, head_dim in ((32, 8, 64), (32, 8, 128), (16, 16, 256)):
        for n in (96,) if args.tiny else (8192, 32768):
            q, k, v = (torch.randn(1, h, n, head_dim, device=args.device, dtype=torch.bfloat16) for h in (heads, kv_heads, kv_heads))
            for name in (None,) if args.device == "cpu" else SDPA:
                try:
                    with sdpa(name):
                        run = lambda: torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=heads != kv_heads)
                        seconds = seconds_of(run, args)
                except RuntimeError as error:
                    report("attention_failed", "torch", head_dim=head_dim, n=n, kernel=name, why=str(error).split("\n")[0])
                    continue
                flop = 4 * head_dim * heads * n * (n + 1) / 2
                report("attention", "torch", head_dim=head_dim, heads=heads, kv_heads=kv_heads, n=n, kernel=name or "default", policy="plain",
                       seconds=seconds, tflops=flop / seconds / 1e12)


# ---------------------------------------------------------------- a model


def load(args):
    import transformers
    from transformers import AutoModelForCausalLM

    transformers.utils.logging.disable_progress_bar()
    start = time.perf_counter()
    dtype = {"bf16": torch.bfloat16, "fp32": torch.float32}[args.dtype]
    model = AutoModelForCausalLM.from_pretrained(args.folder, dtype=dtype, attn_implementation="sdpa").to(args.device).eval()
    wait(args.device)
    report("model_load", "transformers", seconds=time.perf_counter() - start, versions=f"transformers {transformers.__version__}, torch {torch.__version__}")
    return model


def random_ids(sequence, n, vocab):
    """bench_gpu's id_of."""
    with np.errstate(over="ignore"):
        x = (np.uint64(sequence) << np.uint64(32) ^ np.arange(n, dtype=np.uint64)) * np.uint64(0x9E3779B97F4A7C15)
        x = (x ^ x >> np.uint64(30)) * np.uint64(0xBF58476D1CE4E5B9)
    return torch.from_numpy(((x >> np.uint64(33)) % np.uint64(vocab)).astype(np.int64))


@torch.inference_mode()
def window_nll(model, ids):
    """The natural-log loss of ids[1:], summed; logits are never whole in memory."""
    hidden = model.model(ids[None], use_cache=False).last_hidden_state[0, :-1]
    total = torch.zeros((), dtype=torch.float64, device=ids.device)
    for rows, targets in zip(hidden.split(ROWS), ids[1:].split(ROWS)):
        total += torch.nn.functional.cross_entropy(model.lm_head(rows).float(), targets, reduction="sum").double()
    return total.item()


def prefill(model, args):
    names = [None] if args.device == "cpu" else list(SDPA)
    for n in args.prefill:
        ids = random_ids(0, n, model.config.vocab_size).to(args.device)
        taken = {}
        for name in names:
            try:
                with sdpa(name):
                    nll = window_nll(model, ids)
                    taken[name] = seconds_of(lambda: window_nll(model, ids), args, at_least=1, most=2 if n > 100000 else 5, warm=True)
            except RuntimeError as error:
                report("prefill_failed", "transformers", n=n, kernel=name, why=str(error).split("\n")[0])
                continue
            report("model_prefill", "transformers", n=n, kernel=name or "default", seconds=taken[name], tokens_per_s=n / taken[name],
                   nll_per_token=nll / (n - 1))
        if n >= 32768 and len(taken) > 1:  # longer texts only with the faster one
            names = [min(taken, key=taken.get)]


@torch.inference_mode()
def decode_eager(model, prompts, steps, args):
    """Seconds of each greedy step with the default cache."""
    past, times = None, []
    for row in range(0, prompts.shape[1], 1024):  # the prompt in pieces: 32 x 2048 rows of activations at once are many
        out = model(prompts[:, row:row + 1024], past_key_values=past, use_cache=True, logits_to_keep=1)
        past = out.past_key_values
    token = out.logits[:, -1].argmax(-1, keepdim=True)
    for _ in range(steps + 4):
        start = time.perf_counter()
        out = model(token, past_key_values=past, use_cache=True)
        token = out.logits[:, -1].argmax(-1, keepdim=True)
        wait(args.device)
        times.append(time.perf_counter() - start)
    return times[4:]


@torch.inference_mode()
def decode_compiled(model, prompts, steps, args):
    """Seconds a step of generate with a static cache, which transformers compiles: the difference of a long and a short run."""
    def run(n):
        start = time.perf_counter()
        model.generate(prompts, attention_mask=torch.ones_like(prompts), max_new_tokens=n, min_new_tokens=n, do_sample=False,
                       cache_implementation="static", pad_token_id=0)
        wait(args.device)
        return time.perf_counter() - start

    short = 4
    run(steps + short)  # both lengths share one cache shape only if the longest comes first
    long_seconds = statistics.median(run(steps + short) for _ in range(3))
    run(short)
    return (long_seconds - statistics.median(run(short) for _ in range(3))) / steps


def decode(model, args):
    vocab = model.config.vocab_size
    for batch in args.decode:
        prompts = torch.stack([random_ids(s, args.context, vocab) for s in range(batch)]).to(args.device)
        seconds = statistics.median(decode_eager(model, prompts, args.new, args))
        report("model_decode", "transformers", batch=batch, context=args.context, kernel="eager", seconds=seconds, tokens_per_s=batch / seconds)
        if not args.compiled:
            continue
        try:
            seconds = decode_compiled(model, prompts, args.new, args)
            report("model_decode", "transformers", batch=batch, context=args.context, kernel="compiled", seconds=seconds,
                   tokens_per_s=batch / seconds)
        except Exception as error:  # whatever a compiler may raise: the eager number stands
            report("decode_failed", "transformers", batch=batch, kernel="compiled", why=str(error).split("\n")[0])


def run_model(args):
    model = load(args)
    prefill(model, args)
    decode(model, args)


# ---------------------------------------------------------------- a sweep


def use_rope(model, entry):
    """transformers' own tables for a rope entry in Hugging Face's spelling."""
    config = model.config
    original = getattr(model, "ropesweep_rope", None) or dict(config.rope_parameters)
    model.ropesweep_rope = original
    config.rope_parameters = {**original, **({"rope_type": entry} if isinstance(entry, str) else entry)}
    if config.rope_parameters["rope_type"] == "yarn":
        config.rope_parameters.setdefault("original_max_position_embeddings", config.max_position_embeddings)
    model.model.rotary_emb = type(model.model.rotary_emb)(config).to(model.device)


def use_temperature(model, temperature):
    for layer in model.model.layers:
        layer.self_attn.scaling = model.config.head_dim**-0.5 / temperature


def run_sweep(args):
    from tokenizers import Tokenizer

    config = json.loads(args.config.read_text())
    context, samples = config["sweep"]["context"], config["tasks"][0]["samples"]
    tokens = Tokenizer.from_file(str(args.folder / "tokenizer.json")).encode(args.text.read_text(encoding="utf-8"), add_special_tokens=False).ids
    model = load(args)
    bos = model.config.bos_token_id
    windows = [torch.tensor([bos] + tokens[i * (context - 1):(i + 1) * (context - 1)], device=args.device) for i in range(samples)]
    with sdpa(None if args.device == "cpu" else "flash"):
        window_nll(model, windows[0])
        wait(args.device)
        start = time.perf_counter()
        for rope in config["sweep"]["rope"]:
            for temperature in config["sweep"]["softmax"]:
                use_rope(model, rope)
                use_temperature(model, temperature)
                nll = sum(window_nll(model, ids) for ids in windows)
                report("sweep_point", "transformers", rope=rope, softmax=temperature, nll_per_token=nll / (samples * (context - 1)))
        wait(args.device)
    seconds = time.perf_counter() - start
    report("sweep", "transformers", points=len(config["sweep"]["rope"]) * len(config["sweep"]["softmax"]), samples=samples, context=context,
           seconds=seconds)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("job", choices=("roofs", "attention", "model", "sweep"))
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("text", type=Path, nargs="?")
    parser.add_argument("--config", type=Path, help="of a sweep: ropesweep's, as JSON")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--dtype", choices=("bf16", "fp32"), default="bf16")
    parser.add_argument("--prefill", type=int, nargs="*", default=[])
    parser.add_argument("--decode", type=int, nargs="*", default=[])
    parser.add_argument("--context", type=int, default=2048)
    parser.add_argument("--new", type=int, default=64)
    parser.add_argument("--compiled", action="store_true", help="also decode with transformers' compiled static cache")
    parser.add_argument("--tiny", action="store_true")
    args = parser.parse_args()
    if (args.job in ("model", "sweep")) != (args.folder is not None) or (args.job == "sweep") != (args.text is not None and args.config is not None):
        parser.error("model takes DIR; sweep DIR, TEXT and --config")
    torch.manual_seed(1)
    torch.backends.cuda.matmul.allow_tf32 = False
    {"roofs": roofs, "attention": attention, "model": run_model, "sweep": run_sweep}[args.job](args)


if __name__ == "__main__":
    main()
