"""What a replay would repeat in silence if it were not found out: old batches, old numbers, old randomness."""

from __future__ import annotations

import itertools
import logging
import math
import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from same import Case, batches, loss, network, run_both, training

import bpgpu as bp
from bpgpu.replay import places

DATA = np.random.default_rng(5).standard_normal((40, 6)).astype(np.float32)
LABELS = np.arange(40) % 3
RATE = 0.1
SETTINGS: dict[str, Any] = {"scale": 1.0, "flip": False}
CALLS: list[tuple[Any, ...]] = [()] * 24


def update(model: Any, opt: Any, x: Any, y: Any) -> Any:
    value, grads = bp.value_and_grad(loss)(model, x, y)
    opt.step(grads)
    return value


def drawing(draw: Any) -> Any:
    """A step that draws its batch inside, by `draw() -> positions`."""

    def make() -> Case:
        model = network()
        opt = bp.optim.SGD(model, lr=0.1)
        source = draw()

        def step() -> Any:
            index = source()
            return update(model, opt, DATA[index], LABELS[index])

        return Case(step, lambda: model)

    return make


def by_numpy_generator() -> Any:
    rng = np.random.default_rng(1)
    return lambda: rng.integers(0, 40, 8)


def by_numpy_global() -> Any:
    np.random.seed(3)
    return lambda: np.random.randint(0, 40, 8)


def by_random_module() -> Any:
    own = random.Random(4)
    return lambda: own.sample(range(40), 8)


def by_iterator() -> Any:
    batches = itertools.cycle([list(range(i, i + 8)) for i in range(0, 32, 8)])
    return lambda: next(batches)


def by_generator() -> Any:
    def forever() -> Any:
        for i in itertools.count():
            yield [(i * 8 + j) % 40 for j in range(8)]

    source = forever()
    return lambda: next(source)


def by_counter() -> Any:
    i = 0

    def draw() -> Any:
        nonlocal i
        i += 1
        return slice(8 * (i % 5), 8 * (i % 5) + 8)

    return draw


def by_list() -> Any:
    waiting = [slice(8 * (i % 5), 8 * (i % 5) + 8) for i in range(40)]
    return lambda: waiting.pop()


def by_object() -> Any:
    class Source:
        def __init__(self) -> None:
            self.order = [3, 1, 4, 1, 0, 2]
            self.at = 0

        def __call__(self) -> Any:
            self.at += 1
            k = self.order[self.at % len(self.order)]
            return slice(8 * k, 8 * k + 8)

    return Source()


def by_default_argument() -> Any:
    def draw(seen: Any = []) -> Any:  # noqa: B006 - that is the hazard
        seen.append(None)
        k = len(seen) % 5
        return slice(8 * k, 8 * k + 8)

    return draw


def by_function_attribute() -> Any:
    def draw() -> Any:
        draw.at = getattr(draw, "at", 0) + 1  # type: ignore[attr-defined]
        k = draw.at % 5  # type: ignore[attr-defined]
        return slice(8 * k, 8 * k + 8)

    return draw


def by_clock() -> Any:
    return lambda: [int(time.perf_counter() * 0) + j for j in range(8)]


@pytest.mark.parametrize(
    "draw",
    [
        *(by_numpy_generator, by_random_module, by_iterator, by_generator, by_counter),
        *(by_list, by_object, by_default_argument, by_function_attribute, by_clock),
    ],
)
def test_batch_drawn_inside_the_step(draw: Any) -> None:
    assert run_both(drawing(draw), CALLS).replays == 0


def test_numpy_global_generator() -> None:
    results = []
    for fast in (False, True):
        np.random.seed(3)
        case = drawing(lambda: lambda: np.random.randint(0, 40, 8))()
        step = bp.compile(case.step) if fast else case.step
        results.append([step().tobytes() for _ in range(12)])
    assert results[0] == results[1]


def test_module_random_chooses_a_branch() -> None:
    results = []
    for compiled in (False, True):
        random.seed(0)

        def step(x: Any) -> Any:
            return x * 2 if random.random() < 0.9 else x * 3

        f = bp.compile(step) if compiled else step
        results.append([float(f(np.ones(2))[0]) for _ in range(60)])
    assert results[0] == results[1]


