"""Random numbers made by CUDA kernels: the same bits as everywhere."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import bpgpu as bp
import cuda_on_cpu
from bpgpu import kernels, random
from bpgpu.random import threefry


@pytest.mark.parametrize("draw", ["bits", "uniform", "normal", "float64", "randint"])
@pytest.mark.parametrize("shape", [(1,), (7, 3), (1025,)])
def test_numbers_are_those_of_the_cpu(cupy: Any, draw: str, shape: tuple[int, ...]) -> None:
    draws = {
        "bits": lambda key: random.bits(key, shape),
        "uniform": lambda key: random.uniform(key, shape),
        "normal": lambda key: random.normal(key, shape),
        "float64": lambda key: random.uniform(key, shape, "float64"),
        "randint": lambda key: random.randint(key, shape, -5, 100),
    }
    key = random.key(5)
    ours, wanted = draws[draw](cupy.asarray(key)).get(), draws[draw](key)
    assert ours.dtype == wanted.dtype
    if draw == "normal":  # by way of a logarithm
        np.testing.assert_allclose(ours, wanted, rtol=1e-5, atol=1e-6)
    else:
        np.testing.assert_array_equal(ours, wanted)


def test_blocks_far_on_are_those_of_the_cpu(cupy: Any) -> None:
    key = random.key(1)
    for start in (0, 3, 2**32 - 5, 2**40 + 1):
        ours = threefry.blocks(cupy.asarray(key), 11, start)
        for a, b in zip(ours, threefry.blocks(key, 11, start), strict=True):
            np.testing.assert_array_equal(a.get(), b)


@pytest.mark.parametrize("keep", [0.0, 0.5, 0.999, 1e-9, 1 - 2**-16, 1.0])
@pytest.mark.parametrize("shape", [(), (5,), (64,), (3, 1, 7), (0,)])
def test_masks_are_those_of_the_cpu(cupy: Any, keep: float, shape: tuple[int, ...]) -> None:
    key = random.key(2)
    ours, used = random.mask(cupy.asarray(key), shape, keep)
    wanted, expected = random.mask(key, shape, keep)
    np.testing.assert_array_equal(ours.get(), wanted, strict=True)
    assert used == expected


def test_a_mask_is_one_launch(cupy: Any) -> None:
    if hasattr(cupy, "RawKernel"):
        pytest.skip("launches are counted on the CPU")
    key = cupy.asarray(random.key(2))
    state = cuda_on_cpu.cupy_on_numpy.state
    before = state.launches
    random.mask(key, (100,), 0.5)
    assert state.launches == before + 1


@pytest.mark.parametrize("shape", [(33,), (4, 16)])
def test_dropout_makes_its_mask_anew_on_the_way_back(cupy: Any, shape: tuple[int, ...]) -> None:
    key = random.key(4)
    x = np.random.default_rng(0).normal(size=shape)

    def f(x: Any) -> Any:
        k = key if isinstance(bp.autodiff.array.raw(x), np.ndarray) else cupy.asarray(key)
        y = bp.functional.dropout(x, 0.3, key=k)
        return bp.array_namespace(y).sum(y * y * y)

    for order in (bp.grad(f), bp.grad(lambda x: bp.array_namespace(x).sum(bp.grad(f)(x) ** 2))):
        np.testing.assert_allclose(order(cupy.asarray(x)).get(), order(x), rtol=1e-12)


def test_a_mask_of_whole_channels_comes_from_a_kernel_too(cupy: Any) -> None:
    x = np.ones((3, 4, 2, 2), "f4")
    key = random.key(4)
    y = bp.functional.dropout2d(cupy.asarray(x), 0.5, key=cupy.asarray(key))
    np.testing.assert_array_equal(y.get(), bp.functional.dropout2d(x, 0.5, key=key))


WRONG = np.asarray([1, -100, 7, -1, 3])


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("places", [False, True])
def test_a_wrong_label_makes_the_loss_nan(
    cupy: Any, reduction: str, weighted: bool, places: bool
) -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(5, 5, 1) if places else (5, 5))
    t = WRONG[:, None] if places else WRONG
    weight = cupy.asarray(rng.random(5)) if weighted else None

    def loss(x: Any) -> Any:
        return bp.functional.cross_entropy(x, cupy.asarray(t), weight, reduction=reduction)

    def computed() -> list[Any]:
        y, pull = bp.vjp(loss, cupy.asarray(x))
        ct = rng_like(y)
        return [y.get(), pull(cupy.asarray(ct))[0].get()]

    fast = computed()
    with kernels.switched_off(), np.errstate(all="ignore"):
        plain = computed()
    for a, b in zip(fast, plain, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12)
    assert np.isnan(fast[0]).sum() == (2 if reduction == "none" else 1)


def rng_like(y: Any) -> Any:
    return np.random.default_rng(1).normal(size=y.shape)


def test_the_cross_entropy_has_a_second_derivative(cupy: Any) -> None:
    x = np.random.default_rng(0).normal(size=(4, 6))
    t = np.asarray([0, 5, 2, 2])

    def f(x: Any) -> Any:
        plain = bp.autodiff.array.raw(x)
        labels = t if isinstance(plain, np.ndarray) else cupy.asarray(t)
        return bp.functional.cross_entropy(x, labels, label_smoothing=0.1) ** 2

    def twice(x: Any) -> Any:
        return bp.array_namespace(x).sum(bp.grad(f)(x) ** 2)

    np.testing.assert_allclose(bp.grad(twice)(cupy.asarray(x)).get(), bp.grad(twice)(x), rtol=1e-9)


def test_a_layer_goes_on_to_its_next_key_before_the_way_back(cupy: Any) -> None:
    def gradient(put: Any, place: str) -> Any:
        bp.seed(0)
        layer = bp.nn.Dropout(0.5).to(bp.device(place))
        x = put(np.ones((4, 16), "f4"))
        xp = bp.array_namespace(x)
        return bp.value_and_grad(lambda x, layer: xp.sum(layer(x) ** 2), (0, 1))(x, layer)[1][0]

    ours = gradient(cupy.asarray, "cuda")
    np.testing.assert_array_equal(ours.get(), gradient(np.asarray, "cpu"))


def test_the_feed_forward_of_a_transformer_drops_what_relu_gives_at_once(cupy: Any) -> None:
    def gradients(put: Any) -> Any:
        bp.seed(0)
        layer = bp.nn.TransformerEncoderLayer(8, 2, 16, dropout=0.3, batch_first=True)
        x = np.random.default_rng(0).normal(size=(2, 3, 8)).astype("f4")
        x = put(x)
        layer.to(bp.device("cuda" if put is cupy.asarray else "cpu"))
        y, grads = bp.value_and_grad(lambda m: bp.functional.mse_loss(m(x), x))(layer)
        return {"": y, **grads}

    ours = gradients(cupy.asarray)
    for name, x in gradients(np.asarray).items():
        np.testing.assert_allclose(ours[name].get(), x, rtol=1e-3, atol=1e-4)


AFTER = {"relu": bp.nn.ReLU, "gelu": bp.nn.GELU, "tanh": lambda: bp.nn.GELU("tanh")}


def model_of(cupy: Any, activation: Any) -> Any:
    bp.seed(0)
    layers = [bp.nn.Linear(16, 32), activation(), bp.nn.Dropout(0.3), bp.nn.Linear(32, 4)]
    return bp.nn.Sequential(*layers).to(bp.device("cuda"))


@pytest.mark.parametrize("name", AFTER)
def test_a_dropout_behind_an_activation_is_one_kernel_with_it(cupy: Any, name: str) -> None:
    """In a Sequential, too: the same numbers, one launch less on each way, and the same next key."""
    x = cupy.asarray(np.random.default_rng(0).normal(size=(6, 16)).astype("f4"))
    found = []
    for one_by_one in (True, False, True):  # what is made once is made in the first
        model = model_of(cupy, AFTER[name])
        if one_by_one:  # someone looks at what the layer gives
            model[1].__dict__["forward"] = model[1].forward
        state = getattr(cuda_on_cpu.cupy_on_numpy, "state", None)
        before = state.launches if state else 0
        y, grads = bp.value_and_grad(lambda m: bp.functional.mse_loss(m(x), x[:, :4]))(model)
        launches = state.launches - before if state else 0
        found.append((y, grads, model[2].key.get(), launches))
    (y, grads, key, launches), (wanted, expected, key_after, more) = found[1:]
    np.testing.assert_allclose(y.get(), wanted.get(), rtol=1e-6)
    np.testing.assert_array_equal(key, key_after)
    for path, g in expected.items():
        np.testing.assert_allclose(grads[path].get(), g.get(), rtol=1e-5, atol=1e-7)
    if not hasattr(cupy, "RawKernel"):
        assert launches < more


@pytest.mark.parametrize("name", ["relu", "gelu", "gelu_tanh"])
def test_an_activation_with_its_dropout_has_a_second_derivative(cupy: Any, name: str) -> None:
    from bpgpu.functional.dropout import activation_dropout

    key = random.key(4)
    x = np.random.default_rng(0).normal(size=(4, 16))

    def f(x: Any) -> Any:
        k = key if isinstance(bp.autodiff.array.raw(x), np.ndarray) else cupy.asarray(key)
        y = activation_dropout(name, x, 0.3, k)
        return bp.array_namespace(y).sum(y * y * y)

    for order in (bp.grad(f), bp.grad(lambda x: bp.array_namespace(x).sum(bp.grad(f)(x) ** 2))):
        np.testing.assert_allclose(order(cupy.asarray(x)).get(), order(x), rtol=1e-11, atol=1e-12)


def test_an_activation_is_seen_by_itself_where_no_dropout_is_to_be_done(cupy: Any) -> None:
    x = np.random.default_rng(0).normal(size=(6, 16)).astype("f4")
    model = model_of(cupy, bp.nn.GELU)
    key = model[2].key.get()
    on_gpu = model.eval()(cupy.asarray(x))
    np.testing.assert_array_equal(model[2].key.get(), key)
    np.testing.assert_allclose(on_gpu.get(), model.to(bp.device("cpu"))(x), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("shape", [(1, 1), (7, 3), (5, 64), (1000, 33), (600, 1032), (9000, 4)])
def test_columns_are_summed(cupy: Any, shape: tuple[int, int], dtype: str) -> None:
    from bpgpu.kernels.cuda.columns import can_sum, column_sums

    x = np.random.default_rng(0).normal(size=shape).astype(dtype)
    ours = cupy.asarray(x)
    assert can_sum(ours)
    assert not can_sum(ours[:, ::2]) or shape[1] == 1
    wanted = x.astype("float64").sum(axis=0)
    tolerance = {"float16": 1e-3, "float32": 1e-5, "float64": 1e-13}[dtype]
    bound = tolerance * np.abs(x.astype("float64")).sum(axis=0)
    got = column_sums(ours).get()
    assert got.dtype == dtype
    assert (np.abs(got - wanted) <= bound).all()
