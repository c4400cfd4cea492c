"""The layer of multi-head attention against torch's: every option, torch's state, dropout, weights, errors."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

import bpgpu as bp
from bpgpu.nn import MultiheadAttention
from gradients import close, numpy_of, scalar
from nn.layers_against_torch import case, compare_layers, to_library
from torch_compare import FIRST, SECOND, VALUE, given

pytestmark = pytest.mark.filterwarnings("ignore:Support for mismatched")
E, H, L, S, N = 4, 2, 3, 5, 2
R = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def with_second_order() -> Iterator[None]:
    """Torch's fused attention has no second order."""
    with sdpa_kernel(SDPBackend.MATH):
        yield


def draw(*shape: int) -> np.ndarray:
    return R.normal(size=shape)


def hidden(*shape: int) -> np.ndarray:
    """A mask of truth values that leaves the first key to every query."""
    mask = R.uniform(size=shape) > 0.5
    mask[..., 0] = False
    return mask


def options() -> Iterator[dict[str, Any]]:
    for bias, bias_kv, zero in itertools.product((True, False), repeat=3):
        for sizes in ({}, {"kdim": 3}, {"kdim": 3, "vdim": 6}, {"kdim": E, "vdim": E}):
            for first in (False, True):
                yield {
                    "bias": bias,
                    "add_bias_kv": bias_kv,
                    "add_zero_attn": zero,
                    "batch_first": first,
                    **sizes,
                }


def inputs_of(settings: dict[str, Any], batch: int | None = N) -> list[np.ndarray]:
    sizes = (L, E), (S, settings.get("kdim", E)), (S, settings.get("vdim", E))
    if batch is None:
        return [draw(*size) for size in sizes]
    first = settings["batch_first"]
    return [draw(batch, n, e) if first else draw(n, batch, e) for n, e in sizes]


MASKS = {
    "none": {},
    "bool": {"attn_mask": hidden(L, S), "key_padding_mask": hidden(N, S)},
    "float": {"attn_mask": draw(N * H, L, S), "key_padding_mask": draw(N, S)},
    "mixed": {"attn_mask": draw(L, S), "key_padding_mask": hidden(N, S)},
    "each head": {"attn_mask": hidden(N * H, L, S)},
}


def pair(xp: Any, **settings: Any) -> tuple[Any, Any]:
    """Our layer on arrays of `xp` and torch's, with torch's weights, biases made other than 0."""
    theirs = torch.nn.MultiheadAttention(E, H, **settings).double()
    with torch.no_grad():
        for p in theirs.parameters():
            p.copy_(torch.from_numpy(draw(*p.shape)))
    ours = to_library(MultiheadAttention(E, H, **settings, dtype="float64"), xp)
    state = {k: v.numpy() for k, v in theirs.state_dict().items()}
    assert list(ours.state_dict()) == list(state)
    ours.load_state_dict({k: given(xp, np.array(v)) for k, v in state.items()})
    return ours, theirs


