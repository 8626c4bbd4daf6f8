"""The engine on two ranks, in every layout: log-probabilities against transformers, gradients, sleep, and bf16's fp32 gradients."""

from itertools import product

import pytest
from support.megatron.tiny import gradients, make_engine, parameters, start, write_models

from deltal_openrlhf.host.rebind import rebound
from deltal_openrlhf.parity.spawn import run_on_ranks

pytestmark = pytest.mark.timeout(200)
LAYOUTS = {
    "one": dict(),
    "pp2": dict(pipeline=2),
    "interleaved": dict(pipeline=2, virtual_pipeline=2),
    "cp2": dict(context=2),
    "tp2": dict(tensor=2, sequence_parallel=True),
}
TEMPERATURE, BUDGET = 0.7, 20  # the longest response alone
CASES = list(product(LAYOUTS, (False, True), (None, BUDGET)))


def make_batch():
    """Three micro batches of other shapes: padded on the left, on the right with a row of padding only, and one response alone."""
    import torch

    generator = torch.Generator().manual_seed(0)
    micro_batches = []
    for lengths, side in (([9, 14, 3, 20, 1], "left"), ([6, 0, 17], "right"), ([11], "left")):
        sequences, mask = torch.zeros(2, len(lengths), max(lengths) + 2, dtype=torch.long)
        for i, n in enumerate(lengths):
            part = slice(0, n) if side == "right" else slice(max(lengths) + 2 - n, None)
            sequences[i, part] = torch.randint(4, 64, (n,), generator=generator)
            mask[i, part] = 1
        micro_batches.append((sequences, mask))
    return micro_batches


def reference_log_probs(path, micro_batches, temperature):
    """log p and the sum of all p^2 by transformers, one response at a time."""
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32)
    outputs = []
    for sequences, mask in micro_batches:
        out = torch.zeros(2, sequences.shape[0], sequences.shape[1] - 1)
        for i, taken in enumerate(mask.bool()):
            ids, columns = sequences[i, taken], taken.nonzero().flatten()
            if len(ids) > 1:
                with torch.no_grad():
                    logits = model(ids[None]).logits[0, :-1] / temperature
                out[0, i, columns[:-1]] = logits.log_softmax(-1).gather(-1, ids[1:, None])[:, 0]
                out[1, i, columns[:-1]] = logits.softmax(-1).square().sum(-1)
        outputs.append(out)
    return outputs


def log_probs_of_all_layouts(folder):
    """{case: [largest difference, largest value where there is no token, most tokens of a micro batch, number of them, learns]}"""
    from megatron_ext import engine as module

    def recorded(*args, **kwargs):
        inputs = model_inputs(*args, **kwargs)
        sizes.append(inputs.tokens.numel() * kwargs["context_size"])
        return inputs

    micro_batches, model_inputs, found = make_batch(), module.model_inputs, {}
    wanted = reference_log_probs(f"{folder}/qwen3", micro_batches, TEMPERATURE)
    for name, packed in product(LAYOUTS, (False, True)):
        engine = make_engine(f"{folder}/qwen3", LAYOUTS[name], packed=packed, learns=False, temperature=TEMPERATURE)
        for tokens in (None, BUDGET):
            sizes = []
            with rebound(module, "model_inputs", recorded):
                got = engine.log_probs(micro_batches, max_tokens=tokens, squares=tokens is not None)
            pairs = [(a, b if tokens else b[0]) for a, b in zip(got, wanted, strict=True)]
            off = max(a[b == 0].abs().max().item() for a, b in pairs if (b == 0).any())
            apart = max((a - b).abs().max().item() for a, b in pairs)
            learns = any(p.requires_grad or p.grad is not None for _, p in engine.model.named_parameters())
            found[f"{name} {packed} {tokens}"] = [apart, off, max(sizes), len(sizes), learns]
    return found


