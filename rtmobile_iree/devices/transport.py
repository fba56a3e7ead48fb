"""Reaching a device: what ssh and adb have in common."""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from rtmobile_iree.errors import DeviceError

# Ends what a script printed, and carries its exit status: a client's own status cannot be told from
# the script's (ssh), or is not the script's at all (adb before Android 7).
STATUS = re.compile(rb"\n?rtmobile-status:(\d+)\r?\n\Z")
STATUS_SCRIPT = "({script}\n)\nprintf '\\nrtmobile-status:%d\\n' $?"


@dataclass(frozen=True)
class Outcome:
    """What a script on the device did.

    Attributes:
        status: its exit status.
        stdout: what it printed.
        stderr: what it complained, as text.
    """

    status: int
    stdout: bytes
    stderr: str

    @property
    def text(self) -> str:
        return self.stdout.decode(errors="replace")


class Transport(Protocol):
    """A way to one device.

    Attributes:
        name: as on the command line, for messages.
        folder: where files go there, a word of a POSIX shell.
    """

    name: str
    folder: str

    def command(self, script: str) -> list[str]:
        """The command here that runs a shell script there."""

    def push(self, data: bytes, path: str) -> None:
        """Writes a file there.

        Raises:
            DeviceError: the device is lost, or the file cannot be written.
        """

    def pull(self, path: str) -> bytes:
        """Reads a file there.

        Raises:
            DeviceError: the device is lost, or there is no such file.
        """

    def explain(self, stderr: str) -> str:
        """One line on why the client failed: its complaint, and what would help."""

    def close(self) -> None:
        """Gives up what is held open here."""


def script_command(script: str, *arguments: str) -> str:
    """A shell's words that run a script with arguments; the first is what `ps` shows of it."""
    return shlex.join(["sh", "-c", script, *arguments])


def start(
    transport: Transport, script: str, stderr: int = subprocess.PIPE
) -> subprocess.Popen[bytes]:
    """Starts a script on the device, its client out of the terminal's reach: Ctrl-C is ours.

    Args:
        transport: the way to it.
        script: of a POSIX shell.
        stderr: where its complaints go.

    Raises:
        DeviceError: the client is not installed.
    """
    command = transport.command(script)
    try:
        return subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            start_new_session=True,
        )
    except OSError as error:
        raise DeviceError(
            f"{transport.name}: {command[0]} cannot be started: {error.strerror}"
        ) from error


def shell(
    transport: Transport, script: str, *, data: bytes = b"", timeout_s: float = 60
) -> Outcome:
    """Runs a script on the device to its end.

    Args:
        script: of a POSIX shell.
        data: its standard input.
        timeout_s: how long to wait for it.

    Raises:
        DeviceError: the device cannot be reached, was lost, or did not end the script in time.
    """
    process = start(transport, STATUS_SCRIPT.format(script=script))
    try:
        stdout, stderr = process.communicate(data, timeout_s)
    except subprocess.TimeoutExpired:
        raise DeviceError(f"{transport.name}: no answer in {timeout_s:g} s") from None
    finally:
        _end(process)
    text = stderr.decode(errors="replace")
    ending = STATUS.search(stdout)
    if ending is None:
        raise DeviceError(f"{transport.name}: {transport.explain(text)}")
    return Outcome(int(ending[1]), stdout[: ending.start()], text)


def client(command: Sequence[str], name: str, timeout_s: float) -> subprocess.CompletedProcess:
    """Runs a client of the transport's own here, to its end.

    Raises:
        DeviceError: it is not installed, or did not end in time.
    """
    try:
        return subprocess.run(
            command, capture_output=True, timeout=timeout_s, start_new_session=True, check=False
        )
    except subprocess.TimeoutExpired:
        raise DeviceError(f"{name}: {command[0]} had no answer in {timeout_s:g} s") from None
    except OSError as error:
        raise DeviceError(f"{name}: {command[0]} cannot be started: {error.strerror}") from error


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.kill()
        process.wait()
    for pipe in (process.stdin, process.stdout, process.stderr):
        if pipe is not None:
            pipe.close()
