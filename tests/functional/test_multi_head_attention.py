"""Multi-head attention as a function against torch's: value, gradient, second order, over all its options."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

import bpgpu as bp
from bpgpu.errors import ArgumentError, DtypeError, ShapeError
from bpgpu.functional import multi_head_attention_forward
from gradients import numpy_of
from torch_compare import compare, given

pytestmark = pytest.mark.filterwarnings("ignore:Support for mismatched")
THEIRS = torch.nn.functional.multi_head_attention_forward
E, H, L, S, N = 4, 2, 3, 5, 2
PARTS = ("q_proj_weight", "k_proj_weight", "v_proj_weight")
R = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def with_second_order() -> Iterator[None]:
    """Torch's fused attention has no second order."""
    with sdpa_kernel(SDPBackend.MATH):
        yield


def draw(*shape: int) -> np.ndarray:
    return R.normal(size=shape)


def hidden(*shape: int) -> np.ndarray:
    """A mask of truth values that leaves the first key to every query."""
    mask = R.uniform(size=shape) > 0.5
    mask[..., 0] = False
    return mask


MASKS = {
    "none": {},
    "bool": {"attn_mask": hidden(L, S)},
    "bool for each head": {"attn_mask": hidden(N * H, L, S)},
    "float": {"attn_mask": draw(L, S)},
    "float for each head": {"attn_mask": draw(N * H, L, S)},
    "padding": {"key_padding_mask": hidden(N, S)},
    "float padding": {"key_padding_mask": draw(N, S)},
    "both": {"attn_mask": hidden(L, S), "key_padding_mask": hidden(N, S)},
    "mixed": {"attn_mask": draw(N * H, L, S), "key_padding_mask": hidden(N, S)},
    "mixed the other way": {"attn_mask": hidden(L, S), "key_padding_mask": draw(N, S)},
}


def caller(function: Any, **options: Any) -> Any:
    """The function of the arrays alone: inputs, projections, biases."""

    def call(q: Any, k: Any, v: Any, w: Any, b: Any, o: Any, c: Any, *extra: Any, **more: Any):
        settings = {**options, **more}
        packed = not isinstance(w, tuple)
        parts = {} if packed else dict(zip(PARTS, w, strict=True))
        bias_k, bias_v = extra or (None, None)
        zero, p = settings.pop("add_zero_attn", False), settings.pop("dropout_p", 0.0)
        y, weights = function(
            *(q, k, v, E, H, w if packed else None, b, bias_k, bias_v, zero, p, o, c),
            use_separate_proj_weight=not packed,
            **parts,
            **settings,
        )
        return y if weights is None else (y, weights)

    return call


def separate(function: Any, **options: Any) -> Any:
    """The same with three projections in place of one."""
    inner = caller(function, **options)

    def call(q: Any, k: Any, v: Any, wq: Any, wk: Any, wv: Any, *rest: Any, **more: Any) -> Any:
        return inner(q, k, v, (wq, wk, wv), *rest, **more)

    return call


def arrays(batch: tuple[int, ...] = (N,), rows: int = L, columns: int = S) -> list[np.ndarray]:
    return [
        *(draw(rows, *batch, E), draw(columns, *batch, E), draw(columns, *batch, E)),
        *(draw(3 * E, E), draw(3 * E), draw(E, E), draw(E)),
    ]


EXTRA = [draw(1, 1, E), draw(1, 1, E)]


def check(xp: Any, *inputs: Any, make: Any = caller, masks: Any = None, **options: Any) -> None:
    ours, theirs = make(multi_head_attention_forward, **options), make(THEIRS, **options)
    compare(xp, ours, theirs, *inputs, **(masks or {}))


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("extra", [False, True])
@pytest.mark.parametrize("zero", [False, True])
@pytest.mark.parametrize("need_weights", [False, True])
def test_options_equal_torch(
    xp: Any, mask: str, extra: bool, zero: bool, need_weights: bool
) -> None:
    inputs = [*arrays(), *(EXTRA if extra else [])]
    for average in (False, True) if need_weights else (True,):
        options = {"need_weights": need_weights, "average_attn_weights": average}
        check(xp, *inputs, masks=MASKS[mask], add_zero_attn=zero, **options)


