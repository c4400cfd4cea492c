"""`explain`: the forward values and every product of the chain rule, for a small network.

The loss runs on arrays that write down each function that they meet. Then the gradient is carried back one function at
a time, and each product is written down with its numbers.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable
from typing import Any, NamedTuple

from bpgpu import functional
from bpgpu import tree as trees
from bpgpu.autodiff.lift import check_function
from bpgpu.autodiff.transform import vjp
from bpgpu.device import device, to_numpy
from bpgpu.errors import ArgumentError, NotDifferentiableError, ShapeError

LARGEST = 400
"""How many functions are explained at most."""

_OPERATORS = {
    "add": "add", "sub": "subtract", "mul": "multiply", "truediv": "divide", "pow": "pow", "matmul": "matmul",
    "floordiv": "floor_divide", "mod": "remainder", "and": "bitwise_and", "or": "bitwise_or", "xor": "bitwise_xor",
}  # fmt: skip
_METHODS = ("all", "any", "argmax", "argmin", "max", "mean", "min", "prod", "std", "sum", "var")
_UNARY = {"invert": "bitwise_invert", "neg": "negative", "pos": "positive", "abs": "abs"}
_COMPARISONS = {
    "lt": "less", "le": "less_equal", "gt": "greater", "ge": "greater_equal", "eq": "equal", "ne": "not_equal",
}  # fmt: skip


class Step(NamedTuple):
    """A function that was called: its name, itself as a function of its operands, and what it made."""

    name: str
    f: Callable[..., Any]
    operands: list[Told]
    out: Told
    words: str
    shown: list[str]
    """The arguments, if the words are the name and these."""


class Told:
    """An array that tells its story what is done with it."""

    __hash__ = None  # type: ignore[assignment]
    __array_priority__ = 2000

    def __init__(self, value: Any, name: str, story: Story, differentiable: bool) -> None:
        self.value, self.name, self.story, self.differentiable = value, name, story, differentiable

    def __array_namespace__(self, *, api_version: str | None = None) -> Any:
        return self.story

    def __getitem__(self, key: Any) -> Any:
        words = f"{self.name}[{_short_form(key)}]"
        return self.story.call("getitem", operator.getitem, (self, key), {}, words)

    def __getattr__(self, name: str) -> Any:
        if name in ("shape", "dtype", "ndim", "size", "device"):
            return getattr(self.value, name)
        if name in ("T", "mT"):
            return self.story.matrix_transpose(self)
        if name in _METHODS:
            return functools.partial(getattr(self.story, name), self)
        if name == "reshape":
            return lambda *shape: self.story.reshape(
                self, shape[0] if isinstance(shape[0], tuple) else shape
            )
        raise AttributeError(
            f"an array that is explained has no {name}; write it with xp functions"
        )

    def __array_ufunc__(self, ufunc: Any, method: str, *args: Any, **kwargs: Any) -> Any:
        if method != "__call__" or not hasattr(self.story.xp, ufunc.__name__):
            return NotImplemented
        return getattr(self.story, ufunc.__name__)(*args, **kwargs)

    def __array_function__(self, f: Any, types: Any, args: Any, kwargs: Any) -> Any:
        if not hasattr(self.story.xp, f.__name__):
            return NotImplemented
        return getattr(self.story, f.__name__)(*args, **kwargs)

    def __bool__(self) -> bool:
        return bool(self.value)

    def __index__(self) -> int:
        return int(self.value)

    def __float__(self) -> float:
        return float(self.value)


def _operator(function: str, swapped: bool) -> Callable[..., Any]:
    def run(self: Told, other: Any = None) -> Any:
        call = getattr(self.story, function)
        return call(other, self) if swapped else call(self, other)

    return run


def _single(function: str) -> Callable[..., Any]:
    return lambda self: getattr(self.story, function)(self)


for _short, _long in {**_OPERATORS, **_COMPARISONS}.items():
    setattr(Told, f"__{_short}__", _operator(_long, False))
for _short, _long in _OPERATORS.items():
    setattr(Told, f"__r{_short}__", _operator(_long, True))
for _short, _long in _UNARY.items():
    setattr(Told, f"__{_short}__", _single(_long))


class Story:
    """A namespace of the Array API over NumPy's that writes down what is called."""

    __name__ = "bpgpu_story"

    def __init__(self) -> None:
        self.xp = device("cpu").xp
        self.steps: list[Step] = []

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.xp, name)
        if isinstance(found, type) or not callable(found) or name in ("isdtype", "finfo", "iinfo"):
            return found

        def told(*args: Any, **kwargs: Any) -> Any:
            return self.call(name, found, args, kwargs)

        return told

    def relu(self, x: Told) -> Told:
        """Its derivative at 0 is that of `bpgpu.functional.relu`, and not that of a maximum."""
        return self.call("relu", functional.relu, (x,), {})  # type: ignore[no-any-return]

    def call(
        self,
        name: str,
        f: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        words: str = "",
    ) -> Any:
        operands = trees.leaves((args, kwargs), _is_told)

        def of(*values: Any) -> Any:
            stream = iter(values)
            full, named = trees.map(lambda _: next(stream), (args, kwargs), leaf=_is_told)
            return f(*full, **named)

        value = of(*(t.value for t in operands))
        if not trees.is_array(value):
            return value
        differentiable = any(t.differentiable for t in operands) and value.dtype.kind in "fc"
        made = Told(value, f"h{len(self.steps) + 1}", self, differentiable)
        if not operands:
            made.name = _number(value)
            return made
        shown = [a.name if _is_told(a) else _short_form(a) for a in args]
        shown += [f"{k}={_short_form(v)}" for k, v in kwargs.items() if v is not None]
        told = words or f"{name}({', '.join(shown)})"
        self.steps.append(Step(name, of, operands, made, told, [] if words else shown))
        if len(self.steps) > LARGEST:
            raise ArgumentError(
                f"explain: the loss calls more than {LARGEST} functions; take a smaller network"
            )
        return made


