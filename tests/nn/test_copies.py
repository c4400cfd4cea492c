"""Copies of layers that draw at random, and ties between arrays that cannot be changed."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest

import bpgpu as bp
from bpgpu import nn
from nn.layers_against_torch import to_library

X = np.ones((6, 7), dtype=np.float32)


def masks(layers: Any) -> list[np.ndarray]:
    return [layer(X) for layer in layers]


def all_different(arrays: list[np.ndarray]) -> bool:
    return len({a.tobytes() for a in arrays}) == len(arrays)


def attributes(layers: list[nn.Module]) -> nn.Module:
    model = nn.Module()
    for i, layer in enumerate(layers):
        setattr(model, f"layer{i}", layer)
    return model


def plain_list(layers: list[nn.Module]) -> nn.Module:
    model = nn.Module()
    model.layers = layers
    return model


def appended(layers: list[nn.Module]) -> nn.Module:
    model = nn.Module()
    model.layers = []
    model.layers += layers
    return model.train()


@pytest.mark.parametrize(
    "assemble",
    [
        lambda layers: nn.Sequential(*layers),
        nn.ModuleList,
        lambda layers: nn.ModuleDict({str(i): m for i, m in enumerate(layers)}),
        attributes,
        plain_list,
        appended,
    ],
)
def test_copies_of_a_layer_in_one_model_draw_differently(assemble: Any) -> None:
    bp.seed(0)
    layer = nn.Dropout(0.5)
    first = copy.deepcopy(layer)(X)
    copies = [layer, copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))]
    assemble(copies)
    found = masks(copies)
    assert all_different(found)
    assert np.array_equal(found[0], first)  # the first goes on as it would have
    assert all_different(masks(copies))


def test_stacks_of_copied_blocks_draw_differently() -> None:
    block = nn.Sequential(nn.Linear(7, 7), nn.Dropout(0.5))
    stack = nn.ModuleList([copy.deepcopy(block) for _ in range(3)])
    both = nn.ModuleList([stack, copy.deepcopy(stack)])
    drops = [m for m in both.modules() if isinstance(m, nn.Dropout)]
    assert len(drops) == 6
    assert all_different(masks(drops))
    recurrent = nn.LSTM(2, 3, num_layers=2, dropout=0.5)
    pair = nn.ModuleList([recurrent, copy.deepcopy(recurrent)])
    assert all_different([m.key for m in pair])


def test_a_copy_of_a_model_draws_what_the_model_would() -> None:
    """So a snapshot (best weights, an average, a model to compare with) can take the model's place."""
    bp.seed(0)
    model = nn.Sequential(nn.Linear(7, 7), nn.Dropout(0.5), nn.Dropout(0.5))
    model(X)
    for clone in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        original = copy.deepcopy(model)
        for _ in range(3):
            assert np.array_equal(clone.train()(X), original.train()(X))


def test_copying_changes_neither_the_model_nor_the_stream_of_keys() -> None:
    def run(copying: bool) -> list[np.ndarray]:
        bp.seed(0)
        model = nn.Sequential(nn.Dropout(0.5))
        if copying:
            copy.deepcopy(model)(X)
        return [model(X), nn.Dropout(0.5)(X)]

    assert all(map(np.array_equal, run(True), run(False)))


def test_the_same_program_gives_the_same_masks() -> None:
    def run() -> list[np.ndarray]:
        bp.seed(3)
        layer = nn.Dropout(0.5)
        return masks(nn.ModuleList([copy.deepcopy(layer) for _ in range(3)]))

    assert all(map(np.array_equal, run(), run()))


def test_a_shared_layer_is_no_copy() -> None:
    layer = nn.Dropout(0.5)
    key = layer.key.copy()
    model = nn.Sequential(layer, layer).train()
    assert np.array_equal(layer.key, key)
    assert model[0] is model[1]


# ---- ties


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.decoder = nn.Linear(3, 3), nn.Linear(3, 3)
        self.decoder.weight = self.encoder.weight
        self.again = self.encoder

    def forward(self, x: Any) -> Any:
        return self.decoder(self.again(x))


@pytest.mark.parametrize("whole", [True, False])
def test_loading_keeps_ties_between_arrays_that_cannot_be_changed(whole: bool) -> None:
    """Regression: JAX's arrays are replaced when loaded, and each place got an array of its own."""
    jnp = pytest.importorskip("jax.numpy")
    model = to_tied_library(Tied(), jnp)
    state = {k: v + 1 for k, v in model.state_dict().items()}
    wanted = state["encoder.weight"]
    if not whole:
        state = {"encoder.weight": wanted}
    model.load_state_dict(state, strict=whole)
    assert model.decoder.weight is model.encoder.weight
    assert np.array_equal(model.decoder.weight, wanted)
    assert list(model.parameters()) == ["encoder.weight", "encoder.bias", "decoder.bias"]
    x = jnp.ones((2, 3), dtype=wanted.dtype)
    grads = bp.grad(lambda m: bp.array_namespace(x, m(x)).sum(m(x)))(model)
    assert list(grads) == list(model.parameters())


def to_tied_library(model: nn.Module, xp: Any) -> nn.Module:
    to_library(model, xp)
    model.decoder.weight = model.encoder.weight
    return model
