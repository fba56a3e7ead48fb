"""Which peers there are, what each needs, and what the results say of it."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rtmobile_iree.errors import InputError

OURS = "rtmobile"
# asks for every peer; those that are not installed are told, and are no error
ALL = "all"

LOCAL, VULKAN = "local", "vulkan"
DENSE, BSP = "dense", "BSP"
F32, INT8 = "f32", "int8"
# Greatest absolute difference from PyTorch in f32. Sums in another order differ by about 1e-6, and
# another formula by far more. Weights and activations of 8 bits differ by up to 8e-3 here.
TOLERANCES = {F32: 1e-4, INT8: 2e-2}


def tolerance(values: str) -> float:
    """Greatest error of outputs that may be timed; weights narrower than f32 get int8's."""
    return TOLERANCES.get(values, TOLERANCES[INT8])


@dataclass(frozen=True)
class Peer:
    """One engine with one kind of weights.

    Attributes:
        module: file of this package.
        class_name: its contender.
        needs: what it imports.
        engine: as its makers write it.
        distribution: the package whose version is told.
        extra: of ours, that installs it.
        values: type of its weights, a key of `TOLERANCES`.
        pattern: "dense" for the unpruned model; "BSP" for the zeros our programs have; "8x8" for
            as many weights kept in square blocks, for engines that only profit from those.
        threads: most threads it can use; None for any number.
        device: where it runs: this machine's processor, or its Vulkan.
    """

    module: str
    class_name: str
    needs: tuple[str, ...]
    engine: str
    distribution: str
    extra: str = "bench"
    values: str = F32
    pattern: str = DENSE
    threads: int | None = None
    device: str = LOCAL

    @property
    def is_dense(self) -> bool:
        return self.pattern == DENSE

    @property
    def block(self) -> int | None:
        """Side of the square blocks it wants."""
        return None if self.pattern in (DENSE, BSP) else int(self.pattern.partition("x")[0])


def _litert(
    class_name: str, values: str = F32, pattern: str = DENSE, threads: int | None = None
) -> Peer:
    return Peer(
        "litert_peer",
        class_name,
        ("ai_edge_litert",),
        "LiteRT",
        "ai-edge-litert",
        "peers-litert",
        values,
        pattern,
        threads,
    )


def _vulkan(class_name: str, pattern: str) -> Peer:
    return Peer(
        "iree_vulkan_peer",
        class_name,
        ("iree.compiler", "torch_mlir"),
        "IREE",
        "iree-base-compiler",
        pattern=pattern,
        device=VULKAN,
    )


