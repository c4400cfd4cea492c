"""The public gradient checker: it accepts what is right, and says what is wrong."""

from __future__ import annotations

import numpy as np
import pytest

import bpgpu as bp
from bpgpu.errors import GradientError
from gradients import to

X = np.asarray([0.3, -1.0, 2.0])


def wrong(factor: float, order: int = 1):
    """x^2 with a first or second derivative that is off by a factor."""

    @bp.custom_vjp
    def slope(x):
        return 2 * x

    slope.defvjp(lambda x: (2 * x, None), lambda s, ct: (ct * 2 * factor,))

    @bp.custom_vjp
    def f(x):
        return x * x

    if order == 1:
        f.defvjp(lambda x: (x * x, x), lambda x, ct: (ct * 2 * factor * x,))
    else:
        f.defvjp(lambda x: (x * x, x), lambda x, ct: (ct * slope(x),))
    return f


def test_right_gradients_pass(xp):
    bp.check_grads(lambda x: bp.array_namespace(x).tanh(x), to(xp, X))
    bp.check_grads(lambda z: bp.array_namespace(z).exp(z * z), to(xp, X + 0.5j))
    bp.check_grads(lambda p, x: p["w"] @ x, ({"w": to(xp, np.ones((2, 3), "f4"))}, to(xp, X)))


def test_a_gradient_that_is_wrong_by_one_part_in_ten_thousand_is_found():
    with pytest.raises(GradientError, match=r"wrong in order 1.*argument 0, entry \(\d,\)"):
        bp.check_grads(wrong(1.0001), X)


def test_a_wrong_second_derivative_is_found():
    f = wrong(1.001, order=2)
    bp.check_grads(f, X, order=1)
    with pytest.raises(GradientError, match="the second derivative is wrong in order 2"):
        bp.check_grads(f, X)


def test_the_input_is_named_by_its_path():
    f = wrong(1.1)
    with pytest.raises(GradientError, match=r"argument 1 at 'b.0', entry \(1,\)"):
        bp.check_grads(lambda x, p: x + f(p["b"][0]), (X[:2], {"b": [np.asarray([0.1, 3.0])]}))


def test_bad_arguments_are_told():
    with pytest.raises(ValueError, match="order must be 1 or 2, got 3"):
        bp.check_grads(lambda x: x, X, order=3)
    with pytest.raises(GradientError, match="no floating array among the arguments"):
        bp.check_grads(lambda x: x, np.arange(3))
