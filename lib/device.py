"""Which device, which arithmetic, how many threads: one rule for training and inference."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import TypeVar

import torch
from torch import Tensor, nn

from lib.config import Config
from lib.errors import ConfigError

Network = TypeVar("Network", bound=nn.Module)
CHANNELS_LAST = {4: torch.channels_last, 5: torch.channels_last_3d}
PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def pick_device(name: str) -> torch.device:
    """``auto`` is CUDA where there is one.

    Raises:
        ConfigError: no such device here.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ConfigError(f"Device '{name}' does not exist; use auto, cpu, cuda or cuda:N") from None
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ConfigError(f"Device '{name}' is not there ({torch.cuda.device_count()} CUDA devices); use auto or cpu")
    return device


def pick_precision(name: str, device: torch.device) -> torch.dtype:
    """``auto`` is fp16 on CUDA, bf16 on a CPU that computes in it (AVX512_BF16 or AMX), else fp32.

    Raises:
        ConfigError: fp16 on a CPU, which has no fast arithmetic for it.
    """
    if name == "auto":
        if device.type == "cuda":
            return torch.float16
        return torch.bfloat16 if _cpu_computes_bf16() else torch.float32
    if name == "fp16" and device.type == "cpu":
        raise ConfigError("Precision fp16 needs CUDA; use bf16 or auto on a CPU")
    return PRECISIONS[name]


def autocast(device: torch.device, precision: torch.dtype) -> AbstractContextManager:
    """Mixed precision around a forward pass; nothing for fp32."""
    return torch.autocast(device.type, precision, enabled=precision != torch.float32)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether a device's memory, or the machine's, did not suffice; on a CPU PyTorch says so in words only."""
    words = ("out of memory", "can't allocate memory", "not enough memory")
    said = isinstance(error, RuntimeError) and any(text in str(error) for text in words)
    return said or isinstance(error, (MemoryError, torch.OutOfMemoryError))


def memory_format(device: torch.device, ndim: int) -> torch.memory_format:
    """Channels-last on CUDA, whose tensor cores want it; on CPUs oneDNN reorders by itself and is faster left alone.

    Args:
        ndim: of images and weights: 4 in dimension 2, 5 in dimension 3; others have no such layout.
    """
    return CHANNELS_LAST.get(ndim, torch.contiguous_format) if device.type == "cuda" else torch.contiguous_format


def place(value: Tensor, device: torch.device, axes: int = 3) -> Tensor:
    """A tensor of a batch, of any shape, on the device; ``(B, C, ...)`` in the layout of networks with ``axes``."""
    moved = value.to(device, non_blocking=True)
    if moved.ndim != axes + 2 or not moved.is_floating_point():
        return moved  # of the strong views, (V, U, C, H, W), neither dimension has a layout
    return moved.contiguous(memory_format=memory_format(device, moved.ndim))


def place_network(network: Network, device: torch.device) -> Network:
    """A network on the device, its weights in the same layout."""
    placed = network.to(device)
    for value in placed.parameters():
        value.data = value.data.contiguous(memory_format=memory_format(device, value.ndim))
    return placed


def limit_threads(config: Config) -> None:
    """``threads`` of the settings, for the networks on a CPU."""
    if config.threads:
        torch.set_num_threads(config.threads)


def _cpu_computes_bf16() -> bool:
    flags = torch.cpu.get_capabilities()
    return bool(flags.get("avx512_bf16") or flags.get("amx_bf16"))
