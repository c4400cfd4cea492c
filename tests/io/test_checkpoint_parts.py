"""Objects through `save` and `load`: training goes on bit for bit, and a load that fails changes nothing."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bpgpu as bp
from bpgpu.errors import CheckpointError

S = bp.optim.lr_scheduler


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run.safetensors"


class Run:
    """A small training, with dropout, running statistics and everything that has a state."""

    def __init__(self, xp: Any, optimizer: Any = bp.optim.AdamW, scheduler: Any = None) -> None:
        self.xp = xp
        self.model = network(xp)
        self.optimizer = optimizer(self.model)
        self.scheduler = scheduler(self.optimizer) if scheduler else None
        self.ema = bp.optim.EMA(self.model, 0.9)
        rng = np.random.default_rng(0)
        self.x = xp.asarray(rng.normal(size=(8, 3)))
        self.y = xp.asarray(rng.normal(size=(8, 2)))

    def parts(self) -> dict[str, Any]:
        found = {"model": self.model, "optimizer": self.optimizer, "ema": self.ema}
        return found | ({"scheduler": self.scheduler} if self.scheduler else {})

    def train(self, steps: int) -> list[float]:
        return [self.step() for _ in range(steps)]

    def step(self) -> float:
        def loss(model: Any) -> Any:
            return bp.functional.mse_loss(model(self.x), self.y)

        if isinstance(self.optimizer, bp.optim.LBFGS):
            value = loss(self.model)
            self.optimizer.step(lambda: bp.value_and_grad(loss)(self.model))
        else:
            value, grads = bp.value_and_grad(loss)(self.model)
            self.optimizer.step(grads)
        self.ema.step()
        if isinstance(self.scheduler, S.ReduceLROnPlateau):
            self.scheduler.step(float(value))
        elif self.scheduler:
            self.scheduler.step()
        return float(value)

    def fingerprint(self) -> dict[str, Any]:
        return {
            path: (str(x.dtype), np.asarray(bp.to_numpy(x)).tobytes())
            for path, x in bp.tree.items([dict(self.model.named_buffers()), *self.states()])
        }

    def states(self) -> list[Any]:
        return [part.state_dict() for part in self.parts().values()]


def network(xp: Any) -> Any:
    bp.seed(0)
    net = bp.nn.Sequential(
        bp.nn.Linear(3, 8), bp.nn.BatchNorm1d(8), bp.nn.Dropout(), bp.nn.Linear(8, 2)
    ).to(dtype="float64")
    for owner in net.modules():
        for name in (*owner._parameters, *owner._buffers):
            owner.__dict__[name] = xp.asarray(owner.__dict__[name])
    return net


OPTIMIZERS: dict[str, Callable[[Any], Any]] = {
    name: lambda m, cls=cls: cls(m)
    for name, cls in vars(bp.optim).items()
    if isinstance(cls, type)
    and issubclass(cls, bp.optim.optimizer.Optimizer)
    and cls is not bp.optim.optimizer.Optimizer
    and name != "Muon"
}
OPTIMIZERS["SGD"] = lambda m: bp.optim.SGD(m, lr=0.1)
OPTIMIZERS["SGD with momentum"] = lambda m: bp.optim.SGD(m, lr=0.1, momentum=0.9, nesterov=True)
OPTIMIZERS["Adam with groups"] = lambda m: bp.optim.Adam(
    m, groups=[{"params": "*.bias", "lr": 0.1, "betas": (0.8, 0.99)}], amsgrad=True
)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_training_goes_on_bit_for_bit(xp: Any, name: str, path: Path) -> None:
    whole = Run(xp, OPTIMIZERS[name])
    whole.train(3)
    bp.save(path, **whole.parts())
    expected = whole.train(3)

    resumed = Run(xp, OPTIMIZERS[name])
    resumed.train(1)  # a state that has to give way
    bp.load(path, **resumed.parts())
    assert resumed.train(3) == expected
    assert resumed.fingerprint() == whole.fingerprint()


def test_training_goes_on_bit_for_bit_with_jax(path: Path) -> None:
    xp = pytest.importorskip("jax.numpy")
    whole = Run(xp)
    whole.train(2)
    bp.save(path, **whole.parts())
    expected = whole.train(2)
    resumed = Run(xp)
    bp.load(path, **resumed.parts())
    assert resumed.train(2) == expected
    assert resumed.fingerprint() == whole.fingerprint()


def test_muon_goes_on_bit_for_bit(path: Path) -> None:
    def start() -> tuple[Any, Any]:
        weights = {"w": np.eye(3) + 0.1}
        return weights, bp.optim.Muon(weights, lr=0.01)

    def train(weights: Any, optimizer: Any) -> Any:
        for i in range(3):
            optimizer.step({"w": weights["w"] ** 2 - i})
        return weights["w"].tolist()

    weights, optimizer = start()
    train(weights, optimizer)
    bp.save(path, weights=weights, optimizer=optimizer)
    expected = train(weights, optimizer)
    weights, optimizer = start()
    bp.load(path, weights=weights, optimizer=optimizer)
    assert train(weights, optimizer) == expected


SCHEDULERS: dict[str, Callable[[Any], Any]] = {
    "StepLR": lambda o: S.StepLR(o, 2),
    "MultiStepLR": lambda o: S.MultiStepLR(o, [1, 3, 5]),
    "ExponentialLR": lambda o: S.ExponentialLR(o, 0.9),
    "CosineAnnealingLR": lambda o: S.CosineAnnealingLR(o, 10),
    "CosineAnnealingWarmRestarts": lambda o: S.CosineAnnealingWarmRestarts(o, 2, 2),
    "OneCycleLR": lambda o: S.OneCycleLR(o, 0.1, total_steps=20),
    "CyclicLR": lambda o: S.CyclicLR(o, 0.01, 0.1, 2, cycle_momentum=False),
    "CyclicLR with momentum": lambda o: S.CyclicLR(o, 0.01, 0.1, 2),
    "LambdaLR": lambda o: S.LambdaLR(o, lambda epoch: 0.9**epoch),
    "LinearLR": lambda o: S.LinearLR(o, 0.1, total_iters=4),
    "PolynomialLR": lambda o: S.PolynomialLR(o, 8),
    "ReduceLROnPlateau": lambda o: S.ReduceLROnPlateau(o, patience=0, threshold=10.0),
    "SequentialLR": lambda o: S.SequentialLR(
        o, [S.ConstantLR(o, 0.1), S.ExponentialLR(o, 0.9)], [2]
    ),
    "ChainedScheduler": lambda o: S.ChainedScheduler([S.ConstantLR(o), S.ExponentialLR(o, 0.9)]),
}


@pytest.mark.parametrize("name", SCHEDULERS)
def test_schedules_go_on(name: str, path: Path) -> None:
    def run() -> Run:
        return Run(np, scheduler=SCHEDULERS[name])

    whole = run()
    whole.train(3)
    bp.save(path, **whole.parts())
    expected = whole.train(4)
    resumed = run()
    bp.load(path, **resumed.parts())
    assert resumed.train(4) == expected
    assert resumed.fingerprint() == whole.fingerprint()


def test_learning_rates_that_are_arrays_go_on(xp: Any, path: Path) -> None:
    def run() -> Run:
        rate = xp.asarray(0.05, dtype=xp.float64)
        return Run(xp, lambda m: bp.optim.Adam(m, lr=rate), SCHEDULERS["ExponentialLR"])

    whole = run()
    whole.train(2)
    bp.save(path, **whole.parts())
    expected = whole.train(2)
    resumed = run()
    bp.load(path, **resumed.parts())
    assert resumed.train(2) == expected


def test_keys_of_dropout_go_on_and_are_no_part_of_the_weights(path: Path) -> None:
    model = network(np)
    model(np.ones((4, 3)))
    key = model[2].key.copy()
    bp.save(path, model=model)
    assert "2.key" not in bp.load(path)["model"]
    other = network(np)
    bp.load(path, model=other)
    assert np.array_equal(other[2].key, key)
    other.load_state_dict(bp.load(path)["model"])


def test_a_model_without_dropout_takes_the_weights_of_one_with_it(path: Path) -> None:
    with_it = bp.nn.Sequential(bp.nn.Linear(2, 2), bp.nn.Dropout())
    without = bp.nn.Sequential(bp.nn.Linear(2, 2), bp.nn.ReLU())
    bp.save(path, model=with_it)
    bp.load(path, model=without)
    assert np.array_equal(without[0].weight, with_it[0].weight)
    bp.save(path, model=without)
    bp.load(path, model=with_it)


def test_the_default_keys_of_the_thread_are_saved_as_numbers(path: Path) -> None:
    bp.seed(3)
    bp.random.next_key()
    bp.save(path, keys=bp.random.get_state())
    expected = bp.random.next_key()
    bp.seed(0)
    bp.random.set_state(bp.load(path, keys={})["keys"])
    assert np.array_equal(bp.random.next_key(), expected)


def test_an_optimizer_with_a_state_of_its_own_is_asked_for_it(path: Path) -> None:
    class Mine(bp.optim.SGD):
        def state_dict(self) -> dict[str, Any]:
            return super().state_dict() | {"mine": 3}

    bp.save(path, optimizer=Mine(network(np), lr=0.1))
    assert bp.load(path)["optimizer"]["mine"] == 3


def test_averages_go_on(path: Path) -> None:
    model = network(np)
    swa = bp.optim.SWA(model)
    swa.step()
    bp.save(path, swa=swa)
    other = bp.optim.SWA(network(np))
    bp.load(path, swa=other)
    assert float(other.state["count"]) == 1


# ---- where the arrays are kept


def test_dtype_and_library_of_the_model_stay(path: Path) -> None:
    torch = pytest.importorskip("torch")
    source = network(np)
    bp.save(path, model=source)
    target = network(torch).to(dtype="float32")
    weight = target[0].weight
    bp.load(path, model=target)
    assert target[0].weight is weight
    assert weight.dtype == torch.float32
    assert np.array_equal(weight.numpy(), source[0].weight.astype(np.float32))
    assert target[2].key.dtype == torch.int32


def test_a_tie_stays_one(path: Path) -> None:
    jnp = pytest.importorskip("jax.numpy")
    for xp in (np, jnp):
        model = bp.nn.Sequential(bp.nn.Linear(2, 2), bp.nn.Linear(2, 2))
        model[0].weight = model[1].weight = xp.asarray(np.eye(2))
        bp.save(path, model=model)
        model[0].weight = model[1].weight = xp.zeros((2, 2))
        bp.load(path, model=model)
        assert model[0].weight is model[1].weight
        assert model[0].weight.tolist() == [[1, 0], [0, 1]]


def test_models_inside_a_tree(path: Path) -> None:
    pair = {"one": bp.nn.Linear(2, 1), "two": [bp.nn.Linear(1, 2), 3]}
    bp.save(path, pair=pair)
    other = {"one": bp.nn.Linear(2, 1), "two": [bp.nn.Linear(1, 2), 0]}
    found = bp.load(path, pair=other)["pair"]
    assert found["one"] is other["one"]
    assert found["two"][1] == 3
    assert np.array_equal(other["one"].weight, pair["one"].weight)  # type: ignore[attr-defined]


def test_loading_is_quiet_for_torch(path: Path) -> None:
    torch = pytest.importorskip("torch")
    run = Run(torch)
    run.train(1)
    bp.save(path, **run.parts())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        bp.load(path, **run.parts())


def test_an_older_checkpoint_is_loaded_after_the_file_was_replaced(path: Path) -> None:
    found = []
    for i in range(3):
        bp.save(path, x=np.full(1000, float(i)))
        found.append(bp.load(path)["x"])
    assert [x[0] for x in found] == [0, 1, 2]


def test_the_examples_of_the_page_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = Path(__file__).parents[2] / "docs" / "checkpoints.md"
    blocks = re.findall(
        r"(<!-- skip -->\n)?```python\n(.*?)```", page.read_text("utf-8"), re.DOTALL
    )
    names: dict[str, Any] = {"__name__": "page"}
    monkeypatch.chdir(tmp_path)
    for skipped, block in blocks:
        if not skipped:
            exec(compile(block, str(page), "exec"), names)
    assert names["first_epoch"] == 7


# ---- all or nothing


class Stubborn:
    """An object of a user, whose state is loaded in two strokes; the second one fails."""

    def __init__(self) -> None:
        self.a, self.b = np.zeros(2), 0

    def state_dict(self) -> dict[str, Any]:
        return {"a": self.a, "b": self.b}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.a[...] = state["a"]
        if state["b"] < 0:
            raise KeyError("negative")
        self.b = state["b"]


@pytest.mark.parametrize("last", ["model", "optimizer", "user"])
def test_a_load_that_fails_at_its_last_part_changes_nothing(last: str, path: Path) -> None:
    source = Run(np, scheduler=SCHEDULERS["ExponentialLR"])
    source.train(3)
    parts = source.parts() | {"tree": {"w": np.ones(3)}, "epoch": 5}
    user = Stubborn()
    user.a += 1
    target = Run(np, scheduler=SCHEDULERS["ExponentialLR"])
    target.train(1)
    tree, before = {"w": np.zeros(3)}, target.fingerprint()
    mine: dict[str, Any] = target.parts() | {"tree": tree, "epoch": 0}
    if last == "user":
        user.b = -1
        parts["last"], mine["last"] = user, Stubborn()
        message = "'last' does not fit: Stubborn refuses its state: KeyError: 'negative'"
    elif last == "model":
        parts["last"], mine["last"] = bp.nn.Linear(2, 3), bp.nn.Linear(3, 2)
        message = "last.weight: expected shape (2, 3), got (3, 2)"
    else:
        parts["last"] = source.optimizer
        mine["last"] = bp.optim.SGD(bp.nn.Linear(1, 1), lr=0.1)
        message = "'last' does not fit: SGD refuses its state: ValueError: SGD.load_state_dict"
    bp.save(path, **parts)
    with pytest.raises(CheckpointError) as caught:
        bp.load(path, **mine)
    assert message in str(caught.value)
    assert target.fingerprint() == before
    assert tree["w"].tolist() == [0, 0, 0]
    if last == "user":
        assert mine["last"].a.tolist() == [0, 0]


def test_a_restored_optimizer_trains_on_as_if_nothing_had_been_tried(path: Path) -> None:
    source = Run(np)
    source.train(3)
    user = Stubborn()
    user.b = -1
    bp.save(path, **source.parts(), user=user)
    target, twin = Run(np), Run(np)
    for run in (target, twin):
        run.train(2)
    with pytest.raises(CheckpointError):
        bp.load(path, **target.parts(), user=Stubborn())
    assert target.train(3) == twin.train(3)


def test_all_that_does_not_fit_is_listed_with_its_part(path: Path) -> None:
    bp.save(path, net=bp.nn.Linear(3, 2), head=bp.nn.Linear(2, 2, bias=False), tree=[1])
    with pytest.raises(CheckpointError) as caught:
        bp.load(path, net=bp.nn.Linear(4, 2), head=bp.nn.Linear(2, 2), tree=np.ones(2))
    for words in (
        "net.weight: expected shape (2, 4), got (2, 3)",
        "head.bias: missing in the file",
        "tree: expected an array, the file has a list",
        "Nothing was changed",
    ):
        assert words in str(caught.value)


def test_a_part_that_the_file_lacks_is_named_with_those_it_has(path: Path) -> None:
    bp.save(path, model=bp.nn.Linear(1, 1), epoch=1)
    with pytest.raises(
        CheckpointError, match=r"it has no part 'modle'; its parts are 'model', 'epoch'"
    ):
        bp.load(path, modle=bp.nn.Linear(1, 1))


def test_an_object_for_a_tree_is_refused(path: Path) -> None:
    bp.save(path, part={"weight": np.ones(2)})
    with pytest.raises(
        CheckpointError, match="part: expected the state of an object, the file has a dict"
    ):
        bp.load(path, part=bp.nn.Linear(1, 1))


def test_parts_that_are_not_asked_for_are_passed_over(path: Path) -> None:
    run = Run(np)
    run.train(1)
    bp.save(path, **run.parts())
    assert list(bp.load(path, model=network(np))) == ["model"]
