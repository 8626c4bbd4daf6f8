"""Weights in buckets: every engine loads what the host's own sync gives it, in its order, in fewer calls; what fails ends the run."""

import asyncio
from concurrent.futures import Future
from types import SimpleNamespace

import pytest
import torch
from support.rollout_engines import Received, engines

from deltal_openrlhf.host import weight_buckets
from deltal_openrlhf.host.rebind import rebound
from deltal_openrlhf.host.weight_buckets import BucketedRolloutActor, BucketedTrainer, Buckets
from deltal_openrlhf.parity import Case
from deltal_openrlhf.parity.spawn import run_on_ranks

pytestmark = pytest.mark.timeout(300)
LIMIT = 9_000
"""Bytes of a bucket: above a matrix of the model, below all of a layer's."""
# name: (case, engines, more of the model's configuration)
CASES = {
    "zero 2": (Case(world=2, bf16=True), 1, {}),
    "zero 3": (Case(world=2, bf16=True, zero=3), 1, {}),
    "average": (Case(world=2, bf16=True, ema=True), 1, {}),
    "LoRA": (Case(world=2, bf16=True, lora=True), 1, {}),
    "tied embeddings": (Case(world=2, bf16=True), 1, {"tie_word_embeddings": True}),
    "two engines": (Case(world=2, bf16=True), 2, {}),
}


def all_synced(rank: int) -> dict:
    return {name: synced(rank, *case) for name, case in CASES.items()}


def synced(rank: int, case: Case, number: int, config: dict) -> list[dict]:
    """Of each engine, on rank 0: what the host's sync and ours called it with, and whether both gave it the same."""
    from openrlhf.trainer.ray.ppo_actor import ActorPPOTrainer

    from deltal_openrlhf.parity import host_update
    from deltal_openrlhf.parity.cases import TINY, make_model

    trainer = host_update.build_trainer(case, model=make_model(case.lora, TINY | config))
    trainer.args.vllm.enable_prefix_caching = True
    if rank:
        for _ in range(2):
            trainer.broadcast_to_vllm()
        return []
    with engines(number) as (trainer.vllm_engines, trainer._model_update_group):
        with rebound(BucketedTrainer, "broadcast_to_vllm", ActorPPOTrainer.broadcast_to_vllm):
            trainer.broadcast_to_vllm()
        by_host = [engine.received for engine in trainer.vllm_engines]
        for engine in trainer.vllm_engines:
            engine.received = Received()
        with rebound(weight_buckets, "BUCKET_BYTES", LIMIT):
            trainer.broadcast_to_vllm()
    return [compared(engine.received, hosts) for engine, hosts in zip(trainer.vllm_engines, by_host, strict=True)]


def compared(ours: Received, hosts: Received) -> dict:
    wrong = [(name, tensor + (name == "model.norm.weight")) for name, tensor in ours.loaded]
    return {
        "calls": [hosts.calls, ours.calls],
        "resets": [hosts.resets, ours.resets],
        "syncs": ours.syncs,
        "names": [name for name, _ in ours.loaded],
        "same": same(ours.loaded, hosts.loaded),
        "control": same(wrong, hosts.loaded),
    }


def same(found: list, wanted: list) -> bool:
    """Names in their order, and tensors bit for bit."""
    return [name for name, _ in found] == [name for name, _ in wanted] and all(
        a.dtype == b.dtype and a.shape == b.shape and torch.equal(a.view(torch.int16), b.view(torch.int16))
        for (_, a), (_, b) in zip(found, wanted, strict=True)
    )


@pytest.fixture(scope="module")
def results() -> dict:
    return run_on_ranks(2, all_synced, timeout=280)[0]


@pytest.mark.cpu_build
@pytest.mark.parametrize("name", CASES)
def test_engines_load_what_the_hosts_sync_gives_them(results, name):
    from deltal_openrlhf.parity.cases import TINY, make_model

    parameters = dict(make_model(False, TINY | CASES[name][2]).named_parameters())
    assert len(results[name]) == CASES[name][1]
    for answer in results[name]:
        assert answer["same"] and not answer["control"]
        assert answer["names"] == list(parameters)
        by_host, ours = answer["calls"]
        assert by_host == [1] * len(parameters)
        assert sum(ours) == len(parameters) and len(ours) < len(parameters) / 2
        assert answer["resets"] == [1, 1]
        assert answer["syncs"] == ["begin", ""]


def offer(buckets: Buckets, weights: list) -> None:
    """As the host's broadcast_to_vllm does it."""
    for number, (name, tensor) in enumerate(weights, start=1):
        for engine in buckets.engines:
            engine.update_weight.remote(name, tensor.dtype, tensor.shape, empty_cache=number == len(weights))
        buckets.broadcast(tensor, src=0, stream=None)


