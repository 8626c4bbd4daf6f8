"""README and docs: what they link to in this repository is there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), ROOT / "scripts" / "gpu" / "README.md"]


def broken(page: Path) -> list[str]:
    targets = re.findall(r"\]\(([^)#\s]+)|<img src=\"([^\"]+)\"", page.read_text(encoding="utf-8"))
    local = [one or other for one, other in targets if "://" not in (one or other)]
    return [target for target in local if not (page.parent / target).exists()]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    assert broken(page) == []


def test_a_broken_link_is_seen(tmp_path):
    (tmp_path / "page.md").write_text('[here](page.md) [gone](gone.md#part) <img src="gone.png"> [web](https://a.b/c)')
    assert broken(tmp_path / "page.md") == ["gone.md", "gone.png"]
