"""Which models and versions the Megatron backend takes, on real Hugging Face configurations; and that what it refuses would go wrong."""

import importlib.metadata
import json

import pytest
import torch
from transformers import AutoConfig, LlamaConfig, Qwen2Config, Qwen3Config, Qwen3MoeConfig
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

from megatron_ext import support

LLAMA3 = {"rope_type": "llama3", "rope_theta": 5e5, "factor": 32.0, **support.LLAMA3_ROPE}


def llama3(**changed) -> LlamaConfig:
    return LlamaConfig(max_position_embeddings=65536, rope_parameters=LLAMA3 | changed)


def yarn(kind, **given):
    return kind(
        max_position_embeddings=65536,
        rope_parameters={
            "rope_type": "yarn",
            "rope_theta": 1e6,
            "factor": 4.0,
            "original_max_position_embeddings": 16384,
        },
        **given,
    )


@pytest.mark.parametrize(
    "config",
    [
        Qwen2Config(),
        Qwen2Config(tie_word_embeddings=True),
        Qwen3Config(),
        LlamaConfig(),
        llama3(),
        llama3(factor=8.0),
        Qwen3MoeConfig(norm_topk_prob=True),
    ],
)
def test_the_families_are_taken(config, tmp_path):
    support.check_model_family(config)
    config.save_pretrained(tmp_path)
    support.check_model_family(AutoConfig.from_pretrained(tmp_path))


def test_a_config_json_of_transformers_4_is_taken(tmp_path):
    """As published models have it: rope_theta at the top, no layer_types, a sliding_window that is not in use."""
    published = {
        "architectures": ["Qwen2ForCausalLM"],
        "attention_dropout": 0.0,
        "hidden_act": "silu",
        "hidden_size": 2048,
        "intermediate_size": 11008,
        "max_position_embeddings": 32768,
        "max_window_layers": 36,
        "model_type": "qwen2",
        "num_attention_heads": 16,
        "num_hidden_layers": 36,
        "num_key_value_heads": 2,
        "rms_norm_eps": 1e-06,
        "rope_theta": 1000000.0,
        "sliding_window": 32768,
        "tie_word_embeddings": True,
        "torch_dtype": "bfloat16",
        "use_sliding_window": False,
        "vocab_size": 151936,
    }
    (tmp_path / "config.json").write_text(json.dumps(published))
    support.check_model_family(AutoConfig.from_pretrained(tmp_path))


@pytest.mark.parametrize(
    ("config", "says"),
    [
        (
            AutoConfig.for_model("mistral"),
            "does not know the model type mistral, allowed are qwen2, qwen3, llama, qwen3_moe",
        ),
        (AutoConfig.for_model("qwen2_moe"), "does not know the model type qwen2_moe"),
        (
            yarn(Qwen2Config),
            "the model (qwen2) has rope_parameters rope_type yarn; with --backend megatron only default is allowed",
        ),
        (yarn(LlamaConfig), "rope_type yarn; with --backend megatron only default or llama3 is allowed"),
        (Qwen3Config(rope_parameters=LLAMA3), "the model (qwen3) has rope_parameters rope_type llama3"),
        (
            llama3(low_freq_factor=2.0),
            "has rope_parameters low_freq_factor 2.0; with --backend megatron only 1 is allowed",
        ),
        (llama3(high_freq_factor=8.0), "has rope_parameters high_freq_factor 8.0"),
        (llama3(original_max_position_embeddings=4096), "original_max_position_embeddings 4096"),
        (
            LlamaConfig(rope_parameters={"rope_type": "default", "rope_theta": 1e4, "partial_rotary_factor": 0.5}),
            "has partial_rotary_factor 0.5; with --backend megatron only 1 is allowed",
        ),
        (Qwen2Config(use_sliding_window=True, max_window_layers=2), "has use_sliding_window True"),
        (
            Qwen2Config(layer_types=["full_attention", "sliding_attention"], num_hidden_layers=2),
            "has layer_types sliding_attention",
        ),
        (Qwen3MoeConfig(use_sliding_window=True, norm_topk_prob=True), "has use_sliding_window True"),
        (Qwen2Config(hidden_act="gelu"), "has hidden_act gelu; with --backend megatron only silu is allowed"),
        (Qwen3Config(attention_bias=True), "the model (qwen3) has attention_bias True"),
        (Qwen3MoeConfig(attention_bias=True, norm_topk_prob=True), "the model (qwen3_moe) has attention_bias True"),
        (LlamaConfig(attention_bias=True), "the model (llama) has attention_bias True"),
        (LlamaConfig(mlp_bias=True), "the model (llama) has mlp_bias True"),
        (Qwen2Config(attention_dropout=0.1), "has attention_dropout 0.1; with --backend megatron only 0 is allowed"),
        (Qwen2Config(quantization_config={"quant_method": "awq"}), "has quantization_config {'quant_method': 'awq'}"),
        (Qwen3MoeConfig(norm_topk_prob=True, decoder_sparse_step=2), "has decoder_sparse_step 2"),
        (Qwen3MoeConfig(norm_topk_prob=True, mlp_only_layers=[0]), "has mlp_only_layers [0]"),
        (
            Qwen3MoeConfig(),
            "the model (qwen3_moe) has norm_topk_prob False; with --backend megatron only True is allowed",
        ),
    ],
)
def test_what_megatron_core_would_compute_differently_is_refused(config, says):
    with pytest.raises(ValueError) as error:
        support.check_model_family(config)
    assert says in str(error.value)
    assert "\n" not in str(error.value)


