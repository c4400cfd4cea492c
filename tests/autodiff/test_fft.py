"""Fourier transforms: values and gradients against JAX, torch and central differences."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import bpgpu as bp
from gradients import check, close, numpy_of, to, weights
from torch_compare import compare

NORMS = ("backward", "ortho", "forward")
TO_COMPLEX = ("rfft", "ihfft")
TO_REAL = ("irfft", "hfft")
COMPLEX = ("fft", "ifft")


def array(*shape: int, complex: bool) -> np.ndarray:
    """Fixed numbers, complex or real."""
    x = np.sin(1.3 * np.arange(int(np.prod(shape)), dtype=float) + 0.4).reshape(shape)
    return x + 1j * np.cos(2.1 * x) if complex else x


def is_real(name: str) -> bool:
    return name.removesuffix("n") in ("rfft", "ihfft")


def compare_with_torch(xp: Any, name: str, x: np.ndarray, **settings: Any) -> None:
    """Value, first and second order of the square of a transform. torch calls an axis `dim`."""
    import torch

    theirs = {"dim" if k in ("axis", "axes") else k: v for k, v in settings.items()}
    compare(
        xp,
        lambda x: getattr(bp.array_namespace(x).fft, name)(x, **settings) ** 2,
        lambda x: getattr(torch.fft, name)(x, **theirs) ** 2,
        x,
    )


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("name", COMPLEX + TO_COMPLEX + TO_REAL)
def test_transform_of_every_length_and_scaling(xp: Any, name: str, norm: str) -> None:
    x = array(5, complex=not is_real(name))
    for n in (None, 3, 4, 5, 8, 9):  # cropped, padded, odd, even
        compare_with_torch(xp, name, x, n=n, norm=norm)


@pytest.mark.parametrize("name", COMPLEX + TO_COMPLEX + TO_REAL)
@pytest.mark.parametrize("n", [None, 4, 9])
def test_transform_against_jax_and_differences(xp: Any, name: str, n: int | None) -> None:
    x = array(5, complex=not is_real(name))
    check(xp, lambda xp, x: getattr(xp.fft, name)(x, n=n) ** 2, x)


@pytest.mark.parametrize("name", COMPLEX + TO_COMPLEX + TO_REAL)
@pytest.mark.parametrize("axis", [0, 1, -1, -2])
def test_transform_along_an_axis(xp: Any, name: str, axis: int) -> None:
    compare_with_torch(xp, name, array(3, 4, 2, complex=not is_real(name)), axis=axis, n=3)


@pytest.mark.parametrize("name", ["irfft", "hfft"])
def test_shortest_real_result(xp: Any, name: str) -> None:
    """Of one entry, only the real part is looked at; of two, the imaginary part of neither."""
    for n in (1, 2):
        check(xp, lambda xp, x, n=n: getattr(xp.fft, name)(x, n=n) ** 2, array(3, complex=True))


@pytest.mark.parametrize("name", ["rfft", "ihfft"])
def test_shortest_half_complex_result(xp: Any, name: str) -> None:
    for n in (1, 2):
        check(xp, lambda xp, x, n=n: getattr(xp.fft, name)(x, n=n) ** 2, array(3, complex=False))


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("name", ["fftn", "ifftn", "rfftn", "irfftn"])
def test_transform_over_several_axes(xp: Any, name: str, norm: str) -> None:
    x = array(3, 4, 2, complex=not is_real(name))
    for s, axes in (
        (None, None),
        (None, (0, 2)),
        ((4, 3), (-1, 0)),
        ((2, 6), (1, -1)),
        ((5,), (1,)),
        ((4, 2, 5), (0, 1, 2)),
    ):
        compare_with_torch(xp, name, x, s=s, axes=axes, norm=norm)


@pytest.mark.parametrize("name", ["fftn", "ifftn", "rfftn", "irfftn"])
def test_transform_over_several_axes_against_jax(xp: Any, name: str) -> None:
    x = array(3, 2, complex=not is_real(name))
    check(xp, lambda xp, x: getattr(xp.fft, name)(x, s=(2, 4), axes=(1, 0)) ** 2, x)


@pytest.mark.parametrize("name", ["fftshift", "ifftshift"])
@pytest.mark.parametrize("axes", [None, 0, (1, -1)])
def test_shifted_spectrum(xp: Any, name: str, axes: Any) -> None:
    for complex in (False, True):
        compare_with_torch(xp, name, array(3, 4, 5, complex=complex), axes=axes)


@pytest.mark.parametrize("library", ["numpy", "torch"])
@pytest.mark.parametrize("name", ["fft", "ifft", "fftn", "irfft", "hfft"])
def test_real_input_where_the_library_takes_it(library: str, name: str) -> None:
    """The standard asks for complex input. Libraries that take real input too get a real gradient."""
    from conftest import load

    xp = load(library)
    check(
        xp,
        lambda xp, x: getattr(xp.fft, name)(x) ** 2,
        array(2, 6, complex=False),
        differences=False,
    )


@pytest.mark.parametrize("name", COMPLEX + TO_COMPLEX + TO_REAL)
@pytest.mark.parametrize("n", [4, 5, 9])
def test_gradient_is_that_of_torch(xp: Any, name: str, n: int) -> None:
    import torch

    x = array(2, 6, complex=not is_real(name))
    z = torch.from_numpy(x).requires_grad_()
    y = getattr(torch.fft, name)(z, n=n)
    g = torch.from_numpy(weights(tuple(y.shape))) * (0.3 + 0.8j if y.is_complex() else 1.0)
    (expected,) = torch.autograd.grad(y, z, g)
    _, pull = bp.vjp(lambda x: getattr(bp.array_namespace(x).fft, name)(x, n=n), to(xp, x))
    (found,) = pull(to(xp, g.numpy()))
    close([numpy_of(found)], [expected.numpy()], 1e-12, name)


@pytest.mark.parametrize("name", [*COMPLEX, *TO_COMPLEX, *TO_REAL, "rfftn", "irfftn"])
def test_single_precision_stays_single(xp: Any, name: str) -> None:
    real = is_real(name)
    x = array(2, 6, complex=not real).astype("float32" if real else "complex64")

    def f(x: Any) -> Any:
        xp = bp.array_namespace(x)
        y = getattr(xp.fft, name)(x)
        assert y.dtype in (xp.float32, xp.complex64)
        return xp.sum(xp.abs(y) ** 2)

    g = bp.grad(f)(to(xp, x))
    assert str(g.dtype).endswith(str(x.dtype))


@pytest.mark.parametrize("name", [*COMPLEX, *TO_COMPLEX, *TO_REAL, "fftn", "rfftn", "irfftn"])
def test_empty_stack_and_strided_input(xp: Any, name: str) -> None:
    x = array(2, 6, complex=not is_real(name))
    settings: dict[str, Any] = {"axes": (-1,)} if name.endswith("n") else {}

    def f(xp: Any, x: Any) -> Any:
        return getattr(xp.fft, name)(x, **settings)

    check(xp, f, x[:, ::2], order=1, differences=False)
    check(xp, lambda xp, x: f(xp, xp.permute_dims(x, (1, 0))), x, order=1, differences=False)
    if "torch" in xp.__name__:
        return  # refuses empty stacks
    y, pull = bp.vjp(lambda x: f(bp.array_namespace(x), x), to(xp, x[:0]))
    assert pull(y)[0].shape == (0, 6)


def test_power_spectrum_obeys_parseval(xp: Any) -> None:
    """sum |fft(x)|^2 / n = sum |x|^2, so the gradient is 2 x."""
    x = array(7, complex=True)

    def energy(x: Any) -> Any:
        xp = bp.array_namespace(x)
        return xp.sum(xp.abs(xp.fft.fft(x, norm="ortho")) ** 2)

    close([numpy_of(bp.grad(energy)(to(xp, x)))], [2 * x], 1e-12, "parseval")


def test_unknown_scaling_is_refused_by_the_library(xp: Any) -> None:
    with pytest.raises((ValueError, RuntimeError), match=r"(?i)norm"):
        bp.grad(lambda x: bp.array_namespace(x).fft.fft(x, norm="half"))(
            to(xp, array(3, complex=True))
        )
