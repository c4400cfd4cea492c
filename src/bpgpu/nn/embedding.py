"""Embedding: a table of learned vectors."""

from __future__ import annotations

import numbers
from typing import Any, Self

from bpgpu import functional as F  # noqa: N812 - as everyone calls it
from bpgpu.autodiff.array import Array as Traced
from bpgpu.autodiff.array import raw
from bpgpu.autodiff.state import write_into
from bpgpu.errors import ArgumentError, ShapeError
from bpgpu.functional.arguments import Array, tupled
from bpgpu.functional.embedding import renormed
from bpgpu.nn import init
from bpgpu.nn.module import Module
from bpgpu.nn.parameter import Parameter


class Embedding(Module):
    """A learned vector for each of `num_embeddings` things: `y = weight[x]`.

    *Shape* `(*)`, integers in `[0, num_embeddings)` `-> (*, embedding_dim)`.

    *Attributes* `weight` of shape `(num_embeddings, embedding_dim)`, drawn from the standard normal
    distribution; the row `padding_idx` is 0.

    *Parameters* `padding_idx`: a row that does not train; counted from the end if negative.
    `max_norm`: rows that are read are first scaled down to this norm, of order `norm_type` (2), and
    the table keeps them so. `scale_grad_by_freq`: the gradient of a row is divided by how often it
    is read in the batch. `sparse`: False; there are no sparse arrays here. `_weight`: a table to
    begin with; `_freeze`: it does not train. `device`, `dtype`: of the table (float32).

    *Raises* `ArgumentError` for a `padding_idx` that is not in the table, or `sparse=True`;
    `ShapeError` for a table of another shape; in the call, `ValueError` for an index outside of it.

    *Notes* Where arrays cannot be written in place (JAX) and a gradient is being taken, `max_norm`
    leaves the table as it is; the result is the same.

    >>> import numpy as np
    >>> Embedding(10, 3, padding_idx=0)(np.asarray([[1, 2], [0, 5]])).shape
    (2, 2, 3)
    """

    weight: Array

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        padding_idx: int | None = None,
        max_norm: float | None = None,
        norm_type: float = 2.0,
        scale_grad_by_freq: bool = False,
        sparse: bool = False,
        _weight: Array | None = None,
        _freeze: bool = False,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        (self.num_embeddings,) = tupled("Embedding", "num_embeddings", num_embeddings, 1)
        (self.embedding_dim,) = tupled("Embedding", "embedding_dim", embedding_dim, 1)
        if padding_idx is not None:
            if not isinstance(padding_idx, numbers.Integral):
                raise ArgumentError(
                    f"Embedding: expected padding_idx as an integer or None, got {padding_idx!r}"
                )
            if not -num_embeddings <= padding_idx < num_embeddings:
                raise ArgumentError(
                    f"Embedding: expected padding_idx in [{-num_embeddings}, {num_embeddings}), "
                    f"got {padding_idx}"
                )
            padding_idx %= num_embeddings
        if sparse:
            raise ArgumentError("Embedding: expected sparse=False: there are no sparse arrays")
        self.padding_idx = padding_idx
        self.max_norm = max_norm
        self.norm_type = norm_type
        self.scale_grad_by_freq = scale_grad_by_freq
        self.sparse = sparse
        shape = (self.num_embeddings, self.embedding_dim)
        if _weight is None:
            self.weight = Parameter(init.new(shape, device, dtype), not _freeze)
            self.reset_parameters()
        else:
            if tuple(_weight.shape) != shape:
                raise ShapeError(
                    f"Embedding: expected a table of shape {shape}, got {tuple(_weight.shape)}"
                )
            self.weight = Parameter(_weight, not _freeze)

    def reset_parameters(self) -> None:
        """Draw the table anew."""
        weight = init.normal_(self.weight)
        if self.padding_idx is not None:
            weight[self.padding_idx, ...] = 0
        self.weight = weight

    @classmethod
    def from_pretrained(
        cls,
        embeddings: Array,
        freeze: bool = True,
        padding_idx: int | None = None,
        max_norm: float | None = None,
        norm_type: float = 2.0,
        scale_grad_by_freq: bool = False,
        sparse: bool = False,
    ) -> Self:
        """A layer with the given table, which does not train unless `freeze=False`.

        *Shape* embeddings `(num_embeddings, embedding_dim)`, floating.

        *Raises* `ShapeError` unless the table has two axes.

        >>> import numpy as np
        >>> layer = Embedding.from_pretrained(np.asarray([[1.0, 2.3, 3.0], [4.0, 5.1, 6.3]]))
        >>> layer(np.asarray([1]))
        array([[4. , 5.1, 6.3]])
        """
        if embeddings.ndim != 2:
            raise ShapeError(
                "Embedding.from_pretrained: expected a table (num_embeddings, embedding_dim), got "
                f"shape {tuple(embeddings.shape)}"
            )
        rows, columns = embeddings.shape
        return cls(
            rows,
            columns,
            padding_idx=padding_idx,
            max_norm=max_norm,
            norm_type=norm_type,
            scale_grad_by_freq=scale_grad_by_freq,
            sparse=sparse,
            _weight=embeddings,
            _freeze=freeze,
        )

    def forward(self, input: Array) -> Array:
        if self.max_norm is not None:
            self._scale_down(input, self.max_norm)
        settings = (self.padding_idx, self.max_norm, self.norm_type, self.scale_grad_by_freq)
        return F.embedding(input, self.weight, *settings)

    def _scale_down(self, input: Array, norm: float) -> None:
        """Write the rows that are read over the table with their norm at most `max_norm`."""
        table = raw(self.weight)
        written = write_into(table, renormed(table, input, norm, self.norm_type))
        if type(self.weight) is not Traced:
            self.weight = written

    def extra_repr(self) -> str:
        optional = {
            "padding_idx": (self.padding_idx, None),
            "max_norm": (self.max_norm, None),
            "norm_type": (self.norm_type, 2),
            "scale_grad_by_freq": (self.scale_grad_by_freq, False),
        }
        shown = [f", {k}={v}" for k, (v, default) in optional.items() if v != default]
        return f"{self.num_embeddings}, {self.embedding_dim}{''.join(shown)}"