@pytest.mark.parametrize("mask", ["none", "both"])
@pytest.mark.parametrize("need_weights", [False, True])
def test_keys_and_values_of_other_sizes(xp: Any, mask: str, need_weights: bool) -> None:
    q, k, v, _, *rest = arrays()
    k, v = draw(S, N, 3), draw(S, N, 6)
    inputs = (q, k, v, draw(E, E), draw(E, 3), draw(E, 6), *rest)
    for extra, zero in itertools.product(([], EXTRA), (False, True)):
        check(
            xp,
            *inputs,
            *extra,
            make=separate,
            masks=MASKS[mask],
            add_zero_attn=zero,
            need_weights=need_weights,
        )


@pytest.mark.parametrize("need_weights", [False, True])
def test_without_a_batch(xp: Any, need_weights: bool) -> None:
    for masks in (
        {},
        {"attn_mask": hidden(L, S), "key_padding_mask": hidden(S)},
        {"attn_mask": draw(H, L, S), "key_padding_mask": draw(S)},
    ):
        for average in (False, True):
            options = {"need_weights": need_weights, "average_attn_weights": average}
            check(xp, *arrays(()), *EXTRA, masks=masks, **options)


def test_without_biases(xp: Any) -> None:
    q, k, v, w, _, o, _ = arrays()
    check(xp, q, k, v, w, None, o, None)
    check(xp, q, k, v, draw(E, E), draw(E, E), draw(E, E), None, o, None, make=separate)


def test_an_output_of_another_size(xp: Any) -> None:
    q, k, v, w, b, _, _ = arrays()
    check(xp, q, k, v, w, b, draw(7, E), draw(7))


@pytest.mark.parametrize("need_weights", [False, True])
def test_attention_to_itself(xp: Any, need_weights: bool) -> None:
    """One product projects query, key and value; keys that are values are torch's second case."""

    def itself(function: Any) -> Any:
        return lambda x, *rest: caller(function, need_weights=need_weights)(x, x, x, *rest)

    def encoded(function: Any) -> Any:
        return lambda q, m, *rest: caller(function, need_weights=need_weights)(q, m, m, *rest)

    q, k, _, *rest = arrays()
    compare(xp, itself(multi_head_attention_forward), itself(THEIRS), q, *rest)
    compare(xp, encoded(multi_head_attention_forward), encoded(THEIRS), q, k, *rest)


@pytest.mark.parametrize("place", range(3, 9))
def test_a_single_weight_gets_its_gradient(xp: Any, place: int) -> None:
    inputs = [*arrays(), *EXTRA]
    for need_weights in (False, True):
        fixed = [i for i in range(len(inputs)) if i != place]
        options = {"need_weights": need_weights}
        ours, theirs = caller(multi_head_attention_forward, **options), caller(THEIRS, **options)
        compare(xp, ours, theirs, *inputs, fixed=fixed)


@pytest.mark.parametrize("need_weights", [False, True])
def test_masks_of_numbers_get_gradients(xp: Any, need_weights: bool) -> None:
    def learned(function: Any) -> Any:
        def call(mask: Any, padding: Any, *rest: Any) -> Any:
            f = caller(function, need_weights=need_weights, add_zero_attn=True)
            return f(*rest, attn_mask=mask, key_padding_mask=padding)

        return call

    ours, theirs = learned(multi_head_attention_forward), learned(THEIRS)
    fixed = range(2, 9)
    for mask in (draw(L, S), draw(N * H, L, S)):
        compare(xp, ours, theirs, mask, draw(N, S), *arrays(), fixed=fixed)


# ---- keys that stand in


