"""The host's Ray training worker, with our trainer inside."""

from typing import Any

from openrlhf.trainer.ray import ppo_actor
from openrlhf.utils.logging_utils import init_logger

from deltal_openrlhf.host.rebind import rebound
from deltal_openrlhf.host.settings import LossSettings
from deltal_openrlhf.host.strategy import DeltaLStrategy
from deltal_openrlhf.host.trainer import DeltaLActorTrainer

logger = init_logger(__name__)


class DeltaLPolicyModelActor(ppo_actor.PolicyModelActor.__ray_metadata__.modified_class):
    """Workers unpickle this class from our package, so nothing is patched in them but the trainer's name while it is built."""

    def init_model_from_pretrained(self, strategy: DeltaLStrategy, *args: Any, **kwargs: Any) -> None:
        with rebound(ppo_actor, "ActorPPOTrainer", DeltaLActorTrainer):
            super().init_model_from_pretrained(strategy, *args, **kwargs)
        logger.info(f"rank {strategy.get_rank()}: {self.trainer.settings.describe()}")

    def loss_signature(self) -> str:
        """What the driver compares across ranks before the first rollout."""
        return self.trainer.settings.signature()

    def save_checkpoint(self, tag: str, client_states: dict | None = None, **kwargs: Any) -> None:
        client_states = {**(client_states or {}), "deltal": LossSettings.from_args(self.strategy.args).to_dict()}
        super().save_checkpoint(tag, client_states, **kwargs)
