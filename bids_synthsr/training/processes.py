"""Several processes that train one network, a GPU each (torchrun, DistributedDataParallel)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel


@dataclass(frozen=True)
class Processes:
    """Rank of this process among those that train together.

    Parameters
    ----------
    rank
        Number of this process. Process 0 writes, the others only compute.
    count
        Number of processes; 1 for a training in one process.
    """

    rank: int = 0
    count: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this process writes."""
        return self.rank == 0

    def join(self, device: torch.device) -> None:
        """Connect with the others, at the address that torchrun put into the environment."""
        if self.count > 1:
            distributed.init_process_group('nccl' if device.type == 'cuda' else 'gloo')

    def leave(self) -> None:
        """Disconnect from the others, once all have ended."""
        if self.count > 1:
            distributed.barrier()
            distributed.destroy_process_group()

    def share(self, network: nn.Module, device: torch.device) -> nn.Module:
        """Make every process step along the mean of all gradients."""
        if self.count == 1:
            return network
        ids = [device] if device.type == 'cuda' else None
        # a step of one scan leaves fusions unused
        return DistributedDataParallel(network, device_ids=ids, find_unused_parameters=True)

    def agree(self, wish: bool, device: torch.device) -> bool:
        """Whether any process wishes so; the answer is the same in all of them."""
        if self.count == 1:
            return wish
        wishes = torch.tensor(float(wish), device=device)
        distributed.all_reduce(wishes)
        return bool(wishes > 0)