def _is_told(x: Any) -> bool:
    return type(x) is Told


def _short_form(x: Any) -> str:
    if _is_told(x):
        return str(x.name)
    if type(x) is tuple:
        return ", ".join(map(_short_form, x))
    return _number(x) if trees.is_array(x) else str(x)


def _number(x: Any) -> str:
    xp = device("cpu").xp
    array = xp.asarray(x)
    if array.ndim == 0:
        return f"{array.item():.6g}" if array.dtype.kind == "f" else str(array.item())
    inner = ", ".join(_number(array[i]) for i in range(min(array.shape[0], 8)))
    return f"[{inner}{', ...' if array.shape[0] > 8 else ''}]"


def explain(loss: Callable[..., Any], params: Any, *args: Any, form: str = "text") -> str:
    """The forward values of a loss and every product of the chain rule, with numbers.

    *Parameters* `loss`: `loss(params, *args)`, a real scalar, written to the Array API. `params`: what the gradient is
    taken of: an array, a tree of arrays, or a Module. `args`: data. `form`: `"text"` or `"latex"`.

    *Returns* a text. Each value has a name: those of `params` by their paths, arguments `x1, x2, ...`, what a function
    makes `h1, h2, ...`, the loss `L`. An elementwise function gives a product of numbers, `dL/dh2 * dh2/dh1`, a matrix
    product its rule; what reaches a value over several ways is summed.

    *Raises* `ArgumentError` for another `form` or a network of more than 400 functions, `ShapeError` for a loss that
    is no scalar, `NotDifferentiableError` for one that does not depend on the parameters.

    *Notes* It is for looking, with a few weights. All is computed on the CPU.

    >>> import numpy as np
    >>> print(explain(lambda p: p["w"] ** 2, {"w": np.asarray(3.0)}))
    forward
      w = 3
      L = pow(w, 2) = 9
    backward
      dL/dL = 1
      dL/dw = dL/dL * dL/dw = 1 * 6 = 6
    """
    check_function("explain", loss)
    if form not in ("text", "latex"):
        raise ArgumentError(f'explain: form is "text" or "latex", got {form!r}')
    story = Story()
    named: list[Told] = []

    def told(name: str, x: Any, differentiable: bool) -> Told:
        made = Told(to_numpy(x), name, story, differentiable)
        named.append(made)
        return made

    weights = _lifted(params, lambda path, x: told(path or "w", x, True))
    count = 0

    def data(x: Any) -> Told:
        nonlocal count
        count += 1
        return told(f"x{count}", x, False)

    result = loss(weights, *(trees.map(data, a) for a in args))
    if not _is_told(result) or not result.differentiable:
        raise NotDifferentiableError("explain: the loss does not depend on params")
    if result.shape != ():
        raise ShapeError(f"explain: the loss must be a scalar, got shape {result.shape}")
    result.name = "L"
    write = _text if form == "text" else _latex
    return write(named, _needed(story.steps, result), result)


