"""The host's controllers in this process, sync and async: its own loops, loaders and queues around engines, workers and a disk that are
simulated, and that are killed together at any moment.

Ray's calls return at once. Engines answer in random order; a response follows from the weights, the prompt and its seed.
"""

import random
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from types import SimpleNamespace
from typing import Any, ClassVar

import datasets
import ray
from openrlhf.trainer import ppo_trainer, ppo_trainer_async
from openrlhf.trainer.ppo_utils import samples_generator
from openrlhf.trainer.ray import vllm_engine
from openrlhf.utils.deepspeed import DeepspeedStrategy
from support.host_arguments import host_arguments
from support.killable import SAMPLES, Disk, Engine, Killed, Waiting, Workers, World, acquire

from deltal_openrlhf.host import controller
from deltal_openrlhf.host.rebind import rebound
from deltal_openrlhf.host.sampling import SeededRolloutActor
from deltal_openrlhf.host.settings import LossSettings
from deltal_openrlhf.statistics.adaptive_alpha import AdaptiveAlpha


def recording(controller_class: type, world: World) -> type:
    """The controller, which also notes what each step trains on."""

    class Recording(controller_class):
        def train_step(self, rollout_samples: list, global_step: int) -> tuple:
            result = super().train_step(rollout_samples, global_step)
            world.disk.steps[global_step + 1] = [sample.prompts[0] for sample in rollout_samples[::SAMPLES]]
            return result

        def init_checkpoint_states(self) -> dict:
            states = super().init_checkpoint_states()
            kept = states["global_step"]
            world.disk.steps = {step: prompts for step, prompts in world.disk.steps.items() if step <= kept}
            return states

    return Recording


def run(disk: Disk, *flags: str, prompts: int, stock: bool = False, **world: Any) -> bool:
    """Train until the end, or until the world is killed. Resumes from the disk. Returns whether it came to the end.

    prompts: rows of the data set. stock: the host's own classes. world: of World.
    """
    args = arguments(*flags)
    this = World(disk, **({"order": random.Random(0)} | world))
    with simulated(this, prompts):
        try:
            (run_async if args.train.async_enable else run_sync)(this, args, stock)
        except Killed:
            return False
    disk.weights = this.weights
    return True


def arguments(*flags: str) -> Any:
    args = host_arguments(
        *f"--loss_agg deltal --actor.model_name_or_path none --rollout.n_samples_per_prompt {SAMPLES} --rollout.batch_size 4 "
        "--train.batch_size 8 --reward.remote_url reward.py --algo.advantage.estimator group_norm --algo.kl.init_coef 0 "
        "--data.prompt_dataset none --data.input_key input --data.label_key label --ckpt.save_steps 1 --ckpt.load_enable "
        "--ckpt.path / --data.max_len 64".split(),
        *flags,
    )
    # As the host sets them once all flags are read.
    args.critic.model_name_or_path = None
    args.deltal.data = None
    args.rollout.vllm_generate_batch_size = args.rollout.vllm_generate_batch_size or args.rollout.batch_size
    args.eval.steps = float("inf") if args.eval.steps == -1 else args.eval.steps
    return args


