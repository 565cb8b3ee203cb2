#!/usr/bin/env python3
"""The program with 1, 2 and 4 ranks that share one model (tensor parallelism), all on the machine's one device, through MPI.

    ranks.py BINARY [--backend cuda] [--mpiexec mpirun] [--ranks 1 2 4]

With deterministic sums every sample has the same nll to the last bit; without, in fp32 to 1e-5 relative.
"""

import argparse
import sys
import tempfile
from pathlib import Path

from model_files import make_model, make_text, perplexity_config, run_program

CONTEXT, SAMPLES = 256, 6


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("binary", type=Path)
    parser.add_argument("--backend", default="cuda")
    parser.add_argument("--mpiexec", default="mpirun")
    parser.add_argument("--ranks", type=int, nargs="+", default=[1, 2, 4])
    args = parser.parse_args()
    good = True
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model, text = make_model(folder / "model"), make_text(folder / "text.txt", CONTEXT * (SAMPLES + 1))
        for dtype, deterministic in (("fp32", False), ("fp32", True), ("bf16", True)):
            alone = None
            for ranks in args.ranks:
                config = perplexity_config(model, text, dtype, CONTEXT, SAMPLES, rope=["default", {"rope_type": "yarn", "factor": 4}],
                                           softmax=[1.0, "adaptive"], tensor=ranks, comm="mpi", deterministic=deterministic)
                command = [*args.mpiexec.split(), "-n", ranks, args.binary.resolve(), "--backend", args.backend]
                nll = run_program(command, config, folder)
                alone = alone or nll
                worst = max(abs(nll[key] / alone[key] - 1) for key in alone)
                fine = len(nll) == 4 * SAMPLES and nll.keys() == alone.keys() and (nll == alone if deterministic else worst <= 1e-5)
                good = good and fine
                print(f"{'ok  ' if fine else 'FAIL'} {dtype}, {'deterministic' if deterministic else 'as ranks lie'}, {ranks} ranks: "
                      f"{len(nll)} samples, largest relative difference of nll {worst:.1e}", flush=True)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
