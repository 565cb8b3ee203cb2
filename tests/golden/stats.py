"""Expected values for tests/test_statistics.c, from SciPy, statsmodels and NumPy: stats.py > stats.json.
The resamples are drawn here again from their definition (XXH3, splitmix64, xoshiro256**), so that intervals can be compared to the last digits.
Needs numpy, scipy, statsmodels, xxhash."""
import json
import sys
import types

import numpy as np
import xxhash
from scipy import optimize, special, stats
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import zt_ind_solve_power

RESAMPLES, STRIDE, SEED = 10000, 3571, 1234
MASK = (1 << 64) - 1


class Rng:
    def __init__(self, seed, name, a, b):
        words = [seed, xxhash.xxh3_64_intdigest(name.encode()), a, b]
        state = xxhash.xxh3_64_intdigest(b"".join(w.to_bytes(8, "little") for w in words))
        self.s = []
        for _ in range(4):
            state = (state + 0x9E3779B97F4A7C15) & MASK
            z = ((state ^ state >> 30) * 0xBF58476D1CE4E5B9) & MASK
            z = ((z ^ z >> 27) * 0x94D049BB133111EB) & MASK
            self.s.append(z ^ z >> 31)

    def next(self):
        def rotate(x, k):
            return (x << k | x >> (64 - k)) & MASK
        s = self.s
        result = rotate(s[1] * 5 & MASK, 7) * 9 & MASK
        t = s[1] << 17 & MASK
        s[2] ^= s[0]
        s[3] ^= s[1]
        s[1] ^= s[2]
        s[0] ^= s[3]
        s[2] ^= t
        s[3] = rotate(s[3], 45)
        return result

    def below(self, n):
        unfair = (1 << 64) % n
        while True:
            x = self.next()
            if x >= unfair:
                return x % n


def counts(n):
    """[RESAMPLES, n]: how often each sample was drawn."""
    table = np.zeros((RESAMPLES, n))
    for b in range(RESAMPLES):
        rng = Rng(SEED, "bootstrap", n, b)
        for _ in range(n):
            table[b, rng.below(n)] += 1
    return table


def interval_case(name, cells, weights, exponential, tables):
    """cells: (ya, wa, yb, wb) a cell; wa None: means."""
    def value(columns):
        ya, wa, yb, wb = columns
        f = np.exp if exponential else (lambda x: x)
        return f(ya.sum() / wa.sum()) - f(yb.sum() / wb.sum())

    full = [tuple(np.asarray(c if c is not None else np.ones(len(cell[0])), float) for c in cell) for cell in cells]
    distribution = np.zeros(RESAMPLES)
    for number, (columns, weight) in enumerate(zip(full, weights)):
        table = tables(len(columns[0]))
        sums = [table @ c for c in columns]
        f = np.exp if exponential else (lambda x: x)
        replicates = f(sums[0] / sums[1]) - f(sums[2] / sums[3])
        distribution += weight * np.roll(replicates, -(number * STRIDE % RESAMPLES))

    # SciPy resamples indices: a cell's rows are looked up by them
    def statistic(*indices):
        total = 0.0
        for columns, weight, index in zip(full, weights, indices):
            index = np.asarray(index, int)
            total += weight * value([c[index] for c in columns])
        return np.round(total, 12)

    indices = [np.arange(len(columns[0])) for columns in full]
    before = types.SimpleNamespace(bootstrap_distribution=np.round(distribution, 12))  # equal on paper, equal here
    result = stats.bootstrap(indices, statistic, n_resamples=0, bootstrap_result=before, method="BCa", vectorized=False)
    return {"name": name, "exponential": exponential, "weights": list(weights), "value": statistic(*indices),
            "cells": [[None if c is None else list(map(float, c)) for c in cell] for cell in cells],
            "low": result.confidence_interval.low, "high": result.confidence_interval.high}


