"""Reward and agent files that the engines could not use are found before Ray starts, in a process of their own."""

import functools
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
from support.processes import running_children

from deltal_openrlhf.rewards import math_reward
from deltal_openrlhf.train import user_files
from deltal_openrlhf.train.user_files import check_user_files

GOOD = "def reward_func(queries, prompts, labels, **more): ...\n"
AGENT = "from openrlhf.utils.agent import AgentExecutorBase, MultiTurnAgentExecutor, AgentInstanceBase\n"
WHOLE = """
class Instance(AgentInstanceBase):
    def __init__(self): ...
    async def step(self, states, **_): ...

class AgentExecutor(MultiTurnAgentExecutor):
    def __init__(self):
        super().__init__(Instance)
"""


REAL_FAULT = user_files._fault


def arguments(reward=None, agent=None, wait=None):
    return SimpleNamespace(
        deltal=SimpleNamespace(reward_wait=wait),
        reward=SimpleNamespace(remote_url=reward and str(reward)),
        train=SimpleNamespace(agent_func_path=agent and str(agent)),
    )


def said(path: Path, kind: str = "reward") -> str:
    """What a start says about the file, without its flag and path; "" if nothing."""
    flag = {"reward": "--reward.remote_url", "agent": "--train.agent_func_path"}[kind]
    try:
        check_user_files(arguments(**{kind: path}))
    except ValueError as error:
        assert "\n" not in str(error)
        assert str(error).startswith(f"{flag} {path}: ")
        return str(error).removeprefix(f"{flag} {path}: ")
    return ""


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("\nimport no_such_package\n" + GOOD, "line 2: ModuleNotFoundError: No module named 'no_such_package'"),
        ("def reward_func(queries:\n    return\n", "line 1: SyntaxError: '(' was never closed"),
        ("def f():\n    return 1 / 0\n\nf()\n", "line 2: ZeroDivisionError: division by zero"),
        ("raise SystemExit('not\\ntoday')\n", "line 1: SystemExit: not today"),
        ("def reward(queries, prompts, labels): ...\n", "it has no function reward_func(queries, prompts, labels)"),
        ("reward_func = 3\n", "it has no function reward_func(queries, prompts, labels)"),
        (
            "def reward_func(queries, labels): ...\n",
            "reward_func(queries, labels) is called with (queries, prompts, labels): too many positional arguments",
        ),
        ("async " + GOOD, "reward_func is async, allowed is a plain function"),
        (GOOD, None),
    ],
)
def test_reward_files(text, says, tmp_path):
    """In this process: one of its own would take a second for each."""
    path = tmp_path / "reward.py"
    path.write_text(text)
    assert user_files.look("reward", str(path)) == says


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("import os\nos.kill(os.getpid(), 11)\n", "its import ends the process (SIGSEGV)"),
        (
            "import threading, time\nprint('said')\nthreading.Thread(target=time.sleep, args=(600,)).start()\n" + GOOD,
            "",
        ),
    ],
)
def test_reward_files_in_a_process_of_their_own(text, says, tmp_path, capfd):
    path = tmp_path / "reward.py"
    path.write_text(text)
    assert said(path) == says
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (AGENT, "it has no class AgentExecutor"),
        ("class AgentExecutor: ...\n", "its AgentExecutor does not derive from openrlhf.utils.agent.AgentExecutorBase"),
        (AGENT + "class AgentExecutor(AgentExecutorBase): ...\n", "its AgentExecutor lacks execute"),
        (AGENT + WHOLE, ""),
        (
            AGENT + WHOLE.replace("__init__(self):\n", "__init__(self, size):\n"),
            "AgentExecutor(size) is called with (): missing a required argument: 'size'",
        ),
    ],
)
def test_agent_files(text, says, tmp_path):
    path = tmp_path / "agent.py"
    path.write_text(text)
    assert user_files.look("agent", str(path)) == (says or None)


def test_an_import_that_hangs_is_ended_with_all_that_it_started(tmp_path):
    path = tmp_path / "reward.py"
    path.write_text(
        "import subprocess, sys, time\n"
        f"child = subprocess.Popen(['sleep', '600'])\nopen({str(tmp_path / 'pid')!r}, 'w').write(str(child.pid))\n"
        "time.sleep(600)\n"
    )
    begun = time.monotonic()
    with pytest.raises(
        ValueError, match="reward.py: its import does not end within 8 s; a larger --deltal.reward_wait"
    ):
        check_user_files(arguments(path), limit=8)
    assert time.monotonic() - begun < 60
    child = int((tmp_path / "pid").read_text())
    psutil.wait_procs([psutil.Process(child)] if psutil.pid_exists(child) else [], timeout=10)
    assert not psutil.pid_exists(child) or psutil.Process(child).status() == psutil.STATUS_ZOMBIE
    assert not [words for _, words in running_children() if str(path) in words]


def test_a_reward_file_that_loads_a_judge_has_as_long_as_a_reward(tmp_path, monkeypatch):
    limits = []
    monkeypatch.setattr(user_files, "_fault", lambda kind, path, limit, version: limits.append(limit))
    path = tmp_path / "file.py"
    path.touch()
    for wait in (None, 5.0, 600.0):
        check_user_files(arguments(reward=path, wait=wait))
    check_user_files(arguments(agent=path))
    assert limits == [120.0, 120.0, 600.0, 120.0]


def test_a_file_is_asked_about_again_once_it_changed(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(user_files, "_fault", functools.cache(lambda *question: asked.append(question)))
    for text in (GOOD, GOOD + "# changed"):
        (tmp_path / "reward.py").write_text(text)
        check_user_files(arguments(tmp_path / "reward.py"))
        check_user_files(arguments(tmp_path / "reward.py"))
    assert len(asked) == 2
    assert hasattr(REAL_FAULT, "cache_info")


def test_what_needs_no_process(tmp_path, monkeypatch):
    monkeypatch.setattr(user_files, "_fault", lambda *_: pytest.fail("a process was started"))
    check_user_files(arguments(math_reward.__file__))
    check_user_files(arguments("http://127.0.0.1:1/get_reward"))
    check_user_files(arguments())
    check_user_files(arguments(tmp_path / "missing.py"))
    with pytest.raises(
        ValueError,
        match="^--train.agent_func_path is agent.txt, allowed is a .py file with AgentExecutor, or deltal:countdown-calculator$",
    ):
        check_user_files(arguments(agent="agent.txt"))
    assert "reward_func" not in sys.modules
