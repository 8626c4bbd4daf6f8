"""Two ranks save and load: what one of them cannot write or does not see is the same error, or the same choice, on both."""

import errno
import json
import zlib
from contextlib import ExitStack
from pathlib import Path

import pytest
from support.damage import flip_a_bit

from deltal_openrlhf.host.rebind import rebound
from deltal_openrlhf.parity import Case
from deltal_openrlhf.parity.spawn import RankPool

EARLIER, TAG = "global_step1", "global_step2"
FAILED = (
    *(
        "room",
        "a rank's part",
        "all parts",
        "torch's file",
        "DeepSpeed's folder",
        "DeepSpeed's script",
        "the average",
        "run.json",
    ),
    *("a share of the checksums", "checksums.json", "the place", "an old one"),
)


def _cannot(*given, **options):
    raise OSError(errno.EIO, "the disk is gone")


def _torch_cannot(*given, **options):
    raise RuntimeError("unexpected pos 64 vs 0")  # what its writer says of any failed write


def _writers(engine):
    """{what is written: (ranks that cannot write it, owner of the function that writes it, its name)}"""
    from deltal_openrlhf.host import checkpoint_files, checksums, ema, strategy

    files = engine.checkpoint_engine
    return {
        "room": ([0], checkpoint_files, "begin"),
        "a rank's part": ([1], files, "save"),
        "all parts": ([0, 1], files, "save"),
        "torch's file": ([1], files, "save"),
        "DeepSpeed's folder": ([0], files, "makedirs"),
        "DeepSpeed's script": ([0], engine, "_copy_recovery_script"),
        "the average": ([0], ema, "save_file"),
        "run.json": ([0], strategy, "write_atomically"),
        "a share of the checksums": ([1], checksums, "of"),
        "checksums.json": ([0], checksums, "write"),
        "the place": ([0], checkpoint_files, "publish"),
        "an old one": ([0], checkpoint_files, "delete"),
    }


def _trainer():
    from deltal_openrlhf.parity.host_update import build_trainer

    return build_trainer(Case(micro=2, zero=1, ema=True, adamw=True, world=2))


def _saves(rank, folder):
    """{what could not be written: [what this rank raised, files aside, checkpoints, `latest`]}, with a last save that nothing disturbs."""
    import torch.distributed as dist

    trainer = _trainer()
    strategy, engine, found = trainer.strategy, trainer.actor.model, {}

    def save(tag):
        states = {"deltal": {}, "run": {}}
        try:
            strategy.save_ckpt(engine, folder, tag, max_num=1, client_state=states)
            said = None
        except Exception as error:
            said = f"{type(error).__name__}: {error}"
        dist.barrier()
        names = sorted(path.name for path in Path(folder).iterdir() if path.is_dir())
        checkpoints = [name for name in names if not name.startswith(".")]
        result = [said, ".saving" in names, checkpoints, Path(folder, "latest").read_text()]
        dist.barrier()
        return result

    save(EARLIER)
    for name, (ranks, owner, function) in _writers(engine).items():
        with ExitStack() as stack:
            if rank in ranks:
                stack.enter_context(rebound(owner, function, _torch_cannot if name == "torch's file" else _cannot))
            found[name] = save(TAG)
    found["nothing"] = save("global_step3")
    return found | _unseen(rank, strategy, engine, folder, save)


def _unseen(rank, strategy, engine, folder, save):
    """What is in checksums.json if rank 0 sees its own files only, and what is loaded where rank 0 sees no checkpoint."""
    from deltal_openrlhf.host import checksums, whole_checkpoints

    sizes_in = checksums.sizes_in
    own = (checksums, "sizes_in", lambda path: {k: v for k, v in sizes_in(path).items() if "rank_1" not in k})
    none = (whole_checkpoints, "newest", lambda path: None)
    with ExitStack() as stack:
        if rank == 0:
            stack.enter_context(rebound(*own))
        save("global_step4")
    files = json.loads(Path(folder, "global_step4", "checksums.json").read_text())["files"]
    with ExitStack() as stack:
        if rank == 0:
            stack.enter_context(rebound(*none))
        loaded = strategy.load_ckpt(engine, folder)
    return {"files": sorted(files), "loaded": loaded}


