"""Layers against torch's: outputs, gradients, state, looks, initial weights, bad arguments."""

from __future__ import annotations

import copy
import inspect
import pickle
from typing import Any

import numpy as np
import pytest
import torch

import bpgpu as bp
from bpgpu import nn
from gradients import numpy_of
from nn.layer_cases import CASES
from nn.layers_against_torch import Case, both, compare_layers, to_library
from torch_compare import given, outputs

LEFT_OUT = ("self", "size_average", "reduce")


@pytest.mark.parametrize("c", CASES, ids=str)
def test_a_layer_computes_what_torch_computes(xp: Any, c: Case) -> None:
    compare_layers(xp, c)


@pytest.mark.parametrize("c", CASES, ids=str)
def test_a_layer_looks_as_in_torch(c: Case) -> None:
    ours, theirs = both(__import__("array_api_compat.numpy").numpy, c)
    looks = repr(theirs).replace("NonDynamicallyQuantizableLinear", "Linear")  # of attention
    assert repr(ours) == looks


@pytest.mark.parametrize("c", CASES, ids=str)
def test_a_layer_keeps_float32_and_can_be_copied(c: Case) -> None:
    layer = getattr(nn, c.name)(*c.args, **c.kwargs).to(dtype="float32")
    inputs = [single(x) for x in c.inputs]
    call = {k: single(x) for k, x in c.call.items()}
    clone = pickle.loads(pickle.dumps(layer))
    y, again = outputs(layer(*inputs, **call))[0], outputs(clone(*inputs, **call))[0]
    assert y.dtype == np.float32
    assert np.array_equal(y, again, equal_nan=True)
    assert repr(clone) == repr(layer) == repr(copy.deepcopy(layer))


def single(x: Any) -> Any:
    is_double = isinstance(x, np.ndarray) and x.dtype == np.float64
    return x.astype(np.float32) if is_double else x


COMPILED = {
    "BatchNorm2d",
    "Conv2d",
    "ConvTranspose2d",
    "CrossEntropyLoss",
    "Embedding",
    "GELU",
    "LayerNorm",
    "Linear",
    "LocalResponseNorm",
    "MultiheadAttention",
    "AdaptiveAvgPool2d",
    "AvgPool2d",
    "MaxPool2d",
    "PixelShuffle",
    "Transformer",
    "TransformerDecoderLayer",
    "TransformerEncoderLayer",
    "UpsamplingBilinear2d",
}
FIRST_OF_EACH = {c.name: c for c in reversed(CASES)}


@pytest.mark.parametrize("name", sorted(COMPILED))
def test_a_layer_gives_the_same_inside_jax_jit(name: str) -> None:
    jax = pytest.importorskip("jax")
    c = FIRST_OF_EACH[name]
    layer = getattr(nn, name)(*c.args, **c.kwargs).to(dtype="float64").eval()

    def gradients(*inputs: Any) -> list[Any]:
        def loss(m: Any, first: Any) -> Any:
            y = outputs(m(first, *inputs[1:]))[0]
            return bp.array_namespace(y).sum(y * y)

        if not layer.trainable():
            return [bp.grad(lambda x: loss(layer, x))(inputs[0])]
        return list(bp.grad(loss)(layer, inputs[0]).values())

    plain = gradients(*c.inputs)
    to_library(layer, jax.numpy)
    compiled = jax.jit(gradients)(*map(jax.numpy.asarray, c.inputs))
    for a, b in zip(plain, compiled, strict=True):
        assert np.allclose(a, b, rtol=0, atol=1e-10)


@pytest.mark.parametrize("name", sorted({c.name for c in CASES}))
def test_a_layer_has_the_arguments_of_torch(name: str) -> None:
    ours = inspect.signature(getattr(nn, name).__init__).parameters.values()
    theirs = inspect.signature(getattr(torch.nn, name).__init__).parameters.values()
    wanted = [_described(p) for p in theirs if p.name not in LEFT_OUT]
    assert [_described(p) for p in ours if p.name != "self"] == wanted


