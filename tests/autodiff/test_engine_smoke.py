import numpy as np
from gradients import check

R = np.random.default_rng(0)


def test_tanh(xp):
    check(xp, lambda xp, x: xp.tanh(x), R.normal(size=(3, 2)))


def test_matmul(xp):
    check(xp, lambda xp, a, b: a @ b, R.normal(size=(2, 3, 4)), R.normal(size=(4, 2)))
    check(xp, lambda xp, a, b: a @ b, R.normal(size=(3, 4)), R.normal(size=(4,)))
    check(xp, lambda xp, a, b: a @ b, R.normal(size=(4,)), R.normal(size=(2, 4, 3)))


def test_complex(xp):
    z = R.normal(size=(3,)) + 1j * R.normal(size=(3,))
    check(xp, lambda xp, z: xp.exp(z * z) * 2, z)
    check(xp, lambda xp, z, x: z * x, z, R.normal(size=(2, 3)))
    check(xp, lambda xp, z: xp.real(z) * xp.imag(xp.conj(z)), z)