def compare(xp: Any, settings: Any, inputs: Any, call: Any, *, order: int = 1) -> None:
    """Value, gradient and second order with respect to the inputs and every weight."""
    ours, theirs = pair(xp, **settings)
    tensors = [given(torch, x).requires_grad_() for x in inputs]
    ys = theirs(*tensors, **{k: given(torch, m) for k, m in call.items()})
    ys = [y for y in ys if y is not None]
    wanted = [*theirs.parameters(), *tensors]
    first = torch.autograd.grad(scalar(torch, ys, torch.from_numpy), wanted, create_graph=order > 1)

    plain, masks = [given(xp, x) for x in inputs], {k: given(xp, m) for k, m in call.items()}
    which = tuple(range(1 + len(plain)))

    def loss(m: Any, *xs: Any) -> Any:
        out = [y for y in m(*xs, **masks) if y is not None]
        return scalar(bp.array_namespace(*out), out, lambda w: given(xp, w)), out

    def gradients(m: Any, *xs: Any) -> tuple[Any, list[Any]]:
        (_, out), (weights, *rest) = bp.value_and_grad(loss, which, has_aux=True)(m, *xs)
        return out, [*weights.values(), *rest]

    out, mine = gradients(ours, *plain)
    close([numpy_of(y) for y in out], [numpy_of(y) for y in ys], VALUE, "value")
    close([numpy_of(g) for g in mine], [numpy_of(g) for g in first], FIRST, "first order")
    if order > 1:
        total = scalar(torch, first, torch.from_numpy) + sum((0 * p).sum() for p in wanted)
        twice = torch.autograd.grad(total, wanted)

        def second(m: Any, *xs: Any) -> Any:
            found = gradients(m, *xs)[1]
            return scalar(bp.array_namespace(*found), found, lambda w: given(xp, w))

        weights, *rest = bp.grad(second, which)(ours, *plain)
        found = [
            np.zeros(t.shape) if g is None else numpy_of(g)
            for g, t in zip((*weights.values(), *rest), twice, strict=True)
        ]
        close(found, [numpy_of(g) for g in twice], SECOND, "second order")


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("need_weights", [True, False])
def test_all_options_equal_torch(mask: str, need_weights: bool) -> None:
    import array_api_compat.numpy as xp

    for settings in options():
        for average in (True, False) if need_weights else (True,):
            call = {"need_weights": need_weights, "average_attn_weights": average, **MASKS[mask]}
            compare(xp, settings, inputs_of(settings), call)


@pytest.mark.parametrize("need_weights", [True, False])
@pytest.mark.parametrize("sizes", [{}, {"kdim": 3, "vdim": 6}], ids=str)
def test_second_order_in_every_library(xp: Any, need_weights: bool, sizes: Any) -> None:
    for settings in ({"batch_first": False}, {"batch_first": True, "add_bias_kv": True}):
        settings = {**settings, **sizes, "add_zero_attn": True}
        for mask in ("none", "bool", "mixed"):
            call = {"need_weights": need_weights, **MASKS[mask]}
            compare(xp, settings, inputs_of(settings), call, order=2)


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("need_weights", [True, False])
def test_without_a_batch(xp: Any, batch_first: bool, need_weights: bool) -> None:
    for masks in (
        {},
        {"attn_mask": hidden(L, S), "key_padding_mask": hidden(S)},
        {"attn_mask": draw(H, L, S), "key_padding_mask": draw(S)},
    ):
        for extra in (False, True):
            settings = {"batch_first": batch_first, "add_bias_kv": extra, "add_zero_attn": extra}
            call = {"need_weights": need_weights, **masks}
            compare(xp, settings, inputs_of(settings, None), call)


@pytest.mark.parametrize("need_weights", [True, False])
@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("batch_first", [False, True])
def test_causal_attention_to_itself(
    xp: Any, need_weights: bool, padded: bool, batch_first: bool
) -> None:
    ours, theirs = pair(xp, batch_first=batch_first)
    x = draw(N, L, E) if batch_first else draw(L, N, E)
    call: dict[str, Any] = {"attn_mask": np.triu(np.ones((L, L), bool), 1), "is_causal": True}
    if padded:
        call["key_padding_mask"] = np.asarray([[False] * 3, [False, False, True]])
    t = given(torch, x).requires_grad_()
    y = theirs(t, t, t, need_weights=need_weights, **{k: given(torch, m) for k, m in call.items()})
    wanted = [*theirs.parameters(), t]
    expected = torch.autograd.grad((y[0] ** 3).sum(), wanted)
    masks = {k: given(xp, m) for k, m in call.items()}

    def loss(m: Any, x: Any) -> Any:
        out, weights = m(x, x, x, need_weights=need_weights, **masks)
        return bp.array_namespace(out).sum(out**3), weights

    (_, weights), (g, gx) = bp.value_and_grad(loss, (0, 1), has_aux=True)(ours, given(xp, x))
    found = [numpy_of(a) for a in (*g.values(), gx)]
    close(found, [numpy_of(a) for a in expected], FIRST, "gradient")
    if need_weights:
        close([numpy_of(weights)], [numpy_of(y[1])], VALUE, "weights")


