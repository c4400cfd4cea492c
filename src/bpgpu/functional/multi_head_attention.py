"""Multi-head attention: several attentions side by side, each in a smaller space of its own."""

from __future__ import annotations

import math
from typing import Any

from bpgpu.autodiff.array import device_of
from bpgpu.autodiff.namespace import array_namespace
from bpgpu.errors import ArgumentError, DtypeError, ShapeError
from bpgpu.functional.arguments import Array, floating, same_dtype
from bpgpu.functional.attention import scaled_dot_product_attention
from bpgpu.functional.dropout import dropout
from bpgpu.functional.linear import linear
from bpgpu.functional.softmax import softmax

NAME = "multi_head_attention_forward"


def multi_head_attention_forward(
    query: Array,
    key: Array,
    value: Array,
    embed_dim_to_check: int,
    num_heads: int,
    in_proj_weight: Array | None,
    in_proj_bias: Array | None,
    bias_k: Array | None,
    bias_v: Array | None,
    add_zero_attn: bool,
    dropout_p: float,
    out_proj_weight: Array,
    out_proj_bias: Array | None,
    training: bool = True,
    key_padding_mask: Array | None = None,
    need_weights: bool = True,
    attn_mask: Array | None = None,
    use_separate_proj_weight: bool = False,
    q_proj_weight: Array | None = None,
    k_proj_weight: Array | None = None,
    v_proj_weight: Array | None = None,
    static_k: Array | None = None,
    static_v: Array | None = None,
    average_attn_weights: bool = True,
    is_causal: bool = False,
    *,
    dropout_key: Any = None,
) -> tuple[Array, Array | None]:
    """Attention in `num_heads` spaces at once: `concat(head_1, ..., head_H) W_o^T + b_o`, where
    `head_h = softmax(q_h k_h^T / sqrt(E / H) + mask) v_h` of the projected query, key and value.

    *Shape* query `(L, N, E)`, key and value `(S, N, E)`, or all without `N`. The result is like the
    query; the weights are `(N, L, S)`, or `(N, H, L, S)` unless averaged.

    *Parameters* `key_padding_mask` `(N, S)` and `attn_mask` `(L, S)` or `(N H, L, S)`: truth values,
    `True` where a query may *not* look, or numbers that are added to the scores.
    `bias_k`, `bias_v` `(1, 1, E)`: one more key and value. `add_zero_attn`: one more of zeros.
    `static_k`, `static_v` `(N H, S, E / H)`: stand in for projected keys and values.
    `is_causal`: says that `attn_mask` is the causal mask. `dropout_key`: of `bpgpu.random`.

    *Raises* `ShapeError` for shapes that do not belong together; `DtypeError` for a mask of
    integers; `ArgumentError` for settings that exclude each other.

    *Notes* As in torch, a query that may look nowhere gets 0 with `need_weights=False`, and NaN
    with `need_weights=True`.

    *References* A. Vaswani et al. (2017), "Attention is all you need", section 3.2.2.

    >>> import numpy as np
    >>> x, w = np.ones((3, 1, 4)), np.ones((12, 4))
    >>> y, p = multi_head_attention_forward(
    ...     x, x, x, 4, 2, w, None, None, None, False, 0.0, np.eye(4), None)
    >>> y.shape, p[0, 0].round(3).tolist()
    ((3, 1, 4), [0.333, 0.333, 0.333])
    """
    _check(query, key, value, embed_dim_to_check, num_heads, use_separate_proj_weight)
    batched = query.ndim == 3
    xp = array_namespace(query, key, value, in_proj_weight, q_proj_weight, out_proj_weight)
    rows, columns = query.shape[0], key.shape[0]
    n = query.shape[1] if batched else 1
    _check_masks(key_padding_mask, attn_mask, batched, n, num_heads, rows, columns)
    if is_causal and attn_mask is None:
        raise ArgumentError(
            f"{NAME}: is_causal=True says that attn_mask is causal, and there is none; give one, as "
            "of Transformer.generate_square_subsequent_mask"
        )
    if (bias_k is None) != (bias_v is None):
        raise ArgumentError(f"{NAME}: expected both of bias_k and bias_v, or neither")
    if bias_k is not None and (static_k is not None or static_v is not None):
        raise ArgumentError(f"{NAME}: bias_k and bias_v cannot be added to static_k or static_v")
    if not 0 <= dropout_p <= 1:
        raise ArgumentError(f"{NAME}: expected dropout_p in [0, 1], got {dropout_p}")
    size = embed_dim_to_check // num_heads
    _check_static("static_k", static_k, n, num_heads, size)
    _check_static("static_v", static_v, n, num_heads, size)

    separate = (q_proj_weight, k_proj_weight, v_proj_weight) if use_separate_proj_weight else None
    q, k, v = _projected(xp, query, key, value, in_proj_weight, in_proj_bias, separate)
    if not batched:
        q, k, v = (xp.expand_dims(x, axis=1) for x in (q, k, v))
    if bias_k is not None and bias_v is not None:
        k = xp.concat([k, xp.broadcast_to(bias_k, (1, n, k.shape[2]))], axis=0)
        v = xp.concat([v, xp.broadcast_to(bias_v, (1, n, v.shape[2]))], axis=0)
    q = _heads(xp, q, num_heads, size)  # (N, H, L, E / H)
    k = (
        _heads(xp, k, num_heads, size)
        if static_k is None
        else xp.reshape(static_k, (n, num_heads, -1, size))
    )
    v = (
        _heads(xp, v, num_heads, size)
        if static_v is None
        else xp.reshape(static_v, (n, num_heads, -1, size))
    )
    if add_zero_attn:
        zeros = xp.zeros((n, num_heads, 1, size), dtype=q.dtype, device=device_of(q))
        k, v = xp.concat([k, zeros], axis=2), xp.concat([v, zeros], axis=2)

    hint = is_causal and key_padding_mask is None and not need_weights
    bias = None
    if not hint:
        bias = _merged(xp, query, key_padding_mask, attn_mask, n, num_heads, k.shape[2])
    p = dropout_p if training else 0.0
    weights = None
    if need_weights:
        s = (q * (1 / math.sqrt(size))) @ xp.matrix_transpose(k)
        weights = softmax(s if bias is None else s + bias, -1)
        weights = dropout(weights, p, key=dropout_key) if p > 0 else weights
        y = weights @ v
    else:
        y = scaled_dot_product_attention(q, k, v, bias, p, hint, dropout_key=dropout_key)
    y = xp.reshape(xp.permute_dims(y, (2, 0, 1, 3)), (rows, n, num_heads * size))
    y = linear(y, out_proj_weight, out_proj_bias)
    if weights is not None and average_attn_weights:
        weights = xp.mean(weights, axis=1)
    if not batched:
        y = xp.squeeze(y, axis=1)
        weights = None if weights is None else xp.squeeze(weights, axis=0)
    return y, weights


