"""Transformers equal torch's, from torch's state."""

from __future__ import annotations

import copy
import itertools
import pickle
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

import bpgpu as bp
from gradients import close, numpy_of, scalar
from nn.layers_against_torch import to_library
from torch_compare import FIRST, SECOND, VALUE, given

pytestmark = [
    pytest.mark.filterwarnings("ignore:enable_nested_tensor"),
    pytest.mark.filterwarnings("ignore:Support for mismatched"),
    pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors"),
]
D, H, S, T, N = 8, 2, 5, 3, 2
R = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def with_second_order() -> Iterator[None]:
    """Torch's fused attention has no second order."""
    with sdpa_kernel(SDPBackend.MATH):
        yield


def draw(*shape: int) -> np.ndarray:
    return R.normal(size=shape)


def later(rows: int, columns: int) -> np.ndarray:
    return np.triu(np.ones((rows, columns), bool), 1)


def ends(*lengths: int) -> np.ndarray:
    """Padding after the given lengths."""
    return np.arange(max(lengths))[None, :] >= np.asarray(lengths)[:, None]


def pair(build: Any, xp: Any) -> tuple[Any, Any]:
    """`build(nn)` of bpgpu on arrays of `xp` and of torch, with weights of order one, the same in both."""
    theirs = build(torch.nn).double()
    with torch.no_grad():
        for p in theirs.parameters():
            p.add_(torch.from_numpy(0.3 * draw(*p.shape)))
    ours = to_library(build(bp.nn).to(dtype="float64"), xp)
    state = {k: np.array(v.numpy()) for k, v in theirs.state_dict().items()}
    assert list(ours.state_dict()) == list(state)
    ours.load_state_dict({k: given(xp, v) for k, v in state.items()})
    return ours, theirs


def compare(xp: Any, build: Any, *inputs: Any, training: bool = True, order: int = 1, **call: Any):
    """Value, gradient and second order, with respect to inputs and weights."""
    ours, theirs = (m.train(training) for m in pair(build, xp))
    tensors = [given(torch, x).requires_grad_() for x in inputs]
    wanted = [*theirs.parameters(), *tensors]
    y = theirs(*tensors, **{k: given(torch, v) for k, v in call.items()})
    found = torch.autograd.grad(scalar(torch, [y], torch.from_numpy), wanted, create_graph=True)
    settings = {k: given(xp, v) for k, v in call.items()}
    which = tuple(range(1 + len(inputs)))

    def gradients(m: Any, *xs: Any) -> Any:
        def loss(m: Any, *xs: Any) -> Any:
            out = m(*xs, **settings)
            return scalar(bp.array_namespace(out), [out], lambda w: given(xp, w)), out

        (_, out), (weights, *rest) = bp.value_and_grad(loss, which, has_aux=True)(m, *xs)
        return out, [*weights.values(), *rest]

    plain = [given(xp, x) for x in inputs]
    out, mine = gradients(ours, *plain)
    close([numpy_of(out)], [numpy_of(y)], VALUE, "value")
    close([numpy_of(g) for g in mine], [numpy_of(g) for g in found], FIRST, "first order")
    if order > 1:
        total = scalar(torch, found, torch.from_numpy) + sum((0 * p).sum() for p in wanted)
        twice = torch.autograd.grad(total, wanted)

        def second(m: Any, *xs: Any) -> Any:
            gs = gradients(m, *xs)[1]
            return scalar(bp.array_namespace(*gs), gs, lambda w: given(xp, w))

        weights, *rest = bp.grad(second, which)(ours, *plain)
        mine = [
            np.zeros(t.shape) if g is None else numpy_of(g)
            for g, t in zip((*weights.values(), *rest), twice, strict=True)
        ]
        close(mine, [numpy_of(g) for g in twice], SECOND, "second order")


# ---- values and gradients


