"""The same training on the CPU and on the second device of array-api-strict: nothing moves arrays behind one's back."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import bpgpu as bp
from bpgpu.functional import cross_entropy
from bpgpu.train import meters, nonfinite, progress
from train.training import arrays, classes, fit_classes, mlp


def put(model: Any, convert: Any) -> Any:
    """All arrays of a model in another library."""
    for module in model.modules():
        for name, value in list(module.__dict__.items()):
            if hasattr(value, "dtype") and hasattr(value, "shape"):
                module.__dict__[name] = convert(value)
    return model


def network() -> Any:
    return mlp(3, 3, bp.nn.BatchNorm1d(8), bp.nn.Dropout)


def train(model: Any, convert: Any, **options: Any) -> Any:
    data, held_out = (tuple(map(convert, classes(n))) for n in (60, 20))
    optimizer = bp.optim.SGD(model, lr=0.1, momentum=0.9)
    return fit_classes(
        model,
        data,
        optimizer=optimizer,
        schedule=bp.optim.lr_scheduler.StepLR(optimizer, 1),
        epochs=3,
        validation=held_out,
        metrics=["accuracy", "f1_macro"],
        ema=0.9,
        accumulate=2,
        clip_grad_norm=1.0,
        class_weight=[1.0, 2.0, 0.5],
        stop=bp.train.EarlyStopping(patience=9),
        **options,
    )


@pytest.fixture(scope="module")
def on_cpu() -> Any:
    return train(network(), np.asarray, device="cpu").history


@pytest.mark.parametrize("device", ["CPU_DEVICE", "device1", "device2"])
def test_every_device_of_strict_gives_the_history_of_the_cpu(device: str, on_cpu: Any) -> None:
    strict = pytest.importorskip("array_api_strict")
    where = strict.Device(device)

    def convert(x: Any) -> Any:
        return strict.asarray(bp.to_numpy(x), device=where)

    model = put(network(), convert)
    result = train(model, convert)
    assert all(
        x.device == where for x in [*model.parameters().values(), *result.ema.params.values()]
    )
    assert list(result.history) == list(on_cpu)
    for name, column in on_cpu.items():
        np.testing.assert_allclose(result.history[name], column, rtol=1e-5, err_msg=name)
    assert device in str(result.device)
    found = bp.predict(model, convert(classes()[0]), batch_size=7)
    assert found.device == where


def test_torch_arrays_are_trained_where_they_are(on_cpu: Any) -> None:
    torch = pytest.importorskip("torch")

    def convert(x: Any) -> Any:
        return torch.as_tensor(np.array(bp.to_numpy(x)))

    model = put(network(), convert)
    result = train(model, convert)
    assert all(isinstance(p, torch.Tensor) for p in model.parameters().values())
    for name, column in on_cpu.items():
        np.testing.assert_allclose(result.history[name], column, rtol=1e-4, err_msg=name)


def test_the_device_is_told_with_the_reason() -> None:
    result = fit_classes(device="cpu")
    assert str(result.device) == "cpu"
    assert result.device.reason
    assert str(fit_classes().device) == str(bp.device("auto"))


def test_a_device_that_is_not_there_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    if any(d.type == "cuda" for d in bp.devices()):
        pytest.skip("there is a CUDA device")
    model = mlp()
    before = arrays(model)
    with pytest.raises(bp.errors.DeviceError, match=r"cuda.*Remedy"):
        fit_classes(model, device="cuda")
    for path, x in arrays(model).items():
        np.testing.assert_array_equal(x, before[path])


def test_what_was_asked_for_by_name_is_moved() -> None:
    torch = pytest.importorskip("torch")
    x, y = classes()
    model = mlp()
    result = fit_classes(model, (torch.as_tensor(x), torch.as_tensor(y)), device="cpu")
    assert len(result.history["loss"]) == 2
    assert isinstance(bp.evaluate(model, (x, y), loss=cross_entropy)["loss"], float)


@pytest.mark.gpu
def test_a_gpu_gives_the_history_of_the_cpu(on_cpu: Any) -> None:
    model = network()
    result = train(model, np.asarray, device="cuda")
    assert all(type(p).__module__.startswith("cupy") for p in model.parameters().values())
    for name, column in on_cpu.items():
        np.testing.assert_allclose(result.history[name], column, rtol=1e-3, err_msg=name)
    assert bp.predict(model, classes()[0]).shape == (60, 3)


def test_where_values_are_not_at_hand_nothing_is_read_on_the_way(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As on a GPU: the history is the same, and a NaN is told at the end of its epoch."""
    wanted = fit_classes(epochs=3, batch_size=1, metrics=["accuracy"]).history
    for module in (meters, nonfinite, progress):
        monkeypatch.setattr(module, "at_hand", lambda x: False)
    found = fit_classes(epochs=3, batch_size=1, metrics=["accuracy"], progress=False).history
    for name, column in wanted.items():
        np.testing.assert_allclose(found[name], column, rtol=1e-5, err_msg=name)

    def loss(prediction: Any, target: Any) -> Any:
        return cross_entropy(prediction, target) * scale[0]

    class Break(bp.train.Callback):
        def on_step_end(self, run: Any) -> None:
            seen.append(run.step)
            scale[0] = np.float32(np.nan) if run.step == 5 else scale[0]

    scale, seen = [np.float32(1)], list[int]()
    with pytest.raises(bp.errors.NonFiniteError, match="epoch"):
        fit_classes(loss=loss, callbacks=[Break()], epochs=9, compile=False)
    assert seen[-1] == 8  # an epoch has 4 steps
    with pytest.raises(bp.errors.NonFiniteError, match="step 1 "):
        fit_classes(loss=loss, callbacks=[Break()], epochs=9, check_finite="steps")
