"""deltal plan: the command as a process, the layouts it finds, and its estimates against numbers by hand."""

import json
import math
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from deltal_openrlhf.cli.plan import parser, request_of
from megatron_ext.layout import ParallelLayout
from megatron_ext.planning.estimates import Machine, step_time
from megatron_ext.planning.search import plan, plans
from megatron_ext.planning.shape import ModelShape, rank_parameters, read_shape

ROOT = Path(__file__).parents[3]
MODELS = ROOT / "configs" / "models"
SMALL = {
    "vocab_size": 96,
    "hidden_size": 32,
    "intermediate_size": 72,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}
EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 24}


def run(*words: str, **environment: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "deltal_openrlhf.cli.main", "plan", *words]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=60, cwd=ROOT, env={**os.environ, **environment}
    )


def asked(words: str):
    return request_of(parser().parse_args(words.split()))


def seven(words: str):
    return asked(f"--model {MODELS / 'qwen2.5-7b.json'} --gpu_memory 80 --max_sequence_length 17408 {words}")


# ── Parameters ──


def counted_by_transformers(kind: str, config: dict) -> int:
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **config))
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize(
    ("kind", "more"),
    [("qwen2", {}), ("qwen3", {"head_dim": 16}), ("llama", {}), ("llama", {"head_dim": 24}), ("qwen3_moe", EXPERTS)],
)
def test_parameters_are_counted_as_transformers_counts_them(kind, more, tied):
    config = SMALL | more | {"tie_word_embeddings": tied}
    config |= {"head_dim": 8} if kind == "qwen3_moe" else {}
    shape = ModelShape.from_config({"model_type": kind} | config)
    assert shape.parameters == counted_by_transformers(kind, config)


@pytest.mark.parametrize("file", sorted(MODELS.glob("*.json")), ids=lambda path: path.stem)
def test_the_configurations_are_of_the_models_they_name(file):
    config = json.loads(file.read_text())
    billions = float(file.stem.removeprefix("qwen2.5-").removesuffix("b"))
    parameters = read_shape(str(file)).parameters
    assert parameters == counted_by_transformers(config.pop("model_type"), config)
    # Published as 7.61B, 32.5B and 72.7B, with the same number of layers and heads.
    assert abs(parameters / 1e9 - billions) < 0.8


@pytest.mark.parametrize("kind", ["qwen2", "qwen3", "qwen3_moe"])
@pytest.mark.parametrize(
    "layout",
    [
        ParallelLayout(tensor=2, sequence_parallel=True),
        ParallelLayout(pipeline=4),
        ParallelLayout(pipeline=2, virtual_pipeline=2),
        ParallelLayout(tensor=2, pipeline=2, context=2, sequence_parallel=True),
    ],
    ids=ParallelLayout.describe,
)
def test_the_ranks_of_a_replica_hold_the_model_and_copies_of_what_is_not_split(kind, layout):
    shape = ModelShape.from_config({"model_type": kind} | SMALL | (EXPERTS if kind == "qwen3_moe" else {}))
    chunks = [chunk for stage in range(layout.pipeline) for chunk in rank_parameters(shape, layout, stage)]
    dense, expert = (sum(sum(getattr(c, name)) for c in chunks) for name in ("dense", "expert"))
    # Norms, one final one, and the router.
    copied = shape.hidden_size + shape.num_hidden_layers * (
        2 * shape.hidden_size + 2 * shape.head_dim * shape.qk_norm + shape.hidden_size * shape.num_experts
    )
    assert layout.tensor * (dense - copied) + copied + layout.expert_tensor * expert == shape.parameters


# ── Layouts ──


def test_every_layout_is_possible_and_those_that_fit_come_first_by_overhead():
    request = seven("--gpus 8")
    found, refused = plans(request)
    assert len({p.layout for p in found}) == len(found) > 20
    for p in found:
        assert p.layout.replica * p.data_parallel == 8
        p.layout.check_model(request.shape)
        assert p.layout.sequence_parallel == (p.layout.tensor > 1)
    free = [p.free >= 0 for p in found]
    assert free == sorted(free, reverse=True)
    overheads = [p.time.overhead for p in found if p.free >= 0]
    assert overheads == sorted(overheads)
    reason = "the model's num_attention_heads is 28, which is not a multiple of --megatron.tensor_parallel_size, 8"
    assert refused[reason] == 1  # 8 ranks leave nothing else to choose


def test_tensor_parallelism_stays_within_a_node():
    found, _ = plans(
        asked(f"--model {MODELS / 'qwen2.5-72b.json'} --gpus 16 --gpu_memory 80 --max_sequence_length 4096")
    )
    assert {p.layout.tensor for p in found} == {1, 2, 4, 8}
    found, _ = plans(seven("--gpus 8 --gpus_per_node 2"))
    assert {p.layout.tensor for p in found} == {1, 2}


def test_responses_must_be_dealt_out_evenly():
    found, refused = plans(seven("--gpus 8 --batch_size 322"))
    assert {p.data_parallel for p in found} == {1, 2}
    assert refused["--batch_size is 322, not a multiple of 8 data parallel ranks"] == 1


