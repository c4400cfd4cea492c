"""Sequences of different lengths: padded to one length, or packed without padding."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from bpgpu import tree as trees
from bpgpu.autodiff.array import device_of, raw
from bpgpu.autodiff.namespace import array_namespace
from bpgpu.device import to_numpy
from bpgpu.errors import ArgumentError, ShapeError
from bpgpu.functional.arguments import Array


class PackedSequence(NamedTuple):
    """Sequences without padding, time after time: the first steps of all, the second steps, ...

    Recurrent layers take it for their input and give one back.

    *Attributes* `data` `(sum of lengths, *)`. `batch_sizes`: how many sequences have a first step, a
    second, ... `sorted_indices`: which sequence is the longest, the second longest, ...; `None` if
    they stand in this order. `unsorted_indices`: the way back. All but `data` are tuples of integers,
    since shapes follow from them.
    """

    data: Array
    batch_sizes: tuple[int, ...]
    sorted_indices: tuple[int, ...] | None = None
    unsorted_indices: tuple[int, ...] | None = None


def pad_sequence(
    sequences: Sequence[Array],
    batch_first: bool = False,
    padding_value: float = 0.0,
    padding_side: str = "right",
) -> Array:
    """Sequences of different lengths in one array: `(T, N, *)`, `T` the greatest length.

    *Shape* `N` arrays `(L, *)`, alike but for `L`; the result is `(T, N, *)`, with `batch_first`
    `(N, T, *)`.

    *Parameters* `padding_value`: what stands where a sequence is not (0.0). `padding_side`: `"right"`,
    behind it (the default), or `"left"`.

    *Raises* `ShapeError` for sequences that do not belong together; `ArgumentError` for another side,
    or no sequence.

    >>> import numpy as np
    >>> pad_sequence([np.asarray([1.0, 2.0]), np.asarray([3.0])], batch_first=True)
    array([[1., 2.],
           [3., 0.]])
    """
    if padding_side not in ("left", "right"):
        raise ArgumentError(
            f"pad_sequence: expected padding_side as 'right' or 'left', got {padding_side!r}"
        )
    found = _listed("pad_sequence", sequences)
    xp = array_namespace(*found)
    longest = max(x.shape[0] for x in found)
    padded = []
    for x in found:
        rest = (longest - x.shape[0], *x.shape[1:])
        fill = xp.full(rest, padding_value, dtype=x.dtype, device=device_of(x))
        padded.append(xp.concat([x, fill] if padding_side == "right" else [fill, x], axis=0))
    return xp.stack(padded, axis=0 if batch_first else 1)


def unpad_sequence(padded_sequences: Array, lengths: Any, batch_first: bool = False) -> list[Array]:
    """The sequences of a padded array, each with its own length: the way back from `pad_sequence`.

    *Shape* `(T, N, *)`, with `batch_first` `(N, T, *)`; lengths `(N,)`.

    >>> import numpy as np
    >>> unpad_sequence(np.asarray([[1.0, 2.0], [3.0, 0.0]]), [2, 1], batch_first=True)
    [array([1., 2.]), array([3.])]
    """
    counts = _integers(lengths)
    n = padded_sequences.shape[0 if batch_first else 1]
    if len(counts) != n:
        raise ShapeError(f"unpad_sequence: expected {n} lengths, got {len(counts)}")
    x = padded_sequences
    return [x[i, :c, ...] if batch_first else x[:c, i, ...] for i, c in enumerate(counts)]


def pack_padded_sequence(
    input: Array, lengths: Any, batch_first: bool = False, enforce_sorted: bool = True
) -> PackedSequence:
    """Padded sequences without their padding.

    *Shape* input `(T, N, *)`, with `batch_first` `(N, T, *)`; lengths `(N,)`: integers, or an array,
    whose values are read.

    *Parameters* `enforce_sorted`: the longest sequence must come first, the shortest last (True);
    without it they are sorted.

    *Raises* `ShapeError` for lengths that do not fit the input; `ArgumentError` unless they are
    sorted as they should be.

    >>> import numpy as np
    >>> packed = pack_padded_sequence(np.asarray([[1.0, 2.0], [3.0, 0.0]]), [2, 1], batch_first=True)
    >>> packed.data, packed.batch_sizes
    (array([1., 3., 2.]), (2, 1))
    """
    if input.ndim < 2:
        raise ShapeError(
            f"pack_padded_sequence: expected input (T, N, *), got {tuple(input.shape)}"
        )
    n, t = input.shape[:2] if batch_first else (input.shape[1], input.shape[0])
    counts = _integers(lengths)
    if len(counts) != n or n == 0 or not 1 <= min(counts) <= max(counts) <= t:
        raise ShapeError(
            f"pack_padded_sequence: expected {n} lengths from 1 to {t}, for input "
            f"{tuple(input.shape)}{' and batch_first=True' if batch_first else ''}, got {counts}"
        )
    order = tuple(sorted(range(n), key=lambda i: -counts[i]))
    if enforce_sorted and order != tuple(range(n)):
        raise ArgumentError(
            f"pack_padded_sequence: expected lengths in decreasing order, got {counts}; pass "
            "enforce_sorted=False to have the sequences sorted"
        )
    sizes = tuple(sum(c > step for c in counts) for step in range(max(counts)))
    like = PackedSequence(input, sizes)
    if not enforce_sorted:
        like = PackedSequence(input, sizes, order, _inverse(order))
    return packed_like(like, input, batch_first)


def pack_sequence(sequences: Sequence[Array], enforce_sorted: bool = True) -> PackedSequence:
    """Sequences of different lengths, packed; see `pack_padded_sequence`.

    *Shape* arrays `(L, *)`, alike but for `L`.
    """
    lengths = [x.shape[0] for x in sequences]
    return pack_padded_sequence(pad_sequence(sequences), lengths, enforce_sorted=enforce_sorted)


def pad_packed_sequence(
    sequence: PackedSequence,
    batch_first: bool = False,
    padding_value: float = 0.0,
    total_length: int | None = None,
) -> tuple[Array, Array]:
    """Packed sequences as a padded array, in the order in which they were given, and their lengths.

    *Shape* the result is `(T, N, *)`, with `batch_first` `(N, T, *)`, and `(N,)`.

    *Parameters* `padding_value`: what stands where a sequence is not (0.0). `total_length`: `T`, if it
    is to be more than the greatest length.

    *Raises* `ArgumentError` for a total length that is less.

    >>> import numpy as np
    >>> pad_packed_sequence(PackedSequence(np.asarray([1.0, 3.0, 2.0]), (2, 1)), batch_first=True)
    (array([[1., 2.],
           [3., 0.]]), array([2, 1]))
    """
    sizes = _integers(sequence.batch_sizes)
    steps = len(sizes) if total_length is None else total_length
    if steps < len(sizes):
        raise ArgumentError(
            f"pad_packed_sequence: expected total_length of at least {len(sizes)}, the length of "
            f"the longest sequence, got {total_length}"
        )
    data = sequence.data
    xp, device, n = array_namespace(data), device_of(data), sizes[0]
    starts = [sum(sizes[:t]) for t in range(len(sizes))]
    nothing = sum(sizes)  # the row of padding, behind all others
    rows = [
        [starts[t] + i if t < len(sizes) and i < sizes[t] else nothing for i in _back(sequence, n)]
        for t in range(steps)
    ]
    if batch_first:
        rows = [list(row) for row in zip(*rows, strict=True)]
    fill = xp.full((1, *data.shape[1:]), padding_value, dtype=data.dtype, device=device)
    flat = xp.asarray([i for row in rows for i in row], device=device)
    padded = xp.take(xp.concat([data, fill], axis=0), flat, axis=0)
    lengths = [sum(size > i for size in sizes) for i in _back(sequence, n)]
    shape = (len(rows), len(rows[0]), *data.shape[1:])
    return xp.reshape(padded, shape), raw(xp.asarray(lengths, device=device))


def packed_like(sequence: PackedSequence, padded: Array, batch_first: bool) -> PackedSequence:
    """A padded array packed in the order and with the lengths of another packed sequence."""
    xp = array_namespace(padded)
    sizes = _integers(sequence.batch_sizes)
    order = sequence.sorted_indices
    order = tuple(range(sizes[0])) if order is None else _integers(order)
    a, b = padded.shape[:2]
    places = [(order[i], t) for t, size in enumerate(sizes) for i in range(size)]
    rows = [i * b + t if batch_first else t * b + i for i, t in places]
    flat = xp.reshape(padded, (a * b, *padded.shape[2:]))
    data = xp.take(flat, xp.asarray(rows, device=device_of(padded)), axis=0)
    return PackedSequence(data, *sequence[1:])


def _back(sequence: PackedSequence, n: int) -> tuple[int, ...]:
    """For each sequence as it was given, its place among the sorted ones."""
    if sequence.unsorted_indices is not None:
        return _integers(sequence.unsorted_indices)
    if sequence.sorted_indices is not None:
        return _inverse(_integers(sequence.sorted_indices))
    return tuple(range(n))


def _inverse(order: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(sorted(range(len(order)), key=lambda i: order[i]))


def _integers(x: Any) -> tuple[int, ...]:
    """Integers of a tuple, a list or an array."""
    return tuple(map(int, to_numpy(raw(x)).tolist() if trees.is_array(x) else x))


def _listed(name: str, sequences: Sequence[Array]) -> list[Array]:
    """The sequences, or an error if they do not belong together."""
    found = list(sequences)
    if not found:
        raise ArgumentError(f"{name}: expected at least one sequence, got none")
    for x in found:
        if x.ndim == 0 or tuple(x.shape[1:]) != tuple(found[0].shape[1:]):
            raise ShapeError(
                f"{name}: expected arrays (L, *) that are alike but for L, got shapes "
                f"{[tuple(x.shape) for x in found]}"
            )
    return found
