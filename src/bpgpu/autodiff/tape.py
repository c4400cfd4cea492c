"""The tape: what was computed, in order, and the walk back over it.

Node `i` of a tape made array `i`. A node is a tuple of `(parent, pull)` pairs, one for each operand
that is on the tape; `pull` takes the gradient of the result to the gradient of that operand, and
`None` passes it through unchanged. Node kinds with more to say (several outputs, work shared
between gradients) are classes with a method `spread`."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import Any

from bpgpu.errors import TraceError

Pull = Callable[[Any], Any] | None


class _Here(threading.local):
    """The innermost open tape of this thread.

    It is the same on exit from a gradient as on entry, so that compilers which guard on what they
    read stay valid."""

    def __init__(self) -> None:
        self.tape: Tape | None = None


here = _Here()


class Tape:
    """A flat list of nodes in order of execution, open while the traced function runs.

    Inside another trace a tape is *nested*: all values on it are arrays of the traced namespace
    themselves, so that the gradients computed from it can be differentiated again. `convertible`
    lets traced arrays become numbers and plain arrays, at the price of their gradient."""

    __slots__ = (
        "convertible",
        "level",
        "namespace",
        "nested",
        "nodes",
        "open",
        "parent",
        "reals",
        "xp",
    )

    def __init__(self, namespace: Any, *, nested: bool = False, convertible: bool = False) -> None:
        self.parent = parent = here.tape
        self.level: int = parent.level + 1 if parent is not None else 1
        self.nested = nested or parent is not None
        self.namespace = namespace
        self.xp = namespace if self.nested else namespace.xp
        self.reals: frozenset[Any] = namespace.reals
        self.nodes: list[Any] = []
        self.open = True
        self.convertible = convertible
        here.tape = self

    def close(self) -> None:
        """End the trace. From now on its arrays are refused by every operation."""
        here.tape = self.parent
        self.open = False

    def reopen(self) -> None:
        """Continue the trace on the way back, to record once more what a checkpoint cut out."""
        here.tape = self
        self.open = True

    def input(self) -> int:
        """Reserve the place of one more input; its index."""
        self.nodes.append(())
        return len(self.nodes) - 1

    def check(self) -> None:
        """Raise unless operations may be recorded here now, from this thread."""
        tape = here.tape
        while tape is not None:
            if tape is self:
                return
            tape = tape.parent
        if self.open:
            raise TraceError(
                "a traced array was used in another thread than the one that traces it. "
                "Compute gradients inside each "
                "thread (call bpgpu.grad there), or pass bpgpu.stop_gradient(x) to the other thread"
            )
        raise TraceError(
            "a traced array was used after its trace had ended, so its gradient is gone: it "
            "leaked out of the "
            "differentiated function. Return it from the function (has_aux=True), or keep "
            "bpgpu.stop_gradient(x)"
        )


class Joint:
    """A node whose gradients share work: one pull gives them all, and is told which are wanted."""

    __slots__ = ("parents", "pull", "wanted")

    def __init__(self, parents: list[int | None], pull: Callable[..., Iterable[Any]]) -> None:
        self.parents = parents
        self.wanted = tuple(p is not None for p in parents)
        self.pull = pull

    def spread(self, grads: list[Any], i: int) -> Iterable[tuple[int, Any]]:
        g = grads[i]
        grads[i] = None
        return self.pairs(g)

    def pairs(self, g: Any) -> Iterable[tuple[int, Any]]:
        if g is None:
            return ()
        found = zip(self.parents, self.pull(g, self.wanted), strict=True)
        return [(p, gp) for p, gp in found if p is not None]


class Part:
    """A node that read a part of its operand. Where gradients of other parts have come before, its own
    is added to these in place: reading all parts one by one costs as much as reading the whole.

    `pull` gives the gradient of the whole operand; `add(whole, g)` adds to it in place, and is
    false where it cannot."""

    __slots__ = ("add", "parent", "pull")

    def __init__(self, parent: int, pull: Any, add: Callable[[Any, Any], bool]) -> None:
        self.parent, self.pull, self.add = parent, pull, add

    def gather(self, grads: list[Any], i: int, own: dict[int, Any]) -> None:
        """Add the gradient of this part; `own` has the arrays that were made here, by their place."""
        g, grads[i] = grads[i], None
        old = grads[self.parent]
        if g is None or (old is not None and old is own.get(self.parent) and self.add(old, g)):
            return
        new = self.pull(g)
        grads[self.parent] = own[self.parent] = new if old is None else old + new


class Outputs:
    """A node with several results. The `count` slots after it collect their gradients; `None` where
    one is unused."""

    __slots__ = ("count", "node")

    def __init__(self, node: Any, count: int) -> None:
        self.node, self.count = node, count

    def spread(self, grads: list[Any], i: int) -> Iterable[tuple[int, Any]]:
        ends = slice(i + 1, i + 1 + self.count)
        gs = tuple(grads[ends])
        grads[ends] = [None] * self.count
        if all(g is None for g in gs):
            return ()
        if type(self.node) is Joint:
            return self.node.pairs(gs)
        return [(parent, pull(gs)) for parent, pull in self.node]


class Checkpoint:
    """A stretch of the tape that was cut out after the forward pass, and is recorded again on the
    way back.

    `run` repeats the stretch on the tape as it stands and returns its results. The `count` slots
    after the node collect the gradients of those results."""

    __slots__ = ("count", "run")

    def __init__(self, run: Callable[[], list[Any]], count: int) -> None:
        self.run, self.count = run, count

    def unfold(self, tape: Tape, grads: list[Any], i: int) -> None:
        """Put the stretch back at the end of the tape, with the gradients of its results in
        place."""
        gs = grads[i + 1 : i + 1 + self.count]
        del grads[i:]
        if all(g is None for g in gs):
            return
        tape.reopen()
        try:
            results = self.run()
        finally:
            tape.close()
        grads.extend([None] * (len(tape.nodes) - i))
        for result, g in zip(results, gs, strict=True):
            if g is not None:
                add_to(grads, result.index, g)


class _Dropped:
    """What stands for the nodes that a checkpoint cut out: no gradient may arrive here."""

    def spread(self, grads: list[Any], i: int) -> Iterable[tuple[int, Any]]:
        if grads[i] is not None:
            raise TraceError(
                "a gradient reached an array that was made inside bpgpu.checkpoint(f) and used "
                "outside of it. Return it "
                "from f"
            )
        return ()


DROPPED = _Dropped()


def add_to(grads: list[Any], i: int, g: Any) -> None:
    """Add a gradient to what has arrived at place `i` so far."""
    old = grads[i]
    grads[i] = g if old is None else old + g


def backward(tape: Tape, grads: list[Any], inputs: int, *, keep: bool = False) -> list[Any]:
    """Walk the tape in reverse and return the gradients of its first `inputs` nodes.

    `grads[i]` starts as the gradient of array `i`, `None` for zero. Each node is dropped as soon as
    it has been used, which frees what it saved: the memory shrinks as the walk goes on. With `keep`
    the tape survives for another walk."""
    kept = tape.nodes
    nodes = tape.nodes = list(kept) if keep else kept
    own: dict[int, Any] = {}  # gradients that nobody else holds yet
    try:
        while len(nodes) > inputs:
            node = nodes.pop()
            i = len(nodes)
            if own:
                own.pop(i, None)
            if type(node) is tuple:
                g = grads[i]
                if g is None:
                    continue
                grads[i] = None
                for parent, pull in node:
                    gp = g if pull is None else pull(g)
                    old = grads[parent]
                    grads[parent] = gp if old is None else old + gp
            elif type(node) is Part:
                node.gather(grads, i, own)
            elif type(node) is Checkpoint:
                node.unfold(tape, grads, i)
            elif node is not None:
                for parent, gp in node.spread(grads, i):
                    if gp is not None:
                        add_to(grads, parent, gp)
    finally:
        if keep:
            tape.nodes = kept
    return grads[:inputs]
