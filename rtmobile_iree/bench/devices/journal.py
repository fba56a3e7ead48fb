"""Finished rounds of a benchmark, kept so that one that was stopped goes on where it stopped."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from rtmobile_iree.errors import InputError
from rtmobile_iree.files import write_atomically


class Journal:
    """A file of JSON lines: what is measured, then a line a finished round.

    A line is there whole or not at all: the file is written anew and renamed.

    Args:
        path: of the file; its folder is made.
        subject: what is measured. Rounds of another subject are never mixed in.

    Attributes:
        path: of the file.
        entries: the finished rounds, oldest first.

    Raises:
        InputError: the file is no journal, or one of another subject.
        OSError: it cannot be read or made.
    """

    def __init__(self, path: Path, subject: dict[str, Any]) -> None:
        self.path = path
        self._subject = json.loads(json.dumps(subject))
        self.entries: list[dict[str, Any]] = []
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists():
            self.entries = self._read()

    def append(self, entry: dict[str, Any]) -> None:
        """Adds a round; on disk when this returns."""
        lines = [self._subject, *self.entries, entry]
        text = "".join(json.dumps(line) + "\n" for line in lines)
        write_atomically(self.path, text.encode())
        self.entries.append(entry)

    def remove(self) -> None:
        """Ends it: the benchmark is whole."""
        self.path.unlink(missing_ok=True)

    def _read(self) -> list[dict[str, Any]]:
        try:
            lines = [json.loads(line) for line in self.path.read_text().splitlines()]
        except ValueError as error:
            raise InputError(f"{self.path}: no journal of a benchmark: {error}") from error
        if not lines or lines[0] != self._subject:
            raise InputError(
                f"{self.path}: a benchmark of something else was stopped here; remove the file, or "
                "write to another --json"
            )
        return lines[1:]
