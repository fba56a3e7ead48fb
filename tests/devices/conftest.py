"""A board to test with: an sshd of our own on loopback, run by an ordinary user.

sshd, adb and what they need come from the system, or from `.venv/debian`, where `make test` unpacks
them (tools/unpack_debian.sh). A test that lacks one is skipped with its name.
"""

from __future__ import annotations

import os
import platform
import pwd
import resource
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path

import numpy as np
import pytest

from rtmobile_iree import compile
from rtmobile_iree.devices.contents import Contents, read_contents
from rtmobile_iree.models import tiny_speech_gru
from rtmobile_iree.prune import prune

ROOT = Path(__file__).parents[2]
DEBIAN = ROOT / ".venv" / "debian"
LIBRARIES = DEBIAN / "usr/lib" / f"{platform.machine()}-linux-gnu"
# who runs the board where the tests run as root: sshd wants an ordinary user's own name and shell
USER_ID, USER = 64321, "board"
WAIT_S, LOOK_S = 10, 0.05
# programs of their own since OpenSSH 9.8
SPLIT = {"sshd-session": "SshdSessionPath", "sshd-auth": "SshdAuthPath"}


def find(program: str) -> Path:
    """A program of the system, or of the unpacked packages."""
    places = f"{os.environ['PATH']}:/usr/sbin:{DEBIAN}/usr/sbin:{DEBIAN}/usr/bin"
    found = shutil.which(program, path=places)
    if found is None:
        pytest.skip(f"{program} is missing: make test unpacks it on Debian; or install it")
    return Path(found)


def library_path() -> str:
    """For programs of the unpacked packages."""
    return f"{LIBRARIES}:{LIBRARIES}/android"


def wrapper(folder: Path, name: str, command: str) -> None:
    """A program in a folder for the front of PATH."""
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f'#!/bin/sh\nexec {command} "$@"\n')
    (folder / name).chmod(0o755)


def wait_until(condition: Callable[[], object], what: str, timeout_s: float = WAIT_S) -> None:
    """Waits; by looks and not by the clock, which goes on where this machine stands still."""
    for _ in range(round(timeout_s / LOOK_S)):
        if condition():
            return
        time.sleep(LOOK_S)
    raise AssertionError(f"{what}: not in {timeout_s} s")


def processes(text: str) -> list[int]:
    """Those whose command line has the text."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            if text.encode() in path.read_bytes() and int(path.parent.name) != os.getpid():
                found.append(int(path.parent.name))
    return found


def working_in(folder: str) -> list[int]:
    """Processes whose working folder begins so; it may be removed."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cwd"):
        with suppress(OSError):
            if os.readlink(path).startswith(folder):
                found.append(int(path.parent.name))
    return found


def end(running: list[int]) -> None:
    for process in running:
        with suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)


def in_environment(start: str, end: str) -> list[int]:
    """Processes with a variable that starts and ends so."""
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):
            variables = path.read_bytes().decode(errors="replace").split("\0")
            if any(v.startswith(start) and v.endswith(end) for v in variables):
                found.append(int(path.parent.name))
    return found


def children(process: int) -> list[int]:
    return [int(p) for p in Path(f"/proc/{process}/task/{process}/children").read_text().split()]


