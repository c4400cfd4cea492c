"""The lint of steps that are to be captured: what it refuses, and that the library's own steps pass."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import bpgpu as bp
from bpgpu.backend import lint
from bpgpu.errors import CaptureError
from bpgpu.testing import capture_lint

nn, F, optim = bp.nn, bp.functional, bp.optim
rng = np.random.default_rng(0)


def floats(*shape: int) -> Any:
    return rng.normal(size=shape).astype(np.float32)


def classes(*shape: int, count: int = 5) -> Any:
    return rng.integers(0, count, shape)


# ---- what it refuses

w = np.ones(3)
many = [np.ones(2) for _ in range(9)]

REFUSED: dict[str, tuple[Callable[[Any], Any], str]] = {
    "float": (lambda x: w * float(x[0]), "float(x): the host waits"),
    "int": (lambda x: w * int(x[0]), "int(x)"),
    "bool": (lambda x: w if bool(x[0]) else x, "bool(x), or `if` on an array"),
    "if": (lambda x: w if x[0] > 0 else x, "bool(x), or `if` on an array"),
    "item": (lambda x: w * x[0].item(), "x.item()"),
    "text": (lambda x: f"{x}", "the text of an array"),
    "to_numpy": (bp.to_numpy, "to_numpy(x)"),
    "a list as an array": (lambda x: bp.array_namespace(x).asarray([1.0, 2.0, 3.0]) * x, "asarray of a list"),
    "a number as an array": (lambda x: bp.array_namespace(x).asarray(1.0) * x, "asarray of a float"),
    "an array of NumPy": (
        lambda x: bp.array_namespace(x).asarray(np.arange(3)) * x,
        "asarray of an array of NumPy",
    ),
    "an index with a list": (lambda x: x[[0, 1]], "an index with a list"),
    "a mask": (lambda x: x[x > 0], "an index with a mask"),
    "nonzero": (lambda x: bp.array_namespace(x).nonzero(x), "nonzero: the shape of its result depends"),
    "unique": (lambda x: bp.array_namespace(x).unique_values(x), "unique_values: the shape"),
    "values of the host": (lambda x: x.__setitem__(slice(2), [1.0, 2.0]), "it is copied from the host"),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
def test_what_a_graph_cannot_hold_is_refused(what: str) -> None:
    step, words = REFUSED[what]
    with pytest.raises(CaptureError) as caught:
        capture_lint(step, np.ones(3), warm_up=0)
    assert words in str(caught.value)
    assert "the host is not asked while it is replayed" in str(caught.value)


def test_joining_many_arrays_by_the_librarys_own_function_is_refused() -> None:
    arrays = [lint.CheckedArray(x) for x in many]
    with pytest.raises(
        CaptureError, match="stack of 9 arrays: more than 8 need a table of the host"
    ):
        lint._Joins(lint.namespace).stack(arrays)
    assert bp.array_namespace(*arrays).stack(arrays).shape == (9, 2)
    assert bp.array_namespace(*arrays).concat(arrays, axis=None).shape == (18,)


def test_numpy_does_not_take_the_arrays_by_itself() -> None:
    with pytest.raises(TypeError, match="Implicit conversion to a NumPy array is not allowed"):
        np.asarray(lint.CheckedArray(np.ones(3)))
    with pytest.raises(TypeError, match="an array of the host among arrays of the device"):
        lint.CheckedArray(np.ones(3)) + np.ones(3)


# ---- what is left behind


def test_the_checked_run_leaves_no_mark() -> None:
    model = nn.Linear(3, 2)
    opt = optim.Adam(model)

    def step(x: Any) -> None:
        opt.step(bp.grad(lambda m: m(x).sum())(model))

    x = floats(4, 3)
    capture_lint(step, x)
    again = nn.Linear(3, 2)
    again.load_state_dict(model.state_dict())
    assert type(model.weight) is np.ndarray
    weight, moment = model.weight.copy(), opt.state_dict()
    capture_lint(step, x, warm_up=0)
    np.testing.assert_array_equal(model.weight, weight)
    assert float(opt.state_dict()["state"]["weight"]["step"]) == float(
        moment["state"]["weight"]["step"]
    )


def test_a_compiled_step_is_taken_as_the_step_that_it_is() -> None:
    model, x = nn.Linear(3, 2), floats(4, 3)
    step = bp.compile(lambda x: model(x).sum())
    capture_lint(step, x)
    assert step.calls == 0


# ---- the library's own steps


def checked(
    model: Any,
    x: Any,
    y: Any,
    *,
    opt: Any = None,
    loss: Any = F.cross_entropy,
    more: Callable[[Any], Any] = lambda grads: grads,
    after: Callable[[], Any] = lambda: None,
) -> None:
    opt = optim.SGD(model, lr=0.1, momentum=0.9) if opt is None else opt

    def step(x: Any, y: Any) -> Any:
        value, grads = bp.value_and_grad(lambda m: loss(m(x), y))(model)
        grads = more(grads)
        if grads is not None:
            opt.step(grads)
        after()
        return value

    capture_lint(step, x, y)


def mlp() -> Any:
    return nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Dropout(0.5), nn.Linear(16, 5))


OPTIMIZERS = (
    *("SGD", "Adam", "AdamW", "RMSprop", "Adagrad", "Adadelta", "Adamax", "NAdam", "RAdam"),
    *("Rprop", "ASGD", "Lion", "LAMB", "Adafactor"),
)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_step_of_each_optimizer_passes(name: str) -> None:
    model = mlp()
    checked(model, floats(4, 8), classes(4), opt=getattr(optim, name)(model, lr=1e-2))


def test_muon_passes() -> None:
    model = nn.Sequential(nn.Linear(8, 16, bias=False), nn.Tanh(), nn.Linear(16, 5, bias=False))
    checked(model, floats(4, 8), classes(4), opt=optim.Muon(model))


def test_clipping_averaging_and_accumulation_pass() -> None:
    clip = [lambda g: optim.clip_grad_norm(g, 1.0)[0], lambda g: optim.clip_grad_value(g, 0.1)]
    for more in clip:
        checked(mlp(), floats(4, 8), classes(4), more=more)
    model = mlp()
    average = optim.EMA(model, 0.9)
    checked(model, floats(4, 8), classes(4), after=average.step)


def test_a_schedule_outside_of_the_step_is_a_number_of_the_device() -> None:
    model = mlp()
    opt = optim.AdamW(model, lr=1e-2)
    schedule = optim.lr_scheduler.CosineAnnealingLR(opt, 10)
    checked(model, floats(4, 8), classes(4), opt=opt)
    schedule.step()
    assert type(opt.lr) is float


def test_a_convolutional_network_passes() -> None:
    model = nn.Sequential(
        *(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(4, 4, 3, stride=2), nn.AvgPool2d(2, 1), nn.AdaptiveAvgPool2d(1)),
        *(nn.Flatten(), nn.Dropout(0.3), nn.Linear(4, 5)),
    )
    checked(model, floats(2, 3, 12, 12), classes(2))


class Last(nn.Module):
    """Scores from the last state of a recurrent layer over embedded words."""

    def __init__(self, layer: Any) -> None:
        super().__init__()
        self.words = nn.Embedding(7, 6)
        self.layer = layer
        self.score = nn.Linear(8, 5)

    def forward(self, x: Any) -> Any:
        h, _ = self.layer(self.words(x))
        return self.score(h[-1, ...])


@pytest.mark.parametrize("name", ["RNN", "LSTM", "GRU"])
def test_recurrent_networks_over_many_steps_pass(name: str) -> None:
    model = Last(getattr(nn, name)(6, 8, num_layers=2, dropout=0.1))
    checked(model, classes(12, 3, count=7), classes(3))


class Encoder(nn.Module):
    """Scores for each place from a Transformer over embedded words."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(7, 8)
        layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.1, batch_first=True)
        self.layers = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.score = nn.Linear(8, 5)

    def forward(self, x: Any) -> Any:
        return self.score(self.layers(self.words(x))).mT


def test_a_transformer_passes() -> None:
    checked(Encoder(), classes(3, 10, count=7), classes(3, 10))


NORMS = {
    "LayerNorm": lambda: nn.LayerNorm(8),
    "RMSNorm": lambda: nn.RMSNorm(8),
    "GroupNorm": lambda: nn.GroupNorm(2, 8),
    "BatchNorm1d": lambda: nn.BatchNorm1d(8),
}


@pytest.mark.parametrize("name", NORMS)
def test_normalisations_pass(name: str) -> None:
    model = nn.Sequential(nn.Linear(8, 8), NORMS[name](), nn.GELU(), nn.Linear(8, 5))
    checked(model, floats(4, 8), classes(4))


LOSSES = ("mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss", "binary_cross_entropy_with_logits")


@pytest.mark.parametrize("name", LOSSES)
def test_losses_pass(name: str) -> None:
    checked(nn.Linear(8, 5), floats(4, 8), abs(floats(4, 5)) % 1, loss=getattr(F, name))
