"""Modules written for torch run with only their imports replaced.

Each file of `models/` is code for torch. It is run twice: as it is, and with `torch` in its import lines replaced by
`bpgpu`. Both get the same weights (torch's `state_dict`), take two training steps and an evaluation; outputs, loss, the
gradient of every parameter and the state after each step must agree in float64.
"""

from __future__ import annotations

import re
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch

import bpgpu as bp
from gradients import numpy_of
from torch_compare import FIRST, VALUE, given, outputs

MODELS = Path(__file__).parent / "models"
RATE = 0.1


def load(name: str, library: str) -> ModuleType:
    """A file of `models/` as a module, its imports from torch made imports from `library`."""
    source = (MODELS / f"{name}.py").read_text()
    source = re.sub(r"^(import|from) torch\b", rf"\1 {library}", source, flags=re.MULTILINE)
    module = ModuleType(f"{name}_on_{library}")
    exec(compile(source, f"{name}.py on {library}", "exec"), module.__dict__)
    return module


class Port(NamedTuple):
    """A file, the arguments of its `build`, and what its `loss` gets besides the model."""

    name: str
    inputs: tuple[Any, ...]
    settings: dict[str, Any]
    """With `dropout`, training is compared at 0 and evaluation at that probability: masks differ from torch's."""

    def __str__(self) -> str:
        return "-".join([self.name, *(f"{k}={v}" for k, v in self.settings.items())])


def port(name: str, *inputs: Any, **settings: Any) -> Port:
    return Port(name, inputs, settings)


def normal(*shape: int) -> np.ndarray:
    return np.random.default_rng(shape).normal(size=shape)


def integers(high: int, *shape: int, low: int = 0) -> np.ndarray:
    return np.random.default_rng(shape).integers(low, high, shape)


def padded(tokens: np.ndarray) -> np.ndarray:
    """The last tokens of the first column replaced by padding."""
    tokens[-2:, 0] = 0
    return tokens


TAGS = integers(5, 3, 6)
TAGS[0, 3:] = -100
IMAGES = normal(3, 3, 18, 18)
PORTS = [
    port("lenet", normal(4, 1, 28, 28), integers(10, 4)),
    port("alexnet", normal(2, 3, 67, 67), integers(10, 2), dropout=0.5),
    port("resnet", IMAGES, integers(7, 3)),
    port("resnet", IMAGES, integers(7, 3), block="Bottleneck", zero_init_residual=True),
    port("unet", normal(2, 2, 11, 14), integers(3, 2, 11, 14)),
    port("unet", normal(2, 2, 11, 14), integers(3, 2, 11, 14), bilinear=True),
    port("tied_language_model", *[padded(integers(11, 7, 3))] * 2, dropout=0.5),
    port("tied_language_model", *[padded(integers(11, 7, 3))] * 2, rnn_type="GRU", dropout=0.2),
    port("tied_language_model", *[integers(11, 7, 3)] * 2, rnn_type="RNN_RELU", dropout=0.0),
    port("gru_tagger", padded(integers(13, 3, 6)), integers(7, 3, 6, 4), TAGS, dropout=0.3),
    port("seq2seq", padded(integers(9, 5, 3, low=1)), padded(integers(9, 6, 3, low=1))),
    port("vae", np.clip(np.abs(normal(3, 1, 8, 8)) / 3, 0, 1), normal(3, 3)),
    port("siamese", *(normal(n, 1, 16, 16)[:4, ...] for n in (4, 5, 6))),
    port("wavenet", integers(8, 2, 20), normal(2, 2, 20), integers(8, 2, 6)),
    port("mobilenet", normal(4, 3, 17, 17), integers(5, 4), dropout=0.2),
    port("convnext", normal(2, 3, 16, 16), normal(2, 4)),
    port("dcgan", normal(3, 2, 16, 16), normal(3, 5, 1, 1), np.ones(3)),
    port(
        "speech",
        normal(3, 1, 6, 10),
        integers(5, 3, 4, low=1),
        np.asarray([10, 9, 3]),
        np.asarray([4, 2, 3]),
    ),
    port("gpt", integers(12, 2, 7), integers(12, 2, 7), dropout=0.1),
    port("gpt", integers(12, 2, 7), integers(12, 2, 7), dropout=0.1, bias=True, flash=False),
    port("vit", normal(2, 3, 12, 12), integers(5, 2), dropout=0.1),
    port("vit", normal(2, 3, 12, 12), integers(5, 2), dropout=0.1, stock=True),
    port(
        "translator",
        padded(integers(9, 5, 3, low=1)),
        padded(integers(9, 6, 3, low=1)),
        dropout=0.1,
    ),
]


