"""What an executor gives for a response, in the host's own executors: rewards, scores, logs, and whether it was cut off."""

import asyncio
from types import SimpleNamespace

import pytest
import torch
from openrlhf.trainer.ppo_utils.experience import Experience
from openrlhf.trainer.ppo_utils.samples_generator import SamplesGenerator
from openrlhf.utils.agent import AgentExecutorBase, AgentInstanceBase, MultiTurnAgentExecutor
from support.host_arguments import host_arguments
from support.reward_service import Service

from deltal_openrlhf.host import responses, sampling
from deltal_openrlhf.host.experience_maker import DeltaLExperienceMaker
from deltal_openrlhf.host.extra_logs import take_uneven
from deltal_openrlhf.host.responses import CheckedExecutor
from deltal_openrlhf.host.reward import DeltaLRolloutRayActor, RewardedExecutor, RewardSource

NAN = float("nan")


class Words:
    """A tokenizer and an engine: a token is a letter, and every turn of the policy says "ab"."""

    def __init__(self, finish: str = "stop"):
        self.finish = finish

    def __call__(self, text, **_):
        return {"input_ids": torch.tensor([[ord(letter) for letter in text]])}

    def decode(self, tokens, **_):
        return "".join(map(chr, tokens))

    async def generate(self, *_, **__):
        await asyncio.sleep(0)  # the turns of several episodes alternate
        return SimpleNamespace(
            outputs=[SimpleNamespace(token_ids=[97, 98], text="ab", finish_reason=self.finish, logprobs=None)]
        )


class Agent(AgentInstanceBase):
    """Ends its episode after so many turns as the label says; the environment answers "???"."""

    def __init__(self):
        self.turns = 0

    async def step(self, states, **_):
        self.turns += 1
        rewards, done = torch.tensor(1.0), self.turns >= int(states["label"])
        return {"rewards": rewards, "environment_feedback": "???", "done": done}


def run(executor, label="1", max_length=12, finish="stop"):
    words = Words(finish)
    params = SimpleNamespace(max_tokens=None, logprobs=None)
    return executor.execute(
        prompt="p",
        label=label,
        sampling_params=params,
        max_length=max_length,
        hf_tokenizer=words,
        llm_engine=words,
        images=None,
    )


def checked(executor, source="agent.py", needs_truncated=False):
    return CheckedExecutor(executor, source, needs_truncated=needs_truncated)


@pytest.mark.parametrize(
    ("turns", "max_length", "finish", "hosts", "cut"),
    [
        (9, 12, "stop", False, True),  # 1 + 5 + 5 tokens, and the third turn fills the context
        (9, 11, "stop", False, True),  # the environment's answer fills it to the last token
        (2, 11, "stop", False, False),  # full, and at its end
        (1, 4, "stop", False, False),  # at its end, whose answer is cut
        (2, 99, "stop", False, False),
        (1, 99, "length", True, True),
    ],
)
def test_an_episode_that_the_context_cuts_is_truncated(turns, max_length, finish, hosts, cut):
    stock = MultiTurnAgentExecutor(Agent)
    assert asyncio.run(run(stock, str(turns), max_length, finish))["truncated"] is hosts
    assert asyncio.run(run(checked(MultiTurnAgentExecutor(Agent)), str(turns), max_length, finish))["truncated"] is cut


def test_episodes_at_the_same_time_are_told_apart():
    executor = checked(MultiTurnAgentExecutor(Agent))

    async def several():
        return await asyncio.gather(*(run(executor, label) for label in ("9", "2", "1", "8")))

    assert [output["truncated"] for output in asyncio.run(several())] == [True, False, False, True]


class Custom(AgentExecutorBase):
    """A user's executor. changes: in what it gives; a field that becomes ... is left out."""

    def __init__(self, **changes):
        self.changes = changes

    async def execute(self, prompt, label, **_):
        output = {"prompt": prompt, "label": label, "observation_tokens": [1, 2], "action_ranges": [(1, 2)]}
        output |= {"rollout_log_probs": None, "reward": 1, "scores": 0.5, "truncated": False} | self.changes
        return {name: value for name, value in output.items() if value is not ...}


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"scores": NAN}, "no reward from agent.py: it gave the score nan, allowed is one finite number"),
        ({"scores": None}, "no reward from agent.py: it gave the scores 'None', allowed is one finite number"),
        ({"reward": torch.tensor(-torch.inf)}, "no reward from agent.py: it gave the reward -inf, allowed"),
        ({"reward": "high"}, "no reward from agent.py: it gave the rewards 'high', allowed"),
        ({"reward": [0.5, 1.0]}, "no reward from agent.py: it gave 2 reward(s) for 1 response(s), allowed is one"),
        ({"reward": ...}, "no reward from agent.py: it gave the rewards 'None', allowed"),
        ({"action_ranges": ..., "label": ...}, "agent.py gave a response without label, action_ranges"),
        (
            {"truncated": ...},
            "agent.py gave a response without truncated, which says whether it was cut off: --deltal.",
        ),
    ],
)
def test_an_agent_that_gives_what_cannot_be_trained_on_stops_the_run(changes, says):
    with pytest.raises(RuntimeError) as error:
        asyncio.run(run(checked(Custom(**changes), needs_truncated=True)))
    assert str(error.value).startswith(says) and "\n" not in str(error.value)


