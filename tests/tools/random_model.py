#!/usr/bin/env python3
"""Writes a checkpoint with random weights in Hugging Face's layout: config.json, safetensors, tokenizer.json.

    random_model.py OUT --preset gemma-7b --layers 2 --vocab 4096 --dtype bf16 --shards 4 --seed 1

Needs numpy; holds a few MiB of one tensor at a time, so any shape can be written. --headers-only leaves the data out as
holes of sparse files of the right size. With the same arguments the same bytes are written.

Scales. Activations enter every product with a root mean square of 1 (RMSNorm), so a matrix with inputs n has elements of standard
deviation 1/sqrt(n) and its outputs stay near 1; o_proj and down_proj are smaller by sqrt(2 layers), as in GPT-2, so that the
residual stream does not grow with depth. The head's logits have a standard deviation of 2: probabilities are neither flat nor one-hot, and the
loss of random tokens is near ln(vocab) + 2. Norm weights are 1 +- 0.1 (stored without the 1 for Gemma); the final norm's have random
signs, since a head tied to the embedding would otherwise see each token's own embedding in the stream and predict its repetition.
"""

import argparse
import json
import math
import os
import shutil
import sys
from concurrent.futures import ProcessPoolExecutor

CHUNK = 1 << 20  # elements made at a time

PRESETS = {
    "gemma-7b": dict(model_type="gemma", vocab=256000, hidden=3072, ff=24576, layers=28, heads=16, kv_heads=16, head_dim=256,
                     max_positions=8192, theta=1e4, eps=1e-6, tied=True, bos=2, eos=1, pad=0),
    "gemma-2b": dict(model_type="gemma", vocab=256000, hidden=2048, ff=16384, layers=18, heads=8, kv_heads=1, head_dim=256,
                     max_positions=8192, theta=1e4, eps=1e-6, tied=True, bos=2, eos=1, pad=0),
    "llama-3-8b": dict(model_type="llama", vocab=128256, hidden=4096, ff=14336, layers=32, heads=32, kv_heads=8, head_dim=128,
                       max_positions=8192, theta=5e5, eps=1e-5, tied=False, bos=128000, eos=128001, pad=None),
    "smollm2-135m": dict(model_type="llama", vocab=49152, hidden=576, ff=1536, layers=30, heads=9, kv_heads=3, head_dim=64,
                         max_positions=8192, theta=1e5, eps=1e-5, tied=True, bos=0, eos=0, pad=None),
}
ITEM_BYTES = {"bf16": 2, "fp16": 2, "fp32": 4}
DTYPE_NAMES = {"bf16": "BF16", "fp16": "F16", "fp32": "F32"}
TORCH_NAMES = {"bf16": "bfloat16", "fp16": "float16", "fp32": "float32"}


def tensors(m):
    """(name, shape, mean, standard deviation, what a random half of the elements gets added) of every tensor, in the order they are written."""
    gemma = m["model_type"] == "gemma"
    d, f, q, kv = m["hidden"], m["ff"], m["heads"] * m["head_dim"], m["kv_heads"] * m["head_dim"]
    depth = math.sqrt(2 * m["layers"])
    norm = (0.0 if gemma else 1.0, 0.1, 0.0)
    head = 2 / math.sqrt(d)
    yield "model.embed_tokens.weight", [m["vocab"], d], 0.0, head if m["tied"] else 1.0, 0.0
    for i in range(m["layers"]):
        layer = f"model.layers.{i}."
        yield layer + "input_layernorm.weight", [d], *norm
        yield layer + "self_attn.q_proj.weight", [q, d], 0.0, 1 / math.sqrt(d), 0.0
        yield layer + "self_attn.k_proj.weight", [kv, d], 0.0, 1 / math.sqrt(d), 0.0
        yield layer + "self_attn.v_proj.weight", [kv, d], 0.0, 1 / math.sqrt(d), 0.0
        yield layer + "self_attn.o_proj.weight", [d, q], 0.0, 1 / math.sqrt(q) / depth, 0.0
        yield layer + "post_attention_layernorm.weight", [d], *norm
        yield layer + "mlp.gate_proj.weight", [f, d], 0.0, 1 / math.sqrt(d), 0.0
        yield layer + "mlp.up_proj.weight", [f, d], 0.0, 1 / math.sqrt(d), 0.0
        yield layer + "mlp.down_proj.weight", [d, f], 0.0, 1 / math.sqrt(f) / depth, 0.0
    yield "model.norm.weight", [d], norm[0], 0.1, -2.0
    if not m["tied"]:
        yield "lm_head.weight", [m["vocab"], d], 0.0, head, 0.0