def _described(p: inspect.Parameter) -> tuple[Any, ...]:
    """An argument; a function that stands for a default by its name."""
    return p.name, p.kind, getattr(p.default, "__name__", p.default)


def test_functional_is_at_hand_as_in_torch() -> None:
    import bpgpu.nn.functional as F  # noqa: N812 - as in torch

    assert F is nn.functional is bp.functional


# ---- initial weights


@pytest.mark.parametrize(
    ("name", "args", "bound"),
    [
        ("Linear", (50, 40), 50**-0.5),
        ("Bilinear", (40, 10, 8), 40**-0.5),
        ("Conv1d", (16, 40, 5), 80**-0.5),
        ("Conv2d", (16, 40, 3, 1, 0, 1, 2), 72**-0.5),
        ("ConvTranspose2d", (16, 40, 3, 1, 0, 0, 2), 180**-0.5),
    ],
)
def test_weights_are_uniform_up_to_the_bound_of_torch(
    name: str, args: tuple[Any, ...], bound: float
) -> None:
    bp.seed(1)
    layer = getattr(nn, name)(*args)
    for w in (layer.weight, layer.bias):
        assert abs(w).max() < bound
        assert abs(w).max() > 0.8 * bound
    assert abs(layer.weight.std() / (bound / 3**0.5) - 1) < 0.05
    assert layer.weight.dtype == np.float32
    assert getattr(nn, name)(*args, dtype="float64").weight.dtype == np.float64


def test_an_embedding_is_normal_with_a_row_of_zeros_for_padding() -> None:
    bp.seed(1)
    w = nn.Embedding(100, 60, padding_idx=-1).weight
    assert abs(w[:-1].std() - 1) < 0.05
    assert not w[-1].any()


def test_weights_come_from_the_seed() -> None:
    bp.seed(3)
    first = nn.Linear(3, 4).weight
    bp.seed(3)
    assert (nn.Linear(3, 4).weight == first).all()
    assert (nn.Linear(3, 4).weight != first).all()


# ---- embedding


def test_a_pretrained_embedding_is_frozen_unless_asked() -> None:
    table = np.asarray([[1.0, 2.0], [3.0, 4.0]])
    layer = nn.Embedding.from_pretrained(table)
    assert layer.weight is table
    assert not layer.trainable()
    assert list(nn.Embedding.from_pretrained(table, freeze=False).trainable()) == ["weight"]
    assert repr(nn.Embedding.from_pretrained(table, padding_idx=1, max_norm=2.0)) == (
        "Embedding(2, 2, padding_idx=1, max_norm=2.0)"
    )
    with pytest.raises(ValueError, match=r"expected a table \(num_embeddings, embedding_dim\)"):
        nn.Embedding.from_pretrained(np.ones(3))


# ---- dropout


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("Dropout", (4, 5)),
        ("Dropout1d", (4, 5, 3)),
        ("Dropout2d", (4, 5, 3, 3)),
        ("Dropout3d", (4, 5, 2, 2, 2)),
        ("AlphaDropout", (4, 5)),
        ("FeatureAlphaDropout", (4, 5, 3)),
        ("RReLU", (4, 5)),
    ],
)
def test_random_layers_draw_anew_at_each_call_and_the_same_in_every_library(
    xp: Any, name: str, shape: tuple[int, ...]
) -> None:
    def run(xp: Any) -> list[np.ndarray]:
        bp.seed(5)
        layer = getattr(nn, name)()
        x = given(xp, -np.ones(shape))
        steps = [numpy_of(layer(x)) for _ in range(2)]
        bp.grad(lambda m, x: bp.array_namespace(x).sum(m(x)), 1)(layer, x)
        return [*steps, numpy_of(layer(x)), numpy_of(layer.eval()(x))]

    first, second, fourth, at_rest = run(xp)
    assert (first != second).any()
    assert (fourth != first).any()
    assert (fourth != second).any()
    if name != "RReLU":
        assert (at_rest == -1).all()
    import array_api_compat.numpy as plain

    for mine, other in zip((first, second, fourth, at_rest), run(plain), strict=True):
        assert np.allclose(mine, other, rtol=0, atol=1e-15)


