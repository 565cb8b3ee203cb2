"""Writes the small tokenizers of this folder and goldens.json: what Hugging Face `tokenizers` makes of nasty strings.

    python make_tokenizer_goldens.py            # in this folder; made with tokenizers 0.23.3

Each tokenizer is one flavour of tokenizer.json that models in use have, trained on the few lines below.
goldens.json: {"texts": [...], "tokenizers": {NAME: {"ids": [[...] per text], "decoded": [... per text; null: the text],
               "random_ids": [[...]], "random_decoded": [...]}}}
"""

import json
import random
import sys
import unicodedata

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

SAMPLE = """
It was the best of times, it was the worst of times; the ship's company couldn't say which, and they'd stopped asking.
"Where's the captain?" she said. "He'll be here at 10:45, I've 1,234 reasons to think so." We're waiting; you're not.
    def rotate(pairs, theta):
        return [(x * cos(theta) - y * sin(theta), x * sin(theta) + y * cos(theta)) for x, y in pairs]
The quick brown fox jumps over the lazy dog.  The   thing and   the other thing, there and then, this and that.
Où est la bibliothèque? L'élève est déjà là. Größe, Straße, übermäßig. Привет, как дела? Это длинное предложение.
今天天气很好，我们去公园散步。東京は日本の首都です。 안녕하세요 여러분. مرحبا بالعالم. नमस्ते दुनिया. שלום עולם.
0 1 2 3 10 11 12 100 101 1000 2000 1999 3.14159 2.71828 1e-5 0x1F
""".strip().split("\n") * 3

SPECIALS = ["<pad>", "<eos>", "<bos>", "<unk>"]
LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
O200K = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|"
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|"
    r"\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def train_bytes(pre_tokenizer, size=520, specials=("<|endoftext|>", "<|im_start|>", "<|im_end|>")):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizer
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=list(specials),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(SAMPLE, trainer)
    return tokenizer


def train_chars(normalizer, decoder, size=700, bytes_missing=(), **model):
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", **model))
    tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    tokenizer.decoder = decoder
    byte_tokens = ["<0x%02X>" % b for b in range(256) if b not in bytes_missing]
    specials = SPECIALS + (byte_tokens if model.get("byte_fallback") else [])
    # Words are cut at the space's sign only while training: the trained file has no such split, as Gemma's.
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex("▁*[^▁]+"), "isolated")
    tokenizer.train_from_iterator(SAMPLE, trainers.BpeTrainer(vocab_size=size, special_tokens=specials, show_progress=False))
    tokenizer.pre_tokenizer = None
    tree = json.loads(tokenizer.to_str())
    tree["added_tokens"] = tree["added_tokens"][: len(SPECIALS)]  # byte tokens are ordinary ones
    return Tokenizer.from_str(json.dumps(tree))


SPACE_TO_SIGN = normalizers.Replace(" ", "▁")
SIGN_TO_SPACE = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]


