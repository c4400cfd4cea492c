"""The functions of NumPy beyond the standard, and those of the standard under NumPy's names and arguments."""

import re

import numpy as np
import pytest

import bpgpu as bp
from bpgpu.autodiff.numpy_functions import CONSTANTS, FUNCTIONS, MOVES, REFUSED, RENAMED
from gradients import check
from numpy_code import EXPRESSIONS, expressions, function_of


@pytest.mark.parametrize("expression", expressions())
def test_numpy_code_differentiates(expression):
    import array_api_compat.numpy as xp

    f, arrays = function_of(expression)
    check(xp, f, *arrays)


def test_values_are_those_of_numpy():
    for expression in expressions():
        f, arrays = function_of(expression)
        plain = f(np, *arrays)

        def traced(*xs, f=f):
            y = f(np, *xs)
            return np.sum(np.real(y)), y

        every = tuple(range(len(arrays)))
        (_, y), _ = bp.value_and_grad(traced, every, has_aux=True)(*arrays)
        np.testing.assert_allclose(y, plain, rtol=1e-12, atol=1e-12, err_msg=expression)
        assert np.shape(y) == np.shape(plain), expression
        assert y.dtype == plain.dtype, expression


def test_every_function_has_a_case():
    called = set(re.findall(r"np\.((?:linalg\.|fft\.)?\w+)\(", EXPRESSIONS))
    constants = {
        *("all", "allclose", "any", "argmax", "argmin", "argsort", "array_equal", "count_nonzero"),
        *("empty_like", "isclose", "linalg.matrix_rank", "ndim", "nonzero", "searchsorted"),
        *("shape", "size"),
    }
    assert set(FUNCTIONS) - called == constants - called
    assert set(MOVES) <= called


def test_names_in_the_tables_are_names_of_numpy():
    for name in (*FUNCTIONS, *MOVES, *CONSTANTS, *REFUSED, *RENAMED):
        owner, _, last = name.rpartition(".")
        assert hasattr(getattr(np, owner) if owner else np, last), name
