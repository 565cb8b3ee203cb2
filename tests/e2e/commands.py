"""The commands around a run, and what a run prints: help, version, lists, plan, check, tokenize, quiet and verbose."""
import csv
import io
import json
import os
import subprocess

import harness as h
from harness import expect

LONG_CONTEXT = os.path.join(h.SOURCE, "configs", "long_ctx.yaml")
GEMMA_7B = {"architectures": ["GemmaForCausalLM"], "model_type": "gemma", "vocab_size": 256000, "hidden_size": 3072, "intermediate_size": 24576,
            "num_hidden_layers": 28, "num_attention_heads": 16, "num_key_value_heads": 16, "head_dim": 256, "hidden_act": "gelu",
            "max_position_embeddings": 8192, "rms_norm_eps": 1e-06, "rope_theta": 10000.0, "bos_token_id": 2, "eos_token_id": 1,
            "pad_token_id": 0, "torch_dtype": "bfloat16"}
GEMMA_7B_PARAMETERS = 256000 * 3072 + 3072 + 28 * (2 * 3072 + 4 * 3072 * 16 * 256 + 3 * 3072 * 24576)
CONFIG = """\
model: {path: MODEL, dtype: fp32}
parallel: {threads: 1}
output: out
sweep: {context: 40, rope: [default, nope]}
tasks:
  - {name: perplexity, text: text.txt, samples: 2}
"""


def small_folder():
    folder = h.new_folder()
    h.write(folder, "sweep.yaml", CONFIG.replace("MODEL", h.TINY_GEMMA))
    h.write(folder, "text.txt", " the sun and the sky" * 50)
    return folder


# --- help, version, list ---

def fits_a_screen(*arguments):
    result = h.run(*arguments, code=0)
    lines = result.out.splitlines()
    expect(result.err == "" and "usage: ropesweep" in result.out, "the help is on stdout", result)
    expect(len(lines) <= 40, f"{len(lines)} lines", result)
    expect(all(len(line) <= 120 for line in lines), "a line of more than 120 columns", result)
    for word in ("plan", "check", "report", "compare", "merge", "list", "tokenize", "--output", "--set", "--fresh", "--limit", "--shard", "75"):
        expect(word in result.out, f"'{word}' is not in the help", result)


def nothing_asked():
    result = h.run(code=2)
    expect("usage: ropesweep" in result.out + result.err, "no help", result)


def version():
    result = h.run("--version", code=0)
    expect(result.out.startswith("ropesweep ") and result.err == "", "the version is on stdout", result)
    expect(any(c.isdigit() for c in result.out.splitlines()[0]), "no number", result)


def lists(what, *words):
    result = h.run("list", what, code=0)
    expect(result.err == "", "something on stderr", result)
    for word in words:
        expect(word in result.out, f"'{word}' is not listed", result)


def once_under_mpi():
    """A command that needs no ranks answers once under a launcher."""
    result = h.run("list", "softmax", ranks=2, code=0)
    expect(result.out.count("sparsemax ") == h.run("list", "softmax").out.count("sparsemax "), "listed twice", result)


# --- plan and check without weights ---

def gemma_7b():
    folder = h.new_folder()
    h.write(folder, "config.json", json.dumps(GEMMA_7B))
    return folder


def plan_without_weights():
    result = h.run("plan", LONG_CONTEXT, "--set", f"model.path={gemma_7b()}", code=0)
    for word in ("540 points", "weights", "keys and values", "PFLOP", "device-hours", "GiB"):
        expect(word in result.out, f"'{word}' is not in the plan", result)
    result = h.run("plan", LONG_CONTEXT, "--set", f"model.path={gemma_7b()}", "--ranks", "16", code=0)
    expect("16 ranks = 8 replicas x tensor 2" in result.out, "the layout", result)


def plan_counts():
    def samples(*more):
        out = h.run("plan", LONG_CONTEXT, "--set", f"model.path={folder}", *more, code=0).out
        line = [l for l in out.splitlines() if "points" in l and "samples" in l][0]
        return int(line.split(",")[-1].split()[0])
    folder = gemma_7b()
    expect(samples("--limit", "3") == 540 * 3, "samples with --limit")
    expect(samples() == 270 * 100 + 270 * 50, "samples")


def check_without_weights():
    result = h.run("check", LONG_CONTEXT, "--set", f"model.path={gemma_7b()}", code=0)
    expect(f"{GEMMA_7B_PARAMETERS} parameters" in result.out and "only config.json" in result.out, "what was checked", result)


def check_with_weights():
    folder = small_folder()
    result = h.run("check", "sweep.yaml", cwd=folder, code=0)
    expect("valid" in result.out and "535040 parameters" in result.out, "what was checked", result)
    expect(not os.path.exists(os.path.join(folder, "out")), "`check` wrote an output folder")


def check_finds(spoil, *words):
    folder = small_folder()
    model = h.link_model(folder)
    spoil(model)
    result = h.run("check", "sweep.yaml", "--set", "model.path=model", cwd=folder, code=2)
    expect(len(result.lines("ropesweep: ")) == 1, "messages", result)
    for word in words:
        expect(word in result.err, f"'{word}' is not named", result)


