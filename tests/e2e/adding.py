#!/usr/bin/env python3
"""Applies the blocks of docs/adding.md to a copy of the tree, builds it and runs what they add.

    adding.py SOURCE_DIR SCRATCH_DIR

A block says where it goes: file=PATH (a new file), after="LINE'S BEGINNING" in=PATH, before="..." in=PATH.
"""
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

source, scratch = Path(sys.argv[1]), Path(sys.argv[2])
tree = scratch / "tree"


def run(*command, **more):
    done = subprocess.run(command, capture_output=True, text=True, **more)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command))}: exit {done.returncode}\n{done.stdout[-3000:]}{done.stderr[-3000:]}")
    return done.stdout


def copy_tree():
    shutil.rmtree(scratch, ignore_errors=True)
    for name in ("CMakeLists.txt", "cmake", "configs", "kernels", "runner", "sharding", "docs"):
        if (source / name).is_dir():
            shutil.copytree(source / name, tree / name)
        elif (source / name).exists():
            tree.mkdir(parents=True, exist_ok=True)
            shutil.copy(source / name, tree / name)


def place(block, where, anchor, path):
    lines = path.read_text().split("\n")
    at = [i for i, line in enumerate(lines) if line.startswith(anchor)]
    assert at, f"{path}: no line begins with {anchor!r}"
    i = at[0] + (where == "after")
    path.write_text("\n".join(lines[:i] + block.rstrip("\n").split("\n") + lines[i:]))


def apply_blocks():
    n = 0
    for head, block in re.findall(r"```c ([^\n]+)\n(.*?)```", (source / "docs/adding.md").read_text(), re.S):
        new = re.fullmatch(r"file=(\S+)", head)
        old = re.fullmatch(r'(after|before)="((?:[^"\\]|\\.)*)" in=(\S+)', head)
        assert new or old, head
        if new:
            (tree / new[1]).write_text(block)
        else:
            place(block, old[1], old[2].replace('\\"', '"'), tree / old[3])
        n += 1
    return n


def build():
    run("cmake", "-S", tree, "-B", scratch / "build", "-DCMAKE_BUILD_TYPE=Debug", "-DROPESWEEP_TESTS=OFF", "-DROPESWEEP_WERROR=ON")
    run("cmake", "--build", scratch / "build", "-j", str(os.cpu_count()))
    return scratch / "build/ropesweep"


CONFIG = """
model: {path: tree/configs/models/tiny-gemma, dtype: fp32}
output: out
sweep: {rope: [default, half], softmax: [1.0, gentle_logn], context: 64}
tasks: [{name: echo, samples: 2}]
"""


def main():
    copy_tree()
    blocks = apply_blocks()
    binary = build()
    listed = {kind: run(binary, "list", kind) for kind in ("rope", "softmax", "tasks")}
    for kind, name in (("rope", "half"), ("softmax", "gentle_logn"), ("tasks", "echo")):
        assert re.search(rf"^{name} ", listed[kind], re.M), f"list {kind} does not name {name}"
    (scratch / "config.yaml").write_text(CONFIG)
    run(binary, "-q", scratch / "config.yaml")
    samples = (scratch / "out/samples.jsonl").read_text().splitlines()
    assert len(samples) == 8, len(samples)
    print(f"{blocks} blocks of docs/adding.md applied, built and run")
    shutil.rmtree(scratch)


main()
