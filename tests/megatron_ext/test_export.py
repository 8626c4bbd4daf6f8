"""A model that went through Megatron-Core's layouts is the model that it was, bit for bit, and a folder that transformers loads."""

import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from support.megatron.tiny import make_engine, start, write_models

from deltal_openrlhf.host.rebind import rebound
from deltal_openrlhf.parity.spawn import run_on_ranks

pytestmark = pytest.mark.timeout(200)
TP2, PP2, INTERLEAVED, EP2 = dict(tensor=2), dict(pipeline=2), dict(pipeline=2, virtual_pipeline=2), dict(expert=2)
# name of the written folder: (model, dtype of its folder, dtype here, layout, bytes of a shard)
CASES = {
    "qwen2-tp2": ("qwen2", "float32", "float32", TP2, None),
    "qwen3-pp2": ("qwen3", "float32", "float32", PP2, 20_000),
    "llama-interleaved": ("llama", "float32", "float32", INTERLEAVED, 1),
    "tied-tp2": ("tied", "float32", "float32", TP2, None),
    "tied-interleaved": ("tied", "float32", "float32", INTERLEAVED, 20_000),
    "tied2-pp2": ("tied2", "float32", "float32", PP2, None),
    "moe-ep2": ("moe", "float32", "float32", EP2, 20_000),
    "moe-pp2": ("moe", "float32", "float32", PP2, None),
    "qwen2-interleaved-bf16": ("qwen2", "bfloat16", "bfloat16", INTERLEAVED, 20_000),
    "tied2-tp2-bf16": ("tied2", "bfloat16", "bfloat16", TP2, None),
    "moe-ep2-bf16": ("moe", "bfloat16", "bfloat16", EP2, None),
    "qwen2-tp2-rounded": ("qwen2", "float32", "bfloat16", TP2, None),
}


