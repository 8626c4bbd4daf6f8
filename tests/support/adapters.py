"""What the tests of several adapters hand to them."""

from typing import Any

from deltal_openrlhf.aggregation import Aggregation

DELTAL = Aggregation("deltal", alpha=1.0, max_length=10)
ROLLOUT = Aggregation("deltal", alpha=1.0, max_length=10, scope="rollout")


class Data(dict):
    """A trainer's batch."""

    metadata: Any

    def copy(self):
        return Data(self)

    def update(self, values):
        super().update(values)
        return self
