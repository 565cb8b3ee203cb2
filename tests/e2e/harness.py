"""What the end-to-end tests share: the program run as a user runs it, folders to run it in, checkpoints to spoil, and a count at the end.

A test file is a program of its own: TEST.py ROPESWEEP [NAME-PART]..., where name parts choose some of its cases. It prints `ok - name` or
`not ok - name` with the reason for each case and exits 0 if all are ok. Only Python's standard library is used.
  MPIEXEC              launcher of several ranks (mpirun)
  ROPESWEEP_E2E_SLOW   factor on every time limit, for builds with sanitizers
"""
import atexit
import hashlib
import json
import os
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time

SOURCE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
TINY_GEMMA = os.path.join(SOURCE, "configs", "models", "tiny-gemma")
PROGRAM = os.path.abspath(sys.argv[1]) if len(sys.argv) > 1 else os.path.join(SOURCE, "build", "ropesweep")
CHOSEN = sys.argv[2:]
MPIEXEC = os.environ.get("MPIEXEC", "mpirun")
SLOW = float(os.environ.get("ROPESWEEP_E2E_SLOW", "1"))

# As root Open MPI wants to be told that this is meant; it leaks in modules that are unloaded before leaks are looked for.
ENVIRONMENT = {**os.environ, "OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1", "OMPI_MCA_mpi_yield_when_idle": "1",
               "OMPI_MCA_rmaps_base_oversubscribe": "1", "OMPI_MCA_hwloc_base_binding_policy": "none",
               "OMP_WAIT_POLICY": "passive",  # more threads than cores are the rule here
               "ASAN_OPTIONS": "detect_leaks=0:" + os.environ.get("ASAN_OPTIONS", "")}

# What two runs of one config may differ in.
VARYING = {"seconds", "started", "finished", "hosts", "host", "rank", "replica", "attempt"}


# --- running ---

class Result:
    def __init__(self, code, out, err, seconds):
        self.code, self.out, self.err, self.seconds = code, out, err, seconds

    def lines(self, prefix):
        return [line for line in self.err.splitlines() if line.startswith(prefix)]

    def __str__(self):
        return f"exit code {self.code} after {self.seconds:.1f} s\n--- stdout\n{self.out[-1500:]}\n--- stderr\n{self.err[-3000:]}"


def command(arguments, ranks=0):
    """ranks 0: without a launcher; a list: the words of another launcher."""
    launcher = ranks if isinstance(ranks, list) else [MPIEXEC, "-n", str(ranks)] if ranks else []
    return launcher + [PROGRAM] + [str(a) for a in arguments]


def start(arguments, ranks=0, cwd=None, env=None, **popen):
    """A process in a group of its own, so that whatever a failed test leaves behind can be ended. It writes to files and not to pipes: these
    would last as long as the daemon that Open MPI starts for a program without a launcher, which has been seen to outlive it.
    """
    out, err = tempfile.TemporaryFile(), tempfile.TemporaryFile()
    process = subprocess.Popen(command(arguments, ranks), cwd=cwd, env={**ENVIRONMENT, **(env or {})}, stdin=subprocess.DEVNULL, stdout=out,
                               stderr=err, start_new_session=True, **popen)
    process.begun, process.written = time.monotonic(), (out, err)
    return process


def text_of(file):
    with file:
        file.seek(0)
        return file.read().decode("utf-8", "replace")


def wait(process, timeout=60):
    ended = ""
    try:
        process.wait(timeout * SLOW)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        ended = "\n(ended by the test: it ran past its time limit)"
    seconds = time.monotonic() - process.begun
    out, err = [text_of(file) for file in process.written]
    result = Result(process.returncode, out, err + ended, seconds)
    for sign in ("AddressSanitizer", "runtime error:", "Assertion `"):
        expect(sign not in result.err, f"'{sign}' on stderr", result)
    return result


def run(*arguments, ranks=0, cwd=None, env=None, timeout=60, code=None):
    """Runs to the end; code: the exit code that is expected, or None."""
    result = wait(start(arguments, ranks, cwd, env), timeout)
    if code is not None:
        expect(result.code == code, f"exit code {result.code}, expected {code}: {' '.join(map(str, arguments))}", result)
    return result


def ranks_of(process, count, timeout=20):
    """Process ids of a launched run's ranks, by rank. The launcher starts them as its children."""
    deadline = time.monotonic() + timeout * SLOW
    while time.monotonic() < deadline:
        found = {}
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                with open(f"/proc/{pid}/stat", "rb") as f:
                    parent = int(f.read().rsplit(b")", 1)[1].split()[1])
                if parent != process.pid or os.readlink(f"/proc/{pid}/exe") != os.path.realpath(PROGRAM):
                    continue
                with open(f"/proc/{pid}/environ", "rb") as f:
                    variables = dict(v.split(b"=", 1) for v in f.read().split(b"\0") if b"=" in v)
                found[int(variables[b"OMPI_COMM_WORLD_RANK"])] = int(pid)
            except (OSError, KeyError, IndexError):
                continue
        if len(found) == count:
            return [found[i] for i in range(count)]
        time.sleep(0.01)
    raise Failure("the ranks did not start")


def wait_until(condition, what, timeout=30):
    deadline = time.monotonic() + timeout * SLOW
    while not condition():
        expect(time.monotonic() < deadline, f"waited in vain: {what}")
        time.sleep(0.005)


