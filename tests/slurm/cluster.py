"""A throw-away Slurm cluster of two nodes on this machine, each with a host name and shared memory of its own, and a sweep to run on it.

Needs root and slurm-wlm, munge and libpmix-dev (apt-get install slurm-wlm munge libopenmpi-dev).
`cluster.py node FOLDER NAME` is how a node is started, inside new namespaces.
"""
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "e2e"))
import harness as h
from harness import expect

NODES = ("n1", "n2")
SKIPPED = 77
DAEMONS = ("munged", "slurmctld", "slurmd", "srun")
# cred_expire: a job that is put back waits for so long.
# PMIxCollFence: other fences let MPI_Init of Open MPI 4.1 end before all ranks are in it, and some die.
MPI_CONF = "PMIxCollFence=ring\n"
SLURM_CONF = """\
ClusterName=throwaway
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
SlurmUser=root
SlurmdUser=root
AuthInfo=socket={folder}/munge.socket,cred_expire=5
StateSaveLocation={folder}/state
SlurmctldPidFile={folder}/slurmctld.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmdLogFile={folder}/slurmd-%n.log
SlurmdSpoolDir={folder}/spool-%n
TmpFS={folder}/tmp-%n
ProctrackType=proctrack/linuxproc
TaskPlugin=task/affinity
MpiDefault=pmix
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SlurmdParameters=config_overrides
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
SchedulerParameters=sched_interval=1,sched_min_interval=0,batch_sched_delay=0
KillOnBadExit=1
KillWait=3
ReturnToService=2
MailProg=/bin/true
NodeName=DEFAULT CPUs=2 CoresPerSocket=2 RealMemory=1024
{nodes}
PartitionName=test Nodes=ALL Default=YES State=UP
"""


# --- the cluster ---

