"""The processes of a run as objects in one process, killed together: engines, workers and their checkpoints, and the queue between two
actors. support/controllers.py puts the host's controllers among them.
"""

import asyncio
import pickle
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from queue import Queue
from types import SimpleNamespace
from typing import Any

from deltal_openrlhf.host.settings import LossSettings
from deltal_openrlhf.statistics.seeds import seed_of

SAMPLES = 2


class Killed(BaseException):
    """kill -9 of every process of the run."""


@dataclass
class Disk:
    """What is left of a run that is killed.

    latest: the last whole checkpoint. steps: prompts that each PPO step trained on, without those that a resume took back.
    dropped: prompts that dynamic filtering dropped, with the number of PPO steps that had been taken.
    """

    latest: bytes | None = None
    steps: dict[int, list[str]] = field(default_factory=dict)
    weights: float = 0.0

    def trained(self) -> list[str]:
        return [prompt for step in sorted(self.steps) for prompt in self.steps[step]]


@dataclass
class World:
    """One process group, from its start to its end or its kill. moments: after how many calls it is killed, None: never."""

    disk: Disk
    order: random.Random
    moments: int | None = None
    weights: float = 0.0
    engine_weights: float = 0.0
    step: int = 0
    calls: int = 0
    dead: bool = False
    score: Callable[[str, int], float] = lambda prompt, seed: seed_of(seed, prompt) % 1000 / 1000
    _one_at_a_time: Any = field(default_factory=threading.RLock)

    def tick(self) -> None:
        with self._one_at_a_time:
            self.calls += 1
            if self.dead or self.calls == self.moments:
                self.dead = True
                raise Killed


class Engine:
    """A handle on an engine. kind: the class whose generate_responses runs, the host's or ours."""

    def __init__(self, world: World, kind: type) -> None:
        self.world = world
        self.actor = kind.__new__(kind)
        self.actor.executor = self

    def __getattr__(self, name: str) -> Any:
        if name == "get_num_unfinished_requests":
            return SimpleNamespace(remote=lambda: 0)
        self.world.tick()
        return SimpleNamespace(remote=lambda **given: asyncio.run(getattr(self.actor, name)(**given)))

    async def execute(self, prompt: str, label: str, sampling_params: Any, **given: Any) -> dict:
        seed = self.world.order.getrandbits(32) if sampling_params.seed is None else sampling_params.seed
        tokens = [seed_of(seed, prompt, i, f"{self.world.engine_weights:.6f}") % 50 for i in range(4)]
        score = self.world.score(prompt, seed)
        return {
            **{"prompt": prompt, "label": label, "reward": score, "scores": score, "truncated": False},
            **{"observation_tokens": tokens, "action_ranges": [(1, 4)], "rollout_log_probs": None},
        }


class Workers:
    """The policy's workers and their checkpoints."""

    def __init__(self, world: World, args: Any) -> None:
        self.world, self.args, self.appended = world, args, []
        self.loaded = pickle.loads(world.disk.latest) if world.disk.latest else {}
        world.weights = self.loaded.get("weights", 0.0)

    def async_run_method_batch(self, method_name: str, experience: list) -> list:
        self.world.tick()
        self.appended = experience
        return []

    def async_run_method(self, method_name: str, **given: Any) -> list:
        self.world.tick()
        return [getattr(self, method_name)(**given)]

    def loss_signature(self) -> str:
        return LossSettings.from_args(self.args).signature()

    def get_checkpoint_states(self) -> dict:
        return self.loaded.get("states", {})

    def fit(self, kl_ctl: float) -> dict:
        for number, sample in enumerate(self.appended):
            self.world.weights += (number + 1) * float(sample.sequences.sum()) / 1e6
        return {"deltal/weight_sum_x_M": 1.0, "deltal/optimizer_steps": 1.0}

    def broadcast_to_vllm(self) -> None:
        self.world.engine_weights = self.world.weights

    def save_checkpoint(self, tag: str, client_states: dict, **given: Any) -> None:
        saved = {"states": client_states | {"deltal": self.world_settings()}, "weights": self.world.weights}
        written = pickle.dumps(saved)
        self.world.tick()  # half written, and never published
        self.world.disk.latest = written

    def world_settings(self) -> dict:
        return LossSettings.from_args(self.args).to_dict()


class Waiting(Queue):
    """A queue whose waits end with the run."""

    def __init__(self, world: World, maxsize: int) -> None:
        super().__init__(maxsize)
        self.world = world
        self.actor = SimpleNamespace(get=SimpleNamespace(remote=lambda timeout: self.get()))

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        return self._until(lambda: not self.empty(), super().get)

    def put(self, item: Any, block: bool = True, timeout: float | None = None) -> None:
        self._until(lambda: not self.full(), lambda: super(Waiting, self).put(pickle.loads(pickle.dumps(item))))

    def _until(self, ready: Callable[[], bool], then: Callable[[], Any]) -> Any:
        self.world.tick()
        while not ready():
            if self.world.dead:
                raise Killed
            time.sleep(0.0005)
        return then()


def acquire(lock: threading.Lock, world: World) -> None:
    while not lock.acquire(timeout=0.001):
        if world.dead:
            raise Killed