def _lifted(params: Any, told: Callable[[str, Any], Told]) -> Any:
    how = trees.container(params)
    if how is not None and how.identity is not None:
        branches = list(how.identity.branches(params))
        new = [told(path, x) for path, x in branches]
        return how.identity.twin(params, [x for _, x in branches], new)
    stream = iter([told(path, x) for path, x in trees.items(params)])
    return trees.map(lambda _: next(stream), params)


def _needed(steps: list[Step], result: Told) -> list[Step]:
    """The steps on which the result depends, named again in order."""
    wanted, kept = {id(result)}, []
    for step in reversed(steps):
        if id(step.out) in wanted:
            wanted.update(id(t) for t in step.operands)
            kept.append(step)
    return kept[::-1]


class Product(NamedTuple):
    """One product of the chain rule: `dL/d(operand)` over one function."""

    step: Step
    operand: Told
    above: Any
    local: Any
    """The derivative of an elementwise function; `None` where it is no array of the same shape."""
    rule: str
    value: Any


def _products(steps: list[Step], result: Told) -> tuple[list[Product], dict[int, list[Any]]]:
    xp = device("cpu").xp
    found: list[Product] = []
    parts: dict[int, list[Any]] = {id(result): [xp.ones_like(xp.asarray(result.value))]}
    for step in reversed(steps):
        if id(step.out) not in parts or not step.out.differentiable:
            continue
        above = sum(parts[id(step.out)])
        at = [i for i, t in enumerate(step.operands) if t.differentiable]
        values = [t.value for t in step.operands]

        def of(*xs: Any, step: Step = step, at: list[int] = at, values: list[Any] = values) -> Any:
            full = list(values)
            for i, x in zip(at, xs, strict=True):
                full[i] = x
            return step.f(*full)

        _, pull = vjp(of, *(values[i] for i in at))
        grads, locals_ = pull(above), pull(xp.ones_like(above))
        for i, g, local in zip(at, grads, locals_, strict=True):
            operand = step.operands[i]
            same = operand.shape == step.out.shape and step.name not in (
                "matmul",
                "matrix_transpose",
            )
            exact = same and bool(xp.all(xp.abs(above * local - g) <= 1e-12 * (1 + xp.abs(g))))
            rule = ""
            if step.name == "matmul":
                a, b = (t.name for t in step.operands)
                rule = f"dL/d{step.out.name} @ {b}^T" if i == 0 else f"{a}^T @ dL/d{step.out.name}"
            found.append(Product(step, operand, above, local if exact else None, rule, g))
            parts.setdefault(id(operand), []).append(g)
    return found, parts


def _text(named: list[Told], steps: list[Step], result: Told) -> str:
    lines = ["forward"]
    lines += [f"  {t.name} = {_number(t.value)}" for t in named]
    lines += [f"  {s.out.name} = {s.words} = {_number(s.out.value)}" for s in steps]
    lines += ["backward", "  dL/dL = 1"]
    products, parts = _products(steps, result)
    seen: dict[int, int] = {}
    for p in products:
        out, name = p.step.out.name, p.operand.name
        n = seen[id(p.operand)] = seen.get(id(p.operand), 0) + 1
        total = len(parts[id(p.operand)])
        left = f"dL/d{name}" if total == 1 else f"dL/d{name} (way {n} of {total})"
        numbers = f"{_number(p.above)} * {_number(p.local)} = " if p.local is not None else ""
        rule = p.rule or f"dL/d{out} * d{out}/d{name}"
        lines.append(f"  {left} = {rule} = {numbers}{_number(p.value)}")
        if n == total > 1:
            lines.append(
                f"  dL/d{name} = sum of the {total} ways = {_number(sum(parts[id(p.operand)]))}"
            )
    return "\n".join(lines)


