"""Padded and packed sequences against torch's, alone and through recurrent layers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.utils import rnn as theirs

import bpgpu as bp
from bpgpu import nn
from bpgpu.errors import ArgumentError, ShapeError
from bpgpu.nn.utils import rnn as ours
from gradients import numpy_of
from torch_compare import compare, given

R = np.random.default_rng(0)
PADDED = R.normal(size=(5, 3, 2))
SEQUENCES = [R.normal(size=(n, 2)) for n in (3, 5, 1)]


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("side", ["left", "right"])
def test_sequences_are_padded(xp: Any, batch_first: bool, side: str) -> None:
    compare(
        xp,
        lambda *x: ours.pad_sequence(x, batch_first, 0.5, side),
        lambda *x: theirs.pad_sequence(list(x), batch_first, 0.5, side),
        *SEQUENCES,
    )


@pytest.mark.parametrize("batch_first", [False, True])
def test_padding_is_taken_away(batch_first: bool) -> None:
    padded = ours.pad_sequence(SEQUENCES, batch_first)
    for x, y in zip(SEQUENCES, ours.unpad_sequence(padded, [3, 5, 1], batch_first), strict=True):
        assert np.array_equal(x, y)


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("lengths", [(5, 5, 1), (4, 2, 2), (2, 5, 3), (1, 1, 1)])
def test_packing_is_that_of_torch_there_and_back(
    xp: Any, batch_first: bool, lengths: tuple[int, ...]
) -> None:
    x = PADDED.transpose(1, 0, 2) if batch_first else PADDED
    n = torch.tensor(lengths)
    compare(
        xp,
        lambda x: ours.pack_padded_sequence(x, lengths, batch_first, False).data,
        lambda x: theirs.pack_padded_sequence(x, n, batch_first, False).data,
        x,
    )
    mine = ours.pack_padded_sequence(given(xp, x), lengths, batch_first, False)
    reference = theirs.pack_padded_sequence(torch.tensor(x), n, batch_first, False)
    for a, b in zip(mine[1:], reference[1:], strict=True):
        assert list(a) == b.tolist()
    total = 7

    def there_and_back(module: Any, n: Any) -> Any:
        return lambda x: module.pad_packed_sequence(
            module.pack_padded_sequence(x, n, batch_first, False), batch_first, 0.5, total
        )[0]

    compare(xp, there_and_back(ours, lengths), there_and_back(theirs, n), x)
    assert numpy_of(ours.pad_packed_sequence(mine)[1]).tolist() == list(lengths)


def test_sequences_are_packed_and_lengths_may_be_an_array(xp: Any) -> None:
    mine = ours.pack_sequence([given(xp, x) for x in SEQUENCES], enforce_sorted=False)
    reference = theirs.pack_sequence([torch.tensor(x) for x in SEQUENCES], enforce_sorted=False)
    np.testing.assert_allclose(numpy_of(mine.data), reference.data)
    lengths = given(xp, np.asarray([5, 2, 2]))
    packed = ours.pack_padded_sequence(given(xp, PADDED), lengths)
    assert packed.batch_sizes == (3, 3, 1, 1, 1)
    assert packed.sorted_indices is packed.unsorted_indices is None


@pytest.mark.parametrize("name", ["RNN", "GRU", "LSTM"])
@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("with_state", [False, True])
def test_recurrent_layers_take_packed_sequences(
    xp: Any, name: str, batch_first: bool, with_state: bool
) -> None:
    settings = {"num_layers": 2, "bidirectional": True, "batch_first": batch_first}
    reference = getattr(torch.nn, name)(2, 4, **settings).double()
    mine = getattr(nn, name)(2, 4, **settings).to(dtype="float64")
    mine.load_state_dict({k: v.detach().numpy() for k, v in reference.state_dict().items()})
    for path, p in mine.parameters().items():
        owner, at = mine.locate(path)
        setattr(owner, at, given(xp, numpy_of(p)))
    x = PADDED.transpose(1, 0, 2) if batch_first else PADDED
    lengths = (2, 5, 3)
    state = R.normal(size=(4, 3, 4)) if with_state else None

    def run(module: Any, layer: Any, x: Any, state: Any, lengths: Any) -> list[Any]:
        packed = module.pack_padded_sequence(x, lengths, batch_first, False)
        hx = (state, 2 * state) if state is not None and name == "LSTM" else state
        y, ends = layer(packed, hx)
        ends = ends if isinstance(ends, tuple) else (ends,)
        return [y.data, module.pad_packed_sequence(y, batch_first)[0], *ends]

    tx = torch.tensor(x, requires_grad=True)
    ts = None if state is None else torch.tensor(state)
    expected = run(theirs, reference, tx, ts, torch.tensor(lengths))
    sum((y**2).sum() for y in expected).backward()

    def loss(m: Any, x: Any) -> Any:
        ys = run(ours, m, x, None if state is None else given(xp, state), lengths)
        ns = bp.array_namespace(*ys)
        return sum(ns.sum(y * y) for y in ys), ys

    (_, found), (grads, gx) = bp.value_and_grad(loss, (0, 1), has_aux=True)(mine, given(xp, x))
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(numpy_of(a), b.detach(), rtol=1e-9, atol=1e-11)
    np.testing.assert_allclose(numpy_of(gx), tx.grad, rtol=1e-8, atol=1e-10)
    for path, p in reference.named_parameters():
        np.testing.assert_allclose(numpy_of(grads[path]), p.grad, rtol=1e-8, atol=1e-10)


def test_what_does_not_fit_is_told() -> None:
    with pytest.raises(ShapeError, match="expected 3 lengths from 1 to 5, for input"):
        ours.pack_padded_sequence(PADDED, [5, 2])
    with pytest.raises(ShapeError, match=r"from 1 to 5, for input \(5, 3, 2\), got \(5, 2, 0\)"):
        ours.pack_padded_sequence(PADDED, [5, 2, 0])
    with pytest.raises(
        ShapeError, match=r"expected 5 lengths from 1 to 3, .* and batch_first=True"
    ):
        ours.pack_padded_sequence(PADDED, [5, 2, 1], batch_first=True)
    with pytest.raises(ArgumentError, match=r"decreasing order, got \(2, 5, 3\); pass enforce"):
        ours.pack_padded_sequence(PADDED, [2, 5, 3])
    with pytest.raises(ArgumentError, match="expected padding_side as 'right' or 'left', got 'up'"):
        ours.pad_sequence(SEQUENCES, padding_side="up")
    with pytest.raises(ArgumentError, match="expected at least one sequence, got none"):
        ours.pad_sequence([])
    with pytest.raises(ShapeError, match="alike but for L, got shapes"):
        ours.pad_sequence([np.ones((2, 3)), np.ones((2, 4))])
    with pytest.raises(ArgumentError, match="total_length of at least 5, the length of"):
        ours.pad_packed_sequence(ours.pack_padded_sequence(PADDED, [5, 2, 1]), total_length=4)
    with pytest.raises(ShapeError, match="unpad_sequence: expected 3 lengths, got 2"):
        ours.unpad_sequence(PADDED, [5, 2])


def test_parameters_become_a_vector_and_come_back() -> None:
    model = nn.Linear(2, 3)
    vector = nn.utils.parameters_to_vector(model.parameters())
    assert vector.shape == (9,)
    address = model.weight
    nn.utils.vector_to_parameters(vector + 1, model.parameters())
    assert model.weight is address
    assert np.allclose(nn.utils.parameters_to_vector(model.parameters().values()), vector + 1)
    with pytest.raises(ShapeError, match=r"expected a vector \(9,\), got \(8,\)"):
        nn.utils.vector_to_parameters(vector[:8], model.parameters())
    grads = bp.grad(lambda v: bp.array_namespace(v).sum(v * v))(vector)
    assert np.allclose(grads, 2 * vector)


def test_arrays_that_cannot_be_changed_are_told() -> None:
    jnp = pytest.importorskip("jax.numpy")
    with pytest.raises(ArgumentError, match=r"by path: model\.load_state_dict"):
        nn.utils.vector_to_parameters(jnp.ones(2), [jnp.ones(2)])


def test_clipping_in_place_shows_the_form_used_here() -> None:
    with pytest.raises(
        TypeError, match=r"grads, norm = bpgpu.clip_grad_norm\(grads, max_norm=1\.0"
    ):
        nn.utils.clip_grad_norm_(nn.Linear(2, 2).parameters(), 1.0)
    with pytest.raises(TypeError, match=r"grads = bpgpu.clip_grad_value\(grads, clip_value=0\.5\)"):
        nn.utils.clip_grad_value_(nn.Linear(2, 2).parameters(), 0.5)
