"""Shipped files by name, from any folder, and our reward files by theirs."""

import pytest

from deltal_openrlhf.rewards import named
from deltal_openrlhf.rewards.reward_file import load_reward_function
from deltal_openrlhf.runs import shipped
from deltal_openrlhf.runs.yaml_values import read_with_lines, read_yaml


@pytest.fixture(autouse=True)
def empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", ["countdown-deltal", "countdown-deltal.yaml", "overlays/8gpu", "models/qwen2.5-32b"])
def test_a_shipped_file_is_found_with_and_without_its_ending(name):
    path = shipped.located(name)
    assert path.is_absolute() and path.with_suffix("").as_posix().endswith(name.removesuffix(".yaml"))


def test_a_file_that_exists_wins_over_a_shipped_one_and_a_folder_does_not(empty_folder):
    (empty_folder / "countdown-deltal").mkdir()
    assert shipped.located("countdown-deltal") == shipped.folder() / "countdown-deltal.yaml"
    (empty_folder / "math-deltal").write_text("alpha: 0.5\n")
    assert read_yaml("math-deltal") == {"alpha": 0.5}


def test_messages_name_a_shipped_file_as_it_was_asked_for():
    assert read_with_lines("overlays/8gpu")["actor.num_nodes"].where == "overlays/8gpu:3"


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("countdown-detal", "the nearest known one is 'countdown-deltal'"),
        ("8gpu", "the nearest known one is 'overlays/8gpu'"),
        ("compare/contdown.yaml", "the nearest known one is 'compare/countdown'"),
        ("../setup", "`deltal recipes` lists them"),
    ],
)
def test_an_unknown_name_gets_the_nearest_one(name, hint):
    with pytest.raises(ValueError) as error:
        shipped.located(name)
    assert str(error.value) == f"{name}: no such file, and no shipped recipe has this name; {hint}"


def test_in_a_wheel_the_files_lie_inside_the_package(tmp_path, monkeypatch):
    package = tmp_path / "deltal_openrlhf"
    (package / "configs" / "overlays").mkdir(parents=True)
    (package / "configs" / "overlays" / "a.yaml").write_text("alpha: 1\n")
    monkeypatch.setattr(shipped, "_PACKAGE", package)
    assert list(shipped.names()) == ["overlays/a"]


def test_our_rewards_by_name():
    text = "<answer>1 + 2</answer>"
    reward = load_reward_function("--reward", "deltal:countdown")
    answer = reward([f"Q{text}"], ["Q"], ['{"numbers": [1, 2], "target": 3}'])
    assert answer["rewards"].tolist() == [1.0]
    assert named.located("mine.py") == "mine.py"
    with pytest.raises(ValueError) as error:
        load_reward_function("--reward", "deltal:maths")
    assert str(error.value) == "deltal:maths is not a reward of this package; the nearest known one is 'deltal:math'"
