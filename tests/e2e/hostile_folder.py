"""An output folder in which somebody else has put links, pipes and devices under the names that the program uses: nothing outside the folder is
changed or taken for the run's own, and nothing waits. And texts of configs and data files that aim at a terminal, a browser or a spreadsheet.
"""
import csv
import io
import json
import os
import shutil
import stat
import xml.etree.ElementTree

import harness as h
from harness import expect

CONFIG = f"""\
model: {{path: {h.TINY_GEMMA}, dtype: fp32}}
parallel: {{threads: 1}}
output: out
sweep: {{context: 40, rope: [default, nope]}}
tasks:
  - {{name: perplexity, text: text.txt, samples: 2}}
"""
REPORTS = ("report.yaml", "report.json", "report.csv", "report.html", "samples.jsonl")
JOURNAL = ("lock", "records.log", "plan.json", "run.json")
COMMANDS = {"run": ("sweep.yaml", "-q"), "report": ("report", "out"), "compare": ("compare", "out", "good"), "merge": ("merge", "out", "-o", "all"),
            "lm-eval": ("report", "out", "--format", "lm-eval")}
READERS = set(COMMANDS) - {"run"}


class Folder:
    """A finished run in `out` and `good`, and files of somebody else's in `victim`."""

    def __init__(self, source=None):
        self.path = h.new_folder()
        if source:
            shutil.copytree(source.path, self.path, dirs_exist_ok=True)
            return
        h.write(self.path, "sweep.yaml", CONFIG)
        h.write(self.path, "text.txt", " the sun and the sky" * 50)
        h.run("sweep.yaml", "-q", cwd=self.path, code=0)
        shutil.copytree(self.at("out"), self.at("good"))
        shutil.copytree(self.at("out"), self.at("victim"))
        h.write(self.path, "victim/file", "not to be seen or changed\n")

    def at(self, name):
        return os.path.join(self.path, name)

    def plant(self, name, kind):
        path = self.at(f"out/{name}")
        if os.path.isdir(path) and not os.path.islink(path):
            shutil.rmtree(path)
        elif os.path.lexists(path):
            os.unlink(path)
        PLANTS[kind](self, path, name)

    def run(self, command):
        """The result, once it is sure that nobody else's file was touched."""
        before = h.snapshot(self.at("victim"), with_times=True)
        result = h.run(*COMMANDS[command], cwd=self.path, timeout=20)
        changed = h.differences(before, h.snapshot(self.at("victim"), with_times=True))
        expect(not changed, f"{command} changed {changed} of somebody else", result)
        expect("not to be seen" not in result.out + result.err, f"{command} tells what stands in a file of somebody else", result)
        expect(result.code in (0, 2), f"{command}", result)
        if result.code == 2:
            expect(len(result.lines("ropesweep: ")) == 1 and "out" in result.err, f"{command}: the place is not named", result)
        return result


def link_to_same(folder, path, name):
    os.symlink(folder.at(f"victim/{name}"), path)


def hard_link(folder, path, name):
    same = folder.at(f"victim/{name}")
    os.link(same if os.path.exists(same) else folder.at("victim/file"), path)


PLANTS = {
    "a dangling link": lambda folder, path, name: os.symlink(folder.at("victim/new"), path),
    "a link to a file": lambda folder, path, name: os.symlink(folder.at("victim/file"), path),
    "a link to another run's": link_to_same,
    "a hard link": hard_link,
    "a FIFO": lambda folder, path, name: os.mkfifo(path),
    "a device": lambda folder, path, name: os.mknod(path, 0o666 | stat.S_IFCHR, os.makedev(1, 5)),  # /dev/zero: as long as one reads
}


def planted_reports(source, kind):
    """Under the names of reports and of the files that become them: replaced, not followed."""
    folder = Folder(source)
    for name in REPORTS:
        folder.plant(name, kind)
        folder.plant(name + ".tmp", kind)
    for name in ("plan.json.tmp", "run.json.tmp"):
        folder.plant(f"journal/{name}", kind)
    for command in COMMANDS:
        result = folder.run(command)
        expect(result.code == 0, command, result)
    for name in REPORTS:
        info = os.lstat(folder.at(f"out/{name}"))
        expect(stat.S_ISREG(info.st_mode) and info.st_nlink == 1, f"{name} is not a file of its own")
    h.expect_equal(h.samples(folder.at("out")), h.samples(folder.at("good")), "samples.jsonl")


# What commands say of each kind of thing under each of the journal's names; those not named here go on.
REFUSED = {"lock": {"run"}, "records.log": set(COMMANDS), "plan.json": set(COMMANDS), "run.json": {"report", "merge", "lm-eval"}}
REFUSED_HARD_LINK = {"lock": {"run"}, "records.log": {"run"}, "plan.json": set(), "run.json": set()}


