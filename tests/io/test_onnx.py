"""Export to ONNX, compared in ONNX Runtime."""

from __future__ import annotations

import functools
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bpgpu as bp
from bpgpu import nn
from bpgpu.errors import ArgumentError, ExportError, MissingPackageError, ShapeError

pytest.importorskip("ndonnx")
onnxruntime = pytest.importorskip("onnxruntime")

import onnx_cases  # noqa: E402 - beside this file

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
R = np.random.default_rng(0)


def normal(*shape: int) -> np.ndarray:
    return R.normal(size=shape).astype(np.float32)


def run(path: Path, *inputs: np.ndarray) -> list[np.ndarray]:
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = [i.name for i in session.get_inputs()]
    return session.run(None, dict(zip(names, inputs, strict=True)))


def mlp() -> Any:
    bp.seed(0)
    return nn.Sequential(
        nn.Linear(4, 8), nn.BatchNorm1d(8), nn.GELU(), nn.Dropout(), nn.Linear(8, 2)
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", onnx_cases.cases())
def test_a_layer_exports_as_the_page_says(name, tmp_path):
    result = onnx_cases.export(onnx_cases.cases()[name], tmp_path / "layer.onnx")
    assert onnx_cases.row(name, result) in onnx_cases.PAGE.read_text(), "run ci/onnx_table"


@pytest.mark.parametrize("size", [1, 2, 11, 64])
def test_the_batch_may_have_any_size(tmp_path_factory, size):
    model = mlp()
    path = tmp_path_factory.getbasetemp() / "mlp.onnx"
    if not path.exists():
        bp.io.onnx.export(model, normal(3, 4), path)
    x = normal(size, 4)
    np.testing.assert_allclose(run(path, x)[0], model.eval()(x), rtol=1e-5, atol=1e-5)


def test_shapes_are_those_of_the_example_without_a_dynamic_batch(tmp_path):
    bp.io.onnx.export(mlp(), normal(3, 4), tmp_path / "m.onnx", dynamic_batch=False)
    session = onnxruntime.InferenceSession(str(tmp_path / "m.onnx"))
    assert session.get_inputs()[0].shape == [3, 4]


def test_the_model_is_not_changed(tmp_path):
    model = mlp().train()
    state = {k: np.array(v) for k, v in model.state_dict().items()}
    bp.io.onnx.export(model, normal(3, 4), tmp_path / "m.onnx", dynamic_batch=False)
    assert model.training
    for k, v in model.state_dict().items():
        np.testing.assert_array_equal(v, state[k])
    assert set(model[0].__dict__) == set(nn.Linear(4, 8).__dict__)


def step(params: Any, x: Any, y: Any) -> Any:
    def loss(p: Any) -> Any:
        hidden = bp.functional.relu(bp.functional.linear(x, p["w"], p["b"]))
        return bp.functional.cross_entropy(hidden @ p["out"], y)

    value, grads = bp.value_and_grad(loss)(params)
    return {"loss": value, "params": {k: params[k] - np.float32(0.1) * grads[k] for k in params}}


def test_a_loss_and_update_step_exports_for_any_batch(tmp_path):
    params = {"w": normal(6, 4), "b": normal(6), "out": normal(6, 3)}
    example = (params, normal(8, 4), np.zeros(8, np.int64))
    bp.io.onnx.export(step, example, tmp_path / "step.onnx", dynamic_batch={1: 0, 2: 0})
    session = onnxruntime.InferenceSession(str(tmp_path / "step.onnx"))
    assert [i.name for i in session.get_inputs()] == [
        "params.w",
        "params.b",
        "params.out",
        "x",
        "y",
    ]
    names = [o.name for o in session.get_outputs()]
    x, y = normal(21, 4), R.integers(0, 3, 21)
    for _ in range(3):
        found = session.run(
            names, {**{f"params.{k}": v for k, v in params.items()}, "x": x, "y": y}
        )
        got = dict(zip(names, found, strict=True))
        want = step(params, x, y)
        np.testing.assert_allclose(got["output.loss"], want["loss"], rtol=1e-5)
        for k in params:
            np.testing.assert_allclose(
                got[f"output.params.{k}"], want["params"][k], rtol=1e-5, atol=1e-6
            )
        params = want["params"]


SCALE = np.float32([2.0, 3.0])
SHARED = nn.Linear(2, 2)


def shifted(x: Any) -> Any:
    return bp.functional.linear(x * SCALE, SHARED.weight)


def holders() -> dict[str, Any]:
    """Functions that hold arrays, each in another way."""
    bp.seed(0)
    model, weight = nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 2)), normal(2, 2)

    class Trainer:
        def __init__(self) -> None:
            self.model = model

        def loss(self, x: Any) -> Any:
            return bp.functional.mse_loss(self.model(x), x)

    return {
        "closure": lambda x: bp.functional.linear(x, weight),
        "closure of a Module": lambda x: model(x),
        "gradients of it": lambda x: bp.value_and_grad(lambda m: bp.functional.mse_loss(m(x), x))(
            model
        ),
        "default": lambda x, w=weight: bp.functional.linear(x, w),
        "globals": lambda x: SHARED(x) * SCALE,
        "function in globals": lambda x: shifted(x),
        "partial": functools.partial(bp.functional.linear, weight=weight),
        "method": Trainer().loss,
        "method of a Module": model.forward,
        "made by bpgpu": bp.value_and_grad(lambda x: bp.functional.mse_loss(model(x), x)),
    }


