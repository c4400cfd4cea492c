"""What a model consists of: its layers, their sizes, and what a pass through them costs."""

from bpgpu.overview.summary import summary
from bpgpu.overview.table import Row, Summary

__all__ = ["Row", "Summary", "summary"]
