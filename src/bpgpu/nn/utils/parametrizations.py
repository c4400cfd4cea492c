"""Weights of limited size: weight norm and spectral norm."""

from __future__ import annotations

from typing import Any

from bpgpu import functional as F  # noqa: N812 - as everyone calls it
from bpgpu import tree as trees
from bpgpu.autodiff.control import stop_gradient
from bpgpu.autodiff.namespace import array_namespace
from bpgpu.errors import ModuleError, ShapeError
from bpgpu.functional.arguments import Array
from bpgpu.nn import init
from bpgpu.nn.conv_transpose import ConvTranspose1d, ConvTranspose2d, ConvTranspose3d
from bpgpu.nn.module import Module
from bpgpu.nn.utils.parametrize import register_parametrization, remove_parametrizations


class _WeightNorm(Module):
    older_names = {"_g": "original0", "_v": "original1"}  # noqa: RUF012 - read only
    """What torch's older function calls the originals, behind the name of the weight."""

    def __init__(self, dim: int | None = 0) -> None:
        super().__init__()
        self.dim = -1 if dim is None else dim

    def forward(self, weight_g: Array, weight_v: Array) -> Array:
        return weight_v * (weight_g / self._norm(weight_v))

    def right_inverse(self, weight: Array) -> tuple[Array, Array]:
        xp = array_namespace(weight)
        return self._norm(weight), xp.asarray(weight, copy=True)

    def _norm(self, v: Array) -> Array:
        """The norm over all axes but one, which stays with the others at size 1; over all for -1."""
        xp = array_namespace(v)
        if self.dim == -1:
            return xp.linalg.vector_norm(v)
        if not -v.ndim <= self.dim < v.ndim:
            raise ShapeError(
                f"weight_norm: expected dim as an axis of the weight, of shape {tuple(v.shape)}, or "
                f"None, got {self.dim}"
            )
        others = tuple(i for i in range(v.ndim) if i != self.dim % v.ndim)
        return xp.linalg.vector_norm(v, axis=others, keepdims=True) if others else xp.abs(v)


def weight_norm(module: Module, name: str = "weight", dim: int | None = 0) -> Module:
    """Train length and direction of weights apart: `w = g v / ||v||`; returns the layer.

    The layer's parameter `name` is replaced by `parametrizations.<name>.original0`, the length `g`,
    and `parametrizations.<name>.original1`, the direction `v`. Both start so that the weight is as
    before. Make the optimizer after this, not before.

    *Shape* `v` as the weight; `g` has size 1 along all axes but `dim`.

    *Parameters* `name` ("weight"). `dim`: the axis along which each weight has a length of its own
    (0, the output channels); `None`, or -1 as in torch, for one length in all.

    *Raises* `ModuleError` without such a parameter; `ShapeError` for another axis.

    *Notes* Where `v` is 0, the weight is nan.

    *References* T. Salimans and D. Kingma (2016), "Weight normalization: a simple
    reparameterization to accelerate training of deep neural networks", equation 2.

    >>> from bpgpu.nn import Linear
    >>> layer = weight_norm(Linear(3, 2))
    >>> {name: w.shape for name, w in layer.parameters().items() if "weight" in name}
    {'parametrizations.weight.original0': (2, 1), 'parametrizations.weight.original1': (2, 3)}
    """
    return register_parametrization(module, name, _WeightNorm(dim), unsafe=True)


