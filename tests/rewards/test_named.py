"""Our reward files are known by their names and by their paths, also where the package is reached through a link."""

import subprocess
import sys
from pathlib import Path

import pytest

from deltal_openrlhf.rewards import named

ROOT = Path(__file__).parents[2]
LINKED = """
import sys
from types import SimpleNamespace
link = sys.path[0] = sys.argv[1]
from deltal_openrlhf.rewards import named
from deltal_openrlhf.train import user_files

path = f"{link}/deltal_openrlhf/rewards/math_reward.py"
assert named.__file__ == path.replace("math_reward", "named")
user_files._fault = lambda *given: "a process was started for it"
deltal, train = SimpleNamespace(reward_wait=None), SimpleNamespace(agent_func_path=None)
user_files.check_user_files(SimpleNamespace(deltal=deltal, train=train, reward=SimpleNamespace(remote_url=path)))
print(named.known(path), named.known(named.located("deltal:countdown")))
"""


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("deltal:math", "deltal:math"),
        (str(ROOT / "deltal_openrlhf" / "rewards" / "countdown_reward.py"), "deltal:countdown"),
        ("deltal:mth", None),
        ("mine/math_reward.py", None),
        ("http://127.0.0.1:1/math_reward.py", None),
        ("", None),
        (None, None),
    ],
)
def test_names_and_paths_of_our_files_are_known(source, name):
    assert named.known(source) == name


def test_a_package_behind_a_link_knows_its_files(tmp_path):
    link = tmp_path / "link"
    link.symlink_to(ROOT)
    ended = subprocess.run([sys.executable, "-c", LINKED, str(link)], capture_output=True, text=True, timeout=60)
    assert ended.stdout.split() == ["deltal:math", "deltal:countdown"], ended.stderr
