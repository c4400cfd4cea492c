"""How many floating-point operations a call of a layer takes: a rule for each kind.

A multiplication and an addition count as one operation each, so a multiply-add counts two, and so does one of an
activation such as `exp`. Sizes are read from shapes; nothing is computed. The rules count what the definition of the
layer asks for in eval mode; a kernel may do it with less.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from bpgpu import nn
from bpgpu import tree as trees
from bpgpu.nn import (
    activation,
    adaptive,
    conv,
    conv_transpose,
    dropout,
    padding,
    pooling,
    rectifier,
    recurrent,
    unpooling,
)

Rule = Callable[[Any, tuple[Any, ...], Any], int]
"""The layer, its inputs and its output -> the operations of this call."""


def operations(layer: Any, inputs: tuple[Any, ...], output: Any) -> int | None:
    """The operations of one call of a layer; `None` if its kind has no rule."""
    rule = rule_of(layer)
    return None if rule is None else rule(layer, inputs, output)


def rule_of(layer: Any) -> Rule | None:
    """The rule of the nearest class that has one."""
    return next((RULES[cls] for cls in type(layer).__mro__ if cls in RULES), None)


def size(x: Any) -> int:
    """The number of entries of the first array in `x`."""
    return math.prod(trees.leaves(x)[0].shape)


def free(layer: Any, inputs: tuple[Any, ...], output: Any) -> int:
    """Moves numbers, computes none: embeddings, shapes, padding, dropout in eval mode."""
    return 0


def per_output(n: int) -> Rule:
    """`n` operations for each number that comes out."""
    return lambda layer, inputs, output: n * size(output)


def linear(layer: Any, inputs: tuple[Any, ...], output: Any) -> int:
    """`in_features` multiply-adds for each number that comes out, and an addition of the bias."""
    return size(output) * (2 * int(layer.in_features) + _has(layer, "bias"))


def bilinear(layer: Any, inputs: tuple[Any, ...], output: Any) -> int:
    """`(in1 + 1) in2` multiply-adds for each number that comes out: first `x1^T W`, then its product with `x2`."""
    products = int((layer.in1_features + 1) * layer.in2_features)
    return size(output) * (2 * products + _has(layer, "bias"))


def convolution(layer: Any, inputs: tuple[Any, ...], output: Any) -> int:
    """`in_channels / groups * kernel` multiply-adds for each number that comes out, and the bias."""
    window: int = int(layer.in_channels) // int(layer.groups) * math.prod(layer.kernel_size)
    return size(output) * (2 * window + _has(layer, "bias"))


def transposed_convolution(layer: Any, inputs: tuple[Any, ...], output: Any) -> int:
    """`out_channels / groups * kernel` multiply-adds for each number that goes in, and the bias of the output."""
    window: int = int(layer.out_channels) // int(layer.groups) * math.prod(layer.kernel_size)
    return 2 * size(inputs[0]) * window + size(output) * _has(layer, "bias")


def recurrence(layer: Any, inputs: tuple[Any, ...], output: Any) -> int:
    """At each step of each sequence, a multiply-add for each weight and an addition for each bias; gates are free."""
    steps: int = math.prod(trees.leaves(inputs[0])[0].shape[:-1])
    shapes = [array.shape for array in layer.parameters().values()]
    per_step: int = sum(math.prod(s) * (2 if len(s) == 2 else 1) for s in shapes)
    return steps * per_step


def attention(layer: Any, inputs: tuple[Any, ...], output: Any) -> int:
    """Four projections with biases, `L S E` multiply-adds for scores and for values, and softmax of the scores.

    `L` is the length of the queries, `S` that of the keys, `E` the embedding, with a batch of `N`.
    """
    query, key, value = (tuple(map(int, x.shape)) for x in inputs[:3])
    e, heads = int(layer.embed_dim), int(layer.num_heads)
    bias = layer.in_proj_bias is not None
    rows, key_rows = math.prod(query[:-1]), math.prod(key[:-1])  # N L, N S
    source = key[-2] if layer.batch_first or len(key) == 2 else key[0]  # S
    projections = 2 * (2 * rows * e * e + key_rows * e * (key[-1] + value[-1]))
    biases = bias * e * 2 * (rows + key_rows)
    return projections + biases + rows * source * (4 * e + 3 * heads)


def normalisation(layer: Any, inputs: tuple[Any, ...], output: Any) -> int:
    """For each number: mean 1, difference 1, variance 2, scaling 1, and 2 with weight and bias."""
    return size(output) * (5 + 2 * _has(layer, "weight"))


def instance_normalisation(layer: Any, inputs: tuple[Any, ...], output: Any) -> int:
    """As any normalisation; with running statistics as batch normalisation."""
    rule = per_output(2) if layer.running_mean is not None else normalisation
    return rule(layer, inputs, output)


def rms_normalisation(layer: Any, inputs: tuple[Any, ...], output: Any) -> int:
    """For each number: mean square 2, scaling 1, and 1 with a weight."""
    return size(output) * (3 + _has(layer, "weight"))


def _has(layer: Any, name: str) -> bool:
    return getattr(layer, name, None) is not None


def pooling_window(layer: Any, inputs: tuple[Any, ...], output: Any) -> int:
    """An operation for each number in the window of each number that comes out."""
    kernel = layer.kernel_size
    inside: int = kernel**layer.n if isinstance(kernel, int) else math.prod(kernel)
    return size(output) * inside


def per_input(layer: Any, inputs: tuple[Any, ...], output: Any) -> int:
    """An operation for each number that goes in."""
    return size(inputs[0])


def _public(*modules: Any) -> list[type[nn.Module]]:
    """The layers that a file of `nn` defines."""
    return [
        cls
        for module in modules
        for cls in vars(module).values()
        if isinstance(cls, type)
        and issubclass(cls, nn.Module)
        and cls.__module__ == module.__name__
    ]


RULES: dict[type, Rule] = {
    **dict.fromkeys(_public(activation, rectifier), per_output(1)),
    **dict.fromkeys(_public(dropout, padding, unpooling), free),
    **dict.fromkeys(_public(pooling), pooling_window),
    **dict.fromkeys(_public(adaptive), per_input),
    **dict.fromkeys((nn.Softmax, nn.Softmax2d, nn.Softmin, nn.LogSoftmax), per_output(3)),
    nn.GLU: per_output(2),
    nn.Linear: linear,
    nn.Bilinear: bilinear,
    conv.ConvBase: convolution,
    **dict.fromkeys(_public(conv_transpose), transposed_convolution),
    **dict.fromkeys(_public(recurrent), recurrence),
    nn.MultiheadAttention: attention,
    **dict.fromkeys((nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d), per_output(2)),
    **dict.fromkeys((nn.LayerNorm, nn.GroupNorm), normalisation),
    **dict.fromkeys(
        (nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d), instance_normalisation
    ),
    nn.RMSNorm: rms_normalisation,
    **dict.fromkeys((nn.Embedding, nn.Identity, nn.Flatten, nn.Unflatten, nn.Unfold), free),
    **dict.fromkeys((nn.ChannelShuffle, nn.PixelShuffle, nn.PixelUnshuffle), free),
    nn.Fold: per_input,
    nn.Residual: per_output(1),
}

WHOLE: tuple[type, ...] = (nn.MultiheadAttention,)
"""Layers whose children are part of them: they compute with the weights of these, without calling them."""
