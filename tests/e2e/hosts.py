"""Hosts on one machine: network namespaces, each with a host name, /dev/shm and network interface of its own, on a wire that delays and loses
frames and can be cut. Needs root and /dev/net/tun; `unable()` says what is missing.

`hosts.py host NAME ADDRESS FOLDER FD` is how a host is started, inside new namespaces.
"""
import atexit
import fcntl
import heapq
import os
import random
import select
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time

SET_INTERFACE, TAP_WITHOUT_HEADER = 0x400454CA, 0x1002
INSIDE = ("--net", "--uts", "--mount")
AGENT = """\
#!/bin/sh
# What mpirun calls as it would call ssh: HOST COMMAND...
pid=$(cat {folder}/"$1".pid); shift
exec nsenter --target "$pid" --net --uts --mount sh -c "$*"
"""


def host(name, address, folder, channel):
    """Becomes a host: sets up what unshare has given it, hands its end of the wire over, and stays until the test is gone."""
    socket.sethostname(name)
    for words in (["mount", "--make-rprivate", "/"], ["mount", "-t", "tmpfs", "-o", "mode=1777,size=1g", "shm", "/dev/shm"],
                  ["mount", "--bind", f"{folder}/hosts", "/etc/hosts"]):
        subprocess.run(words, check=True)
    wire = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(wire, SET_INTERFACE, struct.pack("16sH22x", b"eth0", TAP_WITHOUT_HEADER))
    for words in (["link", "set", "lo", "up"], ["addr", "add", f"{address}/24", "dev", "eth0"], ["link", "set", "eth0", "up"]):
        subprocess.run(["ip", *words], check=True)
    with socket.socket(fileno=channel) as s:
        socket.send_fds(s, [b"."], [wire])
        os.close(wire)
        s.recv(1)  # ends with the test


def unable():
    """Why there can be no hosts here, or None."""
    for program in ("unshare", "nsenter", "ip", "mount"):
        if shutil.which(program) is None:
            return f"{program} is not installed"
    tried = subprocess.run(["unshare", *INSIDE, sys.executable, "-c", f"""
import fcntl, os, struct
fcntl.ioctl(os.open("/dev/net/tun", os.O_RDWR), {SET_INTERFACE}, struct.pack("16sH22x", b"eth0", {TAP_WITHOUT_HEADER}))
"""], stdin=subprocess.DEVNULL, capture_output=True, text=True)
    return None if tried.returncode == 0 else "no namespaces or no TAP devices: " + (tried.stderr.strip().splitlines() or ["?"])[-1]


class Hosts:
    """n hosts named n0, n1... delay: seconds from one to another. loss: share of frames that are lost, drawn from the seed."""

    def __init__(self, n, delay=0.0, loss=0.0, seed=1):
        self.folder = tempfile.mkdtemp(prefix="rs-", dir="/tmp")  # short: sockets lie below it
        self.names = [f"n{i}" for i in range(n)]
        self.delay, self.loss, self.draw = delay, loss, random.Random(seed)
        self.cut_off, self.carried, self.lost = set(), 0, 0
        self.processes, self.channels, self.wires = {}, [], {}
        self.ended = False
        atexit.register(self.stop)
        with open("/etc/hosts") as f, open(f"{self.folder}/hosts", "w") as out:
            out.write(f.read() + "".join(f"10.77.0.{i + 1} {name}\n" for i, name in enumerate(self.names)))
        self.agent = f"{self.folder}/agent"
        with open(self.agent, "w") as f:
            f.write(AGENT.format(folder=self.folder))
        os.chmod(self.agent, 0o755)
        for i, name in enumerate(self.names):
            self.start(name, f"10.77.0.{i + 1}")
        self.carrier = threading.Thread(target=self.carry, daemon=True)
        self.carrier.start()

    def start(self, name, address):
        mine, its = socket.socketpair()
        with its:
            self.processes[name] = subprocess.Popen(
                ["unshare", *INSIDE, sys.executable, "-B", os.path.abspath(__file__), "host", name, address, self.folder, str(its.fileno())],
                stdin=subprocess.DEVNULL, pass_fds=[its.fileno()], start_new_session=True)
        self.channels.append(mine)
        mine.settimeout(20)
        self.wires[name] = socket.recv_fds(mine, 1, 1)[1][0]
        with open(f"{self.folder}/{name}.pid", "w") as f:
            f.write(str(self.processes[name].pid))

    def inside(self, name, folder, *words):
        """A command line that runs words on a host, in a folder."""
        return ["nsenter", "--target", str(self.processes[name].pid), "--net", "--uts", "--mount", "sh", "-c",
                'cd "$0" && exec "$@"', folder, *words]

    def launcher(self, folder, ranks_each, *options):
        """mpirun on the first host, for ranks on all of them. The hosts' own daemons are told of a peer that is gone by TCP's keepalives."""
        slots = ",".join(f"{name}:{ranks_each}" for name in self.names)
        return self.inside(self.names[0], folder, "mpirun", "-n", str(ranks_each * len(self.names)), "--host", slots, "--mca", "plm", "rsh",
                           "--mca", "plm_rsh_agent", self.agent, "--mca", "pml", "ob1", "--mca", "btl", "tcp,vader,self", *options)

    def cut(self, name):
        """No frame gets from or to this host any more."""
        self.cut_off = self.cut_off | {name}

    def mend(self):
        self.cut_off = set()

    # --- the wire ---

    def carry(self):
        poll, names, waiting, count = select.poll(), {fd: name for name, fd in self.wires.items()}, [], 0
        for fd in names:
            poll.register(fd, select.POLLIN)
        while not self.ended:
            timeout = max(0.0, waiting[0][0] - time.monotonic()) if waiting else 0.05
            for fd, _ in poll.poll(min(timeout, 0.05) * 1000):
                count += 1
                self.take(names[fd], fd, count, waiting)
            while waiting and waiting[0][0] <= time.monotonic():
                self.deliver(*heapq.heappop(waiting)[2:])

    def take(self, name, fd, count, waiting):
        try:
            frame = os.read(fd, 65536)
        except OSError:
            return
        if self.draw.random() < self.loss:
            self.lost += 1
        else:
            heapq.heappush(waiting, (time.monotonic() + self.delay, count, name, frame))

    def deliver(self, sender, frame):
        """To all others, as a hub does: their interfaces leave out what is not theirs."""
        if sender in self.cut_off:
            return
        self.carried += 1
        for name, fd in self.wires.items():
            if name != sender and name not in self.cut_off:
                try:
                    os.write(fd, frame)
                except OSError:
                    self.lost += 1

    # --- the end ---

    def processes_on(self, name):
        """Process ids in a host's network namespace, but for the one that holds it."""
        def namespace(pid):
            return os.readlink(f"/proc/{pid}/ns/net")
        holder, found = self.processes[name].pid, []
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                if int(pid) != holder and namespace(pid) == namespace(holder):
                    found.append(int(pid))
            except OSError:
                continue
        return found

    def stop(self):
        if self.ended:
            return
        self.ended = True
        for name, process in self.processes.items():
            for pid in self.processes_on(name):
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
        for channel in self.channels:
            channel.close()
        for process in self.processes.values():
            process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)


if __name__ == "__main__":
    host(sys.argv[2], sys.argv[3], sys.argv[4], int(sys.argv[5]))
