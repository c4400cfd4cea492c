"""All losses run whole inside torch's compiler, with their gradients, and give what NumPy gives."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import bpgpu as bp
from bpgpu import functional as bf

R = np.random.default_rng(0)
X, Y, P = R.normal(size=(4, 3)), R.normal(size=(4, 3)), R.uniform(0.1, 0.9, (4, 3))
LABELS, SIGNS = np.asarray([0, 2, 1, 1]), np.sign(Y)
RIGHT = np.asarray([[0, -1, 1], [1, 2, -1], [-1, 0, 0], [2, 1, 0]])


def losses(x: Any, y: Any, p: Any, labels: Any, signs: Any, right: Any) -> Any:
    w = p[0, :]
    return (
        bf.cross_entropy(x, labels)
        + bf.cross_entropy(x, labels, w, ignore_index=1)
        + bf.cross_entropy(x, labels, label_smoothing=0.1)
        + bf.cross_entropy(x, p)
        + bf.nll_loss(x, labels, w)
        + bf.mse_loss(x, y)
        + bf.l1_loss(x, y)
        + bf.smooth_l1_loss(x, y)
        + bf.huber_loss(x, y)
        + bf.poisson_nll_loss(x, p, full=True)
        + bf.gaussian_nll_loss(x, y, p)
        + bf.kl_div(x, p, reduction="batchmean")
        + bf.binary_cross_entropy(bf.sigmoid(x), p)
        + bf.binary_cross_entropy_with_logits(x, p, pos_weight=w)
        + bf.soft_margin_loss(x, signs)
        + bf.multilabel_soft_margin_loss(x, p)
        + bf.hinge_embedding_loss(x, signs)
        + bf.margin_ranking_loss(x, y, signs)
        + bf.cosine_embedding_loss(x, y, signs[:, 0])
        + bf.multi_margin_loss(x, labels, 2, weight=w)
        + bf.multilabel_margin_loss(x, right)
        + bf.triplet_margin_loss(x, y, p, swap=True)
        + bp.array_namespace(x).sum(bf.pdist(x))
        + bf.ctc_loss(x[:, None, :], right[1:2, :2], (4,), (2,))
    )


@pytest.mark.filterwarnings("ignore:Dynamo detected a call to:UserWarning")  # of array_api_compat
def test_torch_compile_takes_the_losses_as_one_graph() -> None:
    torch = pytest.importorskip("torch")
    import torch._dynamo as dynamo

    dynamo.reset()
    step = bp.value_and_grad(losses)
    args = (X, Y, P, LABELS, SIGNS, RIGHT)
    value, gradient = torch.compile(step, fullgraph=True, backend="eager")(
        *(torch.from_numpy(a) for a in args)
    )
    expected, exact = step(*args)
    np.testing.assert_allclose(float(value), expected, rtol=1e-12)
    np.testing.assert_allclose(gradient.numpy(), exact, rtol=1e-10, atol=1e-12)
    dynamo.reset()
