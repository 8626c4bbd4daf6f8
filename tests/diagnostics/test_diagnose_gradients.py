"""Per-response gradients of `deltal diagnose`: layer types, rows and Gram matrices against autograd."""

import math

import numpy as np
import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    GemmaConfig,
    GPT2Config,
    GPTNeoXConfig,
    LlamaConfig,
    MistralConfig,
    OPTConfig,
    Qwen2Config,
    Qwen3Config,
    Qwen3MoeConfig,
)

from deltal_openrlhf.diagnostics.gradients import Scores
from deltal_openrlhf.diagnostics.gram import gram_matrices, load_grams, save_grams
from deltal_openrlhf.diagnostics.layers import layer_types
from deltal_openrlhf.diagnostics.sketch import Sketch, sizes_by_type

VOCABULARY = 50
COMMON = dict(
    vocab_size=VOCABULARY,
    hidden_size=32,
    intermediate_size=64,
    num_hidden_layers=1,
    num_attention_heads=2,
    num_key_value_heads=1,
    max_position_embeddings=64,
)
SEPARATE = {"embedding", "q", "k", "v", "o", "mlp", "norm"}
FUSED = {"embedding", "qkv", "o", "mlp", "norm"}
HEAD, OTHER = {"head"}, {"other"}
GPT2 = GPT2Config(vocab_size=VOCABULARY, n_embd=32, n_layer=1, n_head=2, n_positions=64)
FAMILIES = {
    "llama": (LlamaConfig(**COMMON), SEPARATE | HEAD),
    "llama, tied": (LlamaConfig(**COMMON, tie_word_embeddings=True, attention_bias=True), SEPARATE),
    "qwen2": (Qwen2Config(**COMMON), SEPARATE | HEAD),
    "qwen3": (Qwen3Config(**COMMON, head_dim=16), SEPARATE | HEAD),
    "qwen3 moe": (
        Qwen3MoeConfig(**COMMON, head_dim=16, num_experts=4, num_experts_per_tok=2, moe_intermediate_size=16),
        SEPARATE | HEAD,
    ),
    "gpt2": (GPT2, FUSED),
    "gpt neox": (
        GPTNeoXConfig(**{k: v for k, v in COMMON.items() if k != "num_key_value_heads"}),
        FUSED | HEAD,
    ),
    "gemma": (GemmaConfig(**COMMON, head_dim=16), SEPARATE),
    "mistral": (MistralConfig(**COMMON, head_dim=16), SEPARATE | HEAD),
    "opt": (
        OPTConfig(
            vocab_size=VOCABULARY, hidden_size=32, ffn_dim=64, num_hidden_layers=1, num_attention_heads=2,
            max_position_embeddings=64, word_embed_proj_dim=32,
        ),
        SEPARATE,
    ),
    # Projections between two widths are in none of the classes.
    "opt, narrow embedding": (
        OPTConfig(
            vocab_size=VOCABULARY, hidden_size=32, ffn_dim=64, num_hidden_layers=1, num_attention_heads=2,
            max_position_embeddings=64, word_embed_proj_dim=16,
        ),
        SEPARATE | OTHER,
    ),
}  # fmt: skip
TEMPERATURE = 0.7


def build(config):
    torch.manual_seed(1)
    return AutoModelForCausalLM.from_config(config).eval()


def responses(number, seed=0):
    """(token_ids, action_mask); every third one has a hole in its mask."""
    generator = torch.Generator().manual_seed(seed)
    drawn = []
    for i in range(number):
        prompt, length = 3 + i % 2, int(torch.randint(2, 12, (), generator=generator))
        tokens = torch.randint(0, VOCABULARY, (prompt + length,), generator=generator).tolist()
        mask = [0] * (prompt - 1) + [1] * length
        if i % 3 == 0 and length > 4:
            mask[prompt : prompt + 2] = [0, 0]
        drawn.append((tokens, mask))
    return drawn


def log_prob(model, tokens, mask):
    """sum_t log pi(y_t) over the trained tokens, one at a time."""
    logits = model(input_ids=torch.tensor([tokens])).logits[0] / TEMPERATURE
    return sum(logits[t].log_softmax(-1)[tokens[t + 1]] for t, trained in enumerate(mask) if trained)


def autograd_scores(model, tokens, mask):
    """Parameter name -> gradient."""
    names, parameters = zip(*model.named_parameters(), strict=True)
    parts = torch.autograd.grad(log_prob(model, tokens, mask), parameters, allow_unused=True, materialize_grads=True)
    return dict(zip(names, parts, strict=True))


