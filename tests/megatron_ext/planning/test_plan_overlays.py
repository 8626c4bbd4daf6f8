"""configs/overlays/megatron: the real command takes each with --dry_run, and the planner says that it fits and is near the best."""

import shutil
from pathlib import Path

import pytest
import yaml
from support.launches import launch_all

from deltal_openrlhf.cli.plan import parser, request_of
from megatron_ext.layout import ParallelLayout
from megatron_ext.planning.search import Plan, plans

ROOT = Path(__file__).parents[3]
OVERLAYS = ROOT / "configs" / "overlays" / "megatron"
MODELS, LENGTHS = {"7b": 8, "32b": 32, "72b": 64}, {"16k": 16384, "32k": 32768}
RUNS = [(model, length) for model in MODELS for length in LENGTHS]


def settings(model: str, length: str) -> dict:
    files = [ROOT / "configs" / "math-deltal.yaml", *(OVERLAYS / f"{name}.yaml" for name in (model, length))]
    merged = {}
    for file in files:
        merged |= yaml.safe_load(file.read_text(encoding="utf-8"))
    return merged


@pytest.fixture(scope="module")
def dry_runs(tmp_path_factory) -> dict[tuple, tuple]:
    """(model, length) -> (exit status, stdout, stderr); the model's configuration lies in a folder."""
    folder = tmp_path_factory.mktemp("models")
    cases = {}
    for model, length in RUNS:
        (folder / model).mkdir(exist_ok=True)
        shutil.copy(ROOT / "configs" / "models" / f"qwen2.5-{model}.json", folder / model / "config.json")
        files = [ROOT / "configs" / "math-deltal.yaml", *(OVERLAYS / f"{name}.yaml" for name in (model, length))]
        words = [word for file in files for word in ("--config", str(file))]
        cases[model, length] = [*words, "--actor.model_name_or_path", str(folder / model), "--dry_run"]
    return launch_all(cases, folder)


@pytest.mark.parametrize(("model", "length"), RUNS)
def test_deltal_train_accepts_it(dry_runs, model, length):
    code, out, err = dry_runs[model, length]
    assert (code, err) == (0, "")
    assert "M is not the longest response" not in out
    given = settings(model, length)
    layout = layout_of(given)
    data_parallel = MODELS[model] // layout.replica
    assert f"{layout.describe()}, data parallel {data_parallel}" in out
    assert f"{given['data.max_len']:,}" in out


def layout_of(given: dict) -> ParallelLayout:
    names = ("tensor", "pipeline", "context")
    sizes = {name: given.get(f"megatron.{name}_parallel_size", 1) for name in names}
    return ParallelLayout(**sizes, sequence_parallel=given["megatron.sequence_parallel"])


def roomy(given: dict) -> dict[ParallelLayout, Plan]:
    """Those that leave 8 GiB beside the reserve of 8, without an interleaved schedule, which asks for a number of micro batches."""
    words = [
        *(
            "--model",
            str(ROOT / "configs" / "models" / f"{given['actor.model_name_or_path'].split('/')[1].lower()}.json"),
        ),
        *("--gpus", str(given["actor.num_nodes"] * given["actor.num_gpus_per_node"]), "--gpu_memory", "80"),
        *(
            "--max_sequence_length",
            str(given["data.max_len"]),
            "--vllm_share",
            str(given["vllm.gpu_memory_utilization"]),
        ),
        *("--tokens_per_micro_batch", str(given["megatron.max_tokens_per_micro_batch"])),
        *("--batch_size", str(given["train.batch_size"])),
    ]
    found, _ = plans(request_of(parser().parse_args(words)))
    return {p.layout: p for p in found if p.free >= 8 and p.layout.virtual_pipeline is None}


@pytest.mark.parametrize("model", MODELS)
def test_the_planner_says_that_it_fits_and_that_none_is_better_at_both_lengths(model):
    short, long = (settings(model, length) for length in LENGTHS)
    layout = layout_of(short)
    at_short, at_long = roomy(short), roomy(long)
    for given, found in ((short, at_short), (long, at_long)):
        assert layout in found
        assert found[layout].recompute <= given["actor.gradient_checkpointing_enable"]
    better = [
        other
        for other in at_short.keys() & at_long.keys()
        if all(found[other].time.overhead < found[layout].time.overhead for found in (at_short, at_long))
    ]
    assert better == []


@pytest.mark.parametrize(("model", "length"), RUNS)
def test_its_settings_go_together(model, length):
    given = settings(model, length)
    gpus = given["actor.num_nodes"] * given["actor.num_gpus_per_node"]
    assert gpus == MODELS[model] == given["vllm.num_engines"] * given["vllm.tensor_parallel_size"]
    assert given["actor.model_name_or_path"] == f"Qwen/Qwen2.5-{model.upper()}"
    assert given["rollout.max_new_tokens"] == given["deltal.max_length"] == LENGTHS[length]
    assert given["data.max_len"] == given["megatron.max_tokens_per_micro_batch"] == LENGTHS[length] + 1024
    assert given["megatron.max_tokens_per_micro_batch"] % layout_of(given).row_multiple == 0
    for flag in ("train.colocate_all", "vllm.enable_sleep", "ds.enable_sleep", "ds.packing_samples"):
        assert given[flag] is True
    assert given["ckpt.path"] == f"{given['ckpt.output_dir']}/ckpt" == f"runs/megatron-{model}/ckpt"


def test_every_overlay_is_tested():
    assert {path.stem for path in OVERLAYS.glob("*")} == {*MODELS, *LENGTHS}
