"""A training run with a pruner, as its own process: alone, killed on the way, or under torchrun.

    python pruner_worker.py RESULT [--checkpoint FILE [--die-after STEPS]]
    python -m torch.distributed.run --nproc-per-node 2 pruner_worker.py RESULT

Every process trains on its share of the same batches. RESULT gets the weights, masks and phases.
"""

import argparse
import io
import os
import signal
from pathlib import Path

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

import rtmobile_iree as rt
from rtmobile_iree.files import write_atomically

RECIPE = {
    "method": {"kind": "admm", "steps": 7, "project_every": 3, "rho": 0.01, "rho_growth": 1.5},
    "retrain_steps": 3,
    "column_stages": [2],
    "layers": {"gru": {"column_rate": 4, "row_rate": 2, "row_stripes": 3, "col_blocks": 2}},
}


class Net(nn.Module):
    """A GRU and a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.gru = nn.GRU(8, 8)
        self.fc = nn.Linear(8, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x [T, B, 8] -> [T, B, 4]."""
        return self.fc(self.gru(x)[0])


def batch(step: int, rank: int, processes: int) -> tuple[torch.Tensor, torch.Tensor]:
    """This process's share of one step's batch."""
    generator = torch.Generator().manual_seed(step)
    x = torch.randn(5, 8, 8, generator=generator)
    return x[:, rank::processes], x.cumsum(0)[:, rank::processes, :4]


def main() -> None:
    """One run."""
    parser = argparse.ArgumentParser()
    parser.add_argument("result", type=Path)
    parser.add_argument("--checkpoint", type=Path)
    parser.add_argument("--die-after", type=int)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    rank, processes = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    if processes > 1:
        dist.init_process_group("gloo")
    result = train(arguments, rank, processes)
    if processes > 1:
        result["diverged"] = diverge(rank)
        dist.destroy_process_group()
    torch.save(result, arguments.result.with_suffix(f".{rank}.pt"))


def train(arguments: argparse.Namespace, rank: int, processes: int) -> dict[str, object]:
    """Trains to the end, from a checkpoint where there is one."""
    torch.manual_seed(rank)  # the first process's weights count
    net = Net()
    pruner = rt.BSPPruner(net, rt.Recipe(**RECIPE))
    optimizer = torch.optim.Adam(net.parameters(), 0.01, weight_decay=0.01)
    parts = {"net": net, "pruner": pruner, "optimizer": optimizer}
    model = DistributedDataParallel(net) if processes > 1 else net
    step, phases = 0, []
    if arguments.checkpoint and arguments.checkpoint.exists():
        saved = torch.load(arguments.checkpoint, weights_only=True)
        step, phases = saved["step"], saved["phases"]
        for name, part in parts.items():
            part.load_state_dict(saved[name])
    while not pruner.done:
        phases.append(str(pruner.phase))
        x, y = batch(step, rank, processes)
        loss = (model(x) - y).square().mean()
        (loss + pruner.penalty()).backward()
        optimizer.step()
        optimizer.zero_grad()
        pruner.step(loss)
        step += 1
        if arguments.checkpoint:
            states = {name: part.state_dict() for name, part in parts.items()}
            stream = io.BytesIO()
            torch.save({**states, "step": step, "phases": phases}, stream)
            write_atomically(arguments.checkpoint, stream.getvalue())
        if step == arguments.die_after:
            os.kill(os.getpid(), signal.SIGKILL)
    pruner.finalize()
    return {"weights": net.state_dict(), "phases": phases}


def diverge(rank: int) -> str:
    """What a process says when the loss of the second one is NaN."""
    pruner = rt.BSPPruner(Net(), rt.Recipe(**RECIPE))
    pruner.penalty()
    try:
        pruner.step(float("nan") if rank == 1 else 1.0)
    except rt.DivergenceError as error:
        return str(error)
    return ""


if __name__ == "__main__":
    main()
