"""Threads, tasks and generators: a trace belongs to the thread and the call that opened it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

import bpgpu as bp
from bpgpu.errors import NotDifferentiableError, TraceError

OTHER_THREAD = "used in another thread than the one that traces it"
ENDED = "used after its trace had ended"


def energy(x: Any) -> Any:
    xp = bp.array_namespace(x)
    return xp.sum(xp.tanh(x) * x**2)


def hessian_times(v: Any) -> Callable[[Any], Any]:
    return bp.grad(lambda x: bp.array_namespace(x).sum(bp.grad(energy)(x) * v))


def test_eight_threads_compute_nested_gradients_at_once():
    inputs = [np.linspace(-1, 1, 7) * (k + 1) for k in range(8)]
    expected = [(bp.grad(energy)(x), hessian_times(x)(x)) for x in inputs]
    start = threading.Barrier(8)

    def work(k: int) -> int:
        start.wait()
        for _ in range(100):
            np.testing.assert_array_equal(bp.grad(energy)(inputs[k]), expected[k][0])
            np.testing.assert_array_equal(hessian_times(inputs[k])(inputs[k]), expected[k][1])
        return 100

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(work, range(8))) == 800


def test_eight_threads_may_share_one_transformed_function():
    gradient = bp.value_and_grad(energy)
    x = np.linspace(-1, 1, 7)
    value, expected = gradient(x)
    with ThreadPoolExecutor(8) as pool:
        for v, g in pool.map(lambda _: gradient(x), range(200)):
            assert v == value
            np.testing.assert_array_equal(g, expected)


def test_one_pullback_may_be_called_from_many_threads():
    out, pull = bp.vjp(lambda x: x**3, np.linspace(-1, 1, 7))
    (expected,) = pull(np.ones_like(out))
    with ThreadPoolExecutor(8) as pool:
        for k, (g,) in enumerate(pool.map(lambda k: pull(np.full_like(out, k)), range(100))):
            np.testing.assert_allclose(g, k * expected)


@pytest.mark.parametrize(
    "use",
    [
        lambda x: x + 1,
        lambda x: 2 * x,
        lambda x: x @ x,
        lambda x: -x,
        lambda x: x[0],
        lambda x: bp.array_namespace(x).tanh(x),
        lambda x: bp.array_namespace(x).sum(x),
        lambda x: np.exp(x),
        lambda x: x.__setitem__(0, 1.0),
        lambda x: bp.grad(lambda y: bp.array_namespace(y).sum(x * y))(np.ones(3)),
    ],
)
def test_a_traced_array_is_refused_in_another_thread(use):
    """An open trace records in the thread that opened it: the order of entries on the tape is that of execution."""

    def f(x: Any) -> Any:
        with ThreadPoolExecutor(1) as pool, pytest.raises(TraceError, match=OTHER_THREAD) as caught:
            pool.submit(use, x).result()
        assert "call bpgpu.grad there" in str(caught.value)
        assert "bpgpu.stop_gradient(x)" in str(caught.value)
        return bp.array_namespace(x).sum(x * x)  # and the trace goes on undisturbed

    np.testing.assert_array_equal(bp.grad(f)(np.asarray([1.0, 2.0, 3.0])), [2.0, 4.0, 6.0])


def test_a_stopped_array_may_go_to_another_thread():
    def f(x: Any) -> Any:
        with ThreadPoolExecutor(1) as pool:
            factor = pool.submit(lambda y: y * y, bp.stop_gradient(x)).result()
        return bp.array_namespace(x).sum(factor * x)

    np.testing.assert_array_equal(bp.grad(f)(np.asarray([1.0, 2.0])), [1.0, 4.0])


def test_a_thread_pool_inside_a_traced_function_computes_gradients_of_its_own():
    def f(x: Any) -> Any:
        plain = np.asarray([1.0, 2.0])
        with ThreadPoolExecutor(4) as pool:
            inner = list(pool.map(lambda k: bp.grad(energy)(k * plain), range(4)))
        assert all(type(g) is np.ndarray for g in inner)
        return bp.array_namespace(x).sum(x * sum(inner))

    expected = sum(bp.grad(energy)(k * np.asarray([1.0, 2.0])) for k in range(4))
    np.testing.assert_allclose(bp.grad(f)(np.ones(2)), expected)


def test_a_traced_array_is_refused_after_its_trace_whatever_the_thread():
    kept = []

    def f(x: Any) -> Any:
        kept.append(x)
        return bp.array_namespace(x).sum(x)

    bp.grad(f)(np.ones(2))
    with pytest.raises(TraceError, match=ENDED):
        kept[0] * 2
    with ThreadPoolExecutor(1) as pool, pytest.raises(TraceError, match=ENDED):
        pool.submit(lambda: kept[0] * 2).result()


def test_an_error_in_a_traced_function_closes_its_trace():
    def broken(x: Any) -> Any:
        raise RuntimeError("the user's own")

    for _ in range(3):
        with pytest.raises(RuntimeError, match="the user's own"):
            bp.grad(broken)(np.ones(2))
        with pytest.raises(RuntimeError, match="the user's own"):
            bp.vjp(broken, np.ones(2))
    assert (
        type(bp.grad(energy)(np.ones(2))) is np.ndarray
    )  # not nested in a trace that was left open


def test_tasks_of_one_event_loop_do_not_interfere():
    """`grad` of a plain function never yields to the loop, so that each task's gradient is computed in one go."""

    async def work(k: int) -> Any:
        await asyncio.sleep(0)
        g = bp.grad(energy)(np.full(3, float(k)))
        await asyncio.sleep(0)
        return g

    async def main() -> list[Any]:
        return await asyncio.gather(*[work(k) for k in range(8)])

    for k, g in enumerate(asyncio.run(main())):
        np.testing.assert_array_equal(g, bp.grad(energy)(np.full(3, float(k))))


def test_generators_interleave_because_no_trace_is_open_while_they_wait():
    """A differentiated function cannot yield out of its trace, so between two steps of a generator none is open."""

    def steps(x: Any) -> Any:
        for _ in range(3):
            x = x - 0.1 * bp.grad(energy)(x)
            yield x

    one, two = np.ones(2), np.full(2, 2.0)
    together = list(zip(steps(one), steps(two), strict=True))
    for (a, b), c, d in zip(together, steps(one), steps(two), strict=True):
        np.testing.assert_array_equal(a, c)
        np.testing.assert_array_equal(b, d)


def test_a_generator_that_outlives_its_trace_is_refused():
    kept = []

    def f(x: Any) -> Any:
        rows = (row * 2 for row in x)
        kept.append(rows)
        return bp.array_namespace(x).sum(next(rows))

    np.testing.assert_array_equal(bp.grad(f)(np.ones((2, 3))), [[2.0] * 3, [0.0] * 3])
    with pytest.raises(TraceError, match=ENDED):
        next(kept[0])


def test_a_generator_function_has_no_gradient():
    def f(x: Any) -> Any:
        yield bp.array_namespace(x).sum(x)

    with pytest.raises(NotDifferentiableError, match="got generator"):
        bp.grad(f)(np.ones(2))