def _latex(named: list[Told], steps: list[Step], result: Told) -> str:
    lines = [r"\begin{align*}"]
    lines += [rf"{_tex(t.name)} &= {_matrix(t.value)} \\" for t in named]
    lines += [rf"{_tex(s.out.name)} &= {_formula(s)} = {_matrix(s.out.value)} \\" for s in steps]
    products, parts = _products(steps, result)
    seen: dict[int, int] = {}
    for p in products:
        out, name = _tex(p.step.out.name), _tex(p.operand.name)
        n = seen[id(p.operand)] = seen.get(id(p.operand), 0) + 1
        total = len(parts[id(p.operand)])
        dot = r"\cdot" if p.step.out.shape == () else r"\odot"
        numbers = rf"{_matrix(p.above)} {dot} {_matrix(p.local)} = " if p.local is not None else ""
        left = rf"\frac{{\partial L}}{{\partial {name}}}" + (rf"^{{({n})}}" if total > 1 else "")
        chain = rf"\frac{{\partial L}}{{\partial {out}}} \frac{{\partial {out}}}{{\partial {name}}}"
        if p.rule:
            d = rf"\frac{{\partial L}}{{\partial {out}}}"
            a, b = (_tex(t.name) for t in p.step.operands)
            chain = rf"{d}\, {b}^T" if p.operand is p.step.operands[0] else rf"{a}^T\, {d}"
        lines.append(rf"{left} &= {chain} = {numbers}{_matrix(p.value)} \\")
        if n == total > 1:
            summed = _matrix(sum(parts[id(p.operand)]))
            lines.append(rf"\frac{{\partial L}}{{\partial {name}}} &= \sum = {summed} \\")
    return "\n".join([*lines, r"\end{align*}"])


_INFIX = {
    "add": "{0} + {1}", "subtract": "{0} - {1}", "multiply": r"{0} \odot {1}", "divide": r"\frac{{{0}}}{{{1}}}",
    "pow": "{{{0}}}^{{{1}}}", "power": "{{{0}}}^{{{1}}}", "matmul": r"{0}\, {1}", "negative": "-{0}",
    "exp": "e^{{{0}}}", "square": "{{{0}}}^2", "sqrt": r"\sqrt{{{0}}}", "abs": r"\left|{0}\right|",
}  # fmt: skip
_NAMED = {"tanh", "log", "sin", "cos", "tan", "sinh", "cosh", "max", "min"}


def _formula(step: Step) -> str:
    """What a step computes, as it is written in a book."""
    form = _INFIX.get(step.name)
    if step.name == "multiply" and step.out.shape == ():
        form = r"{0} \cdot {1}"
    if form is not None and step.shown and not any("=" in s for s in step.shown):
        return form.format(*(_tex(s) for s in step.shown))
    if not step.shown:
        return rf"\mathrm{{{_escaped(step.words)}}}"
    name = rf"\{step.name}" if step.name in _NAMED else rf"\operatorname{{{_escaped(step.name)}}}"
    return rf"{name}({', '.join(_tex(s) for s in step.shown)})"


def _tex(name: str) -> str:
    """A name or a number: `h1` with an index, `L` as it is, paths upright."""
    if name == "L":
        return name
    if name[:1] in ("h", "x") and name[1:].isdigit():
        return f"{name[0]}_{{{name[1:]}}}"
    try:
        float(name)
    except ValueError:
        return rf"\mathrm{{{_escaped(name)}}}"
    return _power_of_ten(name)


def _escaped(text: str) -> str:
    return text.replace("_", r"\_").replace("{", r"\{").replace("}", r"\}").replace("%", r"\%")


def _power_of_ten(number: str) -> str:
    digits, e, exponent = number.partition("e")
    special = {"inf": r"\infty", "-inf": r"-\infty", "nan": r"\mathrm{nan}"}
    return rf"{digits} \cdot 10^{{{int(exponent)}}}" if e else special.get(number, number)


def _matrix(x: Any) -> str:
    """An array as a row or a matrix; one of more axes in brackets."""
    array = device("cpu").xp.asarray(x)
    if array.ndim == 0:
        return _power_of_ten(_number(array))
    if array.ndim > 2 or max(array.shape) > 8 or array.dtype.kind not in "fiu":
        return rf"\mathrm{{{_escaped(_number(array))}}}"
    rows = array if array.ndim == 2 else array[None, :]
    inner = r" \\ ".join(" & ".join(_power_of_ten(_number(v)) for v in row) for row in rows)
    return rf"\begin{{pmatrix}} {inner} \end{{pmatrix}}"