def test_recomputation_is_asked_for_only_where_memory_does_not_suffice_without():
    for p in plans(seven("--gpus 8"))[0]:
        states = p.memory.total - p.memory.activations
        without = (states + p.activations[0]) / 2**30 + 8
        assert p.recompute == (without > 80 or p.generation > 80)
        assert p.memory.activations == p.activations[p.recompute]


def test_what_is_free_is_what_the_worse_moment_leaves():
    layout = ParallelLayout(tensor=4, sequence_parallel=True)
    p = plan(seven("--gpus 8 --reserve 5 --vllm_share 0.5"), layout)
    gib = 2**30
    assert math.isclose(p.training, p.memory.total / gib + 5)
    assert math.isclose(p.generation, p.memory.weights / gib + 5 + 40)
    assert math.isclose(p.free, 80 - max(p.training, p.generation))
    assert plan(seven("--gpus 8 --vllm_share 0"), layout).generation == 0
    awake = plan(seven("--gpus 8 --reserve 5 --vllm_share 0.5 --no_sleep"), layout)
    assert math.isclose(awake.training, awake.memory.total / gib + 5 + 40)
    reference = plan(seven("--gpus 8 --reference"), layout).memory.reference
    assert 0 <= p.memory.weights - reference < 1e5  # without the buffer's padding


# ── Time, by hand ──


def seconds(layout: ParallelLayout, gpus: int = 8, micro_batches: int = 20, recompute: bool = False, **shape):
    config = {"model_type": "llama", **SMALL, "tie_word_embeddings": True} | shape
    machine = Machine(gpus=gpus, gpus_per_node=4, flops=1e6, efficiency=0.5, nvlink=1e3, network=1e2)
    sizes = {"responses": 16, "mean_length": 10, "micro_batches": micro_batches, "recompute": recompute}
    return step_time(ModelShape.from_config(config), layout, machine, **sizes)


def test_one_gpu_neither_waits_nor_talks():
    time = seconds(ParallelLayout(), gpus=1)
    assert time.overhead == 0
    # A layer: queries and output 2 x 32 x 32, keys and values 2 x 32 x 16, SwiGLU 3 x 32 x 72; 6 FLOP each, and 6 x 32 x 10.
    layer = 6 * (2048 + 1024 + 6912) + 1920
    assert math.isclose(time.ideal, (4 * layer + 8 * 96 * 32) * 160 / 5e5)
    again = seconds(ParallelLayout(), gpus=1, recompute=True)
    assert math.isclose(again.overhead, 4 * layer * 160 / 5e5 / 3)


def test_the_bubble_is_that_of_narayanan():
    for stages, pieces, micro_batches in ((2, None, 10), (4, None, 10), (2, 2, 10)):
        time = seconds(ParallelLayout(pipeline=stages, virtual_pipeline=pieces), gpus=4, micro_batches=micro_batches)
        share = (stages - 1) / (pieces or 1) / micro_batches
        assert math.isclose(time.bubble, share * (time.ideal + time.imbalance))
        assert time.imbalance > 0  # the last stage has the output layer


def test_what_is_sent_between_ranks():
    # 2 of 8 ranks each: 160 tokens, 4 copies. A hidden state has 64 bytes, a key or value 32.
    tensor = seconds(ParallelLayout(tensor=2, sequence_parallel=True)).tensor
    assert math.isclose(tensor, (4 + 6) * 0.5 * 64 * 40 * 4 / 1e3)
    assert math.isclose(seconds(ParallelLayout(tensor=2)).tensor, 0.8 * tensor)
    assert math.isclose(seconds(ParallelLayout(tensor=2), recompute=True).tensor, 1.2 * tensor)
    # 20 of them on this rank.
    assert math.isclose(seconds(ParallelLayout(context=2)).context, 3 * 2 * 32 * 20 * 4 / 1e3)
    assert math.isclose(seconds(ParallelLayout(pipeline=2)).pipeline, 2 * 64 * 40 / 1e3)
    # Every rank has the model; between nodes, 10 times slower.
    parameters = 4 * (2048 + 1024 + 6912 + 64) + 96 * 32 + 32
    for gpus, bandwidth in ((4, 1e3), (8, 1e2)):
        moved = 6 * parameters * (gpus - 1) / gpus
        assert math.isclose(seconds(ParallelLayout(), gpus=gpus).data, moved / bandwidth, rel_tol=0.01)
    assert (
        seconds(ParallelLayout(tensor=4, context=2)).context > 9 * seconds(ParallelLayout(tensor=2, context=2)).context
    )


# ── The command ──


def test_a_table_and_status_0():
    started = time.monotonic()
    process = run("--model", "models/qwen2.5-7b", *"--gpus 8 --gpu_memory 80 --max_sequence_length 17408".split())
    assert (process.returncode, process.stderr) == (0, "")
    assert time.monotonic() - started < 10
    text = process.stdout
    assert text.startswith("models/qwen2.5-7b: 7,615,616,512 parameters (qwen2)\n8 GPUs of 80 GiB")
    assert "layouts fit, the best 12:" in text and "are not possible:" in text
    header = next(line for line in text.splitlines() if line.split()[:2] == ["tp", "pp"]).split()
    row = next(line for line in text.splitlines() if line.split()[:1] == ["1"]).split()
    assert len(row) == len(header) - 1  # "step s" is one column


