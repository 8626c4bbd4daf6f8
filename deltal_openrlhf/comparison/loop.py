"""One training run in one process, for many seeds on a small machine.

Rollouts come from transformers, rewards from the reward file, and updates from updates.py in float32. The run takes the flags of `deltal
train` (arguments.py says which) and writes metrics.jsonl and evals.jsonl under the host's names. With one seed, every method sees the same
prompts in the same order and draws with the same random numbers. With dynamic sampling (filtering.py) methods drop different prompts, so
only the order is the same.

Two metrics differ slightly from the host's. entropy_loss is that of all tokens as they were sampled. ppo_clip_ratio and ppo_kl leave out
responses of advantage 0, which have no gradient.
"""

import math
import random
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from openrlhf.trainer.ppo_utils.experience import Experience
from transformers import AutoModelForCausalLM

from deltal_openrlhf.arguments import Arguments
from deltal_openrlhf.comparison.arguments import check_loop_flags
from deltal_openrlhf.comparison.filtering import draw_rollout
from deltal_openrlhf.comparison.graded import Graded
from deltal_openrlhf.comparison.inputs import ATTENTION, Inputs, Prompt, check_architecture
from deltal_openrlhf.comparison.updates import PolicyUpdater, Rollout
from deltal_openrlhf.host.experience_maker import DeltaLExperienceMaker
from deltal_openrlhf.host.metrics import length_metrics
from deltal_openrlhf.host.settings import LossSettings
from deltal_openrlhf.host.trained import Trained
from deltal_openrlhf.models.sampling import named_end_tokens, sample_all
from deltal_openrlhf.rewards.reward_file import checked_numbers, checked_rewards, load_reward_function
from deltal_openrlhf.runs.metrics_file import EVALS, MetricsFile
from deltal_openrlhf.runs.metrics_file import NAME as METRICS

SAMPLES_AT_ONCE = 1024
"""The most responses in one batch, where memory allows."""


def run(
    flags: Mapping[str, Any], folder: Path, progress: Callable[[int, int], None] = lambda step, steps: None
) -> dict:
    """Train with these flags, and write metrics into `folder`. Returns {"steps": PPO steps}. Raises ValueError for flags, RuntimeError for
    a run.

    progress: called with the finished PPO steps and their total.
    """
    args, settings = check_loop_flags(flags)
    return Run(args, settings).train(folder, progress)


