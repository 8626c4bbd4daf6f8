"""One seed for every response, whatever the engine is doing."""

import asyncio
import random
import re
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from openrlhf.trainer import ppo_trainer
from openrlhf.trainer.ray import vllm_engine
from support.controllers import arguments, simulated, strategy
from support.killable import SAMPLES, Disk, Engine, World
from torch import Generator
from vllm import SamplingParams

from deltal_openrlhf.host.data_order import OrderedSamplesGenerator, PromptOrder
from deltal_openrlhf.host.rebind import rebound
from deltal_openrlhf.host.sampling import Draw, SeededRolloutActor


class Recorder:
    """An engine's vLLM: notes the seed of every request."""

    def __init__(self) -> None:
        self.seeds: list[int] = []

    async def generate(self, prompt, sampling_params, request_id):
        self.seeds.append(sampling_params.seed)
        yield SimpleNamespace(request_id=request_id)


class TwoTurns:
    """An agent that asks the engine twice, with the same tokens: the better of two answers, or another try."""

    async def execute(self, sampling_params, llm_engine, **given):
        for _ in range(2):
            await llm_engine.generate([1, 2], sampling_params)
            await asyncio.sleep(0)  # other responses ask in between
        return {"seed": sampling_params.seed}


def requests(draw: Draw) -> tuple[list[dict], list[int]]:
    engine = SeededRolloutActor.__new__(SeededRolloutActor)
    engine.llm, engine.executor, engine._mm_pad_token_ids = Recorder(), TwoTurns(), set()
    given = SamplingParams(temperature=1.0)
    call = engine.generate_responses(
        prompt="p", label="", sampling_params=given, max_length=8, hf_tokenizer=None, num_samples=3, draw=draw
    )
    responses = asyncio.run(call)
    assert given.seed is None
    return responses, engine.llm.seeds


def test_every_request_of_a_run_has_its_own_seed():
    responses, seeds = requests(Draw(4, 77))
    assert [response["place"] for response in responses] == [4, 4, 4]
    assert len(set(seeds)) == 6  # three samples of two turns
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert requests(Draw(9, 77))[1] == seeds
    assert not set(requests(Draw(4, 78))[1]) & set(seeds)


def test_evaluations_have_the_same_seeds_every_time():
    args = arguments("--eval.dataset", "none")
    world = World(Disk(), random.Random(0))
    with simulated(world, 6), rebound(world, "score", lambda prompt, seed: float(seed)):
        train, evaluation, _ = ppo_trainer.prepare_datasets(strategy(args), None)
        engines = [Engine(world, SeededRolloutActor) for _ in range(2)]
        generator = OrderedSamplesGenerator(strategy(args), PromptOrder(train, 1), evaluation, None, engines)
        first, second = (
            [(s.prompts[0], s.rewards.item()) for s in generator.generate_eval_samples(max_len=64)] for _ in range(2)
        )
    assert first == second
    assert [prompt for prompt, _ in first] == [f"p{i}" for i in range(6) for _ in range(SAMPLES)]


@pytest.mark.cpu_build
@pytest.mark.parametrize(("longest", "at_once"), [(40, 4096), (9000, 9000)])
def test_an_engine_on_a_cpu_reads_every_prompt_whole(longest, at_once):
    async def host_init(self, **kwargs):
        self.given = kwargs

    engine = SeededRolloutActor.__new__(SeededRolloutActor)
    with rebound(vllm_engine.RolloutRayActor.__ray_metadata__.modified_class, "__init__", host_init):
        asyncio.run(engine.__init__(max_model_len=longest, seed=1))
    assert engine.given == {
        **{"max_model_len": longest, "seed": 1},
        **{"enable_chunked_prefill": False, "max_num_batched_tokens": at_once},
    }
    with pytest.raises(RuntimeError, match="does not use offset"):
        Generator().get_offset()  # what vLLM asks of a request whose prompt is read in parts


VLLM = """
import signal, sys, time
signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(0))
print("ready", flush=True)
time.sleep(60)
"""


def blocked(pid: int) -> set[int]:
    """The signals that the process does not hear, by the kernel's word."""
    mask = re.search(r"^SigBlk:\s*(\w+)$", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    return {number for number in signal.valid_signals() if int(mask[1], 16) >> (number - 1) & 1}


def test_the_process_that_an_engine_starts_outlives_a_schedulers_signals(monkeypatch):
    """vLLM's own one sets a handler for SIGTERM, on which it ends. Ended in a weight sync, it would cost the step."""
    processes = []

    async def start(self, **given):
        processes.append(subprocess.Popen([sys.executable, "-c", VLLM], stdout=subprocess.PIPE))

    monkeypatch.setattr(SeededRolloutActor.__mro__[1], "__init__", start)
    asyncio.run(SeededRolloutActor.__new__(SeededRolloutActor).__init__(max_model_len=8))
    asyncio.run(start(None))
    try:
        for process in processes:
            assert process.stdout.readline() == b"ready\n"
            process.send_signal(signal.SIGTERM)
        ours, another = processes
        assert another.wait(timeout=20) == 0
        assert {signal.SIGTERM, signal.SIGUSR1} <= blocked(ours.pid)
        assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == set()
    finally:
        for process in processes:
            process.kill()
            process.communicate()
