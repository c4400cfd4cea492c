"""Keys: 64 bits from which random numbers follow, as an array that is data to compilers."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

from bpgpu.backend import backend_of
from bpgpu.backend.libraries import namespace_of as namespace_of
