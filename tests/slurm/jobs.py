"""The job files of slurm/ under sbatch. The cluster: cluster.py; exits 77 (skipped) where there can be none."""
import os
import re
import shutil
import time

import cluster as c
import harness as h
from harness import expect

ENDED = {"COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL"}
LONG = ["--set", "tasks.1.samples=20000", "--set", "sweep.context=500"]


def sweep_folder():
    """With the job files as they are, but for the size of the nodes."""
    folder = c.sweep_folder()
    shutil.copytree(os.path.join(h.SOURCE, "slurm"), os.path.join(folder, "slurm"))
    for name in filter(lambda n: n.endswith(".sbatch"), os.listdir(os.path.join(folder, "slurm"))):
        h.write(folder, f"slurm/{name}", h.read(folder, f"slurm/{name}").replace(b"--cpus-per-task=8", b"--cpus-per-task=1"))
    return folder


def run(cluster, folder, *words, **more):
    environment = {**h.ENVIRONMENT, **cluster.environment, "ROPESWEEP": h.PROGRAM, "OMPI_MCA_btl_tcp_if_include": "lo", **more}
    return cluster.must(*words, cwd=folder, env=environment)


def submit(cluster, folder, file, *arguments, options=(), **more):
    """Job id."""
    return run(cluster, folder, "sbatch", "--parsable", *options, f"slurm/{file}", *arguments, **more).strip()


def facts(cluster, job):
    return dict(re.findall(r"(\S+?)=(\S*)", cluster.must("scontrol", "show", "job", job)))


def wait(cluster, job, code, timeout=120):
    """For the end of a job, which may be put back before; code: the exit code that is expected of it. How often it began again."""
    def ended():
        time.sleep(0.2)
        return facts(cluster, job)["JobState"] in ENDED
    h.wait_until(ended, f"the end of job {job}", timeout)
    found = facts(cluster, job)
    expect(found["ExitCode"] == f"{code}:0", f"job {job}: {found['JobState']}, exit code {found['ExitCode']}", output(cluster, job))
    return int(found["Restarts"])


def output(cluster, job):
    return h.read("/", facts(cluster, job)["StdOut"]).decode()


def wait_for_records(folder, output="out"):
    log = os.path.join(folder, output, "journal/records.log")
    h.wait_until(lambda: os.path.exists(log) and os.path.getsize(log) > 500, "the first records", 60)


def expect_samples(folder, reference, output="out"):
    h.expect_equal(h.samples(os.path.join(folder, output)), reference, "samples.jsonl")


# --- one job ---

def puts_itself_back(cluster, reference):
    """TERM as Slurm sends it: to the ranks, not to the script."""
    folder = sweep_folder()
    job = submit(cluster, folder, "job.sbatch", "sweep.yaml", "-q")
    wait_for_records(folder)
    cluster.must("scancel", "-s", "TERM", job)
    restarts = wait(cluster, job, code=0)
    expect(restarts == 1, f"{restarts} restarts", output(cluster, job))
    expect_samples(folder, reference)


def time_limit(cluster):
    """The file's own --signal: within the minute that is left, Slurm sends TERM, and 75 is the job's exit code where it may not begin again."""
    folder = sweep_folder()
    job = submit(cluster, folder, "job.sbatch", "sweep.yaml", "-q", *LONG, options=["--time=1"], RESTARTS="0")
    expect(wait(cluster, job, code=75) == 0, "it began again")
    expect(h.status(os.path.join(folder, "out")) == "partial", "status is not partial")


def node_fails(cluster, reference):
    """Slurm puts the job back, and it goes on where it was. That the node is down would be seen by itself too, half a minute later."""
    folder = sweep_folder()
    job = submit(cluster, folder, "job.sbatch", "sweep.yaml", "-q")
    wait_for_records(folder)
    other = next(n for n in c.NODES if n != facts(cluster, job)["BatchHost"])
    cluster.kill_node(other)
    cluster.must("scontrol", "update", f"NodeName={other}", "State=DOWN", "Reason=killed")
    h.wait_until(lambda: facts(cluster, job)["JobState"] != "RUNNING", "Slurm to see that a node failed", 60)
    cluster.start_node(other)
    restarts = wait(cluster, job, code=0)
    expect(restarts == 1, f"{restarts} restarts", output(cluster, job))
    expect_samples(folder, reference)


