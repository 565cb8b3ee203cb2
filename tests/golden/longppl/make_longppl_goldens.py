"""Writes goldens.json: LongPPL of configs/models/tiny-gemma on two texts, by the package longppl and by its definition in plain torch.

    python make_longppl_goldens.py         # in this folder; made with longppl 0.3.0, transformers 5.23.0, torch 2.15.0, fp32

The texts are pairs of a key and its value in random order: a value is likely only where its key's last pair is within reach. The package
begins no window with BOS; the definition here puts one in each, and without BOS it must equal the package to the bit.
goldens.json: {"texts", "context", "short_context", "slide", "theta" (of rows), "cases": [{"bos", "windows": [{"keys", "nll": [of each theta]}]}]}
"""

import json
import os
import random

import torch
from longppl.longppl import compute_longppl
from transformers import AutoTokenizer, GemmaForCausalLM

HERE = os.path.dirname(os.path.abspath(__file__))
MODEL = os.path.join(HERE, "..", "..", "..", "configs", "models", "tiny-gemma")
CONTEXT, SHORT, SLIDE, THETA, BOS = 121, 40, 24, [10000.0, 40000.0], 2
MARGIN = 1e-3  # of nll around the thresholds, where rounding could decide


def make_text(draw, words, pairs):
    values = {key: draw.choice(words["values"]) for key in draw.sample(words["keys"], 24)}
    keys = [draw.choice(list(values)) for _ in range(pairs)]
    return "".join(f" {key} {values[key]}" for key in keys)


def load(theta):
    model = GemmaForCausalLM.from_pretrained(MODEL, dtype=torch.float32, attn_implementation="eager").eval()
    rope = model.model.rotary_emb
    rope.inv_freq = 1.0 / theta ** (torch.arange(0, 32, 2, dtype=torch.float64) / 32).float()
    rope.original_inv_freq = rope.inv_freq
    return model


def token_nll(model, ids, first):
    """nll of ids[first:], each given all before it."""
    with torch.no_grad():
        logits = model(torch.tensor([ids])).logits[0, first - 1:-1]
    return torch.nn.functional.cross_entropy(logits, torch.tensor(ids[first:]), reduction="none")


def key_tokens(model, body, bos):
    """Which of the body's tokens are key, from the first that has SHORT - 1 of them before it on."""
    first = SHORT - 1
    whole = token_nll(model, bos + body, first + len(bos))
    keys = []
    for start in range(0, len(body) - first, SLIDE):
        window = body[start:start + first + SLIDE]
        short = token_nll(model, bos + window, first + len(bos))
        long = whole[start:start + len(short)]
        gain = short - long
        assert ((gain - 2).abs() > MARGIN).all() and ((long - 2).abs() > MARGIN).all(), "a token is too close to call"
        keys += [start + i for i in range(len(short)) if gain[i] > 2 and long[i] < 2]
    return keys, whole


class Ids:
    """Stands for a tokenizer: the text is ids already, and each is a letter long."""

    def __call__(self, ids, **_):
        ends = torch.arange(len(ids) + 1)
        return {"input_ids": torch.tensor([ids]), "offset_mapping": torch.stack([ends[:-1], ends[1:]], dim=1)[None]}


def measure(models, body, bos):
    keys, _ = key_tokens(models[0], body, bos)
    nll = [token_nll(model, bos + body, SHORT - 1 + len(bos))[keys].double().sum().item() for model in models]
    for model, total in zip(models, nll):
        if bos:
            continue
        package = compute_longppl(body, model, models[0], Ids(), Ids(), trunc_len=SHORT - 1, sliding_window=SLIDE)
        assert package["n_key_token"] == len(keys) and abs(float(package["longppl"]) / torch.tensor(total / len(keys)).exp().item() - 1) < 1e-6
    return {"keys": len(keys), "nll": nll}


def main():
    draw = random.Random(2410)
    with open(os.path.join(MODEL, "words.json"), encoding="utf-8") as file:
        words = json.load(file)
    texts = [make_text(draw, words, 130), make_text(draw, words, 70)]  # two windows and 20 tokens; one and 20
    tokenizer = AutoTokenizer.from_pretrained(MODEL)
    models = [load(theta) for theta in THETA]
    bodies = []
    for text in texts:
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        bodies += [ids[i:i + CONTEXT - 1] for i in range(0, len(ids) - CONTEXT + 2, CONTEXT - 1)]
    cases = [{"bos": bool(bos), "windows": [measure(models, body, bos) for body in bodies]} for bos in ([BOS], [])]
    with open(os.path.join(HERE, "goldens.json"), "w", encoding="utf-8") as file:
        json.dump({"texts": texts, "context": CONTEXT, "short_context": SHORT, "slide": SLIDE, "theta": THETA, "cases": cases}, file, indent=1)
        file.write("\n")


main()
