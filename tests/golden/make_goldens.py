#!/usr/bin/env python3
"""Makes the golden fixtures: three small random-weight checkpoints and what every rope and softmax entry does to them.

    make_goldens.py             recompute the goldens of the committed checkpoints
    make_goldens.py --weights   also make the checkpoints anew (fixed seeds)
    make_goldens.py --check     recompute and compare with the committed files; write nothing

Beside this file: MODEL/ (config.json, model.safetensors), MODEL.json and greedy.json.

MODEL.json: {"model", "made_with", "sequences": [[ids of 96], [ids of 40]], "goldens": [...]}, one golden a line:
  rope, softmax  the entries as a config has them (softmax 1 is the plain one; band's open end is 1e9, not .inf)
  source         "transformers": its fp32 forward (eager), set up through config; "reference": reference.py, fp64
  diff           for transformers: the largest |difference| of any nll or logit to reference.py, the noise of fp32
  seq            one object for each of the two sequences, n being its length:
    inv_freq          fp64 table of the rotated pairs at final length n (partial: of its dr/2 pairs)
    attention_factor  multiplies cos and sin of both q and k
    pair_gain         weight of each pair's part of the logit; only where not all 1
    nll               natural log, entry i is token i+1 given tokens 0..i;  nll_sum their sum
    logits            {position: all logits there}; of the long sequence only
    top_k_margin      smallest gap between the k-th and the next logit in any row; only for top_k
greedy.json: [{model, rope, softmax, prompt, tokens, gap}], tokens the 16 greedy ones, gap the top-2 logit difference of
each step; no prompt leads to an EOS.
"""

import argparse
import json
import math
import sys
from pathlib import Path

import torch
import transformers
from entmax import entmax15, entmax_bisect, sparsemax
from safetensors.torch import save_file
from transformers import AutoConfig, AutoModelForCausalLM

import reference

HERE = Path(__file__).resolve().parent
BOS, EOS, VOCAB, LONG, SHORT = 2, 1, 256, 96, 40

# Sizes keep each checkpoint under 400 KB. gemma_mha is in the v4 style with a head_dim that is not d_model/heads;
# gemma_mqa in the v4 style with Gemma 1's legacy hidden_act; llama_gqa in the v5 style, its output matrix untied.
GEMMA = {"architectures": ["GemmaForCausalLM"], "model_type": "gemma", "attention_bias": False, "attention_dropout": 0.0,
         "bos_token_id": BOS, "eos_token_id": EOS, "pad_token_id": 0, "vocab_size": VOCAB, "max_position_embeddings": 64,
         "rms_norm_eps": 1e-06, "rope_theta": 10000.0, "initializer_range": 0.02, "use_cache": True,
         "tie_word_embeddings": True, "torch_dtype": "float32", "transformers_version": "4.44.0"}
CONFIGS = {
    "gemma_mha": {**GEMMA, "hidden_act": "gelu_pytorch_tanh", "hidden_size": 48, "intermediate_size": 96,
                  "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 4, "head_dim": 32,
                  "rope_scaling": None},
    "gemma_mqa": {**GEMMA, "hidden_act": "gelu", "hidden_activation": None, "hidden_size": 64, "intermediate_size": 128,
                  "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 1, "head_dim": 16},
    "llama_gqa": {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "attention_bias": False,
                  "attention_dropout": 0.0, "bos_token_id": BOS, "eos_token_id": EOS, "pad_token_id": 0,
                  "vocab_size": VOCAB, "hidden_act": "silu", "hidden_size": 32, "intermediate_size": 80,
                  "num_hidden_layers": 4, "num_attention_heads": 8, "num_key_value_heads": 2, "head_dim": 16,
                  "max_position_embeddings": 64, "mlp_bias": False, "rms_norm_eps": 1e-05,
                  "rope_parameters": {"rope_theta": 100000.0, "rope_type": "default"}, "initializer_range": 0.02,
                  "use_cache": True, "tie_word_embeddings": False, "dtype": "float32", "transformers_version": "5.0.0"},
}

# Standard deviation of a unit-variance input's image, per matrix: attention logits come out at about QK_GAIN^2.
QK_GAIN, VALUE_GAIN, MLP_GAIN, HEAD_GAIN = 1.6, 1.5, 1.5, 2.0


def make_weights(name, seed):
    folder = HERE / name
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(CONFIGS[name], indent=2) + "\n")
    model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(folder), dtype=torch.float32)
    gemma = CONFIGS[name]["model_type"] == "gemma"
    draw = torch.Generator().manual_seed(seed)
    tensors = {}
    for key, w in sorted(model.state_dict().items()):
        if key == "lm_head.weight" and gemma:
            continue
        noise = torch.randn(w.shape, generator=draw)
        if key.endswith("norm.weight"):
            mean = HEAD_GAIN if key == "model.norm.weight" else 1.0
            tensors[key] = mean + 0.25 * noise - (1.0 if gemma else 0.0)
        elif key == "model.embed_tokens.weight":
            tensors[key] = noise / (math.sqrt(w.shape[1]) if gemma else 1.0)
        else:
            gain = {"q_proj": QK_GAIN, "k_proj": QK_GAIN, "v_proj": VALUE_GAIN, "o_proj": VALUE_GAIN,
                    "lm_head": 1.0}.get(key.split(".")[-2], MLP_GAIN)
            tensors[key] = noise * gain / math.sqrt(w.shape[1])
    save_file({k: w.contiguous() for k, w in tensors.items()}, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "model.safetensors").chmod(0o644)


