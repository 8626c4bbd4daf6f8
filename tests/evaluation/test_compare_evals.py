"""evals.jsonl: one line an evaluation, with the host's own loops of both controllers."""

import json
from contextlib import nullcontext
from types import SimpleNamespace

import pytest
import ray
import torch
from support.host_arguments import host_arguments

from deltal_openrlhf.host import stoppable
from deltal_openrlhf.host.controller import ControllerMixin, DeltaLController, DeltaLTrainingActor
from deltal_openrlhf.runs.metrics_file import read_metrics

ORDER = {"episode": 0, "prompts": 4, "drawn": 0, "waiting": []}


def arguments(folder, *flags: str):
    args = host_arguments(
        "--loss_agg", "deltal", "--ckpt.output_dir", str(folder), "--ckpt.best_metric_key", "none", *flags
    )
    args.eval.steps = 2
    args.ckpt.save_steps = float("inf")  # as the host's __init__ makes it of -1; a save would ask Ray
    return args


@pytest.fixture(autouse=True)
def no_ray_is_left():
    """The host's ray.get starts a Ray by itself, and the next test's ray.init would fail."""
    yield
    assert not ray.is_initialized()


def prepared(kind, args):
    """A controller without its workers: the host's __init__ asks for a Ray cluster."""

    class Host(kind):
        def _check_workers(self):
            pass

        def train_step(self, samples, step):
            self.trained.add({"deltal/optimizer_steps": 1.0})
            return {"deltal/weight_sum_x_M": 1.0}, step + 1

    controller = object.__new__(Host)
    controller.args = args
    controller.wandb_logger = controller.tensorboard_logger = None
    controller.best_eval_metric_key, controller.best_eval_metric_value = args.ckpt.best_metric_key, float("-inf")
    controller._latest_eval_metric_value = None
    controller.actor_model_group = SimpleNamespace(async_run_method=lambda **_: [])
    controller.critic_model_group = None
    controller.kl_ctl = SimpleNamespace(value=0.0)
    nothing = lambda *_, **__: None  # noqa: E731 - no driver listens
    controller.attention = SimpleNamespace(alive=nothing, check=nothing, asked=nothing, while_waiting=nullcontext)
    return controller


class Responses:
    """Four rollouts, and evaluations of one prompt with two samples."""

    left = 4

    def generate_samples(self, **_):
        self.left -= 1
        return ["sample"], 1.0, 1, self.left == 0

    def generate_eval_samples(self, **_):
        one = dict(prompts=["p"], index=[0], response_length=torch.tensor([3.0]), truncated=torch.tensor([False]))
        return [SimpleNamespace(rewards=reward, **one) for reward in (1.0, 0.0)]


def test_the_synchronous_controller_writes_its_evaluations(tmp_path):
    args = arguments(tmp_path, "--eval.n_samples_per_prompt", "2")
    controller = prepared(DeltaLController, args)
    controller.prompts_dataloader = type("Loader", (), {"__len__": lambda self: 4, "state_dict": lambda self: ORDER})()
    controller.eval_dataloader = [(["set"], ["p"], ["label"], [None])]
    controller.samples_generator, controller.generate_kwargs = Responses(), {}
    args.train.num_episodes = 1
    controller.fit()
    rows = read_metrics(str(tmp_path / "evals.jsonl"))
    assert [row["step"] for row in rows] == [2, 4]
    assert rows[0]["eval_set_pass1"] == 0.5 and rows[0]["eval_set_pass2"] == 1.0
    assert rows[0]["eval_set_response_length_mean"] == 3.0 and rows[0]["eval_num_samples"] == 2.0
    assert [row["step"] for row in read_metrics(str(tmp_path / "metrics.jsonl"))] == [1, 2, 3, 4]


def test_the_asynchronous_controller_writes_what_the_generating_actor_found(tmp_path, monkeypatch):
    monkeypatch.setattr(stoppable, "AttentiveQueue", lambda queue, attention: queue)
    controller = prepared(DeltaLTrainingActor, arguments(tmp_path))
    controller.init_checkpoint_states()
    controller.trained.resumed = True
    put = []
    waiting = [("eval", 2, {"eval_set_pass1": 0.25}), "done"]
    controller.rollout_queue = SimpleNamespace(get=lambda block: waiting.pop(0))
    controller.rollout_slots = SimpleNamespace(put=lambda step, block: put.append(step))
    controller.fit(global_step=2)
    (row,) = read_metrics(str(tmp_path / "evals.jsonl"))
    assert (row["step"], row["eval_set_pass1"], put) == (2, 0.25, [2])


@pytest.mark.parametrize(("resumed", "kept"), [(4, [2, 4, 6]), (3, [2, 6]), (0, [6])])
def test_a_resumed_run_keeps_the_evaluations_up_to_its_checkpoint(tmp_path, resumed, kept):
    class Host:
        best_eval_metric_value = 0.5

        def init_checkpoint_states(self):
            return {"global_step": resumed, "deltal": None, "episode": 0, "data_loader_state_dict": {}}

        def save_best_checkpoint(self, eval_metrics, global_step, client_states=None):
            pass

    class Controller(ControllerMixin, Host):
        def _check_workers(self):
            pass

    lines = [json.dumps({"step": step, "time": 7.5, "eval_x_pass1": 0.1}) for step in (2, 4)]
    (tmp_path / "evals.jsonl").write_text("\n".join(lines) + '\n{"step": 6, "ev')  # killed in mid-write
    controller = Controller.__new__(Controller)
    controller.kl_ctl = SimpleNamespace(value=0.0)
    controller.args = arguments(tmp_path, "--deltal.allow_changed_loss")
    controller.init_checkpoint_states()
    controller.save_best_checkpoint({"eval_x_pass1": float("nan"), "text": "x"}, 6)
    rows = read_metrics(str(tmp_path / "evals.jsonl"))
    assert [row["step"] for row in rows] == kept
    assert rows[-1]["eval_x_pass1"] is None and "text" not in rows[-1]  # JSON has no NaN
    assert (tmp_path / "evals.7.jsonl").exists() == (resumed == 0)
