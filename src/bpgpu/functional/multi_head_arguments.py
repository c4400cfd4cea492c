"""Whether the arguments of multi-head attention belong together: asked before any work is done."""

from __future__ import annotations

from typing import Any

from bpgpu.errors import ArgumentError, DtypeError, ShapeError
from bpgpu.functional.arguments import Array, dtype_of, real, same_dtype, tupled

NAME = "multi_head_attention_forward"


def head_size(function: str, embed_dim: int, num_heads: int) -> tuple[int, int, int]:
    """`embed_dim`, `num_heads` and the numbers of each head, or an error."""
    (e,) = tupled(function, "embed_dim", embed_dim, 1, least=1)
    (heads,) = tupled(function, "num_heads", num_heads, 1, least=1)
    if e % heads:
        raise ArgumentError(
            f"{function}: embed_dim must be divisible by num_heads, got {e} and {heads}"
        )
    return e, heads, e // heads


def check_inputs(
    query: Array,
    key: Array,
    value: Array,
    e: int,
    sizes: tuple[int, int] | None,
    batch: int = 1,
) -> None:
    """`sizes` are those of keys and values in the last axis, `None` if their weights tell them; `batch` is the axis
    of the batch."""
    real(NAME, query=query, key=key, value=value)
    same_dtype(NAME, key=key, value=value, query=query)
    q, k, v = tuple(query.shape), tuple(key.shape), tuple(value.shape)
    if len(q) not in (2, 3) or len(k) != len(q) or len(v) != len(q):
        raise ShapeError(
            f"{NAME}: expected query, key and value (L, N, E), or all (L, E), got {q}, {k} and {v}"
        )
    if q[-1] != e:
        raise ShapeError(f"{NAME}: expected a query of embed_dim {e}, got shape {q}")
    if k[:-1] != v[:-1]:
        raise ShapeError(f"{NAME}: key {k} and value {v} must agree in all axes but the last")
    if len(q) == 3 and q[batch] != k[batch]:
        hint = "" if batch == 0 else "; with the batch first, set batch_first=True of the layer"
        raise ShapeError(
            f"{NAME}: query {q} and key {k} must agree in the batch, axis {batch}{hint}"
        )
    for name, shape, n in zip(("key", "value"), (k, v), sizes or (), strict=False):
        if shape[-1] != n:
            raise ShapeError(
                f"{NAME}: expected {name} (..., {n}), got {shape}; for keys and values of other "
                "sizes, set kdim and vdim of the layer, or use_separate_proj_weight"
            )


def check_weights(
    query: Array, sizes: dict[str, tuple[int, ...]], weights: dict[str, Array | None]
) -> None:
    """The shapes of the weights that are there; -1 stands for any size."""
    given = {name: w for name, w in weights.items() if w is not None}
    real(NAME, **given)
    same_dtype(NAME, **given, query=query)
    for name, w in given.items():
        expected, got = sizes[name], tuple(w.shape)
        fits = len(got) == len(expected) and all(
            n in (m, -1) for m, n in zip(got, expected, strict=True)
        )
        if not fits:
            wanted = str(expected).replace("-1", "any")
            raise ShapeError(f"{NAME}: expected {name} {wanted}, got {got}")


def check_projections(packed: bool, weights: dict[str, Array | None], **inputs: Array) -> None:
    """That each input has a weight, of as many columns as the input has numbers."""
    if packed:
        if weights["in_proj_weight"] is None:
            raise ArgumentError(f"{NAME}: expected in_proj_weight, got None")
        return
    for name, x in inputs.items():
        w = weights[f"{name[0]}_proj_weight"]
        if w is None:
            raise ArgumentError(
                f"{NAME}: expected {name[0]}_proj_weight beside use_separate_proj_weight, got None"
            )
        if w.shape[1] != x.shape[-1]:
            raise ShapeError(
                f"{NAME}: expected {name} (..., {w.shape[1]}), got {tuple(x.shape)}: "
                f"{name[0]}_proj_weight has shape {tuple(w.shape)}"
            )


def check_extra_keys(
    bias_k: Array | None, bias_v: Array | None, static_k: Array | None, static_v: Array | None
) -> None:
    if (bias_k is None) != (bias_v is None):
        raise ArgumentError(f"{NAME}: expected both of bias_k and bias_v, or neither")
    if bias_k is not None and (static_k is not None or static_v is not None):
        raise ArgumentError(f"{NAME}: bias_k and bias_v cannot be added to static_k or static_v")


def count_keys(key: Array, static_k: Array | None, static_v: Array | None) -> int:
    """How many keys there are: a static one stands in for those of the input."""
    own = key.shape[0]
    keys, values = (own if x is None else x.shape[1] for x in (static_k, static_v))
    if keys != values:
        raise ShapeError(
            f"{NAME}: expected as many values as keys, got {keys} keys and {values} values, with "
            f"static_k {_shape(static_k)} and static_v {_shape(static_v)}"
        )
    return int(keys)


def _shape(x: Array | None) -> Any:
    return None if x is None else tuple(x.shape)


def check_masks(
    padding: Array | None,
    mask: Array | None,
    is_causal: bool,
    lead: tuple[int, ...],
    heads: int,
    rows: int,
    columns: int,
    *,
    names: tuple[str, str] = ("key_padding_mask", "attn_mask"),
    where: str = f"{NAME}: ",
) -> None:
    """`lead` is the batch `(N,)`, or nothing; `names` are those by which the masks were given."""
    for name, m in zip(names, (padding, mask), strict=True):
        if m is None:
            continue
        dtype = dtype_of(where.removesuffix(": ") or name, name, m)
        if not str(dtype).rpartition(".")[2].startswith(("float", "bfloat", "bool")):
            raise DtypeError(
                f"{where}expected {name} of truth values or floating numbers, got dtype {dtype}"
            )
    if padding is not None and tuple(padding.shape) != (*lead, columns):
        raise ShapeError(
            f"{where}expected {names[0]} {(*lead, columns)}, got {tuple(padding.shape)}"
        )
    flat, full = (rows, columns), ((lead[0] if lead else 1) * heads, rows, columns)
    if mask is not None and tuple(mask.shape) not in (flat, full):
        raise ShapeError(f"{where}expected {names[1]} {flat} or {full}, got {tuple(mask.shape)}")
    if is_causal and mask is None:
        raise ArgumentError(
            f"{where}is_causal=True says that {names[1]} is causal, and there is none; give one, "
            "as of Transformer.generate_square_subsequent_mask"
        )
