"""A run that goes on from a checkpoint, in the same layout or another, is the run that never stopped. In real processes, on real files.

Two spawns serve all tests: two ranks that save and load in every layout, and one rank that loads what two have saved. The optimizer that
Transformer Engine brings (FusedAdam, with the step in its parameter groups) is not here; a stand-in with its way of keeping state is.
"""

import json

import pytest
from support.megatron.checkpoint_faults import one_rank, two_ranks
from support.megatron.checkpoint_runs import LAYOUTS, ON_ONE, ON_TWO, SAVED, STATE

from deltal_openrlhf.parity.spawn import run_on_ranks

TOLERANCE = (
    1e-6  # of the parameters after the next optimizer step, of size 0.1; a wrong step of the optimizer makes 1e-3
)
pytestmark = pytest.mark.timeout(240)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> str:
    import torch
    from transformers import Qwen2Config, Qwen2ForCausalLM, Qwen3MoeConfig, Qwen3MoeForCausalLM

    folder = tmp_path_factory.mktemp("checkpoints")
    sizes = dict(vocab_size=128, num_hidden_layers=4, num_attention_heads=4, num_key_value_heads=2)
    sizes |= dict(hidden_size=32, intermediate_size=64, max_position_embeddings=128)
    experts = dict(num_experts=4, num_experts_per_tok=2, moe_intermediate_size=32, norm_topk_prob=True, head_dim=8)
    torch.manual_seed(0)
    for name, model in (
        ("qwen2", Qwen2ForCausalLM(Qwen2Config(tie_word_embeddings=False, **sizes))),
        ("tied", Qwen2ForCausalLM(Qwen2Config(tie_word_embeddings=True, **sizes))),
        ("wide", Qwen2ForCausalLM(Qwen2Config(tie_word_embeddings=False, **sizes | dict(intermediate_size=128)))),
        ("moe", Qwen3MoeForCausalLM(Qwen3MoeConfig(tie_word_embeddings=False, **sizes, **experts))),
    ):
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(0.1 * torch.randn_like(parameter))
        model.save_pretrained(folder / name)
    return str(folder)


@pytest.fixture(scope="module")
def on_two(folder) -> list[dict]:
    return run_on_ranks(2, two_ranks, folder, timeout=200)


@pytest.fixture(scope="module")
def on_one(folder, on_two) -> dict:
    return run_on_ranks(1, one_rank, folder, timeout=90)[0]


@pytest.mark.parametrize("name,target", ON_TWO)
def test_run_goes_on_in_any_layout(on_two, name, target):
    for state, same, error in (found[f"{name} to {target}"] for found in on_two):
        assert state == STATE
        assert same
        if LAYOUTS[target] == SAVED[name][2]:
            assert error == 0
        elif name != "bf16-tp2":  # where bf16 rounds is another matter in another layout
            assert error < TOLERANCE


@pytest.mark.parametrize("name", ON_ONE)
def test_run_goes_on_on_one_rank(on_one, name):
    state, same, error = on_one[name]
    assert state == STATE and same and error < TOLERANCE


def test_run_that_saves_is_the_run_that_does_not(on_two):
    assert [found["undisturbed"] for found in on_two] == [[0, 0], [0, 0]]


def test_main_parameters_are_not_rounded_to_bf16(on_two):
    assert on_two[0]["unrounded"]  # so that the same checkpoint saved again means something


def test_fused_adam_keeps_its_step_in_the_groups(on_two):
    after_adamw, after_fused, in_groups = on_two[0]["fused"]
    assert in_groups and after_adamw < TOLERANCE and after_fused < TOLERANCE


def test_faults_of_megatron_core_are_there_and_would_be_noticed(on_two):
    for found in on_two:
        faults = found["faults"]
        assert faults["own load"] == faults["kept step"] == "KeyError: 'step'"
        assert faults["own step"] > 1e3 * TOLERANCE and faults["shared step"] > 1e3 * TOLERANCE


def test_save_starts_no_process_and_no_thread(on_two):
    for rank, found in enumerate(on_two):
        own, theirs, extra = found["processes"]
        assert own is None
        assert "started" in theirs
        assert extra == {"rank": rank}


def test_state_is_readable(folder, on_two):
    with open(f"{folder}/dense-tp2/state.json", encoding="utf-8") as file:
        text = file.read()
    assert json.loads(text) == STATE and list(json.loads(text)) == sorted(STATE)


@pytest.mark.parametrize(
    "name,kind,words",
    [
        ("nan", "ValueError", ["never", "JSON", "nan"]),
        ("tensor", "ValueError", ["never", "JSON", "Tensor"]),
        ("keys", "ValueError", ["never", "keys that are strings"]),
        ("full", "ValueError", ["dense-tp2", "is not empty"]),
        ("disk", "RuntimeError", ["broken", "rank 0", "No space left"]),
        ("common.pt", "OSError", ["No space left"]),
        ("metadata.json", "OSError", ["No space left"]),
        ("qwen2 broken", "ValueError", ["broken", "is not a complete checkpoint", "metadata.json"]),
        ("part", "RuntimeError", ["part failed on rank", "__1_0.distcp"]),
        ("qwen2 nowhere", "ValueError", ["nowhere", "is not a complete checkpoint"]),
        ("qwen2 tied-tp2", "ValueError", ["output_layer.weight", "missing"]),
        ("qwen2 moe-ep2", "ValueError", ["another model", "missing"]),
        ("qwen2 bf16-tp2", "ValueError", ["another model", "torch.bfloat16", "torch.float32"]),
        ("wide dense-tp2", "ValueError", ["linear_fc1", "[4, 128, 32]", "[4, 256, 32]"]),
    ],
)
def test_errors_are_one_line_on_all_ranks(on_two, name, kind, words):
    lines = {found["errors"][name] for found in on_two}
    assert len(lines) == 1
    line = lines.pop()
    assert line.startswith(kind) and "\n" not in line
    assert [word for word in words if word.lower() not in line.lower()] == [], line


def test_model_is_as_it_was_after_a_refused_checkpoint(on_two):
    assert all(found["errors"]["unchanged"] for found in on_two)
