"""A folder on the device that lives exactly as long as our connection to it.

`scripts/anchor.sh` runs there and reads what we send: a line every few seconds. When the lines end,
because we close the pipe, are killed, or the cable is pulled, it ends what runs in the folder and
removes it.
"""

from __future__ import annotations

import queue
import subprocess
import tempfile
import threading
from contextlib import suppress
from importlib import resources

from rtmobile_iree.devices.transport import Transport, script_command, start
from rtmobile_iree.errors import DeviceError

BEAT_S = 5
# the anchor looks as often for a new beat; twice that long after the last one it gives up
PATIENCE_S = 30
CONNECT_S, REMOVE_S = 60, 15


def script(name: str) -> str:
    """The text of one of the device's scripts."""
    return resources.files(__package__).joinpath("scripts", name).read_text()


class Anchor:
    """The running script.

    Args:
        transport: the way to the device.
        root: folder there, a shell's word; made if it is missing.
        patience_s: see `PATIENCE_S`.
        beat_s: seconds between the lines we send.

    Attributes:
        folder: the folder's path there.

    Raises:
        DeviceError: the device cannot be reached, or the folder cannot be made.
    """

    def __init__(
        self,
        transport: Transport,
        root: str,
        patience_s: float = PATIENCE_S,
        beat_s: float = BEAT_S,
    ) -> None:
        self._transport, self._beat_s = transport, beat_s
        self._complaints = tempfile.TemporaryFile()  # noqa: SIM115  closed by close()
        command = script_command(script("anchor.sh"), "rtmobile-anchor")
        self._process = start(
            transport,
            f"{command} {root} {patience_s:g}",
            stderr=self._complaints.fileno(),
        )
        self._said: queue.Queue[str] = queue.Queue()
        self._closing = threading.Event()
        threading.Thread(target=self._listen, daemon=True).start()
        threading.Thread(target=self._beat, daemon=True).start()
        try:
            self.folder = self._next_line(CONNECT_S)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Lets go, and waits a moment until the folder is removed."""
        self._closing.set()
        assert self._process.stdin is not None
        with suppress(OSError):
            self._process.stdin.close()
        try:
            self._process.wait(REMOVE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._complaints.close()

    @property
    def is_lost(self) -> bool:
        """Whether the connection is known to be gone."""
        return self.is_lost_within(0)

    def is_lost_within(self, seconds: float) -> bool:
        """Whether the connection is gone, or goes while we wait."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(seconds)
        return self._process.returncode is not None

    def _next_line(self, timeout_s: float) -> str:
        try:
            line = self._said.get(timeout=timeout_s)
        except queue.Empty:
            name = self._transport.name
            raise DeviceError(f"{name}: no answer in {timeout_s:g} s; is it on?") from None
        if not line:
            self._process.wait(CONNECT_S)
            self._complaints.seek(0)
            told = self._complaints.read().decode(errors="replace")
            raise DeviceError(f"{self._transport.name}: {self._explain(told)}")
        return line.strip()

    def _explain(self, told: str) -> str:
        """A folder that cannot be made is the device's complaint; the rest are the client's."""
        signs = ("mkdir:", "mktemp:", "cannot create", "can't create")
        lines = [line.strip() for line in told.splitlines() if any(s in line for s in signs)]
        if lines:
            return f"no folder can be made there: {lines[0]}; choose another --device-folder"
        return self._transport.explain(told)

    def _listen(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as pipe:
            for line in pipe:
                self._said.put(line.decode(errors="replace"))
        self._said.put("")

    def _beat(self) -> None:
        assert self._process.stdin is not None
        number = 0
        with suppress(OSError, ValueError):  # ValueError: closed here
            while not self._closing.wait(self._beat_s if number else 0):
                number += 1
                self._process.stdin.write(b"%d\n" % number)
                self._process.stdin.flush()