def test_the_keys_of_dropout_are_state_that_is_not_saved() -> None:
    model = nn.Sequential(nn.Dropout(), nn.Dropout())
    assert not model.state_dict()
    assert list(model.buffers()) == ["0.key", "1.key"]
    assert (model[0].key != model[1].key).any()


def test_a_recomputed_dropout_draws_the_same() -> None:
    x, layer = np.ones((3, 4)), nn.Dropout()
    before = layer.key.copy()
    y, pull = bp.vjp(bp.checkpoint(layer), x)
    (g,) = pull(np.ones_like(x))
    assert (g == y).all()
    assert (layer.key == bp.random.advance(before)).all()


# ---- running statistics


def test_a_failed_step_leaves_running_statistics_as_they_were() -> None:
    layer = nn.BatchNorm1d(3)

    def fails(m: Any, x: Any) -> Any:
        m(x)
        raise RuntimeError("after the forward pass")

    with pytest.raises(RuntimeError, match="after"):
        bp.grad(fails)(layer, np.ones((4, 3), dtype=np.float32))
    assert not layer.running_mean.any()
    assert int(layer.num_batches_tracked) == 0


def test_running_statistics_stay_where_they_are_in_memory() -> None:
    layer = nn.BatchNorm1d(3)
    mean, count = layer.running_mean, layer.num_batches_tracked
    x = np.asarray([[1.0, 2.0, 3.0], [3.0, 2.0, 1.0]], dtype=np.float32)
    bp.grad(lambda m, x: bp.array_namespace(x).sum(m(x)))(layer, x)
    assert layer.running_mean is mean
    assert layer.num_batches_tracked is count
    assert np.allclose(mean, 0.2)
    assert int(count) == 1


def test_a_recomputed_batch_norm_learns_once() -> None:
    layer, x = nn.BatchNorm1d(2, dtype="float64"), np.asarray([[1.0, 5.0], [3.0, 5.0]])
    _, pull = bp.vjp(lambda x: bp.checkpoint(layer)(x), x)
    pull(np.ones_like(x))
    assert np.allclose(layer.running_mean, [0.2, 0.5])
    assert int(layer.num_batches_tracked) == 1


def test_an_instance_norm_without_numbers_to_a_channel_warns_of_other_channels() -> None:
    with pytest.warns(UserWarning, match=r"InstanceNorm1d: expected input of 3 channels"):
        nn.InstanceNorm1d(3)(np.ones((2, 4, 5)))


