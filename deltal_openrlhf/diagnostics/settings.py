"""The settings of what a diagnosis computes from a sample."""

from dataclasses import dataclass

from deltal_openrlhf.aggregation import check_max_length

LEAST_BATCHES = 4
"""With one prompt's batch left out there are three: the fewest whose pairs still give an average."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How the prompts of a sample become batches, and batches become numbers."""

    advantage: str = "group_norm"
    """one of advantages.ESTIMATORS, for all methods but OPO"""
    max_length: float
    """M of the weights, in tokens"""
    batch_prompts: int
    """B, prompts of one optimizer step"""
    partitions: int = 200
    """R, how often the prompts are dealt out into batches"""
    rollout_batches: int = 4
    """batches of one rollout, for the scope rollout"""
    seed: int = 0
    """of the partitions and of the bootstrap"""

    def check(self) -> None:
        """Raise ValueError for M <= 0 and for a count that is too small."""
        check_max_length(self.max_length)
        for name, least in (("batch_prompts", 1), ("partitions", 2), ("rollout_batches", 1)):
            if (value := getattr(self, name)) < least:
                raise ValueError(f"{name} is {value}, allowed is a whole number from {least}")

    def batches(self, prompts: int) -> int:
        """The number of batches that this many prompts make. Raises ValueError for fewer than LEAST_BATCHES."""
        batches = prompts // self.batch_prompts
        if batches < LEAST_BATCHES:
            raise ValueError(
                f"{prompts} prompts make {batches} disjoint batches of --batch_prompts {self.batch_prompts}, wanted are {LEAST_BATCHES} "
                f"at least: {LEAST_BATCHES * self.batch_prompts} prompts, or --batch_prompts up to {max(1, prompts // LEAST_BATCHES)}"
            )
        return batches