def test_the_score_of_a_response_without_one_is_its_reward():
    assert asyncio.run(run(checked(Custom(scores=..., reward=0.25))))["scores"] == 0.25


def test_a_response_of_a_user_need_not_say_whether_it_was_cut_where_nobody_asks():
    output = asyncio.run(run(checked(Custom(truncated=...))))
    assert (output["reward"], output["scores"], output["extra_logs"]) == (1.0, 0.5, {})
    assert all(isinstance(output[name], float) for name in ("reward", "scores"))


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (
            "{'rewards': torch.ones(1), 'scores': torch.tensor([float('nan')])}",
            "reward_func gave the score nan, allowed",
        ),
        ("{'rewards': torch.ones(1), 'scores': ['good']}", "reward_func gave the scores \"['good']\", allowed is one"),
        ("{'rewards': torch.ones(1), 'scores': [0, 1]}", "reward_func gave 2 score(s) for 1 response(s), allowed"),
        ("{'rewards': [float('inf')]}", "reward_func gave the reward inf, allowed is one finite number"),
        ("{'rewards': 'high'}", "reward_func gave the rewards 'high', allowed is one finite number"),
        ("{'rewards': [None]}", "reward_func gave the rewards '[None]', allowed"),
        ("{'rewards': torch.ones(2, 2)}", "reward_func gave 4 reward(s) for 1 response(s), allowed"),
        ("{'rewards': []}", "reward_func gave 0 reward(s) for 1 response(s), allowed"),
        ("[1.0]", "reward_func gave '[1.0]', allowed is a dict with rewards"),
        ("None", "reward_func gave 'None', allowed is a dict with rewards"),
    ],
)
def test_a_reward_file_that_gives_no_number_stops_the_run(answer, says, tmp_path):
    file = tmp_path / "reward.py"
    file.write_text(f"import torch\ndef reward_func(queries, prompts, labels, **_):\n    return {answer}\n")
    with pytest.raises(RuntimeError) as error:
        asyncio.run(run(RewardedExecutor(RewardSource([str(file)], 5, "none"))))
    assert str(error.value).startswith(f"no reward from {file}: ValueError: {says}")
    assert "\n" not in str(error.value)


# ── extra_logs ──

LOGS = """
import torch
def reward_func(queries, prompts, labels, **_):
    logs = {"length": torch.tensor([len(queries[0])]), "as list": [0.5], "yes": True, **LABEL}
    return {"rewards": torch.ones(1), "extra_logs": logs if LABEL is not None else "none"}
"""
BAD = '{"text": "fine", "nothing": None, "two": [1, 2], "nan": float("nan"), "reward": 3.0, "deltal/ess": 1.0, 7: 1.0}'


def experience(output):
    """As the host's generator makes it of an executor's output."""
    generator = SamplesGenerator.__new__(SamplesGenerator)
    return generator._process_response_into_experience(output, max_len=99)


def test_logs_that_are_no_numbers_are_left_out_and_said_once(tmp_path, monkeypatch):
    said = []
    monkeypatch.setattr(responses.logger, "warning", said.append)
    file = tmp_path / "reward.py"
    file.write_text(LOGS.replace("LABEL", BAD))
    executor = checked(RewardedExecutor(RewardSource([str(file)], 5, "none")), str(file))
    for _ in range(2):
        output = asyncio.run(run(executor))
    assert output["extra_logs"] == {"length": 3.0, "as list": 0.5, "yes": 1.0}
    assert experience(output).info.keys() == {"response_clip_ratio", "reward", "score", "length", "as list", "yes"}
    assert len(said) == 7 and all(line.startswith(f"{file}: ") for line in said)
    assert (
        f"{file}: extra_logs 'text' is 'fine', allowed is one finite number; it is left out of the metrics, " in said[0]
    )
    assert "extra_logs has the key 'reward', which is not a name of its own" in said[4]


