"""The pages that are made from the code say what the code says."""

import shutil

from support.scripts import SCRIPTS, run_script

MAKE = "python scripts/make_reference.py"


def test_pages_made_from_the_code():
    process = run_script("make_reference.py", "--check")
    assert (process.returncode, process.stdout) == (0, ""), f"{process.stdout}{process.stderr}\nMake them again: {MAKE}"


def test_a_changed_page_is_noticed(tmp_path):
    """In a copy of scripts/ and docs/, since --check compares with the pages next to it."""
    (tmp_path / "scripts").mkdir()
    shutil.copy(SCRIPTS / "make_reference.py", tmp_path / "scripts")
    pages = shutil.copytree(SCRIPTS.parent / "docs" / "reference", tmp_path / "docs" / "reference")
    (pages / "metrics.md").write_text("# Metrics\n")
    process = run_script(str(tmp_path / "scripts" / "make_reference.py"), "--check")
    assert process.returncode == 1
    assert "metrics.md differ" in process.stdout.replace("commands.md, ", "").replace("flags.md, ", "")
    assert (pages / "metrics.md").read_text() == "# Metrics\n"
