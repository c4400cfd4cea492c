"""Scaled dot-product attention.

    s = scale q k^T + mask,   p = softmax(s),   y = p v

On the way back, with `gp = g v^T`: `gv = p^T g`, and through the softmax `gs = p (gp - sum(gp p))`; from that
`gq = scale gs k` and `gk = scale gs^T q`. (A. Vaswani et al., 2017, "Attention is all you need", equation 1.)
"""

from __future__ import annotations

import math
from typing import Any

from bpgpu.autodiff.array import device_of, raw
from bpgpu.autodiff.control import stop_gradient
from bpgpu.autodiff.namespace import array_namespace
from bpgpu.autodiff.rule import joint, rule, unbroadcast
from bpgpu.errors import ArgumentError, DtypeError, ShapeError
from bpgpu.functional import chance
from bpgpu.functional.arguments import Array, floating, same_dtype
from bpgpu.kernels import find, multiplication


@rule(arrays=4)
def attend(
    xp: Any, q: Any, k: Any, v: Any, bias: Any, /, allowed: Any, kept: Any, scale: float
) -> Any:
    """`(..., L, E), (..., S, E), (..., S, V), (..., L, S) -> (..., L, V)`.

    `bias` is added to the scores; `allowed` is a truth value for each score, and `kept` a factor for each weight:
    both constants, any of them absent."""
    if (run := find("attend", xp, q, k, v, bias, allowed, kept, scale)) is not None:
        y, fast_pull = run(q, k, v, bias, allowed, kept, scale)
        return y, joint(fast_pull)
    p = attention_weights(xp, q, k, bias, allowed, scale)  # (..., L, S)
    w = p if kept is None else p * kept
    times = multiplication(xp)
    y = times(w, v)

    def pull(g: Any, wanted: tuple[bool, ...]) -> Any:
        gv = unbroadcast(xp, times(xp.matrix_transpose(w), g), v.shape) if wanted[2] else None
        if not (wanted[0] or wanted[1] or wanted[3]):
            return None, None, gv, None
        gw = times(g, xp.matrix_transpose(v))
        gw = gw if kept is None else gw * kept
        gs = p * (gw - xp.sum(gw * p, axis=-1, keepdims=True))
        return (
            unbroadcast(xp, times(gs, k) * scale, q.shape) if wanted[0] else None,
            unbroadcast(xp, times(xp.matrix_transpose(gs), q) * scale, k.shape)
            if wanted[1]
            else None,
            gv,
            unbroadcast(xp, gs, bias.shape) if wanted[3] else None,
        )

    return y, joint(pull)


def attention_weights(xp: Any, q: Any, k: Any, bias: Any, allowed: Any, scale: float) -> Any:
    """Softmax of the scores. Where nothing is allowed, all weights are 0."""
    s = multiplication(xp)(q * scale, xp.matrix_transpose(k))
    s = s if bias is None else s + bias
    if allowed is not None:
        s = xp.where(allowed, s, -math.inf)
    top = xp.max(s, axis=-1, keepdims=True)
    top = stop_gradient(top)  # a shift changes nothing, so nothing flows through it
    top = xp.where(top == -math.inf, xp.zeros_like(top), top)
    e = xp.exp(s - top)
    total = xp.sum(e, axis=-1, keepdims=True)
    return e / xp.where(total == 0, xp.ones_like(total), total)


