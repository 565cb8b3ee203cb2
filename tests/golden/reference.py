"""A slow, plain fp64 forward of the Gemma 1 / Llama family under every rope entry and softmax entry.

The oracle of the goldens: written from the formulas in the design notes and from the papers, never from the C code.
Attention is the naive n x n matrix, one head at a time, and a rope variant is what it does to the logit of one (query
position m, key position j):

    z[m,j] = scale * a^2 * sum over pairs k of gain_k * Re(q_k * conj(kk_k) * e^(i * rel[m,j] * inv_freq_k)) + bias[m,j]

so frequency variants change inv_freq, position maps change rel, ALiBi changes bias, and nothing is rotated in place.
Run as a program, it checks itself against the published test vectors.

Where the design notes leave room, this file decides as follows.
 1. ALiBi's bias is part of z, so log_n, ssmax, temperature, yarn and adaptive scale it too; qwen_logn, which is defined
    on q, does not. No golden crosses ALiBi with softcap or qwen_logn.
 2. w/G in Self-Extend is floor(w/G), as in the authors' code; positions stay integers.
 3. DCA's L is original_max_position_embeddings (default the model's maximum), also when `chunk` is given: S = chunk - L/8.
    All goldens have L divisible by 8.
 4. log_n and qwen_logn take L from the SOFTMAX entry's original_max_position_embeddings, else the model's maximum; a
    rope entry's value is not consulted.
 5. N is the number of visible keys of the row, position+1 here. Row 0 of log_n and ssmax has ln 1 = 0: one key, weight 1.
 6. yarn as a softmax policy has mscale 1 for factor <= 1, as gm(s, m) says.
 7. `partial` rotates pairs (i, i + dr/2) inside the first dr dims (not i + d/2); inv_freq has dr/2 entries.
 8. p_rope's K = int(p*d/2); `factor` divides the K kept frequencies only (the rest are 0 anyway).
 9. `band` with remove or gain leaves inv_freq as it is and weights the pair's part of the logit by 0 or `by`; with a
    wavelength range both ends are included and wavelengths are those of the default table of this rope_theta.
10. Position maps, ALiBi and iRoPE have a = 1, and the position maps use the default table of this rope_theta.
11. top_k keeps everything when N <= k; ties do not occur in the goldens (the smallest margin is recorded).
12. adaptive's entropy is -sum p ln(p + 1e-9), the 1e-9 inside the logarithm only, in fp64 here.
13. Llama's and Gemma's softmax1 and sink act per row on the visible keys; the dropped column takes its weight with it,
    so a row's weights sum to less than 1 and are not renormalized.
"""

import json
import math
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors.torch import load_file

THETA = [-0.037, 0.481, -2.3, 4.917, -1.791]  # arXiv 2410.01104, highest power first


# ---------------------------------------------------------------- model


@dataclass
class Model:
    gemma: bool
    n_layer: int
    d_model: int
    n_head: int
    n_kv: int
    head_dim: int
    max_position: int
    rope_theta: float
    eps: float
    embed_scale: float
    weights: dict  # name -> fp64 tensor


def load_model(folder):
    folder = Path(folder)
    config = json.loads((folder / "config.json").read_text())
    weights = {name: w.double() for name, w in load_file(folder / "model.safetensors").items()}
    gemma = config["model_type"] == "gemma"
    assert gemma or config["model_type"] == "llama"
    theta = (config.get("rope_parameters") or config)["rope_theta"]
    d_model, n_head = config["hidden_size"], config["num_attention_heads"]
    # the factor is rounded to the model's dtype, fp32 here, before it multiplies
    embed_scale = torch.tensor(math.sqrt(d_model), dtype=torch.float32).item() if gemma else 1.0
    return Model(gemma, config["num_hidden_layers"], d_model, n_head, config.get("num_key_value_heads", n_head),
                 config.get("head_dim") or d_model // n_head, config["max_position_embeddings"], theta,
                 config["rms_norm_eps"], embed_scale, weights)


