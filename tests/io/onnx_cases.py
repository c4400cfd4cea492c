"""What each layer is exported with: the layer, its inputs at a size of the batch, and where the batch is."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import bpgpu as bp
from bpgpu import nn
from nn.layer_cases import CASES, normal
from nn.layers_against_torch import Case, case

PAGE = Path(__file__).resolve().parents[2] / "docs" / "onnx.md"
BEGIN, END = "<!-- layers -->\n", "<!-- end of layers -->\n"
UNSEEN = 5
"""A size of the batch at which nothing is run for an export."""

SEQUENCES = normal(3, 4, 6)
_OWN = [
    *(case(name, 6, 5, 2, batch_first=True, on=SEQUENCES) for name in ("RNN", "LSTM", "GRU")),
    *(case(name, 6, 5, on=normal(3, 6)) for name in ("RNNCell", "LSTMCell", "GRUCell")),
    case("MultiheadAttention", 6, 2, batch_first=True, on=(SEQUENCES,) * 3),
    case("TransformerEncoderLayer", 6, 2, 8, batch_first=True, on=SEQUENCES),
    case("TransformerDecoderLayer", 6, 2, 8, batch_first=True, on=(SEQUENCES, SEQUENCES)),
    case("Transformer", 6, 2, 1, 1, 8, batch_first=True, on=(SEQUENCES, SEQUENCES)),
    case("Dropout", on=normal(3, 6)),
    case("AlphaDropout", on=normal(3, 6)),
    case("Dropout2d", on=normal(3, 4, 5, 6)),
    case("RReLU", on=normal(3, 6)),
]
OWN = {c.name: c for c in _OWN}
FIXED = {"CTCLoss", "Unflatten"}
"""Layers whose cases have the batch elsewhere."""


class Exported(NamedTuple):
    dynamic: bool
    error: str
    """Why it cannot be exported; empty if it can."""


def cases() -> dict[str, Case]:
    """A case for each layer, one with a batch if there is one."""
    found: dict[str, Case] = {}
    for c in CASES:
        if c.name not in found or (not dynamic(found[c.name]) and dynamic(c)):
            found[c.name] = c
    return dict(sorted({**found, **OWN}.items()))


def dynamic(c: Case) -> bool:
    """True if the first axis of all inputs is the batch."""
    if c.name in FIXED or any(isinstance(v, np.ndarray) for v in c.kwargs.values()):
        return False
    if any(isinstance(a, np.ndarray) and a.ndim > 1 for a in c.args):
        return False
    arrays = [x for x in (*c.inputs, *c.call.values()) if isinstance(x, np.ndarray)]
    return (
        all(x.ndim for x in arrays)
        and len({x.shape[0] for x in arrays}) == 1
        and arrays[0].shape[0] > 1
    )


def export(c: Case, path: Path) -> Exported:
    """Export a layer and compare it with ONNX Runtime at 1e-5; what the table says of it."""
    import onnxruntime

    bp.seed(0)
    layer = getattr(nn, c.name)(*c.args, **c.kwargs).eval()
    inputs = tuple(_single(x) for x in c.inputs)
    names = list(c.call)
    call = {k: _single(v) for k, v in c.call.items()}
    with_call = _with(layer, names) if names else layer
    example = (*inputs, *call.values())
    free = dynamic(c)
    try:
        bp.io.onnx.export(with_call, example, path, dynamic_batch=free)
    except bp.errors.ExportError as error:
        assert not path.exists()
        return Exported(free, str(error).partition("ONNX: ")[2])
    onnxruntime.set_default_logger_severity(4)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    for size in (UNSEEN, 2) if free else (None,):
        given = [_resized(x, size) if isinstance(x, np.ndarray) else x for x in example]
        arrays = [np.ascontiguousarray(x) for x in given if isinstance(x, np.ndarray)]
        got = session.run(
            None, dict(zip((i.name for i in session.get_inputs()), arrays, strict=True))
        )
        want = bp.tree.leaves(with_call(*given))
        for a, b in zip(got, want, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)
    return Exported(free, "")


class _With(nn.Module):
    """A layer whose keyword arguments are given by position."""

    def __init__(self, layer: Any, names: list[str]) -> None:
        super().__init__()
        self.layer, self.names = layer, names

    def forward(self, *args: Any) -> Any:
        count = len(args) - len(self.names)
        return self.layer(*args[:count], **dict(zip(self.names, args[count:], strict=True)))


def _with(layer: Any, names: list[str]) -> Any:
    return _With(layer, names).eval()


def _single(x: Any) -> Any:
    return x.astype(np.float32) if isinstance(x, np.ndarray) and x.dtype.kind == "f" else x


def _resized(x: Any, size: int | None) -> Any:
    return x if size is None else np.resize(x, (size, *x.shape[1:]))


def row(name: str, result: Exported) -> str:
    """What the table says of a layer."""
    if result.error:
        return f"| `{name}` | no: {result.error.replace('|', '/')} | |"
    return f"| `{name}` | yes | {'free' if result.dynamic else 'not tried'} |"
