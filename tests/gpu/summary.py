#!/usr/bin/env python3
"""Makes a page of one or more folders' results.jsonl: verdicts of the stages, and every number beside the roof and the peer it is
measured against.

    summary.py DIR... > summary.md
"""

import json
import sys
from pathlib import Path


def table(head, rows):
    if not rows:
        return
    print("| " + " | ".join(head) + " |")
    print("|" + "---|" * len(head))
    for row in rows:
        print("| " + " | ".join("" if cell is None else str(cell) for cell in row) + " |")
    print()


def number(x, digits=3):
    return None if x is None else f"{x:.{digits}g}" if abs(x) < 1e4 else f"{x:.0f}"


def share(x, of):
    return f"{x / of:.0%}" if x is not None and of else None


def times(x, y):
    return f"{x / y:.2f}" if x is not None and y else None


class Results:
    def __init__(self, lines):
        self.lines = lines
        self.product_roof = max((line["tflops"] for line in self.of("roof_product")), default=None)
        self.copy_roof = max((line["gb_per_s"] for line in self.of("roof_copy")), default=None)

    def of(self, what, **wanted):
        return [line for line in self.lines if line["what"] == what and all(line.get(key) == value for key, value in wanted.items())]


def page_machine(r):
    machines = r.of("machine")
    for m in machines[:1]:
        print(f"# {m['card']}, {m['date'][:10]}\n")
        print(f"Driver {m['driver']}, CUDA {m['cuda']}, commit {m['commit']}, {m['cores']} cores.\n")
        if m["card"] == "no GPU":
            print("**A rehearsal without a GPU: tiny sizes on the CPU. It shows that the scripts work; no number below says anything about a GPU.**\n")
    print("Raw lines: results.jsonl; output: log.txt. Medians; random data; the roofs were measured in the same sitting.\n")
    print("## Stages\n")
    table(("stage", "verdict", "seconds"), [(s["stage"], s["verdict"], s["seconds"]) for s in r.of("stage")])
    failures = [(f["what"], f.get("kernel"), f.get("n") or f.get("batch"), f["why"][:120]) for f in r.lines if f["what"].endswith("_failed")]
    table(("what the peer could not do", "kernel", "n", "why"), failures)


def page_roofs(r):
    if r.product_roof or r.copy_roof:
        print("## Roofs (torch)\n")
        table(("matrix product, bf16", "copy, read and written"), [(f"{number(r.product_roof)} TF/s", f"{number(r.copy_roof, 4)} GB/s")])


def page_attention(r):
    rows = []
    for line in r.of("attention", program=None):
        peers = [p["tflops"] for p in r.of("attention", program="torch", head_dim=line["head_dim"], n=line["n"])]
        peer = max(peers, default=None)
        rows.append((line["head_dim"], line["n"], line["kernel"], line["policy"], number(line["tflops"]), share(line["tflops"], r.product_roof),
                     number(line["times_plain"]), number(peer), times(line["tflops"], peer)))
    if rows:
        print("## Attention, prefill\n")
        print("TF/s of 4 head_dim a visible key and query. chosen: the kernel that the backend takes on this card, mma: the portable one; stats: with\n"
              "row statistics. torch: the faster of its flash and cuDNN kernels, plain softmax.\n")
        table(("head_dim", "tokens", "kernel", "policy", "TF/s", "of roof", "time / plain", "torch TF/s", "speed / torch's"), rows)
    rows = [(d["head_dim"], d["batch"], d["context"], number(d["seconds"] * 1e6), number(d["gb_per_s"], 4), share(d["gb_per_s"], r.copy_roof))
            for d in r.of("decode_attention")]
    if rows:
        print("## Attention, decoding\n")
        table(("head_dim", "batch", "context", "us", "GB/s of keys and values", "of copy roof"), rows)