def exact_sign_p(x):
    """By every pattern of signs of both halves; x of at most 44."""
    def sums(part):
        all_sums = np.zeros(1)
        for value in part:
            all_sums = np.concatenate([all_sums + value, all_sums - value])
        return np.sort(all_sums)
    first, second = sums(x[:len(x) // 2]), sums(x[len(x) // 2:])
    least = abs(sum(x)) - 1e-9 * np.abs(x).sum()
    above = len(second) - np.searchsorted(second, least - first)
    return min(1.0, 2 * float(above.sum()) / (len(first) * len(second)))


def exact_parts_p(parts):
    """Of whole numbers, by whole numbers."""
    ways = {0: 1}
    for k in parts:
        more = {}
        for total, n in ways.items():
            for sign in (k, -k):
                more[total + sign] = more.get(total + sign, 0) + n
        ways = more
    reached = sum(n for total, n in ways.items() if abs(total) >= abs(sum(parts)))
    return reached / 2 ** len(parts)


def sign_cases(rng):
    cases = []

    def add(name, x, p, tolerance):
        cases.append({"name": name, "x": list(map(float, x)), "p": float(p), "tolerance": tolerance})

    for higher, lower, same in [(5, 0, 3), (7, 2, 11), (40, 12, 48), (3, 3, 0), (300, 200, 0), (260, 20, 220), (0, 30, 5)]:
        x = [1.0] * higher + [-1.0] * lower + [0.0] * same
        p = mcnemar([[same, higher], [lower, 0]], exact=True).pvalue
        assert np.isclose(p, stats.binomtest(higher, higher + lower).pvalue, rtol=1e-12)
        add(f"{higher} higher, {lower} lower", x, p, 1e-11)
    for n in (9, 15):
        x = rng.normal(0.4, 1, n)
        p = stats.permutation_test((x,), np.sum, permutation_type="samples", n_resamples=np.inf).pvalue
        assert np.isclose(p, exact_sign_p(x))
        add(f"{n} normal", x, p, 1e-11)
    for n, denominator, shift in [(60, 4, 1), (200, 4, 1), (120, 10, 1), (80, 12, 2)]:
        parts = [int(k) for k in np.clip(rng.normal(shift, denominator / 2, n).round(), -denominator, denominator)]
        add(f"{n} in parts of {denominator}", [k / denominator for k in parts], exact_parts_p(parts), 1e-10)
    thirds_and_halves = [6 * s // d for s, d in [(1, 3)] * 9 + [(-1, 3)] * 4 + [(1, 2)] * 8 + [(-1, 2)] * 3]
    add("thirds and halves", [k / 6 for k in thirds_and_halves], exact_parts_p(thirds_and_halves), 1e-10)
    for n, shift in [(20, 0.6), (24, 0.3)]:
        x = rng.normal(shift, 1, n)
        add(f"{n} normal", x, exact_sign_p(x), 1e-11)
    # beyond 24 that share no part: the saddlepoint, within its own error
    for n, shift in [(25, 0.2), (26, 0.6), (30, 1), (34, 0.05), (38, 0.4), (42, 0.8)]:
        x = rng.normal(shift, 1, n)
        add(f"{n} normal", x, exact_sign_p(x), 0.05)
    for n in (25, 40):
        x = rng.exponential(1, n) - 0.4
        add(f"{n} skewed", x, exact_sign_p(x), 0.05)
    x = np.abs(rng.normal(1, 1, 25))
    add("25 of one sign", x, 2.0 ** -24, 1e-12)
    return cases


def sequence_case(name, d, width):
    """Every mean on a fine grid, by the definition."""
    x = (np.asarray(d) + 1) / 2
    means, step = np.linspace(0, 1, 40001, retstep=True)

    def lower(x):
        capital, best = np.ones_like(means), np.ones_like(means)
        total, squares = 0.5, 0.25
        for t, value in enumerate(x):
            bet = np.minimum(width / 4 / (squares / (t + 1)), 0.75 / np.maximum(means, 1e-12))
            capital = capital * (1 + bet * (value - means))
            best = np.maximum(best, capital)
            total += value
            squares += (value - total / (t + 2)) ** 2
        return means[np.flatnonzero(best < 2 / 0.05)[0]]
    return {"name": name, "d": list(map(float, d)), "width": width, "low": 2 * lower(x) - 1, "high": 1 - 2 * lower(1 - x), "step": 2 * step}


def reach_case(name, lengths, scores, threshold, relative, tables):
    """scores: [lengths][tasks] of 0/1 samples."""
    curves = np.zeros((RESAMPLES, len(lengths)))
    for k, tasks in enumerate(scores):
        for task, sample in enumerate(tasks):
            number = task * len(lengths) + k
            replicates = tables(len(sample)) @ np.asarray(sample, float) / len(sample)
            curves[:, k] += np.roll(replicates, -(number * STRIDE % RESAMPLES)) / len(tasks)
    point = np.array([np.mean([np.mean(s) for s in tasks]) for tasks in scores])

    def reach(curve):
        if relative and curve[0] <= 0:
            return 0
        passing = np.flatnonzero(curve >= (threshold * curve[0] if relative else threshold) - 1e-12)
        return int(passing[-1]) + 1 if len(passing) else 0

    reaches = np.array([reach(c) for c in curves])
    low, high = np.percentile(reaches, [2.5, 97.5], method="inverted_cdf").astype(int)
    at = [0] + list(lengths)
    return {"name": name, "lengths": lengths, "scores": [[list(map(int, s)) for s in tasks] for tasks in scores], "threshold": threshold,
            "relative": relative, "length": at[reach(point)], "low": at[low], "high": at[high]}


def detectable(sd, n):
    """Statsmodels searches its answer, to six digits; the formula has them all."""
    by_formula = float(special.ndtri(0.975) + special.ndtri(0.8)) * sd / n ** 0.5
    by_search = zt_ind_solve_power(nobs1=n, alpha=0.025, power=0.8, ratio=0, alternative="larger") * sd
    assert np.isclose(by_formula, by_search, rtol=1e-5)
    return by_formula


def main():
    rng = np.random.default_rng(7)
    cache = {}

    def tables(n):
        if n not in cache:
            cache[n] = counts(n)
        return cache[n]

    def bits(p, n):
        return (rng.random(n) < p).astype(float)

    p_values = [0.011, 0.02, None, 0.04, 1.0, 1e-9, 0.02, 0.6, 0.0004]
    known = [p for p in p_values if p is not None]
    adjusted = iter(multipletests(known, method="holm")[1])
    a, b = bits(0.8, 30), bits(0.55, 30)
    tokens = rng.integers(200, 900, 17).astype(float)
    nll = tokens * rng.normal(2.6, 0.3, 17)
    other = nll + tokens * rng.normal(0.05, 0.06, 17)
    fixed = np.full(12, 511.0)
    nll2 = fixed * rng.normal(3, 0.2, 12)
    other2 = nll2 * rng.normal(1.03, 0.03, 12)
    quarters = rng.integers(0, 5, 25) / 4
    quarters_less = np.clip(quarters - rng.integers(0, 3, 25) / 4, 0, 1)
    intervals = [
        interval_case("0/1", [(a, None, b, None)], [1], False, tables),
        interval_case("rare", [(bits(0.97, 60), None, np.ones(60), None)], [1], False, tables),
        interval_case("quarters", [(quarters_less, None, quarters, None)], [1], False, tables),
        interval_case("nll per token", [(other, tokens, nll, tokens)], [1], False, tables),
        interval_case("perplexity", [(other, tokens, nll, tokens)], [1], True, tables),
        interval_case("perplexity of equal windows", [(other2, fixed, nll2, fixed)], [1], True, tables),
        interval_case("two tasks", [(a, None, b, None), (quarters_less, None, quarters, None)], [0.5, 0.5], False, tables),
        interval_case("three lengths", [(bits(0.9, 30), None, bits(0.9, 30), None), (a, None, b, None),
                                        (bits(0.5, 25), None, bits(0.2, 25), None)], [0.25, 0.5, 0.25], False, tables),
    ]
    curve = [bits(p, 30) for p in (1, 0.9, 0.88, 0.4)]
    second = [bits(p, 25) for p in (0.96, 0.96, 0.8, 0.3)]
    reaches = [reach_case(name, [1024, 2048, 4096, 8192], [list(s) for s in zip(*curves)], threshold, relative, tables)
               for name, curves, threshold, relative in [("one task", [curve], 0.856, False), ("of the shortest", [curve], 0.85, True),
                                                         ("two tasks", [curve, second], 0.856, False),
                                                         ("none", [[np.zeros(30)] * 4], 0.856, False),
                                                         ("none of nothing", [[np.zeros(30)] * 4], 0.85, True)]]
    json.dump({
        "seed": SEED,
        "quantiles": [[p, float(special.ndtri(p))] for p in (1e-300, 1e-20, 1e-6, 0.0013, 0.025, 0.2, 0.4999, 0.5, 0.8, 0.975, 0.999999)],
        "signs": sign_cases(rng),
        "holm": {"p": p_values, "adjusted": [None if p is None else float(next(adjusted)) for p in p_values]},
        "detectable": [[sd / n ** 0.5, n, detectable(sd, n)] for sd, n in [(0.4, 30), (1.7, 500), (0.02, 10000)]],
        "detectable_bits": [[n, optimize.brentq(lambda d: stats.binom.sf(5, n, d) - 0.8, 1e-9, 1 - 1e-12, xtol=1e-14)]
                            for n in (6, 10, 100, 500, 5000)],
        "intervals": intervals,
        "reaches": reaches,
        "sequences": [sequence_case("0/1", bits(0.7, 200) - bits(0.6, 200), 0.2), sequence_case("alike", np.zeros(150), 0.1),
                      sequence_case("shares", np.clip(rng.normal(-0.2, 0.2, 80), -1, 1), 0.1), sequence_case("one way", np.ones(60), 0.1),
                      sequence_case("few", bits(0.5, 5), 0.5)],
        "areas": [[lengths, values, float(np.trapezoid(values, np.log2(lengths)) / (np.log2(lengths[-1]) - np.log2(lengths[0])))]
                  for lengths, values in [([1024, 2048, 4096, 8192], [1.0, 0.9, 0.7, 0.1]), ([1000, 3000, 10000], [2.5, 2.25, 3.5])]],
    }, sys.stdout)
    print()


if __name__ == "__main__":
    main()
