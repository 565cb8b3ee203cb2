#!/usr/bin/env python3
"""A sweep of 24 points of tiny-gemma at 1, 2 and 4 ranks with one thread each: speed-up, and how long each replica idled.

    scaling.py build/ropesweep [SAMPLES] > LINES     one line of JSON a run on stdout, a table on stderr
"""
import json
import os
import subprocess
import sys
import tempfile

SOURCE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
CONFIG = """\
model: {path: %s/configs/models/tiny-gemma, dtype: fp32}
parallel: {threads: 1}
sweep: {context: [128, 512], rope: [default, nope, {rope_type: yarn, factor: 4}], softmax: [1, 0.9, 0.8, 1.25]}
tasks: [{name: perplexity, text: text.txt, samples: %d}]
"""


def main():
    program, samples = os.path.abspath(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 100
    environment = {**os.environ, "OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1", "OMPI_MCA_hwloc_base_binding_policy": "none"}
    with tempfile.TemporaryDirectory() as folder:
        with open(os.path.join(folder, "text.txt"), "w") as text:
            text.write(" cat dog hen oak" * (512 * samples // 4 + 512))
        with open(os.path.join(folder, "c.yaml"), "w") as config:
            config.write(CONFIG % (SOURCE, samples))
        alone = None
        for ranks in (1, 2, 4):
            load = os.getloadavg()[0]
            subprocess.run(["mpirun", "--oversubscribe", "-n", str(ranks), program, "c.yaml", "-q", "--output", f"out{ranks}"],
                           cwd=folder, env=environment, check=True)
            with open(os.path.join(folder, f"out{ranks}", "report.json")) as report:
                replicas = json.load(report)["run"]["replica"]
            seconds = max(r["seconds_busy"] + r["seconds_idle"] for r in replicas)
            alone = alone or seconds
            idle = [round(r["seconds_idle"] / seconds, 4) for r in replicas]
            print(json.dumps({"what": "scaling", "ranks": ranks, "samples": 24 * samples, "seconds": round(seconds, 2),
                              "speed_up": round(alone / seconds, 2), "idle_share": idle, "load_before": round(load, 1)}), flush=True)
            print(f"{ranks} ranks {seconds:8.2f} s   {alone / seconds:5.2f} times   idle {' '.join(f'{100 * i:.1f}%' for i in idle)}", file=sys.stderr)


main()
