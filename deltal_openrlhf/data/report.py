"""The tables at the end of `deltal data`: lengths of prompts and kinds of answers, one line per file."""

import statistics
from collections import Counter
from collections.abc import Mapping, Sequence

from deltal_openrlhf.data.answer_types import TYPES, answer_type
from deltal_openrlhf.grading.labels import golds_of
from deltal_openrlhf.reports.numbers import columns

EDGES = {"tokens": (64, 128, 256, 512, 1024), "characters": (256, 512, 1024, 2048, 4096)}
"""Upper ends of the buckets, by unit."""


def length_table(lengths: Mapping[str, Sequence[int]], unit: str) -> list[str]:
    """The number of prompts of each file up to several lengths."""
    edges = EDGES[unit]
    header = [f"<= {edge}" for edge in edges] + ["more", "median", "longest"]
    rows = {}
    for name, values in lengths.items():
        buckets = Counter(sum(value > edge for edge in edges) for value in values)
        rows[name] = [buckets[i] for i in range(len(edges) + 1)] + [round(statistics.median(values)), max(values)]
    return table(f"prompts by {unit}", header, rows)


def answer_table(labels: Mapping[str, Sequence[str]]) -> list[str]:
    """The number of answers of each kind in each file, by the first of several acceptable ones."""
    rows = {}
    for name, texts in labels.items():
        golds = [golds_of(text) for text in texts]
        kinds = Counter(answer_type(several[0]) for several in golds)
        rows[name] = [kinds[kind] for kind in TYPES] + [sum(len(several) > 1 for several in golds)]
    return table("answers by kind", [*TYPES, "several accepted"], rows)


def table(title: str, header: Sequence[str], rows: Mapping[str, Sequence[int]]) -> list[str]:
    """Lines of a table: names at the left, numbers at the right of their columns."""
    cells = ([name, *(f"{value:,}" for value in row)] for name, row in rows.items())
    return ["  ".join(line) for line in columns([[title, *header], *cells])]
