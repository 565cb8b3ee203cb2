#!/usr/bin/env python3
"""Trains tiny-gemma: a Gemma-1 model of about half a million parameters, on synthetic long-context tasks.

    python train.py --out DIR      builds the tokenizer, trains (CPU, seeded), writes the checkpoint to DIR
    python train.py --tokenizer-only --out DIR

Needs torch, numpy, safetensors, tokenizers. eval.py measures what it can do; README.md says what it is for.
The first part of this file (word lists, tokenizer, prompt generators) fixes the text formats; change nothing there
without changing the same tasks in the C program.
"""
import argparse
import json
import math
import os
import time

import numpy as np

# ---------------------------------------------------------------------------------------------------------- words
NOUNS = (
    "act age air ale ant ape arc arm art ash axe bag bar bat bay bed bee bin bow box boy bud bug bun bus cab cap car "
    "cat cot cow cub cup day den dew dog dot ear eel egg elf elk elm eye fan fig fin fir fly fog fox fur gas gem gum hat "
    "hay hen hip hog hut ice ink jam jar jaw jet jug kid kit lab lap law leg lid lip log map mat mop mud mug net nut oak "
    "oar oat oil owl pad pan paw pea pen pet pie pig pin pit pot rag ram rat ray rib rod row rug sap saw sea sky son "
    "sun tap tar tea tie tin toe toy tub van vat wax web wig").split()
assert len(NOUNS) == len(set(NOUNS)) == 128, len(NOUNS)
KEYS = NOUNS[0::2]      # 64 key nouns
VALUES = NOUNS[1::2]    # 64 value nouns, disjoint
FILLERS = "all also and but for from here into just more most now some so then with".split()
TEMPLATE = ["the", "key", "is", ".", "copy", "max"]
NUMBERS = [str(i) for i in range(100)]
assert len(KEYS) == len(VALUES) == 64 and len(FILLERS) == 16
WORDS = KEYS + VALUES + FILLERS + TEMPLATE + NUMBERS
assert len(set(WORDS)) == len(WORDS)
PAD, EOS, BOS, UNK = 0, 1, 2, 3


