"""Recurrent networks: stacks of layers over whole sequences, and the single steps of them."""

from __future__ import annotations

import math
import warnings
from typing import Any

from bpgpu import functional as F  # noqa: N812 - as everyone calls it
from bpgpu import random
from bpgpu.autodiff.array import device_of, raw
from bpgpu.autodiff.namespace import array_namespace
from bpgpu.errors import ArgumentError, ModuleError, ShapeError
from bpgpu.functional.arguments import tupled
from bpgpu.nn import init
from bpgpu.nn.module import Module
from bpgpu.nn.parameter import Parameter
from bpgpu.nn.streams import give_key
from bpgpu.nn.utils.rnn import PackedSequence, packed_like, pad_packed_sequence

Array = Any


class RNNBase(Module):
    """What RNN, LSTM and GRU have in common: layers, directions, their weights, and the order of axes.

    *Attributes* For layer `k`, and with `_reverse` for the direction back in time: `weight_ih_l{k}` of shape
    `(gates * hidden, input)`, `weight_hh_l{k}` `(gates * hidden, hidden)`, `bias_ih_l{k}` and `bias_hh_l{k}`
    `(gates * hidden,)`, and with a projection `weight_hr_l{k}` `(proj, hidden)`. From layer 1 on, the input is the
    output of the layer before, both directions one after another. All are drawn uniformly from `(-k, k)`,
    `k = 1 / sqrt(hidden_size)`.
    """

    gates = 1
    key: Any

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        name = type(self).__name__
        (self.input_size,) = tupled(name, "input_size", input_size, 1, least=1)
        (self.hidden_size,) = tupled(name, "hidden_size", hidden_size, 1, least=1)
        (self.num_layers,) = tupled(name, "num_layers", num_layers, 1, least=1)
        self.bias, self.batch_first, self.bidirectional = bias, batch_first, bidirectional
        self.dropout, self.proj_size = float(dropout), proj_size
        self._check_settings()
        if dropout > 0:
            give_key(self)
        bound = 1 / math.sqrt(hidden_size)
        for name, shape in self._shapes():
            weight = init.uniform_(init.new(shape, device, dtype), -bound, bound)
            self.register_parameter(name, Parameter(weight))

    def _check_settings(self) -> None:
        name = type(self).__name__
        if not 0 <= self.dropout <= 1:
            raise ArgumentError(f"{name}: dropout must be in [0, 1], got {self.dropout}")
        if self.dropout > 0 and self.num_layers == 1:
            warnings.warn(
                f"{name}: dropout acts between layers, and there is only one", stacklevel=4
            )
        if not 0 <= self.proj_size < self.hidden_size:
            raise ArgumentError(
                f"{name}: proj_size must be smaller than hidden_size={self.hidden_size}, got {self.proj_size}"
            )

    @property
    def _width(self) -> int:
        return self.proj_size or self.hidden_size

    @property
    def _suffixes(self) -> tuple[str, ...]:
        return ("", "_reverse") if self.bidirectional else ("",)

    def _shapes(self) -> list[tuple[str, tuple[int, ...]]]:
        rows = self.gates * self.hidden_size
        found: list[tuple[str, tuple[int, ...]]] = []
        for k in range(self.num_layers):
            size = self.input_size if k == 0 else self._width * len(self._suffixes)
            for suffix in self._suffixes:
                end = f"_l{k}{suffix}"
                found += [
                    (f"weight_ih{end}", (rows, size)),
                    (f"weight_hh{end}", (rows, self._width)),
                ]
                if self.bias:
                    found += [(f"bias_ih{end}", (rows,)), (f"bias_hh{end}", (rows,))]
                if self.proj_size:
                    found.append((f"weight_hr{end}", (self.proj_size, self.hidden_size)))
        return found

    def _weights(self, k: int, suffix: str) -> list[Any]:
        end = f"_l{k}{suffix}"
        names = ["weight_ih", "weight_hh", *(["bias_ih", "bias_hh"] if self.bias else [])]
        found = [getattr(self, name + end) for name in names]
        if self.proj_size:
            found += [None] * (4 - len(found)) + [getattr(self, f"weight_hr{end}")]
        return found

    def _layer(
        self, x: Array, state: tuple[Array, ...], weights: list[Any], mask: Any, reverse: bool
    ) -> tuple[Array, tuple[Array, ...]]:
        """One layer in one direction; every subclass has its own."""
        raise ModuleError(f"{type(self).__name__} is a base; use RNN, LSTM or GRU")

    def _run(
        self, input: Array, states: tuple[Array | None, ...], lengths: Any
    ) -> tuple[Array, tuple[Array, ...]]:
        """All layers: `(T, N, I)` in torch's order of axes, the states `(layers * directions, N, H)`."""
        name = type(self).__name__
        if isinstance(input, PackedSequence):
            padded, lengths = pad_packed_sequence(input, self.batch_first)
            y, last_states = self._run(padded, states, lengths)
            return packed_like(input, y, self.batch_first), last_states
        if input.ndim not in (2, 3) or input.shape[-1] != self.input_size:
            axes = "N, T" if self.batch_first else "T, N"
            raise ShapeError(
                f"expected input ({axes}, {self.input_size}) or (T, {self.input_size}), got {tuple(input.shape)}"
            )
        xp = array_namespace(input, *self._weights(0, ""))
        batched = input.ndim == 3
        x = input if batched else xp.expand_dims(input, axis=1)
        if self.batch_first and batched:
            x = xp.permute_dims(x, (1, 0, 2))
        mask = _mask(xp, name, lengths, x)
        found = self._states(xp, x, states, batched)
        last: list[tuple[Array, ...]] = []
        for k in range(self.num_layers):
            outputs = []
            for d, suffix in enumerate(self._suffixes):
                at = k * len(self._suffixes) + d
                state = tuple(s[at, ...] for s in found)
                y, ends = self._layer(x, state, self._weights(k, suffix), mask, d == 1)
                outputs.append(y)
                last.append(ends)
            x = outputs[0] if len(outputs) == 1 else xp.concat(outputs, axis=-1)
            if self.dropout > 0 and self.training and k < self.num_layers - 1:
                x = F.dropout(x, self.dropout, key=raw(self.key))
                self.key = random.advance(raw(self.key))
        states = tuple(xp.stack(parts, axis=0) for parts in zip(*last, strict=True))
        if not batched:
            return xp.squeeze(x, axis=1), tuple(xp.squeeze(s, axis=1) for s in states)
        return (xp.permute_dims(x, (1, 0, 2)) if self.batch_first else x), states

    def _states(
        self, xp: Any, x: Array, states: tuple[Array | None, ...], batched: bool
    ) -> tuple[Array, ...]:
        """The initial states, zeros where none are given."""
        count, n = self.num_layers * len(self._suffixes), x.shape[1]
        found = []
        for i, state in enumerate(states):
            shape = (count, n, self._width if i == 0 else self.hidden_size)
            if state is None:
                found.append(xp.zeros(shape, dtype=x.dtype, device=device_of(x)))
                continue
            given = state if batched else xp.expand_dims(state, axis=1)
            if tuple(given.shape) != shape:
                raise ShapeError(
                    f"expected a state of shape {shape if batched else shape[:1] + shape[2:]}, got "
                    f"{tuple(state.shape)}: layers times directions, examples, size"
                )
            found.append(given)
        return tuple(found)

    def extra_repr(self) -> str:
        parts = [f"{self.input_size}, {self.hidden_size}"]
        if self.proj_size:
            parts.append(f"proj_size={self.proj_size}")
        defaults = {
            "num_layers": 1,
            "bias": True,
            "batch_first": False,
            "dropout": 0.0,
            "bidirectional": False,
        }
        parts += [
            f"{name}={getattr(self, name)}"
            for name, default in defaults.items()
            if getattr(self, name) != default
        ]
        return ", ".join(parts)


