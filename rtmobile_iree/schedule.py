"""What a kernel may choose, and what is legal on a target. Data only; the tuner varies it.

A schedule never changes what is computed, up to the rounding of reordered sums and the error it
allows the activations.
"""

from __future__ import annotations

from dataclasses import dataclass

from rtmobile_iree.errors import InputError, TargetError

FMA_IN_FLIGHT = 8  # latency 4 cycles x 2 FMA a cycle on the cores we know (Zen 4, Cortex-A76, -X1)
ACTIVATION_ERROR = 1e-6
# f32 arithmetic alone makes errors of 3e-7; over a tenth a gate is hardly a gate
ACTIVATION_ERRORS = (4e-7, 0.1)
# Bytes of W_ih: under it chunks of 4 steps instead of 16 gain 8 % on Zen 4, above they lose 2 %.
SMALL = 128 << 10
MOST_WORKERS = 32  # of a kernel; `passes/kernels/team.py` counts them in 6 bits
PARTS = ("project", "recur", "gates")  # W_ih x; W_hh h; activations and states


def check_activation_error(error: float) -> None:
    """Raises an `InputError` unless sigmoid and tanh can be had with this absolute error."""
    low, high = ACTIVATION_ERRORS
    if not low <= error <= high:
        raise InputError(
            f"activation error {error:g}: sigmoid and tanh are f32; use {low:g} to {high:g} "
            f"(the default is {ACTIVATION_ERROR:g}, and 1e-3 does for f16)"
        )


