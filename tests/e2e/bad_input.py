"""Everything a user can get wrong before the first point: one message that names the place and the word, exit code 2, nothing written.

Cases run in folders of their own, two at a time. Those named `mpi: ...` run again with two ranks, where the message must stand once.
"""
import fcntl
import json
import os
import re
import struct
from concurrent.futures import ThreadPoolExecutor

import harness as h
from harness import expect

CONFIG = """\
model: {path: model, dtype: fp32}
parallel: {threads: 1}
output: out
sweep:
  context: 64
  rope: [default]
  softmax: [1]
tasks:
  - {name: perplexity, text: text.txt, samples: 2}
"""
N_LINES = CONFIG.count("\n")
JSONL_TASK = "  - {name: jsonl, file: data.jsonl, max_new_tokens: 4}"
JSONL = '{"input": "a b c", "outputs": ["d"]}\n'
LONGBENCH = '{"input": "a", "context": "b c", "answers": ["d"], "all_classes": null, "dataset": "qasper"}\n'
TEXT = "the sun and the hat of a fox in the fog . " * 40
LIMIT_SECONDS = 60  # a hang; Open MPI alone may take seconds to start on a busy machine


class Case:
    """prepare(folder) spoils something; says: what the message must contain; place: what it must begin with."""

    def __init__(self, name, says, prepare=None, arguments=("c.yaml",), place="", ranks=0, usage=False, mpi=False):
        self.name, self.says, self.prepare, self.arguments, self.place = name, says, prepare, arguments, place
        self.ranks, self.usage, self.mpi = ranks, usage, mpi


def fresh_folder():
    folder = h.new_folder()
    h.write(folder, "c.yaml", CONFIG)
    h.write(folder, "text.txt", TEXT)
    h.write(folder, "data.jsonl", JSONL * 3)
    h.link_model(folder)
    return folder


def run_case(case, ranks):
    folder = fresh_folder()
    held = case.prepare(folder) if case.prepare else None
    before = h.snapshot(folder)
    result = h.run(*case.arguments, ranks=ranks, cwd=folder, timeout=LIMIT_SECONDS, code=2)
    messages = result.lines("ropesweep: ")
    expect(len(messages) == 1, f"{len(messages)} messages on stderr", result)
    message = messages[0][len("ropesweep: "):]
    for word in case.says:
        expect(word in message, f"the message does not say '{word}'", result)
    expect(message.startswith(case.place), f"the message does not begin with '{case.place}'", result)
    has_help = "usage: ropesweep" in result.err
    expect(has_help == case.usage, f"help is {'not ' if case.usage else ''}expected with this message", result)
    if not ranks:  # the launcher has words of its own
        other = [line for line in result.err.splitlines() if line != messages[0] and not line.startswith("warning: ")]
        expect(case.usage or not other, "other lines on stderr", result)
    expect(result.out == "", "something on stdout", result)
    changed = h.differences(before, h.snapshot(folder))
    expect(not changed, f"the run changed {changed}", result)
    if hasattr(held, "close"):  # a lock that the case holds
        held.close()


# --- the command line ---

def usage(name, arguments, *says, mpi=False):
    return Case(f"command line: {name}", says, arguments=arguments, usage=True, mpi=mpi)


def order(name, arguments, *says, prepare=None):
    """A right command line that names something which is not there or wrong."""
    return Case(f"command: {name}", says, prepare, arguments)


