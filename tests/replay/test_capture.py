"""Steps of CuPy's arrays as CUDA graphs, on a CuPy whose streams, pools and graphs are simulated."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import bpgpu as bp
import cupy_on_numpy as fake
from bpgpu.kernels import switched_off
from bpgpu.replay.capture import GRAPHS, WARM

nn, F, optim = bp.nn, bp.functional, bp.optim
rng = np.random.default_rng(0)
FIRST = WARM + 1
"""So many calls with one key come before the first replay: warm-up, and the test of the graph."""


@pytest.fixture
def cp(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The simulated CuPy."""
    yield from fake.installed(monkeypatch)


class Training:
    """A network with dropout and running statistics, and a step that trains it."""

    def __init__(self, optimizer: str = "AdamW") -> None:
        bp.seed(0)
        self.model = nn.Sequential(
            nn.Linear(8, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.5), nn.Linear(16, 5)
        ).to("cuda")
        self.opt = getattr(optim, optimizer)(self.model, lr=1e-2)

    def step(self, x: Any, y: Any) -> Any:
        value, grads = bp.value_and_grad(lambda m: F.cross_entropy(m(x), y))(self.model)
        grads, _ = optim.clip_grad_norm(grads, 1.0)
        self.opt.step(grads)
        return value


def batch(cp: Any, size: int = 4) -> tuple[Any, Any]:
    x = rng.normal(size=(size, 8)).astype(np.float32)
    return cp.asarray(x), cp.asarray(rng.integers(0, 5, size))


def trained(training: Training, step: Any, batches: list[Any], rates: Any = None) -> Any:
    losses = []
    for i, (x, y) in enumerate(batches):
        if rates is not None:
            training.opt.lr = rates[i]
        losses.append(step(x, y))
    losses = [float(v) for v in losses]  # at the end: a graph must not write over an earlier result
    return losses, bp.to_numpy(training.model.state_dict())


def assert_same(a: Any, b: Any) -> None:
    np.testing.assert_allclose(a[0], b[0], rtol=1e-6)
    for name, x in a[1].items():
        np.testing.assert_allclose(x, b[1][name], rtol=1e-5, atol=1e-7, err_msg=name)


# ---- what is replayed


@pytest.mark.parametrize("name", ["SGD", "Adam", "AdamW", "RMSprop", "Lion"])
def test_replays_train_as_the_step_does(cp: Any, name: str) -> None:
    batches = [batch(cp) for _ in range(12)]
    plain, compiled = Training(name), Training(name)
    step = bp.compile(compiled.step)
    expected = trained(plain, plain.step, batches)
    assert_same(trained(compiled, step, batches), expected)
    assert step.reason is None
    assert step.replays >= 12 - FIRST - 1  # the first step makes the state of the optimizer


def test_learning_rates_masks_and_statistics_are_those_of_each_step(cp: Any) -> None:
    batches = [batch(cp) for _ in range(12)]
    rates = [0.01 / (i + 1) for i in range(12)]
    plain, compiled = Training(), Training()
    step = bp.compile(compiled.step)
    expected = trained(plain, plain.step, batches, rates)
    assert_same(trained(compiled, step, batches, rates), expected)
    assert step.replays == 12 - FIRST - 1
    assert compiled.opt.lr == rates[-1]


def test_a_replay_is_one_launch_and_the_copies_in_and_out(cp: Any) -> None:
    training = Training()
    step = bp.compile(training.step)
    for _ in range(FIRST + 2):
        step(*batch(cp))
    given = batch(cp)
    before = fake.state.launches
    step(*given)
    assert step.reason is None
    assert fake.state.launches - before == 3  # x, y and the loss


def test_show_tells_that_it_is_a_graph(cp: Any, capsys: pytest.CaptureFixture[str]) -> None:
    training = Training()
    step = bp.compile(training.step)
    for _ in range(FIRST + 2):
        step(*batch(cp))
    step.show()
    assert capsys.readouterr().out == "replayed as a CUDA graph\n"


