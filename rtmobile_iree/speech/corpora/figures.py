"""What is in a corpus, in figures."""

from __future__ import annotations

from pathlib import Path

from rich.table import Table

from rtmobile_iree.speech.corpus import SILENCE, SPLITS, Entry, read_manifest
from rtmobile_iree.speech.features import SAMPLE_RATE_HZ


def table(folder: Path) -> Table:
    """Utterances, minutes, phones and speakers of each split, with perturbed copies apart."""
    manifest = read_manifest(folder)
    title = f"{folder}: {manifest.name}, {len(manifest.left_out)} recordings left out"
    result = Table("split", "utterances", "minutes", "phones", "speakers", title=title)
    for split in SPLITS:
        entries = [entry for entry in manifest.utterances if entry.split == split]
        copies = [entry for entry in entries if "~" in entry.name]
        originals = [entry for entry in entries if "~" not in entry.name]
        for name, part in ((split, originals), (f"{split}, perturbed copies", copies)):
            if part:
                result.add_row(name, *_figures(part))
    return result


def _figures(entries: list[Entry]) -> tuple[str, ...]:
    seconds = sum(entry.samples for entry in entries) / SAMPLE_RATE_HZ
    phones = sum(phone != SILENCE for entry in entries for _, _, phone in entry.segments)
    speakers = len({entry.speaker for entry in entries})
    return f"{len(entries):,}", f"{seconds / 60:.1f}", f"{phones:,}", f"{speakers}"
