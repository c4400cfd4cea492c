"""Transformers equal torch's, from torch's state."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import bpgpu as bp


@pytest.mark.parametrize("norm_first", [False, True])
@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("activation", ["relu", "gelu"])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.filterwarnings("ignore:enable_nested_tensor")
@pytest.mark.filterwarnings("ignore:Support for mismatched")
def test_value_and_gradients_equal_torch(
    norm_first: bool, batch_first: bool, activation: str, bias: bool, training: bool
) -> None:
    args = (8, 2, 2, 1, 12, 0.0, activation)
    kwargs: dict[str, Any] = {"norm_first": norm_first, "batch_first": batch_first, "bias": bias}
    theirs = torch.nn.Transformer(*args, **kwargs, dtype=torch.float64).train(training)
    ours = bp.nn.Transformer(*args, **kwargs, dtype="float64").train(training)
    ours.load_state_dict({k: v.numpy() for k, v in theirs.state_dict().items()})
    rng = np.random.default_rng(0)
    src, tgt = rng.normal(size=(5, 2, 8)), rng.normal(size=(3, 2, 8))
    if batch_first:
        src, tgt = src.swapaxes(0, 1).copy(), tgt.swapaxes(0, 1).copy()
    padding = np.asarray([[False] * 5, [False] * 3 + [True] * 2])
    mask = bp.nn.Transformer.generate_square_subsequent_mask(3, dtype="float64")

    def loss(model: Any, s: Any, t: Any, m: Any, p: Any) -> Any:
        y = model(
            s, t, tgt_mask=m, src_key_padding_mask=p, memory_key_padding_mask=p, tgt_is_causal=True
        )
        return (y**3).sum()

    value, grads = bp.value_and_grad(loss)(ours, src, tgt, mask, padding)
    reference = loss(theirs, *(torch.from_numpy(np.asarray(a)) for a in (src, tgt, mask, padding)))
    reference.backward()
    np.testing.assert_allclose(value, reference.item(), rtol=1e-9)
    for name, p in theirs.named_parameters():
        np.testing.assert_allclose(grads[name], p.grad.numpy(), rtol=1e-8, atol=1e-8, err_msg=name)


def test_the_causal_mask_is_torchs() -> None:
    mask = bp.nn.Transformer.generate_square_subsequent_mask(4)
    theirs = torch.nn.Transformer.generate_square_subsequent_mask(4)
    np.testing.assert_array_equal(mask, theirs.numpy())


def test_bad_input_is_told() -> None:
    with pytest.raises(ValueError, match="expected activation 'relu', 'gelu' or a function"):
        bp.nn.TransformerEncoderLayer(4, 2, activation="sine")
    model, x = bp.nn.Transformer(4, 2, 1, 1, 8), np.ones((3, 2, 4), dtype=np.float32)
    with pytest.raises(ValueError, match="expected the same batch in axis 1"):
        model(x, x[:, :1, :])
