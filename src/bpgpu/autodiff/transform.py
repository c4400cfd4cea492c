"""The transformations: from a function to its value and gradient, its pullback, its pushforward."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from bpgpu import tree as trees
from bpgpu.autodiff.array import Array, raw
from bpgpu.autodiff.compilers import ready
from bpgpu.autodiff.dtypes import kind
from bpgpu.autodiff.lift import (
    Call,
    Inputs,
    Opened,
    check_devices,
    check_function,
    find_namespace,
    is_input,
    is_number,
    lift_constants,
    lower,
)
from bpgpu.autodiff.namespace import array_namespace
from bpgpu.autodiff.rule import library_name
from bpgpu.autodiff.state import all_or_nothing
from bpgpu.autodiff.tape import Tape, add_to, backward, here
from bpgpu.backend.libraries import namespace_of as plain_namespace
from bpgpu.errors import (
    ArgumentError,
    DtypeError,
    LibraryError,
    NotDifferentiableError,
    ShapeError,
    TreeError,
)

Argnums = int | tuple[int, ...]


def value_and_grad(
    f: Callable[..., Any], argnums: Argnums = 0, has_aux: bool = False
) -> Callable[..., Any]:
    """A function that gives the value of `f` and its gradient.

    `value, gradient = value_and_grad(f)(*args)` with `gradient = d value / d args[argnums]`, by
    reverse mode: one run forward, one back, whatever the number of parameters.

    *Parameters*
    `f`: a function written to the Array API that returns a real scalar (shape `()`). Arguments are
    trees of arrays: dicts, lists, tuples, named tuples, dataclasses.
    `argnums`: which positional arguments to differentiate; with a tuple, the gradient is a tuple.
    `has_aux`: `f` returns `(value, aux)`, and so does the new function: `((value, aux), gradient)`.

    The gradient has the structure, shapes and dtypes of the argument; that of a Module is a dict of
    dotted paths. A leaf on which the value does not depend gets zeros, a parameter of a Module
    `None`; a result that depends on none of them is an error.

    *Raises* `ShapeError` for a result that is no scalar, `DtypeError` for an argument that is not
    floating, `LibraryError` and `DeviceError` for arrays that do not belong together,
    `NotDifferentiableError` where the gradient cannot pass.

    *Notes* For complex arguments the gradient follows torch's convention: `z -= lr * gradient`
    descends.

    >>> import numpy as np
    >>> value_and_grad(lambda x: x @ x)(np.asarray([1.0, 2.0]))
    (np.float64(5.0), array([2., 4.]))
    """
    return _value_and_grad("value_and_grad", f, argnums, has_aux)


def _value_and_grad(
    name: str, f: Callable[..., Any], argnums: Argnums, has_aux: bool
) -> Callable[..., Any]:
    check_function(name, f)

    @functools.wraps(f)
    def run(*args: Any, **kwargs: Any) -> Any:
        ready()
        call = Call(name, f)
        chosen = positions(call, argnums, len(args))
        opened: Opened = {}
        namespace = find_namespace([args[p] for p in chosen], args, opened)
        tape = Tape(namespace)
        with all_or_nothing():
            try:
                inputs = Inputs(tape, call, opened)
                lifted = _lift(call, inputs, chosen, args)
                if kwargs:
                    kwargs = {k: lift_constants(call, k, v, namespace) for k, v in kwargs.items()}
                out = f(*lifted, **kwargs)
            finally:
                tape.close()
            inputs.finish()
        loss, aux = _split(call, out) if has_aux else (out, None)
        _check_loss(call, loss, tape)
        value = loss.value
        grads: list[Any] = [None] * len(tape.nodes)
        grads[loss.index] = seed(tape, value)
        if has_aux:
            value = (value, lower(tape, aux))
        del (
            lifted,
            kwargs,
            out,
            loss,
            aux,
        )  # what only the function held is freed as the walk goes back
        grads = backward(tape, grads, len(inputs.leaves))
        own = namespace.backend.own
        grads = lower(tape, grads) if tape.nested else own(grads, inputs.leaves)
        stream = zip(inputs.leaves, grads, strict=True)
        gradient = tuple(_gradient(inputs, args[p], stream) for p in chosen)
        return value, gradient if isinstance(argnums, tuple) else gradient[0]

    return run


def grad(f: Callable[..., Any], argnums: Argnums = 0, has_aux: bool = False) -> Callable[..., Any]:
    """A function that gives the gradient of `f`; see `value_and_grad`.

    With `has_aux` it gives `(gradient, aux)`.

    >>> import numpy as np
    >>> grad(lambda x: x**3)(np.asarray(2.0))
    np.float64(12.0)
    """
    both = _value_and_grad("grad", f, argnums, has_aux)

    @functools.wraps(f)
    def run(*args: Any, **kwargs: Any) -> Any:
        value, gradient = both(*args, **kwargs)
        return (gradient, value[1]) if has_aux else gradient

    return run


def vjp(f: Callable[..., Any], *primals: Any) -> tuple[Any, Callable[[Any], tuple[Any, ...]]]:
    """The value of `f` and its pullback: `out, pull = vjp(f, *primals)`.

    `pull(ct)` takes a cotangent of the structure of `out` to a tuple of cotangents, one for each
    primal: `ct * J` for the Jacobian `J` of `f`. It may be called again, with other cotangents, and
    be differentiated with respect to `ct` (`f` then runs once more).

    *Raises* `TreeError` for a cotangent of another structure or shape than the output.

    >>> import numpy as np
    >>> out, pull = vjp(lambda x: x * x, np.asarray([1.0, 2.0]))
    >>> pull(np.asarray([1.0, 10.0]))
    (array([ 2., 40.]),)
    """
    call = Call("vjp", f)
    pullback = Pullback(call, f, primals, nested=False)
    return pullback.out, pullback


class Pullback:
    """A recorded function that can be walked back as often as asked.

    `nested` records it so that the walk back can be differentiated too; inside another trace it
    always is."""

    def __init__(
        self, call: Call, f: Callable[..., Any], primals: tuple[Any, ...], *, nested: bool
    ) -> None:
        ready()
        self.call, self.f, self.primals = call, f, primals
        self.namespace = find_namespace(primals)
        self.tape = tape = Tape(self.namespace, nested=nested)
        with all_or_nothing():
            try:
                self.inputs = Inputs(tape, call)
                out = f(*_lift(call, self.inputs, range(len(primals)), primals))
            finally:
                tape.close()
            self.inputs.finish()
        self.results = trees.leaves(out, is_input)  # where each output stands on the tape
        self.out = lower(tape, out)
        if not tape.nested:  # what the pullback has saved must not change with what the caller gets
            plain, rebuild = trees.flatten(self.out)
            self.out = rebuild(self.namespace.backend.own(plain, plain))

    def __call__(self, cotangent: Any) -> tuple[Any, ...]:
        return self._walk(self._cotangents(cotangent), cotangent)

    def along(self, k: int, ct: Any) -> tuple[Any, ...]:
        """The cotangents of the primals for output leaf `k` alone."""
        cts = [None] * len(self.results)
        cts[k] = ct
        return self._walk(cts, None)

    def _walk(self, cts: list[Any], cotangent: Any) -> tuple[Any, ...]:
        tape = self.tape
        if not tape.nested and any(type(ct) is Array for ct in cts):
            return self._differentiable()(cotangent)
        grads: list[Any] = [None] * len(tape.nodes)
        for y, ct in zip(self.results, cts, strict=True):
            if type(y) is Array and y.tape is tape and ct is not None:
                add_to(grads, y.index, Array(ct) if tape.nested and type(ct) is not Array else ct)
        grads = backward(tape, grads, len(self.inputs.leaves), keep=True)
        if not tape.nested:
            others = [*self.inputs.leaves, *(ct for ct in cts if ct is not None)]
            grads = self.namespace.backend.own(grads, others)
        else:
            grads = lower(tape, grads)
        stream = zip(self.inputs.leaves, grads, strict=True)
        return tuple(_gradient(self.inputs, p, stream) for p in self.primals)

    def _differentiable(self) -> Pullback:
        return Pullback(self.call, self.f, self.primals, nested=True)

    def _cotangents(self, cotangent: Any) -> list[Any]:
        """The leaves of the cotangent, checked against the output; `None` stands for zero."""
        found: list[Any] = []

        def one(y: Any, ct: Any) -> None:
            found.append(None if ct is None else self._cotangent(y, ct))

        trees.map(one, self.out, cotangent, leaf=is_input)
        return found

    def _cotangent(self, y: Any, ct: Any) -> Any:
        """One cotangent, in the dtype of its output."""
        name, xp = self.call.name, self.namespace.xp
        if not trees.is_array(ct):
            return xp.asarray(ct, dtype=y.dtype)
        if ct.shape != y.shape:
            raise ShapeError(
                f"{name}: a cotangent has shape {ct.shape}, its output has shape {y.shape}; they must be equal"
            )
        if plain_namespace(raw(ct)).__name__ != xp.__name__:
            raise LibraryError(
                f"{name}: a cotangent is an array of {library_name(plain_namespace(raw(ct)))}, its output is of "
                f"{library_name(xp)}. Convert it first, for example with bpgpu.to_numpy(ct)"
            )
        if kind(ct.dtype) == "complex" and kind(y.dtype) != "complex":
            raise DtypeError(
                f"{name}: a cotangent has dtype {ct.dtype}, its output is real ({y.dtype}). Take xp.real(ct)"
            )
        return ct if ct.dtype == y.dtype else array_namespace(ct).astype(ct, y.dtype)


# ---- the steps in common


def positions(call: Call, argnums: Argnums, count: int) -> tuple[int, ...]:
    """`argnums` as a tuple of positions, counted from 0."""
    found: list[int] = []
    for n in argnums if isinstance(argnums, tuple) else (argnums,):
        if type(n) is not int:
            raise ArgumentError(
                f"{call.name}: argnums must be the position of an argument or a tuple of positions, got {argnums!r}"
            )
        if not -count <= n < count:
            raise ArgumentError(
                f"{call.name}: argnums names argument {n}, but the call has {count} positional arguments; pass it by "
                "position, not by keyword"
            )
        if n % count in found:
            raise ArgumentError(
                f"{call.name}: argnums names argument {n % count} twice, got {argnums}; name each argument once"
            )
        found.append(n % count)
    if not found:
        raise ArgumentError(f"{call.name}: argnums is empty; name at least one argument")
    return tuple(found)


def _lift(call: Call, inputs: Inputs, positions: Any, args: tuple[Any, ...]) -> list[Any]:
    """The arguments as the function gets them: differentiated ones traced, arrays of the others
    constants."""
    lifted = list(args)
    for p in positions:
        lifted[p] = inputs.lift(p, args[p])
    if not inputs.leaves:
        where = call.where(positions[0]) if positions else call.name
        raise DtypeError(
            f"{where}: there is no array in it to differentiate; pass an array, a float, or a tree of them"
        )
    namespace = inputs.tape.namespace
    for p, arg in enumerate(args):
        if p not in positions:
            lifted[p] = lift_constants(call, p, arg, namespace)
    if not namespace.backend.one_device:
        check_devices(call, trees.leaves(lifted), namespace)
    return lifted


def _split(call: Call, out: Any) -> tuple[Any, Any]:
    if not isinstance(out, tuple) or len(out) != 2:
        raise TreeError(
            f"{call.name}: with has_aux=True the function must return a pair (value, aux), got "
            f"{type(out).__name__}"
        )
    return out


def _check_loss(call: Call, loss: Any, tape: Tape) -> None:
    """Raise unless the result is a real scalar on this tape."""
    if loss is None:
        raise NotDifferentiableError(
            f"{call.name}: the function returned None; return the scalar that is to be differentiated"
        )
    if trees.container(loss) is not None:
        raise TreeError(
            f"{call.name}: the function must return one scalar, got {type(loss).__name__}. Return (value, aux) with "
            "has_aux=True, or use vjp or jacobian for functions with several outputs"
        )
    if type(loss) is Array and loss.shape != ():
        raise ShapeError(
            f"{call.name}: the function must return a scalar, got shape {loss.shape}. Reduce it (xp.sum, "
            "xp.mean), or "
            "use vjp or jacobian for functions with several outputs"
        )
    if type(loss) is not Array or loss.tape is not tape:
        got = f"an array of {loss.dtype}" if type(loss) is Array else type(loss).__name__
        raise NotDifferentiableError(
            f"{call.name}: the result does not depend on the differentiated arguments, got {got}. The gradient "
            "was cut "
            "on the way: by stop_gradient, by a comparison or an integer, or by a conversion to another library; or "
            "another argument was meant (argnums)"
        )
    if kind(loss.dtype) == "complex":
        raise DtypeError(
            f"{call.name}: the function must return a real scalar, got dtype {loss.dtype}. Take xp.real(z) or "
            "xp.abs(z), or use vjp"
        )


def seed(tape: Tape, loss: Any) -> Any:
    """The gradient of a scalar by itself."""
    if tape.nested:
        return tape.xp.ones_like(loss)
    return tape.namespace.backend.one(loss)


def _gradient(inputs: Inputs, tree: Any, stream: Any) -> Any:
    """The next gradients of the stream in the structure of an argument, and `None` beside them."""
    how = trees.kind_of(tree)
    if how is False and not is_number(tree):
        return None
    if how is True or how is False:
        tape = inputs.tape
        leaf, g = next(stream)
        return (
            anchored(leaf, _zeros(tape, leaf) if g is None else g)
            if tape.nested or g is None
            else g
        )
    if how.identity is not None:
        return {name: next(stream)[1] for name in inputs.names[id(tree)]}
    return how.rebuild(tree, [_gradient(inputs, v, stream) for v in how.values(tree)])


def anchored(leaf: Any, g: Any) -> Any:
    """A gradient that is constant with respect to a traced leaf, as a result of that trace: its own derivative is
    zero, not undefined."""
    if type(g) is not Array or g.tape is not None or type(leaf) is not Array or leaf.tape is None:
        return g
    return Array(g if leaf.tape.nested else g.value, leaf.tape, leaf.tape.input())


def _zeros(tape: Tape, leaf: Any) -> Any:
    zeros = tape.xp.zeros_like(leaf)
    return raw(zeros) if here.tape is None else zeros


def like_gradient(tree: Any) -> Any:
    """A tree in the structure that its gradient has: leaf for leaf, but objects as dicts of their
    arrays."""
    how = trees.container(tree)
    if how is None:
        return tree
    if how.identity is not None:
        return dict(how.identity.branches(tree))
    return how.rebuild(tree, [like_gradient(v) for v in how.values(tree)])