def page_dense(r):
    rows = []
    for p in r.of("product") + r.of("head"):
        bound_by_memory = p["phase"] == "decode"
        rows.append((p.get("name", "head"), p["phase"], p["n"], number(p["seconds"] * 1e6), number(p["tflops"]),
                     share(p["tflops"], r.product_roof), number(p["gb_per_s"], 4) if bound_by_memory else None,
                     share(p["gb_per_s"], r.copy_roof) if bound_by_memory else None))
    if rows:
        print("## Matrix products (shapes of Gemma 7B)\n")
        table(("weights", "phase", "rows", "us", "TF/s", "of roof", "GB/s", "of copy roof"), rows)
    rows = [(e["name"], e["n"], e["d"], number(e["seconds"] * 1e6), number(e["gb_per_s"], 4), share(e["gb_per_s"], r.copy_roof))
            for e in r.of("elementwise")]
    if rows:
        print("## Row-wise operations\n")
        table(("operation", "rows", "width", "us", "GB/s", "of copy roof"), rows)


def slowest(lines):
    return max(lines, key=lambda line: line["seconds"], default=None)


def fastest(lines):
    return min(lines, key=lambda line: line["seconds"], default=None)


def page_model(r):
    rows = []
    for n in sorted({line["n"] for line in r.of("model_prefill")}):
        mine, theirs = slowest(r.of("model_prefill", program="ropesweep", n=n)), fastest(r.of("model_prefill", program="transformers", n=n))
        rows.append((n, number(mine and mine["seconds"]), mine and share(mine["tflops"], r.product_roof), number(theirs and theirs["seconds"]),
                     theirs and theirs["kernel"], times(mine and mine["seconds"], theirs and theirs["seconds"]),
                     mine and f"{mine['nll_per_token']:.4f}", theirs and f"{theirs['nll_per_token']:.4f}"))
    if rows:
        print("## Gemma 7B's shape: prefill, every token scored\n")
        print("The slower of our runs, the faster of transformers' kernels; both on the same random tokens, whose losses show it.\n")
        table(("tokens", "s", "of roof", "transformers s", "its kernel", "time / its", "nll/token", "transformers nll/token"), rows)
    rows = []
    for batch, context in sorted({(line["batch"], line["context"]) for line in r.of("model_decode")}):
        mine = slowest(r.of("model_decode", program="ropesweep", batch=batch, context=context))
        eager = fastest(r.of("model_decode", program="transformers", batch=batch, context=context, kernel="eager"))
        compiled = fastest(r.of("model_decode", program="transformers", batch=batch, context=context, kernel="compiled"))
        rows.append((batch, context, number(mine and mine["seconds"] * 1e3), mine and share(mine["gb_per_s"], r.copy_roof),
                     number(eager and eager["seconds"] * 1e3), times(mine and mine["seconds"], eager and eager["seconds"]),
                     number(compiled and compiled["seconds"] * 1e3), times(mine and mine["seconds"], compiled and compiled["seconds"])))
    if rows:
        print("## Gemma 7B's shape: greedy decoding\n")
        print("Milliseconds a step. Bytes: weights and caches read once.\n")
        table(("batch", "context", "ms", "of copy roof", "transformers eager ms", "time / its", "compiled ms", "time / its"), rows)


def page_sweep(r):
    mine, theirs = r.of("sweep", program="ropesweep"), r.of("sweep", program="transformers")
    if not mine:
        return
    print("## A sweep: 3 ropes x 2 temperatures, perplexity\n")
    for m, t in zip(mine, theirs):
        print(f"{m['points']} points, {m['samples']} windows of {m['context']} tokens: {number(m['seconds'])} s by its report, {number(m['seconds_whole'])} s "
              f"with start and loading; transformers patched in place, loaded before: {number(t['seconds'])} s; time / its {times(m['seconds'], t['seconds'])}.\n")
    rows = []
    for point in r.of("sweep_point", program="ropesweep"):
        peer = r.of("sweep_point", program="transformers", rope=point["rope"], softmax=point["softmax"])
        rows.append((json.dumps(point["rope"]), point["softmax"], f"{point['nll_per_token']:.4f}", f"{peer[0]['nll_per_token']:.4f}" if peer else None))
    table(("rope", "temperature", "nll/token", "transformers"), rows)


def main():
    lines = [json.loads(line) for folder in sys.argv[1:] for line in (Path(folder) / "results.jsonl").open()]
    r = Results(lines)
    for page in (page_machine, page_roofs, page_attention, page_dense, page_model, page_sweep):
        page(r)


if __name__ == "__main__":
    main()