def nothing_to_do(folder):
    """Workers whose share of a short rollout is empty: all of them, and one of two that exchange tokens with each other."""
    import torch.distributed as dist

    found = {}
    for name in ("one", "pp2", "interleaved"):
        engine = make_engine(f"{folder}/qwen3", LAYOUTS[name], packed=True, learns=False)
        found[name] = len(engine.log_probs([]))
    engine = make_engine(f"{folder}/moe", dict(expert=2), packed=True, learns=False)
    mine = make_batch() if dist.get_rank() == 0 else []
    found["experts"] = [list(values.shape) for values in engine.log_probs(mine)]
    return found


def loss(number, log_probs, entropy):
    return -log_probs.sum() / 20


def step(engine, micro_batches):
    engine.gradients(micro_batches, loss)
    engine.gradient_norm()
    engine.update()


def recomputed(folder):
    """{layout: relative difference of the gradients with and without recomputation}"""
    from megatron_ext.parity.reference import relative_difference

    found = {}
    for name in ("tp2", "pp2", "cp2"):
        pair = []
        for recompute in (False, True):
            engine = make_engine(f"{folder}/qwen3", LAYOUTS[name], packed=True, recompute=recompute)
            assert engine.config.recompute_granularity == ("full" if recompute else None)
            engine.gradients(make_batch(), loss)
            pair.append(gradients(engine))
        found[name] = relative_difference(*pair)
    return found


def slept(folder, dtype):
    """Two steps with and without sleep in between: [bytes of the gradients before, asleep, after; differences of parameters]"""
    import torch

    batch, after = make_batch(), []
    for sleeps in (False, True):
        engine = make_engine(f"{folder}/qwen3", dict(), dtype=dtype)
        buffers = [b for chunk in engine.chunks for b in chunk.buffers + chunk.expert_parallel_buffers]

        def held(buffers=buffers):
            return sum(b.grad_data.untyped_storage().size() for b in buffers)

        step(engine, batch)
        sizes = [held()]
        if sleeps:
            engine.offload()
            sizes.append(held())
            asleep = engine.log_probs(batch)
            engine.reload()
            sizes.append(held())
        else:
            awake = engine.log_probs(batch)
        first = parameters(engine)
        step(engine, batch)
        after.append(parameters(engine))
    same = all(map(torch.equal, awake, asleep))
    apart = max((after[0][name] - after[1][name]).abs().max().item() for name in first)
    moved = max((after[0][name] - first[name]).abs().max().item() for name in first)
    return {"bytes": sizes, "log_probs": same, "apart": apart, "moved": moved}


def many_tiny_micro_batches(folder):
    """bf16: the gradient of 64 micro batches against the fp32 sum of the gradients of each, and against their bf16 sum."""
    import torch

    engine = make_engine(f"{folder}/qwen3", dict(), dtype="bfloat16")
    generator = torch.Generator().manual_seed(1)
    mask = torch.ones(1, 3, dtype=torch.long)
    batch = [(torch.randint(4, 64, (1, 3), generator=generator), mask) for _ in range(64)]

    def gradient(micro_batches, factor):
        # 64 is a power of two: dividing by it changes no digit
        engine.gradients(micro_batches, lambda number, log_probs, entropy: -log_probs.sum() * factor)
        return torch.cat([p.main_grad.flatten() for _, p in engine.model.named_parameters()]).clone()

    with rebound(engine.config, "finalize_model_grads_func", None):  # each rank its own, before they are reduced
        together = gradient(batch, 1.0)
        singles = [gradient([one], 1 / 64) for one in batch]
    exact, rounded = torch.zeros(2, len(together))
    for single in singles:
        exact += single
        rounded = (rounded + single).bfloat16().float()
    dtypes = {str(p.main_grad.dtype) for _, p in engine.model.named_parameters()}
    dtypes |= {str(p.dtype) for _, p in engine.model.named_parameters()}
    norm = exact.norm()
    rows = [((together - exact).norm() / norm).item(), ((rounded - exact).norm() / norm).item()]
    main = {str(p.dtype) for group in engine.optimizer.param_groups for p in group["params"]}
    return [*rows, sorted(dtypes), sorted(main)]