@pytest.mark.parametrize("name", list(holders()))
def test_arrays_that_a_function_holds_are_constants_of_the_file(tmp_path, name):
    function, x = holders()[name], normal(5, 2)
    bp.io.onnx.export(function, normal(3, 2), tmp_path / "a.onnx")
    for got, want in zip(run(tmp_path / "a.onnx", x), bp.tree.leaves(function(x)), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)
    assert type(SHARED.weight) is np.ndarray


def test_a_module_may_be_an_argument_with_its_buffers(tmp_path):
    model, x = mlp().eval(), normal(5, 4)
    bp.io.onnx.export(
        lambda m, x: m(x), (model, normal(3, 4)), tmp_path / "a.onnx", dynamic_batch={1: 0}
    )
    session = onnxruntime.InferenceSession(str(tmp_path / "a.onnx"))
    weights = {f"m.{path}": w * 2 for path, w in model.parameters().items()}
    (got,) = session.run(None, {**weights, "x": x})
    model.load_state_dict({k: w * 2 for k, w in model.parameters().items()}, strict=False)
    np.testing.assert_allclose(got, model(x), rtol=1e-5, atol=1e-5)
    assert type(model[1].running_mean) is np.ndarray


def test_an_array_of_another_library_that_forward_makes_is_told(tmp_path):
    class Masked(nn.Module):
        def forward(self, x: Any) -> Any:
            return bp.functional.linear(x, np.ones((2, 2), np.float32))

    with pytest.raises(ExportError, match=r"Masked '1': cannot be exported.*xp = bpgpu.array_name"):
        bp.io.onnx.export(nn.Sequential(nn.ReLU(), Masked()), normal(3, 2), tmp_path / "a.onnx")


def test_indices_may_be_of_any_integers(tmp_path):
    table, index = nn.Embedding(5, 3), np.asarray([[0, 4], [1, 1]], np.int32)
    bp.io.onnx.export(table, index, tmp_path / "a.onnx")
    np.testing.assert_array_equal(run(tmp_path / "a.onnx", index)[0], table(index))