class Run:
    """The model and everything that it trains with."""

    def __init__(self, args: Arguments, settings: LossSettings) -> None:
        self.args, self.settings = args, settings
        assert args.reward.remote_url is not None and args.rollout.max_new_tokens is not None  # check_loop_flags
        start, self.new_tokens = args.actor.model_name_or_path, args.rollout.max_new_tokens
        check_architecture(start)
        self.inputs = Inputs(args)
        self.steps = self.inputs.rollouts * args.train.num_episodes
        self.reward_func = load_reward_function("--reward.remote_url", args.reward.remote_url)
        self.model = AutoModelForCausalLM.from_pretrained(
            start, dtype=torch.float32, attn_implementation=ATTENTION
        ).eval()
        self.model.to("cuda" if torch.cuda.is_available() else "cpu")
        self.eos = named_end_tokens(Path(start), self.inputs.tokenizer)
        self.responses = args.rollout.batch_size * args.rollout.n_samples_per_prompt
        self.maker = _Advantages(args)
        self.updater = PolicyUpdater(
            self.model, args, settings, self.responses // args.train.batch_size * args.train.max_epochs * self.steps
        )

    def train(self, folder: Path, progress: Callable[[int, int], None]) -> dict:
        args = self.args
        metrics, evals = (MetricsFile(str(folder), resumed_step=0, name=name) for name in (METRICS, EVALS))
        shuffled = random.Random(args.train.seed)
        draws = torch.Generator(self.model.device).manual_seed(args.train.seed)
        cuts = torch.Generator().manual_seed(args.train.seed)
        step, trained = 0, Trained()
        for _ in range(args.train.num_episodes):
            prompts = iter(shuffled.sample(self.inputs.prompts, len(self.inputs.prompts)))
            begun = time.monotonic()
            while drawn := draw_rollout(prompts, args, lambda batch: self.explore(batch, draws)):
                step += 1
                row = self.learn(drawn.graded, cuts)
                if args.algo.dynamic_filtering_enable:
                    row["dynamic_filtering_pass_rate"] = drawn.pass_rate
                trained.add(row)
                row["timing/step_total"] = time.monotonic() - begun
                metrics.append({"step": step, "total_steps": self.steps, "time": time.time(), **row})
                if self.inputs.held_out and args.eval.steps > 0 and step % args.eval.steps == 0:
                    evals.append({"step": step, **self.evaluate(step)})
                progress(step, self.steps)
                begun = time.monotonic()
        trained.check(args)
        return {"steps": step}

    def explore(self, prompts: Sequence[Prompt], generator: torch.Generator) -> Graded:
        """The responses of a rollout to these prompts."""
        how = self.args.rollout
        return self.respond(prompts, how.n_samples_per_prompt, how.temperature, generator)

    def respond(self, prompts: Sequence[Prompt], n: int, temperature: float, generator: torch.Generator) -> Graded:
        """Sample n responses to each prompt and grade them."""
        rows = [prompt for prompt in prompts for _ in range(n)]
        responses = sample_all(
            self.model,
            [row.token_ids for row in rows],
            most=SAMPLES_AT_ONCE,
            max_new_tokens=self.new_tokens,
            eos=self.eos,
            generator=generator,
            temperature=temperature,
        )
        queries = self.inputs.tokenizer.batch_decode(
            [row.token_ids + response.tokens for row, response in zip(rows, responses, strict=True)],
            skip_special_tokens=False,
        )
        found = self.reward_func(queries, [row.text for row in rows], [row.label for row in rows])
        try:
            rewards = checked_rewards(found, len(rows))
            scores = found.get("scores")  # without any, rewards are the scores
            return Graded(
                rows, responses, rewards, rewards if scores is None else checked_numbers("score", scores, len(rows))
            )
        except (ValueError, TypeError, RuntimeError) as error:  # torch raises all three for what is no numbers
            raise RuntimeError(f"{self.args.reward.remote_url}: {error}") from error

    def learn(self, graded: Graded, generator: torch.Generator) -> dict[str, float]:
        """Make one PPO step: advantages and optimizer steps. Returns its metrics."""
        rollout, spread = self.rollout(graded)
        lengths = graded.lengths().double()
        # A short rollout: the host leaves out what fills no micro batch, whose responses are others in each epoch.
        left_out = len(lengths) % self.args.train.micro_batch_size if len(lengths) < self.responses else 0
        taken = len(lengths) - left_out
        orders = [
            torch.randperm(len(lengths), generator=generator)[:taken].tolist()
            for _ in range(self.args.train.max_epochs)
        ]
        status = self.updater.update(rollout, orders)
        return {
            "rollout/reward_mean": graded.rewards.mean().item(),
            "rollout/response_length_mean": lengths.mean().item(),
            "rollout/truncated_rate": 1 - sum(response.finished for response in graded.responses) / len(lengths),
            "rollout/num_samples": float(len(lengths)),
            "entropy_loss": math.fsum(response.entropy for response in graded.responses) / lengths.sum().item(),
            **length_metrics(lengths, rollout.lengths, spread),
            **self.maker.logs,
            **status,
        }

    def rollout(self, graded: Graded) -> tuple[Rollout, torch.Tensor]:
        """The training data, with the host's own advantages, and [N] the standard deviation of the rewards of each response's group."""
        lengths = graded.lengths()
        truncated = torch.tensor([not response.finished for response in graded.responses])
        mask = torch.arange(int(lengths.max()))[None] < lengths[:, None]
        experience = Experience(
            action_mask=mask,
            rewards=graded.rewards.clone(),
            kl=torch.zeros(mask.shape),
            response_length=lengths.float(),
            truncated=truncated,
            index=list(range(len(lengths))),
            prompts=[prompt.text for prompt in graded.prompts],
        )
        # Spread evenly over the tokens of a response: only their sum is asked for.
        energies = torch.tensor([response.energy for response in graded.responses])
        self.maker.energies = [mask * (energies / lengths)[:, None]]
        self.maker.compute_advantages_and_returns([experience])
        self.updater.settings = self.maker.used
        trained = torch.where(truncated, 0, lengths) if self.settings.overlong_filtering else lengths
        rollout = Rollout(
            sequences=[p.token_ids + r.tokens for p, r in zip(graded.prompts, graded.responses, strict=True)],
            prompt_lengths=[len(prompt.token_ids) for prompt in graded.prompts],
            lengths=trained,
            advantages=experience.advantages[:, 0],
        )
        return rollout, experience.info["group_reward_std"]

    def evaluate(self, step: int) -> dict[str, float]:
        """Accuracy on --eval.dataset, under the host's names. The random numbers of a step are the same for every method."""
        n = self.args.eval.n_samples_per_prompt
        generator = torch.Generator(self.model.device).manual_seed(1_000_003 * self.args.train.seed + step)
        graded = self.respond(self.inputs.held_out, n, self.args.eval.temperature, generator)
        found: dict[str, float] = {}
        for name in dict.fromkeys(prompt.datasource for prompt in self.inputs.held_out):
            rows = [i for i, prompt in enumerate(graded.prompts) if prompt.datasource == name]
            rewards = graded.rewards[rows].view(-1, n)
            found[f"eval_{name}_pass{n}"] = rewards.amax(-1).mean().item()
            found[f"eval_{name}_pass1"] = rewards.mean().item()
            found[f"eval_{name}_response_length_mean"] = graded.lengths()[rows].sum().item() / len(rows)
        return {**found, "eval_num_samples": float(len(graded.responses))}


class _Advantages(DeltaLExperienceMaker):
    """The advantages of outcome rewards (length penalties, reward clip, baselines), without the host's workers."""

    def __init__(self, args: Arguments) -> None:
        constant = SimpleNamespace(value=0.0)
        super().__init__(None, None, None, None, constant, SimpleNamespace(args=args), None)
