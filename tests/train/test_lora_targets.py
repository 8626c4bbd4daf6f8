"""--ds.lora.target_modules: what PEFT would not find in the model is refused, and what it would find is not."""

import peft
import pytest
from support.host_arguments import host_arguments
from transformers import LlamaConfig, LlamaForCausalLM

from deltal_openrlhf.train import lora_targets

SIZE = {"vocab_size": 8, "hidden_size": 4, "intermediate_size": 4, "num_hidden_layers": 1, "num_attention_heads": 1}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("model")
    LlamaConfig(**SIZE).save_pretrained(path)
    return path


def check(folder, *targets, rank="8"):
    flags = ["--ds.lora.target_modules", *targets] if targets else []
    lora_targets.check(host_arguments("--actor.model_name_or_path", str(folder), "--ds.lora.rank", rank, *flags))


def adapted(targets):
    model = LlamaForCausalLM(LlamaConfig(**SIZE))
    return peft.get_peft_model(model, peft.LoraConfig(r=8, target_modules=targets))


@pytest.mark.parametrize("targets", [["q_proj", "down_proj"], ["self_attn.v_proj"], ["lm_head"]])
def test_what_peft_finds_passes(targets, folder):
    check(folder, *targets)
    assert any("lora_A" in name for name, _ in adapted(targets).named_parameters())


@pytest.mark.parametrize("targets", [["nosuch"], ["_proj"], ["all-linear"]])
def test_what_peft_does_not_find_is_refused(targets, folder):
    with pytest.raises(ValueError, match="not found in the base model"):
        adapted(targets)
    with pytest.raises(ValueError) as raised:
        check(folder, *targets)
    assert str(raised.value) == (
        f"--ds.lora.target_modules is {targets[0]}, but the model has no {targets[0]}; allowed are down_proj, gate_proj, k_proj, lm_head, "
        "o_proj, q_proj, up_proj, v_proj, or no such flag: then all linear layers but the head get adapters"
    )


def test_one_that_is_missing_is_refused_although_peft_is_content(folder):
    adapted(["q_proj", "c_attn"])
    with pytest.raises(ValueError, match="but the model has no c_attn; allowed"):
        check(folder, "q_proj", "c_attn")


def test_without_adapters_and_without_the_files_nothing_is_looked_for(folder, tmp_path):
    check(folder)
    check(folder, "nosuch", rank="0")
    check(tmp_path, "nosuch")
