"""Attention with weights."""

from __future__ import annotations

from typing import Any

from bpgpu import functional as F  # noqa: N812 - as everyone calls it
from bpgpu.autodiff.namespace import array_namespace
from bpgpu.errors import ArgumentError
from bpgpu.functional.arguments import Array, tupled
from bpgpu.functional.multi_head_arguments import check_inputs, head_size
from bpgpu.nn import init
from bpgpu.nn.chance import Random
from bpgpu.nn.linear import Linear
from bpgpu.nn.parameter import Parameter


class MultiheadAttention(Random):
    """Each query looks at all keys, in `num_heads` spaces at once, and takes a mean of the values.

    *Shape* query `(L, N, E)`, key `(S, N, kdim)`, value `(S, N, vdim)`, with `batch_first` `(N, L,
    E)` and so on, or all without `N`. The result is a pair: an array like the query, and the weights
    `(N, L, S)` (`(N, H, L, S)` with `average_attn_weights=False`, `None` with `need_weights=False`).

    *Attributes* `in_proj_weight` `(3 E, E)`, or `q_proj_weight`, `k_proj_weight`, `v_proj_weight`
    if `kdim` or `vdim` differ from `E`: uniform as `init.xavier_uniform_`; `bias_k`, `bias_v`
    `(1, 1, E)` as `init.xavier_normal_`; `in_proj_bias` and `out_proj.bias` 0. `key`: of dropout.

    *Parameters* `dropout`: of the weights, in training. `add_bias_kv`: one more key and value that
    are learned; `add_zero_attn`: one more of zeros. The masks are those of
    `functional.multi_head_attention_forward`: `True` where a query may *not* look.

    *Raises* `ArgumentError` if `num_heads` does not divide `embed_dim`.

    *Notes* A query that may look nowhere gets `out_proj.bias` with `need_weights=False`, else NaN, as
    in torch where it records gradients.

    *References* A. Vaswani et al. (2017), "Attention is all you need".

    >>> import numpy as np
    >>> x = np.ones((5, 2, 8), dtype=np.float32)
    >>> y, p = MultiheadAttention(8, 2)(x, x, x)
    >>> y.shape, p.shape
    ((5, 2, 8), (2, 5, 5))
    """

    in_proj_weight: Array | None
    q_proj_weight: Array | None
    k_proj_weight: Array | None
    v_proj_weight: Array | None
    in_proj_bias: Array | None
    bias_k: Array | None
    bias_v: Array | None

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        dropout: float = 0.0,
        bias: bool = True,
        add_bias_kv: bool = False,
        add_zero_attn: bool = False,
        kdim: int | None = None,
        vdim: int | None = None,
        batch_first: bool = False,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        name = "MultiheadAttention"
        e, self.num_heads, self.head_dim = head_size(name, embed_dim, num_heads)
        if not 0 <= dropout <= 1:
            raise ArgumentError(f"{name}: expected dropout in [0, 1], got {dropout!r}")
        self.embed_dim = e
        (self.kdim,) = tupled(name, "kdim", e if kdim is None else kdim, 1, least=1)
        (self.vdim,) = tupled(name, "vdim", e if vdim is None else vdim, 1, least=1)
        self.dropout, self.batch_first, self.add_zero_attn = dropout, batch_first, add_zero_attn
        self._qkv_same_embed_dim = self.kdim == e and self.vdim == e
        sizes: dict[str, tuple[int, ...] | None] = dict.fromkeys(
            ("q_proj_weight", "k_proj_weight", "v_proj_weight", "in_proj_weight")
        )
        if self._qkv_same_embed_dim:
            sizes["in_proj_weight"] = (3 * e, e)
        else:
            sizes.update(
                q_proj_weight=(e, e), k_proj_weight=(e, self.kdim), v_proj_weight=(e, self.vdim)
            )
        sizes["in_proj_bias"] = (3 * e,) if bias else None
        for path in ("bias_k", "bias_v"):
            sizes[path] = (1, 1, e) if add_bias_kv else None
        for path, shape in sizes.items():
            new = None if shape is None else Parameter(init.new(shape, device, dtype))
            self.register_parameter(path, new)
        self.out_proj = Linear(e, e, bias, device, dtype)
        self._reset_parameters()

    def _reset_parameters(self) -> None:
        """Draw the weights anew."""
        for name in ("in_proj_weight", "q_proj_weight", "k_proj_weight", "v_proj_weight"):
            if getattr(self, name) is not None:
                setattr(self, name, init.xavier_uniform_(getattr(self, name)))
        if self.in_proj_bias is not None:
            self.in_proj_bias = init.zeros_(self.in_proj_bias)
            self.out_proj.bias = init.zeros_(self.out_proj.bias)
        for name in ("bias_k", "bias_v"):
            if getattr(self, name) is not None:
                setattr(self, name, init.xavier_normal_(getattr(self, name)))

    def forward(
        self,
        query: Array,
        key: Array,
        value: Array,
        key_padding_mask: Array | None = None,
        need_weights: bool = True,
        attn_mask: Array | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Array, Array | None]:
        swap = self.batch_first and query.ndim == 3
        if swap:
            sizes = self.kdim, self.vdim
            check_inputs(query, key, value, self.embed_dim, sizes, batch=0)
            query, key, value = _swapped(query, key, value)
        y, weights = F.multi_head_attention_forward(
            query,
            key,
            value,
            self.embed_dim,
            self.num_heads,
            self.in_proj_weight,
            self.in_proj_bias,
            self.bias_k,
            self.bias_v,
            self.add_zero_attn,
            self.dropout,
            self.out_proj.weight,
            self.out_proj.bias,
            self.training,
            key_padding_mask,
            need_weights,
            attn_mask,
            not self._qkv_same_embed_dim,
            self.q_proj_weight,
            self.k_proj_weight,
            self.v_proj_weight,
            average_attn_weights=average_attn_weights,
            is_causal=is_causal,
            dropout_key=self.next_key() if self.training and self.dropout > 0 else None,
        )
        return (_swapped(y)[0] if swap else y), weights


def _swapped(*arrays: Array) -> list[Array]:
    """The first two axes exchanged; what was one array stays one."""
    done: dict[int, Array] = {}
    for x in arrays:
        if id(x) not in done:
            axes = (1, 0, 2) if x.ndim == 3 else tuple(range(x.ndim))
            done[id(x)] = array_namespace(x).permute_dims(x, axes)
    return [done[id(x)] for x in arrays]