# name on the command line -> peer
PEERS = {
    "torch": Peer("torch_peer", "TorchPeer", ("torch",), "PyTorch", "torch"),
    "onnxruntime": Peer(
        "onnxruntime_peer",
        "OnnxRuntimePeer",
        ("onnx", "onnxruntime"),
        "ONNX Runtime",
        "onnxruntime",
    ),
    "iree-dense": Peer(
        "iree_peer",
        "IreeDensePeer",
        ("iree.compiler", "torch_mlir"),
        "IREE",
        "iree-base-compiler",
    ),
    "torch-int8": Peer(
        "torch_int8_peer", "TorchInt8Peer", ("torch",), "PyTorch", "torch", values=INT8
    ),
    "onnxruntime-int8": Peer(
        "onnxruntime_int8_peer",
        "OnnxRuntimeInt8Peer",
        ("onnx", "onnxruntime"),
        "ONNX Runtime",
        "onnxruntime",
        values=INT8,
    ),
    "torch-csr": Peer(
        "torch_sparse_peer", "TorchCsrPeer", ("torch",), "PyTorch", "torch", pattern=BSP
    ),
    "torch-bsr": Peer(
        "torch_sparse_peer", "TorchBsrPeer", ("torch",), "PyTorch", "torch", pattern=BSP
    ),
    "scipy-csr": Peer(
        "scipy_peer", "ScipyCsrPeer", ("scipy",), "SciPy", "scipy", pattern=BSP, threads=1
    ),
    "iree-gather": Peer(
        "iree_gather_peer",
        "IreeGatherPeer",
        ("iree.compiler",),
        "IREE",
        "iree-base-compiler",
        pattern=BSP,
    ),
    "mlir-sparsifier": Peer(
        "sparsifier_peer",
        "SparsifierPeer",
        ("torch_mlir",),
        "MLIR sparsifier",
        "torch-mlir",
        pattern=BSP,
        threads=1,
    ),
    "openvino": Peer(
        "openvino_peer",
        "OpenVinoPeer",
        ("onnx", "openvino"),
        "OpenVINO",
        "openvino",
        "peers-openvino",
    ),
    "ncnn": Peer("ncnn_peer", "NcnnPeer", ("ncnn",), "ncnn", "ncnn", "peers-ncnn"),
    "mnn": Peer("mnn_peer", "MnnPeer", ("onnx", "MNN"), "MNN", "MNN", "peers-mnn"),
    "openvino-int8": Peer(
        "openvino_int8_peer",
        "OpenVinoInt8Peer",
        ("onnx", "openvino", "nncf"),
        "OpenVINO",
        "openvino",
        "peers-nncf",
        INT8,
    ),
    "litert": _litert("LiteRtPeer"),
    "litert-int8": _litert("LiteRtInt8Peer", INT8),
    "litert-sparse": _litert("LiteRtSparsePeer", F32, "8x8", 1),
    "litert-sparse-int8": _litert("LiteRtSparseInt8Peer", INT8, "16x16", 1),
    "iree-vulkan": _vulkan("IreeVulkanPeer", DENSE),
    "iree-vulkan-zeros": _vulkan("IreeVulkanPeer", BSP),
    "iree-vulkan-gather": _vulkan("IreeVulkanGatherPeer", BSP),
}
DEFAULT_PEERS = ("torch", "onnxruntime", "iree-dense")
CONTENDERS = {
    **PEERS,
    OURS: Peer("iree_peer", "RTMobileContender", ("iree.runtime",), OURS, "rtmobile-iree"),
}


def runs_dense(contender: str) -> bool:
    """Whether a contender takes zeros for numbers like others; ours does not."""
    return contender in PEERS and PEERS[contender].is_dense


def device_peers(device: str) -> tuple[str, ...]:
    """Those that run on a device."""
    return tuple(name for name, peer in PEERS.items() if peer.device == device)


def default_peers(device: str) -> tuple[str, ...]:
    """Those that a benchmark takes where none are named."""
    return DEFAULT_PEERS if device == LOCAL else device_peers(device)


def check_peers(names: Sequence[str], device: str = LOCAL) -> None:
    """Raises unless every name is a peer whose packages are installed.

    Raises:
        InputError: an unknown peer, or a missing package and how to install it.
    """
    check_names(names, device)
    for name in names:
        if missing := missing_packages(name):
            raise InputError(f"peer {name!r} {missing}")


def check_names(names: Sequence[str], device: str = LOCAL) -> None:
    """Raises an `InputError` for an unknown peer, or one that does not run on a device."""
    known = ", ".join(device_peers(device))
    for name in names:
        if name not in PEERS:
            raise InputError(f"peer {name!r} is not known; use some of: {known}; or all")
        if PEERS[name].device != device:
            raise InputError(
                f"peer {name} runs on --device {PEERS[name].device}; on {device}, use {known}"
            )


def absent_peers(names: Sequence[str], model: str) -> dict[str, str]:
    """Which of the peers cannot run MODEL here, and why, as far as names alone can tell."""
    kind = Path(model).suffix
    reasons = {name: _cannot_read(name, kind) or missing_packages(name) for name in names}
    return {name: reason for name, reason in reasons.items() if reason}


def _cannot_read(name: str, kind: str) -> str | None:
    """Why a peer cannot run any file of a kind."""
    if kind == ".mlir" and name not in ("iree-dense", "iree-vulkan"):
        return "it does not read MLIR"
    if kind == ".pt2" and PEERS[name].block:
        return "it wants square blocks, and a file keeps the zeros it has"
    return None


def missing_packages(name: str) -> str | None:
    """What a peer needs that is not installed."""
    peer = PEERS[name]
    missing = [package for package in peer.needs if not _is_installed(package)]
    if not missing:
        return None
    return f"needs {' and '.join(missing)}; install with: pip install 'rtmobile-iree[{peer.extra}]'"


def _is_installed(package: str) -> bool:
    try:
        return importlib.util.find_spec(package) is not None
    except ModuleNotFoundError:
        return False