def on_rank(rank, folder):
    start(folder)
    from megatron_ext import export

    for name, (model, saved, dtype, layout, limit) in CASES.items():
        engine = make_engine(f"{folder}/{saved}/{model}", layout, learns=False, dtype=dtype)
        with rebound(export, "SHARD_BYTES", limit or export.SHARD_BYTES):
            export.write_model(engine.model, f"{folder}/written/{name}", write=rank == 1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("export")
    for dtype in ("float32", "bfloat16"):
        write_models(folder / dtype, "qwen2", "qwen3", "llama", "tied", "tied2", "moe", dtype=dtype)
    (folder / "float32" / "llama" / "generation_config.json").unlink()
    for name in ("qwen3-pp2", "moe-pp2"):  # where another model was before
        (folder / "written" / name).mkdir(parents=True)
        for file in ("model.safetensors", "model-00001-of-00099.safetensors", "model.safetensors.index.json"):
            (folder / "written" / name / file).write_text("old")
    run_on_ranks(2, on_rank, str(folder), timeout=150)
    return folder


def source(folder, name) -> Path:
    model, saved, *_ = CASES[name]
    return folder / saved / model


def read(folder: Path) -> dict[str, torch.Tensor]:
    """All tensors of a folder; no name is in two files."""
    parts = [load_file(file) for file in sorted(folder.glob("*.safetensors"))]
    tensors = {key: value for part in parts for key, value in part.items()}
    assert len(tensors) == sum(map(len, parts))
    return tensors


def identical(found: dict, wanted: dict) -> bool:
    return found.keys() == wanted.keys() and all(
        found[key].dtype == wanted[key].dtype and torch.equal(found[key], wanted[key]) for key in wanted
    )


@pytest.mark.parametrize("name", CASES)
def test_the_files_hold_the_tensors_that_went_in(folder, name):
    wanted = read(source(folder, name))
    if name == "qwen2-tp2-rounded":
        wanted = {key: value.bfloat16() for key, value in wanted.items()}
    found = read(folder / "written" / name)
    assert identical(found, wanted)
    assert ("lm_head.weight" in found) == ("tied" not in name)


def test_a_name_of_the_hub_is_asked_for_its_weights(tmp_path, monkeypatch):
    from megatron_ext import model_files

    asked = []
    monkeypatch.setattr(
        model_files, "snapshot_download", lambda *args, **kwargs: asked.append((args, kwargs)) or str(tmp_path)
    )
    assert model_files.folder_of("Qwen/Qwen2.5-7B") == str(tmp_path)
    assert asked == [(("Qwen/Qwen2.5-7B",), {"allow_patterns": ["*.safetensors", "*.json"]})]
    assert model_files.folder_of(str(tmp_path)) == str(tmp_path)
    assert len(asked) == 1


def test_a_model_may_be_written_over_itself(tmp_path):
    from megatron_ext import model_files

    for name in ("config.json", "generation_config.json"):
        (tmp_path / name).write_text('{"dtype": "float32"}')
    model_files.copy_settings(str(tmp_path), str(tmp_path), torch.bfloat16)
    assert json.loads((tmp_path / "config.json").read_text()) == {"dtype": "bfloat16"}
    assert json.loads((tmp_path / "generation_config.json").read_text()) == {"dtype": "float32"}


@pytest.mark.parametrize("name", CASES)
def test_the_folder_is_complete(folder, name):
    written, files = folder / "written" / name, {"config.json"}
    files |= {"generation_config.json"} & set(path.name for path in source(folder, name).iterdir())
    for file in files:
        text, original = ((where / file).read_text() for where in (written, source(folder, name)))
        if file == "config.json" and name == "qwen2-tp2-rounded":
            assert json.loads(text) == json.loads(original) | {"dtype": "bfloat16"}
        else:
            assert text == original
    limit, tensors = CASES[name][4], read(written)
    shards = sorted(path.name for path in written.glob("*.safetensors"))
    if limit is None:
        assert shards == ["model.safetensors"]
        assert {path.name for path in written.iterdir()} == {*files, *shards}
        return
    index = json.loads((written / "model.safetensors.index.json").read_text())
    assert index["metadata"]["total_size"] == sum(tensor.nbytes for tensor in tensors.values())
    assert index["weight_map"].keys() == tensors.keys()
    assert shards == [f"model-{i:05d}-of-{len(shards):05d}.safetensors" for i in range(1, len(shards) + 1)]
    for shard in shards:
        with safe_open(written / shard, "pt") as file:
            assert file.metadata() == {"format": "pt"}
            assert set(file.keys()) == {key for key, value in index["weight_map"].items() if value == shard}
            assert len(file.keys()) == 1 or sum(tensors[key].nbytes for key in file.keys()) <= limit
    assert len(shards) == len(tensors) if limit == 1 else 1 < len(shards) < len(tensors)
    assert {path.name for path in written.iterdir()} == {*files, *shards, "model.safetensors.index.json"}


@pytest.mark.parametrize("name", CASES)
def test_transformers_loads_the_same_model(folder, name):
    from transformers import AutoModelForCausalLM

    dtype = getattr(torch, CASES[name][2])
    paths = (folder / "written" / name, source(folder, name))
    loaded = [AutoModelForCausalLM.from_pretrained(path, dtype=dtype, output_loading_info=True) for path in paths]
    (model, info), (original, _) = loaded
    assert not any(info.values()), info
    assert identical(model.state_dict(), original.state_dict())
    ids = torch.arange(4, 24)[None]
    with torch.no_grad():
        assert torch.equal(model(ids).logits, original(ids).logits)


def test_a_parameter_has_its_tensor_in_its_turn_and_inside_its_context_only():
    from megatron_ext.export import ExportedParameter

    tensors = iter([("a", torch.ones(2, 3)), ("b", torch.zeros(1, dtype=torch.bfloat16))])
    a, b = (ExportedParameter(name, tensors) for name in "ab")
    with a:
        assert a.shape == (2, 3) and a.dtype is torch.float32 and torch.equal(a.data, torch.ones(2, 3))
    assert not hasattr(a, "data")
    with pytest.raises(RuntimeError, match="the export gives b where a is due"), a:
        pass
    with pytest.raises(RuntimeError, match="the export gives None where b is due"), b:
        pass


def test_buckets_keep_order_and_limit():
    from megatron_ext.export import buckets

    tensors = [(str(i), torch.zeros(n)) for i, n in enumerate([3, 4, 1, 30, 2, 2, 2, 8, 1])]
    for limit in (4, 16, 32, 40, 1000):
        cut = list(buckets(iter(tensors), limit))
        assert sum(cut, []) == tensors
        sizes = [sum(tensor.nbytes for _, tensor in bucket) for bucket in cut]
        assert all(size <= limit or len(bucket) == 1 for size, bucket in zip(sizes, cut, strict=True))
        # No bucket ends before it has to.
        assert all(size + after[0][1].nbytes > limit for size, after in zip(sizes, cut[1:], strict=False))
    assert list(buckets([], 4)) == []