def planted_journal(source, name, kind):
    refused = (REFUSED_HARD_LINK if kind == "a hard link" else REFUSED)[name]
    for command in COMMANDS:
        folder = Folder(source)
        folder.plant(f"journal/{name}", kind)
        result = folder.run(command)
        expect(result.code == (2 if command in refused else 0), f"{command} was {'not ' * (command in refused)}refused", result)


def planted_first(source, kind):
    """Before there is any run: nothing but the journal's files in an output folder of one's own."""
    for name in ("lock", "records.log"):
        folder = Folder(source)
        shutil.rmtree(folder.at("out"))
        os.makedirs(folder.at("out/journal"))
        folder.plant(f"journal/{name}", kind)
        expect(folder.run("run").code == 2, f"{name} was taken")


def linked_journal(source):
    for command in COMMANDS:
        folder = Folder(source)
        folder.plant("journal", "a link to another run's")
        result = folder.run(command)
        expect(result.code == 2 and "symbolic link" in result.err, command, result)


def linked_lm_eval(source):
    for name in ("lm-eval", "lm-eval/default_T_1"):
        folder = Folder(source)
        expect(folder.run("lm-eval").code == 0, "lm-eval")
        variants = os.listdir(folder.at("out/lm-eval"))
        planted = "lm-eval" if name == "lm-eval" else f"lm-eval/{variants[0]}"
        os.makedirs(folder.at("victim/place"))
        shutil.rmtree(folder.at(f"out/{planted}"))
        os.symlink(folder.at("victim/place"), folder.at(f"out/{planted}"))
        result = folder.run("lm-eval")
        expect(result.code == 2 and "symbolic link" in result.err, planted, result)


def linked_old(source):
    """--fresh moves the old results to a folder that it makes, whatever stands under the first number."""
    folder = Folder(source)
    os.makedirs(folder.at("victim/place"))
    os.symlink(folder.at("victim/place"), folder.at("out/old-1"))
    before = h.snapshot(folder.at("victim"), with_times=True)
    h.run("sweep.yaml", "-q", "--fresh", cwd=folder.path, code=0)
    expect(not h.differences(before, h.snapshot(folder.at("victim"), with_times=True)), "the link was followed")
    expect(os.path.exists(folder.at("out/old-2/journal/records.log")), "the old results are not in old-2")


def own_link(source):
    """The output folder itself may be a link: that is its user's choice."""
    folder = Folder(source)
    os.rename(folder.at("out"), folder.at("elsewhere"))
    os.symlink(folder.at("elsewhere"), folder.at("out"))
    for command in COMMANDS:
        expect(folder.run(command).code == 0, command)


def permissions(source, umask, file_mode, folder_mode):
    folder = Folder(source)
    shutil.rmtree(folder.at("out"))
    shell = ["sh", "-c", f'umask {umask} && exec "$@"', "sh"]
    for command in ("run", "lm-eval", "merge"):
        h.run(*COMMANDS[command], ranks=shell, cwd=folder.path, code=0)
    for root in ("out", "all"):
        found = [folder.at(root)] + [os.path.join(p, n) for p, folders, files in os.walk(folder.at(root)) for n in folders + files]
        expect(len(found) > 10, f"{len(found)} files")
        for path in found:
            mode = stat.S_IMODE(os.lstat(path).st_mode)
            expect(mode == (folder_mode if os.path.isdir(path) else file_mode), f"{path}: mode {mode:o}")


# --- numbers from files ---

def huge_number(source, edit):
    """Numbers of plan.json decide how much memory is asked for."""
    for command in READERS:
        folder = Folder(source)
        h.edit_json(folder.at("out/journal"), "plan.json", edit)
        result = folder.run(command)
        expect(result.code == 2 and "plan.json" in result.err, command, result)


def put_in_points(name, value):
    def edit(plan):
        for point in plan["points"]:
            point[name] = value
    return edit


def deep_facts(source):
    folder = Folder(source)
    h.write(folder.path, "out/journal/run.json", "[" * 1000000)
    for command in COMMANDS:
        expect(folder.run(command).code == 0, command)


def long_line(source):
    """Half of a journal's line, and then nothing as far as the file goes."""
    folder = Folder(source)
    with open(folder.at("out/journal/records.log"), "r+b") as log:
        log.truncate(1 << 28)
    for command in ("report", "run"):
        result = folder.run(command)
        expect(result.code == 0 and "torn" in result.err, command, result)
    h.expect_equal(h.samples(folder.at("out")), h.samples(folder.at("good")), "samples.jsonl")


# --- texts ---

LABELS = ["=cmd|' /C calc'!A0", "+1+1", "@SUM(1)", "-1+1", "</script><img src=x onerror=alert(1)>", "\"><script>alert(2)</script>",
          "\x1b[2J\x1b]0;title\x07\u009b31m\u0085", "<!--", "]]>"]
