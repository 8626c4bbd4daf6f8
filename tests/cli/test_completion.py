"""The completion script in a real bash."""

import subprocess

import pytest

from deltal_openrlhf.cli import completion

ASK = """\
source "$1"; shift
COMP_WORDS=("$@"); COMP_CWORD=$(( $# - 1 )); COMP_LINE="$*"; COMP_POINT=${#COMP_LINE}
_shtab_deltal deltal "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.fixture(scope="module")
def complete(tmp_path_factory):
    """complete(words) -> what bash offers for the last one. It runs without Python on its PATH."""
    with pytest.MonkeyPatch.context() as patch:
        script = tmp_path_factory.mktemp("completion") / "deltal.bash"
        with open(script, "w", encoding="utf-8") as file:
            patch.setattr("sys.stdout", file)
            assert completion.main(["bash"]) == 0

    def complete(*words: str) -> list[str]:
        bash = subprocess.run(
            ["/bin/bash", "-c", ASK, "bash", str(script), "deltal", *words],
            capture_output=True,
            text=True,
            env={"PATH": ""},
            timeout=30,
        )
        assert (bash.returncode, bash.stderr) == (0, "")
        return bash.stdout.split()

    return complete


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (["com"], ["compare", "completion"]),
        (["eval", "--gpu"], ["--gpu_memory_utilization"]),
        (["eval", "--unmarked", "a"], ["answer-line"]),
        (["data", "ma"], ["math"]),
        (["data", "math", "--temp"], ["--template"]),
        (["serve-rewards", "--max_b"], ["--max_batch", "--max_body_mb"]),
        # Of OpenRLHF, and ours.
        (["train", "--actor.adam.l"], ["--actor.adam.lr"]),
        (["train", "--loss_agg", "del"], ["deltal"]),
        (["train", "--config", "math-del"], ["math-deltal"]),
        (["train", "--config", "math-deltal", "--config", "overlays/8"], ["overlays/8gpu"]),
        (["compare", "compare/countdown-"], ["compare/countdown-gpu", "compare/countdown-interactions"]),
        (["nothing-of-the-kind"], []),
    ],
)
def test_what_bash_offers(complete, words, offered):
    assert complete(*words) == offered


def test_another_shell_is_refused(capsys):
    with pytest.raises(SystemExit) as stop:
        completion.main(["tcsh"])
    assert stop.value.code == 2
    assert "invalid choice: 'tcsh'" in capsys.readouterr().err
