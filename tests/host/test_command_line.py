"""What the host's command line may look like for its block under __main__ to be run without the rest of its file."""

import sys
from importlib.util import spec_from_file_location

import pytest
from support import commands

from deltal_openrlhf.host import command_line

HOST = """
import argparse
import json as text
import missing.package
from missing import trainer

def pair(value):
    return value, value

def train(args):
    trainer(args)

if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--a", type=lambda word: [text.loads(part) for part in word.split(",")])
    try:
        args = parser.parse_args()
    except OSError as error:
        print(error)
    train(args)
"""
OTHERS = {
    HOST.replace("lambda word:", "pair if __name__ else lambda word:"): "uses its own pair in the block",
    HOST.replace('"--a"', "FLAG"): "uses its own FLAG in the block",
    HOST.replace("__main__", "main"): "has no block for __main__",
}


@pytest.fixture
def host(monkeypatch, tmp_path):
    def write(text: str):
        (tmp_path / "host.py").write_text(text)
        monkeypatch.setattr(command_line, "find_spec", lambda name: spec_from_file_location(name, tmp_path / "host.py"))
        monkeypatch.setattr(sys, "argv", ["host", "--a", "1,2"])

    return write


def test_the_block_runs_without_the_other_imports_and_functions(host):
    host(HOST)
    assert command_line.parse().a == [1, 2]


@pytest.mark.parametrize("text", OTHERS)
def test_a_block_that_needs_more_of_its_file_is_refused_with_the_hosts_version(host, text):
    host(text)
    with pytest.raises(
        command_line.Changed, match=rf"^openrlhf [\d.]+ {OTHERS[text]}.*; checked against openrlhf"
    ) as error:
        command_line.parse()
    assert "\n" not in str(error.value)


def test_the_command_says_it_in_one_line(tmp_path):
    code = f"""
from importlib.util import spec_from_file_location
from deltal_openrlhf.host import command_line, published
from deltal_openrlhf.train import launch
published.problems_of_host = list
command_line.find_spec = lambda name: spec_from_file_location(name, {str(tmp_path / "host.py")!r})
launch.main(["--dry_run"])
"""
    (tmp_path / "host.py").write_text(HOST.replace('"--a"', "FLAG"))
    ended = commands.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert ended.returncode == 2
    assert ended.stderr.count("\n") == 1
    assert "deltal train: error: openrlhf" in ended.stderr and "uses its own FLAG" in ended.stderr
