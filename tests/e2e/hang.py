"""Ranks that hang: a process that is stopped, a thread that stands still, a launcher that does not see that one died. The job ends within the
heartbeat and some seconds, one line names the rank, its host and what it was at, nothing is left behind, and the same command goes on.
"""
import ctypes
import os
import re
import signal
import socket
import time

import harness as h
from cut_off import begin, expect_gone, expect_resumes, out_of, remove_output, run, write_config
from harness import expect

HEARTBEAT = 3
BEYOND = 12  # seconds after the heartbeat that an end may take on a busy machine
SWEEP = ("300, 900", "default, {rope_type: yarn, factor: 4}", 40)
WATCHED = ("--set", f"parallel.heartbeat={HEARTBEAT}")
PTRACE_SEIZE, PTRACE_INTERRUPT, WALL = 0x4206, 0x4207, 0x40000000


def stop_main_thread(pid):
    """The other threads of the process go on: it beats, but does not get on."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
    for request in (PTRACE_SEIZE, PTRACE_INTERRUPT):
        expect(libc.ptrace(request, pid, None, None) == 0, f"ptrace: {os.strerror(ctypes.get_errno())}")


def bury(pid):
    """A traced process is its tracer's to wait for, before its parent can."""
    while os.WIFSTOPPED(os.waitpid(pid, WALL)[1]):
        pass


def stop_process(pid):
    os.kill(pid, signal.SIGSTOP)


def may_trace():
    """A container may forbid it."""
    child = os.fork()
    if child == 0:
        time.sleep(60)
        os._exit(0)
    try:
        stop_main_thread(child)
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
    if how is stop_main_thread:
        bury(pids[whom])
    expect(result.code == 75, "not exit code 75", result)
    expect(seconds < (HEARTBEAT + BEYOND) * h.SLOW, f"it took {seconds:.1f} s", result)
    host = re.escape(socket.gethostname().split(".")[0])
    lines = result.lines("ropesweep: rank ")
    expect(len(lines) == 1 and re.match(rf"ropesweep: rank {whom} \({host}\) {says}", lines[0]), "the rank is not named in one line", result)
    expect("starting" not in lines[0] and "parallel.heartbeat" in lines[0], "what it was at is not named", result)
    expect_gone(pids)
    expect_resumes(folder, reference, ranks, *more)


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
    suite.case("a short stop is outlasted", outlasts, folder, reference, 5, 1.5)
    suite.case("a stop of all ranks is outlasted", outlasts, folder, reference, 3, 5)
    suite.case("nobody watches", outlasts, folder, reference, 0, 5)
    suite.end()


main()
