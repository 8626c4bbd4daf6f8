"""What the processes of test_moe.py do: gradients of a loss and the auxiliary loss of experts, against their definition written out."""

import functools

from support.megatron.tiny import gradients, make_engine, start
from support.megatron.trainer_setup import ADAM, HELD, MAX_NORM, SHORT, everyone_trained_on, make_trainer, train

from deltal_openrlhf.host.rebind import rebound

COEFFICIENT = 0.1
ON_TWO = {
    "dp2": dict(layout=dict()),
    "dp2 packed": dict(layout=dict(), packed=True),
    "ep2": dict(layout=dict(expert=2)),
    "ep2 packed, recomputed": dict(layout=dict(expert=2), packed=True, recompute=True),
    "pp2": dict(layout=dict(pipeline=2)),
    "cp2 packed": dict(layout=dict(context=2), packed=True),
}
ON_FOUR = {
    "tp2 pp2 ep2 packed": dict(layout=dict(tensor=2, pipeline=2, expert=2, sequence_parallel=True), packed=True),
    "tp2 pp2 ep2": dict(layout=dict(tensor=2, pipeline=2, expert=2, sequence_parallel=True)),
}
EMPTY = [0, 0]
LENGTHS = {0: ([9, 14, 3], [20], [5, 5, 2, 11]), 1: ([7], [1, 16, 4], [12, 2])}  # of replica 0 and 1


def make_batch(replica, fillers=0):
    """Micro batches of one replica, padded on the right; behind them some of padding only, as the trainer makes them."""
    import torch

    generator = torch.Generator().manual_seed(replica)
    micro_batches = []
    for lengths in (*LENGTHS[replica], *[EMPTY] * fillers):
        sequences, mask = torch.zeros(2, len(lengths), max(lengths) + 3, dtype=torch.long)
        for i, n in enumerate(lengths):
            sequences[i, :n] = torch.randint(4, 64, (n,), generator=generator)
            mask[i, :n] = 1
        micro_batches.append((sequences, mask))
    return micro_batches


def loss(number, log_probs, entropy):
    return -(1 + number) * log_probs.sum() / 20


def load_reference(folder):
    import torch
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(f"{folder}/moe", dtype=torch.float32)


class Routers:
    """What goes into the routers of a model, one layer after the other."""

    def __init__(self, model):
        self.inputs = [[] for _ in model.model.layers]
        for layer, inputs in zip(model.model.layers, self.inputs, strict=True):
            layer.mlp.gate.register_forward_pre_hook(
                lambda module, given, inputs=inputs: inputs.append(given[0].flatten(0, -2))
            )
        self.gates = [layer.mlp.gate for layer in model.model.layers]
        self.experts = model.config.num_experts
        self.chosen = model.config.num_experts_per_tok

    def auxiliary_loss(self):
        """Of all tokens since the last call: sum over layers of E sum_e f_e P_e, with the share of choices f_e and the mean
        probability P_e of an expert."""
        import torch

        total = torch.zeros(())
        for gate, inputs in zip(self.gates, self.inputs, strict=True):
            probabilities = (torch.cat(inputs) @ gate.weight.t()).softmax(-1)
            inputs.clear()
            counts = [0] * self.experts
            for row in probabilities.tolist():
                for expert in sorted(range(self.experts), key=lambda e: -row[e])[: self.chosen]:
                    counts[expert] += 1
            for expert, count in enumerate(counts):
                share = count / (len(probabilities) * self.chosen)
                total = total + self.experts * share * probabilities[:, expert].mean()
        return total


@functools.cache
def reference_gradients(folder, replicas, fillers=0, coefficient=COEFFICIENT):
    """Both losses averaged over micro batches and over replicas; a micro batch of padding counts as one and adds nothing."""
    from megatron_ext.parity.reference import _as_saved

    model = load_reference(folder)
    routers = Routers(model)
    for replica in range(replicas):
        micro_batches = make_batch(replica)
        for number, (sequences, mask) in enumerate(micro_batches):
            total = 0
            for ids, taken in zip(sequences, mask.bool(), strict=True):
                ids = ids[taken]
                values = model(ids[None]).logits[0, :-1].log_softmax(-1).gather(-1, ids[1:, None])
                total = total - (1 + number) * values.sum() / 20
            total = total + coefficient * routers.auxiliary_loss()
            (total / (len(micro_batches) + fillers) / replicas).backward()
    return _as_saved({name: p.grad for name, p in model.named_parameters()})


def apart(folder, layout, fillers=0, wanted=None, **options):
    import torch
    from megatron.core import parallel_state

    from megatron_ext.parity.reference import relative_difference

    engine = make_engine(f"{folder}/moe", layout, aux_loss_coef=COEFFICIENT, **options)
    replicas = parallel_state.get_data_parallel_world_size()
    engine.gradients(make_batch(parallel_state.get_data_parallel_rank(), fillers), loss)
    if wanted is None:
        wanted = reference_gradients(folder, replicas, fillers)
    found = gradients(engine)
    if not all(bool(torch.isfinite(value).all()) for value in found.values()):
        return "nan"
    return relative_difference(found, wanted)


