"""What stands at a dotted path of a Module, by torch's names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bpgpu.errors import ModuleError

if TYPE_CHECKING:
    from bpgpu.nn.module import Module


class Paths:
    """The part of `Module` that looks things up: `model.get_parameter("encoder.0.weight")`."""

    def get_submodule(self, target: str) -> Module:
        """The Module at a dotted path; the empty path is this one."""
        found = dict(_self(self).named_modules(remove_duplicate=False)).get(target)
        if found is None:
            raise ModuleError(f"there is no Module at '{target}' in this {type(self).__name__}")
        return found

    def get_parameter(self, target: str) -> Any:
        """The parameter at a dotted path."""
        return self._get("_parameters", "parameter", target)

    def get_buffer(self, target: str) -> Any:
        """The buffer at a dotted path."""
        return self._get("_buffers", "buffer", target)

    def _get(self, kind: str, what: str, target: str) -> Any:
        head, _, name = target.rpartition(".")
        owner = self.get_submodule(head)
        if name not in owner.__dict__[kind]:
            raise ModuleError(f"there is no {what} at '{target}' in this {type(self).__name__}")
        return owner.__dict__[name]

    def set_submodule(self, target: str, module: Module, strict: bool = False) -> None:
        """Put a Module at a dotted path; with `strict` there must be one already.

        >>> from bpgpu import nn
        >>> model = nn.Sequential(nn.Sequential(nn.ReLU()))
        >>> model.set_submodule("0.0", nn.Tanh())
        >>> model[0]
        Sequential(
          (0): Tanh()
        )
        """
        head, _, name = target.rpartition(".")
        owner = self.get_submodule(head)
        if strict:
            self.get_submodule(target)
        owner.add_module(name, module)

    def locate(self, path: str) -> tuple[Module, str]:
        """The layer that owns the parameter or buffer at a path, and its name there."""
        head, _, name = path.rpartition(".")
        owner = self.get_submodule(head)
        if name not in owner._parameters and name not in owner._buffers:
            raise ModuleError(f"there is no parameter or buffer at '{path}'")
        return owner, name


def _self(paths: Any) -> Module:
    module: Module = paths
    return module
