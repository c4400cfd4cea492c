"""Derivatives of searching and sorting."""