@pytest.mark.parametrize("norm_first", [False, True])
@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("activation", ["relu", "gelu"])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("training", [True, False])
def test_a_transformer_equals_torchs(
    norm_first: bool, batch_first: bool, activation: str, bias: bool, training: bool
) -> None:
    import array_api_compat.numpy as xp

    kwargs: dict[str, Any] = {"norm_first": norm_first, "batch_first": batch_first, "bias": bias}
    src, tgt = draw(S, N, D), draw(T, N, D)
    if batch_first:
        src, tgt = src.swapaxes(0, 1), tgt.swapaxes(0, 1)
    compare(
        xp,
        lambda nn: nn.Transformer(D, H, 2, 1, 12, 0.0, activation, **kwargs),
        src,
        tgt,
        training=training,
        tgt_mask=bp.nn.Transformer.generate_square_subsequent_mask(T, dtype="float64"),
        src_key_padding_mask=ends(5, 3),
        memory_key_padding_mask=ends(5, 3),
        tgt_is_causal=True,
    )


MASKS: dict[str, dict[str, Any]] = {
    "none": {},
    "all of truth": {
        "src_mask": later(S, S),
        "tgt_mask": later(T, T),
        "memory_mask": later(T, S),
        "src_key_padding_mask": ends(5, 4),
        "tgt_key_padding_mask": ends(2, 3),
        "memory_key_padding_mask": ends(3, 5),
    },
    "all of numbers": {
        "src_mask": draw(S, S),
        "tgt_mask": draw(T, T),
        "memory_mask": draw(T, S),
        "src_key_padding_mask": draw(N, S),
        "tgt_key_padding_mask": draw(N, T),
        "memory_key_padding_mask": draw(N, S),
    },
    "for each head": {
        "src_mask": draw(N * H, S, S),
        "tgt_mask": draw(N * H, T, T),
        "memory_mask": draw(N * H, T, S),
    },
    "causal": {
        "src_mask": later(S, S),
        "tgt_mask": later(T, T),
        "memory_mask": later(T, S),
        "src_is_causal": True,
        "tgt_is_causal": True,
        "memory_is_causal": True,
    },
    "causal, to be found": {"src_mask": later(S, S), "tgt_mask": later(T, T)},
    "not causal, whatever the mask": {"tgt_mask": later(T, T), "tgt_is_causal": False},
}


@pytest.mark.parametrize("masks", MASKS)
def test_all_masks_equal_torch(xp: Any, masks: str) -> None:
    compare(
        xp,
        lambda nn: nn.Transformer(D, H, 1, 1, 6, 0.0),
        draw(S, N, D),
        draw(T, N, D),
        **MASKS[masks],
    )


def test_second_order_equals_torchs(xp: Any) -> None:
    for norm_first in (False, True):
        compare(
            xp,
            lambda nn, f=norm_first: nn.Transformer(4, H, 1, 1, 6, 0.0, "gelu", norm_first=f),
            draw(4, N, 4),
            draw(T, N, 4),
            order=2,
            tgt_mask=later(T, T),
            src_key_padding_mask=ends(4, 3),
        )


@pytest.mark.parametrize("batch_first", [False, True])
def test_without_a_batch(xp: Any, batch_first: bool) -> None:
    compare(
        xp,
        lambda nn: nn.Transformer(D, H, 1, 1, 6, 0.0, batch_first=batch_first),
        draw(S, D),
        draw(T, D),
        tgt_mask=later(T, T),
        src_key_padding_mask=ends(5, 3)[1],
        memory_mask=draw(H, T, S),
    )


@pytest.mark.parametrize("norm", [False, True])
@pytest.mark.parametrize("batch_first", [False, True])
def test_a_bare_encoder(xp: Any, norm: bool, batch_first: bool) -> None:
    def build(nn: Any) -> Any:
        layer = nn.TransformerEncoderLayer(D, H, 6, 0.0, batch_first=batch_first)
        return nn.TransformerEncoder(layer, 2, nn.LayerNorm(D) if norm else None)

    x = draw(N, S, D) if batch_first else draw(S, N, D)
    compare(xp, build, x, mask=later(S, S), src_key_padding_mask=ends(5, 3))
    compare(xp, build, x, mask=later(S, S), is_causal=True)
    compare(xp, build, x, training=False, src_key_padding_mask=ends(5, 3))


