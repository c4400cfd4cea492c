"""Cases of tests/numerics.py: normalisations, linear maps, recurrence, pooling and resampling."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import bpgpu as bp
from bpgpu import functional as F  # noqa: N812 - as in torch
from numerics import case, entry, labels, normal, on, uniform

# ---- normalisations

MAPS = {
    "of order 1": normal(4, 6, 5, 5),
    "mean 100, deviation 1": normal(4, 6, 5, 5, shift=100),
    "deviation 3e-3, as small as eps": normal(4, 6, 5, 5, scale=3e-3),
    "deviation 1e6": normal(4, 6, 5, 5, scale=1e6),
}
CENTRED = "two passes: the variance is that of differences from the mean"
SIX = (uniform(0.5, 1.5, 6), normal(6))


def by_maps(name: str, call: Callable[..., Any], notes: str, *more: Any) -> None:
    entry(name, notes, *(case(k, call, maker, *more) for k, maker in MAPS.items()))


for end in ("", "_with_statistics"):
    by_maps(
        f"batch_norm{end}",
        lambda x, w, b, end=end: on(f"batch_norm{end}", training=True)(x, None, None, w, b),
        CENTRED,
        *SIX,
    )
    by_maps(
        f"instance_norm{end}",
        lambda x, w, b, end=end: on(f"instance_norm{end}")(x, None, None, w, b),
        CENTRED,
        *SIX,
    )
by_maps("group_norm", lambda x, w, b: F.group_norm(x, 3, w, b), CENTRED, *SIX)
by_maps(
    "layer_norm",
    lambda x, w, b: F.layer_norm(x, (5, 5), w, b),
    CENTRED,
    *(uniform(0.5, 1.5, 5, 5), normal(5, 5)),
)
by_maps(
    "rms_norm", lambda x, w: F.rms_norm(x, (5,), w, 1e-6), "a mean of squares", uniform(0.5, 2, 5)
)
by_maps("local_response_norm", on("local_response_norm", 3), "a mean of squares, a power")
by_maps("normalize", F.normalize, "the library's vector norm")

# ---- linear maps

SUM = "sums of products, in the library's order"
entry(
    "linear",
    SUM,
    case("256 terms", F.linear, normal(8, 256), normal(16, 256), normal(16)),
    case("256 terms of one sign", F.linear, uniform(0, 1, 8, 256), uniform(0, 1, 16, 256)),
)
entry("bilinear", SUM, case("of order 1", F.bilinear, normal(8, 9), normal(8, 7), normal(5, 9, 7)))
entry(
    "embedding",
    "picks rows; on the way back each row is the sum of its gradients",
    case("300 of 7 rows", F.embedding, labels(7, 300), normal(7, 5)),
)
entry("one_hot", "exact", case("integers", on("one_hot", 9), labels(9, 40)))
for n in (1, 2, 3):
    size, kernel = (9, 7, 5)[:n], (3, 3, 3)[:n]
    entry(
        f"conv{n}d",
        SUM,
        case(
            "stride 2, padding, groups",
            on(f"conv{n}d", 2, 1, 1, 2),
            *(normal(2, 8, *size), normal(6, 4, *kernel), normal(6)),
        ),
        case("stride 1", on(f"conv{n}d"), normal(2, 16, *size), normal(4, 16, *kernel)),
    )
    entry(
        f"conv_transpose{n}d",
        SUM,
        case(
            "stride 2",
            on(f"conv_transpose{n}d", 2, 1),
            *(normal(2, 8, *size), normal(8, 3, *kernel), normal(3)),
        ),
    )
entry("unfold", "moves entries", case("3 x 3", on("unfold", 3, padding=1), normal(2, 3, 6, 6)))
entry("fold", "adds what overlaps", case("3 x 3", on("fold", 6, 3), normal(2, 27, 16)))

# ---- attention and recurrence

HEADS = (normal(2, 2, 12, 8), normal(2, 2, 12, 8), normal(2, 2, 12, 8))
LARGE = (normal(2, 2, 12, 8, scale=20), normal(2, 2, 12, 8, scale=20), normal(2, 2, 12, 8))
ATTENTION = "scaled_dot_product_attention"
entry(
    ATTENTION,
    "softmax with the maximum subtracted",
    case("causal", on(ATTENTION, is_causal=True), *HEADS),
    case("scores up to 1e3", on(ATTENTION), *LARGE, saturated=True),
)
LARGER = (normal(12, 2, 8, scale=20), normal(12, 2, 8, scale=20), normal(12, 2, 8))
HEADED = "multi_head_attention_forward"
PROJECTED = (*(normal(12, 2, 8) for _ in range(3)), normal(24, 8, scale=0.4), normal(8, 8))


def heads(q: Any, k: Any, v: Any, w: Any, out: Any) -> Any:
    return on(HEADED)(q, k, v, 8, 2, w, None, None, None, False, 0.0, out, None)


entry(
    HEADED,
    "softmax with the maximum subtracted",
    case("12 keys", heads, *PROJECTED),
    case("scores up to 1e3", heads, *LARGER, *PROJECTED[3:], saturated=True),
)


def recurrent(name: str, gates: int) -> None:
    def run(x: Any, h: Any, *weights: Any) -> Any:
        return on(name)(x, (h, h * 0.5) if name == "lstm" else h, *weights)

    def weights(scale: float) -> list[Any]:
        rows = gates * 6
        return [normal(*s, scale=scale) for s in ((rows, 5), (rows, 6), (rows,), (rows,))]

    entry(
        name,
        "stable sigmoids; errors of one step go on to the next",
        case("40 steps", run, normal(40, 3, 5), normal(3, 6), *weights(0.3)),
        case("saturated gates", run, normal(40, 3, 5, scale=5), normal(3, 6), *weights(0.6)),
    )


for name, gates in {"rnn": 1, "gru": 3, "lstm": 4}.items():
    recurrent(name, gates)

# ---- dropout

MASK = "the same mask in every dtype"
for name, shape in {
    "dropout": (2, 5, 4),
    "dropout1d": (2, 5, 4),
    "dropout2d": (2, 5, 4, 4),
    "dropout3d": (2, 5, 4, 4, 4),
    "alpha_dropout": (2, 5, 4),
    "feature_alpha_dropout": (2, 5, 4),
}.items():
    call = on(name, 0.3, True, key=bp.random.key(1))
    entry(name, f"{MASK}; one product", case("p = 0.3", call, normal(*shape)))

# ---- pooling, padding and resampling


def unpooled(n: int) -> Callable[[Any], Any]:
    def unpool(x: Any) -> Any:
        y, indices = on(f"max_pool{n}d", 2, return_indices=True)(x)
        return on(f"max_unpool{n}d", 2)(y, bp.stop_gradient(indices))

    return unpool


POWERS = "powers are not scaled: they overflow where `x^p` does"
for n in (1, 2, 3):
    size = (2, 3, *(8, 8, 8)[:n])
    x, positive = normal(*size), uniform(0.01, 9, *size)
    entry(f"max_pool{n}d", "picks entries", case("overlapping", on(f"max_pool{n}d", 3, 2, 1), x))
    entry(f"avg_pool{n}d", "means of windows", case("overlapping", on(f"avg_pool{n}d", 3, 2, 1), x))
    for kind, how in {"avg": "means of windows", "max": "picks entries"}.items():
        name = f"adaptive_{kind}_pool{n}d"
        entry(name, how, case("8 to 3", on(name, 3), x))
    entry(
        f"lp_pool{n}d",
        POWERS,
        case("p = 2", on(f"lp_pool{n}d", 2, 2), x),
        case("p = 3.5", on(f"lp_pool{n}d", 3.5, 2), positive),
    )
    entry(f"max_unpool{n}d", "puts entries", case("after max_pool", unpooled(n), x))

IMAGE = normal(2, 4, 6, 6)
entry(
    "pad",
    "moves entries; the gradient adds where they came from",
    *(
        case(mode, on("pad", (2, 1, 1, 2), mode), IMAGE)
        for mode in ("constant", "reflect", "replicate", "circular")
    ),
)
entry(
    "interpolate",
    "weights are computed in the dtype of the image",
    *(
        case(mode, on("interpolate", size=(11, 9), mode=mode), IMAGE)
        for mode in ("nearest", "bilinear", "bicubic", "area")
    ),
)
entry(
    "grid_sample",
    "weights are differences of coordinates, which lose the digits of their whole part",
    *(
        case(
            mode,
            on("grid_sample", mode, align_corners=False),
            IMAGE,
            uniform(-0.9, 0.9, 2, 5, 5, 2),
        )
        for mode in ("bilinear", "bicubic")
    ),
)
entry(
    "affine_grid",
    SUM,
    case("of order 1", on("affine_grid", (2, 3, 7, 9), align_corners=False), normal(2, 2, 3)),
)
for name in ("pixel_shuffle", "pixel_unshuffle", "channel_shuffle"):
    entry(name, "moves entries", case("by 2", on(name, 2), IMAGE))
