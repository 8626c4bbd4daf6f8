"""README and docs: their Python runs, and the paths that they name are there. tests/docs checks links, commands and flags."""

import re

import pytest
import torch
from support.pages import PAGES, README, ROOT, blocks

ROOMS = "deltal_openrlhf|megatron_ext|tests|scripts|configs"
PATH = rf"(?<![\w./-])(?:{ROOMS})/[\w./-]*\w(?![\w*/{{<])"


@pytest.mark.parametrize("page", [README, ROOT / "docs" / "reference" / "api.md"], ids=lambda page: page.name)
def test_python_of_a_page_runs(page):
    (code,) = blocks(page, "python")
    names: dict = {}
    exec(code.text, names)
    lengths = torch.tensor([4.0, 2.0])
    x = lengths**-0.75 / (lengths**-0.75).sum() / 1024
    assert torch.allclose(names["token_losses"].grad, names["mask"] * x[:, None])


def test_paths_of_the_project_that_pages_name_are_there():
    """Files and folders of the packages, tests, scripts and configs, as docs and docstrings write them."""
    sources = [path for name in ("deltal_openrlhf", "megatron_ext", "scripts") for path in (ROOT / name).rglob("*.py")]
    missing = set()
    for path in [*PAGES, *sources]:
        for name in re.findall(PATH, path.read_text(encoding="utf-8")):
            # The wheel holds configs/ there.
            if "NAME" not in name and name != "deltal_openrlhf/configs" and not (ROOT / name).exists():
                missing.add((str(path.relative_to(ROOT)), name))
    assert missing == set()
    assert re.findall(PATH, "see tests/megatron and deltal_openrlhf/host/gone.py.") == [
        "tests/megatron",
        "deltal_openrlhf/host/gone.py",
    ]
