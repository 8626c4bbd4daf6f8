"""What the processes of test_trainer.py do on two ranks, and the DeepSpeed trainer beside it."""

import math
import weakref
from types import SimpleNamespace

from support.megatron.tiny import start
from support.megatron.trainer_setup import (
    HELD,
    MAX_NORM,
    SHORT,
    by_brute_force,
    difference,
    everyone_trained_on,
    make_trainer,
    parameters,
    train,
)

from deltal_openrlhf.host.rebind import rebound
from deltal_openrlhf.parity import Case

LAYOUTS = {"tp2": dict(tensor=2), "pp2": dict(pipeline=2), "dp2": dict()}
METRICS = Case(
    micro=4, steps=2, kl=True, entropy=True, correction="token", dual_clip=3.0, filtering=True, adamw=True, decay=True
)
EPOCHS = Case(micro=2, steps=2, epochs=2)
MEANS = Case(micro=2, kl=True, entropy=True, correction="token", filtering=True)


def raised(function):
    try:
        function()
    except RuntimeError as error:
        return str(error)
    return "trained"


def numbers(status):
    return {name: float(value) for name, value in status.items()}


def in_order(n, generator=None):
    """For torch.randperm, so that both trainers cut the same micro batches."""
    import torch

    return torch.arange(n)


def poison(sample):
    if sample.labels == ["7"]:
        sample.advantages = sample.advantages * math.nan


def truncate(sample):
    import torch

    sample.truncated = torch.ones_like(sample.truncated)


def bad_loss(folder, layout):
    trainer = make_trainer(folder, layout, Case(micro=4))
    before, steps = parameters(trainer), trainer.actor_scheduler.last_epoch
    message = raised(lambda: train(trainer, Case(micro=4), change=poison))
    return [message, difference(trainer, before), trainer.actor_scheduler.last_epoch - steps]


def bad_gradient(folder, layout, rank, value, dtype):
    """A gradient that is not finite on rank 1 only, in the second step."""
    trainer = make_trainer(folder, layout, Case(micro=4), dtype=dtype)
    train(trainer, Case(micro=4))
    before = parameters(trainer)
    if rank == 1:
        _, weight = next(iter(trainer.engine.model.named_parameters()))
        weight.register_hook(lambda gradient: gradient * value)
    return [raised(lambda: train(trainer, Case(micro=4))), difference(trainer, before)]


def nothing_left(folder, layout):
    case = Case(micro=4, filtering=True)
    trainer = make_trainer(folder, layout, case)
    train(trainer, case)
    before, rate = parameters(trainer), trainer.actor_scheduler.get_last_lr()[0]
    status = numbers(train(trainer, case, change=truncate))
    moved, rates = difference(trainer, before), [rate, trainer.actor_scheduler.get_last_lr()[0]]
    train(trainer, case)
    return {"moved": moved, "rates": rates, "status": status, "moved_next": difference(trainer, before)}


def short_rollout(folder, rank, max_tokens):
    trainer = make_trainer(folder, {}, SHORT, eps=1e-3, max_tokens=max_tokens, packed=max_tokens is not None)
    before = parameters(trainer)
    status = numbers(train(trainer, SHORT, numbers=HELD[rank]))
    steps = everyone_trained_on(trainer)
    return {
        "steps": steps,
        "status": status,
        "apart": difference(trainer, by_brute_force(folder, SHORT, steps, trainer.rates, 1e-3)),
        "moved": difference(trainer, before),
    }


def odd_number(folder):
    """Three micro batches where the interleaved schedule takes two at a time: the fourth is empty."""
    case = Case(micro=6)
    trainer = make_trainer(folder, dict(pipeline=2, virtual_pipeline=2), case, eps=1e-3)
    train(trainer, case)
    apart = difference(trainer, by_brute_force(folder, case, trainer.trained, trainer.rates, 1e-3))
    return [[len(members) for members in trainer.micro_batches[0]], apart]


def no_response(folder, rank):
    trainer = make_trainer(folder, {}, SHORT)
    return raised(lambda: train(trainer, SHORT, numbers=range(3) if rank == 0 else ()))


def epochs(folder, layout):
    """Two rollouts, and the second one again by a trainer that goes on from the first; and one with another seed."""
    trainer = make_trainer(folder, layout, EPOCHS, eps=1e-3)
    train(trainer, EPOCHS)
    state = trainer.actor_scheduler.state_dict()
    train(trainer, EPOCHS)
    steps = everyone_trained_on(trainer)
    apart = difference(trainer, by_brute_force(folder, EPOCHS, steps, trainer.rates, 1e-3))
    resumed = make_trainer(folder, layout, EPOCHS)
    resumed.actor_scheduler.load_state_dict(state)
    train(resumed, EPOCHS)
    other = make_trainer(folder, layout, EPOCHS, seed=2)
    train(other, EPOCHS)
    return {"own": trainer.trained, "apart": apart, "resumed": resumed.trained, "other": other.trained}


