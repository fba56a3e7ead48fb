"""How often a kernel runs each of its instructions: its machine code in the Unicorn emulator.

The code is IREE's embedded ELF for an AArch64 target. A kernel's control flow depends on the number
of steps and on the packed tables alone, so frames and states may hold anything; they hold zeros.
The structures are those of IREE's `iree/hal/local/executable_library.h`, version 0.
"""

from __future__ import annotations

import struct
from collections import Counter
from dataclasses import dataclass
from io import BytesIO
from typing import Any

from rtmobile_iree.cycles.kernels import Kernel
from rtmobile_iree.errors import CompileError

R_AARCH64_RELATIVE = 1027
PAGE, INSTRUCTION_BYTES = 0x1000, 4
CODE, STACK, DATA, STOP = 0x10_0000, 0x4000_0000, 0x1_0000_0000, 0x3000_0000
STACK_BYTES = 1 << 20
NAME_BYTES = 256  # of a function's name, at most
LIBRARY_VERSION = 6  # greatest version asked for; IREE 3.13 writes this one
# offsets in iree_hal_executable_library_v0_t: exports.count, exports.ptrs, exports.names
COUNT, POINTERS, NAMES = 24, 32, 64


@dataclass(frozen=True)
class Counts:
    """What ran, by addresses in the ELF.

    Attributes:
        instructions: how often each instruction ran.
        jumps: how often control went from one instruction to another that does not follow it.
    """

    instructions: Counter[int]
    jumps: Counter[tuple[int, int]]


def count_instructions(elf: bytes, kernel: Kernel, items: int) -> Counts:
    """Runs a kernel once.

    Args:
        elf: the shared object IREE made of the kernel's executable, others in it or not.
        items: the kernel's push constant: steps, or vectors.

    Raises:
        CompileError: the emulator stopped, or the kernel failed.
    """
    from unicorn import UC_HOOK_BLOCK

    machine = _machine(elf)
    environment = _place(machine, DATA - (64 << 10), bytes(4096))
    entry = _exports(machine, elf, environment).get(kernel.name)
    if entry is None:
        raise CompileError(f"{kernel.name}: not in the code that IREE made")
    state, workgroup = _arguments(machine, kernel, items)
    # the emulator's blocks: from where control came in to the next branch, or to a page's end
    blocks: Counter[tuple[int, int]] = Counter()
    edges: Counter[tuple[int, int]] = Counter()
    last = 0  # one past the block before

    def count(_: Any, address: int, size: int, __: Any) -> None:
        nonlocal last
        blocks[address, size] += 1
        edges[last, address] += 1
        last = address + size

    hook = machine.hook_add(UC_HOOK_BLOCK, count)
    status = _run(machine, entry, environment, state, workgroup)
    machine.hook_del(hook)
    if status != 0:
        raise CompileError(f"{kernel.name}: returned status {status} in the emulator")
    instructions: Counter[int] = Counter()
    for (address, size), times in blocks.items():
        for each in range(address, address + size, INSTRUCTION_BYTES):
            instructions[each - CODE] += times
    jumps = {
        (end - INSTRUCTION_BYTES - CODE, begin - CODE): times
        for (end, begin), times in edges.items()
        if end != begin
    }
    return Counts(instructions, Counter(jumps))


def export_names(elf: bytes) -> tuple[str, ...]:
    """Names of the functions of a shared object that a program may dispatch."""
    machine = _machine(elf)
    return tuple(_exports(machine, elf, _place(machine, DATA, bytes(PAGE))))


def _exports(machine: Any, elf: bytes, environment: int) -> dict[str, int]:
    """Addresses of the functions by name: the library tells them itself."""
    query = _symbol(elf, "iree_hal_executable_library_query")
    library = _run(machine, query, LIBRARY_VERSION, environment)
    if library == 0:
        raise CompileError(f"the code is no IREE library of version {LIBRARY_VERSION}")
    count = _word(machine, library + COUNT) & 0xFFFFFFFF
    pointers, names = _word(machine, library + POINTERS), _word(machine, library + NAMES)
    found = {}
    for number in range(count):
        text = bytes(machine.mem_read(_word(machine, names + 8 * number), NAME_BYTES))
        found[text.split(b"\0")[0].decode()] = _word(machine, pointers + 8 * number)
    return found


