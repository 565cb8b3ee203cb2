"""Writes goldens.json: LongBench's scores of odd answers, by the packages that its evaluation calls and by plain Python for the rest.

    python make_longbench_goldens.py       # in this folder; made with rouge 1.0.1, fuzzywuzzy 0.18.0, python-Levenshtein 0.27.5, Python 3.11

goldens.json: [{"metric", "answer", "references", "classes", "score"}, ...]
"""

import json
import random
import re
import string
from collections import Counter

from fuzzywuzzy import fuzz
from rouge import Rouge


def tokens(text):
    text = "".join(c for c in text.lower() if c not in string.punctuation)
    return re.sub(r"\b(a|an|the)\b", " ", text).split()


def f1(answer, reference, _):
    a, b = tokens(answer), tokens(reference)
    common = sum((Counter(a) & Counter(b)).values())
    if common == 0:
        return 0.0
    precision, recall = common / len(a), common / len(b)
    return 2 * precision * recall / (precision + recall)


def rouge_l(answer, reference, _):
    try:
        return Rouge().get_scores([answer], [reference], avg=True)["rouge-l"]["f"]
    except ValueError:  # one of them has no sentence
        return 0.0


def edit_similarity(answer, reference, _):
    lines = answer.lstrip("\n").split("\n")
    line = next((one for one in lines if not any(mark in one for mark in ("`", "#", "//"))), "")
    return fuzz.ratio(line, reference) / 100


def share(answer, number):
    found = re.findall(r"\d+", answer)
    return found.count(number) / len(found) if found else 0.0


def count(answer, reference, _):
    return share(answer, reference)


def retrieval(answer, reference, _):
    return share(answer, re.search(r"Paragraph (\d+)", reference).group(1))


def classification(answer, reference, classes):
    found = [name for name in classes if name in answer]
    for name in found:  # upstream removes from the list that it walks over
        if name in reference and name != reference:
            found.remove(name)
    return 1 / len(found) if reference in found else 0.0


METRICS = {m.__name__: m for m in (f1, rouge_l, edit_similarity, count, retrieval, classification)}
CASES = []


def add(metric, answer, references, classes=()):
    score = 0.0
    for reference in references:
        score = max(score, METRICS[metric](answer, reference, list(classes)))
    CASES.append({"metric": metric, "answer": answer, "references": references, "classes": list(classes), "score": score})


def odd_words():
    for answer, *references in [
        ("", ""), ("", "x"), ("x", ""), ("the", "the"), ("The a AN", "an apple"), ("Paris", "Paris."), ("the Paris, France!", "paris france"),
        ("a cat a cat", "cat cat cat"), ("there another than", "the an a"), ("theatre", "atre"), ("a\u00e9 an\u0301 the\u0301", "a\u00e9"),
        ("\u00e9a the\u00e9", "\u00e9a"), ("it's the cat's", "its cats"), ("a_b the_c", "ab thec"), ("x-the-y", "xthey"), ("\u201cthe\u201d", "\u201c\u201d"),
        ("\u0130stanbul", "i\u0307stanbul"), ("\u039f\u0394\u039f\u03a3 the", "\u03bf\u03b4\u03bf\u03c2"), ("one\u00a0two\u2003three\u3000four", "one two three four"),
        ("one\x1ctwo\x85three", "one two three"), ("a\u200bb", "a\u200bb"), ("1,000.5", "10005"), ("x\n\ny\tz", "x y z"), ("\u4e2d the \u6587", "\u4e2d \u6587"),
        ("the\u00bd a", "\u00bd"), ("\u0661the a", "\u0661the"), ("...", "!!!"), ("...", "..."), ("unanswerable", "Unanswerable", "no"), ("b c", "a", "b", "b c d"),
        ("word " * 60, "word"), ("\ufffd the", "\ufffd"), ("an-a-the", "anathe"), ("a" * 300, "a" * 300), ("\u24d0 the \u24b6", "\u24d0 \u24d0"),
    ]:
        yield answer, references


