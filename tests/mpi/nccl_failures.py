"""What must come of each failure that mpi_nccl can bring about: one line on stderr that names the culprit, the end of every rank, exit code not 0.

    nccl_failures.py MPI_NCCL      (MPIEXEC in the environment)
"""
import concurrent.futures
import os
import re
import socket
import subprocess
import sys
import time

PROGRAM, MPIEXEC = sys.argv[1], os.environ.get("MPIEXEC", "mpiexec")
SECONDS = 15  # 1 s until an operation is late, 1 s until a rank is silent, the rest for starting ranks on a busy machine
HOST = socket.gethostname()

GATHER = r"operation 5 \(gather, 64 bytes\)"
# mode: what the line says of the culprit
WANT = {
    "host": rf"rank V \(HOST\) has not started {GATHER} for 1 s",
    "device": rf"rank V \(HOST\) has a device that is busy with something else and has not come to {GATHER} for 1 s",
    "network": rf"no rank is behind: a device or the network between them stands still in {GATHER} for 1 s",
    "another": rf"rank V \(HOST\) is in operation 5 \(exchange, 16 bytes\) and rank \d \(HOST\) in {GATHER}"
               rf"|(rank \d \(HOST\)(, )?)+ is in {GATHER} and rank V \(HOST\) in operation 5 \(exchange, 16 bytes\)",
    "error": r"rank V \(HOST\): (after )?operation \d.*: remote process exited \(fake\); cable 7",
    "init": r"rank V \(HOST\), unlike others, has not finished operation 1 \(init\) for 1 s",
    "stop": r"rank V \(HOST\) is silent: stopped, gone or out of reach",
}
CASES = [(1, "device", 0), (1, "error", 0), (2, "host", 0), (2, "device", 1), (3, "host", 2), (3, "device", 1), (3, "network", 0),
         (3, "another", 0), (3, "another", 2), (3, "init", 1), (3, "stop", 0), (4, "error", 1), (4, "stop", 3)]


def alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def all_gone(pids):
    """mpiexec may return while a rank that it killed is still going."""
    for _ in range(50):
        if not any(alive(pid) for pid in pids):
            return True
        time.sleep(0.1)
    return False


def run(case):
    ranks, mode, victim = case
    start = time.monotonic()
    job = subprocess.run([MPIEXEC, "-n", str(ranks), PROGRAM, mode, str(victim)], capture_output=True, text=True, timeout=60)
    seconds = time.monotonic() - start
    pids = [int(pid) for pid in re.findall(r"pid (\d+)", job.stdout)]
    lines = [line for line in job.stderr.splitlines() if line.startswith("ropesweep: ")]
    want = "ropesweep: NCCL: (" + WANT[mode].replace("HOST", re.escape(HOST)).replace("V", str(victim)) + ")"
    faults = []
    if job.returncode == 0:
        faults.append("exit code 0")
    if seconds > SECONDS:
        faults.append(f"took {seconds:.1f} s")
    if len(pids) != ranks or not all_gone(pids):
        faults.append(f"ranks {pids} not all started and gone")
    if len(lines) != 1 or not re.fullmatch(want, lines[0]):
        faults.append(f"wanted one line {want!r}, got {lines}")
    if "went on" in job.stderr:
        faults.append("a rank got past an operation that never ended")
    return case, seconds, faults, job.stderr


failed = 0
with concurrent.futures.ThreadPoolExecutor(5) as pool:
    for (ranks, mode, victim), seconds, faults, stderr in pool.map(run, CASES):
        print(f"{ranks} ranks, {mode} on {victim}: {'; '.join(faults) or 'as it must'} ({seconds:.1f} s)")
        if faults:
            failed += 1
            print(stderr)
sys.exit(1 if failed else 0)