COMMAND_LINES = [
    usage("unknown option", ["c.yaml", "--ouput", "x"], "'--ouput'", "--output", mpi=True),
    usage("unknown option with a value", ["c.yaml", "--limt=3"], "'--limt=3'", "--limit"),
    usage("unknown short option", ["c.yaml", "-x"], "'-x'"),
    usage("no value of --output", ["c.yaml", "--output"], "--output", "value"),
    usage("empty --output", ["c.yaml", "--output="], "--output", "empty"),
    usage("no value of --set", ["c.yaml", "--set"], "--set", "value"),
    usage("value for --fresh", ["c.yaml", "--fresh=1"], "--fresh", "no value"),
    usage("--set without =", ["c.yaml", "--set", "seed"], "--set", "'seed'", "KEY=VALUE"),
    usage("--set without a key", ["c.yaml", "--set", "=3"], "--set", "'=3'"),
    usage("--limit 0", ["c.yaml", "--limit", "0"], "--limit", "'0'"),
    usage("--limit -3", ["c.yaml", "--limit", "-3"], "--limit", "'-3'"),
    usage("--limit 1.5", ["c.yaml", "--limit", "1.5"], "--limit", "'1.5'"),
    usage("--limit beyond 64 bits", ["c.yaml", "--limit", "99999999999999999999"], "--limit", "'99999999999999999999'"),
    usage("--grace -1", ["c.yaml", "--grace", "-1"], "--grace", "'-1'"),
    usage("--grace soon", ["c.yaml", "--grace", "soon"], "--grace", "'soon'"),
    usage("--shard 3/3", ["c.yaml", "--shard", "3/3"], "--shard", "'3/3'", "0 to 2", mpi=True),
    usage("--shard 1", ["c.yaml", "--shard", "1"], "--shard", "'1'", "I/N"),
    usage("--shard a/b", ["c.yaml", "--shard", "a/b"], "--shard"),
    usage("--shard -1/2", ["c.yaml", "--shard", "-1/2"], "--shard", "'-1'"),
    usage("--shard 0/0", ["c.yaml", "--shard", "0/0"], "--shard", "'0'"),
    usage("--backend of no build", ["c.yaml", "--backend", "abacus"], "--backend", "'abacus'", "cpu"),
    usage("two configs", ["c.yaml", "d.yaml"], "'d.yaml'"),
    usage("unknown command", ["pln", "c.yaml"], "'c.yaml'", "plan"),
    usage("plan without a config", ["plan"], "plan", "config"),
    usage("option of another command", ["plan", "c.yaml", "--fresh"], "--fresh"),
    usage("compare with one folder", ["compare", "out"], "compare", "two"),
    usage("merge without -o", ["merge", "out"], "merge", "-o"),
    usage("list without a word", ["list"], "list", "rope"),
    usage("tokenize without a folder", ["tokenize"], "tokenize", "folder"),
    order("list of something unknown", ["list", "ropes"], "'ropes'", "rope"),
    order("config that is missing", ["missing.yaml"], "missing.yaml", "No such file"),
    order("config that is a folder", ["model"], "model"),
    order("plan of a missing config", ["plan", "missing.yaml"], "missing.yaml"),
    order("report of a missing folder", ["report", "missing"], "missing"),
    order("report of a folder without a run", ["report", "model"], "model", "journal"),
    order("compare of folders without runs", ["compare", "model", "missing"], "model"),
    order("merge of a missing folder", ["merge", "missing", "-o", "all"], "missing"),
    order("tokenize with a missing folder", ["tokenize", "missing"], "missing"),
    order("--set of an unknown key", ["c.yaml", "--set", "modle.dtype=bf16"], "modle.dtype", "model"),
    order("--set of a wrong value", ["c.yaml", "--set", "model.dtype=bf61"], "model.dtype", "bf61", "bf16"),
    order("--set of a task that is not there", ["c.yaml", "--set", "tasks.5.samples=1"], "tasks.5"),
    order("--set of what is no YAML", ["c.yaml", "--set", "sweep.rope=[default"], "sweep.rope"),
]


# --- configs: the line that stands in place of line N (0: behind the last), where the message points, what it says ---

def in_config(name, line, text, column, *says, at=None, mpi=False):
    def prepare(folder):
        lines = CONFIG.splitlines()
        lines[line - 1 if line else N_LINES:line or N_LINES] = [text] if isinstance(text, str) else [text.decode("latin-1")]
        content = "\n".join(lines) + "\n"
        h.write(folder, "c.yaml", content if isinstance(text, str) else content.encode("latin-1"))
    return Case(f"config: {name}", says, prepare, place=f"c.yaml:{at or line or N_LINES + 1}:{column}:", mpi=mpi)


