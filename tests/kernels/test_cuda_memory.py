"""What the CUDA kernels make of memory that is not as they would like it, and of bfloat16."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import bpgpu as bp
import cuda_on_cpu
from bpgpu import kernels
from bpgpu.kernels import registry

f = bp.functional


@pytest.fixture
def cupy(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    yield from cuda_on_cpu.installed(monkeypatch)


@pytest.fixture
def instances(cupy: Any, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The expressions that are started from now on."""
    started: list[str] = []

    def noted(self: Any, name: str) -> Any:
        run = get_function(self, name)
        return lambda *args: (started.append(name), run(*args))[1]

    get_function = cuda_on_cpu.RawModule.get_function
    monkeypatch.setattr(cuda_on_cpu.RawModule, "get_function", noted)
    return started


FUNCTIONS: dict[str, tuple[Callable[..., Any], tuple[int, ...]]] = {
    "gelu": (f.gelu, (8, 16)),
    "softmax": (lambda x: f.softmax(x, -1), (8, 16)),
    "log_softmax": (lambda x: f.log_softmax(x, -1), (8, 16)),
    "layer_norm": (lambda x: f.layer_norm(x, x.shape[-1:]), (8, 16)),
    "batch_norm": (lambda x: f.batch_norm(x, None, None, training=True), (8, 16)),
    "max_pool": (lambda x: f.max_pool1d(x, 2), (8, 16)),
    "avg_pool": (lambda x: f.avg_pool1d(x, 3, 2), (8, 16)),
    "embedding": (lambda w: f.embedding(kept_index(w), w), (8, 16)),
}


def kept_index(w: Any) -> Any:
    return bp.array_namespace(w).asarray([0, 3, 3, 7, 0])


def gradients(function: Callable[..., Any], x: Any, ct: Any) -> list[Any]:
    y, pull = bp.vjp(function, x)
    ct = ct[: y.size].reshape(y.shape)
    return [v.get() if hasattr(v, "get") else np.asarray(v) for v in (y, *pull(ct))]