# ---------------------------------------------------------------- the entries


def rope_entries(config):
    pairs = config["head_dim"] // 2
    short = [round(1 + 0.1 * k, 3) for k in range(pairs)]
    long = [round(1 + 0.5 * k * k / pairs, 3) for k in range(pairs)]

    def of(kind, *bodies):
        return [{"rope_type": kind, **body} for body in bodies]

    entries = ["default"]
    entries += of("default", {"rope_theta": 500000.0})
    entries += of("linear", {"factor": 4}, {"factor": 2.5, "rope_theta": 20000.0})
    entries += of("ntk", {"factor": 4}, {"factor": 2, "rope_theta": 500000.0})
    entries += of("dynamic", {"factor": 4}, {"factor": 2, "original_max_position_embeddings": 32})
    entries += of("ntk_by_parts", {"factor": 4},
                  {"factor": 4, "alpha": 2, "beta": 8, "original_max_position_embeddings": 48})
    entries += of("yarn", {"factor": 4}, {"factor": 4, "truncate": False},
                  {"factor": 4, "mscale": 1, "mscale_all_dim": 0.5}, {"factor": 4, "mscale": 0.707},
                  {"factor": 4, "mscale": 0, "mscale_all_dim": 1}, {"factor": 4, "attention_factor": 1.25},
                  {"factor": 2, "beta_fast": 8, "beta_slow": 2, "original_max_position_embeddings": 32},
                  {"factor": 4, "beta_fast": 0, "beta_slow": 0}, {"factor": 8, "rope_theta": 500000.0})
    entries += of("longrope", *[{"short_factor": short, "long_factor": long, **more} for more in (
        {}, {"factor": 4}, {"original_max_position_embeddings": 32}, {"factor": 4, "attention_factor": 1.1})])
    entries += of("llama3", {}, {"factor": 4, "low_freq_factor": 1, "high_freq_factor": 2,
                                 "original_max_position_embeddings": 48})
    entries += of("p_rope", *({"p": p} for p in (0, 0.25, 0.3, 0.5, 0.75, 1)), {"p": 0.5, "factor": 2})
    entries += of("proportional", {"partial_rotary_factor": 0.75}, {"partial_rotary_factor": 0.5, "factor": 4})
    entries += of("p_rope_reversed", {"p": 0.25}, {"p": 0.5}, {"p": 0.75})
    entries += of("partial", {"p": 0.25}, {"p": 0.5}, {"p": 0.75})
    entries += ["nope"]
    entries += of("band", {"band": {"wavelength": [1, 50]}, "op": "freeze"}, {"band": {"pairs": [0, 1]}, "op": "freeze"},
                  {"band": {"pairs": [2, 2]}, "op": "remove"}, {"band": {"wavelength": [20, 1e9]}, "op": "remove"},
                  {"band": {"pairs": [0, 2]}, "op": "slow", "by": 0.5},
                  {"band": {"wavelength": [6, 100]}, "op": "slow", "by": 0.25},
                  {"band": {"pairs": [1, 3]}, "op": "gain", "by": 1.5},
                  {"band": {"wavelength": [6, 100]}, "op": "gain", "by": 0.5})
    entries += of("self_extend", {"group": 4, "window": 16}, {"group": 3, "window": 16},
                  {"group": 8, "window": 8, "rope_theta": 500000.0})
    entries += of("rerope", {"window": 16}, {"window": 16, "rope_theta": 500000.0})
    entries += of("leaky_rerope", {"window": 16, "leak": 4}, {"window": 8, "leak": 2.5})
    entries += of("dca", {}, {"original_max_position_embeddings": 32}, {"chunk": 32},
                  {"chunk": 20, "original_max_position_embeddings": 32})
    entries += ["alibi", "irope"]
    return entries