def flavours():
    out = {}
    byte_level = pre_tokenizers.ByteLevel
    out["gpt2"] = train_bytes(byte_level(add_prefix_space=False), specials=["<|endoftext|>"])
    out["prefix_space"] = train_bytes(byte_level(add_prefix_space=True))
    out["smollm"] = train_bytes(
        pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), byte_level(add_prefix_space=False)])
    )
    split = pre_tokenizers.Split(Regex(LLAMA3), "isolated")
    out["llama3"] = train_bytes(
        pre_tokenizers.Sequence([split, byte_level(add_prefix_space=False, use_regex=False)]), specials=["<|begin_of_text|>", "<|eot_id|>"]
    )
    split = pre_tokenizers.Split(Regex(O200K), "removed", invert=True)
    out["o200k"] = train_bytes(pre_tokenizers.Sequence([split, byte_level(add_prefix_space=False, use_regex=False)]))

    out["gemma"] = train_chars(SPACE_TO_SIGN, decoders.Sequence(SIGN_TO_SPACE), byte_fallback=True, fuse_unk=True)
    out["gemma"].pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")  # as in Gemma 2 and 3: does nothing
    out["gemma"].add_tokens([AddedToken("\n" * n, normalized=False) for n in (2, 3, 5)])
    out["gemma"].add_tokens([AddedToken("▁" * n, normalized=False) for n in (2, 4)])

    out["llama2"] = train_chars(
        normalizers.Sequence([normalizers.Prepend("▁"), SPACE_TO_SIGN]),
        decoders.Sequence(SIGN_TO_SPACE + [decoders.Strip(" ", 1, 0)]),
        byte_fallback=True,
        fuse_unk=True,
    )
    out["llama2"].add_tokens([AddedToken("<tool call>", normalized=True), AddedToken("</s>", normalized=False)])

    out["unk"] = train_chars(SPACE_TO_SIGN, decoders.Sequence(SIGN_TO_SPACE))
    out["unk_fused"] = train_chars(  # some byte tokens missing: byte fallback and <unk> meet in one text
        SPACE_TO_SIGN, decoders.Sequence(SIGN_TO_SPACE), byte_fallback=True, fuse_unk=True, bytes_missing=range(0x90, 0xB0)
    )

    out["added"] = train_bytes(byte_level(add_prefix_space=False))
    out["added"].add_tokens(
        [
            AddedToken("<left>", lstrip=True, normalized=False),
            AddedToken("<right>", rstrip=True, normalized=False),
            AddedToken("<both>", lstrip=True, rstrip=True),
            AddedToken("sword", single_word=True, normalized=False),
            AddedToken("swordfish", normalized=False),
            AddedToken(" gap ", normalized=False),
            AddedToken("naïve"),
        ]
    )
    out["added"].add_special_tokens([AddedToken("<mask>", lstrip=True, special=True)])

    out["splits"] = train_chars(SPACE_TO_SIGN, None, size=400)
    out["splits"].normalizer = None
    out["splits"].decoder = None
    out["splits"].pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(r"\n+"), "removed"),
            pre_tokenizers.Split("-", "merged_with_next"),
            pre_tokenizers.Split(Regex(r"[,;.]|(?<=x)"), "merged_with_previous"),
            pre_tokenizers.Split(Regex(r"\d"), "contiguous"),
            pre_tokenizers.Split(Regex(r"[^\S\t]+"), "isolated", invert=True),
            pre_tokenizers.Digits(individual_digits=False),
        ]
    )
    return out


