"""One connection to a device: its folder, the tools in place, commands under an anchor."""

from __future__ import annotations

import hashlib
import shlex
import signal
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

from rtmobile_iree.devices.anchor import PATIENCE_S, Anchor, script
from rtmobile_iree.devices.base import TOOLS, first_line
from rtmobile_iree.devices.cores import choose_cores, core_mask
from rtmobile_iree.devices.probe import Description, State, read_description, read_state
from rtmobile_iree.devices.runtime_tools import given_tools, tools_for
from rtmobile_iree.devices.transport import Outcome, Transport, script_command, shell
from rtmobile_iree.errors import DeviceError
from rtmobile_iree.vulkan import VulkanDevice

LATE = 124  # run.sh, when it ended the command
# a shell's status of a command that SIGKILL or SIGTERM ended, as the anchor ends them
ENDED = (128 + signal.SIGKILL, 128 + signal.SIGTERM)
LOSS_S = 5  # for the news that the anchor's connection is gone, when another one's came first
ANSWER_S = 30  # for a round trip, on top of what a command may take


@dataclass(frozen=True)
class Setup:
    """What a user may say of a remote device.

    Attributes:
        folder: where files go on it; the transport's own when None.
        tools: folder here with IREE's tools for it; a wheel's, or those on the device, when None.
        cores: "big", "little", a list or a mask; None for any.
        patience_s: see `anchor.PATIENCE_S`.
        limit_s: longest time that one command may run there.
        sys: its /sys.
    """

    folder: str | None = None
    tools: Path | None = None
    cores: str | None = None
    patience_s: float = PATIENCE_S
    limit_s: float = 600
    sys: str = "/sys"


