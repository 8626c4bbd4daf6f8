"""README.md, docs/ and the other pages as a reader sees them: code blocks, inline code, tables, links, anchors, commands."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from markdown_it import MarkdownIt
from markdown_it.token import Token

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
DOCS = sorted((ROOT / "docs").rglob("*.md"))
OTHERS = [path for path in (*ROOT.glob("*.md"), ROOT / "scripts" / "gpu" / "README.md") if path != README]
PAGES = [README, *DOCS, *OTHERS]


class Place(NamedTuple):
    """Something on a page. where: path and line."""

    where: str
    text: str


def _tokens(page: Path) -> list[Token]:
    return MarkdownIt("commonmark").enable("table").parse(page.read_text(encoding="utf-8"))


def _where(page: Path, token: Token) -> str:
    name = page.relative_to(ROOT) if page.is_relative_to(ROOT) else page
    return f"{name}:{(token.map or [0])[0] + 1}"


def blocks(page: Path, language: str) -> list[Place]:
    return [
        Place(_where(page, token), token.content)
        for token in _tokens(page)
        if token.type == "fence" and token.info == language
    ]


def inline_code(page: Path) -> list[Place]:
    return [
        Place(_where(page, token), child.content)
        for token in _tokens(page)
        for child in token.children or ()
        if child.type == "code_inline"
    ]


def links(page: Path) -> list[Place]:
    """Targets of links and images, also of those that are written as HTML."""
    found = []
    for token in _tokens(page):
        for part in (token, *(token.children or ())):
            target = part.attrs.get("href") or part.attrs.get("src")
            targets = [target] if target else []
            if part.type in ("html_block", "html_inline"):
                targets = re.findall(r"(?:src|href)=\"([^\"]+)\"", part.content)
            found += [Place(_where(page, token), str(target)) for target in targets]
    return found


def anchors(page: Path) -> set[str]:
    """The fragments that lead into a page, as code hosts and mkdocs.yml make them of its headings."""
    tokens = _tokens(page)
    found: set[str] = set()
    for before, token in zip(tokens, tokens[1:], strict=False):
        if before.type == "heading_open":
            text = "".join(child.content for child in token.children or () if child.type in ("text", "code_inline"))
            found.add(re.sub(r"[^\w\- ]", "", text.lower()).strip().replace(" ", "-"))
    return found


def tables(page: Path) -> Iterator[tuple[list[str], list[tuple[str, list[str]]]]]:
    """Header and rows of each table; a row with the place where it stands."""
    rows: list[tuple[str, list[str]]] = []
    for token in _tokens(page):
        if token.type == "tr_open":
            rows.append((_where(page, token), []))
        elif token.type == "inline" and rows:
            rows[-1][1].append(token.content)
        elif token.type == "table_close":
            yield rows[0][1], rows[1:]
            rows = []


# ── Commands ──


def statements(text: str) -> Iterator[str]:
    """The statements of a shell script: with continued lines, open quotes and here-documents; without comments of their own."""
    lines = iter(text.splitlines())
    for line in lines:
        while line.endswith("\\") or not _is_closed(line):
            line += "\n" + next(lines)
        if end := re.search(r"<<'(\w+)'", line):
            for following in lines:
                line += "\n" + following
                if following == end[1]:
                    break
        if line.strip() and not line.lstrip().startswith("#"):
            yield line.strip()


def _is_closed(line: str) -> bool:
    try:
        shlex.split(line, comments=True)
    except ValueError:
        return False
    return True


def simple_commands(statement: str) -> list[list[str]]:
    """The words of each command of a statement, without redirections and variables. <what a reader puts in> and ... are left out."""
    text = re.sub(r"<[a-z ]+>", "", statement.partition("<<'")[0].replace("\\\n", " "))
    lexer = shlex.shlex(text, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    commands: list[list[str]] = [[]]
    skip = False
    for word in lexer:
        if skip or word == "...":
            skip = False
        elif set(word) <= set("<>"):
            skip = True
        elif set(word) <= set("();|&"):
            commands.append([])
        elif commands[-1] or not re.match(r"\w+=", word):
            commands[-1].append(word)
    return [command for command in commands if command]


def deltal_words(command: list[str]) -> list[str] | None:
    """The arguments of `deltal` in a command, also where ray, Slurm or Python hand them on; None in one without."""
    if command[0] == "deltal":
        return command[1:]
    if command[:2] == ["ray", "job"] and "deltal" in command:
        return command[command.index("deltal") + 1 :]
    if command[0] == "sbatch":
        return ["train", *command[command.index("scripts/cluster/train.sbatch") + 1 :]]
    if command[:3] == ["python", "-m", "openrlhf.cli.train_ppo_ray"]:
        return ["train", *command[3:]]
    return None
