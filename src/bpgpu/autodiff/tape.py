"""The tape: what was computed, in order, and the walk back over it.

Node `i` of a tape made array `i`. A node is a tuple of `(parent, pull)` pairs, one for each operand that is on the tape;
`pull` takes the gradient of the result to the gradient of that operand, and `None` passes it through unchanged.
Node kinds with more to say (several outputs, work shared between gradients) are classes with a method `spread`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import Any

from bpgpu.errors import TraceError

Pull = Callable[[Any], Any] | None


class _Here(threading.local):
    """The innermost open tape of this thread.

    It is the same on exit from a gradient as on entry, so that compilers which guard on what they read stay valid.
    """

    def __init__(self) -> None:
        self.tape: Tape | None = None


here = _Here()


class Tape:
    """A flat list of nodes in order of execution, open while the traced function runs.

    Inside another trace a tape is *nested*: all values on it are arrays of the traced namespace themselves, so that
    the gradients computed from it can be differentiated again. `convertible` lets traced arrays become numbers and
    plain arrays, at the price of their gradient.
    """

    __slots__ = ("convertible", "level", "namespace", "nested", "nodes", "open", "parent", "reals", "xp")

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
                "a traced array was used in another thread than the one that traces it. Compute gradients inside each "
                "thread (call bpgpu.grad there), or pass bpgpu.stop_gradient(x) to the other thread"
            )
        raise TraceError(
            "a traced array was used after its trace had ended, so its gradient is gone: it leaked out of the "
            "differentiated function. Return it from the function (has_aux=True), or keep bpgpu.stop_gradient(x)"
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


class Outputs:
    """A node with several results. The `count` slots after it collect their gradients; `None` where one is unused."""

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


def backward(nodes: list[Any], grads: list[Any], inputs: int, *, keep: bool = False) -> list[Any]:
    """Walk the tape in reverse and return the gradients of the first `inputs` nodes.

    `grads[i]` starts as the gradient of array `i`, `None` for zero. Unless `keep`, each node is dropped as soon as it
    has been used, which frees what it saved: the memory shrinks as the walk goes on.
    """
    for i in range(len(nodes) - 1, inputs - 1, -1):
        node = nodes[i] if keep else nodes.pop()
        if type(node) is tuple:
            g = grads[i]
            if g is None:
                continue
            grads[i] = None
            for parent, pull in node:
                gp = g if pull is None else pull(g)
                old = grads[parent]
                grads[parent] = gp if old is None else old + gp
        elif node is not None:
            for parent, gp in node.spread(grads, i):
                if gp is not None:
                    old = grads[parent]
                    grads[parent] = gp if old is None else old + gp
    return grads[:inputs]
