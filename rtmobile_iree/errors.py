"""The errors a user can cause, one family.

Every message says what, where, the values, and what would work, on one line:
`prune: gru.weight_ih_l0 [3072, 40]: col_blocks 64 is more than 40 columns; use 1 to 40`.
A shell prints the message and exits with 1. A broken invariant of our own is an `assert`, never
one of these.
"""

__all__ = [
    "CompileError",
    "DeviceError",
    "EncodeError",
    "FormatError",
    "FrontendError",
    "InputError",
    "PruneError",
    "RTMobileError",
    "TargetError",
]


class RTMobileError(Exception):
    """Base of every error that a user's input, files or machine can cause."""


class FormatError(RTMobileError):
    """A matrix, a row group or a packed array that the BSPC format cannot hold."""


class PruneError(RTMobileError):
    """A module, a layer name, a rate or a block count that cannot be pruned as asked."""


class FrontendError(RTMobileError):
    """A module or a file that cannot be imported."""


class EncodeError(RTMobileError):
    """A pass that cannot do its work on this module."""


class CompileError(RTMobileError):
    """A failed compilation; the message carries stderr, flags and the reproducer's path."""


class TargetError(RTMobileError):
    """An unknown target, or one this machine cannot compile for or run."""


class InputError(RTMobileError):
    """An input of a compiled program, or a command's argument, of a wrong kind, shape or type."""


class DeviceError(RTMobileError):
    """A device that cannot be reached, was lost, or cannot do what it was asked."""