@pytest.mark.parametrize("batch_first", [False, True])
def test_evaluation_and_training_agree_with_torch(xp: Any, batch_first: bool) -> None:
    on = (draw(L, N, E), draw(S, N, E), draw(S, N, E))
    if batch_first:
        on = (draw(N, L, E), draw(N, S, E), draw(N, S, E))
    compare_layers(xp, case("MultiheadAttention", E, H, batch_first=batch_first, on=on))


def test_the_keys_may_be_the_values_and_not_the_queries(xp: Any) -> None:
    ours, theirs = pair(xp, batch_first=True)
    q, m = draw(N, L, E), draw(N, S, E)
    y, p = ours(given(xp, q), *[given(xp, m)] * 2)
    expected = theirs(given(torch, q), *[given(torch, m)] * 2)
    close([numpy_of(y), numpy_of(p)], [numpy_of(t) for t in expected], VALUE, "value")


# ---- initial weights, looks


def test_initial_weights_are_torchs_distribution() -> None:
    bp.seed(1)
    e = 60
    layer = MultiheadAttention(e, 3, add_bias_kv=True)
    for w, bound in (
        (layer.in_proj_weight, (6 / (4 * e)) ** 0.5),  # xavier: fan out is 3 E
        (layer.out_proj.weight, e**-0.5),  # that of Linear
    ):
        assert bound * 0.99 < abs(w).max() < bound
        assert abs(w.std() / (bound / 3**0.5) - 1) < 0.05
    assert not layer.in_proj_bias.any()
    assert not layer.out_proj.bias.any()
    theirs = torch.nn.MultiheadAttention(e, 3, add_bias_kv=True)
    for name in ("bias_k", "bias_v"):
        ours, other = getattr(layer, name), getattr(theirs, name)
        assert ours.dtype == np.float32
        assert 0.6 < ours.std() / other.std().item() < 1.6  # both normal, 60 numbers each
    apart = MultiheadAttention(e, 3, kdim=20, vdim=100)
    for name, fan in (("q", e), ("k", 20), ("v", 100)):
        w = getattr(apart, f"{name}_proj_weight")
        bound = (6 / (e + fan)) ** 0.5
        assert w.shape == (e, fan)
        assert bound * 0.99 < abs(w).max() < bound
    assert apart.in_proj_weight is None


def test_the_layer_looks_as_in_torch() -> None:
    """But for the name of torch's class of `out_proj`, which says only how it is quantised."""
    for settings in ({}, {"bias": False}, {"kdim": 3, "add_bias_kv": True}):
        theirs = repr(torch.nn.MultiheadAttention(E, H, **settings))
        looks = theirs.replace("NonDynamicallyQuantizableLinear", "Linear")
        assert repr(MultiheadAttention(E, H, **settings)) == looks


# ---- dropout


def test_dropout_draws_anew_in_training_only_and_the_same_in_every_library(xp: Any) -> None:
    def run(xp: Any) -> list[np.ndarray]:
        bp.seed(5)
        layer = to_library(MultiheadAttention(E, H, 0.5, dtype="float64"), xp)
        x = [given(xp, np.random.default_rng(0).normal(size=(L, N, E)))] * 3
        steps = [numpy_of(layer(*x)[1]) for _ in range(2)]
        key = numpy_of(layer.key)
        steps += [numpy_of(layer.eval()(*x)[1]) for _ in range(2)]
        assert np.array_equal(numpy_of(layer.key), key)  # evaluation draws nothing
        return steps

    import array_api_compat.numpy as plain

    first, second, at_rest, again = run(xp)
    assert (first == 0).any()
    assert not np.array_equal(first, second)
    assert np.array_equal(at_rest, again)
    assert not (at_rest == 0).any()
    for mine, other in zip((first, second, at_rest, again), run(plain), strict=True):
        np.testing.assert_allclose(mine, other, rtol=0, atol=1e-12)


def test_a_layer_without_dropout_draws_nothing() -> None:
    layer = MultiheadAttention(E, H)
    key = np.array(layer.key)
    x = np.ones((L, N, E), np.float32)
    layer(x, x, x)
    assert np.array_equal(layer.key, key)