# ---- errors


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: nn.Linear(2.5, 3), "Linear: expected in_features as an integer, got 2.5"),
        (lambda: nn.Linear(2, -3), "Linear: expected out_features of at least 0, got -3"),
        (lambda: nn.Bilinear(0, 1, 1), "Bilinear: expected in1_features of at least 1, got 0"),
        (lambda: nn.Unflatten("C", (1, 2)), "Unflatten: expected an axis and a tuple of sizes"),
        (lambda: nn.Embedding(3, 2, 3), r"Embedding: expected padding_idx in \[-3, 3\), got 3"),
        (lambda: nn.Embedding(3, 2, sparse=True), "Embedding: expected sparse=False"),
        (lambda: nn.Embedding(3, 2, _weight=np.ones((2, 2))), r"a table of shape \(3, 2\), got"),
        (lambda: nn.Dropout(1.5), r"Dropout: expected p in \[0, 1\], got 1.5"),
        (lambda: nn.GELU("exact"), "GELU: expected approximate as 'none' or 'tanh', got 'exact'"),
        (lambda: nn.CELU(0.0), "CELU: expected alpha other than 0"),
        (lambda: nn.RReLU(0.5, 0.1), "RReLU: expected lower <= upper, got 0.5 and 0.1"),
        (lambda: nn.Hardtanh(1.0, 1.0), "Hardtanh: expected min_val < max_val, got 1.0 and 1.0"),
        (lambda: nn.Softshrink(-1.0), "Softshrink: expected lambd of at least 0, got -1.0"),
        (lambda: nn.BatchNorm1d(-1), "BatchNorm1d: expected num_features of at least 0, got -1"),
        (lambda: nn.GroupNorm(2, 3), "GroupNorm: num_groups=2 must divide num_channels=3"),
        (lambda: nn.LayerNorm((2, 0.5)), "LayerNorm: expected normalized_shape as an integer or a"),
        (lambda: nn.LocalResponseNorm(0), "LocalResponseNorm: expected size of at least 1, got 0"),
        (
            lambda: nn.Conv2d(3, 4, (3, 3, 3)),
            "Conv2d: expected kernel_size as an integer or a tuple",
        ),
        (lambda: nn.Conv2d(3, 4, 0), "Conv2d: expected kernel_size of at least 1, got 0"),
        (lambda: nn.Conv2d(3, 4, 3, groups=2), "Conv2d: groups=2 must divide in_channels=3"),
        (lambda: nn.Conv1d(3, 4, 3, 2, "same"), r"Conv1d: padding='same' needs stride 1, got"),
        (lambda: nn.Conv1d(3, 4, 3, 1, "full"), "Conv1d: expected padding as 'same', 'valid' or"),
        (lambda: nn.Conv1d(3, 4, 3, padding_mode="wrap"), "expected padding_mode as one of zeros"),
        (lambda: nn.ConvTranspose1d(3, 4, 3, padding_mode="reflect"), "padding_mode 'zeros', got"),
        (lambda: nn.MSELoss("average"), "MSELoss: expected reduction as 'none', 'mean' or 'sum'"),
        (lambda: nn.HuberLoss(delta=0.0), "HuberLoss: expected delta above 0, got 0.0"),
        (lambda: nn.SmoothL1Loss(beta=-1.0), "SmoothL1Loss: expected beta of at least 0, got -1.0"),
        (lambda: nn.CrossEntropyLoss(label_smoothing=2.0), r"label_smoothing in \[0, 1\], got 2.0"),
        (lambda: nn.Unfold((2, 0)), r"Unfold: expected kernel_size of at least 1, got \(2, 0\)"),
        (lambda: nn.Fold(-1, 1), "Fold: expected output_size of at least 0, got -1"),
        (lambda: nn.MultiMarginLoss(3), "MultiMarginLoss: expected p as 1 or 2, got 3"),
        (lambda: nn.MultiMarginLoss(weight=np.ones((2, 2))), r"expected weight \(C,\), got shape"),
        (lambda: nn.TripletMarginLoss(0.0), "TripletMarginLoss: expected margin above 0, got 0.0"),
        (
            lambda: nn.ZeroPad2d((1, 2)),
            r"ZeroPad2d: expected padding as an integer or a tuple of 4",
        ),
        (lambda: nn.CircularPad1d(0.5), "CircularPad1d: expected padding as an integer or a tuple"),
        (lambda: nn.MaxPool2d(0), "MaxPool2d: expected kernel_size of at least 1, got 0"),
        (lambda: nn.AvgPool2d((2, 2, 2)), "AvgPool2d: expected kernel_size as an integer or a"),
        (lambda: nn.PixelShuffle(0), "PixelShuffle: expected upscale_factor of at least 1, got 0"),
        (lambda: nn.PReLU(0), "PReLU: expected num_parameters of at least 1, got 0"),
    ],
)
def test_arguments_that_make_no_sense_raise_at_construction(make: Any, text: str) -> None:
    with pytest.raises((ValueError, TypeError), match=text):
        make()


