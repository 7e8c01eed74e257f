"""Several processes, one training: what ``torchrun`` starts, in gloo on CPUs and NCCL on GPUs."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import ignite.distributed as idist
import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from lib.device import pick_device


@contextmanager
def process_group(device: str) -> Iterator[None]:
    """Join the group that ``torchrun`` announces in the environment; alone there is nothing to join.

    Args:
        device: of the settings; decides between NCCL and gloo.
    """
    if "TORCHELASTIC_RUN_ID" not in os.environ or idist.get_world_size() > 1:
        yield
        return
    idist.initialize("nccl" if pick_device(device).type == "cuda" else "gloo")
    try:
        yield
    finally:
        idist.finalize()


def own_device(name: str) -> torch.device:
    """The device of the settings; under ``torchrun`` on GPUs the one of this process."""
    device = pick_device(name)
    return (
        torch.device("cuda", idist.get_local_rank()) if device.type == "cuda" and idist.get_world_size() > 1 else device
    )


def parallel(method: nn.Module, device: torch.device) -> nn.Module:
    """The method with its gradients averaged over the processes; alone it is the method itself."""
    if idist.get_world_size() == 1:
        return method
    return DistributedDataParallel(method, device_ids=[device] if device.type == "cuda" else None)


def first() -> bool:
    """Is this the process that writes files?"""
    return idist.get_rank() == 0


def agreed(value: float) -> float:
    """The first process's value, in all of them."""
    return float(idist.broadcast(float(value), src=0)) if idist.get_world_size() > 1 else value


def any_process(condition: bool) -> bool:
    """True in all as soon as it is true in one, so that all leave the loop at the same step."""
    return bool(idist.all_reduce(int(condition), op="MAX")) if idist.get_world_size() > 1 else condition
