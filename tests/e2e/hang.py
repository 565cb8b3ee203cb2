"""Ranks that hang: a process that is stopped, a thread that stands still, a launcher that does not see that one died. The job ends within the
heartbeat and some seconds, one line names the rank, its host and what it was at, nothing is left behind, and the same command goes on.
"""
import ctypes
import os
import re
import signal
import socket
import threading
import time

import harness as h
from cut_off import begin, expect_gone, expect_resumes, out_of, records_in, remove_output, run, write_config
from harness import expect

HEARTBEAT = 3
BEYOND = 12  # seconds after the heartbeat that an end may take on a busy machine
SWEEP = ("300, 900", "default, {rope_type: yarn, factor: 4}", 40)
WATCHED = ("--set", f"parallel.heartbeat={HEARTBEAT}")
PTRACE_SEIZE, PTRACE_INTERRUPT, WALL = 0x4206, 0x4207, 0x40000000


def trace(pid):
    libc = ctypes.CDLL(None, use_errno=True)
    libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
    for request in (PTRACE_SEIZE, PTRACE_INTERRUPT):
        expect(libc.ptrace(request, pid, None, None) == 0, f"ptrace: {os.strerror(ctypes.get_errno())}")


def bury(pid):
    """A traced process is its tracer's to wait for, before its parent can."""
    while os.WIFSTOPPED(os.waitpid(pid, WALL)[1]):
        pass


def stop_main_thread(pid):
    """The other threads of the process go on: it beats, but does not get on."""
    trace(pid)
    threading.Thread(target=bury, args=(pid,), daemon=True).start()


def stop_process(pid):
    os.kill(pid, signal.SIGSTOP)


def may_trace():
    """A container may forbid it."""
    child = os.fork()
    if child == 0:
        time.sleep(60)
        os._exit(0)
    try:
        trace(child)
        return True
    except h.Failure:
        return False
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def hangs(folder, reference, how, whom, ranks, says, *more):
    remove_output(folder)
    process, pids = begin(folder, ranks, *WATCHED, *more)
    time.sleep(0.4 * h.SLOW)  # ranks have told what they are at by then
    begun = time.monotonic()
    how(pids[whom])
    result = h.wait(process, 60)
    seconds = time.monotonic() - begun
    expect(result.code == 75, "not exit code 75", result)
    expect(seconds < (HEARTBEAT + BEYOND) * h.SLOW, f"it took {seconds:.1f} s", result)
    host = re.escape(socket.gethostname().split(".")[0])
    lines = result.lines("ropesweep: rank ")
    expect(len(lines) == 1 and re.match(rf"ropesweep: rank {whom} \({host}\) {says}", lines[0]), "the rank is not named in one line", result)
    expect("starting" not in lines[0] and "parallel.heartbeat" in lines[0], "what it was at is not named", result)
    expect_gone(pids)
    expect_resumes(folder, reference, ranks, *more)


def dies_unheeded(folder, reference, whom):
    """Where the launcher goes on without a rank, the kernel tells another of its host at once."""
    remove_output(folder)
    process, pids = begin(folder, 2, "--set", "parallel.heartbeat=20", env={"OMPI_MCA_orte_enable_recovery": "1"})
    begun = time.monotonic()
    os.kill(pids[whom], signal.SIGKILL)
    result = h.wait(process, 60)
    expect(time.monotonic() - begun < 18 * h.SLOW, "it took as long as silence does", result)
    lines = result.lines("ropesweep: rank ")
    expect(len(lines) == 1 and re.match(rf"ropesweep: rank {whom} \(\S+\) has died while ", lines[0]), "not one line", result)
    expect_gone(pids)
    expect_resumes(folder, reference, 2)


def stops_all_the_same(folder, reference):
    """A signal to a process that cannot come to its end: what the journal has is kept."""
    remove_output(folder)
    process, pids = begin(folder, 1, "--grace", "1")
    stop_main_thread(pids[0])
    before, begun = records_in(folder), time.monotonic()
    os.kill(pids[0], signal.SIGTERM)
    result = h.wait(process, 60)
    seconds = time.monotonic() - begun
    expect(result.code == 75 and seconds < (1 + BEYOND) * h.SLOW, f"not exit code 75 in time, but after {seconds:.1f} s", result)
    expect(h.status(out_of(folder)) == "partial" and len(h.samples(out_of(folder))) >= before, "no partial report", result)
    expect_resumes(folder, reference, 2)


def outlasts(folder, reference, heartbeat, seconds):
    """Ranks that were stopped for less than the limit, all of them for more, or any time where nobody watches."""
    remove_output(folder)
    process, pids = begin(folder, 2, "--set", f"parallel.heartbeat={heartbeat}")
    for number in (signal.SIGSTOP, signal.SIGCONT):
        for pid in pids if 0 < heartbeat < seconds else pids[1:]:
            os.kill(pid, number)
        time.sleep(seconds if number == signal.SIGSTOP else 0)
    result = h.wait(process, 60)
    expect(result.code == 0, "not exit code 0", result)
    h.expect_equal(h.samples(out_of(folder)), reference, "samples.jsonl")


def main():
    suite = h.Suite()
    folder = h.new_folder()
    write_config(folder, *SWEEP)
    run(folder, "-q", ranks=2, code=0)
    reference = h.samples(out_of(folder))
    silent = r"has been silent for \d+ s, last heard of while .+: it is stopped, dead or cut off;"
    stuck = r"has not got on for \d+ s while .+;"
    tensor = ("--set", "parallel.tensor=2")
    suite.case("rank 0 is stopped", hangs, folder, reference, stop_process, 0, 2, silent)
    suite.case("a member of a group is stopped", hangs, folder, reference, stop_process, 1, 4, silent, *tensor)
    suite.case("another replica's first rank is stopped", hangs, folder, reference, stop_process, 2, 4, silent, *tensor)
    if may_trace():
        suite.case("the main thread of rank 0 stands still", hangs, folder, reference, stop_main_thread, 0, 2, stuck)
        suite.case("the main thread of a group's member stands still", hangs, folder, reference, stop_main_thread, 1, 2, stuck, *tensor)
        suite.case("a signal where the main thread stands still", stops_all_the_same, folder, reference)
    for rank in (0, 1):
        suite.case(f"rank {rank} dies and the launcher goes on", dies_unheeded, folder, reference, rank)
    suite.case("a short stop is outlasted", outlasts, folder, reference, 5, 1.5)
    suite.case("a stop of all ranks is outlasted", outlasts, folder, reference, 3, 5)
    suite.case("nobody watches", outlasts, folder, reference, 0, 5)
    suite.end()


main()