def test_a_copy_draws_alike_alone_and_apart_in_one_model() -> None:
    layer = MultiheadAttention(E, H, 0.5)
    x = draw(6, N, E).astype(np.float32)
    alone = copy.deepcopy(layer)
    assert np.array_equal(copy.deepcopy(layer)(x, x, x)[1], alone(x, x, x)[1])
    model = bp.nn.ModuleList([layer, copy.deepcopy(layer), copy.deepcopy(layer)])
    drawn = [m(x, x, x)[1] for m in model]
    for a, b in itertools.combinations(drawn, 2):
        assert not np.array_equal(a == 0, b == 0)


def test_dropout_in_a_step_inside_jax_jit() -> None:
    jax = pytest.importorskip("jax")
    x = draw(L, N, E)

    def run(compiled: bool) -> list[dict[str, np.ndarray]]:
        bp.seed(2)
        layer = MultiheadAttention(E, H, 0.5, batch_first=True, dtype="float64")
        if compiled:
            layer = to_library(layer, jax.numpy)

        def step(state: Any, x: Any) -> Any:
            for k, v in state.items():
                owner, name = layer.locate(k)
                setattr(owner, name, v)

            def loss(m: Any, x: Any) -> Any:
                y, _ = m(x, x, x)
                return bp.array_namespace(y).sum(y * y)

            value, grads = bp.value_and_grad(loss)(layer, x)
            return value, grads, dict(layer.named_buffers()) | layer.parameters()

        state = dict(layer.named_buffers()) | layer.parameters()
        f = jax.jit(step) if compiled else step
        xs = jax.numpy.asarray(x) if compiled else x
        found = []
        for _ in range(2):
            value, grads, state = f(state, xs)
            found.append({k: numpy_of(v) for k, v in {"loss": value, **grads}.items()})
        return found

    plain, compiled = run(False), run(True)
    assert not np.allclose(plain[0]["loss"], plain[1]["loss"])  # another mask in the second step
    for a, b in zip(plain, compiled, strict=True):
        assert set(a) == set(b)
        for k, v in a.items():
            np.testing.assert_allclose(b[k], v, rtol=0, atol=1e-9)


# ---- training, dtypes, sizes


@pytest.mark.parametrize("settings", [{}, {"kdim": 3, "vdim": 6, "add_bias_kv": True}], ids=str)
def test_steps_of_descent_equal_torchs(xp: Any, settings: dict[str, Any]) -> None:
    ours, theirs = pair(xp, batch_first=True, **settings)
    inputs = inputs_of({"batch_first": True, **settings})
    target = draw(N, L, E)
    optimizer = bp.optim.SGD(ours, lr=0.01, momentum=0.9)
    reference = torch.optim.SGD(theirs.parameters(), lr=0.01, momentum=0.9)
    tensors, plain = [given(torch, x) for x in inputs], [given(xp, x) for x in inputs]
    for _ in range(5):
        reference.zero_grad()
        torch.nn.functional.mse_loss(theirs(*tensors)[0], given(torch, target)).backward()
        reference.step()

        def loss(m: Any) -> Any:
            return bp.functional.mse_loss(m(*plain)[0], given(xp, target))

        _, grads = bp.value_and_grad(loss)(ours)
        optimizer.step(grads)
    mine, state = ours.state_dict(), theirs.state_dict()
    for name, p in state.items():
        np.testing.assert_allclose(numpy_of(mine[name]), p.numpy(), rtol=0, atol=1e-8, err_msg=name)


def test_float32_is_kept(xp: Any) -> None:
    layer = to_library(MultiheadAttention(E, H, add_bias_kv=True, dropout=0.5), xp)
    x = given(xp, draw(L, N, E).astype(np.float32))
    for need_weights in (True, False):
        loss = lambda m, x: bp.array_namespace(x).sum(m(x, x, x, None, need_weights)[0])  # noqa: B023, E731
        value, (grads, gx) = bp.value_and_grad(loss, (0, 1))(layer, x)
        assert all(a.dtype == xp.float32 for a in (value, gx, *grads.values()))


