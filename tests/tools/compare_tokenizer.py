#!/usr/bin/env python3
"""Compares `ropesweep tokenize MODEL_DIR < TEXT` with Hugging Face `tokenizers`, id by id, on whole files.

    compare_tokenizer.py MODEL_DIR TEXT... BINARY

BINARY is the ropesweep program. Prints a line a file; exits 1 if any differs. Needs: pip install tokenizers.
"""

import os
import subprocess
import sys

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
from tokenizers import Tokenizer  # noqa: E402  (after the variable it reads)


def ours(binary, folder, path):
    with open(path, "rb") as text:
        run = subprocess.run([binary, "tokenize", folder], stdin=text, stdout=subprocess.PIPE, check=True)
    return [int(word) for word in run.stdout.split()]


def theirs(tokenizer, path):
    with open(path, encoding="utf-8", newline="") as text:  # newline: CRLF stays CRLF
        return tokenizer.encode(text.read(), add_special_tokens=False).ids


def first_difference(a, b):
    return next((i for i, (x, y) in enumerate(zip(a, b)) if x != y), min(len(a), len(b)))


def main(arguments):
    if len(arguments) < 3:
        print(__doc__, file=sys.stderr)
        return 2
    folder, *paths, binary = arguments
    tokenizer = Tokenizer.from_file(os.path.join(folder, "tokenizer.json"))
    different = 0
    for path in paths:
        mine, wanted = ours(binary, folder, path), theirs(tokenizer, path)
        if mine == wanted:
            print(f"{path}: {len(mine)} ids, all equal")
            continue
        different += 1
        at = first_difference(mine, wanted)
        print(f"{path}: differs from id {at} on: {mine[at:at + 8]} here, {wanted[at:at + 8]} there "
              f"({len(mine)} and {len(wanted)} ids)")
    return 1 if different else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