def signs_of_life(folder):
    """What a worker's engine says on this pipeline stage: in a pass over three micro batches, and in an update with them."""
    from types import SimpleNamespace as Space

    from deltal_openrlhf.host import alive, job_store
    from megatron_ext import actor
    from megatron_ext.engine import OptimizerSettings
    from megatron_ext.groups import another_layout
    from megatron_ext.layout import ParallelLayout
    from megatron_ext.model import initialize

    args = Space(
        megatron=Space(logprob_chunk_size=7),
        rollout=Space(temperature=1.0),
        actor=Space(gradient_checkpointing_enable=False, aux_loss_coef=0.0),
        ds=Space(packing_samples=True),
    )
    strategy = Space(args=args, layout=ParallelLayout(pipeline=2), pulse=alive.Pulse())
    with another_layout():
        initialize(strategy.layout, 1)
    signs, optimizer = [], OptimizerSettings(1e-3, (0.9, 0.95), 1e-8, 0.0, 1.0)
    with (
        rebound(alive, "SAY_EVERY", 0.0),
        rebound(job_store, "put", lambda name, value: signs.append(value.rpartition(", ")[0])),
    ):
        engine = actor._engine(strategy, f"{folder}/qwen3", optimizer)
        engine.log_probs(make_batch())
        step(engine, make_batch())
    return signs


def on_rank(rank, folder):
    start(folder)
    return {
        "signs": signs_of_life(folder),
        "log_probs": log_probs_of_all_layouts(folder),
        "nothing": nothing_to_do(folder),
        "recomputed": recomputed(folder),
        "slept": {dtype: slept(folder, dtype) for dtype in ("float32", "bfloat16")},
        "tiny": many_tiny_micro_batches(folder),
    }


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    folder = tmp_path_factory.mktemp("engine")
    write_models(folder, "qwen3", "moe")
    return run_on_ranks(2, on_rank, str(folder), timeout=180)


@pytest.mark.parametrize("name,packed,tokens", CASES)
def test_log_probs_are_those_of_transformers(results, name, packed, tokens):
    for rank in results:
        apart, off, most, number, learns = rank["log_probs"][f"{name} {packed} {tokens}"]
        assert apart < 1e-5
        assert off == 0
        assert not learns
        if tokens:
            assert most <= tokens and number > 3
        else:
            assert most > BUDGET and number == (4 if name == "interleaved" else 3)


def test_a_worker_without_responses_returns_nothing_and_holds_nobody_up(results):
    shapes = [[len(sequences), sequences.shape[1] - 1] for sequences, _ in make_batch()]
    for rank, found in enumerate(results):
        assert found["nothing"] == {"one": 0, "pp2": 0, "interleaved": 0, "experts": shapes if rank == 0 else []}


def test_every_micro_batch_is_a_sign_of_life_on_every_stage(results):
    for rank in results:
        assert rank["signs"] == ["a model is ready", *["a micro batch"] * 6]


def test_recomputation_changes_no_gradient(results):
    for rank in results:
        assert all(apart < 1e-6 for apart in rank["recomputed"].values()), rank["recomputed"]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_sleep_frees_the_gradients_and_changes_no_step(results, dtype):
    for rank in results:
        found = rank["slept"][dtype]
        before, asleep, after = found["bytes"]
        assert before == after > 0 and asleep == 0
        assert found["log_probs"] and found["apart"] == 0 and found["moved"] > 1e-3


def test_gradients_of_bf16_parameters_add_up_in_fp32(results):
    for rank in results:
        exact, rounded, dtypes, main = rank["tiny"]
        assert dtypes == ["torch.bfloat16", "torch.float32"] and main == ["torch.float32"]
        assert exact < 1e-6
        assert rounded > 1e-3  # as bf16 would add them up
