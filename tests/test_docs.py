"""README and docs: what they link to in this repository is there."""

import re
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), ROOT / "scripts" / "gpu" / "README.md"]

ROOMS = "deltal_openrlhf|megatron_ext|tests|scripts|configs"
PATH = rf"(?<![\w./-])(?:{ROOMS})/[\w./-]*\w(?![\w*/{{<])"


def broken(page: Path) -> list[str]:
    targets = re.findall(r"\]\(([^)#\s]+)|<img src=\"([^\"]+)\"", page.read_text(encoding="utf-8"))
    local = [one or other for one, other in targets if "://" not in (one or other)]
    return [target for target in local if not (page.parent / target).exists()]


def test_python_of_the_readme_runs():
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), flags=re.DOTALL)
    names: dict = {}
    exec(code, names)
    lengths = torch.tensor([4.0, 2.0])
    x = lengths**-0.75 / (lengths**-0.75).sum() / 1024
    assert torch.allclose(names["token_losses"].grad, names["mask"] * x[:, None])


def test_paths_of_the_project_that_pages_name_are_there():
    """Files and folders of the packages, tests, scripts and configs, as docs and docstrings write them."""
    sources = [path for name in ("deltal_openrlhf", "megatron_ext", "scripts") for path in (ROOT / name).rglob("*.py")]
    missing = set()
    for path in [*PAGES, *sources]:
        for name in re.findall(PATH, path.read_text(encoding="utf-8")):
            if "NAME" not in name and not (ROOT / name).exists():
                missing.add((str(path.relative_to(ROOT)), name))
    assert missing == set()
    assert re.findall(PATH, "see tests/megatron and deltal_openrlhf/host/gone.py.") == [
        "tests/megatron",
        "deltal_openrlhf/host/gone.py",
    ]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    assert broken(page) == []


def test_a_broken_link_is_seen(tmp_path):
    (tmp_path / "page.md").write_text('[here](page.md) [gone](gone.md#part) <img src="gone.png"> [web](https://a.b/c)')
    assert broken(tmp_path / "page.md") == ["gone.md", "gone.png"]
