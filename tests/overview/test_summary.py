"""`summary`: the table of a model's layers, and that looking changes nothing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import bpgpu as bp
from bpgpu import nn
from bpgpu.errors import ArgumentError, ShapeError
from bpgpu.overview import Row, Summary


def row(table: Summary, path: str) -> Row:
    return next(r for r in table.rows if r.path == path)


def network() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Dropout(), nn.Linear(64, 10),
    )  # fmt: skip


class Tied(nn.Module):
    """An embedding whose weight is that of the output too, and a layer that is never called."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(10, 4)
        self.out = nn.Linear(4, 10, bias=False)
        self.out.weight = self.embed.weight
        self.spare = nn.Linear(2, 2)

    def forward(self, x: Any) -> Any:
        return self.out(self.embed(x))


def test_every_layer_has_a_row_with_its_path_shape_and_sizes() -> None:
    table = bp.summary(network(), (2, 1, 8, 8))
    assert [(r.path, r.kind) for r in table.rows] == [
        ("", "Sequential"), ("0", "Conv2d"), ("1", "BatchNorm2d"), ("2", "ReLU"),
        ("3", "MaxPool2d"), ("4", "Flatten"), ("5", "Dropout"), ("6", "Linear"),
    ]  # fmt: skip
    shapes = [r.output_shapes for r in table.rows]
    image, pooled = (2, 4, 8, 8), (2, 4, 4, 4)
    assert shapes == [
        ((2, 10),), (image,), (image,), (image,), (pooled,), ((2, 64),), ((2, 64),), ((2, 10),),
    ]  # fmt: skip
    assert [r.parameters for r in table.rows] == [0, 40, 8, 0, 0, 0, 0, 650]
    assert table.parameters == 698 == table.trainable
    assert table.parameter_bytes == 4 * 698
    assert row(table, "1").buffer_bytes >= 4 * 8  # running mean and variance


def test_operations_follow_the_rules() -> None:
    table = bp.summary(network(), (2, 1, 8, 8))
    entries = 2 * 4 * 8 * 8
    assert row(table, "0").flops == entries * (2 * 9 + 1)
    assert row(table, "1").flops == 2 * entries
    assert row(table, "2").flops == entries
    assert row(table, "3").flops == entries // 4 * 4
    assert row(table, "4").flops == row(table, "5").flops == 0
    assert row(table, "6").flops == 2 * 10 * (2 * 64 + 1)
    assert table.flops == sum(r.flops or 0 for r in table.rows)