def config(m, dtype):
    gemma = m["model_type"] == "gemma"
    return {
        "architectures": ["GemmaForCausalLM" if gemma else "LlamaForCausalLM"],
        "model_type": m["model_type"],
        "vocab_size": m["vocab"],
        "hidden_size": m["hidden"],
        "intermediate_size": m["ff"],
        "num_hidden_layers": m["layers"],
        "num_attention_heads": m["heads"],
        "num_key_value_heads": m["kv_heads"],
        "head_dim": m["head_dim"],
        "hidden_act": "gelu_pytorch_tanh" if gemma else "silu",
        "max_position_embeddings": m["max_positions"],
        "rms_norm_eps": m["eps"],
        "rope_theta": m["theta"],
        "rope_scaling": None,
        "attention_bias": False,
        "bos_token_id": m["bos"],
        "eos_token_id": m["eos"],
        "pad_token_id": m["pad"],
        "tie_word_embeddings": m["tied"],
        "torch_dtype": TORCH_NAMES[dtype],
    }


def byte_characters():
    """GPT-2's printable character of each byte."""
    kept = [*range(33, 127), *range(161, 173), *range(174, 256)]
    table = {b: chr(b) for b in kept}
    for n, b in enumerate(b for b in range(256) if b not in table):
        table[b] = chr(256 + n)
    return [table[b] for b in range(256)]


def added_token(number, text):
    return {"id": number, "content": text, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}


def tokenizer(m):
    """The least that reads any text: every byte is a token. Gemma's layout falls back to byte tokens, Llama's is byte-level."""
    gemma = m["model_type"] == "gemma"
    special = {"<unk>": 3} if gemma else {}
    if m["pad"] is not None:
        special["<pad>"] = m["pad"]
    special["<bos>"] = m["bos"]
    if m["eos"] != m["bos"]:
        special["<eos>"] = m["eos"]
    pieces = [f"<0x{b:02X}>" for b in range(256)] + ["\u2581"] if gemma else byte_characters()
    taken = set(special.values())
    free = (i for i in range(m["vocab"]) if i not in taken)
    vocab = {**special, **{piece: next(free) for piece in pieces}}
    model = {"type": "BPE", "dropout": None, "unk_token": "<unk>" if gemma else None, "continuing_subword_prefix": None, "end_of_word_suffix": None,
             "fuse_unk": gemma, "byte_fallback": gemma, "ignore_merges": False, "vocab": vocab, "merges": []}
    space = {"type": "Replace", "pattern": {"String": " "}, "content": "\u2581"}
    back = {"type": "Replace", "pattern": {"String": "\u2581"}, "content": " "}
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    return {"version": "1.0", "truncation": None, "padding": None,
            "added_tokens": [added_token(i, text) for text, i in sorted(special.items(), key=lambda item: item[1])],
            "normalizer": space if gemma else None, "pre_tokenizer": None if gemma else level, "post_processor": None,
            "decoder": {"type": "Sequence", "decoders": [back, {"type": "ByteFallback"}, {"type": "Fuse"}]} if gemma else level, "model": model}


def values(np, rng, n, mean, deviation, half, dtype):
    """n normal numbers as the bytes of their dtype. bf16 is rounded to nearest even on the bits."""
    x = rng.standard_normal(n, dtype=np.float32)
    x *= np.float32(deviation)
    if mean:
        x += np.float32(mean)
    if half:
        x += np.float32(half) * rng.integers(0, 2, n, dtype=np.uint8)
    if dtype == "bf16":
        bits = x.view(np.uint32)
        bits += 0x7FFF + ((bits >> 16) & 1)
        return (bits >> 16).astype("<u2")
    return x.astype("<f2" if dtype == "fp16" else "<f4")


def write_tensor(np, out, seed, number, tensor, dtype):
    _, shape, *scales = tensor
    rng = np.random.Generator(np.random.SFC64([seed, number]))
    left = math.prod(shape)
    while left:
        n = min(left, CHUNK)
        out.write(values(np, rng, n, *scales, dtype).data)
        left -= n


