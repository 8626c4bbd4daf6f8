"""The host's Ray training worker, with this package's trainer inside."""

from typing import Any

from openrlhf.trainer.ray import ppo_actor
from openrlhf.utils import get_tokenizer
from openrlhf.utils.logging_utils import init_logger
from torch import Tensor

from deltal_openrlhf import backends
from deltal_openrlhf.host import finished
from deltal_openrlhf.host.planned_steps import steps_without_the_actor
from deltal_openrlhf.host.rebind import rebound
from deltal_openrlhf.host.saved_run import saved_run
from deltal_openrlhf.host.settings import LossSettings
from deltal_openrlhf.host.strategy import DeltaLStrategy
from deltal_openrlhf.host.token_energies import Scored, WithSquares
from deltal_openrlhf.host.trainer import DeltaLActorTrainer

logger = init_logger(__name__)


class DeltaLPolicyModelActor(ppo_actor.PolicyModelActor.__ray_metadata__.modified_class):
    """The worker of the policy. Workers unpickle this class from this package, so only the trainer's name is patched, while it is built."""

    def init_model_from_pretrained(
        self, strategy: DeltaLStrategy, pretrain: str, max_steps: int, *args: Any, **kwargs: Any
    ) -> None:
        """max_steps: optimizer steps of the run, the critic's where there is one."""
        max_steps -= steps_without_the_actor(strategy.args, strategy.steps_of_rollout)
        with rebound(ppo_actor, "ActorPPOTrainer", DeltaLActorTrainer):
            super().init_model_from_pretrained(strategy, pretrain, max_steps, *args, **kwargs)
        if getattr(self.actor, "is_vlm", False):
            # The host keeps the tokenizer alone, and exports a model without what reads its images.
            self.tokenizer = get_tokenizer(pretrain, None, "left", strategy)
        logger.info(f"rank {strategy.get_rank()}: {self.trainer.settings.describe()}")

    def forward(self, *args: Any, **kwargs: Any) -> Tensor | Scored:
        if not self.trainer.settings.needs_energies:
            return super().forward(*args, **kwargs)
        actor = WithSquares(self.actor)
        with rebound(self, "actor", actor):
            log_probs = super().forward(*args, **kwargs)
        return Scored(log_probs, actor.energies)

    def loss_signature(self) -> str:
        """What the driver compares across ranks before the first rollout."""
        return self.trainer.settings.signature()

    def save_checkpoint(self, tag: str, client_states: dict | None = None, **kwargs: Any) -> None:
        args = self.strategy.args
        ours = {"deltal": LossSettings.from_args(args).to_dict(), "run": saved_run(args, backends.load(args.backend))}
        client_states = {**(client_states or {}), **ours}
        super().save_checkpoint(tag, client_states, **kwargs)

    def save_model(self) -> None:
        """Export the model. The host calls this once, at the end of the run."""
        super().save_model()
        if self.strategy.is_rank_0():
            finished.mark(self.strategy.args)