@pytest.mark.parametrize("norm", [False, True])
def test_a_bare_decoder(xp: Any, norm: bool) -> None:
    def build(nn: Any) -> Any:
        layer = nn.TransformerDecoderLayer(D, H, 6, 0.0, "gelu", norm_first=True)
        return nn.TransformerDecoder(layer, 2, nn.LayerNorm(D) if norm else None)

    masks = {k: v for k, v in MASKS["all of truth"].items() if not k.startswith("src")}
    compare(xp, build, draw(T, N, D), draw(S, N, D), **masks)
    masks = {k: v for k, v in MASKS["causal"].items() if not k.startswith("src")}
    compare(xp, build, draw(T, N, D), draw(S, N, D), **masks)


def test_layers_alone(xp: Any) -> None:
    def encoder(nn: Any) -> Any:
        return nn.TransformerEncoderLayer(D, H, 6, 0.0, layer_norm_eps=1e-2)

    def decoder(nn: Any) -> Any:
        return nn.TransformerDecoderLayer(D, H, 6, 0.0, layer_norm_eps=1e-2, bias=False)

    compare(xp, encoder, draw(S, N, D), src_mask=later(S, S), is_causal=True)
    compare(xp, encoder, draw(S, D))
    compare(xp, decoder, draw(T, N, D), draw(S, N, D), memory_mask=draw(T, S))
    compare(xp, decoder, draw(T, D), draw(S, D))


@pytest.mark.parametrize(
    "activation",
    [
        lambda nn: "gelu",
        lambda nn: nn.functional.gelu,
        lambda nn: nn.functional.silu,
        lambda nn: nn.GELU("tanh"),
        lambda nn: nn.PReLU(6),
        lambda nn: lambda x: x * x,
    ],
)
def test_activations(xp: Any, activation: Any) -> None:
    def encoder(nn: Any) -> Any:
        layer = nn.TransformerEncoderLayer(D, H, 6, 0.0, activation(nn))
        return nn.TransformerEncoder(layer, 2)

    compare(xp, encoder, draw(S, D))
    alone = lambda nn: nn.TransformerDecoderLayer(D, H, 6, 0.0, activation(nn))  # noqa: E731
    compare(xp, alone, draw(S, D), draw(T, D))


def test_a_copied_decoder_layer_keeps_an_activation_that_is_a_layer() -> None:
    """Torch's goes over to relu, because it looks for the activation among the wrong attributes."""
    layer = bp.nn.TransformerDecoderLayer(D, H, 6, 0.0, bp.nn.GELU()).eval()
    stack = bp.nn.TransformerDecoder(layer, 1)
    tgt, memory = draw(T, D).astype(np.float32), draw(S, D).astype(np.float32)
    assert np.array_equal(stack(tgt, memory), layer(tgt, memory))
    stack.layers[0].activation = bp.functional.relu
    assert not np.array_equal(stack(tgt, memory), layer(tgt, memory))