# ---- memory


def test_a_graph_has_memory_of_its_own(cp: Any) -> None:
    """What others allocate after the capture is not written to by replays, nor do they write into the graph's."""
    training = Training()
    step = bp.compile(training.step)
    for _ in range(FIRST + 2):
        step(*batch(cp))
    others = [cp.full((n,), 7.0, dtype=cp.float32) for n in (1, 16, 64, 128, 200) for _ in range(8)]
    results = [step(*batch(cp)) for _ in range(4)]
    assert all((bp.to_numpy(x) == 7).all() for x in others)
    assert len({float(v) for v in results}) == 4
    (graph,) = step._bindings
    assert graph.place._pool is not fake.state.default_pool


def test_graphs_of_other_shapes_have_their_own_and_the_oldest_are_dropped(cp: Any) -> None:
    plain, compiled = Training(), Training()
    step = bp.compile(compiled.step)
    batches = [batch(cp, size) for size in range(2, 2 + GRAPHS + 2) for _ in range(FIRST + 2)]
    assert_same(trained(compiled, step, batches), trained(plain, plain.step, batches))
    assert len([b for b in step._bindings if hasattr(b, "place")]) <= GRAPHS
    assert len([e for e in step._entries.values() if e.candidate is not None]) <= GRAPHS


def test_memory_that_grows_while_it_is_captured_ends_the_attempt(
    cp: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fake.MemoryPool, "total_bytes", lambda pool: fake.state.launches)
    training = Training()
    step = bp.compile(training.step)
    for _ in range(FIRST + 4):
        step(*batch(cp))
    assert (step.replays, step.reason) == (0, "memory was asked of CUDA while it was captured")


# ---- what is not