SOFTMAX = [
    0.7, 1.5, {"type": "temperature", "temperature": 0.7}, "adaptive", {"type": "adaptive"},
    {"type": "adaptive", "theta_coefficients": [0.0, 0.0, -0.1, 0.8, 0.5]},
    "log_n", {"type": "log_n", "original_max_position_embeddings": 32},
    "qwen_logn", {"type": "qwen_logn", "original_max_position_embeddings": 32},
    {"type": "ssmax", "s": 0.43}, {"type": "yarn", "factor": 4}, {"type": "softcap", "cap": 5}, {"type": "softcap", "cap": 50},
    "softmax1", {"type": "sink", "logit": 0.5}, {"type": "sink", "logit": -2}, {"type": "top_k", "k": 8},
    {"type": "top_k", "k": 1}, "sparsemax", {"type": "entmax", "alpha": 1.5}, {"type": "entmax", "alpha": 1.25},
]
SELF_EXTEND = {"rope_type": "self_extend", "group": 4, "window": 16}
YARN = {"rope_type": "yarn", "factor": 4}
CROSSED = [
    (YARN, "adaptive"), ({"rope_type": "p_rope", "p": 0.5}, {"type": "temperature", "temperature": 0.8}),
    (SELF_EXTEND, "softmax1"), ({"rope_type": "dca", "original_max_position_embeddings": 32}, {"type": "top_k", "k": 8}),
    ("alibi", "log_n"), ("nope", {"type": "ssmax", "s": 0.43}),
    ({"rope_type": "band", "band": {"pairs": [2, 2]}, "op": "remove"}, {"type": "entmax", "alpha": 1.5}),
    ({"rope_type": "rerope", "window": 16}, {"type": "sink", "logit": 0.5}),
]


def rope_parameters(entry, config):
    """The entry as transformers' rope_parameters, or None where transformers has no such type or another meaning."""
    entry = {"rope_type": entry} if isinstance(entry, str) else dict(entry)
    kind = entry["rope_type"]
    own = config.get("rope_theta") or config["rope_parameters"]["rope_theta"]
    entry.setdefault("rope_theta", own)
    if kind == "dynamic" and "original_max_position_embeddings" in entry:
        return None  # transformers takes the config's maximum instead
    if kind in ("yarn", "longrope", "llama3"):
        entry.setdefault("original_max_position_embeddings", config["max_position_embeddings"])
    if kind == "llama3":
        entry = {"factor": 8, "low_freq_factor": 1, "high_freq_factor": 4, **entry}
    if kind == "p_rope":
        entry["rope_type"], entry["partial_rotary_factor"] = "proportional", entry.pop("p")
    known = ("default", "linear", "dynamic", "yarn", "longrope", "llama3", "proportional")
    return entry if entry["rope_type"] in known else None


def transformers_model(name, entry):
    config = AutoConfig.from_pretrained(HERE / name)
    config.rope_parameters = rope_parameters(entry, CONFIGS[name])
    model = AutoModelForCausalLM.from_pretrained(HERE / name, config=config, dtype=torch.float32,
                                                 attn_implementation="eager")
    assert model.model.rotary_emb.rope_type == config.rope_parameters["rope_type"]
    return model.eval()


def difference(a, b):
    return max(abs(x - y) for x, y in zip(a, b, strict=True))


# ---------------------------------------------------------------- goldens


def rounded(x, digits):
    return [float(f"{v:.{digits}g}") for v in x]


