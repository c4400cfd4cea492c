"""Products of matrices reach their kernels on CUDA, and nothing else changes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import bpgpu as bp
import fake_cublaslt
import plain_cupy
from bpgpu import kernels
from bpgpu.kernels import registry
from bpgpu.kernels.cuda import cublaslt
from bpgpu.kernels.cuda.cublaslt_values import VALUES


@pytest.fixture
def lib(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A stand-in for cuBLASLt under the kernels for CUDA, over a stand-in for CuPy."""
    made = fake_cublaslt.make()
    opened = cublaslt.Library(made)
    with plain_cupy.installed():
        from bpgpu.kernels.cuda import products

        monkeypatch.setattr(products, "library", lambda: opened)
        monkeypatch.setitem(registry._FOLDERS, plain_cupy.COMPAT, "bpgpu.kernels.cuda.products")
        yield made


def drawn(*shapes: tuple[int, ...], dtype: str = "f8") -> list[Any]:
    rng = np.random.default_rng(0)
    return [plain_cupy.wrapped(rng.normal(size=shape).astype(dtype)) for shape in shapes]


def check(function: Any, arrays: list[Any]) -> None:
    """Values, gradients and second derivatives are those of NumPy."""

    def twice(*arrays: Any) -> Any:
        def once(*arrays: Any) -> Any:
            y = function(*arrays)
            xp = bp.array_namespace(y)
            return xp.sum(y * y * y)

        gradients = bp.grad(once, argnums=tuple(range(len(arrays))))(*arrays)
        return sum(bp.array_namespace(g).sum(g * g) for g in gradients)

    plain = [np.asarray(a) for a in arrays]
    every = tuple(range(len(arrays)))
    pairs = [
        (bp.vjp(function, *arrays)[0], bp.vjp(function, *plain)[0]),
        *zip(
            bp.grad(twice, argnums=every)(*arrays),
            bp.grad(twice, argnums=every)(*plain),
            strict=True,
        ),
    ]
    for got, wanted in pairs:
        assert type(got) is plain_cupy.ndarray
        np.testing.assert_allclose(np.asarray(got), wanted, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ((3, 4), (4, 5)),
        ((4,), (4, 5)),
        ((3, 4), (4,)),
        ((4,), (4,)),
        ((2, 3, 4), (4, 5)),
        ((2, 3, 4), (2, 4, 5)),
        ((2, 1, 3, 4), (3, 4, 5)),
        ((3, 4), (2, 4, 5)),
        ((4,), (2, 4, 5)),
        ((2, 3, 4), (4,)),
        ((3, 0), (0, 5)),
        ((0, 4), (4, 5)),
    ],
    ids=str,
)
def test_the_matmul_rule_multiplies_by_kernels(lib: Any, a: Any, b: Any) -> None:
    check(lambda x, y: x @ y, drawn(a, b))
    assert bool(lib.calls) == (0 not in a + b)


@pytest.mark.parametrize("lead", [(6,), (2, 3), (), (1,), (0,)], ids=str)
@pytest.mark.parametrize("biased", [True, False])
def test_linear_goes_through_kernels(lib: Any, lead: tuple[int, ...], biased: bool) -> None:
    arrays = drawn((*lead, 4), (5, 4), (5,))
    check(bp.functional.linear, arrays if biased else arrays[:2])
    assert bool(lib.calls) == (0 not in lead)


def test_linear_is_three_products_forward_and_backward(lib: Any) -> None:
    arrays = drawn((6, 4), (5, 4), (5,), dtype="f4")
    y, pull = bp.vjp(bp.functional.linear, *arrays)
    pull(y)
    names = {
        value: name for name, value in VALUES.items() if "EPILOGUE_" in name and "DESC" not in name
    }
    assert [names[c[7]].removeprefix("CUBLASLT_EPILOGUE_") for c in lib.calls] == [
        "BIAS",
        "DEFAULT",
        "BGRADB",
    ]


def test_only_wanted_gradients_of_linear_are_computed(lib: Any) -> None:
    x, w, b = drawn((6, 4), (5, 4), (5,))
    for argnums, count in ((0, 2), (1, 2), (2, 2), ((0, 1), 3), ((1, 2), 2), ((0, 2), 3)):
        del lib.calls[:]
        bp.grad(lambda *a: bp.array_namespace(*a).sum(bp.functional.linear(*a)), argnums=argnums)(
            x, w, b
        )
        assert len(lib.calls) == count


def test_a_bias_of_no_axes_or_with_gaps_is_added_apart(lib: Any) -> None:
    x, w, b = drawn((6, 4), (5, 4), (10,))
    check(bp.functional.linear, [x, w, b[::2]])
    check(bp.functional.linear, [x, w, b[:5].sum()])


def test_switched_off_products_are_those_of_the_library(lib: Any) -> None:
    arrays = drawn((6, 4), (5, 4), (5,))
    with kernels.switched_off():
        check(bp.functional.linear, arrays)
        check(lambda x, w: x @ w.T, arrays[:2])
    assert not lib.calls


def test_other_libraries_multiply_as_they_do() -> None:
    import operator

    import array_api_compat.numpy as xp

    assert kernels.multiplication(xp) is operator.matmul