def test_logs_that_are_no_dict_are_left_out_from_files_and_services(tmp_path, monkeypatch):
    said = []
    monkeypatch.setattr(responses.logger, "warning", said.append)
    file = tmp_path / "reward.py"
    file.write_text(LOGS.replace("**LABEL", "").replace("LABEL", "None"))
    assert asyncio.run(run(checked(RewardedExecutor(RewardSource([str(file)], 5, "none")), "a")))["extra_logs"] == {}
    with Service({"rewards": [1.0], "extra_logs": ["x"]}) as service:
        executor = RewardedExecutor(RewardSource([service.address], 5, "none"))

        async def once():
            output = await run(checked(executor, "b"))
            await executor.client.close()
            return output

        assert asyncio.run(once())["extra_logs"] == {}
    assert [line.partition(", ")[0] for line in said] == [
        "a: extra_logs is 'none'",
        "b: extra_logs is \"['x']\"",
    ]


def test_logs_that_only_some_responses_have_are_means_over_those():
    outputs = [asyncio.run(run(checked(Custom(extra_logs=logs)))) for logs in ({"a": 1, "b": 2}, {"b": 4.5, "c": 6})]
    outputs.append(asyncio.run(run(checked(Custom(extra_logs={"b": 1, "a": 4})))))
    samples = [experience(output) for output in outputs]
    assert take_uneven(samples) == {"a": 2.5, "c": 6.0}
    assert torch.equal(Experience.concat_experiences(samples, 0).info["b"], torch.tensor([2.0, 4.5, 1.0]))
    assert take_uneven(samples) == {}


# ── Length penalties ──


@pytest.mark.parametrize(
    ("flags", "wanted"),
    [
        # 4 sampled tokens at most, the last 2 are punished: by 0, 0.5, 1; the last response was cut off early.
        ("--rollout.max_new_tokens 4 --reward.overlong_buffer_len 2", [1.0, 0.5, 0.0, 0.0]),
        # An agent's episode may have --data.max_len tokens, whatever one turn may have.
        (
            "--rollout.max_new_tokens 2 --reward.overlong_buffer_len 2 --train.agent_func_path a.py --data.max_len 4",
            [1.0, 0.5, 0.0, 0.0],
        ),
        ("--rollout.max_new_tokens 4 --reward.stop_properly_penalty_coef 0.25", [1.0, 1.0, 1.0, 0.25]),
    ],
)
def test_a_response_that_was_cut_off_is_punished_as_the_longest(flags, wanted):
    def sample(number, length, truncated):
        mask = (torch.arange(4) < length).long()[None]
        return Experience(
            action_mask=mask,
            rewards=torch.ones(1),
            kl=torch.zeros(mask.shape),
            response_length=torch.tensor([length]),
            truncated=torch.tensor([truncated]),
            index=[number],
            info={"reward": torch.ones(1)},
        )

    sizes = "--algo.advantage.estimator group_norm --rollout.n_samples_per_prompt 4"
    args = host_arguments(*sizes.split(), *flags.split())
    strategy, constant = SimpleNamespace(args=args), SimpleNamespace(value=0.0)
    lengths = [(2, False), (3, False), (4, False), (1, True)]
    samples = [sample(number, *how) for number, how in enumerate(lengths)]
    DeltaLExperienceMaker(None, None, None, None, constant, strategy, None).compute_advantages_and_returns(samples)
    assert [s.rewards.item() for s in samples] == wanted
    assert [s.info["reward"].item() for s in samples] == wanted
    assert [s.response_length.item() for s in samples] == [2, 3, 4, 1]


@pytest.mark.parametrize(
    ("agent", "endpoints", "source"),
    [(None, ["r.py"], "r.py"), ("agent.py", ["agent"], "agent.py"), (None, None, None)],
)
def test_engines_check_whatever_executor_they_have(agent, endpoints, source, monkeypatch):
    async def start(self, *args, agent_func_path, remote_rm_url, **_):
        self.executor = Custom(scores=NAN)

    monkeypatch.setattr(sampling.SeededRolloutActor, "__init__", start)
    engine = DeltaLRolloutRayActor.__new__(DeltaLRolloutRayActor)
    asyncio.run(engine.__init__(agent_func_path=agent, remote_rm_url=RewardSource(endpoints, 5, "none")))
    response = run(engine.executor)
    if source is None:  # a reward model gives it later
        assert asyncio.run(response)["reward"] == 1
    else:
        with pytest.raises(RuntimeError, match=f"^no reward from {source}: it gave the score nan"):
            asyncio.run(response)
