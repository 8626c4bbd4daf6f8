"""The order of the prompts, and a run's position in it. One seed gives one order, and a resumed run continues it.

The host shuffles with a generator that nobody seeds, so --train.seed does not fix the order (OpenRLHF#1355). Its checkpoint holds the
position of its loader: what was drawn, not what was trained. Responses that wait for a later step (--rollout.vllm_generate_batch_size) are
lost on resume (OpenRLHF#1322). An episode that ended with a short rollout is trained again. The host also takes responses in the order in
which they finish, so the prompts of a step depend on the engines.

Here an episode's order depends only on the seed and the episode's number. A position says which prompts of it were drawn and which of these
still wait to be trained. A resumed run draws those first. Prompts that dynamic filtering drops count as used.

A run binds these names, in the process that draws the prompts, while the host builds what draws them:

    ppo_trainer.prepare_datasets, ppo_trainer_async.prepare_datasets  -> the same, with a PromptOrder in place of the train loader
    ppo_trainer.SamplesGenerator, ppo_trainer_async.SamplesGenerator  -> OrderedSamplesGenerator
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from types import ModuleType, SimpleNamespace
from typing import Any
from zlib import crc32

import torch
from openrlhf.trainer.ppo_utils import samples_generator
from openrlhf.trainer.ppo_utils.experience import Experience
from torch.utils.data import DataLoader
from torchdata.stateful_dataloader import StatefulDataLoader

from deltal_openrlhf.host.rebind import rebound
from deltal_openrlhf.host.sampling import PLACE, Draw
from deltal_openrlhf.statistics.seeds import seed_of

Batch = tuple[list, list, list, list]
"""What the host's loader gives: data sources, prompts, labels and images, one each."""


class Draws(Iterator[Batch]):
    """Batches of one prompt, and the draws that were handed out since the last call of take()."""

    def __init__(self, batches: Iterator[tuple[int, Batch]], seed: Callable[[int], int]) -> None:
        """batches: place and prompt. seed: gives the one of a place."""
        self._batches, self._seed = batches, seed
        self._handed_out: list[int] = []

    def __next__(self) -> Batch:
        place, batch = next(self._batches)
        self._handed_out.append(place)
        return batch

    def take(self) -> list[Draw]:
        places, self._handed_out = self._handed_out, []
        return [Draw(place, self._seed(place)) for place in places]