@pytest.mark.parametrize(
    ("layer", "shape", "text"),
    [
        (nn.Linear(6, 3), (2, 5), r"Linear '0': linear: expected input \(..., 6\), got \(2, 5\)"),
        (nn.Flatten(1, 0), (2, 5), "Flatten '0': flatten: expected start_dim before end_dim"),
        (nn.Unflatten(1, (2, 2)), (2, 5), "Unflatten '0': unflatten: expected sizes that multiply"),
        (
            nn.Unflatten(1, (0, -1)),
            (2, 5),
            "Unflatten '0': unflatten: expected sizes that multiply",
        ),
        (nn.BatchNorm1d(3), (2, 3, 1, 1), r"'0': expected input \(N, C\) or \(N, C, L\), got"),
        (nn.BatchNorm1d(3), (2, 4), "'0': expected input of 3 channels, got"),
        (nn.BatchNorm1d(3), (1, 3), "'0': batch_norm: expected more than one value for each"),
        (nn.InstanceNorm1d(3, affine=True), (2, 4, 5), "'0': expected input of 3 channels, got"),
        (nn.GroupNorm(1, 3), (2, 4), r"'0': expected input \(N, 3, ...\), got \(2, 4\)"),
        (nn.LayerNorm(3), (2, 4), "LayerNorm '0': layer_norm: expected input"),
        (
            nn.Conv2d(16, 4, 3),
            (32, 3, 28, 28),
            r"Conv2d '0': expected input \(N, 16, H, W\), got \(32, 3, 28, 28\): in_channels is 16; did",
        ),
        (nn.ConvTranspose1d(3, 4, 3), (2, 5), r"'0': expected input \(3, L\), got \(2, 5\)"),
        (nn.Conv2d(3, 4, 3), (1, 3, 2, 5), r"Conv2d '0': conv2d: the kernel reaches over \(3, 3\)"),
        (nn.ReflectionPad2d(1), (2, 5), r"'0': expected input \(N, C, H, W\) or \(C, H, W\), got"),
        (nn.ReflectionPad1d(5), (1, 2, 5), "ReflectionPad1d '0': pad: "),
        (nn.MaxPool2d(2), (2, 3), r"MaxPool2d '0': max_pool2d: expected input \(N, C, H, W\) or"),
        (nn.MaxPool2d(5), (1, 2, 3, 3), r"MaxPool2d '0': max_pool2d: the window reaches over"),
        (nn.MaxPool1d(2, 1, 2), (1, 2, 3), "'0': max_pool1d: expected padding of at most half of"),
        (
            nn.AdaptiveAvgPool2d((1, 2, 3)),
            (1, 2, 3, 3),
            "'0': adaptive_avg_pool2d: expected output",
        ),
        (nn.PixelShuffle(2), (1, 2, 3, 3), "'0': pixel_shuffle: expected a multiple of 4 channels"),
        (nn.Softmax2d(), (2, 5), r"Softmax2d '0': expected input \(N, C, H, W\) or \(C, H, W\)"),
    ],
)
def test_inputs_that_do_not_fit_raise_with_the_layers_path(
    layer: Any, shape: tuple[int, ...], text: str
) -> None:
    with pytest.raises(bp.errors.ShapeError, match=text):
        nn.Sequential(layer)(np.ones(shape, dtype=np.float32))


def test_an_output_size_out_of_reach_is_told() -> None:
    up, x = nn.ConvTranspose1d(1, 1, 3, stride=2), np.ones((1, 1, 4), dtype=np.float32)
    assert up(x, output_size=(10,)).shape == (1, 1, 10)
    with pytest.raises(
        bp.errors.ShapeError, match=r"output_size from \(9,\) to \(10,\), got \(11,\)"
    ):
        up(x, output_size=[11])
    with pytest.raises(bp.errors.ShapeError, match="expected output_size of 1 sizes"):
        up(x, output_size=[10, 10])


def test_the_old_names_of_hardtanh_are_told() -> None:
    with pytest.warns(FutureWarning, match="min_value is called min_val now"):
        assert nn.Hardtanh(min_value=-2.0).min_val == -2.0
