"""A phone by adb: the Android platform tools' own client and server."""

from __future__ import annotations

import shlex
import subprocess
import tempfile
from pathlib import Path

from rtmobile_iree.devices.transport import client
from rtmobile_iree.errors import DeviceError

TRANSFER_S = 600
# what the client says -> what would help
HELP = {
    "no devices": "plug the phone in and allow USB debugging; `adb devices` must list it",
    "not found": "`adb devices` lists those there are",
    "more than one": "name one: --device adb:SERIAL; `adb devices` lists them",
    "unauthorized": "unlock the phone and allow this computer's key",
    "closed": "plug the phone in and run it again",
    "offline": "plug it in again, or `adb reconnect`",
    "cannot connect to daemon": "start adb's server: adb start-server",
}


class Adb:
    """One phone.

    Args:
        serial: as `adb devices` lists it; None for the one that is plugged in.
    """

    # the one folder that adb's shell may write and run programs in
    folder = "/data/local/tmp/rtmobile-iree"

    def __init__(self, serial: str | None = None) -> None:
        self.name = f"adb:{serial}" if serial else "adb"
        self._client = ["adb", *(["-s", serial] if serial else [])]

    def command(self, script: str) -> list[str]:
        """The adb client that runs a script there, without a terminal."""
        return [*self._client, "shell", "-T", shlex.join(["sh", "-c", script])]

    def push(self, data: bytes, path: str) -> None:
        """See `Transport.push`."""
        with tempfile.NamedTemporaryFile(prefix="rtmobile-") as file:
            file.write(data)
            file.flush()
            self._transfer(["push", file.name, path], f"cannot write {path} ({len(data):,} bytes)")

    def pull(self, path: str) -> bytes:
        """See `Transport.pull`."""
        with tempfile.TemporaryDirectory(prefix="rtmobile-") as folder:
            here = Path(folder) / "pulled"
            self._transfer(["pull", path, str(here)], f"cannot read {path}")
            return here.read_bytes()

    def explain(self, stderr: str) -> str:
        """See `Transport.explain`."""
        told = " ".join(stderr.split())
        if not told:
            return "the connection was lost; plug the phone in and run it again"
        hint = next((help for sign, help in HELP.items() if sign in told), None)
        return f"{told[:300]}; {hint}" if hint else f"the connection was lost: {told[:300]}"

    def close(self) -> None:
        """Nothing is held here: the connection is the adb server's."""

    def _transfer(self, arguments: list[str], failing: str) -> None:
        result: subprocess.CompletedProcess[bytes]
        result = client([*self._client, *arguments], self.name, TRANSFER_S)
        if result.returncode:
            told = (result.stderr or result.stdout).decode(errors="replace")
            raise DeviceError(f"{self.name}: {failing}: {self.explain(told)}")