@pytest.mark.parametrize("need_weights", [False, True])
@pytest.mark.parametrize("zero", [False, True])
def test_static_keys_and_values(xp: Any, need_weights: bool, zero: bool) -> None:
    def static(function: Any) -> Any:
        f = caller(function, need_weights=need_weights, add_zero_attn=zero)
        return lambda k, v, *rest, **more: f(*rest, static_k=k, static_v=v, **more)

    ours, theirs = static(multi_head_attention_forward), static(THEIRS)
    k, v = draw(N * H, 6, E // H), draw(N * H, 6, E // H)
    compare(xp, ours, theirs, k, v, *arrays())
    padding = {"key_padding_mask": hidden(N, 6)}  # as long as the static keys
    compare(xp, ours, theirs, k, v, *arrays(), **padding)
    compare(xp, ours, theirs, k[:, :S, :], None, *arrays(), attn_mask=hidden(L, S))
    compare(xp, ours, theirs, None, v[:, :S, :], *arrays(), **MASKS["both"])


def test_a_mask_is_as_long_as_the_static_keys() -> None:
    static = {"static_k": draw(N * H, 6, E // H), "static_v": draw(N * H, 6, E // H)}
    f = caller(multi_head_attention_forward, need_weights=False, **static)
    y = f(*arrays(), attn_mask=np.eye(L, 6, dtype=bool))
    assert y.shape == (L, N, E)
    with pytest.raises(ShapeError, match=r"expected attn_mask \(3, 6\) or \(4, 3, 6\), got \(3, 5"):
        f(*arrays(), attn_mask=np.zeros((L, S), bool))
    with pytest.raises(ShapeError, match=r"key_padding_mask \(2, 6\), got \(2, 5\)"):
        f(*arrays(), key_padding_mask=np.zeros((N, S), bool))


# ---- causal masks


def causal(rows: int, columns: int) -> np.ndarray:
    return np.triu(np.ones((rows, columns), bool), 1)


@pytest.mark.parametrize("need_weights", [False, True])
@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("extra", [False, True])
@pytest.mark.parametrize("zero", [False, True])
def test_a_causal_mask_equals_torchs(
    xp: Any, need_weights: bool, padded: bool, extra: bool, zero: bool
) -> None:
    masks: dict[str, Any] = {"attn_mask": causal(L, L)}
    if padded:
        masks["key_padding_mask"] = np.asarray([[False] * 3, [False, False, True]])
    inputs = [*arrays(columns=L), *(EXTRA if extra else [])]
    options = {"need_weights": need_weights, "is_causal": True, "add_zero_attn": zero}
    check(xp, *inputs, masks=masks, **options)


def test_a_causal_mask_that_is_not_square(xp: Any) -> None:
    masks = {"attn_mask": causal(L, S)}
    check(xp, *arrays(), masks=masks, need_weights=False, is_causal=True)


# ---- queries that may look nowhere


@pytest.mark.parametrize("need_weights", [False, True])
@pytest.mark.parametrize("numbers", [False, True])
@pytest.mark.parametrize("where", ["row", "padding", "one head"])
def test_queries_that_may_look_nowhere(
    xp: Any, need_weights: bool, numbers: bool, where: str
) -> None:
    """NaN or the bias of the projection, and gradients, stand where torch has them."""
    shape = {"row": (L, S), "padding": (N, S), "one head": (N * H, L, S)}[where]
    mask = np.zeros(shape, bool)
    mask[1] = True
    mask = np.where(mask, -np.inf, 0.0) if numbers else mask
    masks = {"key_padding_mask" if where == "padding" else "attn_mask": mask}
    inputs = arrays()
    cotangent = draw(L, N, E)

    def loss(function: Any, xp: Any) -> Any:
        f = caller(function, need_weights=need_weights)

        def call(*xs: Any) -> Any:
            y = f(*xs, **{k: given(xp, m) for k, m in masks.items()})
            y = y[0] if need_weights else y
            return (y * given(xp, cotangent)).sum() if xp is torch else total(y, cotangent), y

        def total(y: Any, w: np.ndarray) -> Any:
            return bp.array_namespace(y).sum(y * given(xp, w))

        return call

    places = tuple(range(len(inputs)))
    with np.errstate(invalid="ignore"):
        (_, y), grads = bp.value_and_grad(
            loss(multi_head_attention_forward, xp), places, has_aux=True
        )(*(given(xp, x) for x in inputs))
    leaves = [given(torch, x).requires_grad_() for x in inputs]
    value, reference = loss(THEIRS, torch)(*leaves)
    expected = torch.autograd.grad(value, leaves)
    for mine, theirs in zip([y, *grads], [reference, *expected], strict=True):
        np.testing.assert_allclose(numpy_of(mine), numpy_of(theirs), rtol=1e-8, atol=1e-9)
    if not need_weights and where == "row":
        assert np.array_equal(numpy_of(y)[1], np.broadcast_to(inputs[-1], (N, E)))
    if need_weights:
        assert np.isnan(numpy_of(y)).any()
        assert not np.isnan(numpy_of(y)).all()


# ---- sizes and memory


@pytest.mark.parametrize("need_weights", [False, True])
@pytest.mark.parametrize(
    ("batch", "rows", "columns"),
    [((N,), 0, S), ((N,), L, 0), ((0,), L, S), ((), 0, 0), ((1,), 1, 1), ((), 1, 1)],
)
def test_empty_and_single_inputs(
    xp: Any, need_weights: bool, batch: tuple[int, ...], rows: int, columns: int
) -> None:
    inputs = arrays(batch, rows, columns)
    check(xp, *inputs, need_weights=need_weights)
    check(xp, *inputs, *EXTRA, add_zero_attn=True, need_weights=need_weights)
    refused = 0 in batch and not need_weights  # by torch, with a mask
    if rows and columns and not refused:
        masks = {"attn_mask": draw(rows, columns), "key_padding_mask": draw(*batch, columns)}
        check(xp, *inputs, masks=masks, need_weights=need_weights)


def test_static_keys_of_an_empty_batch(xp: Any) -> None:
    static = {k: given(xp, np.zeros((0, 6, E // H))) for k in ("static_k", "static_v")}
    f = caller(multi_head_attention_forward, **static)
    y, weights = f(*(given(xp, x) for x in arrays((0,))))
    assert (y.shape, weights.shape) == ((L, 0, E), (0, L, 6))


def test_inputs_that_are_not_contiguous(xp: Any) -> None:
    q, k, v, w, b, o, c = arrays()
    turned = (np.asfortranarray(q), k[::-1].transpose(1, 0, 2).copy().transpose(1, 0, 2), v)
    check(xp, *turned, w.T.copy().T, b[::-1], o.T, c, masks={"attn_mask": draw(S, L).T})


def test_float32_is_kept(xp: Any) -> None:
    inputs = [given(xp, x.astype(np.float32)) for x in (*arrays(), *EXTRA)]
    for need_weights in (False, True):
        for name in ("none", "both", "mixed"):
            masks = {k: given(xp, m) for k, m in MASKS[name].items()}
            if not need_weights and name == "mixed":
                masks["attn_mask"] = xp.astype(masks["attn_mask"], xp.float32)
            f = caller(multi_head_attention_forward, need_weights=need_weights, add_zero_attn=True)
            for y in f(*inputs, **masks) if need_weights else [f(*inputs, **masks)]:
                assert y.dtype == xp.float32


# ---- dropout


def test_dropped_weights_are_the_same_everywhere(xp: Any) -> None:
    import array_api_compat.numpy as plain

    inputs, key = arrays(), bp.random.key(3)

    def run(xp: Any, need_weights: bool) -> np.ndarray:
        f = caller(multi_head_attention_forward, dropout_p=0.4, need_weights=need_weights)
        y = f(*(given(xp, x) for x in inputs), dropout_key=given(xp, key))
        return numpy_of(y[0] if need_weights else y)

    first = run(plain, True)
    for need_weights in (True, False):
        np.testing.assert_allclose(run(xp, need_weights), first, rtol=0, atol=1e-12)
    at_rest = caller(multi_head_attention_forward, training=False, dropout_p=0.4)
    assert not np.allclose(first, at_rest(*inputs)[0])


def test_dropout_of_everything_leaves_the_bias(xp: Any) -> None:
    inputs = [given(xp, x) for x in arrays()]
    for need_weights in (True, False):
        f = caller(multi_head_attention_forward, dropout_p=1.0, need_weights=need_weights)
        y = f(*inputs)
        y = numpy_of(y[0] if need_weights else y)
        assert np.array_equal(y, np.broadcast_to(numpy_of(inputs[-1]), y.shape))


def test_dropout_keeps_the_mean_of_the_weights() -> None:
    """Torch returns the weights after dropout, scaled so that their mean stays."""
    f = caller(multi_head_attention_forward, dropout_p=0.5, average_attn_weights=False)
    q, *rest = arrays((30,), 20, 20)
    _, weights = f(0 * q, *rest[:3], None, *rest[4:], dropout_key=bp.random.key(0))
    assert abs((weights == 0).mean() - 0.5) < 0.01
    assert abs(weights.sum(axis=-1).mean() - 1) < 0.02


# ---- inside a compiled function


@pytest.mark.parametrize("mask", ["none", "both", "mixed"])
@pytest.mark.parametrize("need_weights", [False, True])
def test_gradients_inside_jax_jit(mask: str, need_weights: bool) -> None:
    jax = pytest.importorskip("jax")
    f = caller(
        multi_head_attention_forward,
        need_weights=need_weights,
        dropout_p=0.3,
        add_zero_attn=True,
        dropout_key=None,
    )
    inputs = [*arrays(), *EXTRA]

    def gradients(key: Any, masks: Any, *xs: Any) -> Any:
        def loss(*xs: Any) -> Any:
            y = f(*xs, dropout_key=key, **masks)
            y = y[0] if need_weights else y
            return bp.array_namespace(y).sum(y * y)

        return bp.grad(loss, tuple(range(len(xs))))(*xs)

    key = bp.random.key(0)
    plain = gradients(key, MASKS[mask], *inputs)
    j = jax.numpy.asarray
    masks = {k: j(m) for k, m in MASKS[mask].items()}
    compiled = jax.jit(gradients)(j(key), masks, *map(j, inputs))
    for a, b in zip(plain, compiled, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-10)


# ---- bad input


W = "multi_head_attention_forward: "
BAD: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"num_heads": 3}, ArgumentError, "embed_dim must be divisible by num_heads, got 4 and 3"),
    ({"num_heads": 0}, ShapeError, "expected num_heads of at least 1, got 0"),
    (
        {"embed_dim_to_check": 6},
        ShapeError,
        r"expected a query of embed_dim 6, got shape (3, 2, 4)",
    ),
    ({"query": draw(L, 1, E)}, ShapeError, "must agree in the batch, axis 1"),
    ({"query": draw(L, E)}, ShapeError, "expected query, key and value (L, N, E), or all (L, E)"),
    ({"key": draw(4, N, E)}, ShapeError, "key (4, 2, 4) and value (5, 2, 4) must agree"),
    ({"key": draw(S, N, 3)}, ShapeError, "expected key (..., 4), got (5, 2, 3); for keys"),
    ({"query": np.ones((L, N, E), int)}, DtypeError, "expected a floating array as query"),
    ({"key": draw(S, N, E).astype("f4")}, DtypeError, "expected key of dtype float64"),
    ({"in_proj_weight": None}, ArgumentError, "expected in_proj_weight, got None"),
    ({"in_proj_weight": draw(E, 12)}, ShapeError, "expected in_proj_weight (12, 4), got (4, 12)"),
    (
        {"in_proj_weight": draw(12, E).astype("f4")},
        DtypeError,
        "expected in_proj_weight of dtype float64, which query has, got float32",
    ),
    ({"in_proj_bias": draw(4)}, ShapeError, "expected in_proj_bias (12,), got (4,)"),
    ({"out_proj_weight": draw(4, 5)}, ShapeError, "expected out_proj_weight (any, 4), got (4, 5)"),
    ({"out_proj_bias": draw(1, 4)}, ShapeError, "expected out_proj_bias (4,), got (1, 4)"),
    ({"out_proj_bias": draw(5)}, ShapeError, "expected out_proj_bias (4,), got (5,)"),
    ({"bias_k": draw(1, 1, E)}, ArgumentError, "expected both of bias_k and bias_v, or neither"),
    (
        {"bias_k": draw(E), "bias_v": draw(1, 1, E)},
        ShapeError,
        "expected bias_k (1, 1, 4), got (4,)",
    ),
    (
        {"bias_k": draw(1, 1, E), "bias_v": draw(1, 1, E), "static_k": draw(4, 5, 2)},
        ArgumentError,
        "cannot be added to static_k or static_v",
    ),
    ({"static_k": draw(4, 5, 3)}, ShapeError, "expected static_k (4, any, 2), got (4, 5, 3)"),
    ({"static_v": draw(4, 6, 2)}, ShapeError, "as many values as keys, got 5 keys and 6 values"),
    ({"dropout_p": 1.5}, ArgumentError, "expected dropout_p in [0, 1], got 1.5"),
    ({"is_causal": True}, ArgumentError, "says that attn_mask is causal, and there is none"),
    ({"attn_mask": np.ones((L, S), int)}, DtypeError, "attn_mask of truth values or floating"),
    ({"attn_mask": [[True]]}, DtypeError, "expected an array as attn_mask, got list"),
    ({"attn_mask": hidden(S, L)}, ShapeError, "expected attn_mask (3, 5) or (4, 3, 5), got (5, 3)"),
    ({"attn_mask": hidden(N, L, S)}, ShapeError, "or (4, 3, 5), got (2, 3, 5)"),
    (
        {"key_padding_mask": hidden(S, N)},
        ShapeError,
        "expected key_padding_mask (2, 5), got (5, 2)",
    ),
    ({"key_padding_mask": np.ones((N, S), "u1")}, DtypeError, "key_padding_mask of truth values"),
    (
        {"use_separate_proj_weight": True, "q_proj_weight": draw(E, E)},
        ArgumentError,
        "expected k_proj_weight beside use_separate_proj_weight, got None",
    ),
    (
        {"use_separate_proj_weight": True, "q_proj_weight": draw(E, 3)},
        ShapeError,
        "expected q_proj_weight (4, 4), got (4, 3)",
    ),
    (
        {
            "use_separate_proj_weight": True,
            "q_proj_weight": draw(E, E),
            "k_proj_weight": draw(E, 3),
        },
        ShapeError,
        "expected key (..., 3), got (5, 2, 4): k_proj_weight has shape (4, 3)",
    ),
]


@pytest.mark.parametrize(("change", "error", "text"), BAD, ids=[t for _, _, t in BAD])
def test_bad_input_is_told_before_any_work(
    change: dict[str, Any], error: type[Exception], text: str
) -> None:
    q, k, v, w, b, o, c = arrays()
    settings: dict[str, Any] = {
        "query": q,
        "key": k,
        "value": v,
        "embed_dim_to_check": E,
        "num_heads": H,
        "in_proj_weight": w,
        "in_proj_bias": b,
        "bias_k": None,
        "bias_v": None,
        "add_zero_attn": False,
        "dropout_p": 0.0,
        "out_proj_weight": o,
        "out_proj_bias": c,
    }
    with pytest.raises(error) as caught:
        multi_head_attention_forward(**{**settings, **change})
    assert str(caught.value).startswith(W)
    assert text in str(caught.value)
