"""--alpha auto in a run: what workers train with, and what a killed run goes on with."""

import random
from dataclasses import replace

import pytest
import torch
from support.controllers import Disk, Maker, run
from support.host_arguments import host_arguments

from deltal_openrlhf.host.settings import LossSettings
from deltal_openrlhf.parity import run_on_ranks
from deltal_openrlhf.parity.cases import GROUP_SIZE, Case

FLAGS = "--alpha auto --deltal.alpha_window 2".split()
KINDS = {"sync": (), "async": ("--train.async_enable",)}
SIZES = "--actor.model_name_or_path none --data.prompt_dataset none --rollout.n_samples_per_prompt 4 --loss_agg deltal".split()


def test_flags():
    settings = LossSettings.from_args(host_arguments(*SIZES, "--alpha", "auto"))
    assert (settings.alpha, settings.alpha_window, settings.needs_energies) == (0.75, 10, True)
    assert settings.describe().startswith("∆L is active: alpha auto (from 0.75, every 10 rollouts), scope step")
    fixed = LossSettings.from_args(host_arguments(*SIZES, "--alpha", "0.75"))
    assert (fixed.alpha_window, fixed.needs_energies) == (None, False)
    assert settings.differences(fixed.to_dict()) == ["alpha_window: saved None, now 10"]
    with pytest.raises(
        ValueError, match="--deltal.alpha_window is 3, but --alpha is not auto; it is allowed with that only"
    ):
        LossSettings.from_args(host_arguments(*SIZES, "--deltal.alpha_window", "3"))


@pytest.mark.parametrize("kind", KINDS)
def test_a_killed_run_goes_on_with_the_alphas_of_one_that_was_not(kind):
    def alphas(disk, **world):
        Maker.alphas.clear()
        ended = run(disk, *KINDS[kind], *FLAGS, prompts=32, order=random.Random(1), **world)
        assert ended == ("moments" not in world)
        return list(Maker.alphas)

    whole = alphas(Disk())
    assert len(whole) == 8 and whole[0] == 0.75 and len(set(whole)) > 2
    resumed = set()
    for moments in (40, 60, 90):
        disk = Disk()
        first = alphas(disk, moments=moments)
        assert first == whole[: len(first)] and disk.latest
        rest = alphas(disk)
        assert rest == whole[-len(rest) :]
        resumed.add(len(rest))
    assert len(resumed) > 1 and max(resumed) < 8


def trained(rank, world, case, alpha, mixed):
    """The parameters after the case's steps, with the alpha that the driver sends. mixed: one response has another."""
    from deltal_openrlhf.host.scope_means import ALPHA_KEY, attach_scope_means
    from deltal_openrlhf.parity import host_update

    trainer = host_update.build_trainer(case)
    in_force = trainer.settings
    if alpha is not None:
        trainer.settings = replace(trainer.settings, alpha=0.9, alpha_window=10)
        in_force = replace(trainer.settings, alpha=alpha)
    samples = host_update.experiences(case)
    attach_scope_means(samples, in_force, GROUP_SIZE)
    if mixed:
        samples[3].info[ALPHA_KEY] = torch.tensor([0.5], dtype=torch.float64)
    for sample in samples[rank::world]:
        trainer.replay_buffer.append(sample)
    try:
        trainer.ppo_train(0.0)
    except RuntimeError as error:
        return str(error)
    return torch.cat([p.flatten() for p in host_update.parameters(trainer.actor).values()])


def runs(rank):
    found = []
    for case in (Case(micro=2, world=2), Case(dynamic=True, world=2), Case(micro=2, steps=2, world=2, scope="rollout")):
        sent = trained(rank, 2, case, 0.25, False)
        same, other = (trained(rank, 2, replace(case, alpha=alpha), None, False) for alpha in (0.25, 0.9))
        found.append([torch.equal(sent, same), (sent - other).abs().max().item()])
    return found, trained(rank, 2, Case(micro=2, world=2), 0.25, True)


@pytest.mark.timeout(200)
def test_every_rank_trains_with_the_alpha_that_the_driver_sends():
    for found, message in run_on_ranks(2, runs, timeout=150):
        assert [same for same, _ in found] == [True] * 3
        assert all(difference > 1e-3 for _, difference in found)
        assert message == "one optimizer step has responses with the alphas [0.25, 0.5], allowed is one"