CONFIGS = [
    in_config("not YAML", 4, "sweep: [", 7, "YAML", at=6),
    in_config("a tab", 5, "\tcontext: 64", 1, "tab"),
    in_config("not UTF-8", 3, b"output: o\xff", 10, "UTF-8"),
    in_config("a second document", 0, "---\nseed: 1", 1, "second"),
    in_config("unknown section", 2, "paralel: {threads: 1}", 1, "'paralel'", "'parallel'", mpi=True),
    in_config("unknown key", 1, "model: {path: model, dtpye: fp32}", 22, "'dtpye'", "'dtype'"),
    in_config("duplicate key", 0, "output: other", 1, "duplicate", "'output'"),
    in_config("unknown dtype", 1, "model: {path: model, dtype: f32}", 29, "'f32'", "'fp32'"),
    in_config("wrong type", 2, "parallel: {threads: many}", 21, "'many'", "whole number"),
    in_config("no model path", 1, "model: {dtype: fp32}", 8, "'path'"),
    in_config("no context", 5, "", 3, "'sweep.context'", at=6),
    in_config("context of 1", 5, "  context: 1", 12, "'1'"),
    in_config("context with a unit", 5, "  context: 4k", 12, "'4k'"),
    in_config("range without end", 5, "  context: 64-128*1", 12, "'64-128*1'"),
    in_config("context twice", 5, "  context: [64, 64]", 17, "64", "twice"),
    in_config("unknown rope_type", 6, "  rope: [default, yran]", 19, "'yran'", "'yarn'", mpi=True),
    in_config("factor of 0", 6, "  rope: [{rope_type: yarn, factor: 0}]", 36, "factor", "above 0"),
    in_config("key of another rope_type", 6, "  rope: [{rope_type: linear, factor: 2, beta_fast: 3}]", 41, "'beta_fast'", "linear"),
    in_config("duplicate entries", 6, "  rope: [default, {rope_type: default}]", 19, "duplicate"),
    in_config("empty rope list", 6, "  rope: []", 9, "empty"),
    in_config("unknown softmax", 7, "  softmax: [adaptve]", 13, "'adaptve'", "'adaptive'"),
    in_config("temperature of 0", 7, "  softmax: [1, 0]", 16, "temperature", "above 0"),
    in_config("infinite temperature", 7, "  softmax: [.inf]", 13, "finite"),
    in_config("longrope of a wrong length", 6, "  rope: [{rope_type: longrope, short_factor: [1, 2], long_factor: [1, 2]}]", 10, "short_factor"),
    in_config("dca chunk out of range", 6, "  rope: [{rope_type: dca, chunk: 1000000}]", 10, "chunk"),
    in_config("band beyond the model's pairs", 6, "  rope: [{rope_type: band, op: freeze, band: {pairs: [0, 999]}}]", 10, "999"),
    in_config("unknown task", 9, "  - {name: perplexty, text: text.txt}", 12, "'perplexty'", "'perplexity'"),
    in_config("task without its file", 9, "  - {name: perplexity}", 5, "'text'"),
    in_config("samples of 0", 9, "  - {name: perplexity, text: text.txt, samples: 0}", 49, "samples", "0"),
    in_config("stride as long as the context", 9, "  - {name: perplexity, text: text.txt, stride: 63}", 48, "stride", "63"),
    in_config("two tasks of one name", 0, "  - {name: perplexity, text: text.txt}", 12, "perplexity", "label"),
    in_config("two tasks that ask the same", 0, "  - {name: perplexity, label: again, text: text.txt, samples: 1}", 5, "'again'", "'perplexity'", "line 9",
              mpi=True),
    in_config("baseline outside the sweep", 0, "baseline: {rope: nope}", 18, "'nope'"),
    in_config("too many points", 5, "  context: 2-2000000+1", 12, "1000000"),
    in_config("tensor that does not divide the heads", 2, "parallel: {tensor: 3}", 20, "3", "4 attention heads", mpi=True),
]


def with_ranks(name, ranks, tensor, *says):
    def prepare(folder):
        h.write(folder, "c.yaml", CONFIG.replace("threads: 1", f"threads: 1, tensor: {tensor}"))
    return Case(f"config: {name}", says, prepare, place="c.yaml:2:32:", ranks=ranks)


RANKS = [with_ranks("tensor 2 alone", 0, 2, "tensor: 2", "1 rank"), with_ranks("tensor 2 of 3 ranks", 3, 2, "tensor: 2", "3 ranks")]


# --- checkpoints ---

def in_model(name, spoil, *says, place="model", mpi=False):
    return Case(f"checkpoint: {name}", says, lambda folder: spoil(os.path.join(folder, "model")), place=place, mpi=mpi)


def config_key(key, value, *says):
    def edit(config):
        config[key] = value
    return in_model(f"{key} {json.dumps(value)}", lambda m: h.edit_json(m, "config.json", edit), "config.json", *says)


def without_key(key):
    return in_model(f"no {key}", lambda m: h.edit_json(m, "config.json", lambda c: c.pop(key)), "config.json", key, "missing")