def node(folder, name):
    """Becomes slurmd of one node; unshare has given it a host name, mounts and so a /dev/shm of its own."""
    socket.sethostname(name)
    subprocess.run(["mount", "--make-rprivate", "/"], check=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=1777,size=1g", "shm", "/dev/shm"], check=True)
    subprocess.run(["mount", "--bind", f"{folder}/hosts", "/etc/hosts"], check=True)
    os.execvp("slurmd", ["slurmd", "-N", name, "-f", f"{folder}/slurm.conf"])


def can_run():
    """Root in a container may not be allowed namespaces of its own."""
    return os.geteuid() == 0 and all(shutil.which(d) for d in DAEMONS) and subprocess.run(["unshare", "--uts", "--mount", "true"]).returncode == 0


def free_ports(count):
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports


class Cluster:
    def __init__(self):
        # Short: the paths of Unix sockets below it may have 107 bytes.
        self.folder = tempfile.mkdtemp(prefix="rs-", dir="/tmp")
        os.chmod(self.folder, 0o755)
        self.environment = {**os.environ, "SLURM_CONF": f"{self.folder}/slurm.conf"}

    def write_files(self):
        port, *ports = free_ports(1 + len(NODES))
        nodes = "\n".join(f"NodeName={n} NodeHostname={n} NodeAddr=127.0.0.1 Port={p}" for n, p in zip(NODES, ports))
        text = SLURM_CONF.format(folder=self.folder, host=socket.gethostname(), port=port, nodes=nodes)
        h.write(self.folder, "slurm.conf", text)
        h.write(self.folder, "mpi.conf", MPI_CONF)
        with open("/etc/hosts") as f:
            h.write(self.folder, "hosts", f.read() + "".join(f"127.0.0.1 {n}\n" for n in NODES))
        h.write(self.folder, "munge.key", os.urandom(128))
        os.chmod(f"{self.folder}/munge.key", 0o600)
        os.mkdir(f"{self.folder}/state")
        for name in NODES:
            self.empty_node(name)

    def empty_node(self, name):
        for folder in (f"{self.folder}/spool-{name}", f"{self.folder}/tmp-{name}"):
            shutil.rmtree(folder, ignore_errors=True)
            os.mkdir(folder)

    def run(self, *words, cwd=None, env=None):
        return subprocess.run(words, cwd=cwd, env=env or self.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60)

    def must(self, *words, **how):
        done = self.run(*words, **how)
        expect(done.returncode == 0, f"{' '.join(words)}: {done.stdout}")
        return done.stdout

    def start(self):
        f = self.folder
        self.write_files()
        self.must("munged", f"--socket={f}/munge.socket", f"--key-file={f}/munge.key", f"--log-file={f}/munge.log",
                  f"--pid-file={f}/munged.pid", f"--seed-file={f}/munge.seed", "--num-threads=2")
        self.must("slurmctld", "-f", f"{f}/slurm.conf")
        for name in NODES:
            self.start_node(name)
        h.wait_until(lambda: len(set(self.run("sinfo", "-hN", "-t", "idle", "-o", "%N").stdout.split()) & set(NODES)) == len(NODES),
                     "idle nodes")

    def start_node(self, name):
        self.must("unshare", "--uts", "--mount", sys.executable, "-B", os.path.abspath(__file__), "node", self.folder, name)

    def kill_node(self, name):
        """As by a power cut: every process in the node's namespace of host names, and what such a process leaves in the spool."""
        space = os.readlink(f"/proc/{int(h.read(self.folder, f'slurmd-{name}.pid'))}/ns/uts")
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                if os.readlink(f"/proc/{pid}/ns/uts") == space:
                    os.kill(int(pid), signal.SIGKILL)
            except OSError:
                continue
        self.empty_node(name)

    def stop(self):
        if os.path.exists(f"{self.folder}/slurmctld.pid"):
            self.run("scancel", "--full", "-u", "root")
            time.sleep(0.2)
        for name in ("slurmctld", *(f"slurmd-{n}" for n in NODES), "munged"):
            try:
                pid = int(h.read(self.folder, f"{name}.pid"))
                os.kill(pid, signal.SIGTERM)
                h.wait_until(lambda: ended(pid), f"the end of {name}", timeout=10)
            except (OSError, ValueError, h.Failure):
                continue
        shutil.rmtree(self.folder, ignore_errors=True)


def ended(pid):
    """Also a zombie whose parent does not look after it."""
    try:
        return h.read("/proc", f"{pid}/stat").rsplit(b")", 1)[1].split()[0] == b"Z"
    except OSError:
        return True


# --- what runs on it ---

WORDS = json.loads(h.read(h.TINY_GEMMA, "words.json"))
CONFIG = """\
model: {path: MODEL, dtype: fp32}
parallel: {threads: 1, tensor: 2, deterministic: true, batch_tokens: 1024}
output: out
sweep: {context: [100, 500], rope: [default, {rope_type: yarn, factor: 4}], softmax: [1, 0.8]}
tasks:
  - {name: perplexity, text: text.txt, samples: 30}
  - {name: kv_lookup, samples: 4, keys: KEYS, values: VALUES, max_new_tokens: 1}
"""


def sweep_folder():
    folder = h.new_folder()
    text = CONFIG.replace("MODEL", h.TINY_GEMMA)
    h.write(folder, "sweep.yaml", text.replace("KEYS", json.dumps(WORDS["keys"])).replace("VALUES", json.dumps(WORDS["values"])))
    h.write(folder, "text.txt", "".join(f" {WORDS['keys'][i * i % 61]}" for i in range(20000)))
    return folder


def run_tests(tests):
    """tests(suite, cluster, reference): reference is samples.jsonl of one process without Slurm."""
    if not can_run():
        print("skipped: needs root with the right to make namespaces, slurm-wlm and munge")
        sys.exit(SKIPPED)
    suite, cluster = h.Suite(), Cluster()
    folder = sweep_folder()
    h.run("sweep.yaml", "-q", "--set", "parallel.tensor=1", cwd=folder, code=0)
    try:
        cluster.start()
        tests(suite, cluster, h.samples(os.path.join(folder, "out")))
    finally:
        cluster.stop()
    suite.end()


if __name__ == "__main__":
    node(*sys.argv[2:])
