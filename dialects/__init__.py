"""The `bspc` dialect: block-sparse weights and the ops that use them, defined from Python."""

if __name__ != "rtmobile_iree.dialects":
    raise ImportError("import rtmobile_iree.dialects, not the top-level folder dialects/")

from rtmobile_iree.dialects.bspc import BSPC
from rtmobile_iree.dialects.constants import constant, constant_array
from rtmobile_iree.dialects.context import make_context

__all__ = ["BSPC", "constant", "constant_array", "make_context"]
