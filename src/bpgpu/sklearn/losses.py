"""The losses of a perceptron: each with the function that turns its last values into predictions.

Both belong together, so that the gradient is the same for all: with `z` the values of the last layer,

    dL/dz = prediction - target

for each row. A loss is computed from `z`, so that nothing overflows and no probability is rounded to 0.
"""

from __future__ import annotations

from typing import Any

from bpgpu.backend import backend_of
from bpgpu.functional import sigmoid, softmax
from bpgpu.functional.cross_entropy import _of_logits

Array = Any


class Loss:
    """A loss of the last values `z`, `(n, k)`, and the function of the last layer that belongs to it."""

    output = "identity"
    """The name of the function of the last layer, as scikit-learn has it in `out_activation_`."""
    mean_over_outputs = False
    """True if scikit-learn reports the mean over several outputs, though it descends on their sum."""

    def predicted(self, xp: Any, z: Array) -> Array:
        raise NotImplementedError

    def terms(self, xp: Any, z: Array, y: Array) -> tuple[Array, Array]:
        """The loss of each row, and prediction minus target."""
        raise NotImplementedError

    def value_and_gradient(self, xp: Any, z: Array, y: Array, share: Any) -> tuple[Array, Array]:
        """The loss, and its gradient. `share`: how much each row counts, `(n,)`, or `None` for `1 / n`."""
        terms, d = self.terms(xp, z, y)
        if share is None:
            d /= terms.shape[0]
            return xp.sum(terms) / terms.shape[0], d
        d *= share[:, None]
        return xp.sum(terms * share), d


class SquaredError(Loss):
    """`sum_k (z_k - y_k)^2 / 2`."""

    mean_over_outputs = True

    def predicted(self, xp: Any, z: Array) -> Array:
        return z

    def terms(self, xp: Any, z: Array, y: Array) -> tuple[Array, Array]:
        d = z - y
        return xp.sum(d * d, axis=1) / 2, d


class Poisson(Loss):
    """Half of the Poisson deviance: with `m = exp(z)`, `sum_k y_k log(y_k / m_k) - y_k + m_k`."""

    output = "exp"

    def predicted(self, xp: Any, z: Array) -> Array:
        return xp.exp(z)

    def terms(self, xp: Any, z: Array, y: Array) -> tuple[Array, Array]:
        m = xp.exp(z)
        logs = xp.log(xp.where(y > 0, y, xp.ones_like(y)))  # 0 log 0 = 0
        return xp.sum(y * (logs - z) - y + m, axis=1), m - y


class BinaryLogLoss(Loss):
    """With `p = 1 / (1 + exp(-z))`, `-sum_k y_k log p_k + (1 - y_k) log(1 - p_k)`."""

    output = "logistic"

    def predicted(self, xp: Any, z: Array) -> Array:
        return sigmoid(z)

    def terms(self, xp: Any, z: Array, y: Array) -> tuple[Array, Array]:
        far = xp.abs(z)
        losses = (z + far) / 2 - y * z + xp.log1p(xp.exp(-far))
        return xp.sum(losses, axis=1), self.predicted(xp, z) - y


class LogLoss(Loss):
    """With `p = exp(z) / sum_k exp(z_k)`, `-log p_y`. The target is the number of the class, `(N,)`."""

    output = "softmax"

    def predicted(self, xp: Any, z: Array) -> Array:
        return softmax(z, 1)

    def value_and_gradient(self, xp: Any, z: Array, y: Array, share: Any) -> tuple[Array, Array]:
        if share is None:
            value, pull = _of_logits.function(xp, z, y, z.shape[0])
            return value, pull(backend_of(xp).one(value))
        terms, pull = _of_logits.function(xp, z, y, None)
        return xp.sum(terms * share), pull(share)