def without_last_norm(model):
    header, data = h.read_safetensors(model)
    header["other"] = header.pop("model.norm.weight")
    h.write_safetensors(model, header, data)


def larger_vocab(model):
    h.edit_json(model, "tokenizer.json", lambda t: t["model"]["vocab"].update({"zzzz": len(t["model"]["vocab"])}))


# --- tokenize ---

def tokenize(text):
    path = h.write(h.new_folder(), "text", text)
    with open(path, "rb") as stdin:
        process = subprocess.run(h.command(["tokenize", h.TINY_GEMMA]), stdin=stdin, capture_output=True, env=h.ENVIRONMENT, timeout=30)
    return process.returncode, process.stdout.decode(), process.stderr.decode()


def ids(text):
    code, out, err = tokenize(text)
    expect(code == 0 and err == "", f"exit code {code}: {err}")
    expect(out.endswith("\n") and out.count("\n") == 1, f"not one line: {out!r}")
    return [int(i) for i in out.split()]


def tokenizes():
    vocab = json.loads(h.read(h.TINY_GEMMA, "tokenizer.json"))["model"]["vocab"]
    spelling = {i: t for t, i in vocab.items()}
    expect(ids("") == [], "an empty text has no tokens")
    text = " the key cat is van .\n\n now"
    spelt = "".join(spelling[i] for i in ids(text)).replace("\u2581", " ").replace("<0x0A>", "\n")
    expect(spelt == text, f"the tokens spell {spelt!r}")
    expect(vocab["<bos>"] not in ids(text), "BOS was added")
    expect(ids("<bos> a<eos>")[0] == vocab["<bos>"] and ids("<bos> a<eos>")[-1] == vocab["<eos>"], "special tokens by their spelling")
    expect([spelling[i] for i in ids("\u2603")] == ["<0xE2>", "<0x98>", "<0x83>"], "bytes of what has no token")
    expect(ids(text * 1000) == ids(text * 1000), "not the same twice")
    code, _, err = tokenize(b"abc\xff")
    expect(code == 2 and err.startswith("ropesweep: ") and "UTF-8" in err, f"exit code {code}: {err}")


# --- what a run prints and writes ---

def prints():
    folder = small_folder()
    normal = h.run("sweep.yaml", cwd=folder, code=0)
    for word in ("perplexity", "default", "nope", "report.yaml", "report.html", "samples.jsonl"):
        expect(word in normal.out, f"'{word}' is not on stdout", normal)
    expect(all(len(line) <= 120 for line in normal.out.splitlines()), "a line of more than 120 columns", normal)
    quiet = h.run("sweep.yaml", "-q", "--fresh", cwd=folder, code=0)
    expect(quiet.out == "" and quiet.err == "", "-q is not quiet", quiet)
    verbose = h.run("sweep.yaml", "-v", "--fresh", cwd=folder, code=0)
    expect(len(verbose.err) > len(normal.err), "-v says no more", verbose)
    both = h.run("sweep.yaml", "--fresh", ranks=2, cwd=folder, code=0)
    expect(both.out.count("report.yaml") == normal.out.count("report.yaml"), "two ranks print twice", both)


def warns():
    """Fewer windows than samples: it runs, and says so once."""
    folder = small_folder()
    result = h.run("sweep.yaml", "--set", "tasks.0.samples=1000", ranks=2, cwd=folder, code=0)
    expect(len([l for l in result.lines("warning: ") if "samples" in l]) == 1, "one warning names `samples`", result)


def extra_tensor():
    folder = small_folder()
    model = h.link_model(folder)
    header, data = h.read_safetensors(model)
    header["spare.weight"] = {"dtype": "F32", "shape": [2], "data_offsets": [len(data), len(data) + 8]}
    h.write_safetensors(model, header, data + bytes(8))
    result = h.run("sweep.yaml", "--set", "model.path=model", ranks=2, cwd=folder, code=0)
    expect(len([l for l in result.lines("warning: ") if "spare.weight" in l]) == 1, "one warning names the tensor", result)


def encodings():
    """A byte-order mark, CRLF and a missing last newline mean nothing."""
    folder = small_folder()
    h.run("sweep.yaml", "-q", cwd=folder, code=0)
    reference = h.samples(os.path.join(folder, "out"))
    text = h.read(folder, "sweep.yaml").decode()
    h.write(folder, "sweep.yaml", "\ufeff" + text.rstrip("\n").replace("\n", "\r\n"))
    h.run("sweep.yaml", "-q", "--fresh", cwd=folder, code=0)
    h.expect_equal(h.samples(os.path.join(folder, "out")), reference, "samples.jsonl")


