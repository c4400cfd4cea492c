"""Which parameters are trained, and with which options."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Any, ClassVar

from bpgpu.backend.libraries import namespace_of
from bpgpu.optim.arrays import Array, scalar, store
from bpgpu.optim.checks import Options, as_python, refuse_torch_only
from bpgpu.optim.parameters import Parameters, by_pattern, check_parameters, is_group_list

State = dict[str, Array]
"""The state of one parameter: arrays by name, under torch's names."""
Group = dict[str, Any]
"""The options of one group, its arrays ("params") and their paths ("param_names")."""


class Groups(ABC):
    """The parameters of an optimizer in their groups, each with its options: the lower half of `Optimizer`."""

    takes_complex: ClassVar[bool] = True
    """False if the update has no meaning for complex numbers; else they are updated as pairs of real ones."""

    def __init__(
        self, params: Any, groups: Iterable[dict[str, Any]] | None, defaults: dict[str, Any]
    ) -> None:
        self._who = who = type(self).__name__
        self.defaults = {k: as_python(v) for k, v in defaults.items()}
        self._check(self.defaults)
        self._listed = is_group_list(params)
        """True for torch's form, a list of groups, without patterns."""
        given = [dict(g) for g in (params if self._listed else groups or ())]
        rest: Group = {}
        if self._listed:
            if groups is not None:
                raise ValueError(
                    f"{who}: groups were given twice, as a list of dicts and as groups=; choose one form"
                )
            if any(isinstance(g["params"], str) for g in given):
                rest = _searched(who, given)
                params, self._listed = rest["params"], False
        self._parameters = Parameters(who, [g["params"] for g in given] if self._listed else params)
        arrays = self._parameters.read()
        self._check_arrays(arrays)
        if self._listed:
            members = [_inside(arrays, i) for i in range(len(given))]
        else:
            members = by_pattern(who, [_params(who, g) for g in given if g is not rest], arrays)
            given = [*(g for g in given if g is not rest), rest]
        self.param_groups: list[Group] = [
            self._group(g, names, arrays)
            for g, names in zip(given, members, strict=True)
            if names or self._listed
        ]
        self.group_of = self._numbers()
        """The number of the group of each parameter."""

    @abstractmethod
    def check_options(self, check: Options) -> None:
        """Raise for options out of range: `check("eps", low=0)`. That of `lr` is made already."""

    def check_array(self, path: str, p: Array) -> None:  # noqa: B027 - most take every array
        """Raise for a parameter that the update is not made for; its dtype has been checked."""

    def add_param_group(self, group: dict[str, Any]) -> None:
        """Train more parameters, with options of their own.

        *Parameters* `group`: where the optimizer was made from a list of groups, one more of them. Where it was made
        from a Module or a tree, a pattern under `"params"`, as in `groups=`, for parameters that it has got since.

        *Raises* what the constructor raises; then nothing has changed.
        """
        parameters, params = self._parameters, _params(self._who, group)
        if self._listed:
            parameters = Parameters(self._who, [*parameters.tree, params])
            arrays = parameters.read()
            names = _inside(arrays, len(self.param_groups))
        else:
            parameters.find()
            arrays = parameters.read()
            fresh = {n: p for n, p in arrays.items() if n not in self.group_of}
            names, _ = by_pattern(self._who, [params], fresh)
        self._check_arrays(arrays)
        made = self._group(group, names, arrays)
        self._parameters = parameters
        self.param_groups.append(made)
        self.group_of = self._numbers()

    @property
    def lr(self) -> Any:
        """The learning rate: one number where all groups agree, else a list. It can be set in both forms."""
        rates = [h["lr"] for h in self.param_groups]
        if any(hasattr(r, "dtype") for r in rates):  # which are not compared
            return rates[0] if len(rates) == 1 else rates
        return rates[0] if all(r == rates[0] for r in rates) else rates

    @lr.setter
    def lr(self, value: Any) -> None:
        count = len(self.param_groups)
        rates = list(value) if isinstance(value, (list, tuple)) else [value] * count
        if len(rates) != count:
            raise ValueError(
                f"{self._who}: expected one learning rate, or {count} (one a group), got {len(rates)}"
            )
        for rate in rates:
            self._check({**self.defaults, "lr": as_python(rate)})
        for h, rate in zip(self.param_groups, rates, strict=True):
            set_option(h, "lr", rate)

    def _group(self, given: dict[str, Any], names: list[str], arrays: dict[str, Array]) -> Group:
        refuse_torch_only(self._who, given)
        unknown = sorted(set(given) - set(self.defaults) - {"params", "param_names"})
        if unknown:
            raise TypeError(
                f"{self._who}: a group has the options {unknown}, which {self._who} does not know; it knows "
                f"{sorted(self.defaults)}"
            )
        options = {k: as_python(given.get(k, v)) for k, v in self.defaults.items()}
        self._check(options)
        return {"params": [arrays[n] for n in names], "param_names": names, **options}

    def _check(self, options: dict[str, Any]) -> None:
        check = Options(self._who, options)
        check("lr", low=0)
        self.check_options(check)

    def _check_arrays(self, arrays: dict[str, Array]) -> None:
        check_parameters(self._who, arrays, takes_complex=self.takes_complex)
        for path, p in arrays.items():
            self.check_array(path, p)

    def _numbers(self) -> dict[str, int]:
        return {n: i for i, h in enumerate(self.param_groups) for n in h["param_names"]}

    def _numbers_of(self, arrays: dict[str, Array]) -> dict[str, int]:
        """The group of each path. With a single group, any tree is welcome."""
        if len(self.param_groups) == 1:
            return dict.fromkeys(arrays, 0)
        for path in arrays:
            if path not in self.group_of:
                raise ValueError(
                    f"{self._who}: '{path}' belongs to no group; with several groups, pass the tree that the optimizer "
                    "was made for"
                )
        return self.group_of


def set_option(h: Group, name: str, value: Any) -> None:
    """Set an option of a group; one that is an array takes the value in place, so that recorded steps see it."""
    old, value = h[name], as_python(value)
    if hasattr(old, "dtype"):
        value = value if hasattr(value, "dtype") else scalar(namespace_of(old), old, value)
        value = store(old, value)
    h[name] = value


def _params(who: str, group: dict[str, Any]) -> Any:
    if "params" not in group:
        raise ValueError(
            f"{who}: a group needs its parameters, or a pattern of their names, under 'params'; got {sorted(group)}"
        )
    return group["params"]


def _searched(who: str, given: list[Group]) -> Group:
    """The one group of a list that is no pattern: in it the others are looked for."""
    found = [g for g in given if not isinstance(g["params"], str)]
    if len(found) != 1:
        patterns = [g["params"] for g in given if isinstance(g["params"], str)]
        raise TypeError(
            f"{who}: the patterns {patterns} need one Module or tree to look in, got {len(found)}; write "
            f"{who}(model, groups=[{{'params': {patterns[0]!r}, ...}}])"
        )
    return found[0]


def _inside(arrays: dict[str, Array], group: int) -> list[str]:
    """The paths that begin with the number of a group."""
    return [path for path in arrays if path.partition(".")[0] == str(group)]
