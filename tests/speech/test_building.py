"""Making a corpus's files: resumed after a kill, repaired, and stopped when asked."""

import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from rtmobile_iree.errors import InputError
from rtmobile_iree.speech.corpora.alignment import AlignmentError
from rtmobile_iree.speech.corpora.building import build
from rtmobile_iree.speech.corpora.sounds import write_wav
from rtmobile_iree.speech.corpus import Entry, file_sha256

SEGMENTS = ((0.0, 0.1, "aa"),)


@dataclass(frozen=True)
class Tone:
    """A task that leaves a trace of each time it was done."""

    name: str
    traces: Path
    recipe: str = "1"
    error: Exception | None = None
    kill: bool = False

    def make(self, folder):
        with (self.traces / self.name).open("a") as file:
            file.write("x")
        if self.kill:
            os.kill(os.getpid(), signal.SIGKILL)
        if self.error is not None:
            raise self.error
        sound = np.sin(np.arange(800) * (0.1 + 0.01 * len(self.recipe)))
        sha256, count = write_wav(folder / f"{self.name}.wav", sound)
        return Entry(self.name, "horn", "train", f"{self.name}.wav", sha256, count, "ah", SEGMENTS)


@pytest.fixture
def traces(tmp_path):
    folder = tmp_path / "traces"
    folder.mkdir()
    return folder


def tones(traces, count=4, **changed):
    return [Tone(f"t{number}", traces, **changed.get(f"t{number}", {})) for number in range(count)]


def counts(traces):
    return {path.name: len(path.read_text()) for path in sorted(traces.iterdir())}


def test_what_is_there_is_not_made_again(tmp_path, traces):
    done = []
    first = build(tmp_path / "out", "tones", tones(traces), advance=done.append)
    again = build(tmp_path / "out", "tones", tones(traces), advance=done.append)
    assert first == again
    assert [entry.name for entry in first.entries] == ["t0", "t1", "t2", "t3"]
    assert counts(traces) == dict.fromkeys(["t0", "t1", "t2", "t3"], 1)
    assert sum(done) == 8


def test_what_changed_or_was_damaged_is_made_again(tmp_path, traces):
    out = tmp_path / "out"
    first = build(out, "tones", tones(traces))
    (out / "t1.wav").write_bytes((out / "t1.wav").read_bytes()[:500])
    (out / "t3.wav").unlink()
    again = build(out, "tones", tones(traces, t2={"recipe": "another"}))
    assert counts(traces) == {"t0": 1, "t1": 2, "t2": 2, "t3": 2}
    same = [one.sha256 == two.sha256 for one, two in zip(first.entries, again.entries, strict=True)]
    assert same == [True, True, False, True]
    assert all(file_sha256(out / entry.audio) == entry.sha256 for entry in again.entries)


def test_a_killed_run_goes_on(tmp_path, traces):
    """SIGKILL in the middle of the third task, and half a line at the journal's end."""
    out = tmp_path / "out"
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); from pathlib import Path;"
        "import test_building as t; from rtmobile_iree.speech.corpora.building import build;"
        "build(Path(sys.argv[2]), 'tones', t.tones(Path(sys.argv[3]), t2={'kill': True}))"
    )
    command = [sys.executable, "-c", code, str(Path(__file__).parent), str(out), str(traces)]
    assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
    with (out / ".progress/tones.jsonl").open("a") as journal:
        journal.write('{"name": "t3", "rec')
    built = build(out, "tones", tones(traces))
    assert counts(traces) == {"t0": 1, "t1": 1, "t2": 2, "t3": 1}
    assert [entry.name for entry in built.entries] == ["t0", "t1", "t2", "t3"]
    assert sorted(path.name for path in out.iterdir()) == [
        ".progress",
        "t0.wav",
        "t1.wav",
        "t2.wav",
        "t3.wav",
    ]


def test_bad_files_are_reported_and_tried_again(tmp_path, traces):
    lines = []
    broken = {"error": InputError("t1.flac: cut short")}
    unfit = {"error": AlignmentError("it says something else")}
    built = build(tmp_path, "tones", tones(traces, t1=broken, t2=unfit), report=lines.append)
    assert [entry.name for entry in built.entries] == ["t0", "t3"]
    assert list(built.left_out) == lines
    assert lines == ["t1: t1.flac: cut short", "t2: it says something else"]
    # the file may have been repaired, the transcript was not
    again = build(tmp_path, "tones", tones(traces))
    assert [entry.name for entry in again.entries] == ["t0", "t1", "t3"]


def test_strict_stops_at_a_bad_file_and_keeps_what_is_done(tmp_path, traces):
    unfit, broken = AlignmentError("it says something else"), InputError("t2.flac: cut short")
    tasks = tones(traces, t1={"error": unfit}, t2={"error": broken})
    with pytest.raises(InputError, match=r"t2: t2\.flac: cut short"):
        build(tmp_path, "tones", tasks, strict=True)
    build(tmp_path, "tones", tones(traces))
    assert counts(traces) == {"t0": 1, "t1": 1, "t2": 2, "t3": 1}


def test_a_second_run_in_the_folder_is_refused(tmp_path, traces):
    seen = []

    @dataclass(frozen=True)
    class Intruder(Tone):
        def make(self, folder):
            with pytest.raises(InputError, match="another run is at work there"):
                build(folder, "others", [])
            seen.append(self.name)
            return super().make(folder)

    build(tmp_path, "tones", [Intruder("t0", traces)])
    assert seen == ["t0"]


def test_two_processes_make_the_same(tmp_path, traces):
    """With tasks of the package: those of a test module cannot be sent to a fresh process."""
    from rtmobile_iree.speech.corpora.perturb import perturbations

    written = build(tmp_path / "out", "tones", tones(traces, 3))
    tasks = perturbations(written.entries, {}, seed=3)
    one = build(tmp_path / "out", "one", tasks)
    two = build(tmp_path / "out", "two", tasks, jobs=2)
    assert one == two
    assert len(one.entries) == 3