class PromptOrder:
    """A replacement of the host's loader. iter() gives one episode after the other, each in its own order.

    waiting: the places of prompts whose responses wait for a later step, as the samples generator says.
    """

    def __init__(self, loader: Any, seed: int) -> None:
        """loader: the host's, of which the data set, its collate_fn and the number of workers are used."""
        self._dataset, self._collate, self._workers = loader.dataset, loader.collate_fn, loader.num_workers
        self._seed = seed
        self._episode, self._drawn = -1, 0
        self._again: list[int] = []  # waiting when the run was saved, and not drawn again yet
        self._resumes = False
        self._last_checksum = -1, 0
        self.waiting: list[int] = []

    def __len__(self) -> int:
        return len(self._dataset)

    def rows(self, episode: int) -> list[int]:
        """The rows of the data in the order of this episode. The place of a prompt is its index here."""
        generator = torch.Generator().manual_seed(seed_of(self._seed, "prompts", episode))
        return torch.randperm(len(self), generator=generator).tolist()

    def __iter__(self) -> Draws:
        if self._resumes:
            self._resumes = False
        else:
            self._episode, self._drawn, self._again = self._episode + 1, 0, []
        episode = self._episode
        return Draws(self._rest(episode), lambda place: seed_of(self._seed, "response", episode, place))

    def _rest(self, episode: int) -> Iterator[tuple[int, Batch]]:
        rows = self.rows(episode)
        places = [*self._again, *range(self._drawn, len(rows))]
        loader = DataLoader(
            self._dataset,
            sampler=[rows[place] for place in places],
            collate_fn=self._collate,
            num_workers=self._workers,
        )
        for place, batch in zip(places, loader, strict=True):
            if self._again:
                self._again.pop(0)
            else:
                self._drawn = place + 1
            yield place, batch

    # ── Checkpoints ──

    def state_dict(self) -> dict[str, Any]:
        """The position, as plain numbers and lists: the client states of a checkpoint are read without pickle."""
        episode = max(self._episode, 0)
        return {
            "episode": episode,
            "order": self._checksum(episode),
            "prompts": len(self),
            "drawn": self._drawn,
            "waiting": sorted({*self.waiting, *self._again}),
        }

    def _checksum(self, episode: int) -> int:
        """The checksum of the episode's order. It is kept, because every step needs it and millions of rows take a second."""
        if self._last_checksum[0] != episode:
            self._last_checksum = episode, crc32(repr(self.rows(episode)).encode())
        return self._last_checksum[1]

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a position. Raises ValueError if it belongs to another order.

        state: as of state_dict, or of the host's loader with the "episode" added.
        """
        self._episode, self.waiting, self._resumes = state["episode"], [], True
        if "waiting" in state:
            self._drawn, self._again = state["drawn"], list(state["waiting"])
            if self.state_dict()["order"] != state["order"]:
                raise ValueError(
                    "the checkpoint's data position belongs to another order of the prompts: --train.seed, the training data or torch's "
                    "shuffling changed; start from the exported model with another --ckpt.path"
                )
        else:
            places = {row: place for place, row in enumerate(self.rows(self._episode))}
            self._drawn, self._again = len(self), [places[row] for row in self._left_by_the_host(state)]

    def _left_by_the_host(self, state: dict[str, Any]) -> list[int]:
        """Rows that the host's own loader would still draw in its episode. They apply to a checkpoint of the stock host or of an earlier
        version.
        """
        if state["_iterator_finished"]:
            return []  # it would begin anew
        loader = StatefulDataLoader(range(len(self)), shuffle=True, num_workers=self._workers)
        loader.load_state_dict(state)
        return [int(row) for row in loader]


def used_prompts(state: dict[str, Any]) -> int:
    """The prompts of all episodes that were trained on or filtered out. state: as of PromptOrder.state_dict."""
    return state["episode"] * state["prompts"] + state["drawn"] - len(state["waiting"])


class OrderedSamplesGenerator(samples_generator.SamplesGenerator):
    """The host's generator, with responses in the order of the data, each drawn with its own seed."""

    prompts_dataloader: PromptOrder
    _sample_buffer: list[Experience]

    def generate_samples(self, **kwargs: Any) -> tuple[list[Experience], float | None, int, bool]:
        rollout = super().generate_samples(**kwargs)
        self.prompts_dataloader.waiting = [sample.index[0] for sample in self._sample_buffer]
        return rollout

    def generate_eval_samples(self, **kwargs: Any) -> list[Experience]:
        seed = self.args.train.seed
        # The same seeds in every evaluation: what differs between two of them is the model.
        self._eval_dataloader_iter = Draws(enumerate(self.eval_dataloader), lambda place: seed_of(seed, "eval", place))
        return super().generate_eval_samples(**kwargs)

    def _generate_vllm(self, dataloader_iter: Draws, *args: Any, **kwargs: Any) -> tuple[list[Experience], int, bool]:
        self._draws = dataloader_iter
        experiences, consumed, exhausted = super()._generate_vllm(dataloader_iter, *args, **kwargs)
        return sorted(experiences, key=lambda experience: experience.index[0]), consumed, exhausted

    def _dispatch_prompts_to_vllm(self, *args: Any, **kwargs: Any) -> list:
        draws = iter(self._draws.take())
        with rebound(self, "vllm_engines", [_Sending(engine, draws) for engine in self.vllm_engines]):
            return super()._dispatch_prompts_to_vllm(*args, **kwargs)

    def _process_response_into_experience(self, response: dict, **kwargs: Any) -> Experience:
        experience = super()._process_response_into_experience(response, **kwargs)
        experience.index = [response[PLACE]]  # the host numbers anew what it trains on
        return experience


class _Sending:
    """An engine that also gets the draw of each prompt. The host sends the prompts in the order in which it drew them."""

    def __init__(self, engine: Any, draws: Iterator[Draw]) -> None:
        self._engine, self._draws = engine, draws
        self.generate_responses = SimpleNamespace(remote=self._generate_responses)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    def _generate_responses(self, **kwargs: Any) -> Any:
        return self._engine.generate_responses.remote(**kwargs, draw=next(self._draws))


@contextmanager
def data_order_bound(module: ModuleType) -> Iterator[None]:
    """module: the host's ppo_trainer or ppo_trainer_async, while it builds what draws prompts."""
    host_prepare = module.prepare_datasets

    def prepare_datasets(strategy: Any, tokenizer: Any) -> tuple:
        loader, *others = host_prepare(strategy, tokenizer)
        return PromptOrder(loader, strategy.args.train.seed), *others

    with ExitStack() as stack:
        stack.enter_context(rebound(module, "prepare_datasets", prepare_datasets))
        stack.enter_context(rebound(module, "SamplesGenerator", OrderedSamplesGenerator))
        yield
