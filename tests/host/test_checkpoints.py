"""Checkpoints of the real DeepSpeed engine: the new one is whole before an old one goes, whatever ends the save."""

import os
from contextlib import suppress
from pathlib import Path

import pytest
from support.damage import flip_a_bit

from deltal_openrlhf.host import checkpoint_files, checkpoint_size, checksums, whole_checkpoints
from deltal_openrlhf.parity import Case, run_on_ranks


def _folders(path):
    return sorted(name for name in os.listdir(path) if os.path.isdir(os.path.join(path, name)))


def _saves(rank, folder):
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
        strategy.save_ckpt(engine, keywords.pop("folder", folder), tag, **keywords)

    def state():
        with open(os.path.join(folder, "latest")) as file:
            return [file.read(), *_folders(folder)]

    for _ in range(engine.gradient_accumulation_steps()):  # one optimizer step, so that Adam has moments
        engine.backward(sum(parameter.sum() for parameter in engine.module.parameters()))
        engine.step()
    for step in (1, 2, 3):
        save(f"global_step{step}")
    out["newest two"] = state()
    sizes = checksums.sizes_in(Path(folder, "global_step3"))
    out["bytes"] = [sum(sizes.values()), sum(parameter.numel() for parameter in engine.module.parameters())]
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
    out["full"] = _on_a_full_disk(strategy, engine, folder, save)
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
    out |= _damaged(strategy, engine, folder, save)
    out["critic"] = _killed_between_two_models(strategy, Path(folder, "two"), save)
    out["overtaken"] = _overtaken(strategy, Path(folder, "overtaken"), save)
    out["no latest"] = _without_latest(Path(folder, "no latest"), save)
    return out


def _on_a_full_disk(strategy, engine, folder, save):
    """What is said, and what is left, when torch cannot write."""
    import torch

    from deltal_openrlhf.runs import full_disk

    def torn(save_dir, tag, **keywords):
        os.makedirs(os.path.join(save_dir, tag))
        with open(os.path.join(save_dir, tag, "first.pt"), "wb") as file:
            file.write(b"0" * 1000)
        torch.save(engine.module.state_dict(), "/dev/full")

    strategy.args.actor.model_name_or_path = "none"
    engine.save_checkpoint, full_disk.free = torn, lambda path: 2**20
    try:
        save("global_step5")
    except OSError as error:
        return [str(error).replace(folder, "FOLDER"), *_folders(folder)]


def _damaged(strategy, engine, folder, save):
    """Which checkpoint is loaded, and its step, when newer ones are broken; with the message where none is left."""
    import contextlib
    import io

    from openrlhf.utils.deepspeed import DeepspeedStrategy

    out, kept = {}, Path(folder, "damaged")
    for step in (1, 2, 3):
        save(f"global_step{step}", folder=str(kept), max_num=3, client_state={"global_step": step})

    def load(loader=None):
        said = io.StringIO()
        with contextlib.redirect_stdout(said):
            path, states = (loader or type(strategy).load_ckpt)(strategy, engine, str(kept))
        warned = [line for line in said.getvalue().splitlines() if "BROKEN CHECKPOINT" in line]
        return [Path(path).parent.name, states["global_step"], warned]

    out["whole"] = load()
    flip_a_bit(next((kept / "global_step3").glob("*optim_states.pt")))
    out["flipped, the host"] = load(DeepspeedStrategy.load_ckpt)[:2]
    out["flipped"] = load()
    model = next((kept / "global_step2").glob("*model_states.pt"))
    os.truncate(model, model.stat().st_size - 1)
    out["flipped and cut short"] = load()
    save("global_step2", folder=str(kept), max_num=2, client_state={"global_step": 22})
    out["after a save"] = [*_folders(kept), load()[:2]]
    for tag in ("global_step1", "global_step2"):
        (kept / tag / "checksums.json").write_text("{")
    try:
        load()
    except ValueError as error:
        out["none left"] = str(error)
    return out


def _killed_between_two_models(strategy, folder, save):
    """The checkpoints of policy and critic after each save, with room for one: whichever is saved first, the run may be killed then."""
    strategy.args.algo.advantage.estimator = "gae"
    both = [folder / "_actor", folder / "_critic"]
    steps = [("global_step1", both), ("global_step2", both), ("global_step3", both[::-1]), ("best_global_step4", both)]
    steps += [("best_global_step5", both[::-1])]
    out = []
    for tag, order in steps:
        for one in order:
            save(tag, folder=str(one), max_num=1)
            out.append([_folders(model) if model.exists() else [] for model in both])
    return out


def _chosen(both):
    """The checkpoint that a run resumes from if it is killed now; None if it would not start."""
    with suppress(ValueError):
        return whole_checkpoints.choose(
            both[0], whole_checkpoints.tags_in(both[0]), whole_checkpoints.fault_in(both)
        ).tag


