"""Estimates of memory against what torch allocates, and the batches that follow from them."""

import gc
from types import SimpleNamespace

import pytest
import torch
from openrlhf.models.utils import log_probs_from_logits
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from transformers import AutoModelForCausalLM, LlamaConfig, Qwen2Config, Qwen3Config

from deltal_openrlhf.comparison.updates import MOST_TOKENS, PolicyUpdater
from deltal_openrlhf.models import memory
from deltal_openrlhf.models.sampling import sample

COMMON = dict(max_position_embeddings=256, use_cache=False, eos_token_id=0, pad_token_id=0, bos_token_id=None)
MODELS = {
    "llama, tied, grouped": LlamaConfig(
        **COMMON, vocab_size=2000, hidden_size=96, intermediate_size=256, num_hidden_layers=3, num_attention_heads=6,
        num_key_value_heads=2, tie_word_embeddings=True,
    ),
    "qwen2, large vocabulary": Qwen2Config(
        **COMMON, vocab_size=8000, hidden_size=64, intermediate_size=320, num_hidden_layers=3, num_attention_heads=4,
        num_key_value_heads=2,
    ),
    "qwen3, wide attention": Qwen3Config(
        **COMMON, vocab_size=1000, hidden_size=64, intermediate_size=192, num_hidden_layers=3, num_attention_heads=4,
        num_key_value_heads=4, head_dim=32,
    ),
}  # fmt: skip


class Peak(TorchDispatchMode):
    """The most bytes of tensors that were made inside and alive at once; each storage counts once."""

    def __init__(self):
        super().__init__()
        self.alive, self.most = {}, 0

    def __torch_dispatch__(self, function, types, arguments=(), keywords=None):
        known = {leaf.untyped_storage()._cdata for leaf in tree_leaves((arguments, keywords)) if torch.is_tensor(leaf)}
        found = function(*arguments, **(keywords or {}))
        for leaf in tree_leaves(found):
            if torch.is_tensor(leaf) and leaf.untyped_storage()._cdata not in known:
                storage = leaf.untyped_storage()
                self.alive[storage._cdata] = (StorageWeakRef(storage), storage.nbytes())
        self.alive = {key: pair for key, pair in self.alive.items() if not pair[0].expired()}
        self.most = max(self.most, sum(size for _, size in self.alive.values()))
        return found


def build(config):
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(config, attn_implementation="sdpa").eval()


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_a_training_pass_takes_what_is_estimated(name, temperature):
    model, rows, longest = build(MODELS[name]), 12, 100
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)  # counted apart
    tokens = torch.randint(1, 900, (rows, longest))
    gc.collect()
    with Peak() as peak:
        logits = model(input_ids=tokens, use_cache=False).logits[:, :-1].float()
        log_probs_from_logits(logits, tokens[:, 1:], temperature=temperature).sum().backward()
        del logits
    # A weight's gradient exists a second time until it is added.
    largest = 4 * max(parameter.numel() for parameter in model.parameters())
    estimate = memory.TrainingPass(model).bytes(rows, longest)
    assert peak.most - largest <= estimate <= 1.6 * peak.most


@pytest.mark.parametrize("name", MODELS)
def test_a_sampled_row_takes_what_is_estimated(name):
    model, rows, prompt, new_tokens = build(MODELS[name]), 16, 20, 40
    prompts = torch.randint(1, 900, (rows, prompt)).tolist()
    with Peak() as peak:  # no end token, so that all rows reach their longest
        sample(model, prompts, max_new_tokens=new_tokens, eos=[], generator=torch.Generator().manual_seed(0))
    # A CPU's attention does not repeat keys and values for all heads: that part of the estimate is not seen here.
    assert peak.most <= rows * memory.sampling_bytes(model, prompt, new_tokens) <= 2 * peak.most


@pytest.mark.cuda
@pytest.mark.parametrize("name", MODELS)
def test_a_training_pass_on_a_gpu_takes_no_more_than_is_estimated(name):
    model, rows, longest = build(MODELS[name]).cuda(), 48, 200
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    tokens = torch.randint(1, 900, (rows, longest), device="cuda")
    for _ in range(2):  # the first one makes cuBLAS's work space
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        logits = model(input_ids=tokens, use_cache=False).logits[:, :-1].float()
        log_probs_from_logits(logits, tokens[:, 1:], temperature=0.7).sum().backward()
        del logits
    assert torch.cuda.max_memory_allocated() - before <= memory.TrainingPass(model).bytes(rows, longest)


def updater(model, free, sgd=False):
    """A PolicyUpdater on a machine with so many bytes free."""
    adam = SimpleNamespace(lr=1e-3, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.0)
    actor = SimpleNamespace(
        adam=adam, lr_scheduler="constant", lr_warmup_ratio=0.0, min_lr_ratio=0.1, eps_clip_low_high=None, eps_clip=0.2,
        dual_clip=None,
    )  # fmt: skip
    args = SimpleNamespace(actor=actor, deltal=SimpleNamespace(sgd=sgd))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(memory, "free_bytes", lambda device: free)
        return PolicyUpdater(model, args, SimpleNamespace(), 10)


def batches(made, lengths):
    rollout = SimpleNamespace(sequences=[[1] * length for length in lengths])
    return [[lengths[row] for row in part] for part in made._micro_batches(rollout, list(range(len(lengths))))]


def test_passes_follow_the_memory():
    model = build(MODELS["llama, tied, grouped"])
    state = 8 * model.num_parameters()
    one = memory.TrainingPass(model)
    lengths = [100] * 20 + [250]
    assert [len(part) for part in batches(updater(model, 2**36), lengths)] == [10, 10, 1]  # 1,024 tokens, as ever
    # Memory for 400 tokens: 4 rows of 100; the one of 250 is alone.
    free = state + one.bytes(4, 100) / memory.SAFETY + 1
    found = batches(updater(model, free), lengths)
    assert [len(part) for part in found] == [4] * 5 + [1]
    assert sorted(sum(found, [])) == lengths
    assert [len(part) for part in batches(updater(model, free - state, sgd=True), lengths)] == [4] * 5 + [1]
    assert [len(part) for part in batches(updater(model, 0), lengths)] == [1] * 21


def test_passes_of_a_gpu_are_bounded():
    """The sizes of SmolLM2-135M on an H100: 32,768 tokens a pass would take all of its 80 GB."""
    config = LlamaConfig(
        vocab_size=49_152, hidden_size=576, intermediate_size=1536, num_hidden_layers=30, num_attention_heads=9,
        num_key_value_heads=3, tie_word_embeddings=True,
    )  # fmt: skip
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    one = memory.TrainingPass(model)
    assert 70e9 < one.bytes(1, MOST_TOKENS["cuda"]) < 90e9
    rows = memory.rows_at_once
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(memory, "gpu_bytes", lambda device: 80 * 10**9)
        assert 256 <= rows(model, 500, 2048, 1024) < 1024 == rows(model, 50, 128, 1024)
        patch.setattr(memory, "gpu_bytes", lambda device: 0)
        assert rows(model, 500, 2048, 1024) == 1
    assert rows(model, 500, 2048, 1024) == 1024  # on a CPU, whatever is free: the draws depend on it