def _heads(xp: Any, x: Array, heads: int, size: int) -> Array:
    """`(L, N, E) -> (N, H, L, E / H)`."""
    return xp.permute_dims(xp.reshape(x, (*x.shape[:2], heads, size)), (1, 2, 0, 3))


def _check_static(name: str, x: Array | None, n: int, heads: int, size: int) -> None:
    if x is not None and (x.ndim != 3 or x.shape[0] != n * heads or x.shape[2] != size):
        raise ShapeError(f"{NAME}: expected {name} ({n * heads}, S, {size}), got {tuple(x.shape)}")


def _projected(
    xp: Any, query: Array, key: Array, value: Array, w: Any, b: Any, separate: Any
) -> tuple[Array, Array, Array]:
    """The projections, in one product where the inputs are one."""
    e = query.shape[-1]
    if separate is None:
        if w is None:
            raise ArgumentError(f"{NAME}: expected in_proj_weight, got None")
        if w.shape != (3 * e, e):
            raise ShapeError(f"{NAME}: expected in_proj_weight {(3 * e, e)}, got {tuple(w.shape)}")
        if query is key and key is value:
            y = linear(query, w, b)
            return y[..., :e], y[..., e : 2 * e], y[..., 2 * e :]
        separate = (w[:e, :], w[e : 2 * e, :], w[2 * e :, :])
    if any(x is None for x in separate):
        raise ArgumentError(f"{NAME}: expected q_proj_weight, k_proj_weight and v_proj_weight")
    biases = (None,) * 3 if b is None else (b[:e], b[e : 2 * e], b[2 * e :])
    q, k, v = (
        linear(x, part, c) for x, part, c in zip((query, key, value), separate, biases, strict=True)
    )
    return q, k, v