def write_shard(path, part, first, dtype, seed, headers_only):
    """part: tensors, of which the first has this number in the whole model."""
    header, at = {"__metadata__": {"format": "pt"}}, 0
    for name, shape, *_ in part:
        n = math.prod(shape) * ITEM_BYTES[dtype]
        header[name] = {"dtype": DTYPE_NAMES[dtype], "shape": shape, "data_offsets": [at, at + n]}
        at += n
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as out:
        out.write(len(text).to_bytes(8, "little") + text)
        if headers_only:
            out.truncate(8 + len(text) + at)
            return at
        import numpy as np
        for i, tensor in enumerate(part):
            write_tensor(np, out, seed, first + i, tensor, dtype)
    return at


def split(parts, n):
    """Consecutive runs of about equal size, none empty."""
    sizes = [math.prod(shape) for _, shape, *_ in parts]
    total, runs, run, done = sum(sizes), [], [], 0
    for i, (part, size) in enumerate(zip(parts, sizes)):
        run.append(part)
        done += size
        missing = n - len(runs) - 1
        if missing and (done >= total * (len(runs) + 1) / n or len(parts) - i - 1 == missing):
            runs.append(run)
            run = []
    return runs + [run]


def write_weights(out, m, args):
    runs = split(list(tensors(m)), args.shards)
    weight_map, jobs, first = {}, [], 0
    for i, run in enumerate(runs):
        name = "model.safetensors" if len(runs) == 1 else f"model-{i + 1:05}-of-{len(runs):05}.safetensors"
        jobs.append((os.path.join(out, name), run, first, args.dtype, args.seed, args.headers_only))
        weight_map.update((tensor[0], name) for tensor in run)
        first += len(run)
    with ProcessPoolExecutor(args.jobs) as pool:
        total = sum(pool.map(write_shard, *zip(*jobs)))
    if len(runs) > 1:
        write_json(out, "model.safetensors.index.json", {"metadata": {"total_size": total}, "weight_map": weight_map})
    return total


def write_json(folder, name, value):
    with open(os.path.join(folder, name), "w", encoding="utf-8") as out:
        json.dump(value, out, indent=2, ensure_ascii=False)
        out.write("\n")


def fit_tokens(m, given):
    """Special tokens that a smaller vocabulary does not have move to where small tokenizers have them."""
    for key, small in (("bos", 2), ("eos", 1)):
        if m[key] >= m["vocab"] and given[key] is None:
            m[key] = small


def parse(argv):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("out", help="folder, made if it is not there")
    parser.add_argument("--preset", choices=PRESETS, default="gemma-2b")
    for key in ("vocab", "hidden", "ff", "layers", "heads", "kv_heads", "head_dim", "max_positions", "bos", "eos"):
        parser.add_argument("--" + key.replace("_", "-"), type=int)
    for key in ("theta", "eps"):
        parser.add_argument("--" + key, type=float)
    parser.add_argument("--model-type", choices=("gemma", "llama"))
    parser.add_argument("--tied", choices=("true", "false"))
    parser.add_argument("--dtype", choices=ITEM_BYTES, default="bf16")
    parser.add_argument("--shards", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=1, help="shards written at a time; the bytes do not depend on it")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--headers-only", action="store_true", help="sparse files of the right size, all weights zero")
    parser.add_argument("--tokenizer", metavar="FILE", help="copied as tokenizer.json")
    return parser, parser.parse_args(argv)


def main(argv):
    parser, args = parse(argv)
    m = dict(PRESETS[args.preset])
    given = vars(args)
    m.update((key, given[key]) for key in m if key != "tied" and given.get(key) is not None)
    if args.tied:
        m["tied"] = args.tied == "true"
    fit_tokens(m, given)
    if m["vocab"] < 300:
        parser.error("--vocab: at least 300, for the 256 bytes and the special tokens")
    if not 1 <= args.shards <= 2 + 9 * m["layers"]:
        parser.error("--shards: from 1 to the number of tensors")
    os.makedirs(args.out, exist_ok=True)
    write_json(args.out, "config.json", config(m, args.dtype))
    if args.tokenizer:
        shutil.copyfile(args.tokenizer, os.path.join(args.out, "tokenizer.json"))
    else:
        write_json(args.out, "tokenizer.json", tokenizer(m))
    total = write_weights(args.out, m, args)
    print(f"{args.out}: {total // ITEM_BYTES[args.dtype]} parameters, {total / 2**20:.1f} MiB")


if __name__ == "__main__":
    main(sys.argv[1:])