@dataclass
class Session:
    """A context manager; everything it made on the device is gone when it ends.

    Attributes:
        transport: the way to the device.
        setup: what the user said of it.
        vulkan: its Vulkan device, once somebody asked.
    """

    transport: Transport
    setup: Setup
    vulkan: VulkanDevice | None = None
    _pushed: set[str] = field(default_factory=set)

    def __enter__(self) -> Session:
        folder = self.setup.folder
        root = self.transport.folder if folder is None else shlex.quote(folder)
        with ExitStack() as stack:
            stack.callback(self.transport.close)
            self._anchor = Anchor(self.transport, root, self.setup.patience_s)
            stack.callback(self._anchor.close)
            self.description: Description = read_description(self._probe())
            self.mask = self._mask()
            self._tools = self._place_tools()
            self._closing = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._closing.close()

    @property
    def folder(self) -> str:
        """Its folder on the device, with the user's files in it."""
        return self._anchor.folder

    @property
    def is_lost(self) -> bool:
        """Whether the connection is known to be gone."""
        return self._anchor.is_lost

    def state(self) -> State:
        """Temperatures, battery and frequencies now."""
        return read_state(self._probe())

    def push(self, data: bytes, suffix: str) -> str:
        """Writes a file into the folder, unless it is there; returns its path."""
        path = f"{self.folder}/{hashlib.sha256(data).hexdigest()[:16]}{suffix}"
        if path not in self._pushed:
            self.transport.push(data, path)
            self._pushed.add(path)
        return path

    def pull(self, name: str) -> bytes:
        """Reads a file of the folder, and removes it there."""
        data = self.transport.pull(f"{self.folder}/{name}")
        shell(self.transport, f"rm -f {shlex.quote(f'{self.folder}/{name}')}")
        return data

    def tool(self, name: str, arguments: Sequence[str]) -> str:
        """Runs one of IREE's tools on the chosen cores; what it printed.

        Raises:
            DeviceError: the device was lost, or the tool failed or took too long.
        """
        outcome = self.command([f"{self._tools}/{name}", *arguments])
        where = f"{self.transport.name}: {name}"
        if outcome.status == LATE:
            raise DeviceError(f"{where} was ended after {self.setup.limit_s:g} s")
        if outcome.status:
            if self._anchor.is_lost_within(LOSS_S if outcome.status in ENDED else 0):
                raise DeviceError(f"{self.transport.name}: {self.transport.explain('')}")
            told = first_line(outcome.stderr or outcome.text)
            raise DeviceError(f"{where} failed ({outcome.status}): {told}")
        return outcome.text

    def command(self, words: Sequence[str]) -> Outcome:
        """Runs a command there under the anchor, on the chosen cores."""
        limit = self.setup.limit_s
        run = script_command(
            script("run.sh"), "rtmobile-run", self.folder, f"{limit:g}", self.mask or "-", *words
        )
        return shell(self.transport, run, timeout_s=limit + ANSWER_S)

    def _probe(self) -> str:
        probe = script_command(script("probe.sh"), "rtmobile-probe", self.setup.sys)
        return shell(self.transport, probe).text

    def _mask(self) -> str | None:
        """taskset's mask, once it is known to work."""
        if self.setup.cores is None:
            return None
        name = self.transport.name
        mask = core_mask(choose_cores(self.setup.cores, self.description.speeds, name))
        outcome = shell(self.transport, f"taskset {mask} true")
        if outcome.status:
            told = first_line(outcome.stderr or outcome.text)
            raise DeviceError(f"{name}: --cores {self.setup.cores}: taskset {mask}: {told}")
        return mask

    def _place_tools(self) -> str:
        """The tools' folder there; they are pushed when they are missing or others.

        Raises:
            DeviceError: there are none for this device, or they do not run on it.
        """
        if self.setup.tools is None and self.description.android:
            found = self._tools_there()
            if found is not None:
                return found
        tools = (
            tools_for(self.description, self.transport.name)
            if self.setup.tools is None
            else given_tools(self.setup.tools)
        )
        sums = tools.checksums()
        digest = hashlib.sha256("".join(sums.values()).encode()).hexdigest()
        folder = f"{self.folder.rpartition('/')[0]}/tools-{digest[:16]}"
        quoted = shlex.quote(folder)
        listed = shell(self.transport, f"mkdir -p {quoted} && cd {quoted} && sha256sum *").text
        there = {line.split()[-1].lstrip("*"): line.split()[0] for line in listed.splitlines()}
        for name in TOOLS:
            if there.get(name) != sums[name]:
                self._place_tool((tools.folder / name).read_bytes(), folder, name)
        self._check_tools(folder, tools.source)
        return folder

    def _place_tool(self, data: bytes, folder: str, name: str) -> None:
        """Appears under its name only when it is whole."""
        part = f"{self.folder}/{name}"
        self.transport.push(data, part)
        part, path = shlex.quote(part), shlex.quote(f"{folder}/{name}")
        outcome = shell(self.transport, f"chmod 755 {part} && mv -f {part} {path}")
        if outcome.status:
            raise DeviceError(f"{self.transport.name}: {path}: {first_line(outcome.stderr)}")

    def _check_tools(self, folder: str, source: str) -> None:
        for name in TOOLS:
            outcome = self.command([f"{folder}/{name}", "--help"])
            if outcome.status:
                told = first_line(outcome.stderr or outcome.text)
                raise DeviceError(
                    f"{self.transport.name}: {name} of {source} does not run on it: {told}; build "
                    "IREE's tools for it and give them with --runtime-tools FOLDER"
                )

    def _tools_there(self) -> str | None:
        """A folder on the device's PATH, or beside ours, that has them."""
        beside = shlex.quote(self.folder.rpartition("/")[0])
        search = (
            f'PATH={beside}:/data/local/tmp:"$PATH"; command -v {" && command -v ".join(TOOLS)}'
        )
        outcome = shell(self.transport, search)
        folders = {line.rpartition("/")[0] for line in outcome.text.splitlines()}
        return folders.pop() if outcome.status == 0 and len(folders) == 1 else None