@pytest.mark.parametrize("shape", [(0, N, E), (L, 0, E), (1, 1, E), (0, E), (1, E)])
@pytest.mark.parametrize("need_weights", [True, False])
def test_empty_and_single_inputs(xp: Any, shape: tuple[int, ...], need_weights: bool) -> None:
    for extra in (False, True):
        settings = {"add_bias_kv": extra, "add_zero_attn": extra}
        compare(xp, settings, [draw(*shape) for _ in range(3)], {"need_weights": need_weights})


# ---- bad input


def test_bad_settings_are_told_when_the_layer_is_made() -> None:
    for args, text in (
        ((4, 3), "MultiheadAttention: embed_dim must be divisible by num_heads, got 4 and 3"),
        ((0, 1), "MultiheadAttention: expected embed_dim of at least 1, got 0"),
        ((4, 0), "MultiheadAttention: expected num_heads of at least 1, got 0"),
        ((4, 2, 1.5), r"MultiheadAttention: expected dropout in \[0, 1\], got 1.5"),
    ):
        with pytest.raises(ValueError, match=text):
            MultiheadAttention(*args)
    for name in ("kdim", "vdim"):
        with pytest.raises(ValueError, match=f"expected {name} of at least 1, got -3"):
            MultiheadAttention(4, 2, **{name: -3})
        with pytest.raises(ValueError, match=f"expected {name} as an integer, got 2.5"):
            MultiheadAttention(4, 2, **{name: 2.5})


def test_bad_input_is_told_with_the_layers_path() -> None:
    class Net(bp.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.block = bp.nn.ModuleDict({"attend": MultiheadAttention(4, 2, kdim=3)})

        def forward(self, *args: Any, **kwargs: Any) -> Any:
            return self.block["attend"](*args, **kwargs)

    net = Net()
    q, k, v = (np.ones((3, 2, n), dtype=np.float32) for n in (4, 3, 4))
    where = r"MultiheadAttention 'block\.attend': multi_head_attention_forward: "
    with pytest.raises(TypeError, match=where + "expected attn_mask of truth values or floating"):
        net(q, k, v, attn_mask=np.ones((3, 3), dtype=np.int64))
    with pytest.raises(ValueError, match=where + r"expected key_padding_mask \(2, 3\), got \(3, "):
        net(q, k, v, key_padding_mask=np.zeros((3, 2), dtype=bool))
    with pytest.raises(ValueError, match=where + r"expected attn_mask \(3, 3\) or \(4, 3, 3\)"):
        net(q, k, v, attn_mask=np.zeros((2, 3, 3), dtype=bool))
    with pytest.raises(ValueError, match=where + ".* must agree in the batch, axis 1"):
        net(q, k[:, :1, :], v[:, :1, :])
    with pytest.raises(ValueError, match=where + r"expected key \(..., 3\), got \(3, 2, 4\)"):
        net(q, v, v)
    with pytest.raises(ValueError, match=where + "expected a query of embed_dim 4"):
        net(k, k, v)
    with pytest.raises(ValueError, match=where + "is_causal=True says that attn_mask is causal"):
        net(q, k, v, is_causal=True)
    with pytest.raises(TypeError, match=where + "expected key of dtype float32"):
        net(q, k.astype("f8"), v)
    with pytest.raises(TypeError, match=where + "expected an array as key, got list"):
        net(q, [1.0], v)


def test_a_batch_mismatch_with_the_batch_first_names_the_shapes_as_given() -> None:
    layer = MultiheadAttention(4, 2, batch_first=True)
    q, k = np.ones((2, 3, 4), np.float32), np.ones((5, 3, 4), np.float32)
    with pytest.raises(ValueError, match=r"query \(2, 3, 4\) and key \(5, 3, 4\) .*batch, axis 0"):
        layer(q, k, k)
    with pytest.raises(ValueError, match=r"expected value \(..., 4\), got \(2, 3, 5\)"):
        layer(q, q, np.ones((2, 3, 5), np.float32))