def scaled_dot_product_attention(
    query: Array,
    key: Array,
    value: Array,
    attn_mask: Array | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
    *,
    dropout_key: Any = None,
) -> Array:
    """Each query takes the mean of the values, weighted by how well their keys match it:
    `softmax(scale q k^T + mask) v`.

    *Shape* `(..., L, E), (..., S, E), (..., S, V) -> (..., L, V)`; the leading axes broadcast.

    *Parameters* `attn_mask`: truth values, `True` where a query may look, or numbers that are added to the scores; it
    broadcasts to `(..., L, S)`. `is_causal`: query `i` looks at keys up to `i`; not together with a mask.
    `dropout_p`: weights that are dropped, always (there is no training mode here); `dropout_key`: of `bpgpu.random`.
    `scale`: by default `1 / sqrt(E)`. `enable_gqa`: there are fewer heads of keys and values than of queries (axis
    -3); each serves as many heads of queries one after another.

    *Raises* `ShapeError` for shapes that do not belong together; `DtypeError` for a mask of integers; `ValueError`
    for a mask beside `is_causal`, or a probability outside [0, 1].

    *Notes* A query that may look nowhere gets 0, as in torch.

    >>> import numpy as np
    >>> q = k = np.asarray([[1.0, 0.0], [0.0, 1.0]])
    >>> scaled_dot_product_attention(q, k, np.asarray([[1.0], [3.0]]), is_causal=True).tolist()[0]
    [1.0]
    """
    name = "scaled_dot_product_attention"
    floating(name, query=query, key=key, value=value)
    same_dtype(name, key=key, value=value, query=query)
    _check(name, query, key, value)
    if not 0 <= dropout_p <= 1:
        raise ArgumentError(f"{name}: dropout_p must be in [0, 1], got {dropout_p}")
    if enable_gqa:
        key, value = _repeated(name, query, key), _repeated(name, query, value)
    xp = array_namespace(query, key, value, attn_mask)
    rows, columns = query.shape[-2], key.shape[-2]
    bias, allowed = _mask(name, xp, query, attn_mask, is_causal, rows, columns)
    kept = None
    if dropout_p > 0:
        lead = _lead(name, query, key)
        mask, staying = chance.mask(name, dropout_key, query, (*lead, rows, columns), dropout_p)
        kept = xp.astype(xp.asarray(mask), query.dtype)
        kept = kept / staying if staying else xp.zeros_like(kept)
    factor = 1 / math.sqrt(query.shape[-1] or 1) if scale is None else scale
    if query.shape[-2] == 0 or columns == 0:
        return _nothing_to_see(xp, query, key, value)
    return attend(query, key, value, bias, raw(allowed), raw(kept), factor)


def _check(name: str, query: Array, key: Array, value: Array) -> None:
    for what, x in (("query", query), ("key", key), ("value", value)):
        if x.ndim < 2:
            raise ShapeError(f"{name}: expected {what} (..., L, E), got {tuple(x.shape)}")
    if query.shape[-1] != key.shape[-1]:
        raise ShapeError(
            f"{name}: query {tuple(query.shape)} and key {tuple(key.shape)} must agree in the last axis"
        )
    if key.shape[-2] != value.shape[-2]:
        raise ShapeError(
            f"{name}: key {tuple(key.shape)} and value {tuple(value.shape)} must agree in axis -2"
        )


def _lead(name: str, query: Array, key: Array) -> tuple[int, ...]:
    """The leading axes, broadcast."""
    a, b = tuple(query.shape[:-2]), tuple(key.shape[:-2])
    n = max(len(a), len(b))
    a, b = (1,) * (n - len(a)) + a, (1,) * (n - len(b)) + b
    if any(i != j and 1 not in (i, j) for i, j in zip(a, b, strict=True)):
        raise ShapeError(f"{name}: the leading axes {a} and {b} do not broadcast")
    return tuple(j if i == 1 else i for i, j in zip(a, b, strict=True))


def _mask(
    name: str, xp: Any, query: Array, mask: Array | None, is_causal: bool, rows: int, columns: int
) -> tuple[Any, Any]:
    """What is added to the scores, and where looking is allowed."""
    if is_causal:
        if mask is not None:
            raise ArgumentError(f"{name}: is_causal=True makes its own mask; leave attn_mask out")
        return None, xp.arange(columns, device=device_of(query))[None, :] <= (
            xp.arange(rows, device=device_of(query))[:, None]
        )
    if mask is None:
        return None, None
    kind = str(mask.dtype).rpartition(".")[2]
    if kind.startswith("bool"):
        return None, mask
    if kind.startswith(("float", "bfloat")):
        return xp.astype(xp.asarray(mask), query.dtype, copy=False), None
    raise DtypeError(
        f"{name}: expected attn_mask of truth values or floating numbers, got dtype {mask.dtype}"
    )


def _repeated(name: str, query: Array, x: Array) -> Array:
    """Heads repeated until there are as many as the query has."""
    heads = query.shape[-3] if query.ndim > 2 else 1
    own = x.shape[-3] if x.ndim > 2 else 1
    if own == 0 or heads % own:
        raise ShapeError(
            f"{name}: the {own} heads of keys and values must divide the {heads} of queries"
        )
    return array_namespace(x).repeat(x, heads // own, axis=x.ndim - 3)


def _nothing_to_see(xp: Any, query: Array, key: Array, value: Array) -> Array:
    """Without keys every query gets 0."""
    lead = _lead("scaled_dot_product_attention", query, key)
    y = xp.zeros(
        (*lead, query.shape[-2], value.shape[-1]), dtype=query.dtype, device=device_of(query)
    )
    return y + 0 * (xp.sum(query) + xp.sum(key) + xp.sum(value))
