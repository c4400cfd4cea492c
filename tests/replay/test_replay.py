"""What is replayed, and that it gives what the step itself gives."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from same import Case, batches, loss, network, run_both, training

import bpgpu as bp

OPTIMIZERS: dict[str, tuple[Any, dict[str, Any]]] = {
    "sgd": (bp.optim.SGD, {}),
    "momentum": (bp.optim.SGD, {"momentum": 0.9, "nesterov": True, "weight_decay": 0.01}),
    "adam": (bp.optim.Adam, {"lr": 1e-2}),
    "amsgrad": (bp.optim.Adam, {"lr": 1e-2, "amsgrad": True}),
    "adamw": (bp.optim.AdamW, {"lr": 1e-2}),
    "rmsprop": (bp.optim.RMSprop, {"lr": 1e-2}),
    "adagrad": (bp.optim.Adagrad, {"lr": 1e-2}),
    "adadelta": (bp.optim.Adadelta, {"lr": 1.0}),
    "nadam": (bp.optim.NAdam, {"lr": 1e-2}),
    "radam": (bp.optim.RAdam, {"lr": 1e-2}),
    "adamax": (bp.optim.Adamax, {"lr": 1e-2}),
    "lion": (bp.optim.Lion, {"lr": 1e-3}),
    "rprop": (bp.optim.Rprop, {"lr": 1e-2}),
    "asgd": (bp.optim.ASGD, {"lr": 1e-2}),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_gives_the_same_bits(name: str) -> None:
    cls, options = OPTIMIZERS[name]
    fast = run_both(lambda: training(None, cls, **options), batches(12))
    assert fast.replays >= 6, fast.reason


LAYERS: dict[str, Any] = {
    "dropout": lambda: bp.nn.Dropout(0.4),
    "batch norm": lambda: bp.nn.BatchNorm1d(5),
    "batch norm, mean of all batches": lambda: bp.nn.BatchNorm1d(5, momentum=None),
    "layer norm": lambda: bp.nn.LayerNorm(5),
    "relu": lambda: bp.nn.ReLU(),
    "gelu": lambda: bp.nn.GELU(),
    "softplus": lambda: bp.nn.Softplus(),
    "silu": lambda: bp.nn.SiLU(),
    "elu": lambda: bp.nn.ELU(),
}


@pytest.mark.parametrize("name", LAYERS)
def test_layers_give_the_same_bits(name: str) -> None:
    fast = run_both(lambda: training(network(LAYERS[name]())), batches(12))
    assert fast.replays >= 6, fast.reason


def test_dropout_draws_a_new_mask_at_each_replay() -> None:
    model = bp.nn.Dropout(0.5)
    fast = bp.compile(lambda x: model(x))
    masks = {fast(np.ones(64)).tobytes() for _ in range(20)}
    assert fast.replays >= 10
    assert len(masks) == 20


def test_model_and_optimizer_as_arguments() -> None:
    def make() -> Case:
        model = network()
        opt = bp.optim.Adam(model, lr=0.01)

        def step(m: Any, o: Any, x: Any, y: Any) -> Any:
            value, grads = bp.value_and_grad(loss)(m, x, y)
            o.step(grads)
            return value

        return Case(lambda x, y: step(model, opt, x, y), lambda: (model, opt.state_dict()))

    assert run_both(make, batches(10)).replays >= 5
    pairs = [(network(), bp.optim.SGD(network(), lr=0.1)) for _ in range(2)]
    assert len(pairs) == 2


def test_two_models_share_one_compiled_step() -> None:
    def train(m: Any, o: Any, x: Any, y: Any) -> Any:
        value, grads = bp.value_and_grad(loss)(m, x, y)
        o.step(grads)
        return value

    fast = bp.compile(train)
    models = [network(), network()]
    expected = [network(), network()]
    opts = [bp.optim.SGD(m, lr=0.1 * (i + 1)) for i, m in enumerate(models)]
    others = [bp.optim.SGD(m, lr=0.1 * (i + 1)) for i, m in enumerate(expected)]
    for i, (x, y) in enumerate(batches(30)):
        k = i % 2
        a, b = fast(models[k], opts[k], x, y), train(expected[k], others[k], x, y)
        assert a.tobytes() == b.tobytes()
    assert fast.replays >= 15, fast.reason
    for m, n in zip(models, expected, strict=True):
        for p, q in zip(m.parameters().values(), n.parameters().values(), strict=True):
            assert p.tobytes() == q.tobytes()


class Trainer:
    def __init__(self, rate: float = 0.1) -> None:
        self.model = network()
        self.opt = bp.optim.SGD(self.model, lr=rate)
        self.scale = 1.0

    def loss(self, model: Any, x: Any, y: Any) -> Any:
        return loss(model, x, y) * self.scale

    def step(self, x: Any, y: Any) -> Any:
        value, grads = bp.value_and_grad(self.loss)(self.model, x, y)
        self.opt.step(grads)
        return {"loss": value, "who": "trainer", "parts": [value, (value, None, 3)]}


def test_bound_method_and_a_tree_of_results() -> None:
    def make() -> Case:
        trainer = Trainer()
        return Case(trainer.step, lambda: trainer.model)

    assert run_both(make, batches(10)).replays >= 5


def test_number_in_an_attribute_is_seen_when_it_changes() -> None:
    def make() -> Case:
        trainer = Trainer()
        case = Case(trainer.step, lambda: trainer.model)
        trainers[case.step] = trainer
        return case

    trainers: dict[Any, Trainer] = {}

    def between(case: Case, i: int) -> None:
        trainers[case.step].scale = 1.0 if i < 8 or i >= 16 else 2.0

    assert run_both(make, batches(24), between).replays >= 12


def test_learning_rate_is_an_input() -> None:
    def make() -> Case:
        model = network()
        opt = bp.optim.Adam(model, lr=0.1)
        schedule = bp.optim.lr_scheduler.CosineAnnealingLR(opt, 20)

        def step(x: Any, y: Any) -> Any:
            value, grads = bp.value_and_grad(loss)(model, x, y)
            opt.step(grads)
            return value

        schedules[step] = schedule
        return Case(step, lambda: (model, opt.state_dict()))

    schedules: dict[Any, Any] = {}
    fast = run_both(make, batches(20), lambda case, i: schedules[case.step].step())
    assert fast.replays >= 14, fast.reason


def test_clipping_and_averaging() -> None:
    def make() -> Case:
        model = network()
        opt = bp.optim.SGD(model, lr=0.5, momentum=0.9)
        average = bp.optim.EMA(model, 0.9)

        def step(x: Any, y: Any) -> Any:
            value, grads = bp.value_and_grad(loss)(model, x, y)
            grads, norm = bp.clip_grad_norm(grads, 0.1)
            opt.step(grads)
            average.step()
            return value, norm

        return Case(step, lambda: (model, average.state_dict()))

    assert run_both(make, batches(12)).replays >= 6


def test_new_shape_and_back() -> None:
    big, small = batches(20), batches(20, size=3)
    calls = big[:8] + small[:8] + big[8:12] + small[8:12] + big[12:]
    assert run_both(training, calls).replays >= 16


def test_new_dtype() -> None:
    calls = batches(8) + [(x.astype(np.float64), y) for x, y in batches(8)]
    assert run_both(lambda: training(network(dtype="float64")), calls).replays >= 4


def test_training_and_evaluation() -> None:
    def make() -> Case:
        model = network(bp.nn.Dropout(0.5))

        def step(x: Any, y: Any) -> Any:
            return loss(model, x, y), model.training

        models[step] = model
        return Case(step, lambda: model)

    models: dict[Any, Any] = {}

    def between(case: Case, i: int) -> None:
        models[case.step].train(i % 12 < 6)

    assert run_both(make, batches(30), between).replays >= 15


def test_freezing_and_thawing() -> None:
    models: dict[Any, Any] = {}

    def make() -> Case:
        model = network()
        case = training(model, bp.optim.Adam)
        models[case.step] = model
        return case

    def between(case: Case, i: int) -> None:
        if i == 8:
            models[case.step].freeze("0")
        if i == 16:
            models[case.step].unfreeze()

    assert run_both(make, batches(26), between).replays >= 8


def test_reassigned_parameter() -> None:
    models: dict[Any, Any] = {}

    def make() -> Case:
        model = network()
        case = training(model, bp.optim.SGD, momentum=0.9)
        models[case.step] = model
        return case

    def between(case: Case, i: int) -> None:
        if i in (6, 12):
            layer = models[case.step][0]
            layer.weight = np.full((5, 6), 0.1 * i, dtype=np.float32)

    assert run_both(make, batches(20), between).replays >= 5


def test_loading_a_state_on_the_way() -> None:
    models: dict[Any, Any] = {}
    saved = {k: v.copy() for k, v in network().state_dict().items()}

    def make() -> Case:
        model = network()
        case = training(model, bp.optim.Adam)
        models[case.step] = model
        return case

    def between(case: Case, i: int) -> None:
        if i == 8:
            models[case.step].load_state_dict(saved)

    assert run_both(make, batches(16), between).replays >= 8


def test_branch_on_a_value_before_state_changes() -> None:
    def make() -> Case:
        model = network()
        opt = bp.optim.SGD(model, lr=0.3)

        def step(x: Any, y: Any) -> Any:
            value, grads = bp.value_and_grad(loss)(model, x, y)
            if value > 1.1:
                opt.step(grads)
            return value

        return Case(step, lambda: model)

    run_both(make, batches(40))


def test_wrong_labels_raise_in_a_replay_too() -> None:
    calls = batches(12)
    x, y = calls[9]
    calls[9] = x, y - 5
    fast = run_both(training, calls)
    assert fast.replays >= 6


def test_higher_order_gradients() -> None:
    def make() -> Case:
        w = np.linspace(-1, 1, 5)

        def f(w: Any, x: Any) -> Any:
            xp = bp.array_namespace(w, x)
            return xp.sum(xp.tanh(w * x) ** 3)

        def step(x: Any) -> Any:
            g = bp.grad(lambda w: (bp.grad(f)(w, x) ** 2).sum() if False else f(w, x))(w)
            h = bp.hessian(f)(w, x)
            w[...] = w - 0.1 * g
            return g, h

        return Case(step, lambda: w)

    rng = np.random.default_rng(0)
    assert run_both(make, [(rng.standard_normal(5),) for _ in range(10)]).replays >= 5


def test_plain_code_with_assignment_to_an_array_of_the_closure() -> None:
    def make() -> Case:
        history, count = np.zeros(4), np.zeros((), dtype=np.int64)

        def step(x: Any) -> Any:
            history[:-1] = history[1:].copy()
            history[-1] = np.sum(x)
            np.add(count, 1, out=count)
            return history

        return Case(step, lambda: (history, count))

    eager, other = make(), make()
    fast = bp.compile(other.step)
    for i in range(12):
        x = np.arange(3.0) * i
        a, b = eager.step(x), fast(x)
        assert a.tobytes() == b.tobytes()
        assert b is other.state()[0]
    assert fast.replays >= 6, fast.reason


def test_step_that_returns_its_input() -> None:
    fast = bp.compile(lambda x: (x, x * 2, [x]))
    for i in range(8):
        x = np.full(3, float(i))
        a, b, (c,) = fast(x)
        assert a is x
        assert c is x
        assert b.tobytes() == (x * 2).tobytes()
    assert fast.replays >= 4


def test_arguments_by_keyword_and_in_trees() -> None:
    def step(batch: Any, *, scale: float = 1.0, more: Any = None) -> Any:
        return {"out": batch["x"] @ batch["w"][0] * scale, "more": more}

    fast = bp.compile(step)
    rng = np.random.default_rng(1)
    for i in range(30):
        batch = {"x": rng.standard_normal((2, 3)), "w": (rng.standard_normal((3, 4)),)}
        scale = 1.0 + (i // 10)
        found = fast(batch, scale=scale, more=None)
        assert found["out"].tobytes() == step(batch, scale=scale)["out"].tobytes()
    assert fast.replays >= 15


def test_source_is_one_line_for_each_call(capsys: Any) -> None:
    fast = bp.compile(lambda x: np.tanh(x) * 2 + 1)
    assert fast.source == ""
    for _ in range(4):
        fast(np.ones(3))
    assert fast.source.splitlines() == [
        "def replay(v0):",
        "    v1 = tanh(v0)",
        "    v2 = v1 * 2",
        "    del v1",
        "    v3 = v2 + 1",
        "    return (v3,), ()",
    ]
    fast.show()
    assert capsys.readouterr().out.strip() == fast.source.strip()


def test_what_nobody_uses_is_not_computed() -> None:
    def step(x: Any) -> Any:
        unused = np.exp(x)
        unused += 1
        return x + 1

    fast = bp.compile(step)
    for _ in range(4):
        fast(np.ones(3))
    assert "exp" not in fast.source


def test_compile_wants_a_function() -> None:
    with pytest.raises(TypeError, match=r"compile: expected a function, got int"):
        bp.compile(3)  # type: ignore[arg-type]