def golden(name, model, sequences, rope_entry, softmax_entry):
    out = {"rope": rope_entry, "softmax": softmax_entry, "source": "reference", "seq": []}
    via_transformers = softmax_entry == 1 and rope_parameters(rope_entry, CONFIGS[name]) is not None
    if via_transformers:
        out.update(source="transformers", diff=0.0)
    for tokens in sequences:
        n, stats = len(tokens), {}
        logits, rope = reference.forward(model, tokens, rope_entry, softmax_entry, stats=stats)
        if via_transformers:
            peer = transformers_model(name, rope_entry)
            with torch.no_grad():
                peer_logits = peer(torch.tensor([tokens])).logits[0]
            rotary = peer.model.rotary_emb
            table = rotary.inv_freq.double().tolist()
            reference.close(table, rope.inv_freq, rtol=3e-6)
            assert abs(float(rotary.attention_scaling) - rope.a) < 1e-6
            out["diff"] = max(out["diff"], (peer_logits.double() - logits).abs().max().item(),
                              difference(reference.nll_of(peer_logits, tokens), reference.nll_of(logits, tokens)))
            assert out["diff"] < 2e-4, (name, rope_entry, out["diff"])
            out["diff"] = float(f"{out['diff']:.2g}")
            logits = peer_logits
        assert torch.isfinite(logits).all()
        nll = reference.nll_of(logits, tokens)
        one = {"n": n, "inv_freq": rope.inv_freq, "attention_factor": rope.a}
        if set(rope.gain) != {1.0}:
            one["pair_gain"] = rope.gain
        one.update(nll_sum=float(f"{math.fsum(nll):.10g}"), nll=rounded(nll, 9))
        if n == LONG:
            positions = [0, n // 2, n - 1] if (rope_entry, softmax_entry) == ("default", 1) else [n - 1]
            one["logits"] = {str(i): rounded(logits[i].tolist(), 8) for i in positions}
        if "top_k_margin" in stats:
            one["top_k_margin"] = float(f"{stats['top_k_margin']:.3g}")
        out["seq"].append(one)
    return out


def check_entmax():
    draw = torch.Generator().manual_seed(5)
    for n in (1, 2, 5, 40, 300):
        for spread in (0.1, 1.0, 3.0):
            z = spread * torch.randn(n, generator=draw, dtype=torch.float64)
            for ours, theirs in [(reference.entmax(z, 2.0), sparsemax(z)), (reference.entmax(z, 1.5), entmax15(z)),
                                 (reference.entmax(z, 1.25), entmax_bisect(z, alpha=1.25, n_iter=100)),
                                 (reference.entmax(z, 1.5), entmax_bisect(z, alpha=1.5, n_iter=100))]:
                # the package stops its sums at about single precision: 1e-7
                assert (ours - theirs).abs().max() < 1e-6, (n, spread)


def make_sequences(seed):
    draw = torch.Generator().manual_seed(seed)
    return [[BOS] + torch.randint(3, VOCAB, (n - 1,), generator=draw).tolist() for n in (LONG, SHORT)]


def smallest_margin(model, sequences, floor):
    """smallest gap at the k-th key over all top_k goldens; gives up at the first at or below `floor`"""
    smallest = math.inf
    for rope_entry, softmax_entry in [("default", e) for e in SOFTMAX] + CROSSED:
        if isinstance(softmax_entry, dict) and softmax_entry["type"] == "top_k":
            for tokens in sequences:
                stats = {}
                reference.forward(model, tokens, rope_entry, softmax_entry, stats=stats)
                smallest = min(smallest, stats["top_k_margin"])
                if smallest <= floor:
                    return smallest
    return smallest


def choose_sequences(model):
    """a seed whose sequences keep every top_k row clear of a tie, so that fp32 picks the same keys"""
    best, chosen = 0.0, None
    for seed in range(100, 400):
        margin = smallest_margin(model, make_sequences(seed), best)
        if margin > best:
            best, chosen = margin, seed
        if best >= 1e-4:
            break
    assert best >= 3e-5, f"no seed keeps top_k clear of ties: {best}"
    return chosen, make_sequences(chosen)


def make_file(name):
    model = reference.load_model(HERE / name)
    seed, sequences = choose_sequences(model)
    combos = [(rope, 1) for rope in rope_entries(CONFIGS[name])] + [("default", s) for s in SOFTMAX] + CROSSED
    goldens = [golden(name, model, sequences, *combo) for combo in combos]
    stats = {}
    reference.forward(model, sequences[0], "default", 1, stats=stats)
    z_std, H, nll = torch.tensor(stats["z_std"]), torch.tensor(stats["entropy"]), goldens[0]["seq"][0]["nll"]
    plain = goldens[0]["seq"][0]["logits"][str(LONG - 1)]
    moved = {json.dumps([g["rope"], g["softmax"]]): difference(g["seq"][0]["logits"][str(LONG - 1)], plain)
             for g in goldens[1:]}
    print(f"{name}: {len(goldens)} goldens, seed {seed}; attention logits' std {z_std[z_std > 0].mean():.2f}, row entropy "
          f"{H.mean():.2f}, nll {sum(nll) / len(nll):.3f} (ln V {math.log(VOCAB):.3f}), logits' std "
          f"{torch.tensor(plain).std():.2f}; fp32 noise of transformers {max(g.get('diff', 0) for g in goldens):.1e}")
    still = [combo for combo, d in moved.items() if d < 1e-3]
    print(f"  within 1e-3 of the default: {still}")
    made_with = f"transformers {transformers.__version__}, torch {torch.__version__.split('+')[0]}"
    head = {"model": name, "made_with": made_with, "sequences": sequences}
    lines = [json.dumps(k) + ": " + json.dumps(v) for k, v in head.items()]
    body = ",\n".join(json.dumps(g, separators=(",", ":")) for g in goldens)
    return "{" + ",\n".join(lines) + ',\n"goldens": [\n' + body + "\n]}\n"


# ---------------------------------------------------------------- greedy


def greedy(model, prompt, rope_entry, softmax_entry, n_new=16):
    tokens, gaps, n_final = list(prompt), [], len(prompt) + n_new
    for _ in range(n_new):
        logits, _ = reference.forward(model, tokens, rope_entry, softmax_entry, n_final=n_final)
        top = torch.topk(logits[-1], 2)
        gaps.append((top.values[0] - top.values[1]).item())
        tokens.append(top.indices[0].item())
    return tokens[len(prompt):], gaps


def make_greedy():
    rows = []
    for name in ("llama_gqa", "gemma_mha"):
        model = reference.load_model(HERE / name)
        combos = [("default", 1), (YARN, 1), (SELF_EXTEND, 1), ("default", "adaptive")]
        for length in (7, 20, 33):
            for seed in range(1000 * length, 1000 * length + 50):
                draw = torch.Generator().manual_seed(seed)
                prompt = [BOS] + torch.randint(3, VOCAB, (length - 1,), generator=draw).tolist()
                made = []
                for rope_entry, softmax_entry in combos:
                    tokens, gaps = greedy(model, prompt, rope_entry, softmax_entry)
                    if min(gaps) < 5e-3 or EOS in tokens:
                        break
                    made.append({"model": name, "rope": rope_entry, "softmax": softmax_entry, "prompt": prompt,
                                 "tokens": tokens, "gap": rounded(gaps, 5)})
                if len(made) == len(combos):
                    break
            assert len(made) == len(combos), "no prompt without a near tie"
            rows += made
            for rope_entry, want in (("default", made[0]), (YARN, made[1])):
                peer = transformers_model(name, rope_entry)
                peer.generation_config.eos_token_id = None
                got = peer.generate(torch.tensor([prompt]), max_new_tokens=16, do_sample=False)[0, length:].tolist()
                assert got == want["tokens"], (name, rope_entry, got, want)
    print(f"greedy: {len(rows)} rows, distinct tokens a row {sorted(len(set(r['tokens'])) for r in rows)}, smallest gap "
          f"{min(min(r['gap']) for r in rows):.2g}")
    return "[\n" + ",\n".join(json.dumps(r, separators=(",", ":")) for r in rows) + "\n]\n"


# ---------------------------------------------------------------- main


def numbers_agree(a, b, tol):
    if isinstance(a, dict) and isinstance(b, dict):
        # diff and made_with tell about the machine, not about the model
        return a.keys() == b.keys() and all(numbers_agree(a[k], b[k], tol) for k in a if k not in ("diff", "made_with"))
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(numbers_agree(x, y, tol) for x, y in zip(a, b))
    if isinstance(a, float) or isinstance(b, float):
        return abs(a - b) <= tol * max(1.0, abs(a), abs(b))
    return a == b


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--weights", action="store_true", help="make the checkpoints anew")
    parser.add_argument("--check", action="store_true", help="compare with the committed files, write nothing")
    args = parser.parse_args()
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    reference.self_test()
    check_entmax()
    if args.weights:
        for i, name in enumerate(CONFIGS):
            make_weights(name, seed=11 + i)
    texts = {f"{name}.json": make_file(name) for name in CONFIGS} | {"greedy.json": make_greedy()}
    bad = []
    for file, text in texts.items():
        if args.check:
            if not numbers_agree(json.loads((HERE / file).read_text()), json.loads(text), 1e-4):
                bad.append(file)
        else:
            (HERE / file).write_text(text)
    if bad:
        print(f"differ from what is computed now: {', '.join(bad)}", file=sys.stderr)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
