"""The error family: one base that a shell can catch, and no other way out for a user's mistake."""

import inspect

import pytest

from rtmobile_iree import errors


def test_every_exported_error_is_of_the_family():
    for name in errors.__all__:
        assert issubclass(getattr(errors, name), errors.RTMobileError), name


def test_every_defined_error_is_exported():
    defined = {name for name, _ in inspect.getmembers(errors, inspect.isclass)}
    assert defined == set(errors.__all__)


def test_the_base_catches_and_keeps_the_message():
    with pytest.raises(errors.RTMobileError) as caught:
        raise errors.FormatError("bspc: w [3] has 1 dimensions; reshape it to [M, N]")
    assert str(caught.value) == "bspc: w [3] has 1 dimensions; reshape it to [M, N]"


def test_the_family_hides_no_programming_error():
    assert not issubclass(errors.RTMobileError, ValueError | TypeError | OSError)
    assert not issubclass(ValueError, errors.RTMobileError)
