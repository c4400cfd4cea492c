"""Multi-head attention equals torch's in value, gradient and second order, over all its options."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

import bpgpu as bp
from torch_compare import compare

E, H, L, S, N = 4, 2, 3, 5, 2


def masks(kind: str) -> dict[str, Any]:
    rng = np.random.default_rng(1)
    allowed = np.zeros((L, S), dtype=bool)
    allowed[0, 1:] = True
    padding = np.zeros((N, S), dtype=bool)
    padding[1, 3:] = True
    return {
        "none": {},
        "bool": {"attn_mask": allowed, "key_padding_mask": padding},
        "float": {"attn_mask": rng.normal(size=(N * H, L, S))},
        "mixed": {"attn_mask": rng.normal(size=(L, S)), "key_padding_mask": padding},
    }[kind]


def run(
    function: Any, cat: Any, zero: bool, separate: bool, average: bool, need_weights: bool
) -> Any:
    def call(
        q: Any,
        k: Any,
        v: Any,
        a: Any,
        b: Any,
        c: Any,
        d: Any,
        o: Any,
        bk: Any,
        bv: Any,
        **m: Any,
    ) -> Any:
        packed = None if separate else cat([a, b, c])
        y, p = function(
            q,
            k,
            v,
            E,
            H,
            packed,
            d,
            bk,
            bv,
            zero,
            0.0,
            o,
            None,
            True,
            need_weights=need_weights,
            use_separate_proj_weight=separate,
            q_proj_weight=a,
            k_proj_weight=b,
            v_proj_weight=c,
            average_attn_weights=average,
            **m,
        )
        return (y, p) if need_weights else y

    return call


@pytest.mark.parametrize("kind", ["none", "bool", "float", "mixed"])
@pytest.mark.parametrize("need_weights", [True, False])
@pytest.mark.filterwarnings("ignore:Support for mismatched")
def test_options_equal_torch(xp: Any, kind: str, need_weights: bool) -> None:
    rng = np.random.default_rng(0)
    options = itertools.product([False, True], repeat=4)
    for extra, zero, separate, average in options:
        kdim, vdim = (3, 6) if separate else (E, E)
        w = [rng.normal(size=(E, d)) for d in (E, kdim, vdim)]
        x = [rng.normal(size=s) for s in ((L, N, E), (S, N, kdim), (S, N, vdim))]
        more = [rng.normal(size=(1, 1, E)) for _ in range(2)] if extra else [None, None]
        arrays = [*x, *w, rng.normal(size=3 * E), rng.normal(size=(E, E)), *more]
        with sdpa_kernel(SDPBackend.MATH):  # torch's fused one has no second order
            compare(
                xp,
                run(
                    bp.functional.multi_head_attention_forward,
                    lambda ws: bp.array_namespace(*ws).concat(ws, axis=0),
                    zero,
                    separate,
                    average,
                    need_weights,
                ),
                run(
                    torch.nn.functional.multi_head_attention_forward,
                    torch.cat,
                    zero,
                    separate,
                    average,
                    need_weights,
                ),
                *arrays,
                order=2 if not (zero or average) else 1,
                **masks(kind),
            )


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("unbatched", [False, True])
def test_the_layer_loads_torchs_state_and_equals_it(batch_first: bool, unbatched: bool) -> None:
    theirs = torch.nn.MultiheadAttention(E, H, add_bias_kv=True, batch_first=batch_first).double()
    ours = bp.nn.MultiheadAttention(
        E, H, add_bias_kv=True, batch_first=batch_first, dtype="float64"
    )
    ours.load_state_dict({k: v.numpy() for k, v in theirs.state_dict().items()})
    x = np.random.default_rng(0).normal(size=(L, E) if unbatched else (L, N, E))
    t = torch.from_numpy(x)
    for a, b in zip(ours(x, x, x), theirs(t, t, t), strict=True):
        np.testing.assert_allclose(a, b.detach().numpy(), rtol=1e-9, atol=1e-9)


def test_bad_input_is_told() -> None:
    with pytest.raises(ValueError, match="embed_dim must be divisible by num_heads, got 4 and 3"):
        bp.nn.MultiheadAttention(4, 3)
    layer, x = bp.nn.MultiheadAttention(4, 2), np.ones((3, 2, 4), dtype=np.float32)
    with pytest.raises(TypeError, match="attn_mask of truth values or floating"):
        layer(x, x, x, attn_mask=np.ones((3, 3), dtype=np.int64))
    with pytest.raises(ValueError, match=r"expected key_padding_mask \(2, 3\), got \(3, 2\)"):
        layer(x, x, x, key_padding_mask=np.zeros((3, 2), dtype=bool))
    with pytest.raises(ValueError, match="must agree in the batch"):
        layer(x, x[:, :1, :], x[:, :1, :])
