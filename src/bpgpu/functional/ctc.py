"""Connectionist temporal classification: the probability of a sequence of labels, summed over all the
ways in which it can be spread over time (Graves et al. 2006).

Between the labels stand blanks, `b l1 b l2 ... b`: the states `s` of a lattice that is walked through
in `T` steps. From one step to the next a path stays, goes on by one state, or skips a blank that
stands between two different labels. Two sums over paths, in logarithms, give all that is needed:

`alpha_t(s)` over the paths that reach state `s` at time `t`, with what they emit up to then,

`beta_t(s)` over the ways on from there, with what they emit later.

`alpha_t(s) + beta_t(s) - log p` is the logarithm of the probability of being in state `s` at time
`t`, given the labels.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from typing import Any, NamedTuple

from bpgpu.autodiff.array import Array as Traced
from bpgpu.autodiff.array import device_of, raw
from bpgpu.autodiff.namespace import array_namespace
from bpgpu.autodiff.rule import rule
from bpgpu.autodiff.rules.indexing import scatter_add
from bpgpu.backend import backend_of
from bpgpu.backend.libraries import namespace_of
from bpgpu.backend.look import at_hand
from bpgpu.errors import ArgumentError, DtypeError, ShapeError
from bpgpu.functional import arguments
from bpgpu.functional.arguments import Array
from bpgpu.functional.bounds import at_least
from bpgpu.functional.reduction import check_reduction, reduced
from bpgpu.functional.softmax import _logsumexp

IMPOSSIBLE = -1e30
"""The logarithm of a probability of 0. It is finite, so that differences of two are 0 and not NaN."""

Lengths = Array | Sequence[int]


class Lattice(NamedTuple):
    """The states of each sample: plain arrays, the same for all times."""

    places: Any  # (N L) where the labels of the states stand in the flat classes (N C)
    skips: Any  # (N, L) 0 where a state can be reached from the last but one, else IMPOSSIBLE
    starts: Any  # (L) is a path allowed to begin there?
    ends: Any  # (N, L) and to end?
    steps: Any  # (N) how many times count
    silent: Any  # (N) has the sample no label?
    shortest: int  # the least of the steps, 0 if not known


@rule(arrays=3)
def _add_logs(xp: Any, a: Any, b: Any, c: Any) -> Any:
    """`log(exp(a) + exp(b) + exp(c))`, whose derivatives are the shares of the three."""
    if any(type(x) is Traced for x in (a, b, c)):
        y = _add_logs(a, b, c)
    else:
        top = xp.maximum(xp.maximum(a, b), c)
        y = top + xp.log(xp.exp(a - top) + xp.exp(b - top) + xp.exp(c - top))
    return y, *(lambda g, x=x: g * xp.exp(x - y) for x in (a, b, c))


def _forward(xp: Any, lp: Any, lattice: Lattice) -> tuple[Any, list[Any], Any]:
    """What the states emit, `(T, N, L)`; alpha for each time, `(N, L)`; and `log p`, `(N)`."""
    t, n, c = lp.shape
    size = lattice.skips.shape[1]
    emitted = xp.reshape(xp.take(xp.reshape(lp, (t, n * c)), lattice.places, axis=1), (t, n, size))
    emitted = at_least(emitted, IMPOSSIBLE)
    before = _impossible(lattice)
    alphas = [xp.where(lattice.starts, emitted[0, ...], IMPOSSIBLE)]
    for i in range(1, t):
        alpha = alphas[-1]
        wide = xp.concat([before, alpha], axis=1)  # one and two states further
        new = _add_logs(alpha, wide[:, 1:-1], wide[:, :-2] + lattice.skips) + emitted[i, ...]
        alphas.append(_while_counting(xp, i, lattice, new, alpha))
    ending = xp.where(lattice.ends, alphas[-1], IMPOSSIBLE)
    log_p = xp.reshape(_logsumexp(ending, (1,)), (n,))
    if lattice.shortest == 0:
        nothing = xp.where(lattice.silent, xp.zeros_like(log_p), IMPOSSIBLE)
        log_p = xp.where(lattice.steps == 0, nothing, log_p)
    return emitted, alphas, log_p


def _betas(xp: Any, emitted: Any, lattice: Lattice) -> list[Any]:
    """beta for each time, `(N, L)`."""
    after = _impossible(lattice)
    skips = namespace_of(after).concat([lattice.skips, after], axis=1)[:, 2:]
    beta = xp.where(lattice.ends, xp.zeros_like(emitted[0, ...]), IMPOSSIBLE)
    betas = [beta]
    for i in range(emitted.shape[0] - 1, 0, -1):
        on = beta + emitted[i, ...]
        wide = xp.concat([on, after], axis=1)
        beta = _while_counting(
            xp, i, lattice, _add_logs(on, wide[:, 1:-1], wide[:, 2:] + skips), beta
        )
        betas.append(beta)
    return betas[::-1]


def _while_counting(xp: Any, i: int, lattice: Lattice, new: Any, old: Any) -> Any:
    """The new values where time `i` counts, the old ones where the sample is over."""
    return new if i < lattice.shortest else xp.where((lattice.steps > i)[:, None], new, old)


def _impossible(lattice: Lattice) -> Any:
    """Two states that no path goes through, `(N, 2)`."""
    skips = lattice.skips
    shape = (skips.shape[0], 2)
    xp = namespace_of(skips)
    return xp.full(shape, IMPOSSIBLE, dtype=skips.dtype, device=device_of(skips))


@rule
def _ctc(xp: Any, lp: Any, /, lattice: Lattice, zero_infinity: bool) -> Any:
    """`-log p` for each sample: `(T, N, C) -> (N)`.

    The gradient is `exp(lp)` less the probability of each class at each time, given the labels. It is
    that with respect to the logits: torch adds `exp(lp)`, which `log_softmax` takes away again.
    """
    saved = None
    if type(lp) is Traced:
        loss = _ctc(lp, lattice, zero_infinity)
        hopeless = _ctc(raw(lp), lattice, False) == math.inf
    else:
        saved = _forward(xp, lp, lattice)
        hopeless = saved[2] < IMPOSSIBLE / 2
        loss = xp.where(hopeless, 0 if zero_infinity else math.inf, -saved[2])

    def pull(g: Any) -> Any:
        t, n, c = lp.shape
        emitted, alphas, log_p = saved or _forward(xp, lp, lattice)
        both = xp.stack(alphas) + xp.stack(_betas(xp, emitted, lattice))  # (T, N, L)
        here = xp.exp(both - xp.where(hopeless, 0, log_p)[:, None])
        flat = xp.reshape(here, (t, lattice.places.shape[0]))
        of_class = scatter_add(flat, (t, n * c), (slice(None), lattice.places))
        g = xp.where(hopeless, 0 if zero_infinity else math.nan, g)
        slope = (xp.exp(lp) - xp.reshape(of_class, (t, n, c))) * g[:, None]
        times = namespace_of(lattice.steps).arange(t, device=device_of(lattice.steps))
        return xp.where((times[:, None] < lattice.steps)[:, :, None], slope, 0)

    return loss, pull


def ctc_loss(
    log_probs: Array,
    targets: Array,
    input_lengths: Lengths,
    target_lengths: Lengths,
    blank: int = 0,
    reduction: str = "mean",
    zero_infinity: bool = False,
) -> Array:
    """The loss of connectionist temporal classification: minus the logarithm of the probability of a
    sequence of labels, however it is spread over time.

    *Shape* log_probs `(T, N, C)` or `(T, C)`: logarithms of probabilities, as `log_softmax` gives
    them. targets: `(N, S)`, of which the first `target_lengths` of each row count, or all labels of
    the batch one after another, `(sum(target_lengths))`. Lengths: `(N)` or `()`,
    arrays or sequences of integers. The result is a scalar, or `(N)` or `()` with `reduction="none"`.

    *Parameters* `input_lengths`: how many times of each sample count, up to `T`. `blank`: the class
    that means no label. `reduction`: `"mean"` divides each loss by the number of its labels (at least
    1) and takes the mean over the batch; `"sum"`, `"none"`. `zero_infinity`: where the labels do not
    fit into the times, the loss is infinite and its gradient NaN; with this, both are 0.

    *Raises* `ShapeError` for shapes that do not belong together; `DtypeError` unless log_probs are
    real floating numbers and targets integers; `ValueError` for a length or a label out of range, a
    blank that is no class, or an unknown reduction.

    *Notes* The gradient is that of torch: with respect to the logits before `log_softmax`, with which
    it must be used. Where lengths and labels may not be read, on a GPU or in a compiled step, a wrong
    one makes the loss NaN. The loop runs over time only. Labels that fill a row up are not looked at.

    *References* A. Graves, S. Fernández, F. Gomez, J. Schmidhuber (2006), "Connectionist temporal
    classification", eq. 5 to 16.

    >>> import numpy as np
    >>> log_probs = np.log(np.full((3, 1, 2), 0.5))
    >>> ctc_loss(log_probs, np.asarray([[1]]), (3,), (1,))  # 6 of 8 paths
    np.float64(0.2876820724517809)
    """
    check_reduction("ctc_loss", reduction)
    arguments.real("ctc_loss", log_probs=log_probs)
    arguments.integers("ctc_loss", targets=targets)
    xp, lp, batched = array_namespace(log_probs), log_probs, log_probs.ndim == 3
    if lp.ndim not in (2, 3) or 0 in (lp.shape[0], lp.shape[-1]):
        raise ShapeError(
            "ctc_loss: expected log_probs (T, N, C) or (T, C) of at least one time and one class, got "
            f"{tuple(lp.shape)}"
        )
    lp = lp if batched else xp.expand_dims(lp, axis=1)
    narrow = getattr(lp.dtype, "itemsize", 4) < 4
    lp = xp.astype(lp, xp.float32) if narrow else lp
    t, n, c = lp.shape
    if not 0 <= operator.index(blank) < c:
        raise ArgumentError(f"ctc_loss: expected blank in [0, {c}), got {blank}")
    steps = _Counts("input_lengths", input_lengths, n, t, raw(lp))
    counts = _Counts("target_lengths", target_lengths, n, _room(raw(targets), n), raw(lp))
    labels, wrong = _labels(raw(targets), counts, n, c)
    lattice = _lattice(raw(lp), labels, steps, counts, blank)
    loss = _ctc(lp, lattice, zero_infinity)
    for mask in (wrong, steps.wrong, counts.wrong):
        loss = loss if mask is None else xp.where(mask, math.nan, loss)
    loss = xp.astype(loss, log_probs.dtype) if narrow else loss
    if reduction == "mean":
        lib = namespace_of(counts.array)
        loss = loss / lib.astype(lib.maximum(counts.array, lib.ones_like(counts.array)), loss.dtype)
    return reduced(loss, reduction) if batched or reduction != "none" else loss[0]


class _Counts:
    """One number for each sample, at most `most`: as an array, and as integers if they may be read."""

    def __init__(self, name: str, given: Lengths, n: int, most: int, like: Any) -> None:
        lib = namespace_of(like)
        self.known: list[int] | None
        self.wrong: Any = None
        if hasattr(given, "dtype"):
            arguments.integers("ctc_loss", **{name: given})
            x = raw(given)
            x = lib.astype(lib.reshape(x, (-1,)), lib.int64)
            self.known = backend_of(lib).to_numpy(x).tolist() if at_hand(x) else None
        else:
            self.known = _integers(name, given)
            x = lib.asarray(self.known, dtype=lib.int64, device=device_of(like))
        if x.shape[0] != n:
            raise ShapeError(
                f"ctc_loss: expected {n} {name}, one for each sample, got {x.shape[0]}"
            )
        if self.known is None:
            self.wrong = (x < 0) | (x > most)
            x = lib.where(self.wrong, 0, x)
        for k in self.known or ():
            if not 0 <= k <= most:
                raise ArgumentError(f"ctc_loss: expected {name} in [0, {most}], got {k}")
        self.array = x


def _integers(name: str, given: Any) -> list[int]:
    try:
        return [operator.index(k) for k in (given if isinstance(given, Sequence) else (given,))]
    except TypeError:
        raise DtypeError(
            f"ctc_loss: expected {name} as an array or a sequence of integers, got {given!r}"
        ) from None


def _room(targets: Any, n: int) -> int:
    """The greatest number of labels of one sample."""
    shape = tuple(targets.shape)
    if len(shape) not in (1, 2) or (len(shape) == 2 and shape[0] != n):
        raise ShapeError(
            f"ctc_loss: expected targets ({n}, S) or (sum(target_lengths)), got {shape}"
        )
    return int(shape[-1])


def _labels(targets: Any, counts: _Counts, n: int, c: int) -> tuple[Any, Any]:
    """Labels `(N, S)` that are safe to index with, and the samples with a wrong one, `None` if there
    is none."""
    xp = namespace_of(targets)
    targets = xp.astype(targets, xp.int64)
    count, size = counts.array, targets.shape[-1]
    if counts.known is not None:
        if targets.ndim == 1 and sum(counts.known) != size:
            raise ShapeError(
                f"ctc_loss: expected {sum(counts.known)} targets, the sum of target_lengths, got {size}"
            )
        size = max(counts.known, default=0)
    place = xp.arange(size, device=device_of(targets))
    if targets.ndim == 1:
        first = xp.cumulative_sum(count) - count
        at = xp.reshape(first[:, None] + place, (-1,))
        labels = xp.reshape(xp.take(targets, xp.where(at < targets.shape[0], at, 0)), (n, size))
    else:
        labels = targets[:, :size]
    outside = ((labels < 0) | (labels >= c)) & (place < count[:, None])
    wrong = None
    if not at_hand(targets) or counts.known is None:
        wrong = xp.any(outside, axis=1)
        if targets.ndim == 1:
            wrong = wrong | (xp.sum(count) != targets.shape[0])
    elif bool(xp.any(outside)):
        found = int(xp.max(xp.where(outside, labels, xp.min(labels) - 1)))
        raise ArgumentError(f"ctc_loss: expected targets in [0, {c}), got {found}")
    return xp.where((labels < 0) | (labels >= c), 0, labels), wrong


def _lattice(lp: Any, labels: Any, steps: _Counts, counts: _Counts, blank: int) -> Lattice:
    """Blanks around the labels, and which ways lead from state to state."""
    xp, device = namespace_of(lp), device_of(lp)
    n, size = labels.shape
    blanks = xp.full((n, size + 1), blank, dtype=labels.dtype, device=device)
    pairs = xp.stack([blanks[:, :size], labels], axis=2)
    states = xp.concat([xp.reshape(pairs, (n, 2 * size)), blanks[:, size:]], axis=1)  # (N, L)
    place = xp.arange(2 * size + 1, device=device)
    two = min(2, 2 * size + 1)
    differ = states[:, two:] != states[:, : 2 * size + 1 - two]
    skips = xp.full((n, two), IMPOSSIBLE, dtype=lp.dtype, device=device)
    free = xp.zeros(differ.shape, dtype=lp.dtype, device=device)
    end = 2 * counts.array[:, None]
    rows = xp.arange(n, device=device)[:, None] * lp.shape[2]
    return Lattice(
        places=xp.reshape(rows + states, (-1,)),
        skips=xp.concat([skips, xp.where(differ, free, IMPOSSIBLE)], axis=1),
        starts=place <= 1,
        ends=(place == end) | (place == end - 1),
        steps=steps.array,
        silent=counts.array == 0,
        shortest=0 if steps.known is None else min(steps.known, default=0),
    )
