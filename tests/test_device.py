"""One rule for device and precision, and clear sentences where the machine has not what was asked for."""

from __future__ import annotations

import pytest
import torch

from lib import device
from lib.config import Config
from lib.device import autocast, limit_threads, pick_device, pick_precision, place, place_network
from lib.errors import ConfigError

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


@pytest.mark.parametrize(("available", "expected"), [(True, "cuda"), (False, "cpu")])
def test_auto_is_cuda_where_there_is_one(monkeypatch: pytest.MonkeyPatch, available: bool, expected: str) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: available)
    assert pick_device("auto").type == expected


def test_a_device_that_is_not_there_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert pick_device("cuda:0") == torch.device("cuda:0")
    assert pick_device("cpu") == CPU
    with pytest.raises(ConfigError, match=r"cuda:1.*1 CUDA devices.*auto or cpu"):
        pick_device("cuda:1")
    with pytest.raises(ConfigError, match="'gpu' does not exist; use auto"):
        pick_device("gpu")


@pytest.mark.parametrize(
    ("flags", "expected"),
    [({"avx512_bf16": True}, torch.bfloat16), ({"amx_bf16": True}, torch.bfloat16), ({"avx2": True}, torch.float32)],
)
def test_auto_is_bf16_on_processors_that_compute_in_it(
    monkeypatch: pytest.MonkeyPatch, flags: dict, expected: torch.dtype
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: flags)
    assert pick_precision("auto", CPU) == expected
    assert pick_precision("auto", CUDA) == torch.float16


def test_a_precision_that_was_asked_for_is_taken_or_refused() -> None:
    assert pick_precision("bf16", CPU) == torch.bfloat16
    assert pick_precision("fp16", CUDA) == torch.float16
    assert pick_precision("fp32", CUDA) == torch.float32
    with pytest.raises(ConfigError, match="fp16 needs CUDA"):
        pick_precision("fp16", CPU)


def test_autocast_computes_in_the_precision_and_leaves_fp32_alone() -> None:
    layer, x = torch.nn.Linear(2, 2), torch.ones(1, 2)
    for precision in (torch.float32, torch.bfloat16):
        with autocast(CPU, precision):
            assert layer(x).dtype == precision


def test_tensors_and_networks_keep_their_values_in_their_layout(monkeypatch: pytest.MonkeyPatch) -> None:
    as_on_cuda = device.memory_format
    for axes, layer in ((2, torch.nn.Conv2d), (3, torch.nn.Conv3d)):
        monkeypatch.setattr(device, "memory_format", as_on_cuda)
        last = {2: torch.channels_last, 3: torch.channels_last_3d}[axes]
        x, label = torch.randn(3, 2, *(4,) * axes), torch.ones(3, 1, *(4,) * axes, dtype=torch.int64)
        strong = torch.stack([x, x])  # (V, U, C, *space), whose second axis is no channel
        network = torch.nn.Sequential(layer(2, 2, 3), torch.nn.InstanceNorm3d(2) if axes == 3 else torch.nn.Identity())
        expected = network(x)
        assert place(x, CPU, axes).is_contiguous()
        monkeypatch.setattr(device, "memory_format", lambda _, ndim: as_on_cuda(CUDA, ndim))
        assert place(x, CPU, axes).is_contiguous(memory_format=last)
        assert place(label, CPU, axes).is_contiguous()
        assert place(strong, CPU, axes).is_contiguous()
        placed = place_network(network, CPU)
        assert placed[0].weight.is_contiguous(memory_format=last)
        torch.testing.assert_close(placed(place(x, CPU, axes)), expected)


def test_threads_are_limited_where_the_settings_say_so() -> None:
    before = torch.get_num_threads()
    try:
        limit_threads(Config(threads=0))
        assert torch.get_num_threads() == before
        limit_threads(Config(threads=before + 1))
        assert torch.get_num_threads() == before + 1
    finally:
        torch.set_num_threads(before)
