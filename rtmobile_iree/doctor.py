"""`rtmobile doctor`: what is installed, what this machine can do, and what is missing."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from importlib import metadata

from rich.table import Table

from rtmobile_iree.bench.machine import machine, version
from rtmobile_iree.bench.peers import PEERS, check_peers
from rtmobile_iree.errors import RTMobileError

IREE_TOOLS = ("iree-compile", "iree-run-module", "iree-benchmark-module")


@dataclass(frozen=True)
class Finding:
    """One thing looked at.

    Attributes:
        what: its name.
        found: what it is here; empty when it is not here.
        note: what to do, or nothing.
        is_needed: whether the compiler cannot do without.
    """

    what: str
    found: str
    note: str = ""
    is_needed: bool = True


@dataclass(frozen=True)
class Findings:
    """All of them."""

    entries: tuple[Finding, ...]

    @property
    def missing(self) -> list[str]:
        """What has to be there and is not, with what to do."""
        return [f"{e.what} ({e.note})" for e in self.entries if e.is_needed and not e.found]

    def table(self) -> Table:
        """For the terminal."""
        table = Table("what", "here", "note")
        for entry in self.entries:
            absent = "[red]missing" if entry.is_needed else "[yellow]not installed"
            table.add_row(entry.what, entry.found or absent, entry.note)
        return table


def examine() -> Findings:
    """Looks at this machine and this installation."""
    here = machine()
    features = here["features"]
    assert isinstance(features, list)
    entries = [
        Finding("python", sys.version.split()[0]),
        Finding("system", str(here["system"])),
        Finding("processor", f"{here['cpu']}, {here['usable_cores']} of {here['cores']} cores"),
        Finding("instruction sets", ", ".join(features), "wide vectors", is_needed=False),
        *(_package(name, pin) for name, pin in pins("rtmobile-iree")),
        *(_tool(name) for name in IREE_TOOLS),
        *(_peer(name) for name in PEERS),
        _host_target(),
        _emulator(),
    ]
    return Findings(tuple(entries))


def pins(distribution: str) -> list[tuple[str, str]]:
    """The packages a distribution needs, and the versions it asks for; none if it is unknown."""
    try:
        required = metadata.requires(distribution) or []
    except metadata.PackageNotFoundError:
        return []
    plain = [line for line in required if ";" not in line]
    names = [_name(line) for line in plain]
    return [(name, line[len(name) :].strip()) for name, line in zip(names, plain, strict=True)]


def _name(requirement: str) -> str:
    """The package of `numpy~=2.4`."""
    ends = [i for i, c in enumerate(requirement) if c in "=<>~! [("]
    return requirement[: min(ends, default=len(requirement))]


def _package(name: str, pin: str) -> Finding:
    return Finding(name, version(name) or "", f"asked for: {pin}" if pin else "")


def _tool(name: str) -> Finding:
    from rtmobile_iree.bench.peers.iree_peer import find_tool

    try:
        return Finding(name, str(find_tool(name)))
    except RTMobileError as error:
        return Finding(name, "", str(error))


def _peer(name: str) -> Finding:
    try:
        check_peers([name], PEERS[name].device)
    except RTMobileError as error:
        return Finding(f"peer {name}", "", str(error), is_needed=False)
    return Finding(f"peer {name}", "ready", is_needed=False)


def _host_target() -> Finding:
    from rtmobile_iree.targets import host_target

    host = host_target()
    return Finding(
        "target host", f"{host.vector_width} f32 a vector, {host.vector_registers} registers"
    )


def _emulator() -> Finding:
    from rtmobile_iree.devices.emulator import find_emulator

    try:
        return Finding("device qemu", str(find_emulator().program), "ARM64", is_needed=False)
    except RTMobileError as error:
        return Finding("device qemu", "", str(error), is_needed=False)