def test_torch_is_not_needed():
    code = "import sys; from deltal_openrlhf.cli.plan import main; main(sys.argv[1:]); print('torch' in sys.modules)"
    words = f"--model {ROOT}/configs/models/qwen2.5-7b.json --gpus 8 --gpu_memory 80 --max_sequence_length 4096 --json".split()
    process = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, timeout=60, cwd=ROOT)
    assert process.stdout.endswith("]\n}\nFalse\n")
    found = json.loads(process.stdout.removesuffix("False\n"))
    assert found["model"]["hidden_size"] == 3584
    assert found["plans"][0]["fits"] and found["plans"][0]["memory"]["weights"] > 0


def test_nothing_fits_status_1_with_the_nearest_misses():
    process = run(
        "--model", "configs/models/qwen2.5-72b.json", *"--gpus 8 --gpu_memory 80 --max_sequence_length 4096".split()
    )
    assert process.returncode == 1
    said = re.fullmatch(
        r"deltal plan: no layout fits: the nearest one \((.*)\) takes ([\d.]+) GiB on each GPU, and --gpu_memory is 80; "
        "a larger --gpus or a smaller --tokens_per_micro_batch takes less\n",
        process.stderr,
    )
    assert said and float(said[2]) > 80
    lines = process.stdout.splitlines()
    assert "0 layouts fit" in lines
    header, nearest = lines[next(i for i, line in enumerate(lines) if "do not fit; nearest:" in line) + 1 :][:2]
    assert float(nearest.split()[header.split().index("free")]) < 0


GOOD = f"--model {MODELS}/qwen2.5-7b.json --gpus 8 --gpu_memory 80 --max_sequence_length 4096"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("", "the following arguments are required: --model, --gpus, --gpu_memory, --max_sequence_length"),
        (f"{GOOD} --gpus 12", "--gpus is 12, allowed is a multiple of --gpus_per_node, 8"),
        (f"{GOOD} --gpus 0", "--gpus is 0, allowed is 1 or more"),
        (f"{GOOD} --gpu_memory nan", "--gpu_memory is nan, allowed is a number above 0"),
        (f"{GOOD} --tokens_per_micro_batch 4095", "--tokens_per_micro_batch is 4095, allowed is --max_sequence_length, 4096, or more"),
        (f"{GOOD} --mean_length 4097", "--mean_length is 4097, allowed is 1 to --max_sequence_length, 4096"),
        (f"{GOOD} --vllm_share 1.5", "--vllm_share is 1.5, allowed is 0 to 1"),
        (f"{GOOD} --gpus eight", "argument --gpus: invalid int value: 'eight'"),
        (f"{GOOD} --model nowhere.json", "--model nowhere.json: No such file or directory"),
        (f"{GOOD} --model configs", "--model configs: No such file or directory"),
        (f"{GOOD} --model docs/evidence/recipes.json", "--model docs/evidence/recipes.json: model_type is None, allowed are qwen2, "),
        (f"{GOOD} --model configs/overlays/8gpu.yaml", "--model configs/overlays/8gpu.yaml: it sets no actor.model_name_or_path"),
        (f"{GOOD} --model models/qwen2.5-7", "to be had from the hub; allowed are models/qwen2.5-32b, "),
        (f"{GOOD} --gpu_memry 80", "unrecognized arguments: --gpu_memry 80; the nearest known one is '--gpu_memory'"),
        (f"{GOOD} --model none/such-model", "is neither here nor to be had from the hub; allowed are models/"),
    ],
)  # fmt: skip
def test_bad_input_is_one_line_and_status_2(words, said):
    process = run(*words.split(), HF_HUB_OFFLINE="1")
    assert (process.returncode, process.stdout) == (2, "")
    assert process.stderr.startswith("deltal plan: error: ") and process.stderr.count("\n") == 1
    assert said in process.stderr


def test_models_are_read_from_folders_and_from_settings_too(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llama"} | SMALL))
    (tmp_path / "run.yaml").write_text(f"actor: {{model_name_or_path: {tmp_path}}}\n")
    assert read_shape(str(tmp_path)) == read_shape(str(tmp_path / "run.yaml")) == read_shape(f"{tmp_path}/config.json")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"model_type": "gpt2"}, "model_type is gpt2, allowed are qwen2, qwen3, llama, qwen3_moe"),
        ({"hidden_size": 0}, "hidden_size is 0, allowed is a whole number of 1 or more"),
        ({"vocab_size": "many"}, "vocab_size is many, allowed is a whole number of 1 or more"),
        ({"attention_bias": True}, "attention_bias is True, allowed is False"),
        ({"model_type": "qwen3_moe"}, "num_experts is None"),
    ],
)
def test_a_model_that_the_backend_does_not_know_is_refused(change, said):
    with pytest.raises(ValueError, match=said):
        ModelShape.from_config({"model_type": "llama"} | SMALL | change)