@pytest.mark.parametrize("family", FAMILIES)
def test_types_of_the_families_and_their_gradients(family):
    config, wanted = FAMILIES[family]
    model = build(config)
    types = layer_types(model)
    assert set(types.values()) == wanted
    assert sum(sizes_by_type(model, types).values()) == sum(p.numel() for p in model.parameters())
    sketch = Sketch(model, types, None, 0)
    tokens, mask = responses(1, seed=3)[0]
    with Scores(model, sketch, temperature=TEMPERATURE) as scores:
        row, value = scores.row(tokens, mask)
    assert value == pytest.approx(log_prob(model, tokens, mask).item(), abs=1e-4)
    expected = torch.zeros_like(row)
    for name, part in autograd_scores(model, tokens, mask).items():
        sketch.add(name, part.clone().contiguous(), expected)
    assert (row - expected).norm() <= 1e-5 * expected.norm()


def test_types_by_name():
    types = layer_types(build(GPT2))
    assert types["transformer.wpe.weight"] == types["transformer.wte.weight"] == "embedding"
    assert types["transformer.h.0.attn.c_proj.bias"] == "o" and types["transformer.h.0.mlp.c_proj.bias"] == "mlp"
    types = layer_types(build(FAMILIES["qwen3 moe"][0]))
    assert types["model.layers.0.mlp.gate.weight"] == types["model.layers.0.mlp.experts.down_proj"] == "mlp"
    assert types["model.layers.0.self_attn.q_norm.weight"] == "norm"


@pytest.mark.parametrize("tokens_a_pass", [1, 3, 100])
def test_passes_of_a_long_response_add_up(tokens_a_pass):
    model = build(LlamaConfig(**COMMON))
    sketch = Sketch(model, layer_types(model), None, 0)
    tokens, mask = next(r for r in responses(9) if sum(r[1]) > 7)
    with Scores(model, sketch, temperature=TEMPERATURE) as scores:
        whole = scores.row(tokens, mask)[0].clone()
    with Scores(model, sketch, temperature=TEMPERATURE, tokens_a_pass=tokens_a_pass) as scores:
        parts, value = scores.row(tokens, mask)
    assert (whole - parts).norm() <= 1e-5 * whole.norm()
    assert value == pytest.approx(log_prob(model, tokens, mask).item(), abs=1e-4)


def test_gradients_never_exist_all_at_once():
    """The largest parameter is a third of the model here; all gradients together would be the model again."""
    model = build(LlamaConfig(**{**COMMON, "num_hidden_layers": 6}))
    sketch = Sketch(model, layer_types(model), 64, 0)
    alive = []
    with Scores(model, sketch, temperature=1.0) as scores:
        for parameter in model.parameters():
            parameter.register_post_accumulate_grad_hook(
                lambda _: alive.append(sum(p.grad.numel() for p in model.parameters() if p.grad is not None))
            )
        scores.row(*responses(1)[0])
    assert len(alive) == len(list(model.parameters())) and max(alive) == 0


def test_gram_matrices_are_those_of_plain_autograd(tmp_path):
    model = build(FAMILIES["llama, tied"][0])
    types, drawn = layer_types(model), responses(7)
    sketch = Sketch(model, types, None, 0)
    rows = np.memmap(tmp_path / "rows", np.float32, "w+", shape=(len(drawn), sketch.dim))
    with Scores(model, sketch, temperature=TEMPERATURE) as scores:
        for i, response in enumerate(drawn):
            rows[i] = scores.row(*response)[0].numpy()
    scored = [autograd_scores(model, *response) for response in drawn]
    # A block of a few columns, so that sums over blocks are tested too.
    save_grams(tmp_path / "gram.npz", gram_matrices(rows, sketch.columns, block_bytes=7 * 4 * 100))
    grams = load_grams(tmp_path / "gram.npz")
    for kind, gram in grams.items():
        for i, a in enumerate(scored):
            for j, b in enumerate(scored):
                expected = sum((a[n].double() * b[n].double()).sum().item() for n in a if types[n] == kind)
                scale = math.sqrt(gram[i, i] * gram[j, j])
                assert abs(gram[i, j] - expected) <= 1e-5 * scale
    whole = np.stack([np.concatenate([part.flatten() for part in a.values()]) for a in scored]).astype(np.float64)
    np.testing.assert_allclose(sum(grams.values()), whole @ whole.T, rtol=1e-4, atol=1e-5 * grams["mlp"].max())


def test_small_types_are_kept_whole():
    model = build(LlamaConfig(**COMMON))
    types = layer_types(model)
    sizes = sizes_by_type(model, types)
    sketch = Sketch(model, types, 512, 0)
    taken = {kind: place.stop - place.start for kind, place in sketch.columns.items()}
    assert taken == {kind: min(size, 512) for kind, size in sizes.items()} and taken["norm"] == sizes["norm"] < 512
    assert sketch.dim == sum(taken.values())
    full = Sketch(model, types, None, 0)
    with Scores(model, sketch, temperature=1.0) as scores:
        row = scores.row(*responses(1)[0])[0].clone()
    with Scores(model, full, temperature=1.0) as scores:
        whole = scores.row(*responses(1)[0])[0].clone()
    assert torch.equal(row[sketch.columns["norm"]], whole[full.columns["norm"]])