def statuses(folder, layout):
    import torch

    trainer = make_trainer(folder, layout, METRICS)
    with rebound(torch, "randperm", in_order):
        return [numbers(train(trainer, METRICS)) for _ in range(2)]


def deepspeed_statuses(folder, world):
    import torch
    from transformers import AutoModelForCausalLM

    from deltal_openrlhf.parity import host_update

    model = AutoModelForCausalLM.from_pretrained(f"{folder}/llama", dtype=torch.float32)
    case = Case(**vars(METRICS) | {"world": world})
    trainer = host_update.build_trainer(case, max_norm=MAX_NORM, model=model)
    with rebound(torch, "randperm", in_order):
        return [numbers(train(trainer, case)) for _ in range(2)]


def by_tokens(folder):
    """The status of one optimizer step in micro batches of different length, its responses, and the number of micro batches."""
    trainer = make_trainer(folder, {}, MEANS, max_tokens=60, packed=True)
    return [numbers(train(trainer, MEANS)), everyone_trained_on(trainer), len(trainer.micro_batches[0])]


class Sent:
    """Stands for vLLM's engine, its remote methods and the process group: what it is told and given, and what is held meanwhile."""

    def __init__(self):
        self.update_weight = SimpleNamespace(remote=self.tell)
        self.reset_prefix_cache = SimpleNamespace(remote=self.reset)
        self.told, self.given, self.last = [], [], []
        self.resets = self.emptied = self.most_held = 0
        self.seen = []

    def tell(self, name, dtype, shape, empty_cache):
        self.told.append([name, str(dtype), list(shape)])
        self.last.append(empty_cache)

    def reset(self):
        self.resets += 1

    def empty(self):
        self.emptied += 1

    def broadcast(self, tensor, src, stream):
        self.most_held = max(self.most_held, 1 + sum(seen() is not None for seen in self.seen))
        self.seen.append(weakref.ref(tensor))
        self.given.append(tensor.clone())


def sent_to_vllm(folder, layout, model):
    """Of two broadcasts: what the host's own transport sends, whether the values are the file's, and how often it does the rest."""
    import torch
    from openrlhf.trainer.ray import ppo_actor
    from safetensors.torch import load_file

    trainer = make_trainer(folder, layout, Case(micro=4), model=model)
    trainer.args.vllm.enable_prefix_caching = True
    saved, found = load_file(f"{folder}/{model}/model.safetensors"), []
    for _ in range(2):
        trainer._model_update_group = sent = Sent()
        trainer.vllm_engines = [sent]
        with rebound(ppo_actor.ray, "get", lambda refs: None), rebound(torch.cuda, "empty_cache", sent.empty):
            trainer.broadcast_to_vllm()
        names = [name for name, _, _ in sent.told]
        same = sorted(names) == sorted(saved) and all(map(torch.equal, sent.given, (saved[name] for name in names)))
        counts = {name: getattr(sent, name) for name in ("resets", "emptied", "most_held")}
        found.append({"told": sent.told, "same": same, "last": sent.last, **counts})
    return found


def left_out(folder, layout):
    """A host that walks over all parameters but the last."""
    from openrlhf.trainer.ray import ppo_actor

    trainer = make_trainer(folder, layout, Case(micro=4))
    trainer._model_update_group = sent = Sent()
    trainer.vllm_engines = [sent]
    trainer._exported_names.pop()
    with rebound(ppo_actor.ray, "get", lambda refs: None):
        return raised(trainer.broadcast_to_vllm)


def two_ranks(rank, folder):
    start(folder)
    found = {}
    for name, layout in LAYOUTS.items():
        found[name] = {
            "bad loss": bad_loss(folder, layout),
            "bad gradient": [
                bad_gradient(folder, layout, rank, value, dtype)
                for value, dtype in ((math.inf, "float32"), (math.nan, "bfloat16"))
            ],
            "nothing left": nothing_left(folder, layout),
            "epochs": epochs(folder, layout),
            "statuses": statuses(folder, layout),
        }
    found["short"] = [short_rollout(folder, rank, max_tokens) for max_tokens in (None, 40)]
    found["by tokens"] = by_tokens(folder)
    found["odd number"] = odd_number(folder)
    found["no response"] = no_response(folder, rank)
    found["deepspeed"] = deepspeed_statuses(folder, 2)
    found["sent"] = {
        f"{layout} {model}": sent_to_vllm(folder, LAYOUTS[layout], model)
        for layout, model in (("tp2", "llama"), ("pp2", "llama"), ("pp2", "tied"), ("dp2", "llama"))
    }
    found["left out"] = left_out(folder, LAYOUTS["tp2"])
    return found


def one_rank(rank, folder):
    start(folder)
    return deepspeed_statuses(folder, 1)