# --- a job array ---

def array(cluster, reference):
    """One of its shards is stopped on the way; the merge waits for it."""
    folder = sweep_folder()
    jobs = re.findall(r"\d+", run(cluster, folder, "slurm/submit-array", "sweep.yaml", "2", "out", "-q"))[:2]
    wait_for_records(folder, "out/shard-1")
    cluster.must("scancel", "-s", "TERM", f"{jobs[0]}_1")
    wait(cluster, jobs[1], code=0)
    restarts = [int(n) for n in re.findall(r"Restarts=(\d+)", cluster.must("scontrol", "show", "job", jobs[0]))]
    expect(sorted(restarts) == [0, 1], f"restarts: {restarts}")
    expect_samples(folder, reference)


# --- every night ---

def spoilt_model(folder):
    """tiny-gemma with all queries halved, which is softmax at twice the temperature: in bf16, one less in the exponent."""
    model = h.link_model(folder, "spoilt", without=["model.safetensors"])
    header, data = h.read_safetensors(h.TINY_GEMMA)
    data = bytearray(data)
    for name, tensor in header.items():
        begin, end = tensor["data_offsets"]
        for at in range(begin, end if name.endswith("q_proj.weight") else begin, 2):
            value = int.from_bytes(data[at:at + 2], "little")
            data[at:at + 2] = (value - 0x80 if value & 0x7f00 else 0).to_bytes(2, "little")
    h.write_safetensors(model, header, bytes(data))
    return model


def nightly(cluster):
    """A night, its like, and one whose arithmetic is another: a gate catches it, and the last good night outlives its time."""
    folder = sweep_folder()
    h.write(folder, "gates", "# of the same arithmetic\n\nperplexity nll_per_token <= 0.002\nkv_lookup accuracy >= -0.1")
    nights = os.path.join(folder, "results/nightly")

    def night(code, *more):
        job = submit(cluster, folder, "nightly.sbatch", "sweep.yaml", "gates", "-q", *more, KEEP="1")
        wait(cluster, job, code)
        expect(not os.path.lexists(os.path.join(nights, "unfinished")), "the night is unfinished", output(cluster, job))
        return sorted(n for n in os.listdir(nights) if n[0].isdigit()), os.readlink(os.path.join(nights, "last-good")), output(cluster, job)

    wait(cluster, submit(cluster, folder, "nightly.sbatch", "sweep.yaml", "no-gates", "-q"), code=2)
    expect(not os.path.exists(nights), "a night without gates")
    first, good, text = night(0)
    expect(first == [good] and text.count(" passed: ") == 2, f"nights {first}, the good one {good}", text)
    second, good, text = night(0)
    expect(second == [good] and good > first[0] and text.count(" passed: ") == 2, f"nights {second}, the good one {good}", text)
    third, still, text = night(4, "--set", "model.path=" + spoilt_model(folder))
    expect(len(third) == 2 and third[0] == still == good, f"nights {third}, the good one {still}", text)
    expect("gate 'perplexity nll_per_token <= 0.002' FAILED" in text, "no gate failed", text)
    gates = [line.split()[1:] for line in text.splitlines() if line.startswith("gates ")]
    expect(gates[-1] == ["passed", "FAILED"], f"the trend's gates: {gates}", text)
    page = h.read(nights, "trend.html").decode()
    expect(">gate failed<" in page and all(n in page for n in third), "trend.html")


def tests(suite, cluster, reference):
    suite.case("TERM: a job puts itself back and goes on", puts_itself_back, cluster, reference)
    suite.case("the time limit: TERM comes before it", time_limit, cluster)
    suite.case("a node fails: the job is put back and goes on", node_fails, cluster, reference)
    suite.case("a job array and its merge", array, cluster, reference)
    suite.case("nightly: a planted regression fails its gate", nightly, cluster)


c.run_tests(tests)