class Board:
    """A running sshd.

    Attributes:
        folder: everything of it: keys, its user's home; its name has a space.
        port: it listens at.
        place: what follows "ssh:" on the command line.
        bin: folder for the front of PATH, with an `ssh` that knows the board's keys.
        cache: where rtmobile's files go on it.
    """

    wait_until = staticmethod(wait_until)
    processes = staticmethod(processes)

    def __init__(self, folder: Path, file_size: int | None = None) -> None:
        self.folder, self._file_size = folder, file_size
        self.bin, self.home = folder / "bin", folder / "home of board"
        self.cache = self.home / ".cache" / "rtmobile-iree"
        self.is_root = os.getuid() == 0
        self.user = USER if self.is_root else pwd.getpwuid(os.getuid()).pw_name
        with closing(socket.create_server(("127.0.0.1", 0))) as server:
            self.port = server.getsockname()[1]
        self.place = f"{self.user}@127.0.0.1:{self.port}"
        self._make()
        self.start()

    def start(self) -> None:
        """Starts sshd and waits until it listens."""
        # its parent is told apart from those it makes for each connection by its first words
        self._process = subprocess.Popen(
            [find("sshd"), "-D", "-e", "-f", self.folder / "sshd_config"],
            env=self._environment(),
            stderr=(self.folder / "log").open("ab"),
            start_new_session=True,
            preexec_fn=self._limit,
            **({"user": USER_ID, "group": USER_ID, "extra_groups": []} if self.is_root else {}),
        )
        wait_until(self._listens, f"sshd at {self.port}, see {self.folder}/log")

    def stop(self) -> None:
        """Ends it and all its connections, as a cut cable."""
        serving = self.connections()
        self._process.kill()
        self._process.wait(WAIT_S)
        end(serving)

    def cut(self) -> None:
        """Ends its connections, hard; what they started is left alone."""
        end(self.connections())

    def reboot(self) -> None:
        """Ends all that connections started, and them, before any of it can notice."""
        while started := in_environment("SSH_CONNECTION=127.0.0.1 ", f" {self.port}"):
            for sent in (signal.SIGSTOP, signal.SIGKILL):
                for process in (*started, *self.connections()):
                    with suppress(ProcessLookupError):
                        os.kill(process, sent)

    def connections(self) -> list[int]:
        """Its processes that serve connections, each with the one that watches over it."""
        found, left = [], children(self._process.pid)
        while left:
            process = left.pop()
            with suppress(OSError):
                if Path(f"/proc/{process}/comm").read_text().startswith("sshd"):
                    found.append(process)
                    left += children(process)
        return found

    def sessions(self) -> list[Path]:
        """Folders of sessions that are on it."""
        return list(self.cache.glob("run-*"))

    def running(self) -> list[int]:
        """Processes that a session left or has on it."""
        folder = str(self.cache / "run-")
        return [*processes(folder), *working_in(folder)]

    def wait_clean(self, timeout_s: float = WAIT_S) -> None:
        """Until nothing of a session is left."""
        wait_until(lambda: not self.running(), f"left running: {self.running()}", timeout_s)
        wait_until(lambda: not self.sessions(), f"left: {self.sessions()}", timeout_s)

    def _make(self) -> None:
        self.cache.mkdir(parents=True)
        for name in ("host_key", "user_key", "other_key"):
            subprocess.run(
                ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", self.folder / name],
                check=True,
            )
        key = (self.folder / "host_key.pub").read_text().split()
        (self.folder / "known_hosts").write_text(f"[127.0.0.1]:{self.port} {key[0]} {key[1]}\n")
        shutil.copy(self.folder / "user_key.pub", self.folder / "authorized_keys")
        (self.folder / "passwd").write_text(f"{USER}:x:{USER_ID}:{USER_ID}::{self.home}:/bin/sh\n")
        (self.folder / "group").write_text(f"{USER}:x:{USER_ID}:\n")
        settings = {
            "Port": self.port, "ListenAddress": "127.0.0.1", "HostKey": self.folder / "host_key",
            "AuthorizedKeysFile": self.folder / "authorized_keys", "PidFile": "none",
            "UsePAM": "no", "StrictModes": "no", "PasswordAuthentication": "no",
            "KbdInteractiveAuthentication": "no",
            "SetEnv": f'"XDG_CACHE_HOME={self.home}/.cache"',
        }  # fmt: skip
        for name, setting in SPLIT.items():
            if (program := DEBIAN / "usr/lib/openssh" / name).is_file():
                settings[setting] = program
        lines = "".join(f"{key} {value}\n" for key, value in settings.items())
        (self.folder / "sshd_config").write_text(lines)
        client = (
            f"Host *\n  IdentityFile {self.folder}/user_key\n  IdentitiesOnly yes\n"
            f"  UserKnownHostsFile {self.folder}/known_hosts\n  GlobalKnownHostsFile none\n"
        )
        (self.folder / "ssh_config").write_text(client)
        wrapper(self.bin, "ssh", f"{find('ssh')} -F {self.folder}/ssh_config")
        if self.is_root:
            for path in (self.folder, *self.folder.rglob("*")):
                os.chown(path, USER_ID, USER_ID)
        # ssh wants the keys to be its own user's
        for name in ("user_key", "other_key", "ssh_config"):
            os.chown(self.folder / name, os.getuid(), os.getgid())

    def _environment(self) -> dict[str, str]:
        environment = {"PATH": os.environ["PATH"], "LD_LIBRARY_PATH": library_path()}
        if self.is_root:
            # gives the user a name and a shell without touching /etc/passwd
            environment["LD_PRELOAD"] = str(LIBRARIES / "libnss_wrapper.so")
            environment["NSS_WRAPPER_PASSWD"] = str(self.folder / "passwd")
            environment["NSS_WRAPPER_GROUP"] = str(self.folder / "group")
        return environment

    def _limit(self) -> None:
        if self._file_size is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (self._file_size, self._file_size))

    def _listens(self) -> bool:
        with suppress(OSError):
            socket.create_connection(("127.0.0.1", self.port), 1).close()
            return True
        return False


@pytest.fixture(scope="session")
def make_board() -> Iterator[Callable[..., Board]]:
    """Makes boards; those that are made are stopped at the end."""
    find("ssh-keygen")
    find("sshd")
    boards: list[Board] = []

    def make(**options: int) -> Board:
        folder = Path(tempfile.mkdtemp(prefix="rtmobile-board-"))
        folder.chmod(0o755)
        boards.append(Board(folder, **options))
        return boards[-1]

    yield make
    for board in boards:
        board.stop()
        shutil.rmtree(board.folder)


@pytest.fixture(scope="session")
def whole_board(make_board: Callable[..., Board]) -> Board:
    return make_board()


@pytest.fixture
def board(whole_board: Board, monkeypatch: pytest.MonkeyPatch) -> Iterator[Board]:
    """The board, which nothing may be left on."""
    monkeypatch.setenv("PATH", f"{whole_board.bin}:{os.environ['PATH']}")
    yield whole_board
    whole_board.wait_clean()


@pytest.fixture(scope="session")
def contents() -> Contents:
    """A compiled tiny model."""
    model = tiny_speech_gru()
    prune(model, column_rate=4, row_rate=1)
    return read_contents(compile(model, model.example_inputs(3)).vmfb)


@pytest.fixture(scope="session")
def inputs(contents: Contents) -> list[np.ndarray]:
    """Three steps."""
    return contents.example_inputs(3)


@pytest.fixture(scope="session")
def adb_client(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with the real adb client."""
    folder = tmp_path_factory.mktemp("adb")
    wrapper(folder, "adb", f"env LD_LIBRARY_PATH={library_path()} {find('adb')}")
    return folder


@pytest.fixture
def eventually() -> Callable[..., None]:
    return wait_until


@pytest.fixture
def find_processes() -> Callable[[str], list[int]]:
    return processes
