"""Diagnostics of `bspc-opt`: collected from the context, and compared with what a test expects.

A comment in a file opened with `--verify-diagnostics` names one message:

    // expected-error {{part of the message}}             on the same line
    // expected-error@+1 {{...}}                          one line below; -2 is two lines above
    // expected-error@below {{...}}  expected-error@above {{...}}
                                                          the next line without such a comment
    // expected-error@unknown {{...}}                     without a place in the file
    // expected-error-re {{size {{[0-9]+}} of}}           a regular expression inside {{ }}

`warning`, `remark` and `note` stand in place of `error` likewise. The grammar is mlir-opt's.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from torch_mlir import ir

KINDS = ("error", "warning", "remark", "note")
PARSED_NAME = "-"  # what MLIR's parser calls a string it reads

_EXPECTED = re.compile(
    rf"expected-({'|'.join(KINDS)})(-re)? *(@(?:[+-]\d+|above|below|unknown))? *\{{\{{(.*)\}}\}} *$"
)


@dataclass(frozen=True)
class Message:
    """One diagnostic; `line` and `column` count from 1, None without a place in a file."""

    kind: str
    text: str
    file: str | None = None
    line: int | None = None
    column: int | None = None

    def __str__(self) -> str:
        place = "" if self.file is None else f"{self.file}:{self.line}:{self.column}: "
        return f"{place}{self.kind}: {self.text}"


@dataclass(frozen=True)
class Expectation:
    """One expected message; `line` None means without a place in the file."""

    kind: str
    pattern: re.Pattern[str]
    text: str
    line: int | None
    comment_line: int

    def matches(self, message: Message) -> bool:
        """Whether this is the message: its kind, its line, and the text somewhere in it."""
        return (
            self.kind == message.kind
            and self.line == message.line
            and self.pattern.search(message.text) is not None
        )


@contextmanager
def collect(context: ir.Context, file: str) -> Iterator[list[Message]]:
    """Collects every diagnostic of a context, notes after what they belong to.

    Args:
        file: name of the file whose text is being parsed.
    """
    messages: list[Message] = []

    def add(diagnostic: ir.DiagnosticInfo | ir.Diagnostic) -> bool:
        kind = str(diagnostic.severity).rsplit(".", 1)[-1].lower()
        messages.append(Message(kind, diagnostic.message, *_place(diagnostic.location, file)))
        for note in diagnostic.notes:
            # MLIR prints the whole operation there; no test expects it, no reader wants it
            if not note.message.startswith("see current operation"):
                add(note)
        return True

    handler = context.attach_diagnostic_handler(add)
    try:
        yield messages
    finally:
        handler.detach()


def expectations(text: str) -> list[Expectation]:
    """What the comments of a file expect."""
    lines = text.split("\n")
    comments = [_EXPECTED.search(line) for line in lines]
    found = []
    for number, match in enumerate(comments, 1):
        if match is None:
            continue
        kind, regex, place, message = match.groups()
        line = _line(comments, number, (place or "@+0")[1:])
        pattern = _pattern(message) if regex else re.escape(message)
        found.append(Expectation(kind, re.compile(pattern), message, line, number))
    return found


def differences(expected: list[Expectation], messages: list[Message], file: str) -> list[Message]:
    """Messages that nobody expected, and expectations that no message met, as errors."""
    open_expectations = list(expected)
    errors = []
    for message in messages:
        met = next((each for each in open_expectations if each.matches(message)), None)
        if met is not None:
            open_expectations.remove(met)
            continue
        place = (message.file, message.line, message.column)
        errors.append(Message("error", f"unexpected {message.kind}: {message.text}", *place))
    for each in open_expectations:
        text = f'expected {each.kind} "{each.text}" was not produced'
        errors.append(Message("error", text, file, each.comment_line, 1))
    return errors


def _line(comments: list[re.Match[str] | None], number: int, place: str) -> int | None:
    """The line that a comment on line `number` speaks of."""
    if place == "unknown":
        return None
    if place not in ("above", "below"):
        return number + int(place)
    step = 1 if place == "below" else -1
    number += step
    while 1 <= number <= len(comments) and comments[number - 1] is not None:
        number += step
    return number


def _pattern(message: str) -> str:
    """The regular expression of an `expected-error-re`: literal outside {{ }}."""
    parts = re.split(r"\{\{(.*?)\}\}", message)
    return "".join(f"(?:{p})" if i % 2 else re.escape(p) for i, p in enumerate(parts))


def _place(location: ir.Location, file: str) -> tuple[str | None, int | None, int | None]:
    """The first file, line and column that a location names."""
    if isinstance(location, ir.FileLineColLoc):
        name = file if location.filename == PARSED_NAME else location.filename
        return name, location.start_line, location.start_col
    inner: list[ir.Location] = []
    if isinstance(location, ir.NameLoc):
        inner = [location.child_loc]
    elif isinstance(location, ir.CallSiteLoc):
        inner = [location.callee, location.caller]
    elif isinstance(location, ir.FusedLoc):
        inner = list(location.locations)
    places = (_place(each, file) for each in inner)
    return next((place for place in places if place[0] is not None), (None, None, None))
