"""Kernel builders: packed shapes and a schedule become memref/vector/scf functions."""
