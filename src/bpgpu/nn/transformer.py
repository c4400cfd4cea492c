"""Transformers: stacks of attention and small networks.

Training and evaluation compute the same here (but for dropout), as in torch wherever it records
gradients. In evaluation under `torch.no_grad()`, torch runs other code for encoders with
`batch_first=True`, an even number of heads, biases, and relu or gelu. It agrees to rounding, except that

- an encoder of layers with `norm_first=False` puts 0 into padded rows, before `norm`, if
  `src_key_padding_mask` hides no more than the ends of sequences and there is no `mask`;
- a query that may look nowhere gets NaN;
- in masks of numbers, every number but 0 hides;
- `is_causal=True` without a mask is no error, and hides nothing.

`enable_nested_tensor` and `mask_check` say when the first of these happens; here nothing does.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any, cast

from bpgpu import functional as F  # noqa: N812 - as everyone calls it
from bpgpu.autodiff.array import device_of
from bpgpu.autodiff.namespace import array_namespace
from bpgpu.errors import ArgumentError
from bpgpu.functional.arguments import Array, tupled
from bpgpu.nn import init
from bpgpu.nn.attention import MultiheadAttention
from bpgpu.nn.containers import ModuleList
from bpgpu.nn.dropout import Dropout, at_once
from bpgpu.nn.linear import Linear
from bpgpu.nn.module import Module
from bpgpu.nn.norm import LayerNorm
from bpgpu.nn.transformer_arguments import check_decoding, check_encoding, check_sequences

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
        masks = (src_mask, src_key_padding_mask, is_causal)
        check_encoding(self, src, masks)
        x = src
        if self.norm_first:
            x = self._sa_block(self.norm1(x), *masks) + x  # x last: not yet traced, if it is data
            return self._ff_block(self.norm2(x)) + x
        x = self.norm1(self._sa_block(x, *masks) + x)
        return self.norm2(self._ff_block(x) + x)

    def _sa_block(self, x: Array, mask: Any, padding: Any, is_causal: bool) -> Array:
        y, _ = self.self_attn(x, x, x, padding, False, mask, is_causal=is_causal)
        return self.dropout1(y)

    def _ff_block(self, x: Array) -> Array:
        return self.dropout2(self.linear2(_activated(self, self.linear1(x))))


class TransformerDecoderLayer(Module):
    """An encoder layer with attention to `memory`, an encoder's result, between its two parts.

    *Shape* tgt `(T, N, E)`, memory `(S, N, E)`, with `batch_first` `(N, T, E)` and `(N, S, E)`, or
    both without `N`; the result is like tgt.

    *Parameters*, *References* as for `TransformerEncoderLayer`.

    *Notes* If `activation` is a layer, copies keep it; torch's copies, so those of its
    `TransformerDecoder` and `Transformer`, silently take relu instead.
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
        check_decoding(self, tgt, memory, own, other)
        x = tgt
        if self.norm_first:
            x = self._sa_block(self.norm1(x), *own) + x
            x = self._mha_block(self.norm2(x), memory, *other) + x
            return self._ff_block(self.norm3(x)) + x
        x = self.norm1(self._sa_block(x, *own) + x)
        x = self.norm2(self._mha_block(x, memory, *other) + x)
        return self.norm3(self._ff_block(x) + x)

    def _sa_block(self, x: Array, mask: Any, padding: Any, is_causal: bool) -> Array:
        y, _ = self.self_attn(x, x, x, padding, False, mask, is_causal=is_causal)
        return self.dropout1(y)

    def _mha_block(self, x: Array, m: Array, mask: Any, padding: Any, is_causal: bool) -> Array:
        y, _ = self.multihead_attn(x, m, m, padding, False, mask, is_causal=is_causal)
        return self.dropout2(y)

    def _ff_block(self, x: Array) -> Array:
        return self.dropout3(self.linear2(_activated(self, self.linear1(x))))


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
        check_sequences("Transformer", self.d_model, self.batch_first, src=src, tgt=tgt)
        own = (tgt_mask, tgt_key_padding_mask, bool(tgt_is_causal))
        other = (memory_mask, memory_key_padding_mask, memory_is_causal)
        for layer in _own_layers(self.encoder, self.decoder):
            check_decoding(
                layer, tgt, src, own, other
            )  # before the encoder works; memory will be like src
        memory = self.encoder(
            src, mask=src_mask, src_key_padding_mask=src_key_padding_mask, is_causal=src_is_causal
        )
        return self.decoder(
            tgt,
            memory,
            tgt_mask=tgt_mask,
            memory_mask=memory_mask,
            tgt_key_padding_mask=tgt_key_padding_mask,
            memory_key_padding_mask=memory_key_padding_mask,
            tgt_is_causal=tgt_is_causal,
            memory_is_causal=memory_is_causal,
        )

    @staticmethod
    def generate_square_subsequent_mask(sz: int, device: Any = None, dtype: Any = None) -> Array:
        """Minus infinity above the diagonal, 0 elsewhere: query `i` looks at keys up to `i`."""
        zeros = init.zeros_(init.new((sz, sz), device, dtype))
        xp = array_namespace(zeros)
        i = xp.arange(sz, device=device_of(zeros))
        later = xp.expand_dims(i, axis=0) > xp.expand_dims(i, axis=1)
        return xp.where(later, xp.full_like(zeros, -math.inf), zeros)


def _own_layers(encoder: Module, decoder: Module) -> list[TransformerDecoderLayer]:
    """The first layer of a decoder of ours behind an encoder of ours, in a list, else none."""
    if not isinstance(encoder, TransformerEncoder) or not isinstance(decoder, TransformerDecoder):
        return []
    return [x for x in list(decoder.layers)[:1] if isinstance(x, TransformerDecoderLayer)]


def _activated(layer: Any, x: Array) -> Array:
    """`dropout(activation(x))`, the usual ones at once."""
    y = at_once({F.relu: "relu", F.gelu: "gelu"}.get(layer.activation), layer.dropout, x)
    return layer.dropout(layer.activation(x)) if y is None else y


def _activation(name: str, activation: Any) -> Callable[[Any], Any]:
    named: dict[str, Callable[[Any], Any]] = {"relu": F.relu, "gelu": F.gelu}
    if callable(activation):
        return cast(Callable[[Any], Any], activation)
    if not isinstance(activation, str) or activation not in named:
        raise ArgumentError(
            f"{name}: expected activation 'relu', 'gelu' or a function, got {activation!r}"
        )
    return named[activation]