# ── The refusals are right: Megatron-Core against transformers ──


@pytest.mark.parametrize(
    ("changed", "equal"),
    [({}, True), ({"factor": 8.0}, True), ({"low_freq_factor": 2.0}, False), ({"high_freq_factor": 8.0}, False)]
    + [({"original_max_position_embeddings": 4096}, False)],
)
def test_megatron_cores_llama3_positions_are_those_of_these_constants_alone(changed, equal):
    from megatron.core.models.common.embeddings.rotary_pos_embedding import RotaryEmbedding

    config = llama3(**changed)
    theirs, scale = ROPE_INIT_FUNCTIONS["llama3"](config, "cpu")
    rope = config.rope_parameters
    ours = RotaryEmbedding(
        config.head_dim,
        1.0,
        rotary_base=rope["rope_theta"],
        rope_scaling=True,
        rope_scaling_factor=rope["factor"],
        use_cpu_initialization=True,
    ).inv_freq
    assert scale == 1
    assert torch.allclose(ours, theirs, rtol=1e-6, atol=0) == equal


@pytest.mark.parametrize("normalised", [True, False])
def test_megatron_cores_router_normalises_over_the_chosen_experts(normalised):
    from megatron.core.transformer.moe.moe_utils import topk_routing_with_score_function
    from transformers.models.qwen3_moe.modeling_qwen3_moe import Qwen3MoeTopKRouter

    config = Qwen3MoeConfig(hidden_size=16, num_experts=8, num_experts_per_tok=3, norm_topk_prob=normalised)
    torch.manual_seed(0)
    router = Qwen3MoeTopKRouter(config)
    torch.nn.init.normal_(router.weight)
    hidden = torch.randn(5, 16)
    _, weights, chosen = router(hidden)
    ours, _ = topk_routing_with_score_function(hidden @ router.weight.T, 3, use_pre_softmax=False)
    theirs = torch.zeros(5, 8).scatter(1, chosen, weights)
    assert torch.allclose(ours, theirs, rtol=1e-5, atol=1e-6) == normalised


# ── Versions ──


@pytest.fixture
def installed(monkeypatch):
    """installed(name=version or None) changes what importlib.metadata says; dashes are underscores."""
    versions = dict(support.CHECKED)

    def version(name: str) -> str:
        if versions.get(name) is None:
            raise importlib.metadata.PackageNotFoundError(name)
        return versions[name]

    monkeypatch.setattr(importlib.metadata, "version", version)
    return lambda **changed: versions.update({name.replace("_", "-"): value for name, value in changed.items()})


def test_without_a_gpu_transformer_engine_is_not_needed(installed):
    support.check_installed(on_cpu=True)


def test_with_a_gpu_it_is(installed):
    for version in ("2.9.0", "2.11.0+cu12", "2.20.2"):
        installed(transformer_engine=version)
        support.check_installed(on_cpu=False)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (
            {"megatron_core": None},
            "needs megatron-core 0.16.1, which is not installed: pip install --no-deps megatron-core==0.16.1 mbridge==0.15.1",
        ),
        (
            {"mbridge": None},
            "needs mbridge 0.15.1, which is not installed: pip install --no-deps megatron-core==0.16.1",
        ),
        ({"megatron_core": "0.17.0"}, "was checked against megatron-core 0.16.1, installed is 0.17.0"),
        ({"mbridge": "0.14.0"}, "was checked against mbridge 0.15.1, installed is 0.14.0"),
        (
            {},
            "on GPUs needs transformer-engine>=2.9,<2.21, which is not installed: NVTE_BUILD_USE_NVIDIA_WHEELS=1 pip install",
        ),
        ({"transformer_engine": "2.8.0"}, "on GPUs needs transformer-engine>=2.9,<2.21, installed is 2.8.0"),
        ({"transformer_engine": "2.21.0"}, "installed is 2.21.0"),
    ],
)
def test_a_package_that_is_missing_or_another_is_refused_by_name(installed, given, says):
    installed(**given)
    with pytest.raises(ValueError) as error:
        support.check_installed(on_cpu=False)
    assert says in str(error.value)
    assert str(error.value).startswith("--backend megatron ")
    assert "\n" not in str(error.value)


def test_the_checked_versions_are_those_installed_here():
    assert {name: importlib.metadata.version(name) for name in support.CHECKED} == support.CHECKED
