"""A file is whole or not there."""

import pytest

from deltal_openrlhf.runs import files


def test_write_atomically(tmp_path):
    path = tmp_path / "new" / "x.txt"
    files.write_atomically(path, "∆L")
    assert path.read_text(encoding="utf-8") == "∆L"
    with pytest.raises(UnicodeEncodeError):
        files.write_atomically(path, "x" * 100_000 + "\ud800")
    assert path.read_text(encoding="utf-8") == "∆L" and list(path.parent.iterdir()) == [path]
