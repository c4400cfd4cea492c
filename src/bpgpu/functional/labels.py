"""Class labels: integers that must name a class, and positions that a loss leaves out."""

from __future__ import annotations

from typing import Any, NamedTuple

from bpgpu.autodiff.array import raw
from bpgpu.backend.classes import within
from bpgpu.backend.libraries import namespace_of
from bpgpu.errors import ArgumentError
from bpgpu.functional import arguments
from bpgpu.functional.arguments import Array


class Labels(NamedTuple):
    """Labels that are safe to index with, and what is known of them.

    `index` holds a class everywhere. `ignored` is a mask of the positions to leave out, `wrong` one
    of those that named no class; each is `None` where there is none.
    """

    index: Any
    ignored: Any
    wrong: Any

    @property
    def all_count(self) -> bool:
        """True if every position is known to have a class."""
        return self.ignored is None and self.wrong is None


def checked_labels(
    function: str, target: Array, classes: int, ignore_index: int | None = None
) -> Labels:
    """The labels of a loss, plain arrays of integers.

    They are looked at only where that waits for no device and breaks no compiled step. Elsewhere a
    label that names no class is marked, for the loss to become NaN there.

    *Raises* `ValueError` for a label outside of `[0, classes)` other than `ignore_index`.
    """
    arguments.integers(function, target=target)
    t = raw(target)
    xp = namespace_of(t)
    t = t if t.dtype == xp.int64 or t.dtype == xp.int32 else xp.astype(t, xp.int64)
    inside = within(t, classes)
    leaves_out = ignore_index is not None and (not inside or 0 <= ignore_index < classes)
    if inside and not leaves_out:
        return Labels(t, None, None)
    ignored = None
    outside = wrong = (t < 0) | (t >= classes)
    if leaves_out:
        ignored = t == ignore_index
        wrong = outside & ~ignored
    if inside is not None:
        if bool(xp.any(wrong)):
            found = int(xp.max(xp.where(wrong, t, xp.min(t) - 1)))
            other = f" or ignore_index={ignore_index}" if leaves_out else ""
            raise ArgumentError(
                f"{function}: expected target in [0, {classes}){other}, got {found}"
            )
        wrong = None
    return Labels(xp.where(outside, 0, t), ignored, wrong)