REFUSED = {
    "float": (lambda v: float(v), "it cannot be captured: the current stream is capturing"),
    "if": (lambda v: v if v > 0 else -v, "it cannot be captured: the current stream is capturing"),
    "a constant of the host": (
        lambda v: v + bp.array_namespace(v).asarray([1.0]),
        "it cannot be captured: the current stream is capturing, so copies from the host",
    ),
    "an array of the host": (
        lambda v: v * sys.modules["cupy"].asarray(np.ones(3)),
        "it cannot be captured: the current stream is capturing, so copies from the host",
    ),
    "a mask": (lambda v: v[v > 0], "it cannot be captured: the current stream is capturing"),
    "a solver": (
        lambda v: sys.modules["cupy"].linalg.inv(v[None, None] + 1),
        "it cannot be captured: calling inv during stream capture is currently unsupported",
    ),
    "nine arrays by CuPy itself": (
        lambda v: sys.modules["cupy"].stack([v] * 9),
        "it cannot be captured: the current stream is capturing, so stack of 9 arrays",
    ),
    "an object": (lambda v: object(), "it returns a object"),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
def test_what_cannot_be_captured_runs_as_it_is_with_the_reason_told_once(
    what: str, cp: Any, caplog: pytest.LogCaptureFixture
) -> None:
    more, reason = REFUSED[what]
    w = cp.asarray(np.zeros(3, np.float32))

    @bp.compile
    def step(x: Any) -> Any:
        nonlocal w
        w += x
        return more(w[0])

    with caplog.at_level(logging.INFO, logger="bpgpu"):
        for _ in range(FIRST + 6):
            step(cp.asarray(np.ones(3, np.float32)))
    assert step.reason.startswith(reason)
    assert step.replays == 0
    np.testing.assert_array_equal(bp.to_numpy(w), np.full(3, FIRST + 6))
    told = [r.getMessage() for r in caplog.records]
    assert len(told) == 1
    assert reason in told[0]


def test_products_of_cublas_are_refused(cp: Any) -> None:
    fake.state.products = False
    training = Training()
    with switched_off():
        step = bp.compile(training.step)
        for _ in range(FIRST + 3):
            step(*batch(cp))
    assert "matmul during stream capture is currently unsupported" in step.reason


def test_a_new_array_in_the_place_of_an_old_one_is_refused(cp: Any) -> None:
    state = {"w": cp.asarray(np.zeros(3))}

    @bp.compile
    def step(x: Any) -> None:
        state["w"] = state["w"] + x

    for _ in range(40):
        step(cp.asarray(np.ones(3)))
    assert step.replays == 0
    np.testing.assert_array_equal(bp.to_numpy(state["w"]), np.full(3, 40.0))


def test_an_argument_that_is_written_to_is_found_by_the_test(cp: Any) -> None:
    @bp.compile
    def step(x: Any) -> Any:
        x += 1
        return x * 2

    for i in range(FIRST + 4):
        x = cp.asarray(np.full(3, float(i)))
        np.testing.assert_array_equal(bp.to_numpy(step(x)), np.full(3, 2.0 * (i + 1)))
        np.testing.assert_array_equal(bp.to_numpy(x), np.full(3, i + 1.0))
    assert step.reason == "its graph leaves arrays otherwise than the step"


def test_a_graph_that_gives_something_else_is_never_used(
    cp: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    batches = [batch(cp) for _ in range(10)]
    plain, compiled = Training(), Training()
    expected = trained(plain, plain.step, batches)
    launch = fake.Graph.launch

    def forgetful(graph: Any, stream: Any = None) -> None:
        del graph.calls[len(graph.calls) // 2]
        launch(graph, stream)

    monkeypatch.setattr(fake.Graph, "launch", forgetful)
    step = bp.compile(compiled.step)
    assert_same(trained(compiled, step, batches), expected)
    assert step.replays == 0
    assert step.reason in (
        "its graph gives another result than the step",
        "its graph leaves arrays otherwise than the step",
    )


def test_arrays_of_both_libraries_are_not_mixed(cp: Any) -> None:
    a, b = cp.asarray(np.ones(3)), np.ones(3)

    @bp.compile
    def step() -> Any:
        return a + 1, b + 1

    step()
    assert step.reason.endswith("b is an array of numpy, others are of cupy")


def test_an_error_in_the_step_is_the_same_error(cp: Any) -> None:
    w = cp.asarray(np.ones(3))
    calls = []

    @bp.compile
    def step(x: Any) -> Any:
        if len(calls) > 5:
            raise ValueError("six")
        return x + w

    for _ in range(5):
        step(w)
    calls += [0] * 6
    with pytest.raises(ValueError, match="six"):
        step(w)


# ---- what changes between calls


def test_changes_of_the_model_have_their_effect(cp: Any) -> None:
    plain, compiled = Training(), Training()
    step = bp.compile(compiled.step)
    saved = bp.tree.map(lambda x: x.copy(), plain.model.state_dict())

    def changes(t: Training, i: int) -> None:
        if i == 8:
            t.model.eval()
        if i == 16:
            t.model.train()
        if i == 20:
            t.model.load_state_dict(saved)
        if i == 24:
            t.model[0].weight = t.model[0].weight * 2
        if i == 32:
            t.model.freeze("0.*")

    results = []
    batches = [batch(cp) for _ in range(40)]
    for t, f in ((plain, plain.step), (compiled, step)):
        losses = []
        for i, (x, y) in enumerate(batches):
            changes(t, i)
            losses.append(float(f(x, y)))
        results.append((losses, bp.to_numpy(t.model.state_dict())))
    assert_same(*results)
    assert step.replays > 15


def test_arrays_that_are_written_from_outside_are_read_anew(cp: Any) -> None:
    w = cp.asarray(np.ones(3))
    step = bp.compile(lambda x: x * w)
    for i in range(FIRST + 4):
        w[...] = float(i)
        np.testing.assert_array_equal(bp.to_numpy(step(cp.asarray(np.ones(3)))), np.full(3, i))
    assert step.reason is None
