"""A hook of mkdocs: a link to a file of the clone outside docs/ becomes the file's path, since the site does not hold that file."""

import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
LINK = re.compile(r"(?<!!)\[([^\]]+)\]\(([^)#\s]+)\)")


def on_page_markdown(markdown: str, *, page: Any, **_: Any) -> str:
    folder = Path(page.file.abs_src_path).parent

    def plain(link: re.Match[str]) -> str:
        text, target = link.groups()
        file = (folder / target).resolve()
        if "://" in target or not file.exists() or file.is_relative_to(ROOT / "docs"):
            return link[0]
        path = file.relative_to(ROOT).as_posix()
        return f"`{path}`" if path in text else f"{text} (`{path}`)"

    return LINK.sub(plain, markdown)
