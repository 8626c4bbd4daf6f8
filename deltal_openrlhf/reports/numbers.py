"""Numbers for a person: as many digits as the interval carries.

An estimate is one of statistics.Estimate as it stands in JSON: {"value", "low", "high", "resolved"}, null for what is infinite or not
defined.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

EstimateJson = Mapping[str, Any]

MISSING = "–"
NOT_RESOLVED = "not resolved"


def number(value: float | None, sign: str = "") -> str:
    """Three significant digits; whole numbers in full. 12345 -> 12,345; 0.01234 -> 0.0123; 1.2e-7 -> 1.20e-07."""
    if value is None:
        return MISSING
    if value == round(value) and abs(value) < 1e9:
        return f"{round(value):{sign},}"
    return _formats([value], _three_digits(value), sign)[0]


def estimate_text(estimate: EstimateJson, sign: str = "") -> str:
    """1.23 [1.10, 1.40]; "–" where there is neither a value nor an interval."""
    return MISSING if is_missing(estimate) else " ".join(value_and_interval(estimate, sign))


def is_missing(estimate: EstimateJson | None) -> bool:
    """No value and no interval: nothing to show."""
    return estimate is None or all(estimate[key] is None for key in ("value", "low", "high"))


def percent(share: float | None) -> str:
    return MISSING if share is None else f"{100 * share:.1f} %"


def seconds(value: float | None) -> str:
    """45 s, 12 min, 3.4 h."""
    if value is None:
        return MISSING
    if value < 120:
        return f"{value:.0f} s"
    return f"{value / 60:.0f} min" if value < 7200 else f"{value / 3600:.1f} h"


def rate(value: float) -> str:
    """A learning rate: 0.01, 5e-4, 2.5e-5."""
    mantissa, exponent = f"{value:.4e}".split("e")
    return f"{value:g}" if value >= 1e-3 else f"{float(mantissa):g}e{int(exponent)}"


def count(number_of: int, singular: str, plural: str | None = None) -> str:
    """1 run, 2,000 runs."""
    return f"{number_of:,} {singular if number_of == 1 else plural or singular + 's'}"


def columns(rows: Sequence[Sequence[str]]) -> list[list[str]]:
    """Cells padded to the widths of their columns, names in the first one at the left, numbers in the others at the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [[row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])] for row in rows]


def value_and_interval(estimate: EstimateJson, sign: str = "") -> tuple[str, str]:
    """("1.23", "[1.10, 1.40]"); the interval is [1.10, ∞) where it has no upper end, "(no interval)" where it has no end."""
    value, low, high = (estimate[key] for key in ("value", "low", "high"))
    known = [v for v in (value, low, high) if v is not None]
    if not known:
        return MISSING, "(no interval)"
    half_width = (max(known) - min(known)) / 2 or _three_digits(max(known, key=abs))
    texts = iter(_formats(known, half_width, sign))
    of = [next(texts) if v is not None else None for v in (value, low, high)]
    if low is None and high is None:
        return of[0] or MISSING, "(no interval)"
    left = "(-∞" if low is None else f"[{of[1]}"
    right = "∞)" if high is None else f"{of[2]}]"
    return of[0] or MISSING, f"{left}, {right}"


def _three_digits(value: float) -> float:
    """The half width that gives a number without an interval three significant digits."""
    return 10.0 ** (math.floor(math.log10(abs(value))) - 1) if value else 0.0


def _formats(values: list[float], half_width: float, sign: str) -> list[str]:
    """All with the same decimals: two significant digits of half_width."""
    largest = max(map(abs, values))
    if largest == 0:
        return [f"{0:{sign}}" for _ in values]
    digits = math.floor(math.log10(max(half_width, largest * 1e-4)))
    if 1e-3 <= largest < 1e6:
        return [f"{v:{sign},.{max(0, 1 - digits)}f}" for v in values]
    mantissa = min(4, max(1, math.floor(math.log10(largest)) - digits + 1))
    return [f"{v:{sign}.{mantissa}e}" for v in values]
