"""Kernel builders: packed shapes + schedule + target -> memref/vector/scf functions (used by `bspc-lower`)."""
