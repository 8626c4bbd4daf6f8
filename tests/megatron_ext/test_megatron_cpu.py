"""What stands for CUDA without a GPU does what Megatron-Core asks for, and nothing else. Each in a process of its own."""

import multiprocessing

import pytest

from deltal_openrlhf.parity import forkserver
from deltal_openrlhf.parity.spawn import run_on_ranks

pytestmark = pytest.mark.cpu_build

OURS = "megatron.core.tensor_parallel.random", "megatron.core.transformer.moe.token_dispatcher"


@pytest.fixture(autouse=True)
def nothing_is_imported_before(monkeypatch):
    monkeypatch.setattr(forkserver, "context", lambda: multiprocessing.get_context("spawn"))


def in_a_process(function) -> dict:
    return run_on_ranks(1, function, timeout=60)[0]


def _names() -> dict:
    """Everything that could have been replaced: what torch and the modules above hold."""
    import importlib

    import torch

    owners = {"torch": torch, "torch:cuda": torch.cuda, "torch:Tensor": torch.Tensor}
    owners |= {f"{name}:": importlib.import_module(name) for name in OURS}
    return {
        f"{prefix}{'' if prefix.endswith(':') else '.'}{name}": getattr(owner, name)
        for prefix, owner in owners.items()
        for name in vars(owner)
        if not name.startswith("__")
    }


def _changed(before: dict) -> list[str]:
    after = _names()
    return sorted(name for name in before.keys() | after.keys() if before.get(name) is not after.get(name))


def _installed(rank: int) -> dict:
    import torch
    from torch.overrides import _len_torch_function_stack

    from megatron_ext import cpu as megatron_cpu

    before = _names()
    megatron_cpu.install()
    changed = _changed(before)
    once = _names()
    megatron_cpu.install()
    x = torch.ones(2)
    module = torch.nn.Linear(2, 2).cuda()
    weight = torch.ones(2, requires_grad=True)
    (weight.cuda() * 3).sum().backward()
    torch.cuda.manual_seed(1)
    state = torch.cuda.get_rng_state()
    first = torch.rand(3)
    from megatron.core.tensor_parallel import random as megatron_random

    megatron_random._set_cuda_rng_state(state)
    with torch.cuda.stream(torch.cuda.Stream()):
        torch.cuda.current_stream().wait_stream(torch.cuda.Stream())
        x.record_stream(torch.cuda.current_stream())
    return {
        "changed": changed,
        "replaced": sorted(megatron_cpu.REPLACEMENTS),
        "again": _changed(once),
        "modes": _len_torch_function_stack(),
        "devices": [
            str(made.device)
            for made in (
                torch.zeros(2, device="cuda"),
                torch.zeros(2, device="cuda:0"),
                torch.tensor(1.0, device=torch.device("cuda", 3)),
                torch.empty(2, device=torch.cuda.current_device()),
                torch.zeros_like(x, device="cuda"),
                x.to("cuda"),
                x.to("cuda", torch.bfloat16),
                x.to(device="cuda"),
                module.weight,
            )
        ],
        "same": x.cuda() is x and x.to("cuda") is x,
        "pinned": torch.zeros(2, pin_memory=True).is_pinned(),
        "types": [t.type() for t in (x, x.bfloat16(), x.long())],
        "random": torch.equal(first, torch.rand(3)),
        "gradient": weight.grad.tolist(),
        # What has nothing to do with CUDA stays as it is.
        "others": [
            str(torch.zeros(2).dtype),
            str(torch.zeros(2, dtype=torch.float64).dtype),
            str(torch.zeros(2, device="meta").device),
            str(x.to(torch.float64).dtype),
            str(x.to("meta").device),
            str(x.to("cuda", torch.bfloat16).dtype),
            str(x.type(torch.float64).dtype),
            str(x.type("torch.DoubleTensor").dtype),
            str(torch.cuda.is_available()),
        ],
    }


def test_cuda_is_the_cpu_and_nothing_else_changes():
    found = in_a_process(_installed)
    assert found["changed"] == found["replaced"]
    assert found["again"] == [] and found["modes"] == 1
    assert found["devices"] == ["cpu"] * len(found["devices"])
    assert found["same"] and not found["pinned"]
    assert found["types"] == ["torch.cuda.FloatTensor", "torch.cuda.BFloat16Tensor", "torch.cuda.LongTensor"]
    assert found["random"] and found["gradient"] == [3.0, 3.0]
    float64 = "torch.float64"
    assert found["others"] == [
        *("torch.float32", float64, "meta", float64, "meta", "torch.bfloat16", float64, float64, "False")
    ]


def _on_a_gpu(rank: int) -> dict:
    import torch

    from megatron_ext import cpu as megatron_cpu

    before = _names()
    torch.version.cuda = "13.0"
    megatron_cpu.install()
    return {"changed": _changed(before), "type": torch.zeros(1).type()}


def test_nothing_happens_where_torch_was_built_for_gpus():
    assert in_a_process(_on_a_gpu) == {"changed": [], "type": "torch.FloatTensor"}


def _without_a_name(rank: int) -> dict:
    from megatron.core.transformer.moe import token_dispatcher

    from megatron_ext import cpu as megatron_cpu

    del token_dispatcher.maybe_move_tensor_to_cpu
    before = _names()
    try:
        megatron_cpu.install()
    except ImportError as error:
        return {"error": str(error), "changed": _changed(before)}
    return {}


def test_a_name_that_is_gone_is_named_before_anything_is_replaced():
    found = in_a_process(_without_a_name)
    name = "megatron.core.transformer.moe.token_dispatcher.maybe_move_tensor_to_cpu"
    assert found["error"].startswith(f"there is no {name} in torch 2.")
    assert "megatron-core 0.16.1; without a GPU" in found["error"] and "\n" not in found["error"]
    assert found["changed"] == []