def in_tensors(name, edit, *says, mpi=False):
    """edit(header, data) returns what to write in their place."""
    def spoil(model):
        h.write_safetensors(model, *edit(*h.read_safetensors(model)))
    return in_model(f"safetensors: {name}", spoil, *says, mpi=mpi)


UP = "model.layers.1.mlp.up_proj.weight"
NORM = "model.norm.weight"


def rename(old, new):
    return lambda header, data: ({new if k == old else k: v for k, v in header.items()}, data)


def set_field(tensor, field, value):
    return lambda header, data: ({**header, tensor: {**header[tensor], field: value}}, data)


def transpose(header, data):
    return {**header, UP: {**header[UP], "shape": header[UP]["shape"][::-1]}}, data


def shift(header, data):
    begin, end = header[UP]["data_offsets"]
    return {**header, UP: {**header[UP], "data_offsets": [begin - 2, end - 2]}}, data


def hole(header, data):
    moved = {k: {**v, "data_offsets": [o + 64 for o in v["data_offsets"]]} for k, v in header.items()}
    return moved, bytes(64) + data


def raw(content):
    """content: of the whole model.safetensors, or a function of what stands there."""
    def spoil(model):
        old = h.read(model, "model.safetensors")
        h.replace(model, "model.safetensors", content(old) if callable(content) else content)
    return spoil


def file_of(name):
    return lambda model: os.unlink(os.path.join(model, name))


def folder_of(name):
    def spoil(model):
        os.unlink(os.path.join(model, name))
        os.mkdir(os.path.join(model, name))
    return spoil


def index(edit=None, text=None):
    """The checkpoint as shards: one file under another name, and an index that edit(weight_map) spoils."""
    def spoil(model):
        os.rename(os.path.join(model, "model.safetensors"), os.path.join(model, "model-00001-of-00001.safetensors"))
        header, _ = h.read_safetensors(model, "model-00001-of-00001.safetensors")
        weights = {name: "model-00001-of-00001.safetensors" for name in header}
        if edit:
            edit(weights)
        h.write(model, "model.safetensors.index.json", text or json.dumps({"weight_map": weights}))
    return spoil


CHECKPOINTS = [
    in_model("no folder", lambda m: os.rename(m, m + "-elsewhere"), "model", mpi=True),
    in_model("no config.json", file_of("config.json"), "config.json", "No such file", mpi=True),
    in_model("config.json is a folder", folder_of("config.json"), "config.json"),
    in_model("config.json is empty", lambda m: h.replace(m, "config.json", ""), "config.json"),
    in_model("config.json is no JSON", lambda m: h.replace(m, "config.json", '{"model_type": "gemma",\n oops}'), "config.json:2", "oops"),
    in_model("config.json is a list", lambda m: h.replace(m, "config.json", "[]"), "config.json", "map"),
    *[without_key(k) for k in ("model_type", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "vocab_size")],
    config_key("model_type", "mistral", "model_type", "mistral", "llama"),
    config_key("hidden_size", "128", "hidden_size", "integer"),
    config_key("num_hidden_layers", 0, "num_hidden_layers", "0"),
    config_key("num_key_value_heads", 3, "num_key_value_heads", "3"),
    config_key("head_dim", 31, "head_dim", "31"),
    config_key("attention_bias", True, "attention_bias"),
    config_key("hidden_act", "relu", "hidden_act", "relu"),
    config_key("quantization_config", {"quant_method": "gptq"}, "quantization_config", "gptq"),
    config_key("num_hidden_layers", 4, "model.layers.3."),
    in_model("no weights", file_of("model.safetensors"), "model.safetensors"),
    in_model("only other formats", lambda m: os.rename(f"{m}/model.safetensors", f"{m}/pytorch_model.bin"), "other formats"),
    in_model("shards without an index", lambda m: os.rename(f"{m}/model.safetensors", f"{m}/model-1.safetensors"), "index.json"),
    in_tensors("a tensor is missing", rename(UP, "spare"), UP, mpi=True),
    in_tensors("the last norm is missing", rename(NORM, "norm"), NORM),
    in_tensors("a shape is transposed", transpose, UP, "shape"),
    in_tensors("integers", set_field(NORM, "dtype", "I16"), NORM, "I16"),
    in_tensors("an unknown dtype", set_field(NORM, "dtype", "F99"), NORM, "F99"),
    in_tensors("offsets that do not fit the shape", set_field(NORM, "shape", [7]), NORM, "data_offsets"),
    in_tensors("a negative shape", set_field(NORM, "shape", [-1]), NORM, "shape"),
    in_tensors("no shape", set_field(NORM, "shape", None), NORM, "shape"),
    in_tensors("overlap", shift, "model.safetensors", "overlaps"),
    in_tensors("a hole", hole, "hole"),
    in_tensors("bytes after the last tensor", lambda header, data: (header, data + b"1234"), "4 bytes too many"),
    in_model("safetensors: truncated data", raw(lambda old: old[:-10]), "model.safetensors", "truncated", mpi=True),
    in_model("safetensors: truncated header", raw(lambda old: old[:100]), "model.safetensors", "truncated"),
    in_model("safetensors: empty", raw(b""), "model.safetensors"),
    in_model("safetensors: five bytes", raw(b"\x01\0\0\0\0"), "model.safetensors", "truncated"),
    in_model("safetensors: a header as long as the world", raw(b"\xff" * 64), "model.safetensors", "header length"),
    in_model("safetensors: a header of no JSON", raw(struct.pack("<Q", 4) + b"{a:}"), "model.safetensors", "header"),
    in_model("safetensors: a pointer of Git LFS", raw(b"version https://git-lfs.github.com/spec/v1\n"), "model.safetensors"),
    in_model("index: a shard is missing", index(lambda w: w.update({UP: "model-00002-of-00002.safetensors"})),
             "index.json", "model-00002-of-00002.safetensors", "missing", mpi=True),
    in_model("index: a tensor is not in its shard", index(lambda w: w.update({"ghost": w[UP]})), "index.json", "ghost"),
    in_model("index: a path out of the folder", index(lambda w: w.update({UP: "../model.safetensors"})), "index.json", "../"),
    in_model("index: no weight_map", index(text="{}"), "index.json", "weight_map"),
    in_model("index: no JSON", index(text="{"), "index.json:1"),
]


