"""OPO and the optimal token baseline against loops written out, and the energies of tokens against gradients."""

import random
import statistics
from types import SimpleNamespace

import pytest
import torch

from deltal_openrlhf.parity import run_on_ranks

GROUP, PROMPTS, LONGEST = 4, 3, 9


def rollout(seed):
    """(experiences, energies): batches of uneven size in any order, with holes and one empty response. And the responses one by one."""
    from openrlhf.trainer.ppo_utils.experience import Experience

    rng, generator = random.Random(seed), torch.Generator().manual_seed(seed)
    numbers = rng.sample(range(GROUP * PROMPTS), GROUP * PROMPTS)
    experiences, energies, responses = [], [], {}
    for part in (numbers[:3], numbers[3:8], numbers[8:]):
        mask = torch.rand(len(part), LONGEST, generator=generator) < 0.6
        mask[torch.tensor(part) == 5] = False
        rewards, energy = torch.rand(len(part), generator=generator), torch.rand(mask.shape, generator=generator)
        experiences.append(
            Experience(
                index=part,
                action_mask=mask,
                rewards=rewards.clone(),
                kl=torch.zeros(mask.shape),
                response_length=mask.sum(-1).float(),
                truncated=torch.zeros(len(part), dtype=torch.bool),
                prompts=[f"prompt {number // GROUP}" for number in part],
                info={},
            )
        )
        energies.append(energy * mask)
        for row, number in enumerate(part):
            w = [energy[row, t].item() for t in range(LONGEST) if mask[row, t]]
            responses[number] = (rewards[row].item(), w)
    return experiences, energies, responses


def advantages(experiences, energies, flags):
    """[number][trained token] by the maker of a run."""
    from support.host_arguments import host_arguments

    from deltal_openrlhf.host.experience_maker import DeltaLExperienceMaker

    sizes = f"--actor.model_name_or_path none --data.prompt_dataset none --rollout.n_samples_per_prompt {GROUP} --algo.kl.init_coef 0"
    args = host_arguments(*sizes.split(), "--reward.remote_url", "none", *flags.split())
    constant = SimpleNamespace(value=0.0)
    maker = DeltaLExperienceMaker(None, None, None, None, constant, SimpleNamespace(args=args), None)
    maker.energies = energies
    made = maker.compute_advantages_and_returns(experiences)
    return {number: e.advantages[row][e.action_mask[row]].tolist() for e in made for row, number in enumerate(e.index)}


def prompts_of(responses):
    return [[responses[first + i] for i in range(GROUP)] for first in range(0, GROUP * PROMPTS, GROUP)]


@pytest.mark.parametrize("clip", [10.0, 0.2])
@pytest.mark.parametrize("estimator", ["dr_grpo", "group_norm"])
def test_opo_subtracts_the_mean_reward_weighted_by_length(estimator, clip):
    experiences, energies, responses = rollout(seed=1)
    wanted = []
    for prompt in prompts_of(responses):
        baseline = sum(len(w) * r for r, w in prompt) / sum(len(w) for _, w in prompt)
        scale = statistics.stdev(r for r, _ in prompt) if estimator == "group_norm" else 1.0
        wanted += [[min(max((r - baseline) / scale, -clip), clip)] * len(w) for r, w in prompt]
    flags = f"--algo.advantage.estimator {estimator} --reward.clip_range -{clip} {clip}"
    found = advantages(experiences, energies, f"--deltal.baseline opo {flags}")
    for number, of_tokens in enumerate(wanted):
        assert found[number] == pytest.approx(of_tokens, abs=1e-6)
    assert any(abs(a) == clip for of_tokens in wanted for a in of_tokens) == (clip < 1)
    hosts = advantages(rollout(seed=1)[0], energies, flags)
    assert any(abs(a[0] - hosts[n][0]) > 1e-3 for n, a in found.items() if a)  # negative control: another baseline


@pytest.mark.parametrize("seed", range(3))
def test_otb_has_a_baseline_for_every_token(seed):
    clip = (10.0, 0.2, 10.0)[seed]
    experiences, energies, responses = rollout(seed)
    wanted = []
    for prompt in prompts_of(responses):
        for reward, w in prompt:
            of_tokens = []
            for t in range(len(w)):
                active = [(r, sum(other[: t + 1])) for r, other in prompt if len(other) > t]
                mean = sum(r * summed for r, summed in active) / sum(summed for _, summed in active)
                advantage = reward - (mean if len(active) > 1 else 0.0)
                of_tokens.append(min(max(advantage, -clip), clip))
            wanted.append(of_tokens)
    flags = f"--deltal.baseline otb --algo.advantage.estimator dr_grpo --reward.clip_range -{clip} {clip}"
    found = advantages(experiences, energies, flags)
    for number, of_tokens in enumerate(wanted):
        assert found[number] == pytest.approx(of_tokens, abs=1e-6)
    equal = advantages(rollout(seed)[0], [e.bool().float() for e in energies], flags)
    assert any(max(map(abs, torch.tensor(a) - torch.tensor(equal[n]))) > 1e-3 for n, a in found.items() if a)


def workers_forward(rank):
    """[whether the log-probabilities stay, largest difference of energies from autograd's, the largest], of padded and of packed rows."""
    from openrlhf.models import Actor
    from torch.nn.utils.rnn import pad_sequence

    from deltal_openrlhf.host.actor import DeltaLPolicyModelActor
    from deltal_openrlhf.host.rebind import rebound
    from deltal_openrlhf.parity.cases import make_batch, make_model

    actor = Actor(make_model(lora=False))
    actor.temperature, actor.is_vlm = 1.0, False
    rows = make_batch(holes=True)[:6]
    ids = pad_sequence([row["ids"] for row in rows], batch_first=True)
    attention = pad_sequence([torch.ones_like(row["ids"]) for row in rows], batch_first=True)
    mask = pad_sequence([row["mask"] for row in rows], batch_first=True)
    worker = object.__new__(DeltaLPolicyModelActor)
    worker.actor, worker.strategy = actor, SimpleNamespace(ring_attn_group=None)
    settings = SimpleNamespace()
    worker.trainer = SimpleNamespace(settings=settings)
    wanted = torch.zeros(mask.shape)
    for i, row in enumerate(rows):
        logits = actor.model(row["ids"][None]).logits[0, :-1].detach().requires_grad_()
        chosen = logits.log_softmax(-1).gather(-1, row["ids"][1:, None]).sum()
        gradient = torch.autograd.grad(chosen, logits)[0]
        wanted[i, : len(logits)] = gradient.square().sum(-1) * row["mask"]
    found = []
    for actor.packing_samples in (False, True):
        with rebound(torch.cuda, "current_device", lambda: "cpu"):
            settings.needs_energies = True
            scored = worker.forward(ids, mask, attention)
            settings.needs_energies = False
            plain = worker.forward(ids, mask, attention)
        apart = (scored.energies - wanted).abs().max().item()
        found.append([torch.equal(scored.log_probs, plain), apart, wanted.max().item()])
    return found


@pytest.mark.timeout(120)
def test_the_energy_of_a_token_is_the_squared_gradient_in_its_logits():
    for same, difference, largest in run_on_ranks(1, workers_forward, timeout=60)[0]:
        assert same
        assert difference <= 1e-6 < 0.1 < largest
