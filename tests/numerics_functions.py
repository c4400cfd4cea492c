"""Cases of tests/numerics.py: elementwise functions, softmax and losses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import bpgpu as bp
from bpgpu import functional as F  # noqa: N812 - as in torch
from numerics import case, entry, normal, on, signs, uniform

# ---- activations and elementwise functions

RANGES = {
    "in [-4, 4]": uniform(-4, 4, 400),
    "near 0": uniform(-1e-3, 1e-3, 200),
    "in [-12, -4]": uniform(-12, -4, 200),
    "in [-80, 80]": uniform(-80, 80, 200),
    "up to 1e6": uniform(-1e6, 1e6, 100),
}


def elementwise(name: str, call: Callable[..., Any], notes: str) -> None:
    entry(name, notes, *(case(k, call, maker) for k, maker in RANGES.items()))


PIECES = "linear pieces"
for name in ("relu", "relu6", "leaky_relu", "hardtanh", "hardshrink", "softshrink", "rrelu"):
    elementwise(name, getattr(F, name), PIECES)
for name in ("hardsigmoid", "hardswish"):
    elementwise(name, getattr(F, name), "polynomial pieces")
for name in ("elu", "selu", "celu"):
    elementwise(name, getattr(F, name), "`expm1` of the negative part: digits stay near 0")
elementwise("threshold", lambda x: F.threshold(x, 0.1, 20.0), PIECES)
elementwise("prelu", lambda x: F.prelu(x, x[:1] * 0 + 0.25), PIECES)
elementwise("gelu", F.gelu, "`erf` of the backend, at most 2 ulp; `1 + erf` cancels in the tail")
elementwise("silu", F.silu, "the stable sigmoid")
elementwise("mish", F.mish, "quotients of `exp(-|x|)`, which cannot overflow")
elementwise("softplus", F.softplus, "`max(x, 0) + log1p(exp(-|x|))`")
elementwise("softsign", F.softsign, "`x / (1 + |x|)`")
elementwise("tanhshrink", F.tanhshrink, "`x - tanh(x)` cancels near 0")
elementwise("sigmoid", F.sigmoid, "quotients of `exp(-|x|)`, which cannot overflow")
elementwise("logsigmoid", F.logsigmoid, "`min(x, 0) - log1p(exp(-|x|))`")
elementwise("tanh", F.tanh, "the library's; `1 - y^2` on the way back")
elementwise("erf", F.erf, "rational pieces, at most 2 ulp; no SciPy")

# ---- softmax and its kin

LOGITS = {
    "of order 1": normal(6, 40),
    "up to 1e4": normal(6, 40, scale=3e3),
    "1e4 and differences of 1": normal(6, 40, shift=1e4),
    "saturated": lambda rng: (np.eye(6, 40) * 60 + rng.normal(size=(6, 40))).astype(np.float32),
}


def by_logits(name: str, call: Callable[..., Any], notes: str, *more: Any) -> None:
    entry(
        name,
        notes,
        *(
            case(
                f"logits {k}", call, maker, *more, saturated=name[:4] == "soft" and k == "up to 1e4"
            )
            for k, maker in LOGITS.items()
        ),
    )


SHIFT = "the maximum is subtracted first"
by_logits("softmax", lambda x: F.softmax(x, dim=-1), SHIFT)
by_logits("log_softmax", lambda x: F.log_softmax(x, dim=-1), SHIFT)
by_logits("softmin", lambda x: F.softmin(x, dim=-1), "softmax of `-x`")
by_logits("logsumexp", lambda x: F.logsumexp(x, dim=-1), SHIFT)
by_logits("glu", F.glu, "the stable sigmoid")
entry("gumbel_softmax", "softmax of logits plus noise, which each dtype draws for itself")
by_logits(
    "cross_entropy",
    lambda x, t: F.cross_entropy(x, t, label_smoothing=0.1),
    "from the logits less their maximum: a loss near 0 keeps its digits",
    np.arange(6),
)
by_logits(
    "binary_cross_entropy_with_logits",
    lambda x, t: F.binary_cross_entropy_with_logits(x, t),
    "`max(x, 0) - x t + log1p(exp(-|x|))`",
    uniform(0, 1, 6, 40),
)
by_logits("multi_margin_loss", lambda x, t: F.multi_margin_loss(x, t), PIECES, np.arange(6))
by_logits(
    "multilabel_margin_loss",
    lambda x, t: F.multilabel_margin_loss(x, t),
    PIECES,
    np.stack([np.r_[k, k + 5, -1, np.zeros(37, int)] for k in range(6)]),
)
by_logits(
    "multilabel_soft_margin_loss",
    lambda x, t: F.multilabel_soft_margin_loss(x, t),
    "log-sigmoids, which cannot overflow",
    uniform(0, 1, 6, 40),
)
by_logits(
    "soft_margin_loss",
    lambda x, t: F.soft_margin_loss(x, t),
    "`softplus(-t x)`, which cannot overflow",
    signs(6, 40),
)
by_logits("hinge_embedding_loss", lambda x, t: F.hinge_embedding_loss(x, t), PIECES, signs(6, 40))
by_logits(
    "nll_loss",
    lambda x, t: F.nll_loss(x, t, reduction="sum"),
    "picks entries and adds",
    np.arange(6),
)

# ---- losses of two arrays

RAMP = np.linspace(1, 2, 240, dtype="f4").reshape(6, 40)
PAIRS = {
    "of order 1": (normal(6, 40), normal(6, 40)),
    "up to 1e4": (normal(6, 40, scale=3e3), normal(6, 40, scale=3e3)),
    "nearly equal": (RAMP, RAMP * np.float32(1.0001)),
}


APART = {k: v for k, v in PAIRS.items() if k != "nearly equal"}
"""For angles, whose gradient between parallel vectors is 0 but for the rounding of the inputs."""


def by_pairs(
    name: str, call: Callable[..., Any], notes: str, *more: Any, pairs: Any = PAIRS
) -> None:
    entry(name, notes, *(case(k, call, *makers, *more) for k, makers in pairs.items()))


DIFFERENCE = "differences first, exact for near numbers; then a sum"
for name in ("mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss"):
    by_pairs(name, getattr(F, name), DIFFERENCE)
by_pairs("pairwise_distance", F.pairwise_distance, "root of a sum of squares; 0 has gradient 0")
by_pairs("cosine_similarity", F.cosine_similarity, "products of norms, not of squares", pairs=APART)
by_pairs(
    "cosine_embedding_loss",
    lambda a, b, t: F.cosine_embedding_loss(a, b, t, margin=0.1),
    "as torch: the squared lengths get 1e-12 added; `1 - cos` cancels for near vectors",
    np.asarray([1, -1, 1, 1, -1, 1]),
    pairs=APART,
)
by_pairs(
    "margin_ranking_loss",
    lambda a, b, t: F.margin_ranking_loss(a, b, t, margin=0.5),
    PIECES,
    signs(6, 40),
)
for name in ("triplet_margin_loss", "triplet_margin_with_distance_loss"):
    by_pairs(
        name,
        on(name, margin=1.0),
        "differences of distances",
        normal(6, 40),
    )
entry(
    "pdist",
    "differences, never products of the points: near points keep their digits",
    case("points of order 1", F.pdist, normal(9, 5)),
    case("a cloud at 1e3", F.pdist, normal(9, 5, shift=1e3)),
)
entry(
    "binary_cross_entropy",
    "logarithms limited to -100; `1 - x` cancels near 1",
    case("in [0.01, 0.99]", F.binary_cross_entropy, *[uniform(0.01, 0.99, 200)] * 2),
    case("near 0", F.binary_cross_entropy, uniform(1e-30, 1e-6, 200), uniform(0, 1, 200)),
    case("near 1", F.binary_cross_entropy, uniform(0.9999, 1, 200), uniform(0, 1, 200)),
)
entry(
    "kl_div",
    "`t log t` is 0 at 0",
    case("log-probabilities", F.kl_div, uniform(-9, 0, 6, 40), uniform(0, 1, 6, 40)),
    case("tiny targets", F.kl_div, uniform(-80, 0, 6, 40), uniform(0, 1e-30, 6, 40)),
)
entry(
    "poisson_nll_loss",
    "the exponential of the input: its relative error grows with its size",
    case("of order 1", F.poisson_nll_loss, normal(6, 40), uniform(0, 9, 6, 40)),
    case(
        "full, large",
        lambda x, t: F.poisson_nll_loss(x, t, full=True),
        uniform(-9, 9, 240),
        uniform(0, 1e3, 240),
    ),
)
entry(
    "gaussian_nll_loss",
    DIFFERENCE,
    case(
        "of order 1", F.gaussian_nll_loss, normal(6, 40), normal(6, 40), uniform(0.01, 4.0, 6, 40)
    ),
    case(
        "tiny variances",
        F.gaussian_nll_loss,
        normal(6, 40),
        normal(6, 40),
        uniform(1e-8, 1e-4, 6, 40),
    ),
)


def ctc(logits: Any, targets: Any) -> Any:
    return F.ctc_loss(F.log_softmax(logits, dim=-1), targets, (30, 25), (6, 4), reduction="sum")


entry(
    "ctc_loss",
    "all sums over paths in logarithms; with `log_softmax`, as it must be used",
    case("logits of order 1", ctc, normal(30, 2, 8), lambda rng: rng.integers(1, 8, (2, 6))),
    case("logits up to 50", ctc, normal(30, 2, 8, scale=20), lambda r: r.integers(1, 8, (2, 6))),
)

# ---- elementwise functions of the standard

STANDARD = {
    "exp": uniform(-80, 80, 200),
    "expm1": uniform(-1, 1, 200),
    "log": uniform(1e-6, 1e6, 200),
    "log1p": uniform(-0.9, 0.9, 200),
    "log2": uniform(1e-6, 1e6, 200),
    "log10": uniform(1e-6, 1e6, 200),
    "sqrt": uniform(1e-6, 1e6, 200),
    "square": normal(200),
    "reciprocal": uniform(0.1, 9, 200),
    "sin": uniform(-20, 20, 200),
    "cos": uniform(-20, 20, 200),
    "tan": uniform(-1.4, 1.4, 200),
    "asin": uniform(-0.99, 0.99, 200),
    "acos": uniform(-0.99, 0.99, 200),
    "atan": uniform(-9, 9, 200),
    "sinh": uniform(-9, 9, 200),
    "cosh": uniform(-9, 9, 200),
    "asinh": uniform(-99, 99, 200),
    "acosh": uniform(1.01, 99, 200),
    "atanh": uniform(-0.99, 0.99, 200),
    "abs": normal(200),
}
for name, maker in STANDARD.items():
    entry(
        f"xp.{name}",
        "the library's",
        case("", lambda x, name=name: getattr(bp.array_namespace(x), name)(x), maker),
    )
BINARY = {
    "multiply": (normal(200), normal(200)),
    "divide": (normal(200), uniform(0.1, 9, 200)),
    "pow": (uniform(0.1, 5, 200), uniform(-5, 5, 200)),
    "atan2": (normal(200), normal(200)),
    "hypot": (normal(200), normal(200)),
    "logaddexp": (uniform(-80, 80, 200), uniform(-80, 80, 200)),
    "matmul": (normal(8, 64), normal(64, 8)),
}
for name, makers in BINARY.items():
    entry(
        f"xp.{name}",
        "the library's",
        case("", lambda x, y, name=name: getattr(bp.array_namespace(x), name)(x, y), *makers),
    )
for name in ("sum", "mean", "std", "var", "prod", "max", "cumulative_sum"):
    maker = uniform(0.9, 1.1, 8, 64) if name == "prod" else normal(8, 64)
    entry(
        f"xp.{name}",
        "the library's",
        case("", lambda x, name=name: getattr(bp.array_namespace(x), name)(x, axis=1), maker),
    )