# --- tokenizers ---

def in_tokenizer(name, edit, *says, mpi=False):
    return in_model(f"tokenizer: {name}", lambda m: h.edit_json(m, "tokenizer.json", edit), "tokenizer.json", *says, mpi=mpi)


def tokenizer_text(name, text, *says):
    return in_model(f"tokenizer: {name}", lambda m: h.replace(m, "tokenizer.json", text), "tokenizer.json", *says)


def strange_merge(tokenizer):
    tokenizer["model"]["merges"].insert(3, "one two three")


def foreign_merge(tokenizer):
    tokenizer["model"]["merges"].insert(3, "\u2603 \u2603")


def smaller_vocab(model):
    h.edit_json(model, "config.json", lambda c: c.update(vocab_size=c["vocab_size"] - 1))


TOKENIZERS = [
    in_model("tokenizer: missing", file_of("tokenizer.json"), "tokenizer.json", "No such file"),
    tokenizer_text("empty", "", "tokenizer.json"),
    tokenizer_text("no JSON", '{\n"model": {,', "tokenizer.json:2:"),
    tokenizer_text("cut in the middle", '{"model": {"type": "BPE", "vocab": {"a": 0', "tokenizer.json:1:"),
    tokenizer_text("a list", "[]", "object"),
    in_tokenizer("no model", lambda t: t.pop("model"), "model"),
    in_tokenizer("Unigram", lambda t: t["model"].update(type="Unigram"), "Unigram", "BPE", mpi=True),
    in_tokenizer("no vocab", lambda t: t["model"].pop("vocab"), "vocab"),
    in_tokenizer("ids that are no numbers", lambda t: t["model"].update(vocab={"a": "0"}), "vocab"),
    in_tokenizer("no merges", lambda t: t["model"].pop("merges"), "merges"),
    in_tokenizer("a merge of three", strange_merge, "merges[3]", "one two three"),
    in_tokenizer("a merge of unknown tokens", foreign_merge, "merges[3]"),
    in_tokenizer("an unknown normalizer", lambda t: t.update(normalizer={"type": "Shouting"}), "normalizer", "Shouting"),
    in_model("tokenizer: more tokens than the model has", smaller_vocab, "tokenizer.json", "vocab_size"),
]


# --- data files ---