@pytest.mark.parametrize(
    "draw", [lambda: np.random.random(), lambda: np.random.default_rng().random() * 1e-9]
)
def test_rare_numbers_of_numpy_choose_a_branch(draw: Any) -> None:
    results = []
    for compiled in (False, True):
        np.random.seed(0)

        def step(x: Any) -> Any:
            return x * 2 if draw() < 0.9 else x * 3

        f = bp.compile(step) if compiled else step
        results.append([float(f(np.ones(2))[0]) for _ in range(60)])
        assert not compiled or f.replays == 0
    assert results[0] == results[1]


def test_keys_of_the_default_stream() -> None:
    results = []
    for compiled in (False, True):
        bp.seed(0)

        def step(x: Any) -> Any:
            return bp.functional.dropout(x, 0.5)

        f = bp.compile(step) if compiled else step
        results.append([f(np.ones(16)).tobytes() for _ in range(12)])
    assert results[0] == results[1]


def test_key_that_is_an_argument_is_data() -> None:
    fast = bp.compile(lambda key, x: bp.functional.dropout(x, 0.5, key=key))
    keys = bp.random.split(bp.random.key(0), 12)
    for key in keys:
        expected = bp.functional.dropout(np.ones(16), 0.5, key=key)
        assert fast(key, np.ones(16)).tobytes() == expected.tobytes()
    assert fast.replays >= 6, fast.reason


def test_key_in_the_closure_advanced_in_place() -> None:
    def make() -> Case:
        key = bp.random.key(3)

        def step(x: Any) -> Any:
            y = bp.functional.dropout(x, 0.5, key=key)
            key[...] = bp.random.advance(key)
            return y

        return Case(step, lambda: key)

    assert run_both(make, [(np.ones(16),)] * 12).replays >= 6


@pytest.mark.parametrize("every", [2, 3, 5])
def test_every_kth_step_is_another_one(every: int) -> None:
    def make() -> Case:
        model = network()
        opt = bp.optim.SGD(model, lr=0.1)
        count = 0

        def step(x: Any, y: Any) -> Any:
            nonlocal count
            count += 1
            if count % every == 0:
                return loss(model, x, y)
            return update(model, opt, x, y)

        return Case(step, lambda: (model, count))

    assert run_both(make, batches(24)).replays == 0


def test_counter_that_the_caller_keeps() -> None:
    def make() -> Case:
        model = network()
        opt = bp.optim.SGD(model, lr=0.1)

        def step(i: int, x: Any, y: Any) -> Any:
            return update(model, opt, x, y) if i % 10 else loss(model, x, y) * 0

        return Case(step, lambda: model)

    run_both(make, [(i, x, y) for i, (x, y) in enumerate(batches(64))])


def test_global_number_that_changes_rarely() -> None:
    global RATE  # noqa: PLW0603 - that is the hazard

    def step(x: Any) -> Any:
        return x * RATE

    fast = bp.compile(step)
    for i in range(30):
        RATE = 0.1 if i < 20 else 0.2
        assert fast(np.ones(2))[0] == RATE
    assert fast.replays >= 20