@pytest.mark.parametrize(
    ("layer", "shapes", "operations"),
    [
        (nn.Linear(3, 5, bias=False), [(4, 3)], 2 * 4 * 15),
        (nn.Bilinear(2, 3, 5), [(4, 2), (4, 3)], 4 * 5 * (2 * (2 * 3 + 3) + 1)),
        (nn.Conv1d(4, 6, 3, groups=2), [(2, 4, 9)], 2 * 6 * 7 * (2 * 2 * 3 + 1)),
        (nn.ConvTranspose1d(4, 6, 3), [(2, 4, 9)], 2 * (2 * 4 * 9) * 6 * 3 + 2 * 6 * 11),
        (nn.LSTM(3, 5), [(7, 2, 3)], 14 * (2 * 20 * (3 + 5) + 2 * 20)),
        (nn.GRUCell(3, 5), [(2, 3)], 2 * (2 * 15 * (3 + 5) + 2 * 15)),
        (nn.LayerNorm(5), [(4, 5)], 7 * 20),
        (nn.LayerNorm(5, elementwise_affine=False), [(4, 5)], 5 * 20),
        (nn.RMSNorm(5), [(4, 5)], 4 * 20),
        (nn.InstanceNorm1d(2), [(4, 2, 5)], 5 * 40),
        (nn.InstanceNorm1d(2, track_running_stats=True), [(4, 2, 5)], 2 * 40),
        (nn.Softmax(1), [(4, 5)], 3 * 20),
        (nn.GLU(), [(4, 6)], 2 * 12),
        (nn.AvgPool2d((2, 3)), [(1, 1, 4, 6)], 4 * 6),
        (nn.AdaptiveAvgPool2d(1), [(1, 2, 4, 6)], 48),
        (nn.PReLU(), [(4, 5)], 20),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else "",
)  # fmt: skip
def test_each_kind_has_its_rule(
    layer: nn.Module, shapes: list[tuple[int, ...]], operations: int
) -> None:
    assert bp.summary(layer, shapes if len(shapes) > 1 else shapes[0]).flops == operations


@pytest.mark.parametrize("batch_first", [False, True])
def test_attention_counts_projections_scores_and_softmax(batch_first: bool) -> None:
    n, q, k, e, heads = 2, 3, 5, 8, 4
    layer = nn.MultiheadAttention(e, heads, batch_first=batch_first)
    shapes = [(n, q, e), (n, k, e), (n, k, e)]
    table = bp.summary(layer, shapes if batch_first else [(s[1], s[0], e) for s in shapes])
    projections = 2 * n * e * e * (2 * q + 2 * k) + n * e * 2 * (q + k)
    assert table.flops == projections + n * q * k * (2 * 2 * e + 3 * heads)
    assert len(table.rows) == 1  # the projection inside is part of it
    assert table.parameters == 4 * e * e + 4 * e


def test_activations_are_counted_once_and_views_are_free() -> None:
    table = bp.summary(network(), (2, 1, 8, 8))
    image = 4 * 2 * 4 * 8 * 8
    assert [r.activation_bytes for r in table.rows] == [
        0, image, image, image, image // 4, 0, 0, 4 * 20,
    ]  # fmt: skip


def test_a_tied_array_is_counted_once() -> None:
    table = bp.summary(Tied(), (2, 3), dtype="int64")
    assert row(table, "embed").parameters == 40
    assert row(table, "out").parameters == 0
    assert row(table, "out").notes == ("weight is 'embed.weight'",)
    assert table.parameters == 46


def test_a_layer_that_is_not_called_says_so() -> None:
    spare = row(bp.summary(Tied(), (2, 3), dtype="int64"), "spare")
    assert spare.calls == 0
    assert spare.output_shapes == ()
    assert spare.notes == ("not called",)
    assert spare.parameters == 6


def test_a_layer_at_two_places_is_counted_once_with_all_its_calls() -> None:
    layer = nn.Linear(4, 4)
    table = bp.summary(nn.Sequential(layer, nn.ReLU(), layer), (2, 4))
    assert (row(table, "0").calls, row(table, "0").flops) == (2, 2 * 2 * 4 * 9)
    assert row(table, "2").notes == ("the layer of '0'",)
    assert table.parameters == 20
    assert "2 calls" in str(table)


def test_frozen_parameters_are_told_apart() -> None:
    model = network().freeze("0", "6.bias")
    table = bp.summary(model, (2, 1, 8, 8))
    assert (table.trainable, table.frozen) == (8 + 640, 40 + 10)
    text = str(table)
    assert "698 (648 trainable, 50 frozen)" in text
    assert "10 frozen" in text


def test_nested_models_have_dotted_paths() -> None:
    model = nn.Sequential(nn.Sequential(nn.Linear(2, 3), nn.Residual(nn.Linear(3, 3))))
    table = bp.summary(model, (4, 2))
    assert [r.path for r in table.rows] == ["", "0", "0.0", "0.1", "0.1.layers"]
    assert row(table, "0.1").flops == 12  # the addition of the residual


def test_a_kind_without_a_rule_is_named() -> None:
    class Square(nn.Module):
        def forward(self, x: Any) -> Any:
            return x * x

    table = bp.summary(nn.Sequential(nn.Linear(2, 2), Square()), (3, 2))
    assert row(table, "1").flops is None
    assert row(table, "1").activation_bytes == 24
    assert "not counted: FLOPs of Square" in str(table)


def test_the_table_is_aligned_text() -> None:
    lines = str(bp.summary(network(), (2, 1, 8, 8))).splitlines()
    assert lines[0].split() == ["path", "layer", "output", "parameters", "FLOPs", "activations"]
    assert lines[2].split()[:2] == ["(model)", "Sequential"]
    assert lines[3] == "0        Conv2d       (2, 4, 8, 8)          40  9.73 k      2.0 KiB"
    assert repr(bp.summary(network(), (2, 1, 8, 8))) == "\n".join(lines)


class Stateful(nn.Module):
    """Changes all that a forward may change, also in eval mode."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("count", np.zeros(2))
        self.dropout = nn.Dropout()
        self.seen: list[Any] = []
        self.calls = 0

    def forward(self, x: Any) -> Any:
        self.dropout.train()
        self.count = self.count + 1
        self.count += 1
        self.calls += 1
        self.seen.append(x.shape)
        self.last = x
        return self.dropout(x) + bp.random.uniform(bp.random.next_key(), x.shape)


def test_nothing_of_the_model_changes() -> None:
    bp.seed(3)
    model = Stateful()
    model.dropout.train()
    before, key, count = bp.random.get_state(), model.dropout.key.copy(), model.count
    bp.summary(model, np.ones((2, 2), dtype=np.float32))
    assert bp.random.get_state() == before
    assert (model.dropout.key == key).all()
    assert model.count is count
    assert not count.any()
    assert (model.seen, model.calls, model.training) == ([], 0, True)
    assert not hasattr(model, "last")


def test_modes_are_kept_and_the_run_is_in_eval_mode() -> None:
    model = nn.Sequential(nn.BatchNorm1d(3), nn.Dropout())
    model[1].eval()
    before = {k: v.copy() for k, v in model.buffers().items()}
    bp.summary(model, (4, 3))
    assert [m.training for m in model.modules()] == [True, True, False]
    assert all((v == before[k]).all() for k, v in model.buffers().items())


def test_nothing_changes_when_the_model_raises() -> None:
    bp.seed(3)
    model = nn.Sequential(Stateful(), nn.Linear(3, 1))
    before = bp.random.get_state()
    with pytest.raises(ShapeError, match="Linear '1'"):
        bp.summary(model, (2, 2))
    assert bp.random.get_state() == before
    assert model.training
    assert "forward" not in vars(model)


def test_the_model_can_be_trained_afterwards() -> None:
    model = nn.Linear(2, 1)
    bp.summary(model, (3, 2))
    x = np.ones((3, 2), dtype=np.float32)
    grads = bp.grad(lambda m: bp.functional.mse_loss(m(x), x[:, :1]))(model)
    assert set(grads) == {"weight", "bias"}


def test_models_of_every_library(xp: Any) -> None:
    model = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.GELU())
    model.load_state_dict(
        {k: xp.asarray(np.asarray(v).copy()) for k, v in model.state_dict().items()}, assign=True
    )
    x = xp.ones((2, 4), dtype=xp.float32)
    assert bp.summary(model, x) == bp.summary(model, (2, 4))
    assert bp.summary(model, x).parameters == 21


def test_a_shape_is_taken_to_the_device_of_the_model() -> None:
    strict = pytest.importorskip("array_api_strict")
    device = strict.Device("device1")
    model = nn.Linear(4, 3)
    weights = {k: strict.asarray(v, device=device) for k, v in model.state_dict().items()}
    model.load_state_dict(weights, assign=True)
    assert bp.summary(model, (2, 4)).rows[0].output_shapes == ((2, 3),)


def test_several_inputs_and_several_outputs() -> None:
    table = bp.summary(nn.LSTM(3, 5), [np.zeros((7, 2, 3), dtype=np.float32)])
    assert table.rows[0].output_shapes == ((7, 2, 5), (1, 2, 5), (1, 2, 5))
    arrays = np.zeros((4, 2), dtype=np.float32), np.zeros((4, 3), dtype=np.float32)
    assert bp.summary(nn.Bilinear(2, 3, 5), arrays) == bp.summary(
        nn.Bilinear(2, 3, 5), [(4, 2), (4, 3)]
    )


def test_a_batch_of_no_examples_has_no_cost() -> None:
    table = bp.summary(nn.Linear(2, 3), (0, 2))
    assert (table.flops, table.activation_bytes, table.parameters) == (0, 0, 9)


def test_precision_shows_in_the_bytes() -> None:
    table = bp.summary(nn.Linear(2, 3).to(dtype="float64"), (5, 2))
    assert (table.parameter_bytes, table.activation_bytes) == (72, 120)


@pytest.mark.parametrize(
    ("model", "x", "message"),
    [
        (nn.Linear, (2, 2), "expected a bpgpu.nn.Module as model, got <class .*not the class"),
        ("net", (2, 2), "expected a bpgpu.nn.Module as model, got 'net'"),
        (nn.ReLU(), "image", "expected x to be an array, a tuple of arrays, or a shape"),
        (nn.ReLU(), (), "expected x to be an array"),
        (nn.ReLU(), None, "expected x to be an array"),
        (nn.ReLU(), (2, -1), r"expected sizes of at least 0 in the shape x, got \(2, -1\)"),
    ],
)
def test_what_is_no_model_or_no_input_is_told(model: Any, x: Any, message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        bp.summary(model, x)


def test_an_unknown_dtype_is_told() -> None:
    with pytest.raises(ArgumentError, match="expected a dtype such as 'int64', got 'integer'"):
        bp.summary(nn.Linear(2, 2), (2, 2), dtype="integer")