def in_jsonl(name, content, place, *says, mpi=False):
    def prepare(folder):
        h.write(folder, "c.yaml", CONFIG.replace(CONFIG.splitlines()[-1], JSONL_TASK))
        if content is None:
            os.unlink(os.path.join(folder, "data.jsonl"))
        else:
            h.write(folder, "data.jsonl", content)
    return Case(f"jsonl: {name}", says, prepare, place=place, mpi=mpi)


def in_longbench(name, content, place, *says, dataset="qasper", mpi=False):
    def prepare(folder):
        h.write(folder, "c.yaml", CONFIG.replace(CONFIG.splitlines()[-1], f"  - {{name: longbench, dataset: {dataset}, file: data.jsonl, max_new_tokens: 4}}"))
        h.write(folder, "data.jsonl", content)
    return Case(f"longbench: {name}", says, prepare, place=place, mpi=mpi)


def in_task(name, task, *says, place="", text=TEXT, context=64, mpi=False):
    def prepare(folder):
        h.write(folder, "c.yaml", CONFIG.replace(CONFIG.splitlines()[-1], f"  - {task}").replace("context: 64", f"context: {context}"))
        h.write(folder, "text.txt", text)
    return Case(f"task: {name}", says, prepare, place=place, mpi=mpi)


LONGPPL = "{name: longppl, text: text.txt, short_context: 20}"
PERPLEXITY = "{name: perplexity, text: text.txt}"
DATA = [
    in_jsonl("broken JSON", JSONL + '{"input": "a", "outputs": ["b"]\n', "data.jsonl:2:", "JSON", mpi=True),
    in_jsonl("text after the object", JSONL + JSONL.strip() + " x\n", "data.jsonl:2:", "JSON"),
    in_jsonl("no input", JSONL * 2 + '{"prompt": "a", "outputs": ["b"]}\n', "data.jsonl:3:", '"input"'),
    in_jsonl("no outputs", '{"input": "a"}\n', "data.jsonl:1:", '"outputs"'),
    in_jsonl("outputs is a string", '{"input": "a", "outputs": "b"}\n', "data.jsonl:1:", '"outputs"', "string"),
    in_jsonl("outputs is empty", '{"input": "a", "outputs": []}\n', "data.jsonl:1:", '"outputs"', "empty"),
    in_jsonl("outputs holds a number", '{"input": "a", "outputs": ["b", 3]}\n', "data.jsonl:1:", '"outputs"[1]', "number"),
    in_jsonl("input is a number", '{"input": 3, "outputs": ["b"]}\n', "data.jsonl:1:", '"input"', "number"),
    in_jsonl("a list", JSONL + "[1]\n", "data.jsonl:2:", "object"),
    in_jsonl("not UTF-8", (JSONL + '{"input": "\xff", "outputs": ["b"]}\n').encode("latin-1"), "data.jsonl:2:", "UTF-8"),
    in_jsonl("NUL", JSONL + '{"input": "a\0b", "outputs": ["b"]}\n', "data.jsonl:2:", "NUL"),
    in_jsonl("an empty line", JSONL + "\n" + JSONL, "data.jsonl:2:", "empty"),
    in_jsonl("an empty file", "", "data.jsonl:1:", "empty"),
    in_jsonl("no file", None, "", "data.jsonl", "No such file", mpi=True),
    in_longbench("broken JSON", LONGBENCH + '{"input": "a", "context": \n', "data.jsonl:2:", "JSON", mpi=True),
    in_longbench("no context", LONGBENCH * 2 + '{"input": "a", "answers": ["b"]}\n', "data.jsonl:3:", '"context"'),
    in_longbench("lines of another data set", LONGBENCH + LONGBENCH.replace("qasper", "musique"), "data.jsonl:2:", "'musique'", "qasper"),
    in_longbench("not UTF-8", LONGBENCH.encode() + b'{"input": "\xff"}\n', "data.jsonl:2:", "UTF-8"),
    in_longbench("an empty file", "", "data.jsonl:1:", "empty"),
    in_longbench("a data set's name misspelt", LONGBENCH, "c.yaml:9:", "'qaser'", "qasper", dataset="qaser"),
    in_task("no text", "{name: perplexity, text: missing/*.txt}", "missing/*.txt", mpi=True),
    in_task("text of no UTF-8", PERPLEXITY, "text.txt", "UTF-8", "byte 5", text=b"abcde\xffabc"),
    in_task("empty text", PERPLEXITY, "text.txt", "0 tokens", text=""),
    in_task("text shorter than the context", PERPLEXITY, "text.txt", "4096", context=4096),
    in_task("context beyond any text", PERPLEXITY, "text.txt", "1000000000", context=1000000000),
    in_task("context beyond any machine", PERPLEXITY, "2000000000", context=2000000000, place="c.yaml:5:12:"),
    in_task("longppl of no UTF-8", LONGPPL, "text.txt", "UTF-8", "byte 5", text=b"abcde\xffabc", mpi=True),
    in_task("longppl of an empty text", LONGPPL, "text.txt", "0 tokens", text=""),
    in_task("longppl without text", "{name: longppl, text: missing/*.txt, short_context: 9}", "missing/*.txt"),
    in_task("short_context not below the context", "{name: longppl, text: text.txt, short_context: 64}", "short_context", "64", place="c.yaml:9:"),
    in_task("short_context of a context by default", "{name: longppl, text: text.txt}", "short_context", "4096", place="c.yaml:9:"),
    in_task("haystack that is not there", "{name: passkey, haystack: hay/*.txt}", "hay/*.txt"),
    in_task("haystack without a word", "{name: passkey, haystack: text.txt}", "text.txt", "word", text=" \n"),
    in_task("needle without its key", "{name: passkey, needle: nothing}", "needle", "{key}", place="c.yaml:9:"),
    in_task("more queries than keys", "{name: niah, n_keys: 1, n_queries: 2}", "n_queries", place="c.yaml:9:"),
]


