"""∆L normalization for RL with verifiable rewards. The names below need torch alone, and load it at their first use."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from deltal_openrlhf.aggregation import MODES, SCOPES, Aggregation, aggregate, response_weights, scope_means

__version__ = "0.2.0"
__all__ = ["MODES", "SCOPES", "Aggregation", "__version__", "aggregate", "response_weights", "scope_means"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from deltal_openrlhf import aggregation

    return getattr(aggregation, name)


def __dir__() -> list[str]:
    return __all__
