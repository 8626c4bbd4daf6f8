"""YAML values with their lines, and what is refused."""

import pytest

from deltal_openrlhf.runs.yaml_values import Value, plain_value, read_with_lines, read_yaml


@pytest.fixture
def write(tmp_path, monkeypatch):
    """write(text) -> the name of a YAML file in the working folder."""
    monkeypatch.chdir(tmp_path)

    def write(text: str) -> str:
        (tmp_path / "a.yaml").write_text(text, encoding="utf-8")
        return "a.yaml"

    return write


def test_values_are_as_written_with_their_lines(write):
    found = read_with_lines(
        write("# a comment\nlr: 1e-6\nactor:\n  'on': off\n  betas:\n    - 0.9\n    - \"1\"\nnone:\n")
    )
    assert found["lr"] == Value("1e-6", "a.yaml:2", True)
    assert found["actor"].where == "a.yaml:3" and found["none"] == Value("", "a.yaml:8", True)
    actor = found["actor"].content
    assert actor["on"] == Value("off", "a.yaml:4", True)
    assert actor["betas"] == Value([Value("0.9", "a.yaml:6", True), Value("1", "a.yaml:7", False)], "a.yaml:5", False)
    assert plain_value(found["actor"]) == {"on": "off", "betas": [0.9, "1"]}


def test_numbers_words_and_texts(write):
    text = "a: [1e-6, .5, -3, +2., 1_000, 0x1]\nb: [true, FALSE, null, ~, , yes, 'true']\nc: {d: '5', e: 5 s}\n"
    assert read_yaml(write(text.replace(" ,", ""))) == {
        "a": [1e-6, 0.5, -3, 2.0, "1_000", "0x1"],
        "b": [True, False, None, None, "yes", "true"],
        "c": {"d": "5", "e": "5 s"},
    }


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "a.yaml: holds no `key: value` lines"),
        ("a\n", "a.yaml:1: holds no `key: value` lines"),
        ("# first\n- a: 1\n", "a.yaml:2: holds no `key: value` lines"),
        ("a: 1\nb: {c: 1,\n c: 2}\n", "a.yaml:3: 'c' is there twice, first in a.yaml:2"),
        ("? [a]\n: 1\n", "a.yaml:1: a key is a name"),
        ("a: 1\n'': 2\n", "a.yaml:2: a key is a name"),
        ("a: 1\n  b: 2\n", "a.yaml:2: not YAML: mapping values are not allowed here"),
        ("a: 1\n---\nb: 2\n", "not YAML: but found another document"),
        ("a: 1\nb: !!int 5\n", "a.yaml:2: the tag 'tag:yaml.org,2002:int' has no meaning here; leave it out"),
        ("a: &a {b: *a}\n", "a.yaml:1: nested too deep"),
        ("a: &a [*a]\n", "a.yaml:1: nested too deep"),
    ],
)
def test_what_is_refused(text, says, write):
    with pytest.raises(ValueError) as error:
        read_yaml(write(text))
    assert says in str(error.value) and "\n" not in str(error.value)


def test_unreadable_files(tmp_path):
    binary = tmp_path / "binary.yaml"
    binary.write_bytes(b"\xff\xfe\x00")
    for path, says in (
        (tmp_path / "none.yaml", "no such file, and no shipped recipe has this name; `deltal recipes` lists them"),
        (tmp_path, "is a folder, and no shipped recipe has this name; `deltal recipes` lists them"),
        (binary, "not UTF-8 text"),
    ):
        with pytest.raises(ValueError) as error:
            read_yaml(str(path))
        assert str(error.value) == f"{path}: {says}"