def negative_controls(folder):
    """What the differences would be: no auxiliary loss, twice of it, padding counted, and 0 / 0 of a micro batch of padding."""
    from dataclasses import replace

    from megatron.core.transformer.moe import router

    from megatron_ext import engine as module

    pp2, model_inputs = dict(pipeline=2), module.model_inputs

    def none_is_padding(*args, **kwargs):
        inputs = model_inputs(*args, **kwargs)
        return replace(inputs, padding=inputs.padding & False)

    found = {
        name: apart(folder, pp2, wanted=reference_gradients(folder, 1, coefficient=coefficient))
        for name, coefficient in (("none", 0.0), ("twice", 2 * COEFFICIENT))
    }
    with rebound(module, "model_inputs", none_is_padding):
        found["padding counted"] = apart(folder, pp2)
    counted = router.get_tokens_per_expert_and_token_count
    original = counted.__wrapped__
    # What wraps is left alone by the next model.
    as_it_was = functools.wraps(original)(lambda *args, **kwargs: original(*args, **kwargs))
    with rebound(router, "get_tokens_per_expert_and_token_count", as_it_was):
        found["0 / 0"] = apart(folder, pp2, fillers=1)
    return found


def short_rollout(folder, rank, layout):
    """Replica 1 has fewer responses and gets empty micro batches: the parameters after two AdamW steps against brute force."""
    import torch
    import torch.distributed as dist

    from deltal_openrlhf.parity.cases import make_batch
    from deltal_openrlhf.parity.reference import reference_loss, reference_weights
    from megatron_ext.parity.reference import _as_saved, largest_difference

    trainer = make_trainer(folder, layout, SHORT, eps=1e-3, model="moe", aux_loss_coef=COEFFICIENT)
    train(trainer, SHORT, numbers=HELD[rank])
    cuts = [None, None]
    dist.all_gather_object(cuts, trainer.micro_batches)

    def after(coefficient):
        model = load_reference(folder)
        routers, batch = Routers(model), make_batch(SHORT.holes)
        optimizer = torch.optim.AdamW(model.parameters(), **ADAM | {"eps": 1e-3})
        for members, rate, *parts in zip(everyone, trainer.rates, *cuts, strict=True):
            weights, tokens = (
                reference_weights(SHORT, batch, members),
                sum(int(batch[i]["mask"].sum()) for i in members),
            )
            optimizer.zero_grad()
            for micro_batches in parts:
                for micro_batch in filter(None, micro_batches):
                    total = sum(reference_loss(SHORT, model, batch[i], weights[i], tokens) for i in micro_batch)
                    scale = coefficient / len(micro_batches) / len(parts)
                    (total + scale * routers.auxiliary_loss()).backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), MAX_NORM)
            optimizer.param_groups[0]["lr"] = rate
            optimizer.step()
        return _as_saved({name: p.detach() for name, p in model.named_parameters()})

    everyone = everyone_trained_on(trainer)
    found = {name: tensor.clone() for name, tensor in trainer.engine.model.export()}
    empty = sum(not members for part in cuts for step in part for members in step)
    return [empty, largest_difference(found, after(COEFFICIENT)), largest_difference(found, after(0.0))]


def log_probs(folder, rank):
    """The largest difference to transformers where one rank of the experts has more micro batches than the other."""
    import torch

    engine, model = make_engine(f"{folder}/moe", dict(expert=2), learns=False), load_reference(folder)
    micro_batches, far = make_batch(rank)[rank:], 0.0
    for (sequences, mask), got in zip(micro_batches, engine.log_probs(micro_batches), strict=True):
        for ids, taken, values in zip(sequences, mask.bool(), got, strict=True):
            ids = ids[taken]
            with torch.no_grad():
                wanted = model(ids[None]).logits[0, :-1].log_softmax(-1).gather(-1, ids[1:, None])[:, 0]
            assert not values[len(wanted) :].any()
            far = max([far, *(values[: len(wanted)] - wanted).abs().tolist()])
    return [len(micro_batches), far]


def two_ranks(rank, folder):
    start(folder)
    found = {name: [apart(folder, **case), apart(folder, fillers=2, **case)] for name, case in ON_TWO.items()}
    found["log_probs"] = log_probs(folder, rank)
    found["controls"] = negative_controls(folder)
    found["short"] = [short_rollout(folder, rank, layout) for layout in (dict(), dict(expert=2))]
    return found


def four_ranks(rank, folder):
    start(folder)
    return {name: apart(folder, fillers=1, **case) for name, case in ON_FOUR.items()}
