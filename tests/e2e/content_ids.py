"""A record answers only for what it was made of: whatever can change a number gives its points other ids, whatever cannot leaves them alone."""
import json
import os

import harness as h
from harness import expect

CONFIG = """\
model: {path: model, dtype: fp32}
parallel: {threads: 1}
seed: 1
output: out
sweep:
  context: 64
  rope: [{rope_type: yarn, factor: 2}]
  softmax: [1]
tasks:
  - {name: perplexity, samples: 2, text: "text/*.txt"}
  - {name: jsonl, samples: 2, file: data.jsonl, max_new_tokens: 3}
  - {name: passkey, samples: 2, haystack: "hay/*.txt", intro: "", needle: " {key} .", question: " key ?", answer_prefix: "", max_new_tokens: 3}
"""
TASKS = ("perplexity", "jsonl", "passkey")


def sweep_folder():
    folder = h.new_folder()
    model = os.path.join(folder, "model")
    os.makedirs(model)
    for name in ("config.json", "model.safetensors", "tokenizer.json"):
        h.write(model, name, h.read(h.TINY_GEMMA, name))
    h.write(folder, "text/a.txt", " the sun and the sky" * 40)
    h.write(folder, "hay/a.txt", " fog and mud . " * 40)
    h.write(folder, "data.jsonl", '{"input": "the sun", "outputs": ["a"]}\n' * 2)
    h.write(folder, "sweep.yaml", CONFIG)
    return folder


def ids(folder):
    """The id of each task's point."""
    h.run("sweep.yaml", "-q", cwd=folder, code=0)
    return {p["task"]: p["id"] for p in h.report(os.path.join(folder, "out"))["points"]}


def in_config(old, new):
    def edit(folder):
        text = h.read(folder, "sweep.yaml").decode()
        assert old in text
        h.write(folder, "sweep.yaml", text.replace(old, new))
    return edit


def in_file(name, old, new):
    def edit(folder):
        content = h.read(folder, name)
        assert old in content
        h.write(folder, name, content.replace(old, new, 1))
    return edit


def in_json(name, change):
    return lambda folder: h.edit_json(folder, name, change)


def one_bit_of_a_weight(folder):
    data = bytearray(h.read(folder, "model/model.safetensors"))
    data[-1000] ^= 1
    h.write(folder, "model/model.safetensors", bytes(data))


def another_tokenizer(folder):
    """Two words change places: the same texts, other ids."""
    def swap(tokenizer):
        vocab = tokenizer["model"]["vocab"]
        vocab["\u2581the"], vocab["\u2581sun"] = vocab["\u2581sun"], vocab["\u2581the"]
    h.edit_json(folder, "model/tokenizer.json", swap)


def moved(folder):
    os.rename(os.path.join(folder, "model"), os.path.join(folder, "elsewhere"))
    in_config("path: model", f"path: {folder}/elsewhere")(folder)


def touched(folder):
    os.utime(os.path.join(folder, "text/a.txt"), (0, 0))


# (name, edit, the tasks whose points must have other ids; none: all ids stay; None: points are added)
CHANGES = [
    ("nothing", lambda folder: None, ()),
    ("times of change", touched, ()),
    ("the model's folder", moved, ()),
    ("threads and batches", in_config("threads: 1", "threads: 2, batch_tokens: 100"), ()),
    ("number of samples", in_config("samples: 2", "samples: 1"), ()),
    ("labels", in_config("name: jsonl,", "name: jsonl, label: jsonl,"), ()),
    ("an entry more", in_config("softmax: [1]", "softmax: [1, 2]\nbaseline: {softmax: 1}"), None),
    ("spelling", in_config("factor: 2", "factor: 2.0, beta_fast: 32"), ()),
    ("seed", in_config("seed: 1", "seed: 2"), ("passkey",)),
    ("dtype", in_config("fp32", "bf16"), TASKS),
    ("factor", in_config("factor: 2", "factor: 3"), TASKS),
    ("softmax", in_config("softmax: [1]", "softmax: [1.1]"), TASKS),
    ("context", in_config("context: 64", "context: 65"), TASKS),
    ("deterministic", in_config("threads: 1", "threads: 1, deterministic: false"), TASKS),
    ("a template", in_config('" key ?"', '" the key ?"'), ("passkey",)),
    ("prompt_prefix", in_config("file: data.jsonl", 'file: data.jsonl, prompt_prefix: "now"'), ("jsonl",)),
    ("max_new_tokens", in_config("file: data.jsonl, max_new_tokens: 3", "file: data.jsonl, max_new_tokens: 4"), ("jsonl",)),
    ("metric", in_config("file: data.jsonl", "file: data.jsonl, metric: exact"), ("jsonl",)),
    ("stop", in_config("file: data.jsonl", 'file: data.jsonl, stop: " sky"'), ("jsonl",)),
    ("stride", in_config('text: "text/*.txt"', 'text: "text/*.txt", stride: 30'), ("perplexity",)),
    ("a letter of the text", in_file("text/a.txt", b"sky", b"sty"), ("perplexity",)),
    ("a text more", lambda folder: h.write(folder, "text/b.txt", " fig" * 90), ("perplexity",)),
    ("a letter of the prompts", in_file("data.jsonl", b"sun", b"son"), ("jsonl",)),
    ("a reference", in_file("data.jsonl", b'["a"]', b'["b"]'), ("jsonl",)),
    ("a letter of the haystack", in_file("hay/a.txt", b"mud", b"bud"), ("passkey",)),
    ("one bit of a weight", one_bit_of_a_weight, TASKS),
    ("the tokenizer", another_tokenizer, TASKS),
    ("the model's rope_theta", in_json("model/config.json", lambda c: c.update(rope_theta=20000)), TASKS),
    ("the model's epsilon", in_json("model/config.json", lambda c: c.update(rms_norm_eps=1e-5)), TASKS),
    ("the trained context, YaRN's default", in_json("model/config.json", lambda c: c.update(max_position_embeddings=256)), TASKS),
    ("eos", in_json("model/config.json", lambda c: c.update(eos_token_id=[1, 5])), ("jsonl", "passkey")),
]


def check(reference, edit, changed):
    folder = sweep_folder()
    edit(folder)
    if changed is None:  # the first entry's points must stand among the others
        h.run("sweep.yaml", "-q", cwd=folder, code=0)
        found = {p["id"] for p in h.report(os.path.join(folder, "out"))["points"]}
        expect(found > set(reference.values()), "an id has changed")
        return
    found = ids(folder)
    kept = [task for task in changed if found[task] == reference[task]]
    expect(not kept, f"the same ids as before: {kept}")
    expect(changed or found == reference, f"ids have changed: {found}, {reference}")


def launch(reference):
    """Neither ranks nor tensor nor where one stands."""
    folder = sweep_folder()
    h.run(os.path.join(folder, "sweep.yaml"), "-q", "--set", "parallel.tensor=2", ranks=4, cwd=h.new_folder(), code=0)
    found = {p["task"]: p["id"] for p in h.report(os.path.join(folder, "out"))["points"]}
    expect(found == reference, "ids have changed")


def main():
    suite = h.Suite()
    reference = ids(sweep_folder())
    for name, edit, changed in CHANGES:
        suite.case(("other: " if changed else "same: ") + name, check, reference, edit, changed)
    suite.case("same: ranks, tensor, current folder", launch, reference)
    suite.end()


main()
