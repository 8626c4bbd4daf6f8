"""Which modules a model gets with CUDA and without, that the plain ones compute where their tensors are, and what is fused."""

import importlib.util

import pytest
from support.megatron.tiny import gradients, make_engine, start, write_models

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

    def fusions(made) -> list[bool]:
        return [made.config.bias_activation_fusion, made.config.apply_rope_fusion]

    found: dict = {}
    try:
        bridge("moe", None)
    except ValueError as error:
        found["missing"] = str(error)
    for name in ("qwen2", "moe"):
        plain = bridge(name, "plain")
        layers = plain._get_transformer_layer_spec().layer_specs
        attention = layers[0].submodules.self_attention.submodules
        found[f"plain {name}"] = [attention.core_attention.__name__, *fusions(plain)]
    found["router"] = moe_utils.te_general_gemm is None

    # Stand-ins: that Transformer Engine is installed, and has the kernel.
    importlib.util.find_spec = lambda name, package=None: object()
    rope_utils.fused_apply_rotary_pos_emb = rope_utils.fused_apply_rotary_pos_emb_thd = object()
    for name in ("qwen2", "moe"):
        engine = bridge(name, None)
        found[f"engine {name}"] = ["_get_transformer_layer_spec" in vars(engine), *fusions(engine)]
    return found


def test_model_takes_the_modules_that_were_asked_for_on_a_gpu(tmp_path):
    write_models(tmp_path, "qwen2", "moe")
    found = run_on_ranks(1, build_as_on_a_gpu, str(tmp_path), timeout=100)[0]
    assert found["missing"].startswith("modules is transformer-engine, but transformer-engine is not installed")
    assert found["plain qwen2"] == found["plain moe"] == ["CausalAttention", True, False]
    assert found["router"]
    assert found["engine qwen2"] == found["engine moe"] == [False, True, True]  # mbridge's own layers


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
    found = run_on_ranks(1, attend_on_another_device, str(tmp_path), timeout=100)[0]
    assert found["padded"] == found["packed"] == "meta"
    assert "device" in found["elsewhere"]  # so the mask on another device would have been noticed


# ── Fusions ──


def gradients_with_and_without(rank: int, folder: str) -> dict:
    """{case: [relative difference of the whole gradient, calls of what is fused]}, on two ranks."""
    start(folder)
    import torch
    from megatron.core.models.common.embeddings import rope_utils
    from megatron.core.transformer import mlp
    from megatron.core.transformer.moe import experts

    from megatron_ext import engine as engine_module
    from megatron_ext.parity.reference import relative_difference

    calls: list[str] = []

    def counted(function):
        def call(*args, **kwargs):
            calls.append(function.__name__)
            return function(*args, **kwargs)

        return call

    def rope(t, cu_seqlens, freqs, cp_size, cp_rank):
        """By the rule of Transformer Engine's kernel (fused_rope.cu): a token's angle is that of its place in its own response."""
        lengths = (cu_seqlens.diff() // cp_size).tolist()
        places = []
        for length in lengths:
            for i in range(length):
                ahead = (
                    cp_rank * length // 2
                    if i < length / 2
                    else length * cp_size - (cp_rank + 1) * length // 2 - length // 2
                )
                places.append(i + (ahead if cp_size > 1 else 0))
        angles = freqs[places][:, 0]
        first, second = t.chunk(2, dim=-1)
        return t * angles.cos().to(t.dtype) + torch.cat((-second, first), dim=-1) * angles.sin().to(t.dtype)

    sequences = torch.randint(4, 64, (5, 14), generator=torch.Generator().manual_seed(0))
    mask = torch.arange(14) < torch.tensor([14, 3, 9, 0, 1])[:, None]

    def whole_gradient(engine) -> dict:
        calls.clear()
        engine.gradients([(sequences, mask)], lambda number, log_probs, entropies: log_probs.sum())
        return gradients(engine)

    mlp.bias_swiglu_impl = counted(mlp.bias_swiglu_impl)
    experts.weighted_bias_swiglu_impl = counted(experts.weighted_bias_swiglu_impl)
    rope_utils.fused_apply_rotary_pos_emb_thd = counted(rope)
    packed, seen = engine_module._packed, []
    engine_module._packed = lambda inputs: seen.append(packed(inputs)) or seen[-1]
    found = {}
    for model, layout in (("qwen2", dict(tensor=2)), ("moe", dict(expert=2)), ("qwen3", dict(context=2))):
        engine = make_engine(f"{folder}/{model}", layout, packed=True)
        fused, called = whole_gradient(engine), len(calls)
        engine.config.bias_activation_fusion = False
        unfused, not_called = whole_gradient(engine), len(calls)
        found[f"swiglu {model}"] = [relative_difference(fused, unfused), called, not_called]
        engine.config.apply_rope_fusion = True
        turned, called = whole_gradient(engine), len(calls)
        found[f"rope {model}"] = [relative_difference(turned, unfused), called, not_called]
    borders = {(p.cu_seqlens_q_padded, p.cu_seqlens_kv_padded) for p in seen}
    return {"gradients": found, "borders with padding": list(borders), "micro batches": len(seen)}


def test_fused_swiglu_and_rotary_embedding_have_the_gradient_of_the_unfused_ones(tmp_path):
    write_models(tmp_path, "qwen2", "qwen3", "moe")
    for found in run_on_ranks(2, gradients_with_and_without, str(tmp_path), timeout=110):
        assert (found["borders with padding"], found["micro batches"]) == ([[None, None]], 9)
        assert len(found["gradients"]) == 6
        for case, (difference, called, not_called) in found["gradients"].items():
            assert difference <= 1e-6, case
            assert (called, not_called) == (4 if "swiglu" in case else 8, 0), case  # 4 layers; queries and keys
