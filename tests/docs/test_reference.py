"""The pages that are made from the code say what the code says."""

import re
import shutil

from support.scripts import SCRIPTS, run_script

import deltal_openrlhf

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
    by_hand, _, made = (pages / "api.md").read_text().partition("## The formulas")
    (pages / "api.md").write_text(by_hand + "## The formulas" + made.replace("alpha: float", "alpha: int"))
    process = run_script(str(tmp_path / "scripts" / "make_reference.py"), "--check")
    assert process.returncode == 1
    assert "metrics.md, api.md differ" in process.stdout.replace("commands.md, ", "").replace("flags.md, ", "")
    assert (pages / "metrics.md").read_text() == "# Metrics\n"


def test_the_page_of_the_api_has_every_public_name():
    page = (SCRIPTS.parent / "docs" / "reference" / "api.md").read_text(encoding="utf-8")
    headings = re.findall(r"^#+ `(.+)`$", page, re.M)
    names = [name for name in deltal_openrlhf.__all__ if not name.startswith("__")]
    assert [heading for heading in headings if "." not in heading] == names
    public = {name for name in vars(deltal_openrlhf.Aggregation) if not name.startswith("_")}
    fields = set(deltal_openrlhf.Aggregation.__annotations__)
    assert {heading.removeprefix("Aggregation.") for heading in headings if "." in heading} == public - fields