HOSTILE = f"""\
model: {{path: {h.TINY_GEMMA}, dtype: fp32}}
parallel: {{threads: 1}}
output: out
sweep: {{context: 40, rope: [default, nope]}}
tasks:
"""


def markup(page):
    """The page's elements by tag, and its text. It is well-formed XML, so that a label cannot have become markup where it is."""
    elements = list(xml.etree.ElementTree.fromstring(page).iter())
    tags = [element.tag for element in elements]
    handlers = [name for element in elements for name in element.keys() if name.lower().startswith("on")]
    return {tag: tags.count(tag) for tag in tags}, handlers, "".join(t for element in elements for t in (element.text or "", element.tail or ""))


def plain(text):
    return all(c == "\n" or (ord(c) >= 0x20 and not 0x7F <= ord(c) <= 0x9F) for c in text)


def hostile_labels():
    pages = []
    for labels in ([f"label {i}" for i in range(len(LABELS))], LABELS):
        folder = h.new_folder()
        for i in range(len(labels)):
            h.write(folder, f"text{i}.txt", " the sun" * i + " the sun and the sky" * 50)
        tasks = "".join(f"  - {{name: perplexity, label: {json.dumps(label)}, text: text{i}.txt, samples: 2}}\n" for i, label in enumerate(labels))
        h.write(folder, "sweep.yaml", HOSTILE + tasks)
        h.run("sweep.yaml", "-q", "-o", "one", "--set", "sweep.rope=nope", cwd=folder, code=0)
        for arguments in (("sweep.yaml", "-v"), ("report", "out"), ("compare", "out", "out"), ("compare", "out", "one"), ("plan", "sweep.yaml"), ("check", "sweep.yaml")):
            result = h.run(*arguments, cwd=folder, code=0)
            expect(plain(result.out) and plain(result.err), f"control characters: {ascii(result.out + result.err)[:3000]}")
        out = os.path.join(folder, "out")
        pages.append(markup(h.read(out, "report.html").decode()))
        rows = list(csv.DictReader(io.StringIO(h.read(out, "report.csv").decode(), newline="")))
        expected = {"'" + label if label[0] in "=+-@" else label for label in labels}
        expect({row["task"] for row in rows} == expected, f"labels in report.csv: {set(row['task'] for row in rows)}")
        expect({p["task"] for p in h.report(out)["points"]} == set(labels), "labels in report.json")
    (tags, _, _), (hostile_tags, handlers, text) = pages
    expect(tags == hostile_tags and not handlers, f"labels became markup: {tags}, {hostile_tags}")
    expect("onerror=alert(1)" in text, "the label does not stand there as text")


def hostile_messages():
    """What is refused is named, without what a terminal would act on."""
    folder = h.new_folder()
    h.write(folder, "text.txt", " the sun" * 50)
    for config in (CONFIG.replace("threads: 1", '"\\e[2Jthreads": 1'), CONFIG.replace("text: text.txt", 'text: "\\e[31mno.txt"'),
                   CONFIG.replace("perplexity", '"\\e]0;x\\a\\N"')):
        h.write(folder, "sweep.yaml", config)
        result = h.run("sweep.yaml", cwd=folder, code=2)
        expect(plain(result.err) and len(result.lines("ropesweep: ")) == 1, f"control characters: {ascii(result.err)}")


def main():
    suite = h.Suite()
    source = Folder()
    kinds = [kind for kind in PLANTS if kind != "a device" or os.geteuid() == 0]
    for kind in kinds:
        suite.case(f"reports: {kind}", planted_reports, source, kind)
        for name in JOURNAL:
            suite.case(f"journal/{name}: {kind}", planted_journal, source, name, kind)
        suite.case(f"an empty folder: {kind}", planted_first, source, kind)
    suite.case("journal is a link", linked_journal, source)
    suite.case("lm-eval is a link", linked_lm_eval, source)
    suite.case("old-1 is a link", linked_old, source)
    suite.case("the folder itself is a link", own_link, source)
    suite.case("umask 0077", permissions, source, "0077", 0o600, 0o700)
    suite.case("umask 0002", permissions, source, "0002", 0o664, 0o775)
    suite.case("plan.json: 2^62 samples", huge_number, source, put_in_points("samples", 1 << 62))
    suite.case("plan.json: 2^62 more samples", huge_number, source, put_in_points("extra", 1 << 62))
    suite.case("plan.json: 2^40 shards", huge_number, source, lambda plan: plan.update(shard={"index": 0, "count": 1 << 40}))
    suite.case("run.json: a million brackets", deep_facts, source)
    suite.case("records.log: a line of 256 MiB", long_line, source)
    suite.case("hostile labels", hostile_labels)
    suite.case("hostile texts in messages", hostile_messages)
    suite.end()


main()
