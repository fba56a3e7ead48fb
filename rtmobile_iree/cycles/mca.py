"""llvm-mca: how many cycles a core's scheduling model gives a block of instructions.

The model is of a core that finds every load in its first-level cache and predicts every branch; the
estimate adds what that leaves out.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rtmobile_iree.devices.runtime_tools import cache_folder
from rtmobile_iree.errors import InputError

# the packages' own names first: plain llvm-mca may be an old one
SUFFIXES = ("-21", "-20", "-19", "-18", "-17", "", "-16", "-15", "-14")
# passes simulated: one, and two numbers whose difference is a loop that runs on and on
FEW, MANY = 20, 120
HOW_TO = "run `make llvm-mca` in rtmobile's repository, or install Debian's llvm"
# an access that moves its base register, after ([x1], #16) or before it ([x1, #16]!)
AFTER = re.compile(r"^(\S+\s.*)\[(\w+)\], #(-?)(0x[0-9a-f]+|\d+)$")
BEFORE = re.compile(r"^(\S+\s.*)\[(\w+), #(-?)(0x[0-9a-f]+|\d+)\]!$")


@dataclass(frozen=True)
class Cost:
    """Cycles of a block: its first pass from the first fetch to the last result, and each pass
    more when it runs again and again."""

    first: float
    more: float


@dataclass(frozen=True)
class Mca:
    """llvm-mca and llvm-objdump of one LLVM; `version`: its number."""

    mca: Path
    objdump: Path
    version: int


def find_mca() -> Mca:
    """The tools: those of `make llvm-mca`, else what is on PATH.

    Raises:
        InputError: there are none; says how to get them.
    """
    folders = [str(path) for path in sorted(cache_folder().glob("llvm/usr/lib/llvm-*/bin"))[::-1]]
    for folder in (*folders, None):
        for suffix in SUFFIXES:
            mca = shutil.which(f"llvm-mca{suffix}", path=folder)
            objdump = shutil.which(f"llvm-objdump{suffix}", path=folder)
            if mca and objdump:
                return Mca(Path(mca), Path(objdump), _version(mca))
    raise InputError(f"cycles: llvm-mca and llvm-objdump are needed; {HOW_TO}")


def _version(tool: str) -> int:
    text = subprocess.run([tool, "--version"], capture_output=True, text=True, check=False).stdout
    found = re.search(r"LLVM version (\d+)", text)
    if found is None:
        raise InputError(f"{tool}: does not run or tells no version; {HOW_TO}")
    return int(found[1])


def with_updates(block: Sequence[str]) -> list[str]:
    """The same instructions, each base register moved by an instruction of its own.

    LLVM's models have a store move it only when the stored value is there, which ties one pass of
    a loop to the next. Cores know the address earlier: we take it that they add beside the access.
    """
    found: list[str] = []
    for text in block:
        match = AFTER.match(text) or BEFORE.match(text)
        if match is None:
            found.append(text)
            continue
        access, base, sign, offset = match.groups()
        move = f"{'sub' if sign else 'add'}\t{base}, {base}, #{offset}"
        after = AFTER.match(text) is not None
        found += [f"{access}[{base}]", move] if after else [move, f"{access}[{base}]"]
    return found


def costs(mca: Mca, cpu: str, decode: int, blocks: Sequence[Sequence[str]]) -> list[Cost]:
    """Cycles of each block, a sequence of instructions.

    Args:
        cpu: LLVM's name of the core whose model is used.
        decode: instructions the core takes a cycle at most, where the model counts micro-ops only.

    Raises:
        InputError: llvm-mca does not know the core, or an instruction.
    """
    if not blocks:
        return []
    regions = [
        "\n".join([f"# LLVM-MCA-BEGIN b{n}", *with_updates(block), f"# LLVM-MCA-END b{n}"])
        for n, block in enumerate(blocks)
    ]
    source = "\n".join(regions) + "\n"
    once, few, many = (_cycles(mca, cpu, source, passes) for passes in (1, FEW, MANY))
    least = (len(block) / decode for block in blocks)
    return [
        Cost(first, max((high - low) / (MANY - FEW), bound))
        for first, low, high, bound in zip(once, few, many, least, strict=True)
    ]


def _cycles(mca: Mca, cpu: str, source: str, passes: int) -> list[int]:
    command = [str(mca.mca), "-march=aarch64", f"-mcpu={cpu}", f"-iterations={passes}", "--json"]
    done = subprocess.run(command, input=source, capture_output=True, text=True, check=False)
    errors = [line for line in done.stderr.splitlines() if "error:" in line or "not a rec" in line]
    if done.returncode or errors:
        line = (errors or done.stderr.splitlines() or ["no message"])[0]
        raise InputError(f"llvm-mca {mca.version} for {cpu}: {line}")
    regions = json.loads(done.stdout)["CodeRegions"]
    return [region["SummaryView"]["TotalCycles"] for region in regions]
