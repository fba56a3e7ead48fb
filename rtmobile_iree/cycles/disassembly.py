"""A kernel's machine code as text, cut into basic blocks: what llvm-mca is asked about."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from rtmobile_iree.cycles.emulate import INSTRUCTION_BYTES, Counts
from rtmobile_iree.errors import CompileError

LINE = re.compile(r"^\s*([0-9a-f]+):\s+(\S+)\s*(.*)$")
# the destination of a branch, or of an address: the last operand, followed by a symbol
DESTINATION = re.compile(r"0x([0-9a-f]+) <[^>]*>")
BRANCH = re.compile(r"^(b|b\..+|bl|blr|br|cbn?z|tbn?z|ret)$")


@dataclass(frozen=True)
class Instruction:
    """One instruction; `target`: where it branches to, if it does and says so."""

    address: int
    text: str
    target: int | None
    is_branch: bool


@dataclass(frozen=True)
class Block:
    """Instructions that run one after the other, all of them or none.

    Attributes:
        instructions: in order.
        times: how often it ran.
        entries: how often it was entered from elsewhere; fewer than `times` for a loop of its own.
    """

    instructions: tuple[Instruction, ...]
    times: int
    entries: int

    @property
    def address(self) -> int:
        return self.instructions[0].address

    @property
    def is_loop(self) -> bool:
        """It branches back to itself: an innermost loop."""
        return self.instructions[-1].target == self.address

    def count(self, pattern: str) -> int:
        """Instructions of one pass whose text matches from its beginning."""
        return sum(re.match(pattern, each.text) is not None for each in self.instructions)


def disassemble(elf: Path, objdump: Path) -> dict[int, Instruction]:
    """Every instruction of a shared object, by address."""
    command = [str(objdump), "-d", "--no-show-raw-insn", str(elf)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise CompileError(f"{objdump} cannot read {elf}: {done.stderr.strip()}")
    matches = filter(None, map(LINE.match, done.stdout.splitlines()))
    found = (_instruction(int(m[1], 16), m[2], m[3].strip()) for m in matches)
    return {each.address: each for each in found}


def _instruction(address: int, mnemonic: str, operands: str) -> Instruction:
    is_branch = BRANCH.match(mnemonic) is not None
    destination = DESTINATION.search(operands)
    target = int(destination[1], 16) if destination and is_branch else None
    # llvm-mca takes a displacement, not the name of a place in this file
    operands = DESTINATION.sub("#4096", operands)
    return Instruction(address, f"{mnemonic}\t{operands}".strip(), target, is_branch)


def blocks(code: Mapping[int, Instruction], counts: Counts) -> tuple[Block, ...]:
    """The basic blocks that ran, of the instructions by address."""
    leaders = {each.target for each in code.values() if each.target is not None}
    found: list[list[Instruction]] = []
    for address in sorted(counts.instructions):
        before = code.get(address - INSTRUCTION_BYTES)
        begins = before is None or before.is_branch or address in leaders
        if begins or not found or found[-1][-1].address != address - INSTRUCTION_BYTES:
            found.append([])
        found[-1].append(code[address])
    return tuple(_block(tuple(each), counts) for each in found)


def _block(instructions: tuple[Instruction, ...], counts: Counts) -> Block:
    runs = {counts.instructions[each.address] for each in instructions}
    first, last = instructions[0].address, instructions[-1].address
    assert len(runs) == 1, f"{first:#x}: a block that runs in parts: {runs}"
    times = runs.pop()
    return Block(instructions, times, times - counts.jumps[last, first])
