"""Transformers: stacks of attention and small networks.

As in torch's training mode, also in evaluation: torch may there take another path, without
gradients, that puts 0 into the padded rows of an encoder's result. Here they are computed as all
others, so that both modes agree (`enable_nested_tensor` and `mask_check` change no result).
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

from bpgpu import functional as F  # noqa: N812 - as everyone calls it
from bpgpu.autodiff.array import device_of
from bpgpu.autodiff.namespace import array_namespace
from bpgpu.errors import ArgumentError, ShapeError
from bpgpu.functional.arguments import Array, tupled
from bpgpu.nn import init
from bpgpu.nn.attention import MultiheadAttention
from bpgpu.nn.containers import ModuleList
from bpgpu.nn.dropout import Dropout
from bpgpu.nn.linear import Linear
from bpgpu.nn.module import Module
from bpgpu.nn.norm import LayerNorm

Activation = str | Callable[[Any], Any]


class TransformerEncoderLayer(Module):
    """Self-attention and a network of two layers, each added to its input and normalised:
    `x = norm1(x + attention(x))`, `x = norm2(x + linear2(act(linear1(x))))`; with `norm_first`
    `x = x + attention(norm1(x))`, `x = x + linear2(act(linear1(norm2(x))))`.

    *Shape* `(S, N, E)`, with `batch_first` `(N, S, E)`, or `(S, E)`; the result has the same.

    *Parameters* `activation`: "relu", "gelu" or a function. Masks as for `MultiheadAttention`.

    *References* A. Vaswani et al. (2017), "Attention is all you need".

    >>> import numpy as np
    >>> TransformerEncoderLayer(8, 2, 16)(np.ones((5, 2, 8), dtype=np.float32)).shape
    (5, 2, 8)
    """

    def __init__(
        self,
        d_model: int,
        nhead: int,
        dim_feedforward: int = 2048,
        dropout: float = 0.1,
        activation: Activation = F.relu,
        layer_norm_eps: float = 1e-5,
        batch_first: bool = False,
        norm_first: bool = False,
        bias: bool = True,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        at: dict[str, Any] = {"bias": bias, "device": device, "dtype": dtype}
        function = _activation(type(self).__name__, activation)
        self.self_attn = MultiheadAttention(d_model, nhead, dropout, batch_first=batch_first, **at)
        self.linear1 = Linear(d_model, dim_feedforward, **at)
        self.dropout = Dropout(dropout)
        self.linear2 = Linear(dim_feedforward, d_model, **at)
        self.norm_first = norm_first
        self.norm1 = LayerNorm(d_model, layer_norm_eps, **at)
        self.norm2 = LayerNorm(d_model, layer_norm_eps, **at)
        self.dropout1, self.dropout2 = Dropout(dropout), Dropout(dropout)
        self.activation = function

    def forward(
        self,
        src: Array,
        src_mask: Array | None = None,
        src_key_padding_mask: Array | None = None,
        is_causal: bool = False,
    ) -> Array:
        x = src
        if self.norm_first:
            x = x + self._sa_block(self.norm1(x), src_mask, src_key_padding_mask, is_causal)
            return x + self._ff_block(self.norm2(x))
        x = self.norm1(x + self._sa_block(x, src_mask, src_key_padding_mask, is_causal))
        return self.norm2(x + self._ff_block(x))

    def _sa_block(self, x: Array, mask: Any, padding: Any, is_causal: bool) -> Array:
        y, _ = self.self_attn(x, x, x, padding, False, mask, is_causal=is_causal)
        return self.dropout1(y)

    def _ff_block(self, x: Array) -> Array:
        return self.dropout2(self.linear2(self.dropout(self.activation(self.linear1(x)))))


class TransformerDecoderLayer(Module):
    """An encoder layer with attention to `memory`, an encoder's result, between its two parts.

    *Shape* tgt `(T, N, E)`, memory `(S, N, E)`, with `batch_first` `(N, T, E)` and `(N, S, E)`, or
    both without `N`; the result is like tgt.

    *Parameters*, *References* as for `TransformerEncoderLayer`.
    """

    def __init__(
        self,
        d_model: int,
        nhead: int,
        dim_feedforward: int = 2048,
        dropout: float = 0.1,
        activation: Activation = F.relu,
        layer_norm_eps: float = 1e-5,
        batch_first: bool = False,
        norm_first: bool = False,
        bias: bool = True,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        at: dict[str, Any] = {"bias": bias, "device": device, "dtype": dtype}
        function = _activation(type(self).__name__, activation)
        self.self_attn = MultiheadAttention(d_model, nhead, dropout, batch_first=batch_first, **at)
        self.multihead_attn = MultiheadAttention(
            d_model, nhead, dropout, batch_first=batch_first, **at
        )
        self.linear1 = Linear(d_model, dim_feedforward, **at)
        self.dropout = Dropout(dropout)
        self.linear2 = Linear(dim_feedforward, d_model, **at)
        self.norm_first = norm_first
        self.norm1 = LayerNorm(d_model, layer_norm_eps, **at)
        self.norm2 = LayerNorm(d_model, layer_norm_eps, **at)
        self.norm3 = LayerNorm(d_model, layer_norm_eps, **at)
        self.dropout1, self.dropout2 = Dropout(dropout), Dropout(dropout)
        self.dropout3 = Dropout(dropout)
        self.activation = function

    def forward(
        self,
        tgt: Array,
        memory: Array,
        tgt_mask: Array | None = None,
        memory_mask: Array | None = None,
        tgt_key_padding_mask: Array | None = None,
        memory_key_padding_mask: Array | None = None,
        tgt_is_causal: bool = False,
        memory_is_causal: bool = False,
    ) -> Array:
        own = (tgt_mask, tgt_key_padding_mask, tgt_is_causal)
        other = (memory_mask, memory_key_padding_mask, memory_is_causal)
        x = tgt
        if self.norm_first:
            x = x + self._sa_block(self.norm1(x), *own)
            x = x + self._mha_block(self.norm2(x), memory, *other)
            return x + self._ff_block(self.norm3(x))
        x = self.norm1(x + self._sa_block(x, *own))
        x = self.norm2(x + self._mha_block(x, memory, *other))
        return self.norm3(x + self._ff_block(x))

    def _sa_block(self, x: Array, mask: Any, padding: Any, is_causal: bool) -> Array:
        y, _ = self.self_attn(x, x, x, padding, False, mask, is_causal=is_causal)
        return self.dropout1(y)

    def _mha_block(self, x: Array, m: Array, mask: Any, padding: Any, is_causal: bool) -> Array:
        y, _ = self.multihead_attn(x, m, m, padding, False, mask, is_causal=is_causal)
        return self.dropout2(y)

    def _ff_block(self, x: Array) -> Array:
        return self.dropout3(self.linear2(self.dropout(self.activation(self.linear1(x)))))


class TransformerEncoder(Module):
    """`num_layers` copies of an encoder layer, one after another, and `norm` at the end.

    *Parameters* `is_causal`: says that `mask` is the causal mask; `None` leaves it to the mask.

    *Notes* The copies begin with equal weights, as in torch.
    """

    def __init__(
        self,
        encoder_layer: Module,
        num_layers: int,
        norm: Module | None = None,
        enable_nested_tensor: bool = True,
        mask_check: bool = True,
    ) -> None:
        super().__init__()
        (self.num_layers,) = tupled("TransformerEncoder", "num_layers", num_layers, 1)
        self.layers = ModuleList(copy.deepcopy(encoder_layer) for _ in range(self.num_layers))
        self.norm = norm
        self.enable_nested_tensor, self.mask_check = enable_nested_tensor, mask_check

    def forward(
        self,
        src: Array,
        mask: Array | None = None,
        src_key_padding_mask: Array | None = None,
        is_causal: bool | None = None,
    ) -> Array:
        x = src
        for layer in self.layers:
            x = layer(
                x,
                src_mask=mask,
                src_key_padding_mask=src_key_padding_mask,
                is_causal=bool(is_causal),
            )
        return x if self.norm is None else self.norm(x)


class TransformerDecoder(Module):
    """`num_layers` copies of a decoder layer, one after another, and `norm` at the end.

    *Parameters*, *Notes* as for `TransformerEncoder`.
    """

    def __init__(self, decoder_layer: Module, num_layers: int, norm: Module | None = None) -> None:
        super().__init__()
        (self.num_layers,) = tupled("TransformerDecoder", "num_layers", num_layers, 1)
        self.layers = ModuleList(copy.deepcopy(decoder_layer) for _ in range(self.num_layers))
        self.norm = norm

    def forward(
        self,
        tgt: Array,
        memory: Array,
        tgt_mask: Array | None = None,
        memory_mask: Array | None = None,
        tgt_key_padding_mask: Array | None = None,
        memory_key_padding_mask: Array | None = None,
        tgt_is_causal: bool | None = None,
        memory_is_causal: bool = False,
    ) -> Array:
        x = tgt
        for layer in self.layers:
            x = layer(
                x,
                memory,
                tgt_mask=tgt_mask,
                memory_mask=memory_mask,
                tgt_key_padding_mask=tgt_key_padding_mask,
                memory_key_padding_mask=memory_key_padding_mask,
                tgt_is_causal=bool(tgt_is_causal),
                memory_is_causal=memory_is_causal,
            )
        return x if self.norm is None else self.norm(x)


class Transformer(Module):
    """An encoder and a decoder that looks at the encoder's result.

    *Shape* src `(S, N, E)`, tgt `(T, N, E)`, with `batch_first` `(N, S, E)` and `(N, T, E)`, or both
    without `N`; the result is like tgt.

    *Attributes* all matrices are drawn as `init.xavier_uniform_`.

    *References* A. Vaswani et al. (2017), "Attention is all you need".

    >>> import numpy as np
    >>> x = np.ones((5, 2, 8), dtype=np.float32)
    >>> Transformer(8, 2, 1, 1, 16)(x, x[:3, ...]).shape
    (3, 2, 8)
    """

    def __init__(
        self,
        d_model: int = 512,
        nhead: int = 8,
        num_encoder_layers: int = 6,
        num_decoder_layers: int = 6,
        dim_feedforward: int = 2048,
        dropout: float = 0.1,
        activation: Activation = F.relu,
        custom_encoder: Any = None,
        custom_decoder: Any = None,
        layer_norm_eps: float = 1e-5,
        batch_first: bool = False,
        norm_first: bool = False,
        bias: bool = True,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        at: dict[str, Any] = {"bias": bias, "device": device, "dtype": dtype}
        settings = (d_model, nhead, dim_feedforward, dropout, activation, layer_norm_eps)
        order = (batch_first, norm_first)
        if custom_encoder is None:
            custom_encoder = TransformerEncoder(
                TransformerEncoderLayer(*settings, *order, **at),
                num_encoder_layers,
                LayerNorm(d_model, layer_norm_eps, **at),
            )
        if custom_decoder is None:
            custom_decoder = TransformerDecoder(
                TransformerDecoderLayer(*settings, *order, **at),
                num_decoder_layers,
                LayerNorm(d_model, layer_norm_eps, **at),
            )
        self.encoder, self.decoder = custom_encoder, custom_decoder
        self.d_model, self.nhead, self.batch_first = d_model, nhead, batch_first
        self._reset_parameters()

    def _reset_parameters(self) -> None:
        """Draw the matrices anew."""
        for path, array in list(self.named_parameters()):
            if array.ndim > 1:
                owner, name = self.locate(path)
                setattr(owner, name, init.xavier_uniform_(array))

    def forward(
        self,
        src: Array,
        tgt: Array,
        src_mask: Array | None = None,
        tgt_mask: Array | None = None,
        memory_mask: Array | None = None,
        src_key_padding_mask: Array | None = None,
        tgt_key_padding_mask: Array | None = None,
        memory_key_padding_mask: Array | None = None,
        src_is_causal: bool | None = None,
        tgt_is_causal: bool | None = None,
        memory_is_causal: bool = False,
    ) -> Array:
        self._check(src, tgt)
        memory = self.encoder(src, src_mask, src_key_padding_mask, src_is_causal)
        return self.decoder(
            tgt,
            memory,
            tgt_mask,
            memory_mask,
            tgt_key_padding_mask,
            memory_key_padding_mask,
            tgt_is_causal,
            memory_is_causal,
        )

    def _check(self, src: Array, tgt: Array) -> None:
        shapes = f"src {tuple(src.shape)} and tgt {tuple(tgt.shape)}"
        batch = 0 if self.batch_first else 1
        if src.ndim == 3 and tgt.ndim == 3 and src.shape[batch] != tgt.shape[batch]:
            raise ShapeError(f"expected the same batch in axis {batch} of both, got {shapes}")
        if src.ndim != tgt.ndim or src.ndim not in (2, 3):
            raise ShapeError(f"expected both of 3 axes, or both of 2, got {shapes}")
        if src.shape[-1] != self.d_model or tgt.shape[-1] != self.d_model:
            raise ShapeError(f"expected d_model {self.d_model} in the last axis, got {shapes}")

    @staticmethod
    def generate_square_subsequent_mask(sz: int, device: Any = None, dtype: Any = None) -> Array:
        """Minus infinity above the diagonal, 0 elsewhere: query `i` looks at keys up to `i`."""
        zeros = init.zeros_(init.new((sz, sz), device, dtype))
        xp = array_namespace(zeros)
        i = xp.arange(sz, device=device_of(zeros))
        later = xp.expand_dims(i, axis=0) > xp.expand_dims(i, axis=1)
        return xp.where(later, xp.full_like(zeros, -math.inf), zeros)


def _activation(name: str, activation: Activation) -> Callable[[Any], Any]:
    named: dict[Any, Callable[[Any], Any]] = {"relu": F.relu, "gelu": F.gelu}
    if callable(activation):
        return activation
    if activation not in named:
        raise ArgumentError(
            f"{name}: expected activation 'relu', 'gelu' or a function, got {activation!r}"
        )
    return named[activation]
