"""Why a run stopped, in one line."""

import pytest

from deltal_openrlhf.train import reasons

DIED = """The actor died unexpectedly before finishing this task.
	class_name: DeltaLRolloutRayActor
	actor_id: 1
	pid: 77
The actor is dead because its worker process has died. Worker exit type: SYSTEM_ERROR"""
WHO = "\x1b[36m(DeltaLRolloutRayActor pid={})\x1b[0m "
STACKS = """Timeout (0:02:05)!
Thread 0x1 (most recent call first):
  File "/a/my rewards.py", line 7 in slow
  File "/b/deltal_openrlhf/host/reward_wait.py", line 30 in call
  File "/c/thread.py", line 58 in run
"""


@pytest.mark.parametrize(("pid", "named"), [(77, True), (78, False)])
def test_a_reward_function_that_held_pythons_lock_is_named(pid, named, tmp_path, monkeypatch):
    monkeypatch.setattr(reasons, "_LOG_WITHIN", 0.0)
    log = tmp_path / "train.log"
    log.write_text("".join(f"{WHO.format(pid)}{line}\n" for line in STACKS.splitlines()))
    said = reasons.reason(RuntimeError(DIED), log)
    assert said.startswith(
        "no reward from /a/my rewards.py, line 7 in slow: it blocked its process for longer than --deltal.reward_wait; worker "
        "DeltaLRolloutRayActor (pid 77) ended itself"
        if named
        else "worker DeltaLRolloutRayActor (pid 77) died: The actor is dead because its worker process has died"
    )


class RayTaskError(Exception):
    """Stands for Ray's, which is known by its name."""


OUTER = "\x1b[36mray::PPOTrainerAsync.fit()\x1b[39m (pid=8, ip=192.0.2.2, actor_id=2, repr=<a.D object at 0x7f>)\n"
TASK = '\x1b[36mray::{}()\x1b[39m (pid=7, ip=192.0.2.2, actor_id=1, repr=<a.B object at 0x7e>)\n  File "a.py", line 7, in b\n    c()\n'
ENGINE = "EngineDeadError: EngineCore encountered an issue. See stack trace (above) for the root cause."
GLOO = (
    "RuntimeError: [/pytorch/gloo/transport/tcp/pair.cc:553] Connection closed by peer [127.0.0.1]:23709. This is typically caused by a "
    "remote worker crashing. Check the logs of the remote worker before reporting an error."
)


@pytest.mark.parametrize(
    ("task", "last", "said"),
    [
        (
            "RolloutRayActor.generate_responses",
            f"vllm.v1.engine.exceptions.{ENGINE}",
            "vLLM's process EngineCore died: it was killed or crashed",
        ),
        (
            "PolicyModelActor.broadcast_to_vllm",
            GLOO,
            "the process that PolicyModelActor.broadcast_to_vllm exchanges tensors with died: it was killed or crashed (Connection closed "
            "by peer [127.0.0.1]:23709)",
        ),
        (
            "PolicyModelActor.broadcast_to_vllm",
            "RuntimeError: [/gloo/tcp/pair.cc:537] Read error [127.0.0.1]:37285: Connection reset by peer. This is typically",
            "the process that PolicyModelActor.broadcast_to_vllm exchanges tensors with died: it was killed or crashed (Read error "
            "[127.0.0.1]:37285: Connection reset by peer)",
        ),
        ("PolicyModelActor.fit", "ValueError: Connection closed", "ValueError: Connection closed"),
    ],
)
def test_an_error_that_only_says_that_another_process_is_gone_is_said_in_words(task, last, said):
    """The texts are those of runs whose engine was killed, in generation and in weight sync."""
    assert reasons.reason(RayTaskError(OUTER + TASK.format(task) + last)) == said
