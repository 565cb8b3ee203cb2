#!/usr/bin/env python3
"""A sweep of 3 rope entries x 2 temperatures over windows of a text: the program, and transformers patched in place, on one card.

    sweep.py BINARY MODEL_DIR [--backend cuda] [--device cuda] [--context 8192] [--samples 4]

JSON lines: each point's loss by both programs, so that the work is seen to be the same, and the seconds of the whole: of the program
with its start and loading, and as its report says; of transformers without either.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from model_files import make_text, perplexity_config, run_program

ROPES = ["default", {"rope_type": "linear", "factor": 4}, {"rope_type": "yarn", "factor": 4}]
TEMPERATURES = [1.0, 0.8]


def report(what, **values):
    print(json.dumps({"what": what, "program": "ropesweep", **values}), flush=True)


def ours(args, config, folder):
    start = time.perf_counter()
    run_program([args.binary.resolve(), "--backend", args.backend], config, folder)
    whole = time.perf_counter() - start
    result = json.loads((folder / "out/report.json").read_text())
    for point in result["points"]:
        rope = {key: value for key, value in point["rope"].items() if key in ("rope_type", "factor")}
        report("sweep_point", rope=rope["rope_type"] if rope["rope_type"] == "default" else rope, softmax=point["softmax"]["temperature"],
               nll_per_token=point["metrics"]["nll_per_token"]["value"])
    report("sweep", points=len(result["points"]), samples=args.samples, context=args.context, seconds=result["run"]["seconds"], seconds_whole=whole)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("binary", type=Path)
    parser.add_argument("model", type=Path)
    parser.add_argument("--backend", default="cuda")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--context", type=int, default=8192)
    parser.add_argument("--samples", type=int, default=4)
    parser.add_argument("--tiny", action="store_true")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        text = make_text(folder / "text.txt", args.context * (args.samples + 1))
        config = perplexity_config(args.model.resolve(), text, "bf16", args.context, args.samples, rope=ROPES, softmax=TEMPERATURES,
                                   deterministic=False)
        ours(args, config, folder)
        (folder / "config.json").write_text(json.dumps(config))
        peer = Path(__file__).resolve().parent / "peer_transformers.py"
        return subprocess.run([sys.executable, peer, "sweep", args.model, text, "--config", folder / "config.json", "--device", args.device,
                               *(["--tiny"] if args.tiny else [])]).returncode


if __name__ == "__main__":
    sys.exit(main())
