"""Data that a reader gives: a tuple of arrays that knows the names of what is in it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from bpgpu import random
from bpgpu import tree as trees
from bpgpu.backend import rows
from bpgpu.backend.libraries import namespace_of
from bpgpu.data.columns import checked_columns
from bpgpu.device import device, to_numpy
from bpgpu.errors import ArgumentError, DataError


class Dataset(tuple[Any, ...]):  # noqa: SLOT001 - it has attributes of its own
    """Inputs and targets, `(x, y)`, ready for `fit`; only `(x,)` if there is no target.

    *Attributes* `x`, `y` (`None` without a target); `names`: of the columns of `x`; `classes`: the names of the classes
    that the numbers in `y` stand for, if they have names; `categories`: for columns of `x` that were words, the words
    that their numbers stand for.

    >>> import numpy as np
    >>> x, y = Dataset((np.zeros((3, 2)), np.asarray([0, 1, 1])), names=["a", "b"])
    >>> x.shape
    (3, 2)
    """

    names: tuple[str, ...]
    classes: tuple[str, ...]
    categories: dict[str, tuple[str, ...]]

    def __new__(
        cls,
        arrays: Iterable[Any],
        *,
        names: Iterable[str] = (),
        classes: Iterable[str] = (),
        categories: Mapping[str, Iterable[str]] | None = None,
    ) -> Dataset:
        made = super().__new__(cls, arrays)
        made.names, made.classes = tuple(names), tuple(classes)
        made.categories = {key: tuple(words) for key, words in (categories or {}).items()}
        return made

    @property
    def x(self) -> Any:
        return self[0]

    @property
    def y(self) -> Any:
        return self[1] if len(self) > 1 else None

    def split(
        self,
        test: float = 0.2,
        *,
        seed: int = 0,
        stratify: bool = False,
        standardize: bool = False,
    ) -> tuple[Dataset, Dataset]:
        """A part to train on and one to test on; see `bpgpu.data.split`.

        *Parameters* `stratify`: both parts have each class of `y` in the same proportion. `standardize`: the columns of
        `x` get mean 0 and standard deviation 1 over the part to train on; a column that does not vary becomes 0.
        """
        if stratify and self.y is None:
            raise ArgumentError("split: stratify needs a target, and this data set has none")
        parts = split(tuple(self), test, seed=seed, stratify=self.y if stratify else None)
        if standardize:
            xp = namespace_of(self.x)
            train = parts[0][0]
            mean, scale = (f(train, axis=0, keepdims=True) for f in (xp.mean, xp.std))
            scale = xp.where(scale == 0, xp.ones_like(scale), scale)
            train, test_on = (((part[0] - mean) / scale, *part[1:]) for part in parts)
            parts = train, test_on
        facts = {"names": self.names, "classes": self.classes, "categories": self.categories}
        return Dataset(parts[0], **facts), Dataset(parts[1], **facts)  # type: ignore[arg-type]

    def __getnewargs_ex__(self) -> tuple[Any, dict[str, Any]]:
        facts = {"names": self.names, "classes": self.classes, "categories": self.categories}
        return (tuple(self),), facts

    def __repr__(self) -> str:
        parts = [f"{name} {tuple(a.shape)} {a.dtype}" for name, a in zip("xy", self, strict=False)]
        return f"Dataset({', '.join(parts)})"


def split(data: Any, test: float = 0.2, *, seed: int = 0, stratify: Any = None) -> tuple[Any, Any]:
    """The rows of a tree of arrays in two parts, `(train, test)`, drawn at random.

    *Parameters*

    - `test`: the share of the rows to test on, in (0, 1), or their number.
    - `seed`: the same seed draws the same rows, on every device.
    - `stratify`: an array of classes, one for each row; both parts then have each class in the same proportion, as far
      as whole rows allow.

    *Raises* `DataError` if one part would be empty, or arrays differ in length; `ArgumentError` for a `test` that is
    neither a share nor a number of rows.

    >>> import numpy as np
    >>> train, test = split(np.arange(10), test=0.3)
    >>> len(train), test
    (7, array([3, 4, 8]))
    """
    data, count = checked_columns(data)
    size = _size(test, count)
    order = random.permutation(random.key(seed), count)
    if stratify is None:
        chosen = order[:size]
    else:
        chosen = _stratified(order, _classes(stratify, count), size)
    xp = device("cpu").xp
    is_test = xp.zeros(count, dtype=xp.bool)
    is_test[chosen] = True
    parts = [xp.nonzero(mask)[0] for mask in (~is_test, is_test)]

    def rows_at(index: Any) -> Any:
        return trees.map(lambda x: rows.take(x, rows.indices_like(index, x)), data)

    return rows_at(parts[0]), rows_at(parts[1])


def _size(test: Any, count: int) -> int:
    if isinstance(test, bool) or not isinstance(test, (int, float)) or not test > 0:
        raise ArgumentError(
            f"split: expected test as a share in (0, 1) or a number of rows, got {test!r}"
        )
    if isinstance(test, float) and test >= 1:
        raise ArgumentError(
            f"split: expected test as a share in (0, 1) or a number of rows, got {test!r}"
        )
    size = math.floor(count * test + 0.5) if isinstance(test, float) else test
    if not 0 < size < count:
        raise DataError(
            f"split: of {count} rows, {size} would be to test on and {count - size} to train on; both need one at least"
        )
    return size


def _classes(stratify: Any, count: int) -> Any:
    if not trees.is_array(stratify) or tuple(stratify.shape) not in ((count,), (count, 1)):
        shape = tuple(stratify.shape) if trees.is_array(stratify) else type(stratify).__name__
        raise DataError(f"split: expected stratify as an array of {count} classes, got {shape}")
    xp = device("cpu").xp
    return xp.unique_inverse(xp.reshape(to_numpy(stratify), (-1,))).inverse_indices


def _stratified(order: Any, classes: Any, size: int) -> Any:
    """`size` rows, of each class its share: rounded down, and one more where rounding took most."""
    xp = device("cpu").xp
    ordered = classes[order]
    groups = [order[ordered == c] for c in range(int(xp.max(classes)) + 1)]
    exact = [len(group) * size / len(order) for group in groups]
    counts = [int(share) for share in exact]
    by_rest = sorted(range(len(groups)), key=lambda c: (counts[c] - exact[c], c))
    for c in by_rest[: size - sum(counts)]:
        counts[c] += 1
    return xp.concat([group[:n] for group, n in zip(groups, counts, strict=True)])
