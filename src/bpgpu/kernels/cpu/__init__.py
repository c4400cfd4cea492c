"""Kernels for NumPy's arrays; those compiled by numba, where it is installed, come first."""

import logging
from importlib.util import find_spec

from bpgpu.kernels.cpu import attention, conv, gelu, norm, pool, recurrent, update

__all__ = ["attention", "conv", "gelu", "norm", "pool", "recurrent", "update"]

if find_spec("numba") is not None:
    try:
        from bpgpu.kernels.cpu import fast  # noqa: F401
    except ImportError as error:  # such as a NumPy that is too new for it
        logging.getLogger("bpgpu").warning("numba is installed, but does not work: %s", error)
