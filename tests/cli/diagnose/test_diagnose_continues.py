"""The folder of `deltal diagnose` takes more prompts, and ends as if all had been asked for at once."""

import signal

import numpy as np
import pytest
from support import diagnose_child
from support.diagnose_command import N, assert_same, flags, found, refused, saved_flags

from deltal_openrlhf.cli.diagnose import main
from deltal_openrlhf.diagnostics.folder import GRAM, ROLLOUTS, ROWS
from deltal_openrlhf.diagnostics.sources import drawn

MORE = 18


@pytest.fixture(scope="module")
def at_once(example, tmp_path_factory):
    """The folder of a run with all prompts from the beginning; 18 prompts are four batches of 4 and half a batch."""
    out = tmp_path_factory.mktemp("at_once") / "out"
    with pytest.MonkeyPatch.context() as patch:
        diagnose_child.be_quick(patch.setattr)
        assert main(flags(example, out, prompts=MORE)) == 0
    return out


def copy(folder, to, *without):
    to.mkdir()
    for path in folder.iterdir():
        if path.is_file() and path.name not in without:
            (to / path.name).write_bytes(path.read_bytes())
    return to


def test_a_larger_draw_begins_with_the_smaller_one():
    items = list(range(40))
    whole = drawn(items, 40, seed=3)
    assert sorted(whole) == items != whole
    assert all(drawn(items, count, seed=3) == whole[:count] for count in range(40))
    assert drawn(items, 40, seed=4) != whole
    firsts = np.bincount([drawn(items, 1, seed)[0] for seed in range(4000)], minlength=40)
    assert ((firsts - 100) ** 2 / 100).sum() < 73  # chi-squared with 39 degrees of freedom: 99.9 %


@pytest.mark.parametrize("first", [9, 12], ids=["within a batch", "after a batch"])
def test_more_prompts_end_bit_for_bit_as_all_at_once(first, example, at_once, tmp_path, quick, capsys):
    out = tmp_path / "out"
    assert main(flags(example, out, prompts=first)) == 0
    rows = (out / ROWS).read_bytes()
    assert len(found(out)[0]["rewards"]) == first * N
    capsys.readouterr()
    assert main(flags(example, out, prompts=MORE)) == 0
    said = capsys.readouterr().out
    assert f"adds {MORE - first} prompts to the {first} that " in said
    assert f"gradients: {first * N + 1}/{MORE * N}" in said or f"gradients: {MORE * N}/{MORE * N}" in said
    assert (out / ROWS).read_bytes().startswith(rows), "old gradients were not kept"
    assert_same(out, at_once)


def test_an_interrupted_continuation_resumes(example, finished, at_once, tmp_path, quick):
    """kill -9 while the new gradients are computed; before them, right after the old Gram matrices are gone."""
    out, log = copy(finished, tmp_path / "out"), tmp_path / "log"
    process = diagnose_child.start(flags(example, out, prompts=MORE), log)
    before = (out / ROWS).stat().st_size
    while (out / ROWS).stat().st_size == before and process.exitcode is None:
        process.join(0.001)
    process.kill()
    process.join()
    assert process.exitcode == -signal.SIGKILL, log.read_text()
    assert not (out / GRAM).exists() and (out / ROWS).stat().st_size > before
    assert main(flags(example, out, prompts=MORE)) == 0
    assert_same(out, at_once)
    early = copy(finished, tmp_path / "early", GRAM)
    assert main(flags(example, early, prompts=MORE)) == 0
    assert_same(early, at_once)


def test_gradients_that_were_removed_are_computed_again(example, finished, at_once, tmp_path, quick):
    out = copy(finished, tmp_path / "out", ROWS)
    assert main(flags(example, out, prompts=MORE)) == 0
    assert_same(out, at_once)


def test_fewer_prompts_and_other_settings_are_refused(example, finished, at_once, capsys):
    before = {path.name: path.read_bytes() for path in at_once.iterdir()}
    said = refused(capsys, flags(example, at_once))
    assert f"the diagnosis there has {MORE} prompts, --prompts is 12; allowed are {MORE} and more" in said
    said = refused(capsys, flags(example, at_once, prompts=MORE + 1, seed=1))
    assert "begun with --seed 0, not 1" in said
    assert {path.name: path.read_bytes() for path in at_once.iterdir()} == before
    # A file of other prompts: what the folder holds is not the beginning of the new draw.
    other = finished.parent / "other.jsonl"
    other.write_text((example / "data.jsonl").read_text().replace("w1", "w2"))
    assert "other problems: toy differs" in refused(capsys, flags(example, finished, prompts=MORE, data=other))


def test_an_automatic_projection_stays_that_of_the_folder(example, finished, tmp_path, quick, capsys):
    out = copy(finished, tmp_path / "out")
    assert main(flags(example, out, projection="auto", prompts=13)) == 0
    assert "sketched to 256 values" in capsys.readouterr().out


def test_saved_rollouts_take_more_prompts_too(example, finished, tmp_path, quick):
    """All of them after some of them."""
    path = finished / ROLLOUTS
    assert main(saved_flags(example, path, tmp_path / "steps", prompts=8)) == 0
    assert main(saved_flags(example, path, tmp_path / "steps")) == 0
    assert main(saved_flags(example, path, tmp_path / "whole")) == 0
    for name in (ROWS, GRAM):
        assert (tmp_path / "steps" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert found(tmp_path / "steps")[0] == found(tmp_path / "whole")[0]
