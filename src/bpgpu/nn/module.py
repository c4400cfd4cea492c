"""Module: the base of all layers, a plain mutable object with torch's vocabulary."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fnmatch import fnmatchcase
from typing import Any, ClassVar, NoReturn, Self

from bpgpu import tree as trees
from bpgpu.autodiff.array import Array, is_live
from bpgpu.autodiff.state import write
from bpgpu.backend.exhausted import out_of_memory
from bpgpu.errors import BpgpuError, ModuleError
from bpgpu.nn.habits import HABITS
from bpgpu.nn.loading import loading
from bpgpu.nn.moving import moved
from bpgpu.nn.parameter import Buffer, Parameter
from bpgpu.nn.paths import Paths
from bpgpu.nn.state_dict import LoadResult, load, save
from bpgpu.nn.streams import separate


class Module(Paths):
    """Base of all layers and models.

    A subclass draws its weights in `__init__` and computes in `forward`::

        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                self.hidden = nn.Linear(4, 8)
                self.scale = nn.Parameter(np.ones(8))

            def forward(self, x):
                return nn.functional.relu(self.hidden(x)) * self.scale

    Attributes are kept by what they are. A `Parameter` trains. A buffer (`register_buffer`) is
    state that `forward` may change: running statistics, a random key. Any other array is a constant
    that moves with `.to()`. Modules are children, also inside lists, tuples and dicts. Everything
    has a dotted path: `"encoder.2.weight"`.

    The gradient with respect to a Module is a dict `{path: array}` of its parameters. It is taken
    through a twin with traced arrays; the Module itself never holds any. The same array, or the
    same layer, at two places is one parameter, under the path that comes first."""

    may_lack: ClassVar[tuple[str, ...]] = ()
    """Buffers that older saved states do not have."""
    training: bool
    _parameters: dict[str, bool]
    """Names of the parameters of this layer itself, and whether they train."""
    _buffers: dict[str, bool]
    """Names of its buffers, and whether they are saved."""

    def __init__(self) -> None:
        self.__dict__.update(training=True, _parameters={}, _buffers={})

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The computation; every subclass defines it."""
        raise ModuleError(
            f"{type(self).__name__} has no forward: define forward(self, x), which computes the "
            "layer's output"
        )

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run `forward`. An error on the way is told with the path of the layer in which it
        arose."""
        try:
            return self.forward(*args, **kwargs)
        except BpgpuError as error:
            error.passed_through(self, self._name_of)
            raise
        except MemoryError as error:
            told = out_of_memory(error)
            told.passed_through(self, self._name_of)
            raise told from error
        except AttributeError as error:
            if "_parameters" not in self.__dict__:
                _forgot_init(self, error)
            raise

    def _name_of(self, child: Any) -> str | None:
        return next((path for path, m in self.named_modules() if m is child), None)

    # ---- attributes

    def __setattr__(self, name: str, value: Any) -> None:
        fields = self.__dict__
        if "_parameters" not in fields:
            if isinstance(value, (Parameter, Module)) or trees.is_array(value):
                _forgot_init(self, None)
            fields[name] = value
        elif "parametrizations" in fields and name in self._computed():
            self._computed()[name].right_inverse(value)
        elif isinstance(value, Parameter):
            self.register_parameter(name, value)
        elif isinstance(value, Buffer):
            self.register_buffer(name, value.data, value.persistent)
        elif name in fields["_buffers"]:
            self._write_buffer(name, value)
        elif type(value) is Array and (is_live(value) or "_twin" in fields):
            raise ModuleError(
                f"attribute '{name}' was set to a traced array. A Module keeps no traced "
                "arrays: return the value from "
                f"forward, or declare state with register_buffer('{name}', array)"
            )
        else:
            if name in fields["_parameters"] and value is not None and not trees.is_array(value):
                raise ModuleError(
                    f"parameter '{name}' can be set to an array, a Parameter or None, got "
                    f"{type(value).__name__}"
                )
            fields[name] = value
            if isinstance(value, (Module, list, tuple, dict)) and "_twin" not in fields:
                self._separate_copies(name, value)

    def _separate_copies(self, name: str, added: Any) -> None:
        """Layers that draw at random get keys of their own if they are copies of others here."""
        found: list[tuple[str, Module]] = []
        _find_modules(name, added, found)
        if any("_stream" in m.__dict__ for _, child in found for m in child.modules()):
            separate(self.modules())

    def _computed(self) -> dict[str, Any]:
        """What computes weights of this layer from other arrays (`nn.utils.parametrize`)."""
        lists = self.__dict__.get("parametrizations")
        return dict(_children(lists)) if isinstance(lists, Module) else {}

    def _write_buffer(self, name: str, value: Any) -> None:
        if value is not None and not trees.is_array(value):
            raise ModuleError(
                f"buffer '{name}' can be set to an array or None, got {type(value).__name__}"
            )
        write(self, name, value)
        if "_twin" in self.__dict__ and value is not None:
            self.__dict__[name] = Array(
                self.__dict__[name]
            )  # on a twin, constants are of the traced namespace

    def __delattr__(self, name: str) -> None:
        if name not in self.__dict__:
            raise AttributeError(f"{type(self).__name__} has no attribute '{name}'")
        del self.__dict__[name]
        self._parameters.pop(name, None)
        self._buffers.pop(name, None)

    def __getattr__(self, name: str) -> Any:
        if name in HABITS:
            raise AttributeError(f"{type(self).__name__}.{name}: {HABITS[name]}")
        if name in ("_parameters", "_buffers"):
            _forgot_init(self, None)
        if "parametrizations" in self.__dict__ and name in self._computed():
            return self._computed()[name]()
        raise AttributeError(f"{type(self).__name__} has no attribute '{name}'")

    def register_parameter(self, name: str, param: Parameter | Any | None) -> None:
        """Add a parameter; `None` declares one that is absent, as `bias=False` does."""
        self._check_name(name)
        if param is not None and not isinstance(param, Parameter):
            param = Parameter(param)
        self._buffers.pop(name, None)
        self._parameters[name] = param is None or param.requires_grad
        self.__dict__[name] = None if param is None else param.data

    def register_buffer(self, name: str, tensor: Any, persistent: bool = True) -> None:
        """Add a piece of state that `forward` may assign to; with `persistent` it is part of
        `state_dict()`."""
        self._check_name(name)
        if tensor is not None and not trees.is_array(tensor):
            raise ModuleError(
                f"register_buffer('{name}', ...): expected an array or None, got "
                f"{type(tensor).__name__}"
            )
        self._parameters.pop(name, None)
        self._buffers[name] = persistent
        self.__dict__[name] = tensor

    def add_module(self, name: str, module: Module | None) -> None:
        """Add a child under a name that may be computed."""
        self._check_name(name)
        if module is not None and not isinstance(module, Module):
            raise ModuleError(
                f"add_module('{name}', ...): expected a Module, got {type(module).__name__}"
            )
        there = self.__dict__.get(name)
        if there is not None and not isinstance(there, Module):
            raise ModuleError(f"'{name}' is an attribute of this {type(self).__name__} already")
        setattr(self, name, module)

    def register_module(self, name: str, module: Module | None) -> None:
        """Another name of `add_module`, as in torch."""
        self.add_module(name, module)

    def _check_name(self, name: str) -> None:
        if not name or "." in name:
            raise ModuleError(f"a name must be a non-empty string without dots, got {name!r}")
        if name not in self.__dict__ and (hasattr(type(self), name) or name in self._computed()):
            raise ModuleError(
                f"'{name}' is the name of an attribute of {type(self).__name__} already"
            )

    # ---- what is inside

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """The Modules directly inside, with their names; those in lists and dicts as
        `"layers.0"`."""
        return iter(_children(self))

    def children(self) -> Iterator[Module]:
        """The Modules directly inside."""
        return (m for _, m in self.named_children())

    def named_modules(
        self, memo: set[Any] | None = None, prefix: str = "", remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Module]]:
        """This Module and all inside, with their paths; a shared one once, under its first path."""
        return iter(_walk(self, prefix, set() if memo is None else memo, remove_duplicate))

    def modules(self, remove_duplicate: bool = True) -> Iterator[Module]:
        """This Module and all inside; a shared one once, unless `remove_duplicate=False`."""
        return (m for _, m in self.named_modules(remove_duplicate=remove_duplicate))

    def named_parameters(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Any]]:
        """The parameters with their paths; one that is tied to another place comes once."""
        return self._named("_parameters", prefix, recurse, remove_duplicate)

    def parameters(self, recurse: bool = True) -> dict[str, Any]:
        """The parameters as a dict `{path: array}`, frozen ones included; without `recurse`, only
        those of this layer itself."""
        return dict(self.named_parameters(recurse=recurse))

    def named_buffers(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Any]]:
        """The buffers with their paths."""
        return self._named("_buffers", prefix, recurse, remove_duplicate)

    def buffers(self, recurse: bool = True) -> dict[str, Any]:
        """The buffers as a dict `{path: array}`; without `recurse`, only those of this layer
        itself."""
        return dict(self.named_buffers(recurse=recurse))

    def _named(
        self, kind: str, prefix: str, recurse: bool, remove_duplicate: bool
    ) -> Iterator[tuple[str, Any]]:
        owners = _walk(self, prefix, set(), remove_duplicate) if recurse else [(prefix, self)]
        found: dict[Any, tuple[str, Any]] = {}
        for path, module in owners:
            fields = module.__dict__
            for name in fields[kind]:
                value = fields[name]
                if value is not None:
                    key = id(value) if remove_duplicate else (path, name)
                    found.setdefault(key, (f"{path}.{name}" if path else name, value))
        return iter(found.values())

    # ---- modes

    def train(self, mode: bool = True) -> Self:
        """Training mode for this Module and all inside: dropout drops, batch norm learns its
        statistics."""
        if not isinstance(mode, bool):
            raise ModuleError(f"train(mode): expected True or False, got {mode!r}")
        layers = list(self.modules())
        for module in layers:
            module.__dict__["training"] = mode
        if mode:
            separate(layers)
        return self

    def eval(self) -> Self:
        """Evaluation mode: `train(False)`."""
        return self.train(False)

    def freeze(self, *patterns: str) -> Self:
        """Exclude parameters from gradients: those whose path, or whose layer's path, matches one
        of the patterns.

        Patterns are as in a shell: `"encoder"` and `"encoder.*"` mean all in it, `"*.bias"` all
        biases. Without patterns everything is frozen."""
        return self._set_trainable(patterns, False)

    def unfreeze(self, *patterns: str) -> Self:
        """Undo `freeze`; the same patterns."""
        return self._set_trainable(patterns, True)

    def _set_trainable(self, patterns: tuple[str, ...], trains: bool) -> Self:
        matched = dict.fromkeys(patterns, False)
        for path, _ in self.named_parameters(remove_duplicate=False):
            hits = [p for p in patterns if _matches(path, p)]
            matched.update(dict.fromkeys(hits, True))
            if hits or not patterns:
                owner, name = self.locate(path)
                owner._parameters[name] = trains
        missed = [p for p, hit in matched.items() if not hit]
        if missed:
            raise ModuleError(
                f"{'unfreeze' if trains else 'freeze'}: no parameter matches {missed}; the "
                "paths are "
                f"{list(self.parameters())}"
            )
        return self

    def trainable(self) -> dict[str, Any]:
        """The parameters that are not frozen, `{path: array}`: what a gradient is taken with
        respect to."""
        return dict(self.named_trainable())

    def named_trainable(self) -> Iterator[tuple[str, Any]]:
        """The parameters that are not frozen with their paths; a tied one comes once."""
        found: dict[int, tuple[str, Any]] = {}
        for path, module in _walk(self, "", set()):
            fields = module.__dict__
            for name, trains in fields["_parameters"].items():
                value = fields[name]
                if trains and value is not None and id(value) not in found:
                    found[id(value)] = (f"{path}.{name}" if path else name, value)
        return iter(found.values())

    def apply(self, fn: Callable[[Module], Any]) -> Self:
        """Call `fn` on every Module inside and on this one, children first; for custom
        initialisation."""
        for child in self.children():
            child.apply(fn)
        fn(self)
        return self

    # ---- arrays in and out

    def to(self, device: Any = None, dtype: Any = None) -> Self:
        """Move all arrays to a device and cast the floating ones to a dtype; returns this Module.

        Both may be given by position: `model.to("cuda")`, `model.to("float64")`, `model.to(dev,
        "float32")`."""
        return moved(self, device, dtype)

    def state_dict(
        self, *, destination: dict[str, Any] | None = None, prefix: str = ""
    ) -> dict[str, Any]:
        """The parameters and the persistent buffers as a dict `{path: array}`: the arrays
        themselves, not copies. A `prefix` stands before each path; a `destination` is a dict to
        put them into."""
        found = {} if destination is None else destination
        found.update((prefix + path, array) for path, array in save(self).items())
        return found

    def load_state_dict(
        self, state_dict: Any, strict: bool = True, assign: bool = False
    ) -> LoadResult:
        """Copy arrays into the parameters and buffers, in the dtype and on the device that are
        there; with `assign`, take the arrays themselves, as they are.

        *Raises* `ModuleError` that lists what is missing, unexpected (unless `strict=False`) or of
        another shape. Then nothing has been changed."""
        return load(self, state_dict, strict, assign)

    def _loading(
        self, saved: Any, transient: dict[str, Any]
    ) -> tuple[list[str], Callable[[], None]]:
        """For checkpoints: what does not fit, and a function that writes."""
        return loading(self, saved, transient)

    # ---- looks

    def extra_repr(self) -> str:
        """The settings of the layer, for `repr`."""
        return ""

    def __repr__(self) -> str:
        extra = self.extra_repr()
        children = [(name, repr(child)) for name, child in _children(self, once=False)]
        name = type(self).__name__
        name = f"Parametrized{name}" if self._computed() else name
        if not children:
            return f"{name}({extra})"
        lines = [extra] if extra else []
        lines += [f"({name}): {text}" for name, text in children]
        body = "\n".join(lines).replace("\n", "\n  ")
        return f"{name}(\n  {body}\n)"


class _Holders(dict[type, bool]):
    """Whether the values of a class can be or contain Modules, found once. Looking for layers is
    done in every step, and most attributes are numbers and arrays."""

    def __missing__(self, cls: type) -> bool:
        found = self[cls] = issubclass(cls, (Module, dict, list, tuple))
        return found


_holds = _Holders()


def _children(module: Module, once: bool = True) -> list[tuple[str, Module]]:
    found: list[tuple[str, Module]] = []
    for name, value in [x for x in module.__dict__.items() if _holds[type(x[1])]]:
        if not (type(value) is dict and name[0] == "_"):
            _find_modules(name, value, found)
    if len(found) < 2 or not once:
        return found
    first: dict[int, tuple[str, Module]] = {}
    for pair in found:
        first.setdefault(id(pair[1]), pair)
    return list(first.values())


def _find_modules(name: str, value: Any, found: list[tuple[str, Module]]) -> None:
    """Add the Modules in an attribute: itself, or those in lists, tuples and dicts."""
    if isinstance(value, Module):
        found.append((name, value))
    elif isinstance(value, dict):
        if not name.startswith("_"):
            for key, item in value.items():
                _find_modules(f"{name}.{key}", item, found)
    elif isinstance(value, (list, tuple)):
        for i, item in enumerate(value):
            _find_modules(f"{name}.{i}", item, found)


def _walk(module: Module, path: str, memo: set[Any], once: bool = True) -> list[tuple[str, Module]]:
    """A Module and all inside with their paths, parents first; a shared one once if asked."""
    found: list[tuple[str, Module]] = []
    _visit(module, path, memo, once, found)
    return found


def _visit(
    module: Module, path: str, memo: set[Any], once: bool, found: list[tuple[str, Module]]
) -> None:
    if once and id(module) in memo:
        return
    memo.add(id(module))
    found.append((path, module))
    for name, child in _children(module, once):
        _visit(child, f"{path}.{name}" if path else name, memo, once, found)


def _matches(path: str, pattern: str) -> bool:
    return fnmatchcase(path, pattern) or fnmatchcase(path, f"{pattern}.*")


def _forgot_init(module: Module, cause: BaseException | None) -> NoReturn:
    name = type(module).__name__
    raise ModuleError(
        f"{name} was not initialised: call super().__init__() first in {name}.__init__, before "
        "setting attributes"
    ) from cause
