"""Names of metrics as a run writes them, against those that are documented."""

import re
from collections.abc import Iterable

from deltal_openrlhf.runs.metric_names import METRICS

FORMS = [name.replace("STATUS", r"\w+").replace("SET", ".+").replace("passN", r"pass\d+") for name in METRICS]


def nameless(names: Iterable[str]) -> list[str]:
    """Those that are not in METRICS."""
    return [name for name in names if not any(re.fullmatch(form, name) for form in FORMS)]
