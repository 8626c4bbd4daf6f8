"""The label column of a math problem: one gold answer as it is, or a JSON list of several acceptable ones."""

import json
from collections.abc import Sequence


def golds_of(label: str) -> tuple[str, ...]:
    """The acceptable answers of a label. A list of strings in JSON holds several; any other text is one answer, "[1, 2]" too."""
    if not isinstance(label, str) or not label.strip():
        raise ValueError(f"a math label is an answer's text or a JSON list of such texts, not {label!r}")
    if label.lstrip().startswith('["'):
        try:
            golds = json.loads(label)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"a math label starts like a JSON list but is not one: {label[:80]!r}") from error
        if not (isinstance(golds, list) and golds and all(isinstance(gold, str) and gold.strip() for gold in golds)):
            raise ValueError(f"a math label's list must hold answers as non-empty texts, not {label[:80]!r}")
        return tuple(golds)
    return (label,)


def label_of(golds: Sequence[str]) -> str:
    """The label that golds_of reads back."""
    return golds[0] if len(golds) == 1 else json.dumps(list(golds), ensure_ascii=False)
