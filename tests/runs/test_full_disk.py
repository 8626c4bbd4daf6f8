"""A full disk is named in one line, however the library says it. /dev/full is a disk without space.

Only what opens a file may be pointed at it: a writer that renames its file into place, as safetensors does, would replace the device.
"""

import json
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError

from deltal_openrlhf.runs import full_disk
from deltal_openrlhf.runs.files import write_all_atomically, write_atomically
from deltal_openrlhf.runs.full_disk import named_if_full
from deltal_openrlhf.runs.metrics_file import MetricsFile


def python_write() -> None:
    with open("/dev/full", "wb") as file:
        file.write(b"0" * 10**5)


def safetensors_write() -> None:
    raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")


def megatron_write() -> None:
    try:
        python_write()
    except OSError as error:
        raise RuntimeError("checkpoint failed on rank 3") from error


WRITERS = {
    "python": python_write,
    "torch": lambda: torch.save(torch.zeros(10**6), "/dev/full"),
    "safetensors": safetensors_write,
    "megatron": megatron_write,
}


@pytest.mark.parametrize("library", WRITERS)
def test_the_line_says_path_need_and_what_is_free(library, tmp_path, monkeypatch):
    monkeypatch.setattr(full_disk, "free", lambda path: 3 * 2**20)
    with pytest.raises(OSError) as stopped, named_if_full(tmp_path, "checkpoint global_step8", lambda: 40 * 2**30):
        WRITERS[library]()
    assert str(stopped.value) == (
        f"[Errno 28] no space left in {tmp_path}: checkpoint global_step8 needs about 40.0 GiB, 3.0 MiB are free"
    )


def test_other_errors_stay_what_they_are(tmp_path, monkeypatch):
    monkeypatch.setattr(full_disk, "free", lambda path: 2**40)
    with pytest.raises(RuntimeError, match="inline_container"), named_if_full(tmp_path, "model", lambda: 2**30):
        WRITERS["torch"]()  # which does not say why it failed
    with pytest.raises(PermissionError), named_if_full(tmp_path, "model", lambda: None):
        raise PermissionError(13, "Permission denied")


def test_files_of_ours_say_their_path(tmp_path):
    def full(file) -> None:
        python_write()

    with pytest.raises(OSError, match=f"No space left on device: '{tmp_path}/a.json'"):
        write_all_atomically({tmp_path / "a.json": full})
    assert list(tmp_path.iterdir()) == []
    metrics = MetricsFile(str(tmp_path), resumed_step=0)
    metrics.path = "/dev/full"
    with pytest.raises(OSError, match="No space left on device: '/dev/full'"):
        metrics.append({"step": 1})


def test_free_is_asked_of_the_folder_that_is_there(tmp_path):
    assert full_disk.existing(tmp_path / "a" / "b") == tmp_path
    assert full_disk.free(tmp_path / "a" / "b") > 0
    write_atomically(tmp_path / "a" / "b" / "c.json", json.dumps(1))
    assert full_disk.existing(Path(tmp_path, "a", "b")) == tmp_path / "a" / "b"