class _SpectralNorm(Module):
    older_names = {"_orig": "original", "_u": "0._u", "_v": "0._v"}  # noqa: RUF012 - read only
    _u: Any
    _v: Any

    def __init__(
        self, weight: Array, n_power_iterations: int = 1, dim: int = 0, eps: float = 1e-12
    ) -> None:
        super().__init__()
        if not -weight.ndim <= dim < weight.ndim:
            raise ShapeError(
                f"spectral_norm: expected dim in [{-weight.ndim}, {weight.ndim}), got {dim}: the "
                f"weight has shape {tuple(weight.shape)}"
            )
        if n_power_iterations < 1:
            raise ModuleError(
                f"spectral_norm: expected n_power_iterations of at least 1, got {n_power_iterations}"
            )
        self.dim, self.eps = dim % weight.ndim, eps
        self.n_power_iterations = n_power_iterations
        if weight.ndim > 1:
            matrix = self._matrix(weight)
            xp = array_namespace(matrix)
            u, v = (init.normal_(xp.zeros_like(x)) for x in (matrix[:, 0], matrix[0, :]))
            self.register_buffer("_u", F.normalize(u, dim=0, eps=eps))
            self.register_buffer("_v", F.normalize(v, dim=0, eps=eps))
            self._iterate(matrix, 15)

    def forward(self, weight: Array) -> Array:
        if weight.ndim == 1:
            return F.normalize(weight, dim=0, eps=self.eps)
        matrix = self._matrix(weight)
        if self.training:
            self._iterate(stop_gradient(matrix), self.n_power_iterations)
        xp = array_namespace(matrix, self._u)
        return weight / xp.vecdot(self._u, matrix @ self._v)  # sigma = u^T W v

    def _matrix(self, weight: Array) -> Array:
        """The weight as a matrix whose rows go along `dim`."""
        xp = array_namespace(weight)
        x = xp.moveaxis(weight, self.dim, 0)
        return xp.reshape(x, (x.shape[0], -1)) if x.size else xp.reshape(x, (x.shape[0], 0))

    def _iterate(self, matrix: Array, times: int) -> None:
        """Turn `u` and `v` towards the singular vectors of the largest singular value."""
        xp = array_namespace(matrix, self._u)
        u, v = self._u, self._v
        for _ in range(times):
            u = F.normalize(matrix @ v, dim=0, eps=self.eps)
            v = F.normalize(xp.conj(matrix).T @ u, dim=0, eps=self.eps)
        self._u, self._v = u, v


def spectral_norm(
    module: Module,
    name: str = "weight",
    n_power_iterations: int = 1,
    eps: float = 1e-12,
    dim: int | None = None,
) -> Module:
    """Divide a weight by its largest singular value: `w / sigma(w)`; returns the layer.

    The layer's parameter `name` is replaced by `parametrizations.<name>.original`. `sigma = u^T w v`
    is estimated with two vectors, the buffers `parametrizations.<name>.0._u` and `._v`: each use of
    the weight in training moves them by `n_power_iterations` steps `v <- w^T u`, `u <- w v`, both
    brought to length 1. In evaluation they stay. No gradient goes through these steps, it goes
    through `sigma`. Weights with more than two axes count as matrices, `dim` against all others;
    those with one are divided by their norm.

    *Parameters* `name` ("weight"). `n_power_iterations` (1). `eps`: the least norm by which vectors
    are divided (1e-12). `dim`: the axis of the outputs; 0, for transposed convolutions 1.

    *Raises* `ModuleError` without such a parameter or without an iteration; `ShapeError` for an axis
    that is not there.

    *References* T. Miyato et al. (2018), "Spectral normalization for generative adversarial
    networks", equation 8 and algorithm 1.

    >>> import numpy as np
    >>> from bpgpu.nn import Linear
    >>> layer = Linear(2, 2, bias=False)
    >>> layer.weight = np.asarray([[3.0, 0.0], [0.0, 1.0]])
    >>> spectral_norm(layer).weight.round(3)
    array([[1.   , 0.   ],
           [0.   , 0.333]])
    """
    weight = getattr(module, name, None)
    if not trees.is_array(weight):
        raise ModuleError(f"{type(module).__name__} has no parameter or buffer '{name}'")
    if dim is None:
        dim = int(isinstance(module, (ConvTranspose1d, ConvTranspose2d, ConvTranspose3d)))
    return register_parametrization(
        module, name, _SpectralNorm(weight, n_power_iterations, dim, eps)
    )


def remove_weight_norm(module: Module, name: str = "weight") -> Module:
    """Make the weight an array of the layer again, as it is now."""
    return remove_parametrizations(module, name)


def remove_spectral_norm(module: Module, name: str = "weight") -> Module:
    """Make the weight an array of the layer again, as it is now."""
    return remove_parametrizations(module, name)