def _overtaken(strategy, folder, save):
    """What is chosen after each save of step 8 by a run that resumed from 6, since a run before it saved one model's step 8."""
    both = [folder / "_actor", folder / "_critic"]
    strategy.args.deltal.start = "first"
    for one, tag in ((both[0], "global_step6"), (both[1], "global_step6"), (both[0], "global_step8")):
        save(tag, folder=str(one), max_num=1)
    strategy.args.deltal.start, out = "second", [_chosen(both)]
    for one in both[::-1]:
        save("global_step8", folder=str(one), max_num=1)
        out.append(_chosen(both))
    return [*out, *(_folders(model) for model in both)]


def _without_latest(folder, save):
    """What is chosen once both have step 8, but the policy's `latest` could not be written."""
    from deltal_openrlhf.host import strategy as module
    from deltal_openrlhf.host.rebind import rebound

    both = [folder / "_actor", folder / "_critic"]
    for one in both:
        save("global_step6", folder=str(one), max_num=1)
    write = module.write_atomically

    def full(path, text):
        if path.name == "latest":
            raise OSError("no space left on device")
        write(path, text)

    with rebound(module, "write_atomically", full), suppress(OSError):
        save("global_step8", folder=str(both[0]), max_num=1)
    save("global_step8", folder=str(both[1]), max_num=1)
    return _chosen(both)


@pytest.fixture(scope="module")
def saves(tmp_path_factory):
    return run_on_ranks(1, _saves, str(tmp_path_factory.mktemp("ckpt")), timeout=110)[0]


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


def test_a_full_disk_is_named_and_gets_its_space_back(saves):
    line, *left = saves["full"]
    assert line == "[Errno 28] no space left in FOLDER: while checkpoint global_step5 was written; 1.0 MiB are free"
    assert left == ["best_global_step4", "global_step2", "global_step3"]


def test_policy_and_critic_always_have_one_in_common(saves):
    common = [sorted(set(actor) & set(critic)) for actor, critic in saves["critic"]]
    assert common == [
        [],
        ["global_step1"],
        ["global_step1"],
        ["global_step2"],
        ["global_step2"],
        ["global_step3"],
        ["global_step3"],
        ["best_global_step4", "global_step3"],
        ["best_global_step4", "global_step3"],
        ["best_global_step5", "global_step3"],
    ]
    for actor, critic in saves["critic"][1::2]:  # both were saved: the old ones are gone
        assert actor == critic


def test_a_step_that_an_earlier_start_saved_for_one_model_does_not_count_as_saved(saves):
    assert saves["overtaken"] == ["global_step6", "global_step6", "global_step8", ["global_step8"], ["global_step8"]]


def test_nothing_is_deleted_before_latest_of_both_models_names_the_new_one(saves):
    assert saves["no latest"] == "global_step6"


def test_a_step_that_is_saved_again_is_in_its_place_before_the_old_files_are_removed(tmp_path, monkeypatch):
    (tmp_path / "global_step8").mkdir()
    (tmp_path / ".saving" / "global_step8").mkdir(parents=True)
    (tmp_path / ".saving" / "global_step8" / "new").touch()
    seen = []
    monkeypatch.setattr(
        checkpoint_files.shutil,
        "rmtree",
        lambda path, **given: seen.append((tmp_path / "global_step8" / "new").exists()),
    )
    checkpoint_files.publish(tmp_path, "global_step8")
    assert seen and all(seen)  # so a kill while gigabytes are removed finds the new one there


def test_the_worst_metric_goes_first_and_the_newest_never(saves):
    assert saves["by metric"] == ["global_step8", "best_global_step4", "global_step7", "global_step8"]


def test_the_latest_one_loads(saves):
    assert saves["loaded"] == [1, True]


def test_a_flipped_bit_in_the_newest_one_is_said_and_the_one_before_is_loaded(saves):
    assert saves["whole"] == ["global_step3", 3, []]
    assert saves["flipped, the host"] == ["global_step3", 3]  # trains on
    tag, step, said = saves["flipped"]
    assert (tag, step, len(said)) == ("global_step2", 2, 1)
    assert (
        "global_step3 (" in said[0] and "optim_states.pt: its checksum differs); resuming from global_step2" in said[0]
    )


def test_a_checkpoint_that_was_cut_short_is_no_better(saves):
    tag, step, said = saves["flipped and cut short"]
    assert (tag, step) == ("global_step1", 1)
    assert "checksum differs), global_step2 (" in said[0] and "bytes, was saved with" in said[0]


def test_the_broken_one_goes_before_the_whole_ones(saves):
    # Saved anew after the run fell back: with room for two, the broken global_step3 goes, not the older global_step1.
    assert saves["after a save"] == ["global_step1", "global_step2", ["global_step2", 22]]


def test_without_a_whole_one_nothing_starts(saves):
    assert saves["none left"].startswith("no whole checkpoint is left in ")
    assert (
        "global_step2 (checksums.json: broken), global_step1 (checksums.json: broken); restore one"
        in saves["none left"]
    )


def test_the_size_is_what_checkpoint_size_expects(saves):
    written, parameters = saves["bytes"]
    width = 4  # fp32
    assert written == pytest.approx(parameters * (width + checkpoint_size.OPTIMIZER), rel=0.1)