def test_an_encoder_and_a_decoder_of_ones_own() -> None:
    """They are called by keyword, as torch calls them."""
    import array_api_compat.numpy as xp

    def build(nn: Any) -> Any:
        class Encoder(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.linear = nn.Linear(D, D)

            def forward(self, src: Any, *, is_causal: Any, src_key_padding_mask: Any, mask: Any):
                assert (is_causal, src_key_padding_mask, mask) == (None, None, None)
                return self.linear(src)

        class Decoder(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.weight = nn.Linear(D, D)

            def forward(self, tgt: Any, memory: Any, **masks: Any) -> Any:
                assert list(masks) == [
                    "tgt_mask",
                    "memory_mask",
                    "tgt_key_padding_mask",
                    "memory_key_padding_mask",
                    "tgt_is_causal",
                    "memory_is_causal",
                ]
                return self.weight(tgt) * memory

        return nn.Transformer(D, H, custom_encoder=Encoder(), custom_decoder=Decoder())

    compare(xp, build, draw(T, N, D), draw(T, N, D))


@pytest.mark.parametrize("shape", [(0, N, D), (S, 0, D), (0, D), (1, D), (1, 1, D)])
def test_empty_and_single_inputs(xp: Any, shape: tuple[int, ...]) -> None:
    for tgt in (shape, (T, *shape[1:])):
        compare(xp, lambda nn: nn.Transformer(D, H, 1, 1, 6, 0.0), draw(*shape), draw(*tgt))


def test_inputs_that_are_not_contiguous(xp: Any) -> None:
    src, tgt = draw(N, S, D).transpose(1, 0, 2), np.asfortranarray(draw(T, N, D))
    compare(xp, lambda nn: nn.Transformer(D, H, 1, 1, 6, 0.0), src, tgt, tgt_mask=draw(T, T).T)


def test_float32_is_kept(xp: Any) -> None:
    model = to_library(bp.nn.Transformer(D, H, 1, 1, 6), xp)
    src, tgt = (given(xp, draw(n, N, D).astype(np.float32)) for n in (S, T))
    mask = given(xp, np.asarray(bp.nn.Transformer.generate_square_subsequent_mask(T)))

    def loss(m: Any, src: Any, tgt: Any) -> Any:
        y = m(src, tgt, tgt_mask=mask, src_key_padding_mask=given(xp, ends(5, 3)))
        return bp.array_namespace(y).sum(y * y)

    value, (grads, *rest) = bp.value_and_grad(loss, (0, 1, 2))(model, src, tgt)
    assert all(a.dtype == xp.float32 for a in (value, *rest, *grads.values()))


# ---- padded rows and rows that see nothing


@pytest.mark.parametrize("norm_first", [False, True])
@pytest.mark.parametrize("where", ["mask", "padding"])
def test_rows_that_see_nothing_are_finite_and_equal_torchs(norm_first: bool, where: str) -> None:
    """Gradients too: torch records them on the path that is compared."""
    import array_api_compat.numpy as xp

    mask = np.zeros((S, S), bool)
    mask[1] = True
    call = {"mask": mask} if where == "mask" else {"src_key_padding_mask": ends(5, 0)}

    def build(nn: Any) -> Any:
        layer = nn.TransformerEncoderLayer(D, H, 6, 0.0, norm_first=norm_first, batch_first=True)
        return nn.TransformerEncoder(layer, 2)

    for training in (True, False):
        compare(xp, build, draw(N, S, D), training=training, **call)


def test_torchs_other_code_in_evaluation_differs_only_as_the_docstring_says() -> None:
    import array_api_compat.numpy as xp

    def run(norm_first: bool = False, **call: Any) -> tuple[np.ndarray, np.ndarray]:
        def build(nn: Any) -> Any:
            layer = nn.TransformerEncoderLayer(D, H, 6, norm_first=norm_first, batch_first=True)
            return nn.TransformerEncoder(layer, 2)

        ours, theirs = (m.eval() for m in pair(build, xp))
        x = draw(N, S, D)
        with torch.no_grad():
            y = theirs(given(torch, x), **{k: given(torch, v) for k, v in call.items()})
        return ours(x, **call), numpy_of(y)

    def agree(a: np.ndarray, b: np.ndarray) -> None:
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9)

    agree(*run())
    agree(*run(mask=later(S, S)))
    agree(*run(mask=later(S, S), src_key_padding_mask=ends(5, 3)))
    agree(*run(norm_first=True, src_key_padding_mask=ends(5, 3)))
    agree(*run(src_key_padding_mask=ends(5, 3)[:, ::-1].copy()))
    mine, theirs = run(src_key_padding_mask=ends(5, 3))
    seen = ~ends(5, 3)
    agree(mine[seen], theirs[seen])
    assert not theirs[~seen].any()
    assert mine[~seen].all()

    nowhere = np.zeros((S, S), bool)
    nowhere[1] = True
    mine, theirs = run(mask=nowhere)
    assert np.isfinite(mine).all()
    assert np.isnan(theirs[:, 1]).all()

    tilted = np.where(later(S, S), 0.5, 0.0)
    mine, theirs = run(mask=tilted)
    assert not np.allclose(mine, theirs)


# ---- initial weights, looks, copies


def test_the_causal_mask_is_torchs() -> None:
    for n in (0, 1, 4):
        mask = bp.nn.Transformer.generate_square_subsequent_mask(n)
        theirs = torch.nn.Transformer.generate_square_subsequent_mask(n)
        np.testing.assert_array_equal(mask, theirs.numpy())
        assert mask.dtype == np.float32
    assert bp.nn.Transformer.generate_square_subsequent_mask(2, dtype="float64").dtype == np.float64


def test_initial_weights_are_torchs_distribution() -> None:
    bp.seed(0)
    theirs = torch.nn.Transformer(32, 4, 1, 1, 64)
    ours = bp.nn.Transformer(32, 4, 1, 1, 64)
    for name, p in theirs.named_parameters():
        w = numpy_of(ours.get_parameter(name))
        assert w.dtype == np.float32
        if w.ndim > 1:  # xavier
            bound = (6 / sum(w.shape)) ** 0.5
            assert 0.97 * bound < abs(w).max() <= bound, name
        elif "linear" in name:
            assert 0.5 < abs(w).max() / abs(p.detach().numpy()).max() < 2, name
        else:
            assert np.array_equal(w, p.detach().numpy()), name


def test_layers_of_a_stack_begin_alike_and_a_transformers_apart() -> None:
    stack = bp.nn.TransformerEncoder(bp.nn.TransformerEncoderLayer(D, H, 6), 2)
    a, b = (layer.linear1.weight for layer in stack.layers)
    assert np.array_equal(a, b)
    assert a is not b
    a, b = (layer.linear1.weight for layer in bp.nn.Transformer(D, H, 2, 1, 6).encoder.layers)
    assert not np.array_equal(a, b)


@pytest.mark.parametrize(
    "build",
    [
        lambda nn: nn.Transformer(D, H, 2, 1, 6, bias=False),
        lambda nn: nn.Transformer(D, H, 1, 2, 6, activation=nn.GELU()),
        lambda nn: nn.TransformerEncoder(nn.TransformerEncoderLayer(D, H), 3, nn.LayerNorm(D)),
        lambda nn: nn.TransformerDecoder(nn.TransformerDecoderLayer(D, H), 2),
    ],
)
def test_they_look_as_in_torch(build: Any) -> None:
    """But for the name of torch's class of `out_proj`, which says only how it is quantised."""
    looks = repr(build(torch.nn)).replace("NonDynamicallyQuantizableLinear", "Linear")
    assert repr(build(bp.nn)) == looks


def test_copies_and_pickles_compute_the_same() -> None:
    model = bp.nn.Transformer(D, H, 1, 1, 6, activation=bp.nn.GELU())
    src, tgt = draw(S, N, D).astype(np.float32), draw(T, N, D).astype(np.float32)
    clones = copy.deepcopy(model), pickle.loads(pickle.dumps(model))
    y = model(src, tgt)  # with dropout
    for clone in clones:
        assert np.array_equal(clone(src, tgt), y)


# ---- dropout and training


def test_every_layer_of_a_stack_drops_other_numbers() -> None:
    bp.seed(0)
    model = bp.nn.Transformer(D, H, 3, 3, 64, 0.5)
    model(np.ones((S, N, D), np.float32), np.ones((T, N, D), np.float32))
    keys = {k: tuple(np.array(v)) for k, v in model.named_buffers() if k.endswith("key")}
    assert len(keys) == 3 * (1 + 3) + 3 * (2 + 4)
    assert len(set(keys.values())) == len(keys)
    layers = [m for m in model.modules() if isinstance(m, bp.nn.Dropout)]
    x = np.ones(64, np.float32)
    drawn = [m(x) for m in layers]
    for a, b in itertools.combinations(drawn, 2):
        assert not np.array_equal(a, b)


def test_dropout_is_the_same_in_every_library_and_gone_in_evaluation(xp: Any) -> None:
    import array_api_compat.numpy as plain

    src, tgt = draw(S, N, D), draw(T, N, D)

    def run(xp: Any) -> list[np.ndarray]:
        bp.seed(4)
        model = to_library(bp.nn.Transformer(D, H, 2, 2, 6, 0.3, dtype="float64"), xp)
        x = given(xp, src), given(xp, tgt)
        steps = [numpy_of(model(*x)) for _ in range(2)]
        model.eval()
        keys = {k: np.array(numpy_of(v)) for k, v in model.named_buffers()}
        steps += [numpy_of(model(*x)) for _ in range(2)]
        assert all(np.array_equal(numpy_of(v), keys[k]) for k, v in model.named_buffers())
        return steps

    first, second, rest, again = run(xp)
    assert not np.allclose(first, second)
    assert not np.allclose(first, rest)
    assert np.array_equal(rest, again)
    for mine, other in zip((first, second, rest, again), run(plain), strict=True):
        np.testing.assert_allclose(mine, other, rtol=0, atol=1e-9)


def test_steps_of_descent_equal_torchs(xp: Any) -> None:
    ours, theirs = pair(lambda nn: nn.Transformer(D, H, 1, 1, 6, 0.0, batch_first=True), xp)
    src, tgt, target = draw(N, S, D), draw(N, T, D), draw(N, T, D)
    optimizer = bp.optim.SGD(ours, lr=0.01, momentum=0.9)
    reference = torch.optim.SGD(theirs.parameters(), lr=0.01, momentum=0.9)

    def loss(m: Any) -> Any:
        return bp.functional.mse_loss(m(given(xp, src), given(xp, tgt)), given(xp, target))

    for _ in range(4):
        reference.zero_grad()
        y = theirs(given(torch, src), given(torch, tgt))
        torch.nn.functional.mse_loss(y, given(torch, target)).backward()
        reference.step()
        _, grads = bp.value_and_grad(loss)(ours)
        optimizer.step(grads)
    mine = ours.state_dict()
    for name, p in theirs.state_dict().items():
        np.testing.assert_allclose(numpy_of(mine[name]), p.numpy(), rtol=0, atol=1e-9, err_msg=name)


def test_a_gradient_with_dropout_inside_jax_jit() -> None:
    jax = pytest.importorskip("jax")
    src, tgt = draw(S, N, D), draw(T, N, D)

    def run(xp: Any, compiled: bool) -> dict[str, np.ndarray]:
        bp.seed(2)
        model = to_library(bp.nn.Transformer(D, H, 1, 1, 6, 0.2, dtype="float64"), xp)

        def gradients(src: Any, tgt: Any, mask: Any, padding: Any) -> Any:
            def loss(m: Any) -> Any:
                y = m(src, tgt, tgt_mask=mask, src_key_padding_mask=padding)
                return bp.array_namespace(y).sum(y * y)

            fresh = copy.deepcopy(model)  # what is compiled leaves no trace in the model
            return bp.grad(loss)(fresh)

        arrays = [given(xp, x) for x in (src, tgt, later(T, T), ends(5, 3))]
        found = (jax.jit(gradients) if compiled else gradients)(*arrays)
        return {k: numpy_of(v) for k, v in found.items()}

    import array_api_compat.numpy as plain

    mine, compiled = run(plain, False), run(jax.numpy, True)
    assert set(mine) == set(compiled)
    for k, v in mine.items():
        np.testing.assert_allclose(compiled[k], v, rtol=0, atol=1e-9, err_msg=k)


@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_a_compiled_step_trains_as_the_step_itself(dropout: float) -> None:
    src, tgt = draw(S, N, D).astype(np.float32), draw(T, N, D).astype(np.float32)
    mask, padding = bp.nn.Transformer.generate_square_subsequent_mask(T), ends(5, 3)
    model = bp.nn.Transformer(D, H, 1, 1, 12, dropout)

    def stepper(model: Any) -> Any:
        optimizer = bp.optim.AdamW(model, lr=1e-2)

        def step(src: Any, tgt: Any, mask: Any, padding: Any) -> Any:
            def loss(m: Any) -> Any:
                y = m(src, tgt, tgt_mask=mask, src_key_padding_mask=padding, tgt_is_causal=True)
                return bp.functional.mse_loss(y, tgt)

            value, grads = bp.value_and_grad(loss)(model)
            optimizer.step(grads)
            return value

        return step

    plain, compiled = stepper(copy.deepcopy(model)), bp.compile(stepper(model))
    for _ in range(5):
        assert float(plain(src, tgt, mask, padding)) == float(compiled(src, tgt, mask, padding))


def test_what_is_computed_again_drops_the_same_numbers() -> None:
    layer = bp.nn.TransformerEncoderLayer(D, H, 12, 0.5)
    clone, x = copy.deepcopy(layer), draw(S, N, D).astype(np.float32)
    found = bp.grad(lambda m, x: bp.array_namespace(x).sum(m(x) ** 2), 1)(layer, x)
    again = bp.grad(lambda m, x: bp.array_namespace(x).sum(bp.checkpoint(m)(x) ** 2), 1)(clone, x)
    assert np.array_equal(found, again)


# ---- bad input


def test_bad_settings_are_told() -> None:
    for activation in ("sine", None, ["relu"]):
        with pytest.raises(ValueError, match="expected activation 'relu', 'gelu' or a function"):
            bp.nn.TransformerEncoderLayer(4, 2, activation=activation)
    with pytest.raises(ValueError, match="embed_dim must be divisible by num_heads, got 4 and 3"):
        bp.nn.Transformer(4, 3)
    with pytest.raises(ValueError, match=r"expected dropout in \[0, 1\], got -0.1"):
        bp.nn.TransformerDecoderLayer(4, 2, dropout=-0.1)
    with pytest.raises(ValueError, match="expected num_layers of at least 0, got -1"):
        bp.nn.TransformerEncoder(bp.nn.TransformerEncoderLayer(4, 2), -1)


X = np.ones((3, 2, 4), dtype=np.float32)
LONG = np.ones((5, 2, 4), dtype=np.float32)
BAD: list[tuple[tuple[Any, ...], dict[str, Any], type[Exception], str]] = [
    ((X, X[:, :1, :]), {}, ValueError, r"Transformer: expected the same batch in axis 1 of both"),
    ((X, X[:, 0, :]), {}, ValueError, "expected both of 3 axes, or both of 2, got src"),
    ((X, X[..., :3]), {}, ValueError, r"expected d_model 4 in the last axis, got src \(3, 2, 4\)"),
    ((X, X.astype(int)), {}, TypeError, "expected a floating array as tgt, got dtype int64"),
    ((X, [1.0]), {}, TypeError, "expected an array as tgt, got list"),
    (
        (LONG, X),
        {"src_mask": np.zeros((3, 3), bool)},
        ValueError,
        r"'encoder.layers.0': expected src_mask \(5, 5\) or \(4, 5, 5\), got \(3, 3\)",
    ),
    (
        (LONG, X),
        {"memory_mask": np.zeros((5, 3), bool)},
        ValueError,
        r"Transformer: expected memory_mask \(3, 5\) or \(4, 3, 5\), got \(5, 3\)",
    ),
    (
        (LONG, X),
        {"tgt_mask": np.zeros((3, 3), int)},
        TypeError,
        "expected tgt_mask of truth values or floating numbers, got dtype int64",
    ),
    (
        (LONG, X),
        {"tgt_key_padding_mask": np.zeros((3, 2), bool)},
        ValueError,
        r"expected tgt_key_padding_mask \(2, 3\), got \(3, 2\)",
    ),
    ((LONG, X), {"src_key_padding_mask": [True]}, TypeError, "expected an array as src_key_padd"),
    ((X, X), {"src_is_causal": True}, ValueError, "is_causal=True says that src_mask is causal"),
    ((X, X), {"memory_is_causal": True}, ValueError, "says that memory_mask is causal, and there"),
]


@pytest.mark.parametrize(("args", "call", "error", "text"), BAD, ids=[b[3] for b in BAD])
def test_bad_input_is_told(
    args: Any, call: dict[str, Any], error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=text):
        bp.nn.Transformer(4, 2, 1, 1, 8)(*args, **call)


def test_a_decoder_checks_its_memory_first() -> None:
    layer = bp.nn.TransformerDecoderLayer(4, 2, 8, batch_first=True)
    with pytest.raises(
        ValueError, match=r"same batch in axis 0 of both, got tgt \(3, 2, 4\) and m"
    ):
        layer(X, LONG)
    with pytest.raises(ValueError, match="expected 3 axes, or 2, got src"):
        bp.nn.TransformerEncoderLayer(4, 2, 8)(X[0, 0, :])