# --- folders and files ---

_folders = []


def new_folder():
    folder = tempfile.mkdtemp(prefix="ropesweep-e2e-")
    _folders.append(folder)
    return folder


@atexit.register
def _remove_folders():
    for folder in _folders:
        shutil.rmtree(folder, ignore_errors=True)


def write(folder, name, content):
    path = os.path.join(folder, name)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as f:
        f.write(content if isinstance(content, bytes) else content.encode())
    return path


def read(folder, name):
    with open(os.path.join(folder, name), "rb") as f:
        return f.read()


def snapshot(folder, with_times=False):
    """Every path under a folder with its content (and its time of change). The lock names who holds it and is nobody's result."""
    found = {}
    for parent, folders, files in os.walk(folder):
        for name in folders + files:
            path = os.path.join(parent, name)
            if path.endswith("journal/lock"):
                continue
            info = os.lstat(path)
            content = ""
            if os.path.isfile(path) and not os.path.islink(path):
                with open(path, "rb") as f:
                    content = hashlib.sha256(f.read()).hexdigest()
            found[os.path.relpath(path, folder)] = (content, info.st_mtime_ns if with_times else 0)
    return found


def differences(before, after):
    return sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))


def stable(value):
    """A JSON value without what may differ between two runs."""
    if isinstance(value, dict):
        return {k: stable(v) for k, v in value.items() if k not in VARYING}
    return [stable(v) for v in value] if isinstance(value, list) else value


def samples(folder):
    """samples.jsonl as lines of text without what may differ; key order and every digit stay."""
    lines = []
    for line in read(folder, "samples.jsonl").decode().splitlines():
        pairs = json.loads(line, parse_float=str, parse_int=str, object_pairs_hook=lambda p: {k: v for k, v in p if k not in VARYING})
        lines.append(json.dumps(pairs))
    return lines


def records(folder):
    """samples.jsonl as values, without what may differ."""
    return [stable(json.loads(line)) for line in read(folder, "samples.jsonl").decode().splitlines()]


def report(folder):
    return json.loads(read(folder, "report.json"))


def status(folder):
    return report(folder)["run"]["status"]


def yaml_status(folder):
    """run.status as a grep of report.yaml finds it."""
    lines = [line.split(":", 1)[1].strip() for line in read(folder, "report.yaml").decode().splitlines() if line.strip().startswith("status:")]
    return lines[0] if lines else None


# --- models ---

def link_model(folder, name="model", without=()):
    """A model folder of links to the shipped model's files: cheap, and single files can be left out or replaced."""
    model = os.path.join(folder, name)
    os.makedirs(model)
    for file in ("config.json", "model.safetensors", "tokenizer.json"):
        if file not in without:
            os.symlink(os.path.join(TINY_GEMMA, file), os.path.join(model, file))
    return model


def replace(folder, name, content):
    path = os.path.join(folder, name)
    if os.path.lexists(path):
        os.unlink(path)
    return write(folder, name, content)


def edit_json(folder, name, edit):
    """Replaces a JSON file by what edit(value) makes of it in place."""
    value = json.loads(read(folder, name))
    edit(value)
    replace(folder, name, json.dumps(value))


def read_safetensors(folder, name="model.safetensors"):
    """(header, data): the header maps a tensor to its dtype, shape and data_offsets."""
    data = read(folder, name)
    length = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8:8 + length])
    header.pop("__metadata__", None)
    return header, data[8 + length:]


def write_safetensors(folder, header, data, name="model.safetensors"):
    text = json.dumps(header).encode()
    replace(folder, name, struct.pack("<Q", len(text)) + text + data)


# --- verdicts ---

class Failure(Exception):
    pass


def expect(condition, what, result=None):
    if not condition:
        raise Failure(f"{what}\n{result}" if result is not None else what)


def expect_equal(one, other, what):
    """Two lists of lines or two JSON texts."""
    if one == other:
        return
    if isinstance(one, list) and isinstance(other, list):
        differing = [i for i, (a, b) in enumerate(zip(one, other)) if a != b]
        first = f"\n{one[differing[0]]}\n{other[differing[0]]}" if differing else ""
        raise Failure(f"{what}: {len(one)} and {len(other)} lines, {len(differing)} of them differ{first}")
    raise Failure(f"{what}:\n{str(one)[:1500]}\n{str(other)[:1500]}")


class Suite:
    """Counts cases. `case` may be called from several threads."""

    def __init__(self):
        self.passed, self.failed, self.begun = 0, [], time.monotonic()

    @staticmethod
    def chosen(name):
        return not CHOSEN or any(part in name for part in CHOSEN)

    def case(self, name, function, *arguments):
        if not self.chosen(name):
            return
        begun = time.monotonic()
        try:
            function(*arguments)
        except Exception as failure:  # also a report that is no JSON, or lacks a key
            self.failed.append(name)
            reason = str(failure) if isinstance(failure, Failure) else f"{type(failure).__name__}: {failure}"
            indented = reason.replace("\n", "\n    ")
            print(f"not ok - {name}\n    {indented}", flush=True)
        else:
            self.passed += 1
            print(f"ok - {name} ({time.monotonic() - begun:.1f} s)", flush=True)

    def end(self):
        print(f"{self.passed} ok, {len(self.failed)} not ok, {time.monotonic() - self.begun:.0f} s")
        sys.exit(1 if self.failed or not self.passed else 0)