def to_library(module: Any, xp: Any) -> Any:
    """Make every array of a Module one of the library under test; tied ones stay tied."""
    new: dict[int, Any] = {}
    for m in module.modules():
        for name, value in m.__dict__.items():
            if hasattr(value, "shape") and hasattr(value, "dtype"):
                if id(value) not in new:
                    new[id(value)] = given(xp, np.array(numpy_of(value)))
                m.__dict__[name] = new[id(value)]
    return module


@pytest.mark.filterwarnings("ignore:enable_nested_tensor")  # of torch's own Transformer
@pytest.mark.parametrize("case", PORTS, ids=str)
def test_a_torch_module_runs_with_its_import_replaced(xp, case):
    theirs_text, ours_text = load(case.name, "torch"), load(case.name, "bpgpu")
    training = case.settings | ({"dropout": 0.0} if "dropout" in case.settings else {})
    torch.manual_seed(2)
    theirs = theirs_text.build(**training).double()
    state = {k: numpy_of(v) for k, v in theirs.state_dict().items()}
    ours = to_library(ours_text.build(**training).to(dtype="float64"), xp)
    assert set(ours.state_dict()) == set(state)
    ours.load_state_dict(state)
    for step in range(2):
        step_both(xp, case, (ours_text, ours.train()), (theirs_text, theirs.train()), step)

    state = {k: numpy_of(v) for k, v in theirs.state_dict().items()}
    theirs = theirs_text.build(**case.settings).double().eval()
    theirs.load_state_dict({k: torch.asarray(v) for k, v in state.items()})
    ours = to_library(ours_text.build(**case.settings).to(dtype="float64").eval(), xp)
    ours.load_state_dict(state)
    step_both(xp, case, (ours_text, ours), (theirs_text, theirs), 2)
    assert all(type(x) is type(xp.ones(1)) for x in ours.state_dict().values())
    if xp.__name__.endswith("numpy"):
        value, _ = ours_text.loss(ours, *case.inputs)
        reference, _ = theirs_text.loss(theirs, *(given(torch, x) for x in case.inputs))
        agree({"loss": value}, {"loss": reference}, VALUE, "without a gradient")


def step_both(xp: Any, case: Port, ours: Any, theirs: Any, step: int) -> None:
    """A step of gradient descent on both sides; everything that can be seen of it is compared."""
    inputs = [np.roll(x, step, axis=0) for x in case.inputs]
    (ours_text, model), (theirs_text, reference) = ours, theirs

    wanted = dict(reference.named_parameters())
    value, ys = theirs_text.loss(reference, *(given(torch, x) for x in inputs))
    grads = torch.autograd.grad(value, list(wanted.values()), allow_unused=True)
    with torch.no_grad():
        for p, g in zip(wanted.values(), grads, strict=True):
            if g is not None:
                p.sub_(RATE * g)

    optimizer = bp.optim.SGD(model, RATE)
    (mine, my_ys), my_grads = bp.value_and_grad(ours_text.loss, has_aux=True)(
        model, *(given(xp, x) for x in inputs)
    )
    optimizer.step(my_grads)

    agree({"loss": mine}, {"loss": value}, VALUE, f"step {step}")
    agree(
        dict(enumerate(outputs(my_ys))), dict(enumerate(outputs(ys))), VALUE, f"output, step {step}"
    )
    agree(my_grads, dict(zip(wanted, grads, strict=True)), FIRST, f"gradient, step {step}")
    agree(model.state_dict(), reference.state_dict(), FIRST, f"state after step {step}")


def agree(mine: Any, reference: Any, tolerance: float, what: str) -> None:
    assert set(mine) == set(reference), what
    for k, theirs in reference.items():
        if theirs is None or mine[k] is None:
            assert theirs is mine[k], f"{what}: {k}"
            continue
        b, a = numpy_of(theirs), numpy_of(mine[k])
        assert a.shape == b.shape, f"{what}: {k}"
        error = np.max(np.abs(a - b) / (1 + np.abs(b)), initial=0.0)
        assert error <= tolerance, f"{what}: {k} differs by {error:.1e}"
