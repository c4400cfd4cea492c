"""Derivatives of Fourier transforms, which are linear."""