def _machine(elf: bytes) -> Any:
    """An ARM64 core with the ELF in its memory, relocated."""
    from unicorn import UC_ARCH_ARM64, UC_MODE_ARM, Uc
    from unicorn.arm64_const import UC_ARM64_REG_CPACR_EL1, UC_CPU_ARM64_MAX

    machine = Uc(UC_ARCH_ARM64, UC_MODE_ARM)
    machine.ctl_set_cpu_model(UC_CPU_ARM64_MAX)
    machine.reg_write(UC_ARM64_REG_CPACR_EL1, 3 << 20)  # vector instructions do not trap
    file = _elf_file(elf)
    segments = [s for s in file.iter_segments() if s["p_type"] == "PT_LOAD"]
    end = max(s["p_vaddr"] + s["p_memsz"] for s in segments)
    machine.mem_map(CODE, _pages(end))
    for segment in segments:
        machine.mem_write(CODE + segment["p_vaddr"], segment.data())
    for section in file.iter_sections("SHT_RELA"):
        for relocation in section.iter_relocations():
            assert relocation["r_info_type"] == R_AARCH64_RELATIVE, relocation["r_info_type"]
            value = struct.pack("<Q", CODE + relocation["r_addend"])
            machine.mem_write(CODE + relocation["r_offset"], value)
    machine.mem_map(STACK, STACK_BYTES)
    machine.mem_map(STOP, PAGE)
    return machine


def _arguments(machine: Any, kernel: Kernel, items: int) -> tuple[int, int]:
    """Addresses of the dispatch's state and of the workgroup's, the buffers in memory."""
    address, pointers, lengths = DATA, [], []
    for buffer in kernel.buffers:
        size = buffer.size_bytes(items)
        data = bytes(size) if buffer.data is None else buffer.data.tobytes()
        pointers.append(_place(machine, address, data))
        lengths.append(size)
        address += _pages(size) + PAGE
    constants = _place(machine, address, struct.pack("<I", items))
    binding_pointers = _place(machine, address + PAGE, struct.pack(f"<{len(pointers)}Q", *pointers))
    binding_lengths = _place(
        machine, address + 2 * PAGE, struct.pack(f"<{len(lengths)}Q", *lengths)
    )
    sizes = struct.pack("<IIHH", 1, 1, 1, 1)  # of a workgroup, and the number of push constants
    counts = struct.pack("<IIHBB", 1, 1, 1, 1, len(pointers))
    rest = struct.pack("<QQQ", constants, binding_pointers, binding_lengths)
    state = _place(machine, address + 3 * PAGE, sizes + counts + rest)
    return state, _place(machine, address + 4 * PAGE, bytes(64))


def _place(machine: Any, address: int, data: bytes) -> int:
    """Maps memory of its own for some bytes."""
    machine.mem_map(address, _pages(len(data)))
    machine.mem_write(address, data)
    return address


def _run(machine: Any, function: int, *arguments: int) -> int:
    """Calls a function; what it returns."""
    from unicorn import UcError, arm64_const

    for number, value in enumerate(arguments):
        machine.reg_write(getattr(arm64_const, f"UC_ARM64_REG_X{number}"), value)
    machine.reg_write(arm64_const.UC_ARM64_REG_SP, STACK + STACK_BYTES - 64)
    machine.reg_write(arm64_const.UC_ARM64_REG_LR, STOP)
    try:
        machine.emu_start(function, STOP)
    except UcError as error:
        at = machine.reg_read(arm64_const.UC_ARM64_REG_PC) - CODE
        raise CompileError(f"the emulator stopped at {at:#x}: {error}") from error
    return int(machine.reg_read(arm64_const.UC_ARM64_REG_X0))


def _elf_file(elf: bytes) -> Any:
    from elftools.elf.elffile import ELFFile

    return ELFFile(BytesIO(elf))


def _symbol(elf: bytes, name: str) -> int:
    symbols = _elf_file(elf).get_section_by_name(".dynsym")
    return CODE + int(symbols.get_symbol_by_name(name)[0]["st_value"])


def _word(machine: Any, address: int) -> int:
    return int(struct.unpack("<Q", machine.mem_read(address, 8))[0])


def _pages(size: int) -> int:
    return max(PAGE, -(-size // PAGE) * PAGE)
