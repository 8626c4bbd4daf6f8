"""scripts/check_prose.py on pages whose words are counted by hand."""

from support.scripts import in_scripts, run_script

PAGE = """\
# A heading of more words than any sentence may have is not counted

Dr. GRPO divides by a constant. It needs `--loss_agg MODE` and
0.75 as alpha, e.g. from a file! Is that all? Yes.

- [A link](https://a.b) counts. `deltal train` does too
- an item

| a table | is not |
|---|---|

```sh
deltal train --config countdown-deltal
```
"""


def test_sentences_of_a_page():
    code = "from check_prose import sentences\nresult = [[s.line, s.words, s.text] for s in sentences(data)]"
    found = in_scripts(code, PAGE)
    assert [(line, words) for line, words, _ in found] == [(3, 6), (3, 11), (4, 3), (4, 1), (6, 3), (6, 3), (7, 2)]
    assert found[0][2] == "Dr. GRPO divides by a constant."


def test_what_is_too_long_is_named(tmp_path):
    long, short = tmp_path / "long.md", tmp_path / "short.md"
    long.write_text(f"One.\n\nTwo. The {'word ' * 35}.\n")
    short.write_text(f"{'word ' * 35}.\n\nOne. Two.\n")
    process = run_script("check_prose.py", short, long)
    assert process.returncode == 1
    assert process.stdout.splitlines()[0].startswith(f"{long}:3: 36 words, allowed are 35: The word word")
    assert process.stdout.splitlines()[-1] == "2 pages, 1 faults"
    assert run_script("check_prose.py", short).returncode == 0
    short.write_text(f"{'word ' * 21}.\n")
    said = run_script("check_prose.py", short)
    assert (said.returncode, said.stdout.splitlines()[0]) == (
        1,
        f"{short}: 21.0 words a sentence on average, allowed are 20",
    )


def test_the_readme_is_one_page(tmp_path):
    """Its limits are its own: 1,000 words, 18 a sentence."""
    code = """
import check_prose
from pathlib import Path
check_prose.README = Path(data)
result = check_prose.faults(check_prose.README)"""
    page = tmp_path / "README.md"
    page.write_text(f"{'word ' * 18}.\n\n" * 55 + f"{'word ' * 10}.\n")
    assert in_scripts(code, str(page)) == []
    page.write_text(f"{'word ' * 19}.\n\n" * 53)
    assert in_scripts(code, str(page)) == [
        f"{page}: 19.0 words a sentence on average, allowed are 18",
        f"{page}: 1007 words, allowed are 1000",
    ]
