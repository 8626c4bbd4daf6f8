"""Checkpoints of the real DeepSpeed engine: the new one is whole before an old one goes, whatever ends the save."""

import pytest

from deltal_openrlhf.parity import Case, run_on_ranks


def _folders(path):
    import os

    return sorted(name for name in os.listdir(path) if os.path.isdir(os.path.join(path, name)))


def _saves(rank, folder):
    import os

    from deltal_openrlhf.parity.host_update import build_trainer, parameters

    trainer = build_trainer(Case(adamw=True))
    strategy, engine = trainer.strategy, trainer.actor.model
    out = {}

    def save(tag, **keywords):
        keywords = {
            "max_num": 2,
            "max_mem": 100,
            "client_state": {"global_step": 1, "deltal": {"alpha": 0.5}},
        } | keywords
        strategy.save_ckpt(engine, folder, tag, **keywords)

    def state():
        with open(os.path.join(folder, "latest")) as file:
            return [file.read(), *_folders(folder)]

    for step in (1, 2, 3):
        save(f"global_step{step}")
    out["newest two"] = state()
    out["settings"] = open(os.path.join(folder, "global_step3", "deltal.json")).read()
    save("best_global_step3", metric_value=0.4)
    save("best_global_step4", metric_value=0.5)
    out["one best beside them"] = state()
    # A save that fails half way: during it the old best one is still there, and so it stays.
    host_save = engine.save_checkpoint

    def failing(save_dir, tag, **keywords):
        host_save(save_dir, tag=tag, **keywords)
        out["during"] = state()
        raise OSError("no space left on device")

    engine.save_checkpoint = failing
    for tag in ("best_global_step5", "global_step5"):
        try:
            save(tag)
        except OSError:
            out[f"after a failed {tag}"] = [n for n in state() if not n.startswith(".")]
    engine.save_checkpoint = host_save
    save("global_step6", metric_value=0.1)
    save("global_step7", metric_value=0.9)
    save("global_step8", metric_value=0.2)  # the worst with a metric goes first
    out["by metric"] = state()
    before = {name: value.clone() for name, value in parameters(trainer.actor).items()}
    for parameter in engine.module.parameters():
        parameter.data.zero_()
    _, states = strategy.load_ckpt(engine, folder)
    after = parameters(trainer.actor)
    out["loaded"] = [states["global_step"], all(bool((after[n] == before[n]).all()) for n in before)]
    return out


@pytest.fixture(scope="module")
def saves(tmp_path_factory):
    return run_on_ranks(1, _saves, str(tmp_path_factory.mktemp("ckpt")), timeout=60)[0]


def test_the_oldest_goes_once_the_newest_is_whole(saves):
    assert saves["newest two"] == ["global_step3", "global_step2", "global_step3"]
    assert saves["settings"] == '{"alpha": 0.5}'


def test_the_best_one_is_kept_beside_them(saves):
    assert saves["one best beside them"] == ["best_global_step4", "best_global_step4", "global_step2", "global_step3"]


def test_a_save_that_fails_loses_nothing(saves):
    assert saves["during"] == ["best_global_step4", ".saving", "best_global_step4", "global_step2", "global_step3"]
    for tag in ("best_global_step5", "global_step5"):
        assert saves[f"after a failed {tag}"] == [
            "best_global_step4",
            "best_global_step4",
            "global_step2",
            "global_step3",
        ]


def test_the_worst_metric_goes_first_and_the_newest_never(saves):
    assert saves["by metric"] == ["global_step8", "best_global_step4", "global_step7", "global_step8"]


def test_the_latest_one_loads(saves):
    assert saves["loaded"] == [1, True]