class RNN(RNNBase):
    """Layers of an Elman network: `h_t = tanh(W_ih x_t + b_ih + W_hh h_(t-1) + b_hh)`.

    *Shape* input `(T, N, I)`, with `batch_first` `(N, T, I)`, or `(T, I)`; `hx` `(layers * directions, N, H)`, zeros
    if absent. The result is the output of the last layer, `(T, N, directions * H)`, and the last states, like `hx`.

    *Parameters* `nonlinearity`: "tanh" or "relu". `dropout`: of the outputs of all layers but the last, in training.
    `bidirectional`: a second set of weights runs back in time, its outputs stand beside those of the first.
    At the call: `lengths` `(N,)`, how many steps of each sequence are there; the rest is padding. The input may be a
    `PackedSequence` of `nn.utils.rnn` too, then the output is one.

    *References* J. Elman (1990), "Finding structure in time".
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        nonlinearity: str = "tanh",
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        if nonlinearity not in ("tanh", "relu"):
            raise ArgumentError(f"RNN: nonlinearity must be 'tanh' or 'relu', got {nonlinearity!r}")
        super().__init__(
            *(input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional),
            device=device,
            dtype=dtype,
        )
        self.nonlinearity = nonlinearity

    def _layer(self, x: Any, state: Any, weights: list[Any], mask: Any, reverse: bool) -> Any:
        settings = {"nonlinearity": self.nonlinearity, "mask": mask, "reverse": reverse}
        y, h = F.rnn(x, state[0], *weights, **settings)
        return y, (h,)

    def forward(
        self, input: Array, hx: Array | None = None, *, lengths: Any = None
    ) -> tuple[Array, Array]:
        y, (h,) = self._run(input, (hx,), lengths)
        return y, h


class GRU(RNNBase):
    """Layers of gated recurrent units; see `functional.gru` for the formula, `RNN` for shapes and parameters.

    *References* K. Cho et al. (2014), "Learning phrase representations using RNN encoder-decoder".
    """

    gates = 3

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(
            *(input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional),
            device=device,
            dtype=dtype,
        )

    def _layer(self, x: Any, state: Any, weights: list[Any], mask: Any, reverse: bool) -> Any:
        y, h = F.gru(x, state[0], *weights, mask=mask, reverse=reverse)
        return y, (h,)

    def forward(
        self, input: Array, hx: Array | None = None, *, lengths: Any = None
    ) -> tuple[Array, Array]:
        y, (h,) = self._run(input, (hx,), lengths)
        return y, h


class LSTM(RNNBase):
    """Layers of long short-term memory; see `functional.lstm` for the formula, `RNN` for shapes and parameters.

    The state is a pair: `h` of shape `(layers * directions, N, H)`, or `P` in place of `H` with a projection, and `c`
    of shape `(layers * directions, N, H)`. `proj_size`: the output of each step is mapped to so many numbers.

    *References* S. Hochreiter and J. Schmidhuber (1997), "Long short-term memory"; H. Sak et al. (2014) for the
    projection.
    """

    gates = 4

    def _layer(self, x: Any, state: Any, weights: list[Any], mask: Any, reverse: bool) -> Any:
        return F.lstm(x, state, *weights, mask=mask, reverse=reverse)

    def forward(
        self, input: Array, hx: tuple[Array, Array] | None = None, *, lengths: Any = None
    ) -> tuple[Array, tuple[Array, Array]]:
        y, (h, c) = self._run(input, (None, None) if hx is None else tuple(hx), lengths)
        return y, (h, c)


def _mask(xp: Any, name: str, lengths: Any, x: Array) -> Any:
    """`(T, N)`, true where a sequence is there."""
    if lengths is None:
        return None
    counts = raw(xp.asarray(lengths))
    if tuple(counts.shape) != (x.shape[1],):
        raise ShapeError(
            f"{name}: expected lengths of shape ({x.shape[1]},), one for each sequence, got {tuple(counts.shape)}"
        )
    steps = xp.arange(x.shape[0], dtype=counts.dtype, device=device_of(x))
    return raw(xp.expand_dims(steps, axis=1) < counts)


# ---- single steps


class _Cell(Module):
    """One step of one layer, for loops of one's own.

    *Attributes* `weight_ih` `(gates * hidden, input)`, `weight_hh` `(gates * hidden, hidden)`, `bias_ih` and
    `bias_hh` `(gates * hidden,)`, drawn uniformly from `(-k, k)`, `k = 1 / sqrt(hidden_size)`."""

    gates = 1
    weight_ih: Any
    weight_hh: Any
    bias_ih: Any
    bias_hh: Any

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        self.input_size, self.hidden_size, self.bias = input_size, hidden_size, bias
        bound, rows = (
            1 / math.sqrt(hidden_size) if hidden_size > 0 else 0.0,
            self.gates * hidden_size,
        )
        shapes = {"weight_ih": (rows, input_size), "weight_hh": (rows, hidden_size)}
        for name, shape in shapes.items():
            weight = init.uniform_(init.new(shape, device, dtype), -bound, bound)
            self.register_parameter(name, Parameter(weight))
        for name in ("bias_ih", "bias_hh"):
            new = init.uniform_(init.new((rows,), device, dtype), -bound, bound) if bias else None
            self.register_parameter(name, None if new is None else Parameter(new))

    def _step(self, f: Any, input: Array, states: tuple[Array | None, ...]) -> tuple[Array, ...]:
        """Run a layer over a sequence of one step."""
        if input.ndim not in (1, 2) or input.shape[-1] != self.input_size:
            raise ShapeError(
                f"expected input (N, {self.input_size}) or ({self.input_size},), got {tuple(input.shape)}"
            )
        xp = array_namespace(input, self.weight_ih)
        batched = input.ndim == 2
        x = input if batched else xp.expand_dims(input, axis=0)
        found = []
        for state in states:
            if state is None:
                shape = (x.shape[0], self.hidden_size)
                found.append(xp.zeros(shape, dtype=x.dtype, device=device_of(x)))
            else:
                found.append(state if batched else xp.expand_dims(state, axis=0))
        weights = (self.weight_ih, self.weight_hh, self.bias_ih, self.bias_hh)
        _, last = f(
            xp.expand_dims(x, axis=0), tuple(found) if len(found) > 1 else found[0], *weights
        )
        last = last if isinstance(last, tuple) else (last,)
        return last if batched else tuple(xp.squeeze(s, axis=0) for s in last)

    def extra_repr(self) -> str:
        bias = "" if self.bias else ", bias=False"
        return f"{self.input_size}, {self.hidden_size}{bias}"


class RNNCell(_Cell):
    """One step of an RNN: `h' = tanh(W_ih x + b_ih + W_hh h + b_hh)`.

    *Shape* input `(N, I)` or `(I,)`, `hx` `(N, H)`, zeros if absent; the result is the new `h`.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        nonlinearity: str = "tanh",
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        if nonlinearity not in ("tanh", "relu"):
            raise ArgumentError(
                f"RNNCell: nonlinearity must be 'tanh' or 'relu', got {nonlinearity!r}"
            )
        super().__init__(input_size, hidden_size, bias, device, dtype)
        self.nonlinearity = nonlinearity

    def extra_repr(self) -> str:
        shown = "" if self.nonlinearity == "tanh" else f", nonlinearity={self.nonlinearity}"
        return super().extra_repr() + shown

    def forward(self, input: Array, hx: Array | None = None) -> Array:
        def layer(*args: Any) -> Any:
            return F.rnn(*args, nonlinearity=self.nonlinearity)

        return self._step(layer, input, (hx,))[0]


class GRUCell(_Cell):
    """One step of a GRU; see `functional.gru`.

    *Shape* input `(N, I)` or `(I,)`, `hx` `(N, H)`, zeros if absent; the result is the new `h`.
    """

    gates = 3

    def forward(self, input: Array, hx: Array | None = None) -> Array:
        return self._step(F.gru, input, (hx,))[0]


class LSTMCell(_Cell):
    """One step of an LSTM; see `functional.lstm`.

    *Shape* input `(N, I)` or `(I,)`, `hx` the pair `h`, `c`, each `(N, H)`, zeros if absent; the result is the new
    pair."""

    gates = 4

    def forward(self, input: Array, hx: tuple[Array, Array] | None = None) -> tuple[Array, Array]:
        h, c = self._step(F.lstm, input, (None, None) if hx is None else tuple(hx))
        return h, c