def rms_norm(model, x, w):  # x: [n, d_model]
    y = x * torch.rsqrt((x * x).mean(-1, keepdim=True) + model.eps)
    return y * (1 + w) if model.gemma else y * w


def glu(model, gate, up):
    if model.gemma:
        inner = math.sqrt(2 / math.pi) * (gate + 0.044715 * gate**3)
        return 0.5 * gate * (1 + torch.tanh(inner)) * up
    return gate / (1 + torch.exp(-gate)) * up


# ---------------------------------------------------------------- rope


@dataclass
class Rope:
    inv_freq: list  # one per rotated pair, radians per token
    a: float = 1.0  # attention factor: multiplies cos and sin of q and of k
    dims: int = 0  # rotated dims, the first ones; pairs (i, i + dims/2)
    gain: list = None  # weight of each pair's part of the logit
    rel: object = None  # (m, j) -> relative position
    slopes: list = None  # ALiBi, one per head
    plain_layers: set = field(default_factory=set)  # layers without rotation


def frequencies(base, dim):
    return [base ** (-2 * k / dim) for k in range(dim // 2)]


def yarn_mscale(s, m=1.0):
    return 1.0 if s <= 1 else 0.1 * m * math.log(s) + 1


def make_rope(entry, d, base, max_position, n, n_head=1, n_layer=1):
    """entry: the config's form. d: head_dim. n: final length of the sequence."""
    entry = {"rope_type": entry} if isinstance(entry, str) else entry
    kind = entry["rope_type"]
    base = entry.get("rope_theta", base)
    L = entry.get("original_max_position_embeddings", max_position)
    s = entry.get("factor")
    g = frequencies(base, d)
    pairs = range(d // 2)
    rope = Rope(inv_freq=g, dims=d, gain=[1.0] * (d // 2), rel=lambda m, j: m - j)

    if kind == "default":
        pass
    elif kind == "linear":
        rope.inv_freq = [f / s for f in g]
    elif kind == "ntk":
        rope.inv_freq = frequencies(base * s ** (d / (d - 2)), d)
    elif kind == "dynamic":
        rope.inv_freq = frequencies(base * (s * max(n, L) / L - (s - 1)) ** (d / (d - 2)), d)
    elif kind == "ntk_by_parts":
        alpha, beta = entry.get("alpha", 1), entry.get("beta", 32)
        for k in pairs:
            turns = L * g[k] / (2 * math.pi)
            gamma = min(max((turns - alpha) / (beta - alpha), 0), 1)
            rope.inv_freq = rope.inv_freq[:k] + [(1 - gamma) * g[k] / s + gamma * g[k]] + rope.inv_freq[k + 1:]
    elif kind == "yarn":
        rope.inv_freq, rope.a = yarn(entry, g, d, base, L, s)
    elif kind == "longrope":
        ext = entry["long_factor"] if n > L else entry["short_factor"]
        rope.inv_freq = [1 / (ext[k] * base ** (2 * k / d)) for k in pairs]
        s = max_position / L if s is None else s
        rope.a = 1.0 if s <= 1 else math.sqrt(1 + math.log(s) / math.log(L))
        rope.a = entry.get("attention_factor", rope.a)
    elif kind == "llama3":
        s = 8 if s is None else s
        lf, hf = entry.get("low_freq_factor", 1), entry.get("high_freq_factor", 4)
        rope.inv_freq = [llama3(f, s, lf, hf, L) for f in g]
    elif kind in ("p_rope", "proportional"):
        kept = int(entry["p" if kind == "p_rope" else "partial_rotary_factor"] * d / 2)
        rope.inv_freq = [g[k] / (s or 1) if k < kept else 0.0 for k in pairs]
    elif kind == "p_rope_reversed":
        kept = int(entry["p"] * d / 2)
        rope.inv_freq = [0.0 if k < d // 2 - kept else g[k] for k in pairs]
    elif kind == "partial":
        rope.dims = int(d * entry["p"])
        assert rope.dims % 2 == 0, "partial: an odd number of rotated dims is an error"
        rope.inv_freq = frequencies(base, rope.dims)
        rope.gain = [1.0] * (rope.dims // 2)
    elif kind == "nope":
        rope.inv_freq = [0.0] * (d // 2)
    elif kind == "band":
        if "pairs" in entry["band"]:
            first, last = entry["band"]["pairs"]
            chosen = [first <= k <= last for k in pairs]
        else:
            low, high = entry["band"]["wavelength"]
            chosen = [low <= 2 * math.pi / g[k] <= high for k in pairs]
        op = entry["op"]
        if op in ("freeze", "slow"):
            by = 0.0 if op == "freeze" else entry["by"]
            rope.inv_freq = [g[k] * by if chosen[k] else g[k] for k in pairs]
        else:
            by = {"remove": 0.0, "gain": entry.get("by")}[op]
            rope.gain = [by if chosen[k] else 1.0 for k in pairs]
    elif kind == "self_extend":
        G, w = entry["group"], entry["window"]
        rope.rel = lambda m, j: m - j if m - j < w else m // G - j // G + w - w // G
    elif kind == "rerope":
        w = entry["window"]
        rope.rel = lambda m, j: min(m - j, w)
    elif kind == "leaky_rerope":
        w, leak = entry["window"], entry["leak"]
        rope.rel = lambda m, j: m - j if m - j < w else w + (m - j - w) / leak
    elif kind == "dca":
        c = entry.get("chunk", 3 * L // 4)
        S = c - L // 8
        rope.rel = lambda m, j: dca(m, j, c, S)
    elif kind == "alibi":
        rope.inv_freq = [0.0] * (d // 2)
        rope.slopes = [2 ** (-8 * h / n_head) for h in range(1, n_head + 1)]
    elif kind == "irope":
        rope.plain_layers = {layer for layer in range(n_layer) if (layer + 1) % 4 == 0}
    else:
        raise ValueError(kind)
    return rope


def yarn(entry, g, d, base, L, s):
    def pair_with_turns(r):
        return d * math.log(L / (2 * math.pi * r)) / (2 * math.log(base))

    low = pair_with_turns(entry.get("beta_fast") or 32)
    high = pair_with_turns(entry.get("beta_slow") or 1)
    if entry.get("truncate", True):
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, d - 1)
    if low == high:
        high += 0.001
    inv_freq = []
    for k, f in enumerate(g):
        ramp = min(max((k - low) / (high - low), 0), 1)
        inv_freq.append(f / s * ramp + f * (1 - ramp))
    m, m_all = entry.get("mscale"), entry.get("mscale_all_dim")
    a = yarn_mscale(s, m) / yarn_mscale(s, m_all) if m and m_all else yarn_mscale(s)
    return inv_freq, entry.get("attention_factor", a)


def llama3(f, s, lf, hf, L):
    wavelength = 2 * math.pi / f
    if wavelength < L / hf:
        return f
    if wavelength > L / lf:
        return f / s
    t = (L / wavelength - lf) / (hf - lf)
    return (1 - t) * f / s + t * f


def dca(i, j, c, S):
    chunks_apart = i // S - j // S
    if chunks_apart == 0:
        q = i % S
    elif chunks_apart == 1:
        q = min(i % S + S, c)
    else:
        q = min(2 * S - 1, c)
    return q - j % S


# ---------------------------------------------------------------- softmax over one row's visible keys


def softmax(z):
    e = torch.exp(z - z.max())
    return e / e.sum()


def entropy(p):
    return -(p * torch.log(p + 1e-9)).sum().item()


def adaptive_beta(z, theta=THETA):
    H = entropy(softmax(z))
    P = sum(c * H ** (len(theta) - 1 - i) for i, c in enumerate(theta))
    return max(P, 1.0) if H > 0.5 else 1.0


def with_extra_logit(z, extra):
    """softmax over z and one more logit whose column is dropped"""
    top = max(z.max().item(), extra)
    e = torch.exp(z - top)
    return e / (e.sum() + math.exp(extra - top))


def entmax(z, alpha):
    """p = [(alpha-1) z - tau]_+^(1/(alpha-1)) with tau such that p sums to 1, by bisection; alpha 2 is sparsemax"""
    x = (alpha - 1) * z
    low, high = x.max().item() - 1, x.max().item()  # sum >= 1 at low, 0 at high
    for _ in range(64):  # the interval is 1 wide at first: 2^-64 at the end
        tau = (low + high) / 2
        total = (torch.clamp(x - tau, min=0) ** (1 / (alpha - 1))).sum().item()
        low, high = (tau, high) if total >= 1 else (low, tau)
    p = torch.clamp(x - low, min=0) ** (1 / (alpha - 1))
    return p / p.sum()


def attention_weights(entry, z, max_position, margins=None):
    """z: [N], scaled logits of the visible keys of one row, the row being position N-1. Returns [N] weights."""
    entry = {"type": "temperature", "temperature": entry} if isinstance(entry, (int, float)) else entry
    entry = {"type": entry} if isinstance(entry, str) else entry
    kind, N = entry["type"], len(z)
    L = entry.get("original_max_position_embeddings", max_position)

    if kind == "temperature":
        return softmax(z / entry["temperature"])
    if kind == "adaptive":
        return softmax(adaptive_beta(z, entry.get("theta_coefficients", THETA)) * z)
    if kind == "log_n":
        return softmax(z * math.log(N) / math.log(L))
    if kind == "qwen_logn":
        return softmax(z * max(1.0, math.log(N) / math.log(L)))  # position + 1 is N
    if kind == "ssmax":
        return softmax(entry["s"] * math.log(N) * z)
    if kind == "yarn":
        return softmax(z * yarn_mscale(entry["factor"]) ** 2)
    if kind == "softcap":
        return softmax(entry["cap"] * torch.tanh(z / entry["cap"]))
    if kind == "softmax1":
        return with_extra_logit(z, 0.0)
    if kind == "sink":
        return with_extra_logit(z, entry["logit"])
    if kind == "top_k":
        k = entry["k"]
        if N <= k:
            return softmax(z)
        order = torch.sort(z, descending=True).values
        if margins is not None:
            margins.append((order[k - 1] - order[k]).item())
        p = torch.zeros_like(z)
        kept = z >= order[k - 1]
        p[kept] = softmax(z[kept])
        return p
    if kind == "sparsemax":
        return entmax(z, 2.0)
    if kind == "entmax":
        return entmax(z, entry["alpha"])
    raise ValueError(kind)


# ---------------------------------------------------------------- forward


def logits_of_head(q, k, rope, rel, scale, rotate):
    """q, k: [n, head_dim]. Returns [n, n]; entries above the diagonal mean nothing."""
    half = rope.dims // 2
    q1, q2, k1, k2 = q[:, :half], q[:, half:rope.dims], k[:, :half], k[:, half:rope.dims]
    f = torch.tensor(rope.inv_freq, dtype=torch.float64)
    angle = rel[:, :, None] * f if rotate else torch.zeros(*rel.shape, half, dtype=torch.float64)
    real = q1[:, None] * k1[None] + q2[:, None] * k2[None]  # [n, n, pairs]
    imag = q2[:, None] * k1[None] - q1[:, None] * k2[None]
    gain = torch.tensor(rope.gain, dtype=torch.float64)
    z = rope.a**2 * (gain * (real * torch.cos(angle) - imag * torch.sin(angle))).sum(-1)
    return scale * (z + q[:, rope.dims:] @ k[:, rope.dims:].T)


def forward(model, tokens, rope_entry, softmax_entry, n_final=None, stats=None):
    """tokens: list of ids. Returns (logits [n, vocab] fp64, Rope). n_final: default len(tokens)."""
    n = len(tokens)
    rope = make_rope(rope_entry, model.head_dim, model.rope_theta, model.max_position, n_final or n, model.n_head,
                     model.n_layer)
    rel = torch.tensor([[rope.rel(m, j) if j <= m else 0 for j in range(n)] for m in range(n)], dtype=torch.float64)
    margins = []
    W = model.weights
    x = W["model.embed_tokens.weight"][tokens] * model.embed_scale
    for layer in range(model.n_layer):
        name = f"model.layers.{layer}."
        h = rms_norm(model, x, W[name + "input_layernorm.weight"])
        q = h @ W[name + "self_attn.q_proj.weight"].T
        k = h @ W[name + "self_attn.k_proj.weight"].T
        v = h @ W[name + "self_attn.v_proj.weight"].T
        out = []
        for head in range(model.n_head):
            kv = head // (model.n_head // model.n_kv)
            hd = model.head_dim
            qh = q[:, head * hd:(head + 1) * hd]
            kh, vh = k[:, kv * hd:(kv + 1) * hd], v[:, kv * hd:(kv + 1) * hd]
            z = logits_of_head(qh, kh, rope, rel, hd**-0.5, layer not in rope.plain_layers)
            if rope.slopes:
                z = z - rope.slopes[head] * rel
            rows = []
            for m in range(n):
                p = attention_weights(softmax_entry, z[m, :m + 1], model.max_position, margins)
                rows.append(p @ vh[:m + 1])
                if stats is not None:
                    stats.setdefault("z_std", []).append(z[m, :m + 1].std(correction=0).item())
                    stats.setdefault("entropy", []).append(entropy(p))
            out.append(torch.stack(rows))
        x = x + torch.cat(out, dim=-1) @ W[name + "self_attn.o_proj.weight"].T
        h = rms_norm(model, x, W[name + "post_attention_layernorm.weight"])
        gate, up = h @ W[name + "mlp.gate_proj.weight"].T, h @ W[name + "mlp.up_proj.weight"].T
        x = x + glu(model, gate, up) @ W[name + "mlp.down_proj.weight"].T
    x = rms_norm(model, x, W["model.norm.weight"])
    if stats is not None and margins:
        stats["top_k_margin"] = min(margins)
    head_weight = W.get("lm_head.weight", W["model.embed_tokens.weight"])
    return x @ head_weight.T, rope


def nll_of(logits, tokens):
    """natural log; entry i is the loss of token i+1 given tokens 0..i"""
    logp = torch.log_softmax(logits.double(), dim=-1)
    return [-logp[i, tokens[i + 1]].item() for i in range(len(tokens) - 1)]


# ---------------------------------------------------------------- published vectors


def close(got, want, rtol=5e-9, atol=0.0):
    got, want = list(map(float, got)), list(map(float, want))
    assert len(got) == len(want), (got, want)
    for x, y in zip(got, want):
        assert abs(x - y) <= rtol * abs(y) + atol, (got, want)


def rotate(x, position, rope):
    half, a = rope.dims // 2, rope.a
    y = list(x)
    for k, f in enumerate(rope.inv_freq):
        c, s = a * math.cos(position * f), a * math.sin(position * f)
        y[k], y[k + half] = x[k] * c - x[k + half] * s, x[k + half] * c + x[k] * s
    return y


def self_test():
    def inv(entry, n=1, d=8, base=1e4, L=4096):
        return make_rope(entry, d, base, L, n).inv_freq

    close(inv("default"), [1, .1, .01, .001])
    close(inv({"rope_type": "linear", "factor": 4}), [.25, .025, .0025, .00025])
    close(inv({"rope_type": "ntk", "factor": 4}), [1, .0629960525, .00396850263, .00025])
    dynamic = {"rope_type": "dynamic", "factor": 4}
    close(inv(dynamic, 4096), [1, .1, .01, .001])
    close(inv(dynamic, 8192), [1, .0584803548, .00341995189, .0002])
    close(inv(dynamic, 16384), [1, .042529037, .00180871899, 7.69230769e-05])
    yarn4 = {"rope_type": "yarn", "factor": 4}
    close(inv(yarn4), [1, .1, .00625, .00025])
    close(inv({**yarn4, "truncate": False}), [1, .1, .00655697152, .00025])
    close(inv({"rope_type": "ntk_by_parts", "factor": 4}), [1, .1, .00383523866, .00025])
    close(inv({"rope_type": "llama3", "factor": 8}, L=8192), [1, .1, .01, .000213607544])
    close(inv({"rope_type": "llama3", "factor": 8}), [1, .1, .01, .000125])
    ext = {"rope_type": "longrope", "short_factor": [1, 1.5, 2, 4], "long_factor": [9, 9, 9, 9], "factor": 4}
    close(inv(ext), [1, .0666666667, .005, .00025])
    for p, want in [(.75, [1, .1, .01, 0]), (.5, [1, .1, 0, 0]), (.25, [1, 0, 0, 0]), (.3, [1, 0, 0, 0]), (0, [0] * 4)]:
        close(inv({"rope_type": "p_rope", "p": p}), want)
    for p, want in [(.75, [0, .1, .01, .001]), (.5, [0, 0, .01, .001]), (.25, [0, 0, 0, .001])]:
        close(inv({"rope_type": "p_rope_reversed", "p": p}), want)
    for p, want in [(.75, [1, .0464158883, .00215443469]), (.5, [1, .01]), (.25, [1])]:
        close(inv({"rope_type": "partial", "p": p}), want)
    for s, a in [(2, 1.06931472), (4, 1.13862944), (8, 1.20794415)]:
        close([make_rope({**yarn4, "factor": s}, 8, 1e4, 4096, 1).a], [a])
    close([make_rope({**yarn4, "mscale": 1, "mscale_all_dim": .5}, 8, 1e4, 4096, 1).a], [1.06482163])
    close([make_rope(ext, 8, 1e4, L, 1).a for L in (4096, 8192)], [1.08012345, 1.07417231])
    f = inv(yarn4, d=128)
    close([f[k] for k in (20, 25, 33, 45, 63)],
          [.0562341325, .0234345526, .00541227702, .000429402589, 2.88695496e-05])
    f = inv(yarn4, d=256, L=8192)
    close([f[k] for k in (52, 75, 99, 127)], [.0233507717, .00286692026, .000213794866, 2.68651957e-05])
    f = inv(yarn4, d=64, base=1e5, L=8192)
    close([f[k] for k in (11, 15, 31)], [.017676315, .00283223977, 3.58253143e-06])
    f, g = inv({"rope_type": "llama3"}, d=128, base=5e5, L=8192), inv("default", d=128, base=5e5)
    close([f[k] / g[k] for k in range(28, 36)], [1, .828168412, .643743133, .493507123, .37112228, .271425477,
                                                 .190210744, .125])
    x = [1, 2, 3, 4, 5, 6, 7, 8]
    for entry, want in [
        ("default", [-1.69559254, .137551738, 2.7886816, 3.97598204, -4.80884247, 6.32305935, 7.08683674, 8.01196398]),
        ({"rope_type": "p_rope", "p": .5}, [-1.69559254, .137551738, 3, 4, -4.80884247, 6.32305935, 7, 8]),
        ({"rope_type": "partial", "p": .5}, [-1.41335252, 1.87911807, -2.82885748, 4.05819114, 5, 6, 7, 8]),
        (yarn4, [-1.93065157, .156620458, 3.26585152, 4.54768469, -5.4754896, 7.1996215, 8.0330492, 9.11244881]),
    ]:
        close(rotate(x, 3, make_rope(entry, 8, 1e4, 4096, 1)), want)
        # the logit of two rotated vectors is what logits_of_head says
        rope = make_rope(entry, 8, 1e4, 4096, 1)
        q, k = torch.tensor(x, dtype=torch.float64), torch.tensor([.3, -1, 2, .5, -.7, 1, .1, -2], dtype=torch.float64)
        want_z = sum(s * t for s, t in zip(rotate(q.tolist(), 9, rope), rotate(k.tolist(), 4, rope)))
        rel = torch.tensor([[5.0]], dtype=torch.float64)
        close([logits_of_head(q[None], k[None], rope, rel, 1.0, True).item()], [want_z], rtol=1e-12)

    se = make_rope({"rope_type": "self_extend", "group": 4, "window": 1024}, 8, 1e4, 4096, 1).rel
    close([se(1500, 1000), se(3000, 1000), se(8000, 0)], [500, 1268, 2768])
    dc = make_rope("dca", 8, 1e4, 8192, 1).rel
    close([dc(5120, 5119), dc(10239, 5119), dc(16000, 100)], [1, 1025, 6044])
    close(make_rope("alibi", 8, 1e4, 8192, 1, 8).slopes, [2.0**-h for h in range(1, 9)])

    def weights(entry, z):
        return attention_weights(entry, torch.tensor(z, dtype=torch.float64), 4096)

    z = [2.0, 1.0, 0.0]
    close(weights("softmax1", z), [.610295685, .224515236, .0825945394])
    close(weights({"type": "sink", "logit": .5}, z), [.57925853, .213097304, .0783941172])
    close(weights("sparsemax", z), [1, 0, 0], atol=1e-12)
    close(weights({"type": "entmax", "alpha": 1.5}, z), [.830718914, .169281086, 0])
    close(weights({"type": "top_k", "k": 2}, z), [.731058579, .268941421, 0])
    close(weights({"type": "ssmax", "s": .43}, z), [.49695447, .309852113, .193193416])
    z = [1.0, .8, .1]
    close(weights("sparsemax", z), [.6, .4, 0])
    close(weights({"type": "entmax", "alpha": 1.5}, z), [.529247894, .393749043, .0770030628])
    x = torch.tensor([120.0, 60, 0], dtype=torch.float64)
    close(50 * torch.tanh(x / 50), [49.1837429, 41.6827304, 0])
    close(weights({"type": "softcap", "cap": 50}, [120, 60, 0]), softmax(torch.tensor([49.1837429, 41.6827304, 0], dtype=torch.float64)),
          rtol=1e-7)
    for z, H, beta, p, p2 in [
        ([2, 1, 0], .832395579, 1, .665240956, .665240956),
        ([3] + [0] * 7, 1.07432142, 1.38398166, .741559489, .900790133),
        ([1, .5, 0, -.5, -1], 1.39428496, 1.75736262, .428655529, .591985848),
        ([6, 0, 0, 0], .0516969406, 1, .992618633, .992618633),
        ([4] + [0] * 127, 3.99918148, 2.38889108, .300653669, .991087758),
        ([0] * 1024, 6.93147078, 1, 1 / 1024, 1 / 1024),
    ]:
        t = torch.tensor(z, dtype=torch.float64)
        close([entropy(softmax(t)), adaptive_beta(t), softmax(t).max(), weights("adaptive", z).max()], [H, beta, p, p2])
    gelu = Model(True, 0, 0, 1, 1, 8, 0, 0, 1e-6, 1, {})
    one = torch.ones(2, dtype=torch.float64)
    close(glu(gelu, torch.tensor([-2.0, 1.0], dtype=torch.float64), one), [-.0454023059, .841191991])
    close(rms_norm(gelu, torch.tensor([1.0, 2, 3, 4], dtype=torch.float64),
                   torch.tensor([.1, -.2, .3, 0], dtype=torch.float64)),
          [.401663182, .584237356, 1.42407855, 1.46059339])


if __name__ == "__main__":
    self_test()
    print("reference.py: all published vectors agree")
