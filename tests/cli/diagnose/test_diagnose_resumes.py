"""The folder of `deltal diagnose`: refused with other settings, and resumed after a kill at any moment with the same result."""

import json
import os
import random
import signal
import time

import pytest
from support import diagnose_child
from support.diagnose_command import assert_same, flags, found, refused

from deltal_openrlhf.cli.diagnose import main
from deltal_openrlhf.diagnostics import run
from deltal_openrlhf.diagnostics.folder import GRAM, JOURNAL, ROLLOUTS, ROWS


@pytest.mark.parametrize(
    "changes, said",
    [
        (dict(n=4), "begun with --n 3, not 4"),
        (dict(max_new_tokens=25), "begun with --max_new_tokens 24, not 25"),
        (dict(temperature=0.9), "begun with --temperature 1.0, not 0.9"),
        (dict(seed=1), "begun with --seed 0, not 1"),
        (dict(projection="full"), "begun with --projection 256, not full"),
        (dict(reward="auto"), "begun with --reward"),
    ],
)
def test_a_folder_with_other_settings_is_refused(changes, said, example, finished, capsys):
    before = {path.name: path.read_bytes() for path in finished.iterdir()}
    assert said in refused(capsys, flags(example, finished, **changes))
    assert {path.name: path.read_bytes() for path in finished.iterdir()} == before


def test_another_model_or_a_folder_in_use_is_refused(example, finished, tmp_path, capsys):
    other = tmp_path / "other"
    other.mkdir()
    for path in (example / "model").iterdir():
        (other / path.name).write_bytes(path.read_bytes())
    (other / "generation_config.json").write_text('{"eos_token_id": 1, "temperature": 0.5}')
    assert "another model: generation_config.json differs" in refused(capsys, flags(example, finished, model=other))
    holder = diagnose_child.hold(finished, json.loads((finished / "settings.json").read_text()))
    try:
        assert "another diagnosis is writing there" in refused(capsys, flags(example, finished))
    finally:
        holder.kill()
        holder.join()


def test_statistics_may_change_and_need_no_model(example, finished, tmp_path, quick, monkeypatch):
    out = tmp_path / "out"
    out.mkdir()
    for name in ("settings.json", JOURNAL, ROLLOUTS, GRAM):
        (out / name).write_bytes((finished / name).read_bytes())
    monkeypatch.setattr(run, "load_model", lambda *_: pytest.fail("the weights were read"))
    assert main(flags(example, out, advantage="rloo", max_length=100, batch_prompts=3)) == 0
    values = found(out)[0]
    assert values["settings"] == {"advantage": "rloo", "max_length": 100, "batch_prompts": 3, "seed": 0}
    assert values["sums"] == found(finished)[0]["sums"]


def wait_until(condition, process):
    for _ in range(20_000):
        if condition() or process.exitcode is not None:
            return
        time.sleep(0.001)
    raise AssertionError("nothing happened")


def size(path):
    return path.stat().st_size if path.exists() else 0


def test_killed_again_and_again_it_goes_on_and_ends_bit_for_bit_the_same(example, finished, tmp_path, quick):
    """kill -9 from outside: in the sampling, in the gradients, and again in each of them where the last one left off."""
    out, log = tmp_path / "out", tmp_path / "log"
    lines = []
    for name in (ROLLOUTS, ROLLOUTS, ROWS, ROWS, ROWS):
        before = size(out / name)
        process = diagnose_child.start(flags(example, out), log)
        wait_until(lambda name=name, before=before: size(out / name) > before, process)
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL, log.read_text()
        lines.append(len((out / JOURNAL).read_text().splitlines()))
    assert lines == sorted(lines) and lines[-1] > lines[0]
    assert not (out / run.FINDINGS).exists()
    assert main(flags(example, out)) == 0
    assert_same(out, finished)


def test_killed_at_random_moments_it_ends_bit_for_bit_the_same(example, finished, tmp_path, quick):
    """kill -9 at moments drawn from the length of an undisturbed run, each in a folder of its own."""
    log = tmp_path / "log"
    process = diagnose_child.start(flags(example, tmp_path / "whole"), log)  # which waits for the server of processes
    begun = time.monotonic()
    process.join(100)
    took = time.monotonic() - begun
    assert process.exitcode == 0, log.read_text()
    rng, codes = random.Random(0), []
    for moment in range(5):
        out = tmp_path / str(moment)
        process = diagnose_child.start(flags(example, out), log)
        process.join(rng.uniform(0, took))
        process.kill()
        process.join()
        codes.append(process.exitcode)
        assert main(flags(example, out)) == 0
        assert_same(out, finished)
    assert codes.count(-signal.SIGKILL) > 1, codes


def test_half_written_files_are_cut_back(example, finished, tmp_path, quick):
    """What a kill within a write leaves: half a line of a response and of the journal, half a row."""
    out = tmp_path / "out"
    process = diagnose_child.start(flags(example, out), tmp_path / "log")
    wait_until(lambda: size(out / ROWS) > 3 * 4 * 100, process)
    process.kill()
    process.join()
    for name, text in ((ROWS, b"\1\2\3"), (JOURNAL, b'{"stage": "gra')):
        with open(out / name, "ab") as file:
            file.write(text)
    assert main(flags(example, out)) == 0
    assert_same(out, finished)
    begun = tmp_path / "begun"
    begun.mkdir()
    (begun / "settings.json").write_bytes((finished / "settings.json").read_bytes())
    content = (finished / ROLLOUTS).read_bytes().splitlines(keepends=True)
    (begun / ROLLOUTS).write_bytes(
        b"".join(content[:15]) + content[15][:20]
    )  # 14 of 36 responses: a batch of 12, and 2 of the next
    assert main(flags(example, begun)) == 0
    assert_same(begun, finished)


def test_broken_files_are_named(example, finished, tmp_path, capsys):
    for name, content, said in (
        (JOURNAL, b'{"stage": 1}\n', "line 1 is broken; take another --out"),
        ("settings.json", b"{", "not JSON; take another --out"),
        ("settings.json", None, "holds journal.jsonl without settings.json"),
    ):
        out = tmp_path / f"out{len(list(tmp_path.iterdir()))}"
        out.mkdir()
        for path in finished.iterdir():
            (out / path.name).write_bytes(path.read_bytes())
        (out / name).unlink() if content is None else (out / name).write_bytes(content)
        assert said in refused(capsys, flags(example, out))
    for name in (ROLLOUTS, GRAM, ROWS):
        out = tmp_path / f"only_{name}"
        out.mkdir()
        (out / name).write_bytes(b"x")
        assert f"holds {name} without settings.json" in refused(capsys, flags(example, out))


@pytest.mark.parametrize(
    ("number", "code", "how"), [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "interrupted by SIGTERM")]
)
def test_interrupted_it_says_how_to_go_on(number, code, how, example, finished, tmp_path, quick):
    out, log = tmp_path / "out", tmp_path / "log"
    process = diagnose_child.start(flags(example, out), log)
    wait_until(lambda: size(out / ROWS) > 0, process)
    os.kill(process.pid, number)
    process.join(30)
    assert process.exitcode == code
    assert log.read_text().endswith(f"deltal diagnose: {how}; the same command resumes where it stopped\n")
    assert main(flags(example, out)) == 0
    assert_same(out, finished)