def random_words(draw, n):
    vocabulary = ["the", "a", "an", "cat", "Cat", "dog", "sat", "on", "mat.", ".", "..", "U.S.", "it,", "\u00e9t\u00e9", "1", "12", "x\ty", "\n", " ", "end."]
    return draw.choice(["", " ", "\n"]) + draw.choice([" ", "  "]).join(draw.choice(vocabulary) for _ in range(n))


def code_lines():
    for answer, *references in [
        ("", ""), ("", "x"), ("x", ""), ("\n\n\nreturn x", "return x"), ("# note\nreturn x", "return x"), ("// c\n/* d */ x = 1;", "x = 1;"),
        ("```python\nreturn y\n```", "return x"), ("a # b", "a"), ("a = b // c\nd", "d"), ("`", ""), ("#\n#", ""), ("  return x  ", "return x"),
        ("return\u00e9", "return\u0301e"), ("\u4e2d\u6587 = 1", "\u4e2d = 1"), ("ab" * 120, "ba" * 120), ("x" * 250 + "y", "y" + "x" * 250),
        ("abcdefgh", "hgfedcba"), ("\r\nx", "x"), ("int a;\rint b;", "int a;"), ("x", "y", "xy"), ("aab", "abbb"), ("abc", "abcdefghijklmnopqrstuvwxyz" * 3),
    ]:
        yield answer, references


def main():
    draw = random.Random(2308)
    for answer, references in odd_words():
        add("f1", answer, references)
        add("rouge_l", answer, references)
    for answer, references in [("a b c.", ["c b a."]), ("a b. c d", ["a c. b d"]), ("x. ", ["x. "]), ("x.  .y", ["x. y"]), ("a a a b", ["a b b b"]),
                               ("the cat sat. the cat ran.", ["the cat ran. a dog sat."]), ("....", ["a."]), (" ", [" "]), (". .", [". ."]),
                               ("a b c d e f g", ["g a b f c e d"]), ("b a c", ["a b c"]), ("Hello, World. hello world", ["hello, World"])]:
        add("rouge_l", answer, references)
    for i in range(150):
        answer, references = random_words(draw, draw.randrange(30)), [random_words(draw, draw.randrange(30)) for _ in range(draw.randrange(1, 4))]
        add("f1", answer, references)
        add("rouge_l", answer, references)
    for answer, references in code_lines():
        add("edit_similarity", answer, references)
    for i in range(150):
        line = "".join(draw.choice("ab(x) =") for _ in range(draw.randrange(12)))
        add("edit_similarity", line, ["".join(draw.choice("ab(x) =") for _ in range(draw.randrange(12)))])
    for answer in ("", "5", "05", "5 5 6", "five", "5.5", "there are 5, not 15", "\u0665", "\u0665 5", "\uff15", "5\u00b2", "\u00bd5", "x5y", "-5", "1e5", "5" * 40):
        add("count", answer, ["5"])
        add("retrieval", answer, ["Paragraph 5"])
    add("retrieval", "Paragraph 12 or 1", ["Paragraph 12"])
    add("retrieval", "12", ["see Paragraph 12, Paragraph 13", "Paragraph 13"])
    add("count", "", ["5", "6"])
    classes = ["Other location", "location", "City", "Description of a person", "Description", "person", "Other", "a", ""]
    for answer in ("", "City", "city", "Other location", "location", "City or location", "Other location, City", "Description of a person", "Other", "a City",
                   "person Other", "Description of a person or Other location", "location Other Other location"):
        for reference in ("Other location", "City", "Description of a person", "Other", ""):
            add("classification", answer, [reference], classes)
            add("classification", answer, [reference, "City"], classes[:-2])
    add("classification", "b b c", ["b"], ["b", "b", "c"])
    add("classification", "bc", ["abc"], ["b", "b", "c", "bc", "abc"])
    with open("goldens.json", "w", encoding="utf-8") as file:
        file.write("[\n" + ",\n".join(json.dumps(case) for case in CASES) + "\n]\n")


main()