# ------------------------------------------------------------------------------------------------------ tokenizer
def build_tokenizer():
    """The structure of Gemma 1's tokenizer.json, with a small vocabulary.

    Every merge joins a prefix that starts with U+2581 and one character, so a word is reached along its prefixes and
    no merge crosses a word's border; every word of WORDS, with its leading space, is exactly one token.
    """
    sp = "\u2581"
    vocab = ["<pad>", "<eos>", "<bos>", "<unk>"] + ["<0x%02X>" % i for i in range(256)]
    vocab += [sp] + [chr(c) for c in range(33, 127)]
    prefixes = {sp + w[:n] for w in WORDS for n in range(1, len(w) + 1)}
    nodes = sorted(prefixes, key=lambda t: (len(t), t))
    vocab += nodes
    special = [{"id": i, "content": vocab[i], "single_word": False, "lstrip": False, "rstrip": False,
                "normalized": False, "special": True} for i in range(4)]
    return {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": special,
        "normalizer": {"type": "Replace", "pattern": {"String": " "}, "content": sp},
        "pre_tokenizer": None,
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [{"SpecialToken": {"id": "<bos>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
            "pair": [{"SpecialToken": {"id": "<bos>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}},
                     {"SpecialToken": {"id": "<bos>", "type_id": 1}}, {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {"<bos>": {"id": "<bos>", "ids": [2], "tokens": ["<bos>"]}}},
        "decoder": {"type": "Sequence", "decoders": [
            {"type": "Replace", "pattern": {"String": sp}, "content": " "}, {"type": "ByteFallback"}, {"type": "Fuse"}]},
        "model": {
            "type": "BPE", "dropout": None, "unk_token": "<unk>", "continuing_subword_prefix": None,
            "end_of_word_suffix": None, "fuse_unk": True, "byte_fallback": True,
            "vocab": {t: i for i, t in enumerate(vocab)},
            "merges": [t[:-1] + " " + t[-1] for t in nodes]},
    }


VOCAB = build_tokenizer()["model"]["vocab"]
ID = {w: VOCAB["\u2581" + w] for w in WORDS}


def write_tokenizer(out):
    tok = build_tokenizer()
    with open(os.path.join(out, "tokenizer.json"), "w", encoding="utf-8") as f:
        json.dump(tok, f, ensure_ascii=False, indent=0)
    with open(os.path.join(out, "tokenizer_config.json"), "w") as f:
        json.dump({"add_bos_token": True, "add_eos_token": False, "bos_token": "<bos>", "eos_token": "<eos>",
                   "pad_token": "<pad>", "unk_token": "<unk>", "clean_up_tokenization_spaces": False,
                   "model_max_length": 128, "tokenizer_class": "GemmaTokenizer"}, f, indent=2)
        f.write("\n")
    with open(os.path.join(out, "words.json"), "w") as f:
        json.dump({"keys": KEYS, "values": VALUES, "fillers": FILLERS, "template": TEMPLATE}, f, indent=0)
        f.write("\n")
    from tokenizers import Tokenizer
    t = Tokenizer.from_file(os.path.join(out, "tokenizer.json"))
    for w in WORDS:
        ids = t.encode(" " + w).ids
        assert ids == [BOS, ID[w]], (w, ids)
    rng = np.random.default_rng(0)
    for _ in range(200):
        ws = [WORDS[i] for i in rng.integers(0, len(WORDS), 50)]
        text = "".join(" " + w for w in ws)
        assert t.encode(text).ids == [BOS] + [ID[w] for w in ws]
        assert t.decode(t.encode(text).ids) == text
    for text in ("a\u00e9\n\t\u4e2d z", "hello  world", " category", "key:value"):
        assert t.decode(t.encode(text).ids) == text, text


# ------------------------------------------------------------------------------------- prompts (words, no BOS; text)
# Each returns (words of the prompt, words of the answer). A prompt's text is "".join(" " + w); its length in tokens is
# 1 (BOS) + the number of words.
def kv_lookup(rng, n_pairs, depth=None):
    """n_pairs " key value" pairs, then one of the keys; the answer is its value.

    Values are drawn with replacement; a key keeps its value within a prompt. The queried key appears exactly once,
    at pair `depth` (uniform if None). The other pairs: distinct keys while n_pairs <= 64, else keys drawn uniformly
    with replacement from the other 63.
    """
    perm = rng.permutation(64)
    value = rng.integers(0, 64, 64)
    if depth is None:
        depth = int(rng.integers(0, n_pairs))
    rest = perm[1:n_pairs] if n_pairs <= 64 else perm[1 + rng.integers(0, 63, n_pairs - 1)]
    order = np.concatenate([rest[:depth], perm[:1], rest[depth:]])
    words = []
    for k in order:
        words += [KEYS[k], VALUES[value[k]]]
    return words + [KEYS[perm[0]]], [VALUES[value[perm[0]]]]


def copy(rng, n):
    """n nouns, " copy", and the same n again; the answer is the second copy.

    The nouns are distinct while n <= 128, else drawn uniformly with replacement from all 128.
    """
    ws = [NOUNS[i] for i in (rng.permutation(128)[:n] if n <= 128 else rng.integers(0, 128, n))]
    return ws + ["copy"], ws


def needle(rng, n_words, n_needles=1, depth=None):
    """Filler with needles " the key K is V ." (distinct keys) and the question " the key K is"; n_words words in all.

    Fillers are drawn with replacement; needles go into uniformly drawn gaps between filler words (the asked one into
    gap round(depth * fillers) if depth, 0..1, is given). The first needle drawn is the one asked for.
    """
    n_fill = n_words - 6 * n_needles - 4
    assert n_fill >= 0
    ks = rng.permutation(64)[:n_needles]
    vs = rng.integers(0, 64, n_needles)
    gaps = rng.integers(0, n_fill + 1, n_needles)
    if depth is not None:
        gaps[0] = round(depth * n_fill)
    fill = [FILLERS[i] for i in rng.integers(0, 16, n_fill)]
    words, at = [], 0
    for j in np.argsort(gaps, kind="stable"):
        words += fill[at:gaps[j]] + ["the", "key", KEYS[ks[j]], "is", VALUES[vs[j]], "."]
        at = gaps[j]
    words += fill[at:]
    return words + ["the", "key", KEYS[ks[0]], "is"], [VALUES[vs[0]]]


def maximum(rng, k):
    """" max", k numbers, " max is"; the answer is the largest. Numbers are uniform in 0..u, u uniform in 9..99."""
    u = int(rng.integers(9, 100))
    ns = rng.integers(0, u + 1, k)
    return ["max"] + [str(n) for n in ns] + ["max", "is"], [str(ns.max())]


# --------------------------------------------------------------------------------------------------- training rows
# A row is (token ids, positions whose NEXT token is scored). Inputs never exceed LEN tokens.
LEN = 128


def row_periodic(rng, length=LEN, words=None):
    """A random word sequence repeated with period p; scored from the second period on."""
    p = int(rng.integers(3, length // 2))
    pool = [ID[w] for w in (words or (NOUNS if rng.random() < .7 else WORDS))]
    base = [pool[i] for i in rng.integers(0, len(pool), p)]
    ids = [BOS] + [base[i % p] for i in range(length)]
    return ids, list(range(p, length))


def row_copy(rng, repeats=False):
    n = int(rng.integers(4, 64)) if rng.random() < .5 else int(rng.integers(32, 64))
    b = [NOUNS[i] for i in rng.integers(0, 128, n)] if repeats else copy(rng, n)[1]
    ids = [BOS] + [ID[w] for w in b + ["copy"] + b]
    return ids, list(range(n + 1, 2 * n + 1))


def row_copy_repeats(rng):
    return row_copy(rng, repeats=True)


def row_stream(rng):
    """Pairs with repeats; scored where the key was seen before."""
    n_keys = int(rng.integers(4, 33)) if rng.random() < .5 else int(rng.integers(16, 64))
    ks = rng.permutation(64)[:n_keys]
    value = rng.integers(0, 64, 64)
    n = LEN // 2
    if rng.random() < .5:
        order = ks[rng.integers(0, n_keys, n)]
    else:                                   # all keys once, then asked in random order
        order = np.concatenate([ks, rng.choice(ks, n)])[:n]
    ids, scored, seen = [BOS], [], set()
    for k in order:
        ids += [ID[KEYS[k]], ID[VALUES[value[k]]]]
        if k in seen:
            scored.append(len(ids) - 2)
        seen.add(k)
    return ids, scored


def row_kv(rng):
    """The evaluation form, or the same with the keys of the other pairs drawn with repetition."""
    n = int(rng.integers(2, 64)) if rng.random() < .3 else int(rng.integers(40, 64))
    if rng.random() < .5:
        a, b = kv_lookup(rng, n)
        return [BOS] + [ID[w] for w in a + b], [len(a)]
    ks = rng.permutation(64)[:int(rng.integers(2, 64))]
    value = rng.integers(0, 64, 64)
    order = ks[1:][rng.integers(0, len(ks) - 1, n)]
    order[rng.integers(0, n)] = ks[0]
    ids, scored, seen = [BOS], [], set()
    for k in list(order) + [ks[0]]:
        ids += [ID[KEYS[k]], ID[VALUES[value[k]]]]
        if k in seen:
            scored.append(len(ids) - 2)
        seen.add(k)
    return ids, scored


def row_needle(rng, n_words=None):
    if n_words is None:
        n_words = LEN - 1 if rng.random() < .4 else int(rng.integers(24, LEN))
    n = int(rng.integers(1, min(5, (n_words - 4) // 6 + 1)))
    a, b = needle(rng, n_words, n)
    return [BOS] + [ID[w] for w in a + b], [len(a)]


def row_needles(rng):
    """Many needles, with repeated keys, between few fillers; scored where the key was seen before."""
    ks = rng.permutation(64)[:int(rng.integers(2, 9))]
    value = rng.integers(0, 64, 64)
    fill = rng.random() * .5
    ids, scored, seen = [BOS], [], set()
    while len(ids) + 6 <= LEN + 1:
        if rng.random() < fill:
            ids += [ID[FILLERS[i]] for i in rng.integers(0, 16, min(int(rng.integers(1, 12)), LEN + 1 - len(ids)))]
            continue
        k = ks[rng.integers(0, len(ks))]
        ids += [ID[w] for w in ("the", "key", KEYS[k], "is", VALUES[value[k]], ".")]
        if k in seen:
            scored.append(len(ids) - 3)
        seen.add(k)
    return (ids, scored) if scored else row_needles(rng)


def row_max(rng, k=None):
    if k is None:
        k = int(rng.integers(2, LEN - 4))
    a, b = maximum(rng, k)
    return [BOS] + [ID[w] for w in a + b] + [EOS], [len(a), len(a) + 1]


def make_batch(rows, length):
    ids = np.zeros((len(rows), length + 1), np.int64)
    pos, wts = [], []
    for r, (row, scored) in enumerate(rows):
        assert len(row) <= length + 1, len(row)
        ids[r, :len(row)] = row
        pos += [(r, s) for s in scored]
        wts += [len(scored) ** -.5] * len(scored)
    return ids, np.array(pos), np.array(wts, np.float32)


# ----------------------------------------------------------------------------------------------------------- model
CONFIG = {
    "architectures": ["GemmaForCausalLM"], "model_type": "gemma", "vocab_size": len(VOCAB), "hidden_size": 128,
    "intermediate_size": 256, "num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 2,
    "head_dim": 32, "hidden_act": "gelu_pytorch_tanh", "hidden_activation": "gelu_pytorch_tanh",
    "max_position_embeddings": 128, "rms_norm_eps": 1e-06, "rope_theta": 10000.0, "attention_bias": False,
    "attention_dropout": 0.0, "initializer_range": 0.02, "bos_token_id": BOS, "eos_token_id": EOS,
    "pad_token_id": PAD, "tie_word_embeddings": True, "torch_dtype": "bfloat16", "use_cache": True}

import torch                       # noqa: E402
import torch.nn.functional as F    # noqa: E402


def default_inv_freq(c=CONFIG):
    d = c["head_dim"]
    return np.array([c["rope_theta"] ** (-2 * k / d) for k in range(d // 2)])


def rope_table(inv_freq, length, a=1.0):
    ang = torch.arange(length, dtype=torch.float64)[:, None] * torch.tensor(inv_freq, dtype=torch.float64)[None]
    return (ang.cos() * a).float(), (ang.sin() * a).float()       # [length, head_dim / 2]


def init_params(c, seed):
    g = torch.Generator().manual_seed(seed)
    d, f, dh = c["hidden_size"], c["intermediate_size"], c["head_dim"]
    nq, nkv, nl = c["num_attention_heads"], c["num_key_value_heads"], c["num_hidden_layers"]

    def mat(o, i, scale=1.0):
        return torch.nn.Parameter(torch.randn(o, i, generator=g) * (scale * i ** -.5))
    p = {"model.embed_tokens.weight": mat(c["vocab_size"], d)}
    for l in range(nl):
        n = "model.layers.%d." % l
        p[n + "input_layernorm.weight"] = torch.nn.Parameter(torch.zeros(d))
        p[n + "self_attn.q_proj.weight"] = mat(nq * dh, d)
        p[n + "self_attn.k_proj.weight"] = mat(nkv * dh, d)
        p[n + "self_attn.v_proj.weight"] = mat(nkv * dh, d)
        p[n + "self_attn.o_proj.weight"] = mat(d, nq * dh, (2 * nl) ** -.5)
        p[n + "post_attention_layernorm.weight"] = torch.nn.Parameter(torch.zeros(d))
        p[n + "mlp.gate_proj.weight"] = mat(f, d)
        p[n + "mlp.up_proj.weight"] = mat(f, d)
        p[n + "mlp.down_proj.weight"] = mat(d, f, (2 * nl) ** -.5)
    p["model.norm.weight"] = torch.nn.Parameter(torch.zeros(d))
    return p


def rmsnorm(x, w, eps):
    return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + eps) * (1 + w)


def rotate(x, cos, sin):
    a, b = x.chunk(2, -1)
    return torch.cat([a * cos - b * sin, b * cos + a * sin], -1)


def hidden(p, c, ids, cos, sin, row_scale=None, sharp=None, last=False):
    """Final normed hidden states [rows, length, d]. row_scale [length]: a factor on every query row's logits.

    last: of the last position only ([rows, 1, d]); the last layer then computes one query row.

    sharp: a list; each layer appends |q|^2 |k|^2 / head_dim (means over tokens, summed over heads), an upper bound of
    the mean squared logit.
    """
    r, n = ids.shape
    nq, nkv, dh, eps = c["num_attention_heads"], c["num_key_value_heads"], c["head_dim"], c["rms_norm_eps"]
    x = F.embedding(ids, p["model.embed_tokens.weight"]) * float(torch.tensor(c["hidden_size"] ** .5))
    for l in range(c["num_hidden_layers"]):
        w = {k: p["model.layers.%d.%s.weight" % (l, k)] for k in (
            "input_layernorm", "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj",
            "post_attention_layernorm", "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj")}
        h = rmsnorm(x, w["input_layernorm"], eps)
        q = F.linear(h, w["self_attn.q_proj"]).view(r, n, nq, dh).transpose(1, 2)
        k = F.linear(h, w["self_attn.k_proj"]).view(r, n, nkv, dh).transpose(1, 2)
        v = F.linear(h, w["self_attn.v_proj"]).view(r, n, nkv, dh).transpose(1, 2)
        if sharp is not None:
            k2 = k.pow(2).sum(-1).mean((0, 2)).repeat_interleave(nq // nkv)
            sharp.append((q.pow(2).sum(-1).mean((0, 2)) * k2).sum() / dh)
        q, k = rotate(q, cos, sin), rotate(k, cos, sin)
        if row_scale is not None:
            q = q * row_scale[:, None]
        k = k.repeat_interleave(nq // nkv, 1)
        v = v.repeat_interleave(nq // nkv, 1)
        cut = last and l == c["num_hidden_layers"] - 1
        if cut:
            x, q = x[:, -1:], q[:, :, -1:]
        o = F.scaled_dot_product_attention(q, k, v, is_causal=not cut)
        x = x + F.linear(o.transpose(1, 2).reshape(r, -1, nq * dh), w["self_attn.o_proj"])
        h = rmsnorm(x, w["post_attention_layernorm"], eps)
        x = x + F.linear(F.gelu(F.linear(h, w["mlp.gate_proj"]), approximate="tanh") * F.linear(h, w["mlp.up_proj"]),
                         w["mlp.down_proj"])
    return rmsnorm(x, p["model.norm.weight"], eps)


def save(p, out):
    from safetensors.torch import save_file
    t = {k: v.detach().to(torch.bfloat16).contiguous() for k, v in p.items()}
    save_file(t, os.path.join(out, "model.safetensors"), metadata={"format": "pt"})
    with open(os.path.join(out, "config.json"), "w") as f:
        json.dump(CONFIG, f, indent=2)
        f.write("\n")


# -------------------------------------------------------------------------------------------------------- training
# Stage 1 forms the circuits; stage 2 starts from its weights (rounded to bf16) with a fresh optimizer and adds the
# sharpness penalty. Free logits grow until the keys of 128 tokens are told apart with a large margin, and then no
# temperature near 1 matters even at 1024. The penalty keeps the margin near what the training length needs.
COPY_STEPS, COPY_LEN = 350, 48    # stage 1 begins with short periodic copies only
STAGES = {1: dict(steps=1000, lr=3e-3, warm=150, horizon=3600, sharp=0., ramp=1),
          2: dict(steps=700, lr=2e-3, warm=20, horizon=700, sharp=1e-3, ramp=100)}
MIX = {1: {row_periodic: 4, row_copy_repeats: 3, row_stream: 8, row_kv: 5, row_needle: 3, row_needles: 5, row_max: 4},
       2: {row_periodic: 4, row_copy: 4, row_stream: 8, row_kv: 6, row_needle: 3, row_needles: 3, row_max: 4}}


def batches(stage, step, rng):
    """[(weight, batch)]. Copies first, and short: a lookup needs the "attend behind an earlier occurrence" circuit, and
    it forms in about 300 steps on these, but had not started after 800 steps of mixed rows of 128 tokens."""
    if stage == 1 and step < COPY_STEPS:
        return [(1., make_batch([row_periodic(rng, COPY_LEN, NOUNS) for _ in range(64)], COPY_LEN))]
    rows = [f(rng) for f, n in MIX[stage].items() for _ in range(n)]
    short = [row_max(rng, int(rng.integers(2, 17))) for _ in range(20)]
    short += [row_needle(rng, int(rng.integers(11, 23))) for _ in range(12)]
    return [(.8, make_batch(rows, LEN)), (.2, make_batch(short, 23))]


def quick_eval(p, c, cos, sin, n=100):
    rng = np.random.default_rng(99)
    res = []
    with torch.no_grad():
        for name, gen in (("kv60", lambda: kv_lookup(rng, 60)), ("needle1", lambda: needle(rng, 127)),
                          ("needle4", lambda: needle(rng, 127, 4)), ("max8", lambda: maximum(rng, 8)),
                          ("max64", lambda: maximum(rng, 64))):
            ps = [gen() for _ in range(n)]
            ids = torch.tensor([[BOS] + [ID[w] for w in a] for a, _ in ps])
            m = ids.shape[1]
            h = hidden(p, c, ids, cos[:m], sin[:m])[:, -1]
            hit = (h @ p["model.embed_tokens.weight"].T).argmax(-1) == torch.tensor([ID[b[0]] for _, b in ps])
            res.append("%s %.2f" % (name, hit.float().mean()))
        ps = [copy(rng, 62) for _ in range(20)]
        ids = torch.tensor([[BOS] + [ID[w] for w in a + b] for a, b in ps])
        lg = hidden(p, c, ids, cos[:ids.shape[1]], sin[:ids.shape[1]]) @ p["model.embed_tokens.weight"].T
        res.append("copy62 %.3f" % (lg[:, 63:-1].argmax(-1) == ids[:, 64:]).float().mean())
    return "  ".join(res)


def train(args, stage, p):
    """Trains p in place."""
    st, c = STAGES[stage], CONFIG
    rng = np.random.default_rng(args.seed if stage == 1 else [args.seed, stage])
    print("stage %d: parameters %d, vocab %d, seed %d, %s, torch %s" % (
        stage, sum(v.numel() for v in p.values()), c["vocab_size"], args.seed, st, torch.__version__), flush=True)
    opt = torch.optim.AdamW([{"params": [v for v in p.values() if v.dim() == 2], "weight_decay": .05},
                             {"params": [v for v in p.values() if v.dim() == 1], "weight_decay": 0.}],
                            lr=st["lr"], betas=(.9, .98))
    cos, sin = rope_table(default_inv_freq(), LEN)
    t0, tokens, run = time.time(), 0, []
    for step in range(st["steps"]):
        lr = st["lr"] * min(1, (step + 1) / st["warm"])
        lr *= .02 + .98 * .5 * (1 + math.cos(math.pi * step / st["horizon"]))
        for g in opt.param_groups:
            g["lr"] = lr
        loss, sharp = 0., []
        for weight, (ids, pos, wts) in batches(stage, step, rng):
            ids, wts = torch.from_numpy(ids), torch.from_numpy(wts)
            n = ids.shape[1] - 1
            h = hidden(p, c, ids[:, :-1], cos[:n], sin[:n], sharp=sharp)
            h = h[pos[:, 0], pos[:, 1]]
            ce = F.cross_entropy(h @ p["model.embed_tokens.weight"].T, ids[pos[:, 0], pos[:, 1] + 1], reduction="none")
            loss = loss + weight * (ce * wts).sum() / wts.sum()
            tokens += ids.shape[0] * n
        sharp = sharp[:c["num_hidden_layers"]]      # of the long batch
        opt.zero_grad(set_to_none=True)
        (loss + st["sharp"] * min(step / st["ramp"], 1.) * sum(sharp)).backward()
        torch.nn.utils.clip_grad_norm_(p.values(), 1.)
        opt.step()
        run.append(loss.item())
        if (step + 1) % 50 == 0:
            more = quick_eval(p, c, cos, sin) if (step + 1) % 100 == 0 else ""
            print("step %5d  tokens %.2fM  lr %.5f  loss %.4f  sharp %s  %.0f s  %s" % (
                step + 1, tokens / 1e6, lr, np.mean(run), " ".join("%.0f" % x.item() for x in sharp),
                time.time() - t0, more), flush=True)
            run = []
            if (step + 1) % 100 == 0:
                save(p, args.out)
    with torch.no_grad():
        for v in p.values():
            v.copy_(v.to(torch.bfloat16).float())
    save(p, args.out)
    print("stage %d done in %.0f s; after rounding to bf16: %s" % (
        stage, time.time() - t0, quick_eval(p, c, cos, sin, 400)), flush=True)


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--out", required=True)
    ap.add_argument("--seed", type=int, default=1)
    ap.add_argument("--threads", type=int, default=2)
    ap.add_argument("--stage2-from", help="a model.safetensors made by stage 1: run stage 2 only")
    ap.add_argument("--tokenizer-only", action="store_true")
    args = ap.parse_args()
    os.makedirs(args.out, exist_ok=True)
    write_tokenizer(args.out)
    if args.tokenizer_only:
        return
    torch.manual_seed(args.seed)
    torch.set_num_threads(args.threads)
    if args.stage2_from:
        from safetensors.torch import load_file
        p = {k: torch.nn.Parameter(v.float()) for k, v in load_file(args.stage2_from).items()}
    else:
        p = init_params(CONFIG, args.seed)
        train(args, 1, p)
    train(args, 2, p)


if __name__ == "__main__":
    main()