def test_a_step_with_an_optimizer_exports(tmp_path):
    params = {"w": normal(4, 1), "b": normal(1)}
    optimizer = bp.optim.AdamW(nn.Linear(1, 1), lr=1e-2)
    state = optimizer.init(params)

    def update(p: Any, state: Any, x: Any, y: Any) -> Any:
        def loss(p: Any) -> Any:
            return bp.functional.mse_loss(x @ p["w"] + p["b"], y)

        value, grads = bp.value_and_grad(loss)(p)
        return value, *optimizer.update(grads, state, p)

    example = (params, state, normal(5, 4), normal(5, 1))
    path = tmp_path / "step.onnx"
    bp.io.onnx.export(update, example, path, dynamic_batch={2: 0, 3: 0})
    given = (params, state, normal(9, 4), normal(9, 1))
    found = run(path, *(np.asarray(leaf) for leaf in bp.tree.leaves(given)))
    for a, b in zip(found, bp.tree.leaves(update(*given)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


WEIGHTED = {
    "cross_entropy": lambda z, y, w: bp.functional.cross_entropy(z, y, weight=w),
    "cross_entropy, smoothed": lambda z, y, w: bp.functional.cross_entropy(
        z, y, weight=w, label_smoothing=0.1
    ),
    "cross_entropy, sum": lambda z, y, w: bp.functional.cross_entropy(
        z, y, weight=w, reduction="sum"
    ),
    "nll_loss": lambda z, y, w: bp.functional.nll_loss(
        bp.functional.log_softmax(z, 1), y, weight=w
    ),
    "nll_loss, without a class": lambda z, y, w: bp.functional.nll_loss(z, y, w, ignore_index=1),
    "multi_margin_loss": lambda z, y, w: bp.functional.multi_margin_loss(z, y, weight=w),
}


@pytest.mark.parametrize("name", WEIGHTED)
def test_a_step_with_weighted_classes_exports(tmp_path, name):
    def step(params: Any, x: Any, y: Any, weight: Any) -> Any:
        value, grads = bp.value_and_grad(lambda p: WEIGHTED[name](x @ p, y, weight))(params)
        return value, params - np.float32(0.1) * grads

    params, weight = normal(4, 3), np.asarray([0.5, 1.0, 2.0], np.float32)
    example = (params, normal(8, 4), np.arange(8) % 3, weight)
    bp.io.onnx.export(step, example, tmp_path / "step.onnx", dynamic_batch={1: 0, 2: 0})
    given = (params, normal(11, 4), np.arange(11) % 3, weight)
    for got, want in zip(run(tmp_path / "step.onnx", *given), step(*given), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)


def test_a_batch_on_another_axis_is_free(tmp_path):
    model = nn.GRU(4, 5)
    bp.io.onnx.export(model, normal(3, 2, 4), tmp_path / "m.onnx", dynamic_batch={0: 1})
    x = normal(3, 9, 4)
    np.testing.assert_allclose(run(tmp_path / "m.onnx", x)[0], model(x)[0], rtol=1e-5, atol=1e-6)


# ---- errors


class Cumbersome(nn.Module):
    def forward(self, x: Any) -> Any:
        xp = bp.array_namespace(x)
        return xp.fft.fft(x)


def test_a_layer_that_cannot_be_exported_is_named_and_nothing_is_written(tmp_path):
    model = nn.Sequential(nn.Linear(4, 4), nn.Sequential(nn.ReLU(), Cumbersome()))
    with pytest.raises(
        ExportError, match=r"Cumbersome '1\.1': cannot be exported to ONNX: AttributeError"
    ):
        bp.io.onnx.export(model, normal(3, 4), tmp_path / "m.onnx")
    assert list(tmp_path.iterdir()) == []


def test_an_old_file_stays_if_the_export_fails(tmp_path):
    path = tmp_path / "m.onnx"
    path.write_bytes(b"old")
    with pytest.raises(ExportError):
        bp.io.onnx.export(Cumbersome(), normal(3, 4), path)
    assert path.read_bytes() == b"old"


def test_a_loop_over_the_batch_is_told(tmp_path):
    def looped(x: Any) -> Any:
        return sum(x[i, ...] for i in range(x.shape[0]))

    with pytest.raises(ExportError, match="number of operations depends on the size of the batch"):
        bp.io.onnx.export(looped, normal(3, 4), tmp_path / "m.onnx")


def test_a_number_that_is_no_simple_function_of_the_size_is_told(tmp_path):
    with pytest.raises(ExportError, match="a constant depends on the size of the batch"):
        bp.io.onnx.export(lambda x: x * x.shape[0] ** 2, normal(3, 4), tmp_path / "m.onnx")


def test_an_array_of_the_size_of_the_batch_inside_the_model_is_told(tmp_path):
    inside = normal(3, 4)
    with pytest.raises(ExportError):
        bp.io.onnx.export(
            lambda x: x + bp.array_namespace(x).asarray(inside), normal(3, 4), tmp_path / "m.onnx"
        )


@pytest.mark.parametrize(
    ("model", "example", "kwargs", "error", "text"),
    [
        (3, normal(3, 4), {}, ArgumentError, "expected a Module or a function as model, got int"),
        (abs, (), {}, ArgumentError, "there is no array in the example"),
        (abs, np.float32(1), {}, ShapeError, r"has shape \(\) and no axis 0"),
        (max, (normal(3), normal(4)), {}, ShapeError, "batches of different sizes"),
        (
            abs,
            normal(3),
            {"dynamic_batch": {1: 0}},
            ArgumentError,
            "dynamic_batch is True, False or a dict",
        ),
        (lambda x: None, normal(3), {}, ExportError, "the model returned no array but NoneType"),
    ],
)
def test_what_cannot_be_exported_is_told(tmp_path, model, example, kwargs, error, text):
    with pytest.raises(error, match=text):
        bp.io.onnx.export(model, example, tmp_path / "m.onnx", **kwargs)
    assert list(tmp_path.iterdir()) == []


def test_a_shape_that_does_not_fit_is_told_with_the_layer(tmp_path):
    with pytest.raises(ShapeError, match="Linear '0'"):
        bp.io.onnx.export(mlp(), normal(3, 5), tmp_path / "m.onnx")


def test_without_ndonnx_the_error_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ndonnx", None)
    with pytest.raises(MissingPackageError, match=r'pip install "bpgpu\[onnx\]"'):
        bp.io.onnx.export(mlp(), normal(3, 4), tmp_path / "m.onnx")


def test_the_examples_of_the_page_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"__name__": "page"}
    for block in re.findall(r"```python\n(.*?)```", onnx_cases.PAGE.read_text(), re.DOTALL):
        exec(compile(block, str(onnx_cases.PAGE), "exec"), names)
