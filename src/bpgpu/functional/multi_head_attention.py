"""Multi-head attention: several attentions side by side, each in a smaller space of its own."""

from __future__ import annotations

import math
from typing import Any

from bpgpu.autodiff.array import device_of
from bpgpu.autodiff.namespace import array_namespace
from bpgpu.errors import ArgumentError
from bpgpu.functional.arguments import Array
from bpgpu.functional.attention import scaled_dot_product_attention
from bpgpu.functional.dropout import dropout
from bpgpu.functional.linear import linear
from bpgpu.functional.multi_head_arguments import (
    NAME,
    check_extra_keys,
    check_inputs,
    check_masks,
    check_projections,
    check_weights,
    count_keys,
    head_size,
)
from bpgpu.functional.softmax import softmax
from bpgpu.kernels import multiplication


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
    `static_k`, `static_v` `(N H, S, E / H)`: stand in for projected keys and values, and masks are as
    long as they.
    `is_causal`: says that `attn_mask` is the causal mask. `dropout_key`: of `bpgpu.random`.

    *Raises* `ShapeError` for shapes that do not belong together; `DtypeError` for a mask of
    integers; `ArgumentError` for settings that exclude each other.

    *Notes* As in torch, a query that may look nowhere gets `b_o` (0 before the last product) and
    gradients of 0 with `need_weights=False`, and NaN in all that it reaches with `need_weights=True`.
    The weights that are returned are those after dropout.

    *References* A. Vaswani et al. (2017), "Attention is all you need", section 3.2.2.

    >>> import numpy as np
    >>> x, w = np.ones((3, 1, 4)), np.ones((12, 4))
    >>> y, p = multi_head_attention_forward(
    ...     x, x, x, 4, 2, w, None, None, None, False, 0.0, np.eye(4), None)
    >>> y.shape, p[0, 0].round(3).tolist()
    ((3, 1, 4), [0.333, 0.333, 0.333])
    """
    e, heads, size = head_size(NAME, embed_dim_to_check, num_heads)
    packed = not use_separate_proj_weight
    check_inputs(query, key, value, e, (e, e) if packed else None)
    lead = tuple(query.shape[1:-1])  # (N,), or nothing
    rows, n = query.shape[0], lead[0] if lead else 1
    weights = {
        "in_proj_weight": in_proj_weight if packed else None,
        "q_proj_weight": None if packed else q_proj_weight,
        "k_proj_weight": None if packed else k_proj_weight,
        "v_proj_weight": None if packed else v_proj_weight,
        "in_proj_bias": in_proj_bias,
        "out_proj_weight": out_proj_weight,
        "out_proj_bias": out_proj_bias,
        "bias_k": bias_k,
        "bias_v": bias_v,
        "static_k": static_k,
        "static_v": static_v,
    }
    check_weights(query, _sizes(e, n * heads, size, out_proj_weight), weights)
    check_projections(packed, weights, query=query, key=key, value=value)
    check_extra_keys(bias_k, bias_v, static_k, static_v)
    columns = count_keys(key, static_k, static_v)
    check_masks(key_padding_mask, attn_mask, is_causal, lead, heads, rows, columns)
    if not 0 <= dropout_p <= 1:
        raise ArgumentError(f"{NAME}: expected dropout_p in [0, 1], got {dropout_p}")

    xp = array_namespace(query, key, value, *weights.values(), key_padding_mask, attn_mask)
    q, k, v = _projected(query, key, value, weights)
    if not lead:
        q, k, v = (xp.expand_dims(x, axis=1) for x in (q, k, v))
    if bias_k is not None and bias_v is not None:
        k = xp.concat([k, xp.broadcast_to(bias_k, (1, n, e))], axis=0)
        v = xp.concat([v, xp.broadcast_to(bias_v, (1, n, e))], axis=0)
    q, k, v = (_heads(xp, x, heads, size) for x in (q, k, v))  # (N, H, L, E / H)
    if static_k is not None:
        k = xp.reshape(static_k, (n, heads, columns, size))
    if static_v is not None:
        v = xp.reshape(static_v, (n, heads, columns, size))
    if add_zero_attn:
        zeros = xp.zeros((n, heads, 1, size), dtype=q.dtype, device=device_of(q))
        k, v = xp.concat([k, zeros], axis=2), xp.concat([v, zeros], axis=2)

    hint = is_causal and key_padding_mask is None and not need_weights
    bias = None
    if not hint:
        bias = _merged(xp, query, key_padding_mask, attn_mask, n, heads, k.shape[2])
    p = dropout_p if training else 0.0
    shares = None
    if need_weights:
        times = multiplication(xp)
        s = times(q * (1 / math.sqrt(size)), xp.matrix_transpose(k))
        shares = dropout(softmax(s if bias is None else s + bias, -1), p, key=dropout_key)
        y = times(shares, v)
    else:
        y = scaled_dot_product_attention(q, k, v, bias, p, hint, dropout_key=dropout_key)
    y = xp.reshape(xp.permute_dims(y, (2, 0, 1, 3)), (rows, n, e))
    y = linear(y, out_proj_weight, out_proj_bias)
    if shares is not None and average_attn_weights:
        shares = xp.mean(shares, axis=1)
    if not lead:
        y = xp.squeeze(y, axis=1)
        shares = None if shares is None else xp.squeeze(shares, axis=0)
    return y, shares


def _sizes(e: int, batch_heads: int, size: int, out_proj_weight: Any) -> dict[str, tuple[int, ...]]:
    """The shapes of the weights, -1 for any number."""
    out = tuple(getattr(out_proj_weight, "shape", ()))[:1]
    return {
        "in_proj_weight": (3 * e, e),
        "q_proj_weight": (e, e),
        "k_proj_weight": (e, -1),
        "v_proj_weight": (e, -1),
        "in_proj_bias": (3 * e,),
        "out_proj_weight": (-1, e),
        "out_proj_bias": out or (-1,),
        "bias_k": (1, 1, e),
        "bias_v": (1, 1, e),
        "static_k": (batch_heads, -1, size),
        "static_v": (batch_heads, -1, size),
    }


def _heads(xp: Any, x: Array, heads: int, size: int) -> Array:
    """`(L, N, E) -> (N, H, L, E / H)`."""
    return xp.permute_dims(xp.reshape(x, (*x.shape[:2], heads, size)), (1, 2, 0, 3))


def _projected(
    query: Array, key: Array, value: Array, weights: dict[str, Any]
) -> tuple[Array, Array, Array]:
    """The projections, in one product where the inputs are one."""
    e, w, b = query.shape[-1], weights["in_proj_weight"], weights["in_proj_bias"]
    if w is not None and query is key and key is value:
        y = linear(query, w, b)
        return y[..., :e], y[..., e : 2 * e], y[..., 2 * e :]
    parts = [weights[f"{name}_proj_weight"] for name in "qkv"]
    if w is not None:
        parts = [w[:e, :], w[e : 2 * e, :], w[2 * e :, :]]
    biases = [None] * 3 if b is None else [b[:e], b[e : 2 * e], b[2 * e :]]
    q, k, v = (
        linear(x, part, c) for x, part, c in zip((query, key, value), parts, biases, strict=True)
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
