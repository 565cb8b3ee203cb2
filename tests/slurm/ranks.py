"""ropesweep under srun: ranks on two nodes, mistakes, and a stop. The cluster: cluster.py; exits 77 (skipped) where there can be none."""
import json
import os
import re
import signal

import cluster as c
import harness as h
from harness import expect

SRUN = ["srun", "-N2", "--ntasks-per-node=2"]


def srun(cluster, folder, *more, options=(), config="sweep.yaml"):
    environment = {"SLURM_CONF": cluster.environment["SLURM_CONF"], "OMPI_MCA_btl_tcp_if_include": "lo"}
    return h.start([config, *more], [*SRUN, *options], folder, environment)


def completes(cluster, reference):
    folder = c.sweep_folder()
    result = h.wait(srun(cluster, folder, "-q"), 120)
    expect(result.code == 0, "not exit code 0", result)
    run = h.report(os.path.join(folder, "out"))["run"]
    expect(sorted(run["hosts"]) == list(c.NODES) and (run["ranks"], run["tensor"]) == (4, 2), "hosts and ranks", json.dumps(run))
    h.expect_equal(h.samples(os.path.join(folder, "out")), reference, "samples.jsonl")


def bad_config(cluster):
    folder = c.sweep_folder()
    result = h.wait(srun(cluster, folder, "-q", "--set", "parallel.tensor=3"), 60)
    expect(result.code == 2, "not exit code 2", result)
    expect(result.err.count("ropesweep: ") == 1 and "tensor" in result.err, "one message", result)


def stops_and_goes_on(cluster, reference, name):
    """The signal reaches every rank, as before a time limit."""
    folder = c.sweep_folder()
    process = srun(cluster, folder, "-q")
    log = os.path.join(folder, "out/journal/records.log")
    h.wait_until(lambda: os.path.exists(log) and os.path.getsize(log) > 500 or process.poll() is not None, "the first records")
    job = cluster.must("squeue", "-h", "-o", "%A").split()
    expect(len(job) == 1, f"jobs {job}")
    cluster.must("scancel", "-s", name, job[0])
    result = h.wait(process, 60)
    expect(result.code == 75, "not exit code 75", result)
    expect(h.status(os.path.join(folder, "out")) == "partial", "status is not partial")
    result = h.wait(srun(cluster, folder, "-q"), 120)
    expect(result.code == 0, "not exit code 0", result)
    h.expect_equal(h.samples(os.path.join(folder, "out")), reference, "samples.jsonl")


def processes_of(folder):
    """Process ids of the ranks that run in this folder, by rank."""
    found = {}
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            if os.readlink(f"/proc/{pid}/exe") == os.path.realpath(h.PROGRAM) and os.readlink(f"/proc/{pid}/cwd") == os.path.realpath(folder):
                variables = dict(v.split(b"=", 1) for v in h.read("/proc", f"{pid}/environ").split(b"\0") if b"=" in v)
                found[int(variables[b"SLURM_PROCID"])] = int(pid)
        except (OSError, KeyError):
            continue
    return found


def is_found_out(cluster, reference, number, says):
    """Slurm is not asked to end the step: its PMIx sees a death, and the other ranks see the rest. says: a regular expression."""
    folder = c.sweep_folder()
    process = srun(cluster, folder, "-q", "--set", "parallel.heartbeat=3", options=["--kill-on-bad-exit=0"])
    log = os.path.join(folder, "out/journal/records.log")
    h.wait_until(lambda: os.path.exists(log) and os.path.getsize(log) > 500 or process.poll() is not None, "the first records")
    pids = processes_of(folder)
    expect(len(pids) == 4, f"ranks {pids}")
    os.kill(pids[3], number)
    result = h.wait(process, 60)
    expect(result.code != 0, "exit code 0", result)
    expect(re.search(says, result.err), "the rank is not named", result)
    h.wait_until(lambda: not processes_of(folder), "the end of every rank", timeout=60)
    result = h.wait(srun(cluster, folder, "-q"), 120)
    expect(result.code == 0, "not exit code 0", result)
    h.expect_equal(h.samples(os.path.join(folder, "out")), reference, "samples.jsonl")


def long_context(cluster):
    """configs/long_ctx.yaml as it is, for the model, the data and the lengths: those of its sizes are not for this machine."""
    folder = c.sweep_folder()
    short = ["model.path=" + h.TINY_GEMMA, "sweep.context=400", "output=" + os.path.join(folder, "out"), "tasks.0.haystack=" + os.path.join(folder, "*.txt"),
             "tasks.1.text=" + os.path.join(folder, "*.txt")]
    result = h.wait(srun(cluster, folder, "-q", "--limit", "1", *(w for s in short for w in ("--set", s)), config=os.path.join(h.SOURCE, "configs/long_ctx.yaml")), 120)
    expect(result.code == 0, "not exit code 0", result)
    run = h.report(os.path.join(folder, "out"))["run"]
    expect((run["ranks"], run["tensor"]) == (4, 2), "ranks", json.dumps(run))


def takes_its_cores(cluster, binding, threads, warnings):
    """Two ranks on each node of two cores, which are this machine's: of its own, or all."""
    folder = c.sweep_folder()
    result = h.wait(srun(cluster, folder, "-v", "--limit", "1", "--set", "parallel.threads=0", options=[f"--cpu-bind={binding}"]), 60)
    for rank in range(4):
        expect(f"rank {rank}: n{rank // 2 + 1}, {threads} threads\n" in result.err, f"rank {rank}", result)
    expect(len(result.lines("warning: ")) == warnings, "warnings", result)


def strangers(cluster):
    """Tasks that MPI does not join are told so, once."""
    result = h.wait(srun(cluster, c.sweep_folder(), options=["--mpi=none"]), 60)
    expect(result.code == 2, "not exit code 2", result)
    expect(result.err.count("ropesweep: ") == 1 and "srun --mpi=pmix" in result.err, "one message", result)


def tests(suite, cluster, reference):
    suite.case("two nodes, tensor 2: the samples of one process", completes, cluster, reference)
    suite.case("configs/long_ctx.yaml under a plain srun", long_context, cluster)
    suite.case("ranks that are bound", takes_its_cores, cluster, "cores", 1, 0)
    suite.case("ranks that are not bound divide the node", takes_its_cores, cluster, "none", 1, 1)
    suite.case("srun without PMIx", strangers, cluster)
    suite.case("a wrong config is said once", bad_config, cluster)
    suite.case("a rank dies", is_found_out, cluster, reference, signal.SIGKILL, r"rank 3 \(n2\) has died while|n2: task 3: Killed")
    suite.case("a rank is stopped", is_found_out, cluster, reference, signal.SIGSTOP, r"rank 3 \(n2\) has been silent for")
    for name in ("TERM", "USR1"):
        suite.case(f"scancel -s {name}, then again", stops_and_goes_on, cluster, reference, name)


c.run_tests(tests)
