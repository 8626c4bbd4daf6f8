"""A number with its 95 % interval: the one form in which every result of this package is stated."""

import math
from dataclasses import asdict, dataclass, replace


@dataclass(frozen=True)
class Estimate:
    """A number with its 95 % interval. None stands for what is infinite or not defined, since JSON has neither."""

    value: float | None
    low: float | None
    high: float | None
    resolved: bool
    """Whether the interval answers the question that is asked: that it exists, or that it excludes 0 or 1."""

    @classmethod
    def of(cls, value: float, low: float, high: float, *, resolved: bool) -> "Estimate":
        """From numbers of any kind, numpy's included. A number that is not finite becomes None."""
        return cls(_finite(value), _finite(low), _finite(high), bool(resolved))

    @classmethod
    def undefined(cls) -> "Estimate":
        return cls(None, None, None, resolved=False)

    def side(self, value: float) -> int | None:
        """1 if the whole interval lies above `value`, -1 if it lies below, None if it holds the value."""
        if self.low is not None and self.low > value:
            return 1
        if self.high is not None and self.high < value:
            return -1
        return None

    def against(self, value: float) -> "Estimate":
        """The same number, resolved only if it was and its interval excludes `value`."""
        return replace(self, resolved=self.resolved and self.side(value) is not None)

    def as_json(self) -> dict[str, float | bool | None]:
        """{"value", "low", "high", "resolved"}, as it stands in every JSON file. Estimate(**...) reads it back."""
        return asdict(self)


def _finite(number: float) -> float | None:
    return float(number) if math.isfinite(number) else None
