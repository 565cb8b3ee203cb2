"""What the checks of this folder run on: a small random Gemma and a text, made anew with the same bytes, and the program on them."""

import json
import os
import random
import subprocess
import sys
from pathlib import Path

TOOLS = Path(__file__).resolve().parent.parent / "tools"


def make_model(folder, *more):
    subprocess.run([sys.executable, TOOLS / "random_model.py", folder, "--preset", "gemma-2b", "--layers", "4", "--vocab", "2048", "--hidden",
                    "512", "--ff", "1024", "--heads", "4", "--kv-heads", "4", "--head-dim", "128", "--dtype", "bf16", *more],
                   check=True, stdout=subprocess.DEVNULL)
    return folder


def make_text(path, n_bytes):
    """Words of random letters; a byte is a token of the random models."""
    draw = random.Random(1)
    words = []
    size = 0
    while size < n_bytes:
        words.append("".join(draw.choice("abcdefghijklmnopqrstuvwxyz") for _ in range(draw.randint(2, 9))))
        size += len(words[-1]) + 1
    path.write_text(" ".join(words))
    return path


def program_environment():
    """run.sh keeps the program's libraries away from Python, which has its own."""
    paths = [os.environ.get(name) for name in ("RUN_LIBRARY_PATH", "LD_LIBRARY_PATH")]
    return {**os.environ, "LD_LIBRARY_PATH": ":".join(path for path in paths if path)}


def run_program(command, config, folder):
    """{(rope, softmax, doc): nll} of a run of the program."""
    (folder / "config.yaml").write_text(json.dumps(config))  # JSON is YAML
    subprocess.run([*map(str, command), "-q", folder / "config.yaml", "--fresh"], check=True, env=program_environment())
    samples = [json.loads(line) for line in (folder / "out/samples.jsonl").open()]
    return {(json.dumps(s["rope"]), json.dumps(s["softmax"]), s["doc_id"]): s["nll"] for s in samples}


def perplexity_config(model, text, dtype, context, samples, rope=("default",), softmax=(1.0,), **parallel):
    return {"model": {"path": str(model), "dtype": dtype}, "output": "out", "parallel": parallel,
            "sweep": {"rope": list(rope), "softmax": list(softmax), "context": context},
            "tasks": [{"name": "perplexity", "text": str(text), "samples": samples}]}
