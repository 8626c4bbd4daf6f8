"""From a rollout batch to what is trained on: the host's advantages, then what only the whole batch tells."""

from collections.abc import Sequence
from typing import Any

from openrlhf.trainer.ppo_utils import experience_maker
from openrlhf.trainer.ppo_utils.experience import Experience
from torch import Tensor

from deltal_openrlhf.host.baselines import subtract_length_weighted_mean, subtract_optimal_token_baseline
from deltal_openrlhf.host.length_penalties import apply_length_penalties
from deltal_openrlhf.host.rebind import rebound
from deltal_openrlhf.host.scope_means import attach_scope_means
from deltal_openrlhf.host.settings import LossSettings
from deltal_openrlhf.host.token_energies import Scored


class DeltaLExperienceMaker(experience_maker.RemoteExperienceMaker):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.settings = LossSettings.from_args(self.args)
        self.energies: list[Tensor] = []

    def _flatten_results(self, refs: list, duplicate_factor: int) -> list:
        """As the host; a policy worker may return Scored, of which the host gets the log-probabilities."""
        results = super()._flatten_results(refs, duplicate_factor)
        if not (results and isinstance(results[0], Scored)):
            return results
        self.energies = [scored.energies for scored in results]
        return [scored.log_probs for scored in results]

    def compute_advantages_and_returns(self, experiences: Sequence[Experience]) -> Sequence[Experience]:
        group_size = self.args.rollout.n_samples_per_prompt
        with rebound(experience_maker, "apply_length_penalties", apply_length_penalties):
            experiences = super().compute_advantages_and_returns(experiences)
        if self.settings.baseline == "opo":
            subtract_length_weighted_mean(experiences, group_size)
        elif self.settings.baseline == "otb":
            subtract_optimal_token_baseline(experiences, self.energies, group_size)
        attach_scope_means(experiences, self.settings, group_size)
        return experiences
