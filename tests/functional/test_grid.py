"""Reading images at coordinates, against torch."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch.nn.functional as theirs

import bpgpu as bp
from bpgpu import functional as ours
from bpgpu.errors import DtypeError, ShapeError
from torch_compare import compare, given

R = np.random.default_rng(0)
PADDING = ("zeros", "border", "reflection")


def draw(*shape: int) -> np.ndarray:
    return R.normal(size=shape)


@pytest.mark.parametrize("mode", ["bilinear", "nearest", "bicubic"])
@pytest.mark.parametrize(("padding", "corners"), list(itertools.product(PADDING, (False, True))))
def test_images(xp: Any, mode: str, padding: str, corners: bool) -> None:
    settings = {"mode": mode, "padding_mode": padding, "align_corners": corners}
    fixed = (1,) if mode == "nearest" else ()  # of which torch gives no second order
    for shape in ((2, 3, 4, 5), (1, 1, 1, 1), (1, 2, 1, 6), (0, 2, 3, 4)):
        x, grid = draw(*shape), draw(shape[0], 3, 4, 2) * 1.5
        compare(xp, ours.grid_sample, theirs.grid_sample, x, grid, fixed=fixed, **settings)
    x, grid = draw(1, 0, 2, 3), draw(1, 3, 4, 2)
    compare(xp, ours.grid_sample, theirs.grid_sample, x, grid, order=0, **settings)
    x, grid = draw(1, 2, 2, 3), draw(1, 0, 4, 2)
    compare(xp, ours.grid_sample, theirs.grid_sample, x, grid, order=0, **settings)


@pytest.mark.parametrize("mode", ["bilinear", "nearest"])
@pytest.mark.parametrize(("padding", "corners"), list(itertools.product(PADDING, (False, True))))
def test_volumes(xp: Any, mode: str, padding: str, corners: bool) -> None:
    settings = {"mode": mode, "padding_mode": padding, "align_corners": corners}
    x, grid = draw(2, 2, 3, 4, 5), draw(2, 2, 3, 2, 3) * 1.5
    fixed = (1,) if mode == "nearest" else ()
    compare(xp, ours.grid_sample, theirs.grid_sample, x, grid, fixed=fixed, **settings)


@pytest.mark.parametrize("mode", ["bilinear", "nearest", "bicubic"])
@pytest.mark.parametrize(("padding", "corners"), list(itertools.product(PADDING, (False, True))))
def test_places_that_are_none(xp: Any, mode: str, padding: str, corners: bool) -> None:
    settings = {"mode": mode, "padding_mode": padding, "align_corners": corners}
    for n in (2, 3):
        if n == 3 and mode == "bicubic":
            continue
        for axis in range(n):
            grid = np.full((1, *[1] * (n - 1), 6, n), 0.1)
            grid[..., axis] = [np.nan, np.inf, -np.inf, 0.0, 5.0, -7.0]
            x = draw(1, 2, *(3, 4, 5)[:n])
            compare(xp, ours.grid_sample, theirs.grid_sample, x, grid, order=0, **settings)


def test_halfway_between_pixels_the_even_one_is_nearest(xp: Any) -> None:
    grid = np.stack(np.meshgrid(np.linspace(-1, 1, 9), np.linspace(-1, 1, 5)), axis=-1)[None]
    settings = {"mode": "nearest", "align_corners": True}
    compare(xp, ours.grid_sample, theirs.grid_sample, draw(1, 1, 3, 5), grid, order=0, **settings)


def test_the_grid_gets_a_gradient_of_zero_from_nearest_pixels(xp: Any) -> None:
    x, grid = given(xp, draw(1, 1, 3, 3)), given(xp, draw(1, 2, 2, 2))

    def f(grid: Any) -> Any:
        y = ours.grid_sample(x, grid, "nearest", align_corners=False)
        return bp.array_namespace(y, grid).sum(grid * 0) + bp.array_namespace(y).sum(y)

    assert not np.asarray(bp.grad(f)(grid)).any()


def test_corners_are_not_aligned_unless_asked(xp: Any) -> None:
    x, grid = draw(1, 1, 3, 4), draw(1, 2, 2, 2)
    theta = draw(1, 2, 3)

    def their_sample(x: Any, grid: Any) -> Any:
        return theirs.grid_sample(x, grid, align_corners=False)

    def their_grid(theta: Any) -> Any:
        return theirs.affine_grid(theta, [1, 1, 2, 3], align_corners=False)

    compare(xp, ours.grid_sample, their_sample, x, grid)
    compare(xp, lambda theta: ours.affine_grid(theta, (1, 1, 2, 3)), their_grid, theta)


@pytest.mark.parametrize("corners", [False, True])
@pytest.mark.filterwarnings("ignore:Since version 1.3.0, affine_grid")
def test_affine_grid(xp: Any, corners: bool) -> None:
    for theta, size in (
        (draw(2, 2, 3), (2, 1, 3, 4)),
        (draw(1, 2, 3), (1, 1, 1, 1)),
        (draw(2, 3, 4), (2, 1, 3, 1, 2)),
    ):
        compare(xp, ours.affine_grid, theirs.affine_grid, theta, size, corners)


def test_dtypes_stay() -> None:
    x, theta = draw(1, 1, 3, 4).astype("f4"), draw(1, 2, 3).astype("f4")
    grid = ours.affine_grid(theta, (1, 1, 2, 2))
    assert grid.dtype == "f4"
    for mode in ("bilinear", "nearest", "bicubic"):
        for padding in PADDING:
            y, pull = bp.vjp(lambda x, g, s=(mode, padding): ours.grid_sample(x, g, *s), x, grid)
            assert y.dtype == "f4"
            assert all(g.dtype == "f4" for g in pull(y))


@pytest.mark.parametrize(
    ("shapes", "settings", "text"),
    [
        (
            ((1, 1, 3, 3), (2, 2, 2, 2)),
            {},
            r"grid \(1, H', W', 2\) for an input \(1, 1, 3, 3\), got",
        ),
        (((1, 1, 3, 3), (1, 2, 2, 3)), {}, r"grid \(1, H', W', 2\)"),
        (((1, 1, 3, 3), (1, 2, 2, 2, 3)), {}, r"grid \(1, H', W', 2\)"),
        (((1, 1, 3, 3, 3), (1, 2, 2, 3)), {}, r"grid \(1, D', H', W', 3\)"),
        (((3, 3), (1, 2, 2, 2)), {}, r"expected input \(N, C, H, W\) or \(N, C, D, H, W\)"),
        (((1, 1, 0, 3), (1, 2, 2, 2)), {}, "expected an input with pixels"),
        (((1, 1, 3, 3), (1, 2, 2, 2)), {"mode": "linear"}, "mode as one of 'bilinear'"),
        (((1, 1, 3, 3), (1, 2, 2, 2)), {"padding_mode": "wrap"}, "padding_mode as one of 'zeros'"),
        (((1, 1, 3, 3, 3), (1, 2, 2, 2, 3)), {"mode": "bicubic"}, "'bicubic' is for images"),
    ],
)
def test_what_does_not_fit_is_told(shapes: Any, settings: Any, text: str) -> None:
    with pytest.raises(ValueError, match=f"grid_sample: .*{text}"):
        ours.grid_sample(*(draw(*shape) for shape in shapes), **settings)


def test_wrong_dtypes_and_sizes_are_told() -> None:
    with pytest.raises(DtypeError, match="expected input of dtype float64, which grid has"):
        ours.grid_sample(draw(1, 1, 3, 3).astype("f4"), draw(1, 2, 2, 2))
    with pytest.raises(DtypeError, match="affine_grid: expected a floating array as theta"):
        ours.affine_grid(np.ones((1, 2, 3), "i8"), (1, 1, 2, 2))
    with pytest.raises(ShapeError, match=r"expected theta \(2, 2, 3\) for size \(2, 1, 2, 2\)"):
        ours.affine_grid(draw(1, 2, 3), (2, 1, 2, 2))
    with pytest.raises(ShapeError, match="expected size of at least 1"):
        ours.affine_grid(draw(1, 2, 3), (1, 1, 0, 2))
    for size in ((2, 2), 4):
        with pytest.raises(ShapeError, match=r"expected size \(N, C, H, W\) or \(N, C, D, H, W\)"):
            ours.affine_grid(draw(1, 2, 3), size)  # type: ignore[arg-type]
