"""From an array to the namespace of its library."""

from __future__ import annotations

from typing import Any

_namespaces: dict[type, Any] = {}


def namespace_of(x: Any) -> Any:
    try:
        return _namespaces[type(x)]
    except KeyError:
        import array_api_compat

        xp = _namespaces[type(x)] = array_api_compat.array_namespace(x)
        return xp
