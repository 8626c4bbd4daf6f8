"""Log-probabilities of responses whose prompts are shared, and their gradients, against one row at a time without padding."""

import random

import pytest
import torch
from transformers import AutoModelForCausalLM, GPT2Config, LlamaConfig, MistralConfig, MixtralConfig, Qwen3Config

from deltal_openrlhf.comparison import response_log_probs as module
from deltal_openrlhf.comparison.response_log_probs import response_log_probs

SIZE = dict(
    vocab_size=60,
    hidden_size=32,
    intermediate_size=48,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    head_dim=8,
)
MODELS = {
    "llama": LlamaConfig(**SIZE, tie_word_embeddings=True),
    "qwen3": Qwen3Config(**SIZE),
    # As many positions as the longest row has tokens: the longest prompt with the longest response would have one more.
    "gpt2": GPT2Config(vocab_size=60, n_embd=32, n_layer=2, n_head=4, n_positions=20),
    "mixtral": MixtralConfig(**SIZE, num_local_experts=4, num_experts_per_tok=2),
}
TEMPERATURE = 0.7
RNG = random.Random(0)
ASKED = [[RNG.randrange(3, 60) for _ in range(length)] for length in (9, 14, 11)]
PROMPTS = [ASKED[i] for i in (1, 0, 1, 1, 2, 0, 2, 1)]
RESPONSES = [[RNG.randrange(3, 60) for _ in range(length)] for length in (5, 1, 6, 3, 8, 2, 9, 4)]


def build(config) -> torch.nn.Module:
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config, attn_implementation="sdpa").eval()
    return model if isinstance(config, MixtralConfig) else model.double()  # torch has no grouped product in double


def one_by_one(model) -> list[torch.Tensor]:
    found = []
    for prompt, response in zip(PROMPTS, RESPONSES, strict=True):
        ids = torch.tensor([prompt + response])
        logits = model(input_ids=ids, use_cache=False).logits[0, len(prompt) - 1 : -1].float() / TEMPERATURE
        found.append(logits.log_softmax(-1).gather(-1, torch.tensor(response)[:, None])[:, 0])
    return found


def gradient(model, rows: list[torch.Tensor]) -> torch.Tensor:
    model.zero_grad()
    sum(x * row.sum() for x, row in enumerate(rows, 1)).backward()
    return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])


def tokens_of_passes(monkeypatch, model, share: float) -> tuple[list[torch.Tensor], int]:
    """The rows, and how many tokens went through the model."""
    monkeypatch.setattr(module, "SHARED_BELOW", share)
    seen = []
    with model.get_input_embeddings().register_forward_hook(lambda _, given, __: seen.append(given[0].numel())):
        found = response_log_probs(model, PROMPTS, RESPONSES, TEMPERATURE)
    assert found.shape == (8, 9) and found.dtype == torch.float32
    return [row[: len(response)] for row, response in zip(found, RESPONSES, strict=True)], sum(seen)


@pytest.mark.parametrize("name", MODELS)
def test_shared_prompts_change_nothing(name, monkeypatch):
    model = build(MODELS[name])
    wanted = one_by_one(model)
    wanted_gradient = gradient(model, wanted)
    whole, tokens_whole = tokens_of_passes(monkeypatch, model, 0.0)
    shared, tokens_shared = tokens_of_passes(monkeypatch, model, 1.0)
    assert (tokens_whole, tokens_shared) == (8 * 20, 3 * 14 + 8 * 8)
    for found in (whole, shared):
        assert all(torch.allclose(a, b, rtol=0, atol=1e-5) for a, b in zip(found, wanted, strict=True))
        error = (gradient(model, found) - wanted_gradient).norm() / wanted_gradient.norm()
        assert error < 1e-5


def test_a_prompt_of_another_row_is_noticed(monkeypatch):
    """Negative control."""
    model = build(MODELS["llama"])
    shared, _ = tokens_of_passes(monkeypatch, model, 1.0)
    monkeypatch.setitem(globals(), "PROMPTS", [ASKED[0], *PROMPTS[1:]])
    assert (shared[0] - one_by_one(model)[0]).abs().max() > 1e-3


def test_prompts_are_shared_where_that_saves_enough():
    model = build(MODELS["llama"])
    seen = []
    model.get_input_embeddings().register_forward_hook(lambda _, given, __: seen.append(tuple(given[0].shape)))
    with torch.no_grad():
        response_log_probs(model, [[5, 6, 7]] * 4, [[8] * 30] * 4, 1.0)
        response_log_probs(model, [[5] * 30] * 4, [[8] * 3] * 4, 1.0)
        response_log_probs(model, [[5] * 30] * 4, [[8]] * 4, 1.0)
        response_log_probs(model, [[i] * 30 for i in range(4, 8)], [[8] * 3] * 4, 1.0)
        # The long prompt has the short response: whole rows have 54 tokens, and sharing would take 2 x 50 + 8 x 49.
        response_log_probs(model, [[5] * 50, *[[6] * 4] * 7], [[8] * 4, *[[9] * 50] * 7], 1.0)
    assert seen == [(4, 33), (1, 30), (4, 2), (1, 30), (4, 33), (8, 54)]


def test_layers_that_forget_tokens_get_whole_rows(monkeypatch):
    """A window of 6 tokens, which is shorter than the prompts."""
    model = build(MistralConfig(**SIZE, sliding_window=6))
    found, tokens = tokens_of_passes(monkeypatch, model, 1.0)
    assert tokens == 8 * 20 and all(
        torch.allclose(a, b, rtol=0, atol=1e-5) for a, b in zip(found, one_by_one(model), strict=True)
    )
