"""What is said while a checkpoint is compared with its checksums: a large one takes minutes."""

import pytest

from deltal_openrlhf.host import checksums
from deltal_openrlhf.runs import progress

CHUNK = 2**20


@pytest.fixture
def checkpoint(tmp_path, monkeypatch):
    """Of two chunks and a half, with its checksums."""
    monkeypatch.setattr(checksums, "CHUNK", CHUNK)
    (tmp_path / "model.pt").write_bytes(bytes(2 * CHUNK + CHUNK // 2))
    sizes = checksums.sizes_in(tmp_path)
    checksums.write(tmp_path, sizes, checksums.of(tmp_path, checksums.parts_of(sizes)))
    return tmp_path


def test_it_says_which_checkpoint_is_read_how_far_it_is_and_how_long_it_took(checkpoint, monkeypatch, capsys):
    monkeypatch.setattr(progress, "EVERY", 0.0)
    monkeypatch.setattr(checksums, "LONG", 0.0)
    assert checksums.fault(checkpoint, label="a run: checksums") is None
    lines = capsys.readouterr().err.splitlines()
    label = f"a run: checksums of {checkpoint}"
    assert [line.split(" MiB")[0] for line in lines] == [f"{label}: {done}/3" for done in (1, 2, 3)]
    assert lines[-1] == f"{label}: 3/3 MiB, 0:00:00"


def test_of_a_comparison_that_takes_no_time_nothing_is_said(checkpoint, monkeypatch, capsys):
    monkeypatch.setattr(progress, "EVERY", 0.0)
    assert checksums.fault(checkpoint) is None
    assert capsys.readouterr().err == ""


def test_of_several_ranks_the_first_says_it_of_its_share(checkpoint, monkeypatch, capsys):
    monkeypatch.setattr(checksums, "LONG", 0.0)
    assert checksums.fault(checkpoint, rank=1, ranks=2) is None
    assert capsys.readouterr().err == ""
    assert checksums.fault(checkpoint, rank=0, ranks=2) is None  # the first and the last chunk
    assert "2/2 MiB" in capsys.readouterr().err