def texts():
    r = random.Random(20240613)
    numbers = [chr(c) for c in range(0x110000) if unicodedata.category(chr(c))[0] == "N"]
    out = [
        "",
        " ",
        "a",
        "Hello, world!",
        " leading and trailing ",
        "two  three   four    spaces",
        "the ship's captain couldn't; they'd we're I've I'M HE'LL ’s 'ſ 'K",
        "def f(x):\n\treturn x**2  # squares\n\n\nprint(f(10))\r\n",
        "CRLF\r\nLF\nCR\rboth\n\r\n\r",
        "NUL\0inside\0\0 and \x01\x02\x1b\x7f controls",
        "\x85next line\xa0no-break\u2028line\u2029paragraph\u180evowel\u200bzero\ufeffmark",
        "▁", "▁▁", "▁a▁ ▁b", "a▁", " ▁ ",
        "<0x41>", "<0x41><0xE2><0x82>", "<0xZZ> <0x4> <0x411> <0xe2>",
        "<bos>", "<bos", "bos>", "<bos><eos>text<pad>", "<|endoftext|>", "<|im_start|>user\nhi<|im_end|>\n", "<|im_", "<unk>",
        "<|begin_of_text|>x<|eot_id|>", "<<bos>>", "a<eos>b <eos> c",
        "one  <left>  two <right>  three  <both>  four <mask> five  <mask>",
        "<left><right> <both>  <left>   <right>   <right>",
        "a sword, swords swordfish sword-fish sword_ ésword swordé sword",
        "mind the gap here  gap  gap gap ", "naïve naïveté", "<tool call> a<tool call>b </s>x</s> y",
        "e\u0301 é a\u0300\u0301\u0302\u0303 \u0301alone ﬁ ﬀ ß İ ı ǅ Ω Ω",
        "👩‍👩‍👧‍👦 🏳️‍🌈 👍🏽 🇩🇪🇫🇷 ☺️ 🫠",
        "今天天气很好，我们去公园。東京は日本の首都です。 안녕하세요",
        "مرحبا بالعالم नमस्ते दुनिया שלום ไทยภาษา မြန်မာ",
        "𝔘𝔫𝔦𝔠𝔬𝔡𝔢 𐍈 𒀀 𓀀 \U0001F9FF \U00020000 \U0010FFFF \uE000 \uFFFD \uFFFE",
        "\u0897\u1C89\u1C8A \U000105C0 \U00010D40\U00010D4A \U00011F50 \U0002EBF0 \U00031350 \U0001D2C0 \U00011DE0",
        "0 12 123 1234 12345 1234567890 3.14 1,000 ²³ ½ Ⅷ ④ ௧௨ ٣٤ 一二",
        "the trumpet trumpets  trumpet",
        "x-1--y, z;. .. xx ,x 2024-01-02T03:04:05Z a--b-",
        "don't  stop\t\tnow \n \n  \t x",
        "a" * 150, "ab" * 70, " " * 150, "\n" * 90, "the" * 50, "Donaudampfschifffahrtsgesellschaftskapitän" * 3, "é" * 80,
        "中" * 40, "=" * 90, "\0" * 70, "🙂" * 30, "1" * 80, "a b" * 30, "\u180e" * 3 + " \u180e x",
    ]
    for c, longest in [(" ", 40), ("\t", 40), ("\n", 40), ("\r", 9), ("\u3000", 9), ("\u00a0", 9), ("▁", 9)]:
        out.append("x".join(c * n for n in range(1, longest + 1)))
    out.append(" ".join(numbers[::67]))
    out.append("".join(r.sample(numbers, 30)))
    for plane in (0, 0, 0, 1, 1, 2, 3, 14, 15, 16):
        cps = [c for c in (r.randrange(plane << 16, (plane + 1) << 16) for _ in range(16)) if not 0xD800 <= c <= 0xDFFF]
        out.append("".join(map(chr, cps)))
    words = " ".join(SAMPLE).split()
    for _ in range(12):
        out.append("".join(r.choice([" ", "  ", "\n", "", "-", "▁", "1", "é"]) + r.choice(words) for _ in range(20)))
    return out


def golden(tokenizer, strings, seed):
    r = random.Random(seed)
    size = tokenizer.get_vocab_size()
    ids = [tokenizer.encode(s, add_special_tokens=False).ids for s in strings]
    decoded = [tokenizer.decode(i, skip_special_tokens=True) for i in ids]
    random_ids = [[r.randrange(size + 3) for _ in range(r.randrange(30))] for _ in range(12)]
    random_ids += [[r.randrange(4, min(size, 262)) for _ in range(20)] for _ in range(12)]  # bytes, mostly
    return {
        "ids": ids,
        "decoded": [None if back == s else back for s, back in zip(strings, decoded)],
        "random_ids": random_ids,
        "random_decoded": [tokenizer.decode(i, skip_special_tokens=True) for i in random_ids],
    }


def write(path, tree):
    with open(path, "w", encoding="utf-8", newline="\n") as out:
        json.dump(tree, out, ensure_ascii=False, separators=(",", ":"))
        out.write("\n")


def main():
    strings = texts()
    goldens = {"texts": strings, "tokenizers": {}}
    for seed, (name, tokenizer) in enumerate(flavours().items()):
        tree = json.loads(tokenizer.to_str())
        tree["model"]["ignore_merges"] = name == "llama3"
        if name == "llama3":  # a token that no merge reaches: ignore_merges finds it
            tree["model"]["vocab"]["Ġtrumpet"] = len(tree["model"]["vocab"]) + 0
        if name in ("gpt2", "unk", "gemma"):  # the older way to write merges
            tree["model"]["merges"] = [" ".join(merge) for merge in tree["model"]["merges"]]
        write(name + ".json", tree)
        goldens["tokenizers"][name] = golden(Tokenizer.from_str(json.dumps(tree)), strings, seed)
    write("goldens.json", goldens)
    return 0


if __name__ == "__main__":
    sys.exit(main())