def test_tensors_of_any_shape_arrive_in_buckets_of_at_most_the_limit():
    values = torch.randn(40, 50).bfloat16()
    weights = [
        ("scalar", values[0, 0]),
        ("empty", values[:0]),
        ("turned", values.T),
        ("part", values[3:5, 7:20]),
        ("large", values.repeat(3, 1)),
        ("last", values[0]),
    ]
    with engines(1) as ([engine], group), rebound(weight_buckets, "BUCKET_BYTES", 4200):
        buckets = Buckets([engine], group)
        offer(buckets, weights)
        buckets.send()
    assert engine.received.calls == [4, 1, 1]
    assert [name for name, _ in engine.received.loaded] == [name for name, _ in weights]
    for (_, found), (_, wanted) in zip(engine.received.loaded, weights, strict=True):
        assert found.shape == wanted.shape and torch.equal(found, wanted)


def test_a_tensor_that_changes_after_it_was_offered_arrives_as_it_was():
    """With ZeRO-3 a parameter's memory is given back as soon as the host has offered it."""
    weight = torch.ones(3, dtype=torch.bfloat16)
    with engines(1) as ([engine], group):
        buckets = Buckets([engine], group)
        offer(buckets, [("a", weight)])
        weight.zero_()
        buckets.send()
    assert engine.received.loaded[0][1].tolist() == [1, 1, 1]


def test_a_tensor_of_another_dtype_than_the_engines_ends_the_sync_on_both_sides():
    weights = [("a", torch.ones(2).bfloat16()), ("b", torch.ones(2)), ("c", torch.ones(2).bfloat16())]
    with engines(2) as (both, group):
        buckets = Buckets(both, group)
        offer(buckets, weights)
        with pytest.raises(RuntimeError, match="weight b is torch.float32 in the trainer, torch.bfloat16 in the"):
            buckets.send()
    assert all([name for name, _ in engine.received.loaded] == ["a"] for engine in both)


def test_a_bucket_that_an_engine_cannot_load_ends_the_sync():
    weights = [(name, torch.ones(4).bfloat16()) for name in "abcdef"]
    with engines(2, broken_by="d") as (both, group), rebound(weight_buckets, "BUCKET_BYTES", 16):
        buckets = Buckets(both, group)
        with pytest.raises(ValueError, match="no parameter named d"), buckets.sync():
            offer(buckets, weights)
    assert [[name for name, _ in engine.received.loaded] for engine in both] == [list("abcd"), list("abc")]
    told = "ValueError: there is no parameter named d"
    assert [engine.received.syncs for engine in both] == [["begin", told], ["begin", told]]


def test_an_engine_that_fails_before_it_receives_ends_the_sync_at_once():
    def fail(*given):
        future = Future()
        future.set_exception(ConnectionError("the engine is gone"))
        return future

    with engines(1) as ([engine], group):
        engine.update_weights = engine.end_sync = SimpleNamespace(remote=fail)
        buckets = Buckets([engine], group)
        with pytest.raises(ConnectionError, match="the engine is gone"), buckets.sync():
            offer(buckets, [("a", torch.ones(4).bfloat16())])


def test_another_process_group_gets_what_the_host_sends():
    """NCCL: each tensor by itself, through the host's own calls."""
    sent = []
    trainer = BucketedTrainer.__new__(BucketedTrainer)
    trainer._model_update_group = SimpleNamespace(broadcast=sent.append)
    with rebound(BucketedTrainer.__base__, "broadcast_to_vllm", lambda self: self._model_update_group.broadcast("own")):
        trainer.broadcast_to_vllm()
    assert sent == ["own"]


class VLLM:
    """Gives its response once it may."""

    def __init__(self):
        self.may = asyncio.Event()

    async def generate(self, prompt, sampling_params, request_id):
        await self.may.wait()
        yield "response"


def actor() -> BucketedRolloutActor:
    engine = BucketedRolloutActor.__new__(BucketedRolloutActor)
    engine.llm, engine._mm_pad_token_ids = VLLM(), None
    return engine


def test_an_engine_generates_before_and_after_a_sync_but_not_during_one():
    async def run():
        engine = actor()
        engine.llm.may.set()
        assert await engine.generate([1], None) == "response"
        await engine.begin_sync()
        waiting = asyncio.create_task(engine.generate([1], None))
        await asyncio.sleep(0.05)
        assert not waiting.done()
        await engine.end_sync()
        assert await waiting == "response"
        assert await engine.generate([1], None) == "response"

    asyncio.run(run())


def test_after_a_sync_that_failed_an_engine_gives_no_response():
    """Neither one that it is asked for later, nor one that waits for the sync, nor one that it has begun."""

    async def run():
        engine = actor()
        begun = asyncio.create_task(engine.generate([1], None))
        await asyncio.sleep(0)
        await engine.begin_sync()
        waiting = asyncio.create_task(engine.generate([1], None))
        await engine.end_sync("ValueError: no parameter named d")
        engine.llm.may.set()
        for response in (begun, waiting, engine.generate([1], None)):
            with pytest.raises(
                RuntimeError, match="weights of two steps, since a weight sync failed: ValueError: no par"
            ):
                await response

    asyncio.run(run())
