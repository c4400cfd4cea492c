"""Whether what a Transformer is given belongs together: asked before any work is done."""

from __future__ import annotations

from typing import Any

from bpgpu.errors import ShapeError
from bpgpu.functional.arguments import Array, real
from bpgpu.functional.multi_head_arguments import check_masks
from bpgpu.nn.attention import MultiheadAttention

Masks = tuple[Any, Any, bool]
"""A mask, one of padding, and whether the first is said to be causal."""


def check_sequences(name: str, d_model: int, batch_first: bool, **sequences: Array) -> None:
    """Raise unless all are `(L, N, E)`, `(N, L, E)` with the batch first, or all `(L, E)`."""
    real(name, **sequences)
    shapes = [tuple(x.shape) for x in sequences.values()]
    listed = " and ".join(f"{k} {s}" for k, s in zip(sequences, shapes, strict=True))
    both = "" if len(shapes) == 1 else "both of "
    if any(len(s) != len(shapes[0]) or len(s) not in (2, 3) for s in shapes):
        raise ShapeError(f"expected {both}3 axes, or {both}2, got {listed}")
    if any(s[-1] != d_model for s in shapes):
        raise ShapeError(f"expected d_model {d_model} in the last axis, got {listed}")
    axis = 0 if batch_first else 1
    if len(shapes[0]) == 3 and len({s[axis] for s in shapes}) > 1:
        raise ShapeError(f"expected the same batch in axis {axis} of both, got {listed}")


def check_encoding(layer: Any, src: Array, masks: Masks) -> None:
    """Raise unless `src` and its masks suit an encoder layer."""
    attention = layer.self_attn
    if isinstance(attention, MultiheadAttention):  # else the user's own, which checks for itself
        name, e = type(layer).__name__, attention.embed_dim
        check_sequences(name, e, attention.batch_first, src=src)
        _check_attention(attention, src, src, "src", masks)


def check_decoding(layer: Any, tgt: Array, memory: Array, own: Masks, other: Masks) -> None:
    """Raise unless `tgt`, `memory` and the masks of each suit a decoder layer."""
    attention, second = layer.self_attn, layer.multihead_attn
    if isinstance(attention, MultiheadAttention) and isinstance(second, MultiheadAttention):
        name, e = type(layer).__name__, attention.embed_dim
        check_sequences(name, e, attention.batch_first, tgt=tgt, memory=memory)
        _check_attention(attention, tgt, tgt, "tgt", own)
        _check_attention(second, tgt, memory, "memory", other)


def _check_attention(
    attention: MultiheadAttention, query: Array, key: Array, what: str, masks: Masks
) -> None:
    lead, rows = _lengths(query, attention.batch_first)
    _, columns = _lengths(key, attention.batch_first)
    mask, padding, is_causal = masks
    names = f"{what}_key_padding_mask", f"{what}_mask"
    heads = attention.num_heads
    check_masks(padding, mask, is_causal, lead, heads, rows, columns, names=names, where="")


def _lengths(x: Array, batch_first: bool) -> tuple[tuple[int, ...], int]:
    """The batch `(N,)`, or nothing, and the length of a sequence."""
    if x.ndim == 2:
        return (), x.shape[0]
    n, length = x.shape[:2] if batch_first else (x.shape[1], x.shape[0])
    return (n,), length
