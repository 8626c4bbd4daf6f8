"""The folders of a run before it starts: refused where they cannot be written, have too little space, or another run has them."""

import json
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from types import SimpleNamespace as Space

import pytest
import torch
from safetensors.torch import save_file

from deltal_openrlhf.host import checkpoint_size
from deltal_openrlhf.runs import full_disk
from deltal_openrlhf.train import disk
from deltal_openrlhf.train.last_save import LastSave

PARAMETERS = 1000 * 1000 + 24
WHOLE = 14 * PARAMETERS  # bf16, and 12 bytes of the optimizer
MIB = 2**20


@pytest.fixture
def model(tmp_path) -> str:
    (tmp_path / "model").mkdir()
    save_file({"weight": torch.zeros(1000, 1000)}, tmp_path / "model" / "model-00001-of-00002.safetensors")
    save_file({"bias": torch.zeros(24)}, tmp_path / "model" / "model-00002-of-00002.safetensors", metadata={"a": "b"})
    return str(tmp_path / "model")


def arguments(folder: Path, model: str = "none", **ckpt) -> Space:
    defaults = {"save_steps": 1, "max_num": 3, "max_mem": float("inf"), "save_hf": False, "disable_ds": False}
    defaults |= {"load_enable": False}
    paths = {"output_dir": str(folder / "out"), "path": str(folder / "ckpt"), "best_metric_key": ""}
    return Space(
        backend="deepspeed",
        actor=Space(model_name_or_path=model),
        critic=Space(model_name_or_path=None),
        algo=Space(advantage=Space(estimator="group_norm")),
        ds=Space(param_dtype="bf16", lora=Space(rank=0)),
        train=Space(enable_ema=False),
        eval=Space(dataset=None, steps=-1),
        deltal=Space(sgd=False),
        ckpt=Space(**defaults | paths | ckpt),
    )


def free_bytes(monkeypatch, size: float) -> None:
    monkeypatch.setattr(full_disk.shutil, "disk_usage", lambda path: Space(free=int(size)))


# ── Writing ──


@pytest.mark.parametrize("flag", ["output_dir", "path"])
def test_a_folder_that_cannot_be_written_is_named_with_its_flag(tmp_path, flag):
    (tmp_path / "file").write_text("")
    for place, reason in (
        ("/proc/deltal", "No such file|not permitted|Permission"),
        (tmp_path / "file", "Not a directory"),
    ):
        with pytest.raises(ValueError, match=f"^--ckpt.{flag} {place}/run cannot be written: .*({reason})"):
            disk.check(arguments(tmp_path, **{flag: f"{place}/run"}))


def test_checking_leaves_nothing_and_a_checkpoint_folder_without_checkpoints_is_not_asked(tmp_path):
    disk.check(arguments(tmp_path / "new" / "run"))
    assert list(tmp_path.iterdir()) == []
    disk.check(arguments(tmp_path, save_steps=-1, path="/proc/deltal/run"))


def test_a_broken_metrics_line_is_refused_before_the_start(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "evals.jsonl").write_text('{"step": 1}\n{"step": 2\n{"step": 3}\n')
    with pytest.raises(ValueError, match=r"out/evals.jsonl: line 2 is broken \(not JSON\)"):
        disk.check(arguments(tmp_path))


# ── Space ──


def test_the_size_follows_from_the_models_files(tmp_path, model):
    args = arguments(tmp_path, model)
    assert checkpoint_size.exported(args) == 2 * PARAMETERS
    assert checkpoint_size.checkpoint(args) == WHOLE
    args.train.enable_ema, args.ds.param_dtype = True, "fp32"
    assert checkpoint_size.checkpoint(args) == (4 + 12 + 4) * PARAMETERS
    args.algo.advantage.estimator, args.train.enable_ema = "gae", False
    assert checkpoint_size.checkpoint(args) == 2 * (4 + 12) * PARAMETERS
    assert checkpoint_size.checkpoint(arguments(tmp_path, "nobody/has-this-model")) is None


def test_what_the_flags_keep_has_to_fit(tmp_path, model, monkeypatch):
    kept = 4 * WHOLE  # three, and a fourth while it is saved
    free_bytes(monkeypatch, kept + 2 * PARAMETERS)
    disk.check(arguments(tmp_path, model))
    free_bytes(monkeypatch, kept + 2 * PARAMETERS - 1)
    with pytest.raises(ValueError) as refused:
        disk.check(arguments(tmp_path, model))
    assert str(refused.value) == (
        f"--ckpt.path {tmp_path}/ckpt has {(kept + 2 * PARAMETERS) / MIB:.1f} MiB free; 4 checkpoints of {WHOLE / MIB:.1f} MiB "
        f"(--ckpt.max_num 3, one while it is saved) take about {kept / MIB:.1f} MiB; free some, or set --ckpt.max_num or --ckpt.max_mem"
    )
    disk.check(arguments(tmp_path, model, max_num=2))
    disk.check(arguments(tmp_path, model, max_mem=WHOLE / 2**30))
    disk.check(arguments(tmp_path, model, save_steps=-1))


def test_checkpoints_that_are_there_make_room_for_new_ones(tmp_path, model, monkeypatch):
    (tmp_path / "ckpt" / "_actor" / "global_step1").mkdir(parents=True)
    with open(tmp_path / "ckpt" / "_actor" / "global_step1" / "model.pt", "wb") as file:
        file.truncate(3 * WHOLE)
    free_bytes(monkeypatch, WHOLE + 2 * PARAMETERS)
    disk.check(arguments(tmp_path, model))
    free_bytes(monkeypatch, WHOLE)
    with pytest.raises(ValueError, match="^--ckpt.path .* free"):
        disk.check(arguments(tmp_path, model))