def own_folder():
    """Paths in a config are relative to it, --output to where one stands; without `output`, results/NAME there."""
    folder = small_folder()
    h.run(os.path.join(folder, "sweep.yaml"), "-q", cwd=h.new_folder(), code=0)
    expect(os.path.exists(os.path.join(folder, "out", "report.yaml")), "output is beside the config")
    elsewhere = h.new_folder()
    h.run(os.path.join(folder, "sweep.yaml"), "-q", "-o", "here/and/there", cwd=elsewhere, code=0)
    expect(os.path.exists(os.path.join(elsewhere, "here/and/there/report.yaml")), "--output is where one stands")
    h.write(folder, "plain.yaml", h.read(folder, "sweep.yaml").replace(b"output: out\n", b""))
    h.run(os.path.join(folder, "plain.yaml"), "-q", cwd=elsewhere, code=0)
    expect(os.path.exists(os.path.join(elsewhere, "results/plain/report.yaml")), "results/NAME is where one stands")


def overrides():
    """--set takes lists and ranges, reaches into lists, and the last one of a key counts."""
    folder = small_folder()
    more = ["--set", "sweep.context=20,30-50+10", "--set", "sweep.rope=[default, {rope_type: linear, factor: [2, 4]}]", "--set",
            "tasks.0.samples=9", "--set", "tasks.0.samples=1"]
    h.run("sweep.yaml", "-q", *more, cwd=folder, code=0)
    out = os.path.join(folder, "out")
    found = {(p["context"], p["rope"]["rope_type"], p["rope"].get("factor"), p["n"]) for p in h.report(out)["points"]}
    expect(found == {(c, *r, 1) for c in (20, 30, 40, 50) for r in (("default", None), ("linear", 2), ("linear", 4))}, f"points {found}")


def report_files():
    folder = small_folder()
    h.run("sweep.yaml", "-q", ranks=2, cwd=folder, code=0)
    out = os.path.join(folder, "out")
    report = h.report(out)
    for key in ("schema", "program", "run", "model", "config", "points"):
        expect(key in report, f"report.json has no '{key}'")
    expect(report["schema"] == 1 and report["run"]["ranks"] == 2 and report["run"]["points_done"] == 2, "run")
    expect(report["model"]["parameters"] == 535040 and report["model"]["dtype"] == "fp32", "model")
    expect(report["config"]["seed"] == 1234 and report["config"]["sweep"]["softmax"], "the config's defaults are not filled in")
    for point in report["points"]:
        expect({"id", "rope", "softmax", "context", "task", "status", "n", "metrics", "seconds"} <= point.keys(), "keys of a point")
        expect({"value", "stderr"} <= point["metrics"]["nll_per_token"].keys(), "keys of a metric")
        expect("inv_freq_digest" in point["rope"] and "attention_factor" in point["rope"], "the effective rope")
    rows = list(csv.DictReader(io.StringIO(h.read(out, "report.csv").decode())))
    expect(len(rows) == sum(len(p["metrics"]) for p in report["points"]), f"{len(rows)} rows in report.csv")
    html = h.read(out, "report.html").decode()
    expect("<html" in html and "src=\"http" not in html and "href=\"http" not in html, "report.html loads from the network")
    yaml = h.read(out, "report.yaml").decode()
    order = [yaml.index(f"\n{key}:") for key in ("program", "run", "model", "config", "points")]
    expect(order == sorted(order) and yaml.startswith("schema: 1\n"), "keys of report.yaml")
    expect([f"id: {p['id']}" in yaml or f'id: "{p["id"]}"' in yaml for p in report["points"]] == [True, True], "ids in report.yaml")


def main():
    suite = h.Suite()
    suite.case("--help", fits_a_screen, "--help")
    suite.case("-h behind a config", fits_a_screen, "c.yaml", "-h")
    suite.case("help", fits_a_screen, "help")
    suite.case("nothing asked", nothing_asked)
    suite.case("--version", version)
    suite.case("list rope", lists, "rope", "default", "yarn", "factor", "p_rope", "band", "dca", "irope", "source:")
    suite.case("list softmax", lists, "softmax", "temperature", "adaptive", "log_n", "top_k", "sparsemax", "source:")
    suite.case("list tasks", lists, "tasks", "perplexity", "jsonl", "niah_single_1", "passkey", "kv_lookup", "samples", "source:")
    suite.case("list config", lists, "config", "model", "dtype", "parallel", "batch_tokens", "sweep", "baseline")
    suite.case("a list under mpirun", once_under_mpi)
    suite.case("plan without weights", plan_without_weights)
    suite.case("plan counts samples", plan_counts)
    suite.case("check without weights", check_without_weights)
    suite.case("check with weights", check_with_weights)
    suite.case("check finds a missing tensor", check_finds, without_last_norm, "model.norm.weight")
    suite.case("check finds a vocabulary too large", check_finds, larger_vocab, "tokenizer.json", "vocab_size")
    suite.case("tokenize", tokenizes)
    suite.case("normal, quiet, verbose", prints)
    suite.case("fewer windows than samples", warns)
    suite.case("an extra tensor", extra_tensor)
    suite.case("byte-order mark, CRLF, no last newline", encodings)
    suite.case("where paths start", own_folder)
    suite.case("--set", overrides)
    suite.case("the report's files", report_files)
    suite.end()


main()
