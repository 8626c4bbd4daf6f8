"""What README, docs and the other pages link to in this repository is there, its anchors included."""

from pathlib import Path

from support.pages import PAGES, anchors, links


def broken(page: Path) -> list[tuple[str, str]]:
    found = []
    for where, target in links(page):
        path, _, fragment = target.partition("#")
        file = page.parent / path if path else page
        if "://" in target or target.startswith("mailto:"):
            continue
        if not file.exists() or (fragment and fragment not in anchors(file)):
            found.append((where, target))
    return found


def test_links_lead_somewhere():
    assert len(PAGES) > 30
    assert [fault for page in PAGES for fault in broken(page)] == []


def test_a_broken_link_is_seen(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(
        "# A heading, with `code`: and ∆L\n\n"
        "[here](page.md) [part](#a-heading-with-code-and-l) [web](https://a.b/c#d)\n"
        '[gone](gone.md#part) [no such part](page.md#other) ![image](gone.png)\n\n<img src="lost.png">\n'
    )
    assert [target for _, target in broken(page)] == ["gone.md#part", "page.md#other", "gone.png", "lost.png"]
