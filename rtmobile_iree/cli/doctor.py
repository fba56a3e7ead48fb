"""`rtmobile doctor`."""

from __future__ import annotations

from rtmobile_iree.cli.common import app, console
from rtmobile_iree.errors import InputError


@app.command()
def doctor() -> None:
    """Says what is installed, what this machine can do, and what is missing."""
    from rtmobile_iree.doctor import examine

    findings = examine()
    console().print(findings.table())
    if findings.missing:
        raise InputError(f"missing: {'; '.join(findings.missing)}")
