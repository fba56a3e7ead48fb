"""The wheel holds what the editable installation shows, and the front door is cheap and stable.

Hazard: `package-dir` maps `dialects/` and `passes/` into the package by a list of names. A package
missing from that list works when installed editable and is absent from the wheel.
"""

import itertools
import os
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

import rtmobile_iree

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
FOLDERS = {
    "rtmobile_iree": "rtmobile_iree",
    "dialects": "rtmobile_iree.dialects",
    "passes": "rtmobile_iree.passes",
}


def packages_on_disk() -> set[str]:
    """Every folder with Python files below the three roots, as its installed package name."""
    found = set()
    for folder, package in FOLDERS.items():
        for file in (ROOT / folder).rglob("*.py"):
            inner = file.parent.relative_to(ROOT / folder).parts
            found.add(".".join((package, *inner)))
    return found


def run_python(code: str, folder: Path, path: Path | None = None) -> str:
    """Runs code in a fresh Python in `folder`; with `path`, that folder's packages come first."""
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    if path is not None:
        environment["PYTHONPATH"] = str(path)
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, env=environment, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = ["pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir"]
    subprocess.run(
        [sys.executable, "-m", *command, str(folder), str(copied_sources(folder))],
        check=True,
        capture_output=True,
    )
    (file,) = folder.glob("*.whl")
    return file


def copied_sources(folder: Path) -> Path:
    """The sources elsewhere, so that building leaves nothing in the repository."""
    target = folder / "sources"
    target.mkdir()
    for name in (*FOLDERS, "pyproject.toml", "README.md", "LICENSE", "NOTICE"):
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, target / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, target / name)
    return target


def test_every_package_is_listed():
    assert set(PROJECT["tool"]["setuptools"]["packages"]) == packages_on_disk()


def test_every_folder_with_code_is_a_package():
    for folder in FOLDERS:
        for file in (ROOT / folder).rglob("*.py"):
            assert (file.parent / "__init__.py").is_file(), file


def test_versions_agree():
    assert PROJECT["project"]["version"] == rtmobile_iree.__version__


def test_the_wheel_has_every_module_and_the_clips(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    for folder, package in FOLDERS.items():
        for file in (ROOT / folder).rglob("*.py"):
            inner = file.relative_to(ROOT / folder).as_posix()
            assert f"{package.replace('.', '/')}/{inner}" in names
    for file in (
        "devices/scripts/anchor.sh",
        "package/contents/run.sh",
        "package/contents/c/step.c",
        "speech/corpora/timit_phones.tsv",
        "speech/corpora/timit_speakers.tsv",
        "speech/corpora/unpack_debian.sh",
        "speech/corpora/words.tsv",
    ):
        assert f"rtmobile_iree/{file}" in names
    for clip in ("dir-instr.wav", "LICENSE", "transcripts.tsv", "corpus.json"):
        assert f"rtmobile_iree/speech/clips/{clip}" in names
    for kind in ("checkpoints/*.safetensors", "recipes/*.yaml"):
        for file in (ROOT / "rtmobile_iree/speech").glob(kind):
            assert f"rtmobile_iree/speech/{kind.split('/')[0]}/{file.name}" in names
    assert not [name for name in names if name.startswith(("dialects", "passes", "tests"))]


def test_the_wheel_imports_from_another_folder(wheel, tmp_path):
    zipfile.ZipFile(wheel).extractall(tmp_path / "site")
    code = (
        "import rtmobile_iree, rtmobile_iree.dialects.bspc, rtmobile_iree.passes as p;"
        "from rtmobile_iree.speech import load_clips; load_clips();"
        "print(rtmobile_iree.__file__, rtmobile_iree.dialects.__file__, p.__file__)"
    )
    for file in run_python(code, tmp_path, tmp_path / "site").split():
        assert file.startswith(str(tmp_path / "site"))


@pytest.mark.parametrize("name", ["dialects", "passes"])
def test_no_second_copy_from_the_repository_root(name):
    """A module imported twice has two of each class, and isinstance fails between them."""
    code = f"try:\n import {name}\nexcept ImportError as error:\n print('refused', error)"
    assert run_python(code, ROOT).startswith("refused")


def test_importing_the_front_door_and_the_format_is_cheap():
    code = (
        "import sys, rtmobile_iree, rtmobile_iree.bspc;"
        "print([m for m in ('torch', 'torch_mlir', 'iree', 'matplotlib') if m in sys.modules])"
    )
    assert run_python(code, ROOT) == "[]"


@pytest.mark.parametrize(
    "before",
    ["", "import rtmobile_iree.prune", "from rtmobile_iree.prune import projection", "rt.prune"],
)
def test_prune_is_the_function_whatever_was_imported_first(before, tmp_path):
    code = (
        f"import rtmobile_iree as rt; {before};"
        "import sys, types; import rtmobile_iree.prune;"
        "assert isinstance(rt.prune, types.FunctionType), rt.prune;"
        "assert rt.prune is sys.modules['rtmobile_iree.prune'].prune; print('ok')"
    )
    assert run_python(code.replace("; ;", ";"), tmp_path) == "ok"


def test_everything_exported_is_there():
    for name in rtmobile_iree.__all__:
        assert getattr(rtmobile_iree, name) is not None
    assert set(rtmobile_iree.__all__) <= set(dir(rtmobile_iree))


def test_an_unknown_name():
    with pytest.raises(AttributeError, match="no attribute 'prunes'"):
        _ = rtmobile_iree.prunes


def test_no_registry_is_named():
    for name in ("pyproject.toml", "Makefile", ".ci/run", "third_party/README.md"):
        text = (ROOT / name).read_text()
        assert "index-url" not in text
        assert "http" not in text


def test_third_party_lists_every_dependency():
    text = (ROOT / "third_party/README.md").read_text()
    project = PROJECT["project"]
    for line in itertools.chain(
        project["dependencies"], *project["optional-dependencies"].values()
    ):
        name = line.split("=")[0].rstrip("~>")
        assert f"| {name} | `{line[len(name) :]}` |" in text, line
