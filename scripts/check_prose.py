"""Counts the words and sentences of README.md and docs/, and names what is too long. Exit status 1 if something is.

    python scripts/check_prose.py [FILE.md ...]

Counted are paragraphs and list items. Headings, tables, code blocks and HTML are left out, and inline code is one word.
"""

import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from markdown_it import MarkdownIt
from markdown_it.token import Token

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
README_WORDS = 1000
LONGEST = 35
"""Words of a sentence."""
MEAN_README, MEAN_DOCS = 18, 20
"""Words of a page's sentences, on average."""

SPACE = "\ue000"
"""Stands for a space inside inline code."""
NO_END = re.compile(r"\b(?:Dr|e\.g|i\.e|vs|cf|etc|et al|Fig)\.$")
END = re.compile(r"(?<=[.!?])[)\"”]?\s+(?=[(\"“]?[A-Z0-9∆`])")


@dataclass(frozen=True)
class Sentence:
    line: int
    text: str

    @property
    def words(self) -> int:
        return sum(any(character.isalnum() for character in word) for word in self.text.split())


def sentences(markdown: str) -> Iterator[Sentence]:
    """The sentences of a page, each with the line on which it begins."""
    tokens = MarkdownIt("commonmark").enable("table").parse(markdown)
    for before, token in zip(tokens, tokens[1:], strict=False):
        if before.type == "paragraph_open" and before.map:
            yield from _split(_text(token.children or ()), before.map[0] + 1)


def _text(tokens: Sequence[Token]) -> str:
    """What a reader reads, with the line breaks of the source."""
    text = ""
    for token in tokens:
        if token.type == "code_inline":
            text += f"`{token.content.replace(' ', SPACE)}`"
        else:
            text += "\n" if token.type in ("softbreak", "hardbreak") else token.content if token.type == "text" else ""
    return text


def _split(text: str, line: int) -> Iterator[Sentence]:
    start = 0
    for end in [*(match.end() for match in END.finditer(text)), len(text)]:
        piece = text[start:end]
        if end < len(text) and NO_END.search(piece.rstrip()):
            continue
        if piece.strip():
            yield Sentence(line + text.count("\n", 0, start), " ".join(piece.split()))
        start = end


def faults(page: Path) -> list[str]:
    """One line for each thing that is too long."""
    name = page.relative_to(ROOT) if page.is_relative_to(ROOT) else page
    found = [sentence for sentence in sentences(page.read_text(encoding="utf-8")) if sentence.words]
    lines = [
        f"{name}:{sentence.line}: {sentence.words} words, allowed are {LONGEST}: {sentence.text.replace(SPACE, ' ')}"
        for sentence in found
        if sentence.words > LONGEST
    ]
    counts = [sentence.words for sentence in found]
    allowed = MEAN_README if page == README else MEAN_DOCS
    if counts and fmean(counts) > allowed:
        lines.append(f"{name}: {fmean(counts):.1f} words a sentence on average, allowed are {allowed}")
    if page == README and sum(counts) > README_WORDS:
        lines.append(f"{name}: {sum(counts)} words, allowed are {README_WORDS}")
    return lines


def main(files: Sequence[str]) -> int:
    pages = [Path(file).resolve() for file in files] or [README, *sorted((ROOT / "docs").rglob("*.md"))]
    found = [line for page in pages for line in faults(page)]
    print("\n".join([*found, f"{len(pages)} pages, {len(found)} faults"]))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