# ── Two runs ──


def refusal(folder: Path) -> str:
    try:
        disk.lock(arguments(folder))
    except ValueError as error:
        return str(error)
    return ""


def test_the_second_run_in_a_folder_is_refused_until_the_first_ends(tmp_path):
    held = disk.lock(arguments(tmp_path))
    with ProcessPoolExecutor(1, get_context("fork")) as another_process:
        assert another_process.submit(refusal, tmp_path).result() == (
            f"--ckpt.output_dir {tmp_path}/out: another run is writing there; wait for its end, or take another folder"
        )
        for file in held:
            file.close()
        assert another_process.submit(refusal, tmp_path).result() == ""


def test_runs_may_share_a_checkpoint_folder_that_none_of_them_writes(tmp_path):
    assert len(disk.lock(arguments(tmp_path))) == 2
    assert (
        len(disk.lock(arguments(tmp_path, save_steps=-1, load_enable=True))) == 2
    )  # it resumes from what others save there
    assert len(disk.lock(arguments(tmp_path, save_steps=-1))) == 1
    assert len(disk.lock(arguments(tmp_path, path=str(tmp_path / "out")))) == 1


def test_a_model_is_counted_once_where_its_weights_are_there_twice(tmp_path):
    weights = {"weight": torch.zeros(10, 10)}
    for name in ("model-00001-of-00001.safetensors", "consolidated.safetensors"):
        save_file(weights, tmp_path / name)
    assert checkpoint_size.parameters(str(tmp_path)) == 200
    index = {"weight_map": {"weight": "model-00001-of-00001.safetensors"}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    assert checkpoint_size.parameters(str(tmp_path)) == 100


# ── The last save of a run that is told to stop ──


def lock_taken(folder: Path) -> str | None:
    return LastSave(arguments(folder, save_steps=-1)).forbidden()


def test_a_run_that_saves_nothing_locks_its_folder_when_it_is_told_to_stop(tmp_path):
    first, second = (arguments(tmp_path / "shared", save_steps=-1, output_dir=str(tmp_path / name)) for name in "ab")
    locks = [*disk.lock(first), *disk.lock(second)]  # both train
    held = LastSave(first)
    with ProcessPoolExecutor(1, get_context("fork")) as another_process:
        assert another_process.submit(lock_taken, tmp_path / "shared").result() is None
    with ProcessPoolExecutor(1, get_context("fork")) as another_process:
        assert held.forbidden() is None
        assert another_process.submit(lock_taken, tmp_path / "shared").result() == (
            f"--ckpt.path {tmp_path}/shared/ckpt: another run is writing there; wait for its end, or take another folder"
        )
    assert (
        LastSave(arguments(tmp_path, save_steps=-1, path="/proc/deltal/run"))
        .forbidden()
        .startswith("--ckpt.path /proc/deltal/run cannot be written: ")
    )
    assert LastSave(arguments(tmp_path, save_steps=-1, path="/proc/deltal/run", disable_ds=True)).forbidden() is None
    assert len(locks) == 2


def test_a_run_that_saves_nothing_leaves_the_checkpoints_of_another_alone(tmp_path, model):
    latest = tmp_path / "ckpt" / "_actor" / "latest"
    latest.parent.mkdir(parents=True)
    args = arguments(tmp_path, model, save_steps=-1)
    begun_before = LastSave(args)
    latest.write_text("global_step40")  # it has ended, and its lock is free
    says = f"--ckpt.path {tmp_path}/ckpt holds global_step40 of another run; take another folder"
    assert begun_before.forbidden() == LastSave(args).forbidden() == disk.last_save_fails(args) == says
    for flags in ({"save_steps": 5}, {"save_steps": -1, "load_enable": True}):
        asked = arguments(tmp_path, model, **flags)
        assert LastSave(asked).forbidden() is disk.last_save_fails(asked) is None


def test_a_run_that_saves_by_itself_needs_no_disk_to_be_told_to_stop(tmp_path, monkeypatch):
    last_saves = [LastSave(arguments(tmp_path, **flags)) for flags in ({"save_steps": 5}, {"load_enable": True})]
    for name in ("existing", "newest", "lock_one"):
        monkeypatch.setattr(disk, name, lambda *given: pytest.fail("the disk does not answer"))
    assert [last_save.forbidden() for last_save in last_saves] == [None, None]


def test_a_last_save_that_cannot_succeed_is_said_at_the_start(tmp_path, model, monkeypatch):
    assert disk.last_save_fails(arguments(tmp_path, model, save_steps=-1)) is None
    unwritable = disk.last_save_fails(arguments(tmp_path, model, save_steps=-1, path="/proc/deltal/run"))
    assert unwritable.startswith("--ckpt.path /proc/deltal/run cannot be written: ")
    free_bytes(monkeypatch, WHOLE - 1)
    assert disk.last_save_fails(arguments(tmp_path, model, save_steps=-1)).startswith(
        f"--ckpt.path {tmp_path}/ckpt has "
    )
    assert disk.last_save_fails(arguments(tmp_path, model, save_steps=-1, disable_ds=True)) is None
    free_bytes(monkeypatch, WHOLE)
    assert disk.last_save_fails(arguments(tmp_path, model, save_steps=-1)) is None
