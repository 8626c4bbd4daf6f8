"""Which modules a model gets where there is CUDA and where there is not, and that the plain ones compute where their tensors are."""

import importlib.util

import pytest
from tiny import start, write_models

from deltal_openrlhf.parity.spawn import run_on_ranks
from megatron_ext.modules import chosen

ENGINE = "transformer-engine"


@pytest.fixture
def installed(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object() if name == "transformer_engine" else None)


def test_default_is_transformer_engine_with_cuda_and_plain_without(installed):
    assert chosen(None, on_cpu=False) == ENGINE
    assert chosen(None, on_cpu=True) == "plain"


@pytest.mark.parametrize("on_cpu", [True, False])
def test_plain_modules_can_be_asked_for_everywhere(on_cpu):
    assert chosen("plain", on_cpu) == "plain"


def test_transformer_engine_that_is_not_installed_is_named():
    for asked in (None, ENGINE):
        with pytest.raises(ValueError, match="^modules is transformer-engine, but transformer-engine is not installed"):
            chosen(asked, on_cpu=False)


def test_transformer_engine_without_cuda_and_other_names_are_refused(installed):
    with pytest.raises(ValueError, match="^modules is transformer-engine, but torch was built without CUDA; allowed"):
        chosen(ENGINE, on_cpu=True)
    with pytest.raises(ValueError, match="^modules is apex, allowed are transformer-engine and plain$"):
        chosen("apex", on_cpu=False)


def build_as_on_a_gpu(rank: int, folder: str) -> dict:
    """With a torch that is taken for one with CUDA: the configuration and the layers of both kinds of modules."""
    start(folder)
    import torch
    from megatron.core.models.common.embeddings import rope_utils
    from megatron.core.transformer.moe import moe_utils

    from megatron_ext import model
    from megatron_ext.layout import ParallelLayout

    layout = ParallelLayout()
    model.initialize(layout, seed=0)
    model.cpu.is_needed = lambda: False

    def bridge(name: str, modules: str | None):
        return model._bridge(model.ModelSettings(f"{folder}/{name}", torch.float32, 7, modules=modules), layout)

    found: dict = {}
    try:
        bridge("moe", None)
    except ValueError as error:
        found["missing"] = str(error)
    for name in ("qwen2", "moe"):
        plain = bridge(name, "plain")
        layers = plain._get_transformer_layer_spec().layer_specs
        attention = layers[0].submodules.self_attention.submodules
        found[f"plain {name}"] = [attention.core_attention.__name__, plain.config.apply_rope_fusion]
    found["router"] = moe_utils.te_general_gemm is None

    # Stand-ins: that Transformer Engine is installed, and has the kernel.
    importlib.util.find_spec = lambda name, package=None: object()
    rope_utils.fused_apply_rotary_pos_emb = rope_utils.fused_apply_rotary_pos_emb_thd = object()
    engine = bridge("moe", None)
    found["engine"] = "_get_transformer_layer_spec" in vars(engine)
    return found


def test_model_takes_the_modules_that_were_asked_for_on_a_gpu(tmp_path):
    write_models(tmp_path, "qwen2", "moe")
    found = run_on_ranks(1, build_as_on_a_gpu, str(tmp_path), timeout=120)[0]
    assert found["missing"].startswith("modules is transformer-engine, but transformer-engine is not installed")
    assert found["plain qwen2"] == found["plain moe"] == ["CausalAttention", False]
    assert found["router"]
    assert not found["engine"]  # mbridge's own layers


class TwoRanks:
    def size(self) -> int:
        return 2

    def rank(self) -> int:
        return 1


def attend_on_another_device(rank: int, folder: str) -> dict:
    """Meta tensors: what is made on the default device instead of theirs cannot be combined with them."""
    start(folder)
    from types import SimpleNamespace

    import torch

    import megatron_ext.model  # noqa: F401 - first: it makes Megatron-Core's import possible
    from megatron_ext import plain_modules

    def gather(x, group):
        return torch.stack([x] * group.size())

    def attend(positions, **fields):
        plain_modules._positions = positions
        attention = SimpleNamespace(context_group=TwoRanks(), scale=1.0)
        shape = (12,) if fields else (12, 2)
        query, key, value = (torch.zeros(*shape, heads, 8, device="meta") for heads in (4, 2, 2))
        packed = SimpleNamespace(**fields) if fields else None
        return plain_modules.CausalAttention.forward(attention, query, key, value, packed_seq_params=packed)

    plain_modules._GatherContext.apply = gather
    positions = plain_modules._positions
    borders = torch.tensor([0, 8, 24])  # of both ranks
    found = {
        "padded": str(attend(positions).device),
        "packed": str(attend(positions, qkv_format="thd", cu_seqlens_q=borders).device),
    }
    try:
        attend(lambda length, rank, size, device: positions(length, rank, size, torch.device("cpu")))
    except RuntimeError as error:
        found["elsewhere"] = str(error)
    return found


def test_attention_makes_its_mask_where_its_tensors_are(tmp_path):
    found = run_on_ranks(1, attend_on_another_device, str(tmp_path), timeout=120)[0]
    assert found["padded"] == found["packed"] == "meta"
    assert "device" in found["elsewhere"]  # so the mask on another device would have been noticed