@pytest.mark.parametrize("shift", [1, 2, 3, 4, 7])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_addresses_that_16_bytes_cannot_be_loaded_from_are_read_one_by_one(
    name: str, shift: int, cupy: Any, instances: list[str]
) -> None:
    function, shape = FUNCTIONS[name]
    size = shape[0] * shape[1]
    numbers = np.random.default_rng(0).normal(size=size + 8).astype("f4")
    x, ct = numbers[:size].reshape(shape), numbers[::-1].copy()
    wide = cupy.asarray(np.concatenate([numbers[:shift], numbers[:size]]))
    moved = wide[shift:].reshape(shape)
    assert moved.data.ptr % 16 == 4 * shift % 16
    with kernels.switched_off():
        wanted = gradients(function, x, ct)
    got = gradients(function, moved, cupy.asarray(ct))
    assert instances
    if shift % 4:
        assert not [
            e for e in instances if e.startswith(("gelu<float, 4", "norm_rows<float, float, 4"))
        ]
    for a, b in zip(got, wanted, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_cotangent_may_stand_anywhere(name: str, cupy: Any) -> None:
    """Behind an odd address, with gaps, or spread out from a single number."""
    function, shape = FUNCTIONS[name]
    x = np.random.default_rng(0).normal(size=shape).astype("f4")
    with kernels.switched_off():
        y, plain = bp.vjp(function, x)
    _, pull = bp.vjp(function, cupy.asarray(x))
    ct = np.random.default_rng(1).normal(size=y.shape).astype("f4")
    wide = cupy.asarray(np.concatenate([ct[:1, :].reshape(-1)[:1], ct.reshape(-1)]))
    gaps = cupy.asarray(np.repeat(ct, 2, axis=-1))
    one = cupy.asarray(np.float32(0.5))
    for given, same in (
        (wide[1:].reshape(y.shape), ct),
        (gaps[..., ::2], ct),
        (cupy.asarray(ct.T.copy()).T, ct),
        (cupy.broadcast_to(one, y.shape), np.full(y.shape, np.float32(0.5))),
    ):
        (got,), (wanted,) = pull(given), plain(same)
        np.testing.assert_allclose(got.get(), wanted, rtol=1e-5, atol=1e-5)


VIEWS: dict[str, Callable[[Any], Any]] = {
    "gaps": lambda x: x[:, ::2],
    "backwards": lambda x: x[::-1, :],
    "turned": lambda x: x.T[:, ::3],
    "empty": lambda x: x[:0, :],
}


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_views_give_what_copies_give(name: str, view: str, cupy: Any) -> None:
    function, _ = FUNCTIONS[name]
    if name == "embedding" and view in ("turned", "empty"):
        return  # the indices need all rows
    numbers = np.random.default_rng(0).normal(size=(8, 36)).astype("f4")
    seen = VIEWS[view](cupy.asarray(numbers))
    ct = np.random.default_rng(1).normal(size=400).astype("f4")
    if 0 in seen.shape and "pool" in name:
        return
    with kernels.switched_off():
        wanted = gradients(function, VIEWS[view](numbers), ct)
    for a, b in zip(gradients(function, seen, cupy.asarray(ct)), wanted, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)


def test_attention_weights_may_be_written_over_their_scores(cupy: Any) -> None:
    from bpgpu.kernels.cuda import softmax

    s = np.random.default_rng(0).normal(size=(2, 3, 5, 8)).astype("f4")
    allowed = np.random.default_rng(1).random((2, 1, 1, 8)) < 0.7
    apart = softmax.weights(
        cupy.asarray(s), allowed=cupy.asarray(allowed), scale=0.5, out=cupy.empty(s.shape, "f4")
    )[0]
    place = cupy.asarray(s)
    within = softmax.weights(place, allowed=cupy.asarray(allowed), scale=0.5, out=place)[0]
    assert within is place
    np.testing.assert_array_equal(within.get(), apart.get())
    e = np.exp(np.where(allowed, 0.5 * s, -np.inf))
    np.testing.assert_allclose(within.get(), e / e.sum(-1, keepdims=True), rtol=1e-5)
    g = np.random.default_rng(2).normal(size=s.shape).astype("f4")
    apart = softmax.through_weights(
        within, cupy.asarray(g), scale=0.5, out=cupy.empty(s.shape, "f4")
    )
    place = cupy.asarray(g)
    softmax.through_weights(within, place, scale=0.5, out=place)
    np.testing.assert_array_equal(place.get(), apart.get())


@pytest.mark.parametrize("shape", [(5, 8), (3, 5, 8), (2, 3, 5, 8), (2, 2, 3, 5, 8)])
def test_masks_broadcast_to_scores(shape: tuple[int, ...], cupy: Any) -> None:
    from bpgpu.kernels.cuda import softmax

    rng = np.random.default_rng(0)
    s = rng.normal(size=shape).astype("f4")
    for kept in range(2 ** len(shape)):
        of_mask = tuple(n if kept >> i & 1 else 1 for i, n in enumerate(shape))
        allowed, bias = rng.random(of_mask) < 0.6, rng.normal(size=of_mask).astype("f4")
        if not softmax.can_mask(cupy.asarray(allowed), shape):
            continue
        v = np.where(allowed, s + bias, -np.inf)
        top = np.max(v, -1, keepdims=True)
        e = np.exp(v - np.where(np.isinf(top), 0, top))
        total = e.sum(-1, keepdims=True)
        got, _ = softmax.weights(
            cupy.asarray(s), cupy.asarray(bias), cupy.asarray(allowed), out=cupy.empty(shape, "f4")
        )
        np.testing.assert_allclose(got.get(), e / np.where(total == 0, 1, total), rtol=1e-5)


def test_sums_for_a_table_are_the_same_bits_each_time_and_in_order(cupy: Any) -> None:
    """Numbers of very different size, so that any other order of a chunk gives other sums."""
    from bpgpu.kernels.cuda import embedding

    rng = np.random.default_rng(0)
    index = rng.integers(0, 7, 1700)
    g = (rng.normal(size=(1700, 12)) * 10.0 ** rng.integers(-4, 5, (1700, 1))).astype("f4")
    wanted = np.zeros((9, 12), "f4")
    for row in range(7):
        for begin in range(0, 1700, embedding.CHUNK):
            part = np.zeros(12, "f4")
            for i in range(begin, min(begin + embedding.CHUNK, 1700)):
                if index[i] == row:
                    part += g[i]
            wanted[row] += part
    for _ in range(2):
        got = embedding.add_rows(cupy.asarray(g), cupy.asarray(index), 9, None)
        np.testing.assert_array_equal(got.get(), wanted)


BFLOAT: dict[str, tuple[tuple[Any, ...], tuple[tuple[int, ...], ...]]] = {
    "gelu": ((), ((5, 16),)),
    "gelu_tanh": ((), ((5, 15),)),
    "softmax": ((1,), ((5, 16),)),
    "log_softmax": ((1,), ((5, 15),)),
    "take_rows": ((), ((5, 16),)),
    "standardize": (((1,), (1, 16), 1e-5, True), ((5, 16), (16,), (16,))),
    "lstm": ((None, None, False), ((3, 2, 4), (2, 5), (2, 5), (20, 4), (20, 5), (20,), (20,))),
    "gru": ((None, False), ((3, 2, 4), (2, 5), (15, 4), (15, 5), (15,), (15,))),
}


@pytest.mark.parametrize("name", BFLOAT)
def test_bfloat16_is_computed_in_float32(name: str, cupy: Any) -> None:
    dtype = pytest.importorskip("ml_dtypes", reason="bfloat16 of NumPy").bfloat16
    settings, shapes = BFLOAT[name]
    rng = np.random.default_rng(0)
    numbers = [rng.normal(size=shape).astype(dtype) for shape in shapes]
    xp = bp.array_namespace(cupy.zeros(1))

    def run(dtype: Any) -> list[Any]:
        arrays = [filled(cupy, x.astype(dtype)) for x in numbers]
        more = (cupy.asarray([4, 0, 0]),) if name == "take_rows" else settings
        kernel = registry.find(name, xp, *arrays, *more)
        assert kernel is not None
        result = kernel(*arrays, *more)
        if not isinstance(result, tuple):
            return [result]
        values, pull = result
        if not isinstance(values, tuple):
            return [values, pull(values)]
        gs = (values[0], *(None,) * (len(values) - 1))
        return [values[0], *pull(gs, (True,) * len(arrays))]

    for a, b in zip(run(dtype), run("f4"), strict=True):
        if a is None:
            continue
        assert a.dtype == dtype
        a, b = a.get().astype("f4"), b.get()
        assert np.max(np.abs(a - b)) <= 3e-2 * max(1, np.max(np.abs(b)))


def filled(cupy: Any, x: Any) -> Any:
    made = cupy.empty(x.shape, x.dtype)
    made.values[...] = x
    return made


@pytest.mark.parametrize("name", ["Adam", "SGD"])
def test_an_update_of_many_is_the_same_in_any_order_and_from_any_address(
    name: str, cupy: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of parameters large and small, some behind addresses that 16 bytes cannot be loaded from."""
    shapes = ((9000,), (3,), (17, 33), (1,), (64,), (5, 0))
    options = {"Adam": {"amsgrad": True}, "SGD": {"momentum": 0.9}}[name]
    results = []
    for order, shift in (("0", 0), ("1", 0), ("2", 0), ("0", 1), ("1", 3)):
        monkeypatch.setenv("SHIM_ORDER", order)
        rng = np.random.default_rng(0)

        def made(x: Any, shift: int = shift) -> Any:
            wide = cupy.asarray(np.concatenate([np.zeros(shift), x.reshape(-1)]).astype("f4"))
            return wide[shift:].reshape(x.shape)

        values = [made(rng.normal(size=shape)) for shape in shapes]
        optimizer = getattr(bp.optim, name)(values, lr=0.1, **options)
        for _ in range(3):
            gradients = [made(rng.normal(size=shape)) for shape in shapes]
            gradients, _ = bp.optim.clip_grad_norm(gradients, 1.0)
            values = optimizer.step(gradients)
        results.append([v.get() for v in values])
    for other in results[1:]:
        for a, b in zip(results[0], other, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-7)
    for other in results[1:3]:  # the same addresses: the same bits
        for a, b in zip(results[0], other, strict=True):
            np.testing.assert_array_equal(a, b)
