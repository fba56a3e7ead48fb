"""A board by ssh: the system's own client, with the user's configuration, keys and agent."""

from __future__ import annotations

import re
import shlex
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

from rtmobile_iree.devices.transport import client, shell
from rtmobile_iree.errors import DeviceError, InputError

CONNECT_S, ALIVE_S = 10, 5
PLACE = re.compile(r"(?P<host>\[[^\]]+\]|[^:]+)(?::(?P<port>\d+))?")
# what the client says -> what would help
HELP = {
    "Could not resolve": "check the name, or add the host to ~/.ssh/config",
    "Connection refused": "is sshd running there, and on that port?",
    "No route to host": "is the board on this network?",
    "timed out": "is the board on, and on this network?",
    "Host key verification failed": "connect once with ssh, and compare the host's key",
    "REMOTE HOST IDENTIFICATION HAS CHANGED": "another machine answers, or it was installed anew; "
    "compare its key, then ssh-keygen -R HOST",
    "Permission denied": "no key of yours opens it; ssh-copy-id HOST, or ssh-add the key",
    "Too many authentication failures": "name the key in ~/.ssh/config with IdentityFile",
}


class Ssh:
    """One connection, shared by all commands (ssh's ControlMaster).

    Args:
        place: a name of ~/.ssh/config, host or user@host, with ":PORT" if need be; an IPv6 address
            in brackets.

    Raises:
        InputError: another form, or a host that ssh would take for an option.
    """

    def __init__(self, place: str) -> None:
        match = PLACE.fullmatch(place)
        if match is None or place.startswith("-") or any(c.isspace() for c in place):
            raise InputError(
                f"device 'ssh:{place}': write ssh:HOST, ssh:USER@HOST or ssh:HOST:PORT"
            )
        self.name = f"ssh:{place}"
        self.folder = '"${XDG_CACHE_HOME:-$HOME/.cache}/rtmobile-iree"'
        host = match["host"]
        self._host = host[1:-1] if host.startswith("[") else host
        self._port = ["-p", match["port"]] if match["port"] else []
        self._control: Path | None = None

    def command(self, script: str) -> list[str]:
        """The ssh client that runs a script there; the first one opens the connection."""
        return [*self._client(), "-T", "--", self._host, shlex.join(["sh", "-c", script])]

    def push(self, data: bytes, path: str) -> None:
        """See `Transport.push`."""
        outcome = shell(self, f"cat >{shlex.quote(path)}", data=data, timeout_s=600)
        if outcome.status:
            raise DeviceError(
                f"{self.name}: cannot write {path} ({len(data):,} bytes): "
                f"{outcome.stderr.strip() or 'cut short'}; free space there, or choose another "
                "--device-folder"
            )

    def pull(self, path: str) -> bytes:
        """See `Transport.pull`."""
        outcome = shell(self, f"cat <{shlex.quote(path)}", timeout_s=600)
        if outcome.status:
            raise DeviceError(f"{self.name}: cannot read {path}: {outcome.stderr.strip()}")
        return outcome.stdout

    def explain(self, stderr: str) -> str:
        """See `Transport.explain`."""
        told = " ".join(line.strip() for line in stderr.splitlines() if line.strip(" @\r\n"))
        if not told:
            return "the connection was lost; run it again when it is back"
        hint = next((help for sign, help in HELP.items() if sign in told), None)
        return f"{told[:300]}; {hint}" if hint else f"the connection was lost: {told[:300]}"

    def close(self) -> None:
        """Ends the shared connection."""
        if self._control is None:
            return
        with suppress(DeviceError):  # no client, or one that hangs: what failed before is told
            client([*self._client(), "-O", "exit", "--", self._host], self.name, CONNECT_S)
        shutil.rmtree(self._control, ignore_errors=True)
        self._control = None

    def _client(self) -> list[str]:
        if self._control is None:
            # a socket's path has at most 104 characters, so not under a long TMPDIR
            self._control = Path(tempfile.mkdtemp(prefix="rtm-", dir="/tmp"))
        settings = {
            "BatchMode": "yes",  # a password cannot be asked for: commands have their own stdin
            "ConnectTimeout": CONNECT_S,
            "ServerAliveInterval": ALIVE_S,
            "ServerAliveCountMax": 3,
            "ControlMaster": "auto",
            "ControlPath": self._control / "socket",
            "ControlPersist": 60,
        }
        options = [part for key, value in settings.items() for part in ("-o", f"{key}={value}")]
        return ["ssh", *self._port, *options]
