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
        "no reward from /a/my rewards.py, line 7 in slow: it let nothing else run for longer than --deltal.reward_wait; worker "
        "DeltaLRolloutRayActor (pid 77) ended itself"
        if named
        else "worker DeltaLRolloutRayActor (pid 77) died: The actor is dead because its worker process has died"
    )
