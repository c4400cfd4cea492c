"""Modules of estimators: built for the data at hand, and brought to where they are."""

from __future__ import annotations

import contextlib
import copy
import inspect
from collections.abc import Iterator
from typing import Any

from bpgpu import functional, nn, random
from bpgpu.autodiff.dtypes import is_floating
from bpgpu.backend.libraries import namespace_of
from bpgpu.nn.moving import mapped
from bpgpu.sklearn.inputs import Place

NAMES = (
    ("n_features", "in_features", "n_inputs", "input_size", "n_features_in"),
    ("n_outputs", "out_features", "n_classes", "output_size", "num_classes"),
)
"""Names under which a function that builds a module may ask for the number of features, and of outputs."""


@contextlib.contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Within this block the keys of this thread come from a seed of their own."""
    before = random.get_state()
    random.seed(seed)
    try:
        yield
    finally:
        random.set_state(before)


def perceptron(n_features: int, n_outputs: int, width: int = 100) -> nn.Module:
    """The module of an estimator that was given none: one hidden layer."""
    return nn.Sequential(nn.Linear(n_features, width), nn.ReLU(), nn.Linear(width, n_outputs))


def built(who: str, module: Any, params: Any, features: int, outputs: int) -> nn.Module:
    """The module that is to be trained: a copy of the one that was given, or what the function builds.

    *Raises* `ValueError` for what is neither, or for a function that asks for what is not known.
    """
    if params is not None and not isinstance(params, dict):
        raise ValueError(f"{who}: module_params: expected a dict of arguments, got {params!r:.80}")
    params = params or {}
    if isinstance(module, nn.Module):
        if params:
            raise ValueError(
                f"{who}: module_params goes with a function that builds a module; a {type(module).__name__} is built "
                "already"
            )
        return copy.deepcopy(module)
    module = perceptron if module is None else module
    if not callable(module):
        raise ValueError(
            f"{who}: module: expected a bpgpu.nn.Module, or a function or class that builds one, got {module!r:.80}"
        )
    made = module(**_arguments(who, module, params, features, outputs))
    if not isinstance(made, nn.Module):
        raise ValueError(
            f"{who}: module: expected a function that returns a bpgpu.nn.Module, got {type(made).__name__} from it"
        )
    return made


def _arguments(
    who: str, module: Any, params: dict[str, Any], features: int, outputs: int
) -> dict[str, Any]:
    """What the function is called with: the parameters that were given, and the numbers that it asks for by name.

    Two arguments without a default that are called otherwise are taken for the numbers of features and of outputs.
    """
    asked = [
        p
        for p in inspect.signature(module).parameters.values()
        if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)
    ]
    check_arguments(f"{who}: module_params", module, params)
    found = dict(params)
    for names, number in zip(NAMES, (features, outputs), strict=True):
        name = next((p.name for p in asked if p.name in names and p.name not in found), None)
        if name is not None:
            found[name] = number
    missing = [p.name for p in asked if p.default is p.empty and p.name not in found]
    if len(missing) == 2 and not set(found) - set(params):
        found |= dict(zip(missing, (features, outputs), strict=True))
        missing = []
    if missing:
        raise ValueError(
            f"{who}: module: {getattr(module, '__name__', module)!r} needs {', '.join(missing)}; give them "
            f"as module_params={{{missing[0]!r}: ...}}. n_features and n_outputs are filled in "
            "where it asks for them by name"
        )
    return found


def check_arguments(where: str, function: Any, given: dict[str, Any]) -> None:
    """Raise `ValueError` for an argument that a function does not take."""
    taken = inspect.signature(function).parameters.values()
    names = [p.name for p in taken if p.kind in (p.KEYWORD_ONLY, p.POSITIONAL_OR_KEYWORD)]
    unknown = [name for name in given if name not in names]
    if unknown and not any(p.kind == p.VAR_KEYWORD for p in taken):
        raise ValueError(
            f"{where}: {getattr(function, '__name__', function)!r} takes no argument {unknown[0]!r}; it takes "
            f"{', '.join(names) or 'none'}"
        )


LAYERS = {"identity": nn.Identity, "logistic": nn.Sigmoid, "tanh": nn.Tanh, "relu": nn.ReLU}


class Function(nn.Module):
    """A function of an array as a layer."""

    def __init__(self, function: Any) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Any) -> Any:
        return self.function(x)


def written_out(coefs: list[Any], intercepts: list[Any], activations: list[Any]) -> nn.Sequential:
    """The layers of a perceptron as a module."""
    layers: list[nn.Module] = []
    for w, b, f in zip(coefs, intercepts, [*activations, None], strict=True):
        layer = nn.Linear(*w.shape)
        xp = namespace_of(w)
        state = {"weight": xp.asarray(w.T, copy=True), "bias": xp.asarray(b, copy=True)}
        layer.load_state_dict(state, assign=True)
        layers.append(layer)
        if f is not None:
            named = isinstance(f, str)
            layers.append(
                LAYERS[f]()
                if named and f in LAYERS
                else f
                if isinstance(f, nn.Module)
                else Function(getattr(functional, f) if named else f)
            )
    return nn.Sequential(*layers)


def settled(module: nn.Module, place: Place, dtype: str | None) -> nn.Module:
    """The module with its arrays at a place; the floating ones in a dtype, if one is given."""

    def one(x: Any) -> Any:
        return place.put(x, dtype if is_floating(x) else None)

    return mapped(module, one)
