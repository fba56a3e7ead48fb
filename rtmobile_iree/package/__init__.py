"""`rtmobile package`: all that a device needs of a program, as one folder or archive.

The module, a call's inputs and expected outputs, a script that checks and times it with IREE's
tools, a C program that steps it, and what it was all made with.
"""

from rtmobile_iree.package.archive import archive_kind, write_bundle
from rtmobile_iree.package.bundle import Bundle, bundle_files

__all__ = ["Bundle", "archive_kind", "bundle_files", "write_bundle"]