def test_global_dict_and_helper_functions_are_followed() -> None:
    def helper(x: Any) -> Any:
        return -x if SETTINGS["flip"] else x

    def step(x: Any) -> Any:
        return helper(x) * SETTINGS["scale"]

    fast = bp.compile(step)
    for i in range(40):
        SETTINGS.update(scale=1.0 + (i // 10), flip=i >= 20)
        assert fast(np.full(2, 3.0)).tobytes() == step(np.full(2, 3.0)).tobytes()
    SETTINGS.update(scale=1.0, flip=False)
    assert fast.replays >= 20


class Config:
    factor = 2.0

    def __init__(self) -> None:
        self.inner = {"offset": [1.0, 2.0]}


CONFIG = Config()


def test_attributes_of_objects_and_classes_are_seen() -> None:
    def step(x: Any) -> Any:
        return x * CONFIG.factor + CONFIG.inner["offset"][1]

    fast = bp.compile(step)
    for i in range(40):
        Config.factor = 2.0 if i < 10 else 3.0
        CONFIG.inner["offset"][1] = 2.0 if i < 20 else 5.0
        if i == 30:
            CONFIG.factor = 7.0
        assert fast(np.ones(2)).tobytes() == step(np.ones(2)).tobytes()
    del CONFIG.factor
    assert fast.replays >= 20


def test_function_that_is_replaced() -> None:
    rules = [np.tanh, np.exp, np.sin]
    chosen = {"rule": rules[0]}

    def step(x: Any) -> Any:
        return chosen["rule"](x)

    fast = bp.compile(step)
    for i in range(30):
        chosen["rule"] = rules[i // 10]
        assert fast(np.ones(2)).tobytes() == step(np.ones(2)).tobytes()


def test_array_of_the_closure_that_is_replaced_or_written_to() -> None:
    weights = np.ones(3)

    def step(x: Any) -> Any:
        return x * weights

    fast = bp.compile(step)
    for i in range(40):
        if i % 10 == 5:
            weights = np.full(3, float(i))
        if i % 10 == 8:
            weights += 1
        assert fast(np.ones(3)).tobytes() == weights.tobytes()
    assert fast.replays >= 15


def test_step_that_rebinds_an_array_of_its_closure() -> None:
    def make() -> Case:
        hidden = np.zeros(3)

        def step(x: Any) -> Any:
            nonlocal hidden
            hidden = np.tanh(hidden + x)
            return hidden

        return Case(step, lambda: hidden)

    fast = run_both(make, [(np.full(3, 0.1 * i),) for i in range(16)])
    assert fast.replays >= 8, fast.reason


def test_prints_and_logs_are_not_lost(capsys: Any, caplog: Any) -> None:
    def step(x: Any) -> Any:
        print("called")  # noqa: T201
        return x + 1

    fast = bp.compile(step)
    for _ in range(8):
        fast(np.ones(2))
    assert capsys.readouterr().out.split() == ["called"] * 8

    logger = logging.getLogger("test_hazards")

    def logging_step(x: Any) -> Any:
        logger.warning("called")
        return x + 1

    slow = bp.compile(logging_step)
    with caplog.at_level(logging.WARNING, "test_hazards"):
        for _ in range(8):
            slow(np.ones(2))
    assert len(caplog.records) == 8


def test_values_that_leave_the_step_as_numbers() -> None:
    history: list[float] = []

    def step(x: Any) -> Any:
        history.append(float(np.sum(x)))
        return x * 2

    fast = bp.compile(step)
    for i in range(10):
        fast(np.full(2, float(i)))
    assert history == [2.0 * i for i in range(10)]


def test_arrays_kept_in_a_list_of_the_closure() -> None:
    history: list[Any] = []

    def step(x: Any) -> Any:
        y = x * 2
        history.append(y)
        return y

    fast = bp.compile(step)
    for i in range(10):
        fast(np.full(2, float(i)))
    assert [type(y) for y in history] == [np.ndarray] * 10
    assert [float(y[0]) for y in history] == [2.0 * i for i in range(10)]


@pytest.mark.parametrize(
    "convert",
    [
        lambda x: float(x.sum()),
        lambda x: x.sum().item(),
        lambda x: x.tolist(),
        lambda x: int(x.sum()),
        lambda x: np.asarray(x),
        lambda x: np.array(x.data),
        lambda x: math.exp(x.sum()),
        lambda x: str(x),
        lambda x: np.asarray(x.__array_interface__["shape"]),
        lambda x: x[x > 1.0],
        lambda x: np.nonzero(x)[0],
        lambda x: np.unique(x),
        lambda x: x.size * (1.0 if (x > 1.5).all() else 2.0),
        lambda x: [v for v in x if v > 1.0],
        lambda x: sorted(x.tolist()),
        lambda x: x.astype(object),
        lambda x: max(x),
    ],
)
def test_numbers_taken_from_arrays(convert: Any) -> None:
    def step(x: Any) -> Any:
        return x + 1, convert(x)

    calls = [(np.linspace(0.0, 3.0, 5) * (1 if i % 4 else 0.1),) for i in range(16)]
    run_both(lambda: Case(step, lambda: ()), calls)


def test_branch_after_a_change_of_state_runs_eagerly() -> None:
    def make() -> Case:
        total = np.zeros(())

        def step(x: Any) -> Any:
            np.add(total, x.sum(), out=total)
            return x if total > 10 else -x

        return Case(step, lambda: total)

    fast = run_both(make, [(np.ones(2),)] * 12)
    assert fast.replays == 0
    assert "branches" in str(fast.reason)


def test_accumulated_gradients() -> None:
    def make() -> Case:
        model = network()
        opt = bp.optim.SGD(model, lr=0.1)
        total = bp.optim.GradientAccumulator(3)

        def step(x: Any, y: Any) -> Any:
            value, grads = bp.value_and_grad(loss)(model, x, y)
            mean = total.add(grads)
            if mean is not None:
                opt.step(mean)
            return value

        return Case(step, lambda: (model, opt.state_dict()))

    run_both(make, batches(24))


def test_schedule_stepped_inside() -> None:
    def make() -> Case:
        model = network()
        opt = bp.optim.SGD(model, lr=0.1)
        schedule = bp.optim.lr_scheduler.ExponentialLR(opt, 0.9)

        def step(x: Any, y: Any) -> Any:
            value = update(model, opt, x, y)
            schedule.step()
            return value

        return Case(step, lambda: (model, opt.state_dict()))

    assert run_both(make, batches(12)).replays == 0


def test_other_options_of_the_optimizer() -> None:
    optimizers: dict[Any, Any] = {}

    def make() -> Case:
        model = network()
        opt = bp.optim.SGD(model, lr=0.1, momentum=0.9)

        def step(x: Any, y: Any) -> Any:
            return update(model, opt, x, y)

        optimizers[step] = opt
        return Case(step, lambda: (model, opt.state_dict()))

    def between(case: Case, i: int) -> None:
        opt = optimizers[case.step]
        opt.param_groups[0]["weight_decay"] = 0.0 if i < 8 else 0.1
        opt.lr = 0.1 if i < 16 else 0.0

    assert run_both(make, batches(24), between).replays >= 10


def test_exception_leaves_everything_as_it_would_be() -> None:
    def make() -> Case:
        model = network(bp.nn.BatchNorm1d(5), bp.nn.Dropout(0.5))
        opt = bp.optim.Adam(model, lr=0.01)
        broken = {"now": False}

        def step(x: Any, y: Any) -> Any:
            value, grads = bp.value_and_grad(loss)(model, x, y)
            if broken["now"]:
                raise RuntimeError("broken")
            opt.step(grads)
            return value

        flags[step] = broken
        return Case(step, lambda: (model, opt.state_dict()))

    flags: dict[Any, dict[str, bool]] = {}

    def between(case: Case, i: int) -> None:
        flags[case.step]["now"] = i in (1, 3, 9, 10, 11, 15)

    assert run_both(make, batches(20), between).replays >= 3


def test_wrong_shape_raises_as_it_would() -> None:
    calls = batches(12)
    calls[2] = (calls[2][0][:, :4], calls[2][1])
    calls[8] = (calls[8][0][:, :4], calls[8][1])
    run_both(training, calls)


def test_threads_take_turns() -> None:
    case, expected = training(), training()
    fast = bp.compile(case.step)
    lock = threading.Lock()
    calls = batches(60)

    def one(args: Any) -> None:
        with lock:
            fast(*args)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(one, [calls[0]] * 60))
    for _ in range(60):
        expected.step(*calls[0])
    model, other = case.state()[0], expected.state()[0]
    for p, q in zip(model.parameters().values(), other.parameters().values(), strict=True):
        assert p.tobytes() == q.tobytes()


def test_threads_at_the_same_time() -> None:
    model = network()
    fast = bp.compile(lambda x: model(x))
    inputs = [np.full((4, 6), float(i), dtype=np.float32) for i in range(200)]
    expected = [model(x).tobytes() for x in inputs]
    with ThreadPoolExecutor(4) as pool:
        found = [y.tobytes() for y in pool.map(fast, inputs)]
    assert found == expected


def test_model_used_elsewhere_while_it_is_recorded() -> None:
    model = network()
    x = np.ones((4, 6), dtype=np.float32)
    expected = model(x)
    seen: list[Any] = []

    def step(x: Any) -> Any:
        thread = threading.Thread(target=lambda: seen.append(model(x)))
        thread.start()
        thread.join()
        return model(x)

    fast = bp.compile(step)
    for _ in range(5):
        assert fast(x).tobytes() == expected.tobytes()
    assert all(np.asarray(y).tobytes() == expected.tobytes() for y in seen)
    assert len(seen) == 5


def test_compiled_inside_compiled() -> None:
    def make() -> Case:
        model = network()
        opt = bp.optim.SGD(model, lr=0.1)
        inner = bp.compile(lambda x, y: update(model, opt, x, y))

        def step(x: Any, y: Any) -> Any:
            return inner(x, y) * 2

        return Case(step, lambda: model)

    run_both(make, batches(16))


def test_compiled_step_inside_a_gradient() -> None:
    fast = bp.compile(lambda x: x**3)
    for _ in range(5):
        fast(np.asarray(2.0))
    assert bp.grad(fast)(np.asarray(2.0)) == 12.0


def test_recursion() -> None:
    def step(x: Any, n: int = 2) -> Any:
        return x if n == 0 else fast(x * 2, n - 1)

    fast = bp.compile(step)
    for i in range(10):
        assert fast(np.full(2, float(i)))[0] == 4.0 * i


def test_arrays_of_other_libraries_run_as_they_are() -> None:
    strict = pytest.importorskip("array_api_strict")
    fast = bp.compile(lambda x: x * 2)
    for i in range(5):
        assert float(fast(strict.asarray(float(i)))) == 2.0 * i
    assert fast.replays == 0
    assert "array_api_strict" in str(fast.reason)


def test_reason_is_logged_once(caplog: Any) -> None:
    rng = np.random.default_rng(0)
    fast = bp.compile(lambda x: x * rng.standard_normal())
    with caplog.at_level(logging.INFO, "bpgpu"):
        for _ in range(10):
            fast(np.ones(2))
    told = [r.getMessage() for r in caplog.records if r.name == "bpgpu"]
    assert len(told) == 1
    assert "rng" in told[0]
    assert fast.replays == 0


def test_data_of_two_lengths_in_turn() -> None:
    masks = [np.arange(6) % k == 0 for k in (2, 3)]

    def step(x: Any, m: Any) -> Any:
        return x[m].sum()

    run_both(lambda: Case(step, lambda: ()), [(np.arange(6.0), masks[i % 2]) for i in range(12)])


def test_arguments_that_share_memory() -> None:
    def step(a: Any, b: Any) -> Any:
        a += 1
        return a * b

    x = np.zeros(3)
    run_both(lambda: Case(step, lambda: ()), [(np.zeros(3), np.ones(3))] * 0 or [])
    fast = bp.compile(step)
    for i in range(12):
        a, b = np.full(3, float(i)), np.full(3, 2.0)
        c, d = a.copy(), b.copy()
        assert fast(a, b).tobytes() == step(c, d).tobytes()
        assert a.tobytes() == c.tobytes()
        e, f = x.copy(), x.copy()
        assert fast(e, e).tobytes() == step(f, f).tobytes()


def test_list_argument_that_the_step_appends_to() -> None:
    seen: list[Any] = []

    def step(x: Any, out: list[Any]) -> Any:
        out.append(x * 2)
        return x

    fast = bp.compile(step)
    for i in range(6):
        fast(np.full(2, float(i)), seen)
    assert [float(y[0]) for y in seen] == [2.0 * i for i in range(6)]
    assert all(type(y) is np.ndarray for y in seen)


def test_set_that_keeps_its_size() -> None:
    chosen = {"double"}

    def step(x: Any) -> Any:
        return x * 2 if "double" in chosen else x * 3

    fast = bp.compile(step)
    for i in range(12):
        if i == 8:
            chosen.clear()
            chosen.add("triple")
        assert fast(np.ones(2))[0] == (2.0 if i < 8 else 3.0)
    assert fast.replays >= 4


def test_attribute_that_is_read_by_a_name_made_up_on_the_way() -> None:
    class Layers:
        def __init__(self) -> None:
            self.w0 = np.ones(2)
            self.w1 = np.full(2, 2.0)

        def __call__(self, x: Any) -> Any:
            for i in range(2):
                x = x * getattr(self, f"w{i}")
            return x

    layers = Layers()
    fast = bp.compile(layers)
    for i in range(16):
        if i == 8:
            layers.w1 = np.full(2, 5.0)
        assert fast(np.ones(2))[0] == (2.0 if i < 8 else 5.0)
    assert fast.replays >= 4


def test_functions_that_remember_are_refused() -> None:
    import functools

    @functools.lru_cache
    def table(n: int) -> Any:
        return np.arange(n)

    fast = bp.compile(lambda x: x + table(3))
    for _ in range(6):
        fast(np.ones(3))
    assert fast.replays == 0


def test_environment_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    def factor() -> float:
        return float(os.environ.get("BPGPU_TEST_FACTOR", "1"))

    fast = bp.compile(lambda x: x * factor())
    for i in range(12):
        monkeypatch.setenv("BPGPU_TEST_FACTOR", "1" if i < 8 else "2")
        assert fast(np.ones(2))[0] == (1.0 if i < 8 else 2.0)


def test_error_settings_of_numpy() -> None:
    def step(x: Any) -> Any:
        with np.errstate(divide="ignore"):
            return 1 / x

    fast = bp.compile(step)
    for _ in range(8):
        assert np.isinf(fast(np.zeros(2))).all()


def test_file_that_is_read_again(tmp_path: Any) -> None:
    path = tmp_path / "x.npy"
    fast = bp.compile(lambda x: x + np.load(path))
    for i in range(10):
        np.save(path, np.full(2, float(i // 5)))
        assert fast(np.zeros(2))[0] == i // 5


def test_compiled_step_as_an_attribute_of_what_it_uses() -> None:
    class Owner:
        def __init__(self) -> None:
            self.w = np.ones(2)
            self.go = bp.compile(self.step)

        def step(self, x: Any) -> Any:
            self.w -= 0.1 * x
            return self.w.sum()

    owner, other = Owner(), Owner()
    for i in range(12):
        x = np.full(2, float(i))
        assert owner.go(x).tobytes() == other.step(x).tobytes()
    assert owner.go.replays >= 6, owner.go.reason


def test_recording_keeps_no_arrays_of_a_call() -> None:
    import gc
    import weakref

    seen: list[Any] = []
    fast = bp.compile(lambda x: (x * 2).sum())
    for _ in range(6):
        x = np.ones(1000)
        seen.append(weakref.ref(x))
        fast(x)
    del x
    gc.collect()
    assert sum(r() is not None for r in seen) <= 1  # the state of the binding


def test_copy_of_a_compiled_step_starts_anew() -> None:
    import copy
    import pickle

    fast = bp.compile(np.tanh)
    assert copy.deepcopy(fast).step is np.tanh
    assert pickle.loads(pickle.dumps(fast)).step is np.tanh


def test_compiled_code_that_takes_nothing_but_numpys_own_arrays() -> None:
    torch = pytest.importorskip("torch")

    def make() -> Case:
        w = np.ones(2)

        def step(x: Any) -> Any:
            np.subtract(w, 0.1 * x, out=w)
            return torch.from_numpy(x).sum().item() + w

        return Case(step, lambda: w)

    assert run_both(make, [(np.full(2, float(i)),) for i in range(8)]).replays == 0


def test_no_handle_is_left_behind() -> None:
    import gc

    def handles() -> dict[int, Any]:
        gc.collect()
        kinds = ("Recorded", "RecordedScalar")
        return {id(x): x for x in gc.get_objects() if type(x).__name__ in kinds}

    before = handles()  # of tests whose frames pytest keeps
    case = training(network(bp.nn.BatchNorm1d(5)), bp.optim.Adam)
    fast = bp.compile(case.step)
    for batch in batches(10):
        fast(*batch)
    left = [x for i, x in handles().items() if i not in before]
    assert fast.replays >= 5
    assert len(left) <= 2, len(left)


def test_settings_of_the_thread_are_part_of_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """As `bpgpu.precision` and `kernels.switched_off` are: the code that reads them is out of sight."""
    now = ["one"]
    monkeypatch.setitem(places.SETTINGS, "a setting", lambda: now[0])
    step = bp.compile(lambda x: x * 2)
    x = np.ones(3)
    for _ in range(5):
        step(x)
    assert step.reason is None
    now[0] = "two"
    step(x)
    assert step.reason == "it is being recorded"
    now[0] = "one"
    step(x)
    assert step.reason is None
