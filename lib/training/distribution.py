"""Several processes, one training: what ``torchrun`` starts, in gloo on CPUs and NCCL on GPUs."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta

import ignite.distributed as idist
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from lib.device import pick_device


@contextmanager
def process_group(device: str, timeout: timedelta | None = None) -> Iterator[None]:
    """Join the group that ``torchrun`` announces in the environment; alone there is nothing to join.

    Args:
        device: of the settings; decides between NCCL and gloo.
        timeout: for which one process waits for the others; None: the default of the backend, minutes.
    """
    if "TORCHELASTIC_RUN_ID" not in os.environ or idist.get_world_size() > 1:
        yield
        return
    limit = {} if timeout is None else {"timeout": timeout}
    idist.initialize("nccl" if pick_device(device).type == "cuda" else "gloo", **limit)
    try:
        yield
    finally:
        # Networks wait in cycles of references and keep the group; its threads, alive while the interpreter ends,
        # may abort a process that had done all its work.
        gc.collect()
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
    # a head whose term has nothing to learn from, e.g. while no unlabelled study can be read, gets no gradient
    devices = [device] if device.type == "cuda" else None
    return DistributedDataParallel(method, device_ids=devices, find_unused_parameters=True)


def first() -> bool:
    """Is this the process that writes files?"""
    return rank() == 0


def rank() -> int:
    """The number of this process; alone it is 0."""
    return idist.get_rank()


def processes() -> int:
    """How many there are; alone 1."""
    return idist.get_world_size()


def agreed(value: float) -> float:
    """The first process's value, in all of them."""
    return float(idist.broadcast(float(value), src=0)) if idist.get_world_size() > 1 else value


def averaged(values: Mapping[str, Tensor | float], device: torch.device) -> dict[str, float]:
    """The mean over the processes of each scalar that all of them have under the same names, in one exchange."""
    stacked = torch.stack([torch.as_tensor(value, dtype=torch.float32, device=device) for value in values.values()])
    if idist.get_world_size() > 1:
        stacked = torch.as_tensor(idist.all_reduce(stacked, op="SUM")) / idist.get_world_size()
    return dict(zip(values, stacked.tolist(), strict=True))


def summed(value: float) -> float:
    """The sum of all processes' values, in all of them; none goes on before the last one has come here."""
    return float(idist.all_reduce(float(value), op="SUM")) if idist.get_world_size() > 1 else value


def any_process(condition: bool) -> bool:
    """True in all as soon as it is true in one, so that all leave the loop at the same step."""
    return bool(idist.all_reduce(int(condition), op="MAX")) if idist.get_world_size() > 1 else condition