def even_part(length: int, most: int, multiple: int) -> int:
    """The length of parts, `most` at most, that are as few as can be and nearly equal.

    Args:
        most, and what is returned: multiples of `multiple`.
    """
    parts = -(-length // most)
    part = -(-length // parts)
    return part + -part % multiple


@dataclass(frozen=True)
class IntegerDot:
    """An instruction that adds four products of bytes to every i32 lane of a register.

    Attributes:
        intrinsic: LLVM's name of it.
        lanes: i32 lanes of the register.
        zero_point: what stands for an input of 0: 128 where inputs are unsigned bytes, else 0.
        move: how inputs are moved together, see `passes/kernels/staging.py`.
        is_matrix: it multiplies two rows of eight weights with two input vectors' eight bytes each,
            and adds eight products to each lane.
    """

    intrinsic: str
    lanes: int
    zero_point: int
    move: str = "gather"
    is_matrix: bool = False

    @property
    def by_lane(self) -> bool:
        """Whether it multiplies by four bytes of one lane of a register."""
        return self.move == "lookup" and not self.is_matrix

    @property
    def kind(self) -> str:
        """How panels are stored for it, see `passes/kernels/plan.py`."""
        return "i8x8" if self.is_matrix else "i8x4"

    def lanes_a_row(self, height: int) -> int:
        """Lanes that a row of a panel takes: several where its rows are fewer than the lanes."""
        return 1 if self.is_matrix else max(1, self.lanes // height)


def integer_dot(name: str, lanes: int) -> IntegerDot:
    """The instruction of a name in INTEGER_DOTS on registers of so many i32 lanes.

    Raises:
        TargetError: there is none.
    """
    if name not in INTEGER_DOTS:
        known = ", ".join(INTEGER_DOTS)
        raise TargetError(f"schedule: integer_dot = {name}; use one of {known}")
    intrinsic, sizes, zero_point, move = INTEGER_DOTS[name]
    if lanes not in sizes:
        raise TargetError(f"schedule: {name} has no form with {lanes} lanes, only {sizes}")
    return IntegerDot(
        intrinsic.format(bits=32 * lanes), lanes, zero_point, move, is_matrix="mmla" in name
    )


VPDPBUSD = ("llvm.x86.avx512.vpdpbusd.{bits}", (4, 8, 16), 128)
# name -> intrinsic, lanes there are forms for, zero point, how inputs are moved together
INTEGER_DOTS: dict[str, tuple[str, tuple[int, ...], int, str]] = {
    "vpdpbusd": (*VPDPBUSD, "gather"),
    "vpdpbusd-vbmi2": (*VPDPBUSD, "compress"),
    "sdot": ("llvm.aarch64.neon.sdot.v4i32.v16i8", (4,), 0, "lookup"),
    "smmla": ("llvm.aarch64.neon.smmla.v4i32.v16i8", (4,), 0, "lookup"),
}


@dataclass(frozen=True)
class Schedule:
    """Choices of the CPU kernel builder.

    Attributes:
        vector_width: elements in a vector register.
        accumulators: registers one inner loop may use for sums; the rest hold weights and x.
        vector_tile: input vectors (time steps, batch entries) that share one load of a weight.
        time_chunk: most steps whose input projection is computed before the scan runs over them.
        cache_bytes: of the cache next to the core's first one: a larger W_hh is walked to and fro,
            and its input projected for twice as many steps at once; 0 where none is so large.
        workers: most workers a recurrent kernel is shared out to.
        expand: whether the target expands a register under a mask.
        dot: instruction for i8 weights times quantized inputs; None: inputs stay f32.
        chunk_dot: instruction where several input vectors are at hand; None: that of `dot`.
        activation_error: greatest absolute error of sigmoid, tanh and a GRU's state update.
        element: "f32", or "f16": what recurrent kernels compute in.
        half_cells: whether cells of layers with quantized inputs are computed in f16.
        parts: what recurrent kernels compute, of `PARTS`: all of them, but to measure the cost of
            one by leaving it out (docs/roofline.md).
    """

    vector_width: int
    accumulators: int = 16
    vector_tile: int = 4
    time_chunk: int = 16
    cache_bytes: int = 0
    workers: int = 1
    expand: bool = False
    dot: IntegerDot | None = None
    chunk_dot: IntegerDot | None = None
    activation_error: float = ACTIVATION_ERROR
    element: str = "f32"
    half_cells: bool = False
    parts: tuple[str, ...] = PARTS

    def __post_init__(self) -> None:
        for name in ("vector_width", "accumulators", "vector_tile"):
            value = getattr(self, name)
            if value < 1 or value & (value - 1):
                raise TargetError(f"schedule: {name} = {value} is not a power of two")
        if self.time_chunk < 1:
            raise TargetError(f"schedule: time_chunk = {self.time_chunk}; use 1 or more")
        if not 1 <= self.workers <= MOST_WORKERS:
            raise TargetError(f"schedule: workers = {self.workers}; use 1 to {MOST_WORKERS}")
        if self.expand and self.vector_width not in (8, 16):
            raise TargetError(f"schedule: no expansion of {self.vector_width} lanes, only 8 or 16")
        check_activation_error(self.activation_error)
        if self.element not in ("f32", "f16"):
            raise TargetError(f"schedule: element = {self.element}; use f32 or f16")
        if self.element == "f16" and (self.expand or self.dot):
            raise TargetError("schedule: f16 arithmetic has no expansion, no integer dot products")
        if not set(self.parts) <= set(PARTS):
            raise TargetError(f"schedule: parts {'+'.join(self.parts)}; use some of {PARTS}")

    def steps_together(self, w_ih: int, w_hh: int) -> int:
        """Steps of a chunk, by the bytes of the largest W_ih and W_hh.

        To read a small W_ih again costs less than sums that leave the L1 cache; a large W_hh comes
        from further away at a chunk's first step, after other layers ran.
        """
        if w_ih <= SMALL:
            return min(self.time_chunk, self.vector_tile)
        alone = self.workers == 1
        return self.time_chunk * (2 if alone and self.is_large(w_hh) else 1)

    def is_large(self, size: int) -> bool:
        """Whether a matrix of so many bytes is walked to and fro."""
        return 0 < self.cache_bytes < size

    def row_block(self, height: int, vectors: int) -> int:
        """Rows of a panel that one inner loop sums, so that all sums stay in registers."""
        most = max(1, self.accumulators // vectors) * self.vector_width
        return min(height, even_part(height, most, self.vector_width))

    def column_unroll(self, sums: int) -> int:
        """Columns an inner loop takes at once: enough independent sums to hide FMA latency."""
        return max(1, min(FMA_IN_FLIGHT, self.accumulators) // sums)


PERSISTENT, WAVEFRONT, PER_STEP, AUTO = "persistent", "wavefront", "per-step", "auto"
THREADS = ("threads", "step_threads", "resident_threads")
POSITIVE = (
    *("unroll", "quads", "vector_tile", "step_unroll", "step_quads", "time_chunk", "wave_chunk"),
    "processors",
)
GPU_KERNELS = (AUTO, PERSISTENT, WAVEFRONT, PER_STEP)


def check_gpu_kernel(kernel: str) -> None:
    """Raises an `InputError` unless it is one of GPU_KERNELS."""
    if kernel not in GPU_KERNELS:
        raise InputError(f"gpu kernel {kernel!r}; use one of {', '.join(GPU_KERNELS)}")


@dataclass(frozen=True)
class GpuSchedule:
    """Choices of the GPU kernel builder.

    Attributes:
        kernel: of recurrent layers: "persistent", one workgroup runs all steps, states and sums in
            shared memory, weights in registers where they suit; "wavefront", one a layer, a
            dispatch runs a chunk of steps; "per-step", a dispatch a step; "auto": persistent where
            it fits, see `scan_weights`, or a wavefront, see `processors`.
        threads: most threads of a persistent workgroup.
        step_threads: most threads of a workgroup of any other kernel.
        units: most hidden units of a workgroup in a step's kernel; 0: as many as fill its threads.
        unroll: columns a loop over weights takes at once.
        quads: a thread sums at most four times as many rows; fewer where panels are not that high.
        vector_tile: input vectors of a linear layer that share one load of its weights.
        registers: 32-bit registers of a shader processor. A persistent workgroup keeps weights in
            them; 0: it reads them in every step.
        resident_threads: most threads of a workgroup that keeps its weights.
        step_unroll, step_quads: `unroll` and `quads` of a step's kernels.
        word_bits: a step's kernels load weights as four words of at most so many bits, 32 or 64; 0:
            four weights at once.
        step_blocks: whether threads of a step's kernel sum four rows, eight columns a turn, see
            `passes/vulkan/blocks.py`; `step_unroll`, `step_quads` and `word_bits` say nothing then.
        time_chunk: most steps whose inputs a step's kernel projects at once.
        chunk_bytes: where a layer's W_ih takes more, twice as many; 0: never.
        is_half: whether products of recurrent layers are f16; no persistent kernel that reads its
            weights has such.
        scan_weights: most weights that a persistent kernel reads where "auto" chooses it; 0: any.
        wave_chunk: most steps of a dispatch of a wavefront.
        streamed_steps: least T, if T is known, for which "auto" chooses a wavefront that reads its
            weights in every step; 0: there is no such.
        processors: shader processors; with one "auto" chooses no wavefront whose weights stay in
            registers.
    """

    kernel: str = AUTO
    threads: int = 256
    step_threads: int = 64
    units: int = 0
    unroll: int = 4
    quads: int = 2
    vector_tile: int = 4
    registers: int = 0
    resident_threads: int = 1024
    step_unroll: int = 4
    step_quads: int = 2
    word_bits: int = 0
    step_blocks: bool = False
    time_chunk: int = 1
    chunk_bytes: int = 0
    scan_weights: int = 0
    wave_chunk: int = 5
    streamed_steps: int = 0
    processors: int = 1
    is_half: bool = False

    def __post_init__(self) -> None:
        check_gpu_kernel(self.kernel)
        for name in THREADS:
            value = getattr(self, name)
            if value < 1 or value & (value - 1):
                raise TargetError(f"schedule: {name} = {value} is not a power of two")
        for name in ("units", "registers", "streamed_steps"):
            if getattr(self, name) < 0:
                raise TargetError(f"schedule: {name} = {getattr(self, name)}; use 0 or more")
        for name in POSITIVE:
            if getattr(self, name) < 1:
                raise TargetError(f"schedule: {name} = {getattr(self, name)}; use 1 or more")
        if self.word_bits not in (0, 32, 64):
            raise TargetError(f"schedule: word_bits = {self.word_bits}; use 0, 32 or 64")

    def check_threads(self, most: int) -> None:
        """Raises a `TargetError` where a target's workgroups have fewer threads."""
        for name in THREADS:
            if getattr(self, name) > most:
                raise TargetError(
                    f"schedule: {name} = {getattr(self, name)}; the target's workgroups have at "
                    f"most {most}"
                )