# --- output folders ---

def file_in_the_way(folder):
    h.write(folder, "out", "a file\n")


def file_above(folder):
    h.write(folder, "c.yaml", CONFIG.replace("output: out", "output: text.txt/out"))


def held_journal(folder):
    h.write(folder, "out/journal/lock", "somehost 4711\n")
    lock = open(os.path.join(folder, "out/journal/lock"), "r+")
    fcntl.flock(lock, fcntl.LOCK_EX)
    return lock


def finished_run(folder):
    h.run("c.yaml", "-q", cwd=folder, code=0)


def other_dtype(folder):
    finished_run(folder)
    h.write(folder, "c.yaml", CONFIG.replace("fp32", "bf16"))


def other_model(folder):
    finished_run(folder)
    header, data = h.read_safetensors(os.path.join(folder, "model"))
    begin = header[NORM]["data_offsets"][0]
    h.write_safetensors(os.path.join(folder, "model"), header, data[:begin] + b"\x80\x3f" + data[begin + 2:])


def strange_report(folder):
    h.write(folder, "out/report.yaml", "a report of somebody else\n")


def strange_plan(folder):
    finished_run(folder)
    h.write(folder, "out/journal/plan.json", "{}")


def link_for_journal(folder):
    os.makedirs(os.path.join(folder, "out"))
    os.symlink("../model", os.path.join(folder, "out/journal"))


def in_output(name, prepare, *says, arguments=("c.yaml",), mpi=False):
    return Case(f"output: {name}", says, prepare, arguments, place="out" if prepare is not file_above else "text.txt", mpi=mpi)


OUTPUTS = [
    in_output("a file of that name", file_in_the_way, "file", mpi=True),
    in_output("a file above it", file_above, "file"),
    in_output("another run writes there", held_journal, "another run", "somehost", "4711", mpi=True),
    in_output("another run writes there, with --fresh", held_journal, "another run", "4711", arguments=("c.yaml", "--fresh")),
    in_output("another dtype's journal", other_dtype, "--fresh", mpi=True),
    in_output("another model's journal", other_model, "--fresh"),
    in_output("somebody else's report", strange_report, "report.yaml", "--fresh"),
    in_output("journal is a link", link_for_journal, "journal", "link"),
    in_output("report of a spoilt plan", strange_plan, "plan.json", arguments=("report", "out")),
]

CASES = COMMAND_LINES + CONFIGS + RANKS + CHECKPOINTS + TOKENIZERS + DATA + OUTPUTS


def main():
    suite = h.Suite()
    with ThreadPoolExecutor(2) as pool:
        for case in CASES:
            pool.submit(suite.case, case.name, run_case, case, case.ranks)
            if case.mpi:
                pool.submit(suite.case, f"two ranks, {case.name}", run_case, case, 2)
    suite.end()


main()