class Maker:
    """Makes nothing of a rollout batch, but shows an adaptive alpha responses that follow from the number of the rollout.

    alphas: those in force, of all rollouts.
    """

    alphas: ClassVar[list[float]] = []

    def __init__(self, *args: Any) -> None:
        self.logs, settings = {}, LossSettings.from_args(args[-2].args)
        if settings.alpha is not None and settings.alpha_window is not None:
            self.adaptive = AdaptiveAlpha(settings.alpha, settings.alpha_window, seed=1)

    def make_experience_batch(self, samples: list) -> list:
        if hasattr(self, "adaptive"):
            self.alphas.append(self.adaptive.alpha)
            rng = random.Random(self.adaptive.rollouts)
            lengths, grows = [rng.randint(1, 99) for _ in range(200)], rng.random()
            self.adaptive.add(lengths, [n**grows for n in lengths], [i // 10 for i in range(200)])
        return list(samples)


@contextmanager
def simulated(world: World, prompts: int) -> Iterator[None]:
    """Ray, data files, tokenizer and the run folder's files for as long as the block runs."""
    rows = datasets.Dataset.from_list([{"input": f"p{i}", "label": ""} for i in range(prompts)])

    def wait(refs: list, **given: Any) -> tuple[list, list]:
        world.tick()
        chosen = world.order.randrange(len(refs))
        return [refs[chosen]], refs[:chosen] + refs[chosen + 1 :]

    tokenizer = SimpleNamespace(decode=lambda tokens, **given: ["text"], pad_token_id=0)

    quiet = SimpleNamespace(append=lambda row: None, save_if_due=lambda samples, step: None)
    with ExitStack() as stack:
        # Both halves of an asynchronous run put theirs in its place, and in one process do not take it back in turn.
        stack.enter_context(rebound(samples_generator, "ray", samples_generator.ray))
        for owner, name, value in (
            (ray, "get", lambda value: value),
            (ray, "wait", wait),
            (ppo_trainer, "blending_datasets", lambda *args, **given: rows),
            (ppo_trainer, "get_tokenizer", lambda *args, **given: tokenizer),
            (ppo_trainer_async, "get_tokenizer", lambda *args, **given: tokenizer),
            (ppo_trainer, "RemoteExperienceMaker", Maker),
            (controller, "DeltaLExperienceMaker", Maker),
            (controller, "MetricsFile", lambda *args, **given: quiet),
            (controller, "RolloutFiles", lambda *args, **given: quiet),
            (controller.run_settings, "write", lambda *args: None),
            (ppo_trainer.os.path, "exists", lambda path: world.disk.latest is not None),
        ):
            stack.enter_context(rebound(owner, name, value))
        yield


def strategy(args: Any) -> Any:
    made = SimpleNamespace(args=args, print=lambda *args: None, is_rank_0=lambda: False, steps_of_rollout=lambda n: 1)
    made.setup_dataloader = lambda *given, **named: DeepspeedStrategy.setup_dataloader(made, *given, **named)
    return made


def hosts(actor: Any) -> type:
    return actor.__ray_metadata__.modified_class


def engines(world: World, stock: bool) -> list[Engine]:
    return [Engine(world, hosts(vllm_engine.RolloutRayActor) if stock else SeededRolloutActor) for _ in range(2)]


def run_sync(world: World, args: Any, stock: bool) -> None:
    kind = recording(hosts(ppo_trainer.PPOTrainer) if stock else controller.DeltaLController, world)
    workers = Workers(world, args)
    kind("none", strategy(args), workers, None, None, None, engines(world, stock), max_len=64).fit()


def run_async(world: World, args: Any, stock: bool) -> None:
    """As PPOTrainerAsync: the same queues, tokens and order of calls, the two halves in threads."""
    size, lock = args.train.async_queue_size, threading.Lock()
    rollouts, slots = Waiting(world, size), Waiting(world, size)
    for _ in range(size):
        slots.put(0)
    mutex = SimpleNamespace(
        acquire=SimpleNamespace(remote=lambda: acquire(lock, world)), release=SimpleNamespace(remote=lock.release)
    )
    shared = {"vllm_lock": mutex, "rollout_queue": rollouts, "rollout_slots": slots}
    training = recording(hosts(ppo_trainer_async.TrainingActor) if stock else controller.DeltaLTrainingActor, world)
    generating = hosts(ppo_trainer_async.GenerateSamplesActor) if stock else controller.DeltaLGenerateSamplesActor
    vllm = engines(world, stock)
    generator = generating("none", strategy(args), vllm, **shared, max_len=64)
    trainer = training("none", strategy(args), Workers(world, args), None, None, None, vllm, **shared)

    if args.eval.dataset and not stock:
        trainer.prepare_evaluation(max_len=64)
    states = trainer.init_checkpoint_states()
    trainer.restore_best_checkpoint_state(states)
    step = states["global_step"]
    if step > 0:
        generator.load_state_dict(states["data_loader_state_dict"])
        trainer.broadcast_to_vllm()
    failures: list[BaseException] = []

    def generate() -> None:
        try:
            generator.fit(episode=states["episode"], total_consumed_prompts=states.get("total_consumed_prompts", 0))
        except BaseException as error:  # noqa: BLE001 - raised again below
            failures.append(error)
            world.dead = True

    thread = threading.Thread(target=generate)
    thread.start()
    try:
        trainer.fit(global_step=step)
    except BaseException as error:
        world.dead = True
        if not isinstance(error, Killed):
            raise
        failures.append(error)
    finally:
        thread.join()
    if failures:
        raise next((failure for failure in failures if not isinstance(failure, Killed)), failures[0])
