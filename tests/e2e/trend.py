"""`trend` over runs of one config, as a night after the other makes them, and `compare -o FILE.json`, from which it has their gates."""
import json
import os
import xml.etree.ElementTree as xml

import harness as h
from harness import expect

CONFIG = """\
model: {path: MODEL, dtype: fp32}
parallel: {threads: 1}
sweep: {context: [40, 60], rope: [default, nope], softmax: [1]}
tasks:
  - {name: perplexity, text: text.txt, samples: SAMPLES}
  - {name: passkey, samples: 2, haystack: hay.txt, intro: "", needle: " {key} .", question: " key ?", answer_prefix: "", max_new_tokens: 2}
"""
# Later nights have more text: other numbers, of the same sweep.
NIGHTS = ("2026-01-01", "2026-01-02", "2026-01-03 <i>&")


def nights():
    folder = h.new_folder()
    h.write(folder, "text.txt", " the sun and the sky" * 200)
    h.write(folder, "hay.txt", " fog and mud . " * 100)
    for i, name in enumerate(NIGHTS):
        h.write(folder, "sweep.yaml", CONFIG.replace("MODEL", h.TINY_GEMMA).replace("SAMPLES", str(2 + i)))
        h.run("sweep.yaml", "-q", "-o", name, cwd=folder, code=0)
    return folder


def compare(folder, a, b, gate, code):
    h.run("compare", a, b, "--gate", gate, "-o", os.path.join(b, "compare.json"), cwd=folder, code=code)


def points(folder, night):
    """(task, metric, context, variant's rope): value, of the metric that tables show."""
    found = {}
    for p in h.report(os.path.join(folder, night))["points"]:
        metric = "perplexity" if p["task"] == "perplexity" else "accuracy"
        found[p["task"], metric, p["context"], p["rope"]["rope_type"]] = p["metrics"][metric]["value"]
    return found


def cells(line):
    return [c.strip() for c in line.split("  ") if c.strip()]


def table(folder):
    """Every number is its run's own, rounded."""
    out = h.run("trend", *NIGHTS, cwd=folder, code=0).out.splitlines()
    expect(cells(out[0])[4:] == list(NIGHTS), f"heads: {out[0]}")
    expect(cells(out[1]) == ["gates", "passed", "FAILED"], f"gates: {out[1]}")
    rows = {(task, metric, int(context), variant.split(" / ")[0]): values for task, metric, context, variant, *values in map(cells, out[3:11])}
    for i, night in enumerate(NIGHTS):
        for key, value in points(folder, night).items():
            shown = rows[key][i].split(" ±")[0]
            places = len(shown.partition(".")[2])
            expect(float(shown) == round(value, places) or abs(float(shown) - value) <= 0.5 * 10.0 ** -places, f"{night} {key}: {shown}, {value}")


def page(folder):
    h.run("trend", *NIGHTS, "-o", "trend.html", cwd=folder, code=0)
    text = h.read(folder, "trend.html").decode()
    root = xml.fromstring(text.split("\n", 1)[1])
    charts = [s for s in root.iter("svg") if s.get("class") == "chart"]
    expect(len(charts) == 4, f"{len(charts)} charts")
    for chart in charts:
        expect(len([p for p in chart.iter("path") if p.get("class") == "mark"]) == 1, "one gate failed")
        curves = [g for g in chart.iter("g") if g.get("data-s")]
        expect([len([p for p in g.iter("path") if p.get("class") == "m"]) for g in curves] == [3, 3], "two curves of three runs")
    expect("<i>" not in text and "2026-01-03 &lt;i&gt;&amp;" in text, "a name is markup")
    runs = [r for r in root.iter("tr") if r.find("td/span") is not None]
    expect([[s.text for s in r.iter("span")] for r in runs] == [["FAILED"], ["passed"]], "the runs' gates")


def damaged(folder):
    """Not a gate, but no reason to show nothing."""
    for content in (b"", b"{", b"[1]", b'{"gates": 3}', b'{"gates": [{"passed": 1}, null]}', os.urandom(100)):
        h.write(folder, f"{NIGHTS[0]}/compare.json", content)
        out = h.run("trend", NIGHTS[0], "-o", "one.html", cwd=folder, code=0).out
        expect("FAILED" not in out, content)
        xml.fromstring(h.read(folder, "one.html").decode().split("\n", 1)[1])


def mistakes(folder):
    for arguments, word in (((), "output folders"), (("nowhere",), "nowhere"), ((NIGHTS[0], "--gate", "x"), "--gate")):
        result = h.run("trend", *arguments, cwd=folder, code=2)
        expect(word in result.err, f"'{word}' is not said", result)


def main():
    suite, folder = h.Suite(), nights()
    # The same samples are paired: numbers of these do not move. A bound that nothing can meet fails.
    compare(folder, NIGHTS[0], NIGHTS[1], "perplexity nll_per_token == 0", 0)
    compare(folder, NIGHTS[1], NIGHTS[2], "passkey accuracy > 2", 4)
    suite.case("the table", table, folder)
    suite.case("the page", page, folder)
    suite.case("compare.json that is none", damaged, folder)
    suite.case("mistakes", mistakes, folder)
    suite.end()


main()
