"""Resizing, against torch in every mode."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as theirs

from bpgpu import functional as ours
from bpgpu.errors import DtypeError, ShapeError
from torch_compare import compare

R = np.random.default_rng(0)
SIGNAL, IMAGE, VOLUME = (R.normal(size=s) for s in ((2, 3, 5), (2, 2, 5, 7), (1, 2, 3, 4, 5)))
SMOOTH = [("linear", SIGNAL), ("bilinear", IMAGE), ("bicubic", IMAGE), ("trilinear", VOLUME)]
FACTORS = (0.4, 0.5, 1.0, 1.5, 2, 2.6, 3.0)


@pytest.mark.parametrize("size", [1, 2, 3, 5, 7, 11])
@pytest.mark.parametrize("mode", ["nearest", "nearest-exact", "area"])
def test_pixels_to_a_size(xp: Any, mode: str, size: int) -> None:
    for x in (SIGNAL, IMAGE, VOLUME):
        compare(xp, ours.interpolate, theirs.interpolate, x, size, mode=mode)


@pytest.mark.parametrize("factor", FACTORS)
@pytest.mark.parametrize("recompute", [None, False, True])
@pytest.mark.parametrize("mode", ["nearest", "nearest-exact", "area"])
def test_pixels_by_a_factor(xp: Any, mode: str, recompute: bool | None, factor: float) -> None:
    settings = {"scale_factor": factor, "mode": mode, "recompute_scale_factor": recompute}
    for x in (SIGNAL, IMAGE, VOLUME):
        compare(xp, ours.interpolate, theirs.interpolate, x, **settings)


@pytest.mark.parametrize("size", [1, 2, 3, 5, 7, 11])
@pytest.mark.parametrize("align_corners", [None, False, True])
@pytest.mark.parametrize(("mode", "x"), SMOOTH)
def test_between_pixels_to_a_size(
    xp: Any, mode: str, x: np.ndarray, align_corners: bool | None, size: int
) -> None:
    settings = {"mode": mode, "align_corners": align_corners}
    compare(xp, ours.interpolate, theirs.interpolate, x, size, **settings)


@pytest.mark.parametrize("factor", FACTORS)
@pytest.mark.parametrize("recompute", [None, True])
@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize(("mode", "x"), SMOOTH)
def test_between_pixels_by_a_factor(
    xp: Any, mode: str, x: np.ndarray, align_corners: bool, recompute: bool | None, factor: float
) -> None:
    settings = {"mode": mode, "align_corners": align_corners, "recompute_scale_factor": recompute}
    compare(xp, ours.interpolate, theirs.interpolate, x, scale_factor=factor, **settings)


@pytest.mark.parametrize("align_corners", [None, True])
@pytest.mark.parametrize("mode", ["bilinear", "bicubic", "lanczos"])
def test_without_aliasing(xp: Any, mode: str, align_corners: bool | None) -> None:
    if mode == "lanczos" and align_corners:
        pytest.skip("torch has no such thing")
    settings = {"mode": mode, "align_corners": align_corners, "antialias": True}
    for size in (1, 2, 4, 5, 7, 11, (3, 9)):
        compare(xp, ours.interpolate, theirs.interpolate, IMAGE, size, **settings)
    for factor in (0.3, 0.5, 1.5, (2.6, 0.4)):
        if factor == 0.3:
            compare(
                xp, ours.interpolate, theirs.interpolate, IMAGE, scale_factor=factor, **settings
            )


def test_sizes_and_factors_for_each_axis(xp: Any) -> None:
    f, g = ours.interpolate, theirs.interpolate
    compare(xp, f, g, IMAGE, (3, 9), mode="bilinear")
    compare(xp, f, g, IMAGE, [9, 3], mode="bicubic")
    compare(xp, f, g, IMAGE, scale_factor=(0.5, 2.2), mode="bilinear")
    compare(xp, f, g, VOLUME, scale_factor=(2, 0.5, 1.5), mode="trilinear")


def test_examples_may_be_absent_and_memory_in_any_order(xp: Any) -> None:
    for mode in ("nearest", "area", "bilinear", "bicubic"):
        compare(xp, ours.interpolate, theirs.interpolate, IMAGE[:0], 3, mode=mode)
        compare(xp, ours.interpolate, theirs.interpolate, IMAGE.T, 3, mode=mode)
        compare(xp, ours.interpolate, theirs.interpolate, IMAGE[:, :, :1, :1], 3, mode=mode)


def test_nan_spreads_no_further_than_its_weights() -> None:
    x = np.ones((1, 1, 8))
    x[0, 0, 2] = np.nan
    for mode, lost in (("nearest", 2), ("linear", 6)):
        y = ours.interpolate(x, scale_factor=2, mode=mode)
        assert np.isnan(y).sum() == lost if mode == "nearest" else np.isnan(y).sum() <= lost


def test_the_nearest_pixel_is_that_of_torch_for_every_size() -> None:
    for size in range(1, 40, 3):
        x = np.arange(float(size), dtype="f4").reshape(1, 1, size, 1)
        for count in range(1, 90):
            for mode in ("nearest", "nearest-exact"):
                compare_single(x, (count, 1), mode)


def compare_single(x: np.ndarray, size: tuple[int, int], mode: str) -> None:
    import torch

    expected = theirs.interpolate(torch.from_numpy(x), size, mode=mode)
    np.testing.assert_array_equal(ours.interpolate(x, size, mode=mode), expected)


def test_where_torchs_value_and_gradient_contradict_each_other_ours_do_not() -> None:
    """With a factor that leaves the size as it is, torch resizes forward and copies backward."""
    import bpgpu as bp

    x = R.normal(size=(1, 1, 5, 7))
    for mode in ("nearest", "bicubic"):
        bp.check_grads(lambda x, m=mode: ours.interpolate(x, scale_factor=1.1, mode=m), (x,))


@pytest.mark.parametrize("factor", [1.1, 1.3, 2.3])
@pytest.mark.parametrize("axes", [1, 2, 3])
def test_a_factor_that_keeps_or_doubles_a_size_after_rounding(axes: int, factor: float) -> None:
    """Torch makes images of the rounded size; signals and volumes it reads at steps of the factor."""
    x = R.normal(size=(1, 2, *(3, 2, 3)[:axes]))
    expected = theirs.interpolate(torch.from_numpy(x), scale_factor=factor)
    np.testing.assert_array_equal(ours.interpolate(x, scale_factor=factor), expected)


def test_dtypes_stay_and_integers_have_nearest_pixels() -> None:
    for mode in ("nearest", "bilinear", "area", "bicubic"):
        for dtype in ("f2", "f4"):
            assert ours.interpolate(IMAGE.astype(dtype), 3, mode=mode).dtype == dtype
    x = np.asarray([[[1, 2]]], dtype="u1")
    np.testing.assert_array_equal(ours.interpolate(x, 4), [[[1, 1, 2, 2]]])
    assert ours.interpolate(x, 4).dtype == "u1"


@pytest.mark.parametrize(
    ("x", "settings", "text"),
    [
        (SIGNAL, {}, "expected size or scale_factor, got neither"),
        (SIGNAL, {"size": 2, "scale_factor": 2.0}, "expected size or scale_factor, got both"),
        (SIGNAL, {"size": 2, "mode": "cubic"}, "expected mode as one of 'nearest'"),
        (SIGNAL, {"size": 2, "mode": "bilinear"}, r"input \(N, C, H, W\) for mode='bilinear'"),
        (IMAGE, {"size": 2, "mode": "linear"}, r"expected input \(N, C, L\) for mode='linear'"),
        (IMAGE[0, 0], {"size": 2}, r"\(N, C, L\) or \(N, C, H, W\) or \(N, C, D, H, W\)"),
        (SIGNAL, {"size": 2, "align_corners": False}, "align_corners is for linear and cubic"),
        (SIGNAL, {"size": 2, "recompute_scale_factor": True}, "needs scale_factor"),
        (SIGNAL, {"size": (2, 3)}, "size as an integer, or one for each of the 1 axes"),
        (SIGNAL, {"size": 2.5}, "expected size as an integer"),
        (SIGNAL, {"scale_factor": "2"}, "expected scale_factor as a number"),
        (SIGNAL, {"size": 0}, r"a result of size at least 1 along each axis, got \(0,\)"),
        (SIGNAL, {"scale_factor": 0.1}, r"size at least 1 along each axis, got \(0,\)"),
        (SIGNAL, {"scale_factor": -1.0}, "size at least 1"),
        (SIGNAL[:, :0], {"size": 3}, "only the first axis, N, may have size 0"),
        (SIGNAL[..., :0], {"size": 3}, "only the first axis, N, may have size 0"),
        (SIGNAL, {"size": 3, "antialias": True}, "antialias=True is for 'bilinear'"),
        (IMAGE, {"size": 3, "mode": "lanczos"}, "mode='lanczos' needs antialias=True"),
    ],
)
def test_what_does_not_go_together_is_told(x: Any, settings: Any, text: str) -> None:
    with pytest.raises(ValueError, match=f"interpolate: .*{text}"):
        ours.interpolate(x, **settings)


def test_wrong_dtypes_are_told() -> None:
    with pytest.raises(DtypeError, match="expected a floating array as input"):
        ours.interpolate(np.ones((1, 1, 2, 2), "u1"), 3, mode="bilinear")
    with pytest.raises(DtypeError, match="expected real numbers as input"):
        ours.interpolate(SIGNAL + 0j, 3)
    with pytest.raises(ShapeError):
        ours.interpolate(SIGNAL, True and (1, 2))
