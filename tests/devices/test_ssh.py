"""`--device ssh:HOST`, against a real sshd."""

from __future__ import annotations

import os
import signal
import threading
import time

import numpy as np
import pytest

from rtmobile_iree.devices import get_device
from rtmobile_iree.errors import DeviceError


def test_runs_with_the_numbers_of_this_machine(board, contents, inputs):
    here = get_device("local").run(contents.vmfb, inputs)
    there = get_device(f"ssh:{board.place}").run(contents.vmfb, inputs)
    assert [y.shape for y in there] == [y.shape for y in here]
    for y, expected in zip(there, here, strict=True):
        np.testing.assert_array_equal(y, expected)
