"""Files of a bundle onto the disk: a folder, .tar.gz or .zip that appears whole or not at all."""

from __future__ import annotations

import gzip
import io
import os
import shutil
import tarfile
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

from rtmobile_iree.errors import InputError
from rtmobile_iree.files import write_atomically

# by its presence a folder is known as a bundle, which another may replace
MARK = "versions.json"
ARCHIVES = (".tar.gz", ".zip")
FILE_MODE, PROGRAM_MODE = 0o644, 0o755
# the first date that a zip file can hold
EPOCH = (1980, 1, 1, 0, 0, 0)


def write_bundle(files: Mapping[str, bytes], output: Path) -> None:
    """Writes a bundle; what was at `output` stays as it was when that fails.

    Args:
        files: path inside the bundle -> bytes. Archives of equal files are equal, byte by byte.
        output: ends in .tar.gz or .zip for an archive; a folder otherwise.

    Raises:
        InputError: another kind of archive, or a folder that holds something else.
        OSError: no such folder, no permission, disk full.
    """
    kind = archive_kind(output)
    if kind == ".tar.gz":
        write_atomically(output, tar_bytes(files, output.name.removesuffix(kind)))
    elif kind == ".zip":
        write_atomically(output, zip_bytes(files, output.name.removesuffix(kind)))
    else:
        _write_folder(files, output)


def archive_kind(output: Path) -> str | None:
    """ ".tar.gz", ".zip", or None for a folder.

    Raises:
        InputError: the name of another archive, or a folder or file that no bundle may replace.
    """
    kind = next((kind for kind in ARCHIVES if output.name.endswith(kind)), None)
    if kind is None and output.suffix in (".tgz", ".tar", ".gz", ".xz", ".zst", ".7z", ".bz2"):
        raise InputError(f"--output {output}: name it .tar.gz, .zip, or as a folder")
    if kind is None and output.exists() and not _is_replaceable(output):
        raise InputError(f"--output {output}: is there and is no bundle; name another folder")
    if kind is not None and output.is_dir():
        raise InputError(f"--output {output}: is a folder")
    return kind


def tar_bytes(files: Mapping[str, bytes], root: str) -> bytes:
    """A .tar.gz with everything under `root`."""
    tar = io.BytesIO()
    with tarfile.open(fileobj=tar, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, data in sorted(files.items()):
            entry = tarfile.TarInfo(f"{root}/{name}")
            entry.size, entry.mode = len(data), _mode(name)
            archive.addfile(entry, io.BytesIO(data))
    packed = io.BytesIO()
    with gzip.GzipFile(fileobj=packed, mode="wb", filename="", mtime=0, compresslevel=9) as file:
        file.write(tar.getvalue())
    return packed.getvalue()


def zip_bytes(files: Mapping[str, bytes], root: str) -> bytes:
    """A .zip with everything under `root`."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, data in sorted(files.items()):
            entry = zipfile.ZipInfo(f"{root}/{name}", EPOCH)
            entry.external_attr = (0o100000 | _mode(name)) << 16
            entry.create_system = 3  # Unix, whatever this is
            archive.writestr(entry, data, zipfile.ZIP_DEFLATED, compresslevel=9)
    return packed.getvalue()


def _write_folder(files: Mapping[str, bytes], output: Path) -> None:
    try:
        temporary = Path(tempfile.mkdtemp(dir=output.absolute().parent, prefix=f".{output.name}."))
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(output)) from error
    try:
        for name, data in files.items():
            path = temporary / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
            path.chmod(_mode(name))
        temporary.chmod(0o755)
        _replace(temporary, output)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def _replace(temporary: Path, output: Path) -> None:
    """Puts the folder in its place; an older bundle there goes."""
    if not output.exists():
        os.rename(temporary, output)
        return
    old = temporary.with_name(temporary.name + ".old")
    os.rename(output, old)
    os.rename(temporary, output)
    shutil.rmtree(old, ignore_errors=True)


def _is_replaceable(output: Path) -> bool:
    return output.is_dir() and ((output / MARK).is_file() or not any(output.iterdir()))


def _mode(name: str) -> int:
    return PROGRAM_MODE if name.endswith(".sh") else FILE_MODE
