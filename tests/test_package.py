"""`rtmobile package`: the bundle's script runs, its bytes repeat, its C program is C."""

import json
import os
import shutil
import subprocess
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest

from rtmobile_iree import cli
from rtmobile_iree.devices.runtime_tools import host_tools
from rtmobile_iree.errors import InputError
from rtmobile_iree.package import archive_kind, write_bundle

TINY = "rtmobile_iree.models:tiny_speech_gru"
C_FOLDER = Path(cli.__file__).parents[1] / "package/contents/c"


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as caught:
        cli.main([str(argument) for argument in arguments])
    return caught.value.code or 0


@pytest.fixture(scope="module")
def bundle(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("packaged") / "a bundle"
    assert run("package", TINY, "--prune", "4x1", "--steps", "7", "-o", folder) == 0
    return folder


@pytest.fixture
def copy(bundle, tmp_path) -> Path:
    return Path(shutil.copytree(bundle, tmp_path / "copy of it"))


def run_script(folder: Path, **environment: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        ["sh", folder / "run.sh", host_tools().folder],
        capture_output=True,
        text=True,
        env=os.environ | {"REPETITIONS": "1"} | environment,
        check=False,
    )


def test_what_is_in_it(bundle):
    files = {str(path.relative_to(bundle)) for path in bundle.rglob("*") if path.is_file()}
    assert files == {
        "model.vmfb", "inputs/0.npy", "inputs/1.npy", "expected/0.npy", "expected/1.npy", "run.sh",
        "README.md", "versions.json", "SHA256SUMS", "c/step.c", "c/npy.c", "c/npy.h",
        "c/CMakeLists.txt",
    }  # fmt: skip
    record = json.loads((bundle / "versions.json").read_text())
    assert record["options"] == {"values": "f32", "activations": "f32", "prune": "4x1"}
    assert record["expected_from"].startswith("PyTorch 2")
    assert np.load(bundle / "expected/0.npy").shape == (1, 7, 8)
    subprocess.run(["sha256sum", "--check", "--quiet", "SHA256SUMS"], cwd=bundle, check=True)
    for name in ("run.sh", "README.md", "c/CMakeLists.txt"):
        assert "@" not in (bundle / name).read_text().replace("$@", "").replace("=@", "")


def test_its_script_runs(bundle):
    result = run_script(bundle, MASK="1")
    assert result.returncode == 0, result.stderr
    assert "outputs are as expected, to 0.0001" in result.stdout
    assert "BM_main" in result.stdout


def test_its_script_says_when_an_output_is_wrong(copy):
    path = copy / "expected/0.npy"
    np.save(path, np.load(path) + np.float32(0.001))
    result = run_script(copy)
    assert result.returncode != 0
    assert "outputs are as expected" not in result.stdout


def test_its_script_without_the_tools(copy):
    result = subprocess.run(
        ["/bin/sh", copy / "run.sh"], capture_output=True, text=True, check=False,
        env={"PATH": "/usr/bin:/bin"},
    )  # fmt: skip
    assert result.returncode == 1
    assert "run.sh: iree-run-module is missing; README.md says" in result.stderr


@pytest.mark.skipif(shutil.which("dash") is None, reason="dash is missing: apt-get install dash")
def test_its_script_is_posix(bundle):
    subprocess.run(["dash", "-n", bundle / "run.sh"], check=True)


@pytest.mark.parametrize("name", ["model.tar.gz", "model.zip"])
def test_archives_of_equal_bundles_are_equal(name, bundle, tmp_path):
    paths = [tmp_path / part / name for part in ("first", "second")]
    for path in paths:
        path.parent.mkdir()
        assert run("package", bundle / "model.vmfb", "--steps", "7", "-o", path) == 0
    assert paths[0].read_bytes() == paths[1].read_bytes()
    if name.endswith(".zip"):
        with zipfile.ZipFile(paths[0]) as archive:
            archive.extractall(tmp_path)
    else:
        with tarfile.open(paths[0]) as archive:
            archive.extractall(tmp_path, filter="data")
            assert archive.getmember("model/run.sh").mode == 0o755
    assert (tmp_path / "model/c/step.c").read_bytes() == (bundle / "c/step.c").read_bytes()


def test_a_compiled_file(bundle, tmp_path, capsys):
    assert run("package", bundle / "model.vmfb", "--steps", "2", "-o", tmp_path / "file") == 0
    assert "expected outputs from the module itself, on local" in capsys.readouterr().out
    assert run_script(tmp_path / "file").returncode == 0


def test_a_bundle_replaces_a_bundle_and_nothing_else(tmp_path):
    output = tmp_path / "out"
    write_bundle({"versions.json": b"1", "old": b""}, output)
    write_bundle({"versions.json": b"2", "new/file": b""}, output)
    assert sorted(path.name for path in output.iterdir()) == ["new", "versions.json"]
    (output / "versions.json").unlink()
    with pytest.raises(InputError, match="is there and is no bundle"):
        archive_kind(output)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("name", ["x.tgz", "x.tar", "x.7z"])
def test_archives_of_other_kinds(name, tmp_path):
    with pytest.raises(InputError, match="name it .tar.gz, .zip, or as a folder"):
        archive_kind(tmp_path / name)


def test_a_folder_that_cannot_be_written():
    with pytest.raises(OSError, match="/proc/none/out"):
        write_bundle({"a": b""}, Path("/proc/none/out"))


@pytest.mark.parametrize(
    ("arguments", "why"),
    [(["x.vmfb", "--prune", "4x1"], "is compiled already"),
     ([TINY, "--device", "local"], "are for a FILE.vmfb"),
     (["none.vmfb"], "cannot be read")],
)  # fmt: skip
def test_mistakes_at_the_shell(arguments, why, tmp_path, capsys):
    assert run("package", *arguments, "-o", tmp_path / "out") == 1
    assert why in capsys.readouterr().err


@pytest.fixture(scope="module")
def compiler() -> str:
    found = shutil.which("cc")
    if found is None:
        pytest.skip("a C compiler is missing: apt-get install gcc")
    return found


def test_its_c_program_reads_numpys_files(compiler, tmp_path):
    """npy.c alone: step.c needs IREE's headers, which no package ships."""
    (tmp_path / "main.c").write_text(
        '#include <stdio.h>\n#include <stdlib.h>\n#include "npy.h"\n'
        "int main(int argc, char** argv) {\n  npy_t a;\n  if (npy_read(argv[argc - 1], &a))"
        " return 1;\n"
        '  for (size_t i = 0; i < a.rank; ++i) printf("%zu ", a.shape[i]);\n'
        '  for (size_t i = 0; i < a.count; ++i) printf("%.9g ", a.data[i]);\n'
        "  free(a.data);\n  return 0;\n}\n"
    )
    program = tmp_path / "read"
    flags = ["-std=c11", "-Wall", "-Wextra", "-Werror", f"-I{C_FOLDER}", "-o", program]
    subprocess.run([compiler, *flags, tmp_path / "main.c", C_FOLDER / "npy.c"], check=True)
    path = tmp_path / "a.npy"
    for shape in ((), (0,), (1,), (5,), (2, 3), (1, 7, 2)):
        array = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
        np.save(path, array)
        words = subprocess.run([program, path], capture_output=True, text=True, check=True).stdout
        expected = [*map(float, shape), *array.ravel().tolist()]
        assert [float(word) for word in words.split()] == pytest.approx(expected, rel=1e-8)
    for bad in (np.zeros(3), np.asfortranarray(np.zeros((2, 3), np.float32)), np.zeros(3, ">f4")):
        np.save(path, bad)
        assert subprocess.run([program, path], capture_output=True, check=False).returncode == 1
    path.write_bytes(path.read_bytes()[:-1])
    assert subprocess.run([program, path], capture_output=True, check=False).returncode == 1


@pytest.mark.slow
def test_its_c_program_steps_the_module(compiler, copy):
    """With IREE's sources at hand, RTMOBILE_IREE_SOURCE=/path/to/iree; two minutes."""
    source = os.environ.get("RTMOBILE_IREE_SOURCE")
    if source is None:
        pytest.skip("IREE's sources: set RTMOBILE_IREE_SOURCE to a checkout with flatcc")
    build = copy / "c/build"
    configure = [
        "cmake",
        "-S",
        copy / "c",
        "-B",
        build,
        "-DCMAKE_BUILD_TYPE=Release",
        "-G",
        "Ninja",
    ]
    subprocess.run([*configure, f"-DFETCHCONTENT_SOURCE_DIR_IREE={source}"], check=True)
    subprocess.run(["cmake", "--build", build, "--target", "step"], check=True)
    result = run_script(copy)
    assert result.returncode == 0, result.stderr
    assert "7 steps" in result.stdout