def _merged(
    xp: Any, query: Array, padding: Any, mask: Any, n: int, heads: int, columns: int
) -> Any:
    """Both masks as numbers to add to the scores `(N, H, L, S)`; added keys are open to all."""
    bias = None
    if mask is not None:
        m = _numbers(xp, query, mask)
        m = xp.reshape(m, (n, heads, *m.shape[1:])) if m.ndim == 3 else m
        bias = _widened(xp, m, columns)
    if padding is not None:
        m = _numbers(xp, query, padding)
        m = _widened(xp, xp.reshape(m, (n, 1, 1, m.shape[-1])), columns)
        bias = m if bias is None else bias + m
    return bias


def _numbers(xp: Any, query: Array, mask: Any) -> Any:
    if not _is_bool(mask):
        return xp.astype(xp.asarray(mask), query.dtype, copy=False)
    zeros = xp.zeros(mask.shape, dtype=query.dtype, device=device_of(query))
    return xp.where(xp.asarray(mask), xp.full_like(zeros, -math.inf), zeros)


def _widened(xp: Any, m: Any, columns: int) -> Any:
    extra = columns - m.shape[-1]
    if extra <= 0:
        return m
    zeros = xp.zeros((*m.shape[:-1], extra), dtype=m.dtype, device=device_of(m))
    return xp.concat([m, zeros], axis=-1)


def _is_bool(mask: Any) -> bool:
    return str(mask.dtype).rpartition(".")[2].startswith("bool")


def _check(query: Array, key: Array, value: Array, e: int, heads: int, separate: bool) -> None:
    floating(NAME, query=query, key=key, value=value)
    same_dtype(NAME, key=key, value=value, query=query)
    shapes = tuple(query.shape), tuple(key.shape), tuple(value.shape)
    if query.ndim not in (2, 3) or key.ndim != query.ndim or value.ndim != query.ndim:
        raise ShapeError(
            f"{NAME}: expected query, key and value (L, N, E), or all (L, E), got {shapes[0]}, "
            f"{shapes[1]} and {shapes[2]}"
        )
    if query.shape[-1] != e:
        raise ShapeError(f"{NAME}: expected a query of embed_dim {e}, got shape {shapes[0]}")
    if heads < 1 or e % heads:
        raise ShapeError(f"{NAME}: embed_dim {e} must be divisible by num_heads, got {heads}")
    same = shapes[1][:-1] == shapes[2][:-1] if separate else shapes[1] == shapes[2]
    if not same:
        raise ShapeError(f"{NAME}: key {shapes[1]} and value {shapes[2]} must agree")
    if query.ndim == 3 and query.shape[1] != key.shape[1]:
        raise ShapeError(
            f"{NAME}: query {shapes[0]} and key {shapes[1]} must agree in the batch, axis 1; with "
            "the batch first, set batch_first=True of the layer"
        )


def _check_masks(
    padding: Any, mask: Any, batched: bool, n: int, heads: int, rows: int, columns: int
) -> None:
    for name, m in (("key_padding_mask", padding), ("attn_mask", mask)):
        kind = "" if m is None else str(m.dtype).rpartition(".")[2]
        if not kind.startswith(("float", "bfloat", "bool")) and m is not None:
            raise DtypeError(
                f"{NAME}: expected {name} of truth values or floating numbers, got dtype {m.dtype}"
            )
    expected = (n, columns) if batched else (columns,)
    if padding is not None and tuple(padding.shape) != expected:
        raise ShapeError(
            f"{NAME}: expected key_padding_mask {expected}, got {tuple(padding.shape)}"
        )
    flat, full = (rows, columns), (n * heads, rows, columns)
    if mask is not None and tuple(mask.shape) not in (flat, full):
        raise ShapeError(f"{NAME}: expected attn_mask {flat} or {full}, got {tuple(mask.shape)}")