def _choices(rank, folder):
    """{what rank 1 does not see: the tag that this rank resumes from, or the error}. The newest checkpoint is broken."""
    from deltal_openrlhf.host import whole_checkpoints

    strategy = _trainer().strategy
    hidden = {
        "nothing": (whole_checkpoints, "_STEP", whole_checkpoints._STEP),
        "the older ones": (whole_checkpoints, "_before", lambda *given: []),
        "any": (whole_checkpoints, "newest", lambda folder: None),
    }
    found = {}
    for name, change in hidden.items():
        with ExitStack() as stack:
            if rank == 1:
                stack.enter_context(rebound(*change))
            found[name] = strategy.resumed_tag(Path(folder))
    return found


class _NotPickled(Exception):
    def __init__(self):
        super().__init__("holds a function")
        self.function = lambda: None


class _NotUnpickled(Exception):
    def __init__(self, file, line):
        super().__init__(f"{file}, line {line}")


def _raised(rank):
    """What this rank raises for an error of rank 1, and whether the ranks are in step afterwards."""
    from deltal_openrlhf.host.collectives import everyones, on_all_ranks

    found = []
    for error in (_NotPickled(), _NotUnpickled("a.pt", 3), FileExistsError(errno.EEXIST, "it is there", "a.pt")):

        def step(error=error):
            if rank == 1:
                raise error

        try:
            on_all_ranks(step)
        except Exception as raised:
            found.append(f"{type(raised).__name__}: {raised}")
    return [*found, everyones(rank)]


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    broken = tmp_path_factory.mktemp("broken")
    for tag in (EARLIER, TAG):
        (broken / tag).mkdir()
        (broken / tag / "a.pt").write_bytes(bytes(100))
        entry = {"bytes": 100, "crc32": [f"{zlib.crc32(bytes(100)):08x}"]}
        (broken / tag / "checksums.json").write_text(json.dumps({"files": {"a.pt": entry}}))
        (broken / "latest").write_text(tag)
    flip_a_bit(broken / TAG / "a.pt")
    with RankPool(2) as pool:
        return {
            "saves": pool.call(_saves, str(tmp_path_factory.mktemp("ckpt")), timeout=100),
            "raised": pool.call(_raised, timeout=60),
            "choices": pool.call(_choices, str(broken), timeout=60),
        }


@pytest.mark.parametrize("what", FAILED)
def test_what_one_rank_cannot_write_both_raise(outcomes, what):
    first, second = (found[what] for found in outcomes["saves"])
    assert first == second
    said, is_aside, checkpoints, latest = first
    if what == "torch's file":
        assert said == "RuntimeError: unexpected pos 64 vs 0"
    else:
        assert said == "OSError: [Errno 5] the disk is gone"
    if what == "an old one":
        assert (checkpoints, latest) == ([EARLIER, TAG], TAG)
    else:
        assert (is_aside, checkpoints, latest) == (False, [EARLIER], EARLIER)


def test_an_error_that_cannot_be_sent_to_other_ranks_is_named_there(outcomes):
    same = "FileExistsError: [Errno 17] it is there: 'a.pt'"
    assert outcomes["raised"] == [
        [
            "RuntimeError: _NotPickled: holds a function",
            "RuntimeError: _NotUnpickled: a.pt, line 3",
            same,
            [0, 1],
        ],
        ["_NotPickled: holds a function", "_NotUnpickled: a.pt, line 3", same, [0, 1]],
    ]


def test_the_next_save_is_whole(outcomes):
    for found in outcomes["saves"]:
        assert found["nothing"] == [None, False, ["global_step3"], "global_step3"]


def test_the_files_of_all_ranks_have_checksums_though_rank_0_does_not_see_them(outcomes):
    for found in outcomes["saves"]:
        assert [name for name in found["files"] if "rank_1" in name] == ["zero_pp_rank_1_mp_rank_00_optim_states.pt"]


def test_where_rank_0_sees_no_checkpoint_none_is_loaded(outcomes):
    assert [found["loaded"] for found in outcomes["saves"]] == [[None, {}], [None, {}]]


@pytest.mark.parametrize("hidden", ["nothing", "the older ones", "any"])
def test_ranks_that_see_other_folders_choose_the_same_checkpoint(outcomes, hidden):
    assert [found[hidden] for found in outcomes["choices"]] == [EARLIER, EARLIER]
