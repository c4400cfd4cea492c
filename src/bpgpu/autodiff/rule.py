"""Rules, and how applying one is recorded.

A rule computes a value and, beside it, one *pull* for each array operand::

    @elementwise
    def tanh(xp, x):
        y = xp.tanh(x)
        return y, lambda g: g * (1 - y * y)

A pull takes the gradient of the result to the gradient of the operand; `None` passes it on
unchanged, `ZERO` says that there is none to pass. A rule is given values of one level: plain arrays
with their plain namespace `xp`, or, when gradients are nested, arrays of the outer trace with the
traced namespace. So it calls functions of `xp` and operators only, and by that it can be
differentiated itself, to any order.

*Complex numbers.* Pulls are written as for real numbers: `g` times the derivative. Where the result
is complex, the engine conjugates around the pull, which makes the gradient of a holomorphic
function what `z -= lr * g` needs (the convention of torch: `g` times the conjugate of the
derivative). A rule that is not holomorphic (`abs`, `conj`, factorisations) says `conjugate=False`
and follows the convention itself."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, overload

from bpgpu.autodiff.array import Array, fresh, raw
from bpgpu.autodiff.dtypes import kind
from bpgpu.autodiff.tape import Joint, Outputs, Part, Pull, Tape, here
from bpgpu.backend.libraries import namespace_of as plain_namespace
from bpgpu.errors import DeviceError, DtypeError, LibraryError, NotDifferentiableError

SCALARS = frozenset((int, float, complex, bool))


def ZERO(g: Any) -> Any:  # noqa: N802 - a constant that happens to be a pull
    """The pull of an operand on which the result does not depend, to first order."""
    return g * 0


class joint(NamedTuple):  # noqa: N801 - reads as a keyword in rules
    """Marks a pull that gives all gradients at once: `pull(g, wanted) -> one gradient per operand`.

    `wanted` tells for each operand whether its gradient is used; `None` may stand for the others.
    """

    pull: Callable[[Any, tuple[bool, ...]], Sequence[Any]]


class part:  # noqa: N801 - reads as a keyword in rules
    """Marks the pull of an operand of which a part was read: `pull(g)` gives the gradient of all of it, and
    `add(whole, g)` adds to that in place, or is false if it cannot."""

    __slots__ = ("add", "pull")

    def __init__(self, pull: Callable[[Any], Any], add: Callable[[Any, Any], bool]) -> None:
        self.pull, self.add = pull, add

    def __call__(self, g: Any) -> Any:
        return self.pull(g)


def undefined(name: str, why: str) -> Callable[[Any], Any]:
    """A pull for what has no derivative: the value flows on, only a gradient that comes back
    raises."""

    def pull(g: Any) -> Any:
        raise NotDifferentiableError(f"a gradient reached {name}, which has no derivative: {why}")

    return pull


class Rule:
    """A function together with its derivative.

    Calling it with plain arrays gives the plain value; with a traced array among the operands, the
    call is recorded. The first `arrays` positional arguments are the operands (`None`: all of them
    are); further arguments, and those given by keyword, are settings."""

    __slots__ = ("__dict__", "arrays", "conjugate", "function", "name")

    def __init__(
        self, function: Callable[..., Any], *, arrays: int | None = 1, conjugate: bool = True
    ) -> None:
        functools.update_wrapper(self, function)
        self.function = function
        self.name = function.__name__.rstrip("_")
        self.arrays = arrays
        self.conjugate = conjugate

    def __call__(self, *args: Any, **settings: Any) -> Any:
        operands = args if self.arrays is None else args[: self.arrays]
        return apply(self, operands, args[len(operands) :], settings)

    def __repr__(self) -> str:
        return f"<rule {self.name}>"


class Elementwise(Rule):
    """A rule of one operand whose result has its shape and dtype: recorded without any question."""

    def record(self, x: Array) -> Array:
        tape = x.tape
        assert tape is not None
        if tape is not here.tape:
            tape.check()
        value = x.value
        y, pull = self.function(tape.xp, value)
        if y.dtype not in tape.reals:
            pull = fitted(tape.xp, pull, value, y, self.conjugate)
        nodes = tape.nodes
        nodes.append(((x.index, pull),))
        return Array(y, tape, len(nodes) - 1)


class Binary(Rule):
    """An elementwise rule of two operands that says nothing of broadcasting; that is added here.

    The pulls get the gradient in the shape of the result, and what they return is summed over the
    axes that broadcasting had added."""


@overload
def rule(function: Callable[..., Any], /) -> Rule: ...
@overload
def rule(
    *, arrays: int | None = 1, conjugate: bool = True
) -> Callable[[Callable[..., Any]], Rule]: ...
def rule(
    function: Callable[..., Any] | None = None,
    /,
    *,
    arrays: int | None = 1,
    conjugate: bool = True,
) -> Any:
    """Make a rule of `function(xp, *operands, **settings) -> (value, *pulls)`."""
    if function is not None:
        return Rule(function)
    return lambda f: Rule(f, arrays=arrays, conjugate=conjugate)


def elementwise(function: Callable[..., Any]) -> Elementwise:
    """Make a rule of `function(xp, x) -> (y, pull)`, `y` of the shape and dtype of `x`."""
    return Elementwise(function)


def broadcasting(function: Callable[..., Any]) -> Binary:
    """Make a rule of `function(xp, x, y) -> (value, pull_x, pull_y)`, without a thought for
    broadcasting."""
    return Binary(function, arrays=2)


# ---- recording


def apply(
    rule: Rule,
    operands: Sequence[Any],
    args: Sequence[Any] = (),
    settings: dict[str, Any] | None = None,
) -> Any:
    """Run a rule on any mix of plain, constant and traced arrays, and record it on the innermost
    tape among them."""
    tape = innermost(operands)
    if tape is None:
        return _apply_plain(rule, operands, args, settings or {})
    values: list[Any] = []
    parents: list[int | None] = []
    for x in operands:
        if type(x) is Array and x.tape is tape:
            values.append(x.value)
            parents.append(x.index)
        else:
            values.append(enter(tape, x))
            parents.append(None)
    try:
        result, *pulls = rule.function(tape.xp, *values, *args, **(settings or {}))
    except (TypeError, ValueError, RuntimeError) as error:
        explain_mixture(rule.name, values, error)
        raise
    return record(tape, rule, parents, values, result, pulls)


def _apply_plain(
    rule: Rule, operands: Sequence[Any], args: Sequence[Any], settings: dict[str, Any]
) -> Any:
    """No operand is on a tape: the value only. Constants of the traced namespace give a
    constant."""
    values, model, constant = [], None, False
    for x in operands:
        if type(x) is Array:
            x, constant = raw(x), True
        if model is None and type(x) not in SCALARS:
            model = x
        values.append(x)
    result = rule.function(plain_namespace(model), *values, *args, **settings)[0]
    if not constant:
        return result
    if isinstance(result, tuple):
        return rebuilt(result, [Array(v) for v in result])
    return Array(result)


def innermost(operands: Sequence[Any]) -> Tape | None:
    """The deepest tape among the operands, after a check that each of their tapes is open in this
    thread."""
    tape = None
    for x in operands:
        if type(x) is Array and x.tape is not None:
            if x.tape is not here.tape:
                x.tape.check()
            if tape is None or x.tape.level > tape.level:
                tape = x.tape
    return tape


def enter(tape: Tape, x: Any) -> Any:
    """The value of an operand as rules on this tape see it."""
    cls = type(x)
    if cls is Array:
        if x.tape is tape:
            return x.value
        if x.tape is None and not tape.nested:
            return x.value
        return fresh(x)  # the tape must not notice when the user binds the handle to another value
    if cls in SCALARS or x is None:
        return x
    check_library(tape, x)
    return Array(x) if tape.nested else x


def check_library(tape: Tape, x: Any) -> None:
    """Raise unless the plain array `x` is of the library that this tape traces."""
    traced = tape.namespace.xp
    found = plain_namespace(x)
    if found is not traced and getattr(x, "shape", None) != ():
        if found.__name__ == traced.__name__:  # a recording of the same library
            return
        raise LibraryError(
            f"arrays of two libraries were mixed: the traced array is of "
            f"{library_name(traced)}, the other is of "
            f"{library_name(found)}. Convert one of them first, for example with "
            "xp.asarray(bpgpu.to_numpy(x)), "
            "xp = bpgpu.array_namespace(traced)"
        )


def library_name(xp: Any) -> str:
    """The name by which a user knows the library of a namespace."""
    return str(xp.__name__).replace("array_api_compat.", "")


def explain_mixture(name: str, values: Sequence[Any], error: Exception) -> None:
    """Raise our error if a library refused the operands because they live on different devices."""
    devices = {str(d) for d in (getattr(raw(v), "device", None) for v in values) if d is not None}
    if len(devices) > 1:
        raise DeviceError(
            f"{name}: arrays on different devices were mixed: {', '.join(sorted(devices))}. "
            "Move them to one device "
            "first, with bpgpu.to_device(tree, device)"
        ) from error


def record(
    tape: Tape,
    rule: Rule,
    parents: list[int | None],
    values: list[Any],
    result: Any,
    pulls: list[Any],
) -> Any:
    """Append one application of a rule to the tape; the traced result."""
    nodes = tape.nodes
    if isinstance(result, tuple):
        nodes.append(Outputs(_several(parents, pulls), len(result)))
        return rebuilt(result, [_output(tape, v) for v in result])
    dtype = result.dtype
    usual = dtype in tape.reals
    if not usual and kind(dtype) == "other":  # a mask, an index, a cast: nothing flows back
        refuse_objects(dtype)
        return result if type(result) is Array else Array(result)
    if pulls and type(pulls[0]) is joint:
        nodes.append(
            Joint(parents, _fitted_joint(tape.xp, pulls[0], values, result, rule.conjugate))
        )
        return Array(result, tape, len(nodes) - 1)
    if usual and pulls and type(pulls[0]) is part and not tape.nested and parents[0] is not None:
        nodes.append(Part(parents[0], pulls[0].pull, pulls[0].add))
        return Array(result, tape, len(nodes) - 1)
    broadcasts = isinstance(rule, Binary)
    node = []
    for parent, pull, v in zip(parents, pulls, values, strict=True):
        if parent is None or pull is ZERO:
            continue
        if not usual or broadcasts or v.dtype is not dtype:
            pull = fitted(tape.xp, pull, v, result, rule.conjugate, broadcasts)
        node.append((parent, pull))
    nodes.append(tuple(node))
    return Array(result, tape, len(nodes) - 1)


def _several(parents: list[int | None], pulls: list[Any]) -> Any:
    if pulls and type(pulls[0]) is joint:
        return Joint(parents, pulls[0].pull)
    return tuple(
        (p, q) for p, q in zip(parents, pulls, strict=True) if p is not None and q is not ZERO
    )


def _output(tape: Tape, value: Any) -> Any:
    tape.nodes.append(None)  # a slot in which the gradient of this output collects
    if kind(value.dtype) == "other":
        return value if type(value) is Array else Array(value)
    return Array(value, tape, len(tape.nodes) - 1)


def rebuilt(result: tuple[Any, ...], values: list[Any]) -> Any:
    """A tuple, or named tuple, like `result`."""
    cls: Any = type(result)  # torch's named tuples are made from a sequence, as plain tuples are
    return cls(*values) if hasattr(cls, "_fields") else cls(values)


# ---- what rules leave unsaid: broadcasting, mixed dtypes, complex numbers


def fitted(xp: Any, pull: Pull, x: Any, y: Any, conjugate: bool, broadcasts: bool = False) -> Pull:
    """The pull as it must be for operand `x` and result `y`: conjugated, summed and cast where they
    ask for it."""
    dtype, shape = x.dtype, x.shape
    into = kind(y.dtype)
    if into == "other":
        refuse_objects(y.dtype)
    if conjugate and pull is not None and into == "complex":
        pull = _conjugated(xp, pull)
    summed = broadcasts and shape != y.shape
    if not summed and dtype == y.dtype:
        return pull
    real = kind(dtype) == "real"

    def fit(g: Any) -> Any:
        g = g if pull is None else pull(g)
        if summed:
            g = unbroadcast(xp, g, shape)
        if g.dtype != dtype:
            g = xp.astype(xp.real(g) if real and kind(g.dtype) == "complex" else g, dtype)
        return g

    return fit


def refuse_objects(dtype: Any) -> None:
    """Raise if a result is made of Python objects: their values are numbers, but no gradient could come back."""
    if str(dtype) == "object":
        raise DtypeError(
            "a traced array met an array of Python objects, through which no gradient comes back; make it an array of "
            "numbers first: array.astype(float)"
        )


def _conjugated(xp: Any, pull: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda g: xp.conj(pull(xp.conj(g)))


def _fitted_joint(
    xp: Any, marked: joint, values: list[Any], result: Any, conjugate: bool
) -> Callable[..., list[Any]]:
    """The joint pull with each gradient conjugated and cast as its operand asks for it."""
    casts = [None if not hasattr(v, "dtype") else v.dtype for v in values]
    flip = conjugate and kind(result.dtype) == "complex"

    def pull(g: Any, wanted: tuple[bool, ...]) -> list[Any]:
        gs = marked.pull(xp.conj(g) if flip else g, wanted)
        out = []
        for gx, dtype in zip(gs, casts, strict=True):
            if gx is not None:
                if flip:
                    gx = xp.conj(gx)
                if gx.dtype != dtype:
                    real = kind(dtype) == "real" and kind(gx.dtype) == "complex"
                    gx = xp.astype(xp.real(gx) if real else gx, dtype)
            out.append(gx)
        return out

    return pull


def unbroadcast(xp: Any, g: Any, shape: tuple[int, ...]) -> Any:
    """Sum a gradient over the axes that broadcasting to `g.shape` had added to `shape`.

    >>> import numpy as np
    >>> unbroadcast(np, np.ones((4, 2, 3)), (2, 1))
    array([[12.],
           [12.]])
    """
    if g.shape == shape:
        return g
    lead = g.ndim - len(shape)
    if lead:
        g = xp.sum(g, axis=tuple(range(lead)))
    stretched = tuple(i for i, n in enumerate(shape) if n == 1 and g.shape[i] != 1)
    return xp.sum(g, axis=stretched, keepdims=True) if stretched else g


# ---- operators: the calls that training is made of, written out


def operator(binary: Rule, symbol: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """The Python operator of a rule of two operands, at least one of them an `Array`.

    `symbol` is the same operator on plain values, for constants.
    """
    name, function = binary.name, binary.function
    elementwise = isinstance(binary, Binary)
    _BINARY[name] = binary

    def op(a: Any, b: Any) -> Any:
        if type(a) is not Array:
            return right_only(a, b)
        if type(b) is not Array:
            return left_only(a, b)
        tape: Any = a.tape
        if tape is not b.tape:
            if tape is None:
                tape = b.tape
                return one_sided(tape, b, fresh(a) if tape.nested else a.value, b.value, True)
            if b.tape is None:
                return one_sided(tape, a, a.value, fresh(b) if tape.nested else b.value, False)
            return apply(_BINARY[name], (a, b))
        if tape is None:
            return Array(symbol(a.value, b.value))
        if tape is not here.tape:
            tape.check()
        va, vb = a.value, b.value
        xp = tape.xp
        try:
            y, pa, pb = function(xp, va, vb)
        except (TypeError, ValueError, RuntimeError) as error:
            explain_mixture(name, (va, vb), error)
            raise
        dtype = y.dtype
        if va.dtype is dtype and vb.dtype is dtype and dtype in tape.reals:
            if elementwise:
                shape = y.shape
                if va.shape != shape:
                    pa = fitted(xp, pa, va, y, True, True)
                if vb.shape != shape:
                    pb = fitted(xp, pb, vb, y, True, True)
        else:
            pa = fitted(xp, pa, va, y, True, elementwise)
            pb = fitted(xp, pb, vb, y, True, elementwise)
        nodes = tape.nodes
        nodes.append(((a.index, pa), (b.index, pb)))
        return Array(y, tape, len(nodes) - 1)

    def left_only(a: Array, b: Any) -> Any:
        if type(b) not in SCALARS and not is_operand(b):
            return NotImplemented
        tape = a.tape
        if tape is None:
            return Array(symbol(a.value, b))
        return one_sided(tape, a, a.value, enter(tape, b), False)

    def right_only(a: Any, b: Array) -> Any:
        if type(a) not in SCALARS and not is_operand(a):
            return NotImplemented
        tape = b.tape
        if tape is None:
            return Array(symbol(a, b.value))
        return one_sided(tape, b, enter(tape, a), b.value, True)

    def one_sided(tape: Tape, x: Array, va: Any, vb: Any, right: bool) -> Array:
        """Only `x`, the left or the right operand, is on the tape; the other is a constant."""
        if tape is not here.tape:
            tape.check()
        xp = tape.xp
        try:
            y, pa, pb = function(xp, va, vb)
        except (TypeError, ValueError, RuntimeError) as error:
            explain_mixture(name, (va, vb), error)
            raise
        v, pull = (vb, pb) if right else (va, pa)
        dtype = y.dtype
        if v.dtype is not dtype or dtype not in tape.reals or (elementwise and v.shape != y.shape):
            pull = fitted(xp, pull, v, y, True, elementwise)
        nodes = tape.nodes
        nodes.append(((x.index, pull),))
        return Array(y, tape, len(nodes) - 1)

    op.__name__ = name
    return op


_BINARY: dict[str, Rule] = {}
"""The rules of the operators. Compilers that read bytecode want objects of classes in a global, not in a closure."""


def is_operand(x: Any) -> bool:
    """True for what may stand beside a traced array in an operator: a plain array."""
    return hasattr(x, "shape") and hasattr(x, "dtype")
