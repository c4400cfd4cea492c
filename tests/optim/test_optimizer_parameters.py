"""What an optimizer can be bound to, what it returns, and its groups."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pytest

import bpgpu as bp
from bpgpu import nn, optim
from optim.network import Layer, Net, X, loss, same, train, weights

# ---- what it can be bound to


def test_a_module_is_updated_in_place_and_returned() -> None:
    model = Net()
    before = model.parameters()
    optimizer = optim.SGD(model, lr=0.1)
    value, grads = bp.value_and_grad(loss)(model, X)
    wanted = {k: p - 0.1 * grads[k] for k, p in weights(model).items()}
    assert optimizer.step(grads) is model
    assert optimizer.params is model
    assert all(a is b for a, b in zip(before.values(), model.parameters().values(), strict=True))
    same(weights(model), wanted, 1e-15)
    assert train(model, optimizer)[-1] < float(value)


class Pair(NamedTuple):
    w: Any
    b: Any


@pytest.mark.parametrize(
    "make",
    [
        lambda w, b: [w, b],
        lambda w, b: (w, b),
        lambda w, b: {"w": w, "b": b},
        lambda w, b: {"layer": {"w": w}, "rest": [b, None, "relu"]},
        lambda w, b: Pair(w, b),
        lambda w, b: [Pair(w, b)],
    ],
)
def test_trees_are_updated_in_place_and_returned(xp: Any, make: Any) -> None:
    w, b = xp.asarray([[1.0, 2.0]]), xp.asarray([3.0])
    tree = make(w, b)
    new = optim.SGD(tree, lr=0.5).step(make(xp.asarray([[2.0, 0.0]]), xp.asarray([-2.0])))
    assert new is tree
    assert np.asarray(w).tolist() == [[0.0, 2.0]]
    assert np.asarray(b).tolist() == [4.0]


def test_one_array_is_a_tree_too(xp: Any) -> None:
    x = xp.asarray([1.0, 2.0])
    optimizer = optim.SGD(x, lr=0.5)
    assert optimizer.step(xp.asarray([2.0, 2.0])) is x
    assert np.asarray(x).tolist() == [0.0, 1.0]


def test_generators_and_named_pairs_are_taken() -> None:
    model = Net()
    by_name = optim.SGD(model.named_parameters(), lr=0.1)
    assert by_name.param_groups[0]["param_names"] == list(model.parameters())
    new = by_name.step(bp.grad(loss)(model, X))
    assert list(new) == list(model.parameters())
    assert all(new[k] is p for k, p in model.named_parameters())
    optimizer = optim.SGD((p for p in model.parameters().values()), lr=0.1)
    assert optimizer.param_groups[0]["param_names"] == ["0", "1", "2", "3"]


def test_a_dict_of_the_models_parameters_trains_the_model() -> None:
    a, b = Net(), Net()
    assert train(a, optim.Adam(a, lr=0.1)) == train(b, optim.Adam(b.parameters(), lr=0.1))


def test_modules_inside_a_tree_are_followed() -> None:
    pair = {"one": Layer(4, 3), "two": [Layer(3, 2)]}
    optimizer = optim.SGD(pair, lr=0.1)
    assert optimizer.param_groups[0]["param_names"] == [
        "one.weight",
        "one.bias",
        "two.0.weight",
        "two.0.bias",
    ]

    def both(pair: Any, x: Any) -> Any:
        xp = bp.array_namespace(x)
        return loss(lambda x: pair["two"][0](xp.tanh(pair["one"](x))), x)

    before = float(both(pair, X))
    for _ in range(5):
        value, grads = bp.value_and_grad(both)(pair, X)
        assert optimizer.step(grads) is pair
    assert float(value) < before


def test_gradients_may_be_nested_or_by_path() -> None:
    tree = {"layer": {"w": np.asarray([1.0])}, "b": np.asarray([1.0])}
    optimizer = optim.SGD(tree, lr=1.0)
    optimizer.step({"layer.w": np.asarray([1.0])})
    optimizer.step({"layer": {"w": np.asarray([1.0])}, "b": None})
    assert tree["layer"]["w"][0] == -1
    assert tree["b"][0] == 1


def test_read_only_arrays_are_copied_and_the_returned_tree_has_the_new_ones() -> None:
    w = np.asarray([1.0])
    w.flags.writeable = False
    tree = {"w": w, "b": np.asarray([1.0])}
    optimizer = optim.SGD(tree, lr=1.0)
    for _ in range(2):
        new = optimizer.step({"w": np.asarray([1.0]), "b": np.asarray([1.0])})
    assert w[0] == 1
    assert new["w"][0] == -1
    assert new["b"] is tree["b"]
    assert optimizer.params["w"] is new["w"]


def test_numpy_scalars_are_replaced() -> None:
    new = optim.Adam({"x": np.float64(1.0)}, lr=0.5).step({"x": np.float64(3.0)})
    assert float(new["x"]) == pytest.approx(0.5)


def test_views_and_transposed_arrays_are_updated_in_place(xp: Any) -> None:
    if "strict" in xp.__name__:
        pytest.skip("the standard leaves views undefined")
    whole = xp.asarray(np.arange(24.0).reshape(4, 6))
    part, turned = whole[::2, 1:5], xp.asarray(np.ones((3, 2))).T
    optim.AdamW([part, turned], lr=0.5, weight_decay=0).step([part * 0 + 1, turned * 0 + 1])
    wanted = np.arange(24.0).reshape(4, 6)
    wanted[::2, 1:5] -= 0.5
    np.testing.assert_allclose(np.asarray(whole), wanted, atol=1e-6)
    np.testing.assert_allclose(np.asarray(turned), 0.5, atol=1e-6)


# ---- groups


def test_groups_as_in_torch() -> None:
    w, b = np.asarray([1.0]), np.asarray([1.0])
    optimizer = optim.SGD([{"params": [w]}, {"params": b, "lr": 0.25}], lr=0.5, momentum=0.9)
    assert [h["lr"] for h in optimizer.param_groups] == [0.5, 0.25]
    assert [h["momentum"] for h in optimizer.param_groups] == [0.9, 0.9]
    assert optimizer.param_groups[0]["params"][0] is w
    new = optimizer.step([[np.asarray([1.0])], np.asarray([1.0])])
    assert new == [[w], b]
    assert (w[0], b[0]) == (0.5, 0.75)


def test_groups_of_a_model_by_torchs_idiom() -> None:
    model = Net()
    biases = {k: p for k, p in model.named_parameters() if k.endswith("bias")}
    others = {k: p for k, p in model.named_parameters() if not k.endswith("bias")}
    optimizer = optim.AdamW([{"params": others}, {"params": biases, "weight_decay": 0.0}], lr=0.1)
    first = weights(model)
    optimizer.step(bp.grad(loss)(model, X))  # paths need no number of a group where they are clear
    assert all(not np.array_equal(first[k], p) for k, p in model.named_parameters())


def test_groups_by_pattern() -> None:
    model = Net()
    optimizer = optim.AdamW(
        model,
        lr=0.1,
        groups=[
            {"params": "*.bias", "weight_decay": 0.0},
            {"params": ["second.*", "third.*"], "lr": 0.01},
        ],
    )
    assert [h["param_names"] for h in optimizer.param_groups] == [
        ["first.bias", "second.bias"],
        ["second.weight"],
        ["first.weight"],
    ]
    assert [(h["lr"], h["weight_decay"]) for h in optimizer.param_groups] == [
        (0.1, 0.0),
        (0.01, 0.01),
        (0.1, 0.01),
    ]
    assert len(set(train(model, optimizer))) == 5


def test_groups_by_pattern_beside_their_model_in_torchs_form() -> None:
    model = Net()
    optimizer = optim.AdamW(
        [{"params": model, "lr": 0.1}, {"params": "*.bias", "weight_decay": 0.0}]
    )
    assert [(h["param_names"][0], h["lr"], h["weight_decay"]) for h in optimizer.param_groups] == [
        ("first.bias", 1e-3, 0.0),
        ("first.weight", 0.1, 0.01),
    ]
    assert optimizer.step(bp.grad(loss)(model, X)) is model


def test_groups_by_a_function_of_path_and_array() -> None:
    optimizer = optim.AdamW(
        Net(), groups=[{"params": lambda path, p: p.ndim < 2, "weight_decay": 0}]
    )
    assert optimizer.param_groups[0]["param_names"] == ["first.bias", "second.bias"]


def test_groups_by_pattern_over_a_tree() -> None:
    tree = {"w": np.asarray([1.0]), "bias": [np.asarray([1.0])]}
    optimizer = optim.SGD(tree, lr=0.5, groups=[{"params": "bias.*", "lr": 0.25}])
    optimizer.step({"w": np.asarray([1.0]), "bias": [np.asarray([1.0])]})
    assert (tree["w"][0], tree["bias"][0][0]) == (0.5, 0.75)


def test_a_pattern_that_takes_all_leaves_no_empty_group() -> None:
    assert len(optim.SGD(Net(), groups=[{"params": "*", "lr": 0.5}]).param_groups) == 1


def test_groups_have_options_of_their_own_in_the_pure_form() -> None:
    tree = {"w": np.asarray([1.0]), "b": np.asarray([1.0])}
    optimizer = optim.SGD(tree, lr=0.5, groups=[{"params": "b", "lr": 0.25}])
    state = optimizer.init(tree)
    assert [float(r) for r in state["lr"]] == [0.25, 0.5]
    new, _ = optimizer.update({"w": np.asarray([1.0]), "b": np.asarray([1.0])}, state, tree)
    assert (new["w"][0], new["b"][0], tree["w"][0]) == (0.5, 0.75, 1.0)
    with pytest.raises(ValueError, match="'c' belongs to no group"):
        optimizer.init({"c": np.asarray([1.0])})


def test_lr_is_one_number_over_all_groups_or_one_each() -> None:
    optimizer = optim.SGD(Net(), lr=0.5, groups=[{"params": "*.bias", "lr": 0.25}])
    assert optimizer.lr == [0.25, 0.5]
    optimizer.lr = 0.125
    assert optimizer.lr == 0.125
    assert [h["lr"] for h in optimizer.param_groups] == [0.125, 0.125]
    optimizer.lr = [0.1, 0.2]
    assert optimizer.lr == [0.1, 0.2]
    with pytest.raises(ValueError, match="expected lr >= 0, got -1"):
        optimizer.lr = [0.3, -1]
    assert optimizer.lr == [0.1, 0.2]
    with pytest.raises(ValueError, match="expected one learning rate, or 2"):
        optimizer.lr = [0.1]


def test_lr_may_be_an_array_that_is_written_in_place(xp: Any) -> None:
    lr = xp.asarray(0.5)
    x = xp.asarray([1.0], dtype=xp.float64)
    optimizer = optim.SGD([x], lr=lr)
    optimizer.step([x * 0 + 1])
    optimizer.lr = 0.25
    assert optimizer.param_groups[0]["lr"] is lr
    optimizer.step([x * 0 + 1])
    assert float(x[0]) == 0.25


def test_options_may_be_scalars_of_numpy(xp: Any) -> None:
    x = xp.asarray([1.0, 2.0], dtype=xp.float32)
    optimizer = optim.Adam([x], lr=np.float64(0.5), betas=(np.float32(0.5), np.float64(0.75)))
    optimizer.step([x * 0 + 1])
    optimizer.lr = np.float32(0.25)
    optimizer.step([x * 0 + 1])
    optimizer.param_groups[0]["lr"] = np.float64(0.25)
    optimizer.step([x * 0 + 1])
    np.testing.assert_allclose(np.asarray(x), [0.0, 1.0], atol=1e-6)
    assert x.dtype == xp.float32
    with pytest.raises(ValueError, match=r"expected lr >= 0, got -1\.0"):
        optimizer.lr = np.float32(-1)


def test_options_of_a_group_can_be_changed_between_steps() -> None:
    p = {"x": np.asarray([1.0])}
    optimizer = optim.SGD(p, lr=0.5)
    optimizer.step({"x": np.asarray([1.0])})
    optimizer.param_groups[0].update(momentum=0.5, lr=1.0)  # a momentum that is turned on later
    optimizer.step({"x": np.asarray([1.0])})
    optimizer.step({"x": np.asarray([0.0])})
    assert p["x"][0] == 0.5 - 1.0 - 0.5


def test_parameters_that_were_added_to_a_model_can_be_added_to_the_optimizer() -> None:
    model = Net()
    optimizer = optim.SGD(model, lr=0.1, momentum=0.9)
    train(model, optimizer, 2)
    model.scale = nn.Parameter(np.ones(2))
    model.forward = lambda x, f=model.forward: f(x) * model.scale
    grads = {**bp.grad(loss)(Net(), X), "scale": np.ones(2)}
    with pytest.raises(ValueError, match=r"'scale'.*add_param_group"):
        optimizer.step(grads)
    optimizer.add_param_group({"params": "scale", "lr": 0.5})
    optimizer.step(grads)
    assert model.scale.tolist() == [0.5, 0.5]
    assert optimizer.lr == [0.1, 0.5]


def test_a_group_can_be_added_to_a_list_of_groups() -> None:
    w, b = np.asarray([1.0]), np.asarray([1.0])
    optimizer = optim.SGD([{"params": [w]}], lr=0.5)
    optimizer.add_param_group({"params": [b], "lr": 0.25})
    assert optimizer.step([[np.asarray([1.0])], [np.asarray([1.0])]]) == [[w], [b]]
    assert (w[0], b[0]) == (0.5, 0.75)
    with pytest.raises(ValueError, match="the same array stands at"):
        optimizer.add_param_group({"params": [w]})
    assert len(optimizer.param_groups) == 2
