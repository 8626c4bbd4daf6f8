"""The least memory of a run: by hand for every way of dividing it, and refused where there is less."""

import json

import pytest
from support.host_arguments import host_arguments

from deltal_openrlhf.train import gpus, least_memory

RUN = "--actor.num_nodes 1 --actor.num_gpus_per_node 4 --vllm.num_engines 2 --vllm.gpu_memory_utilization 0.5"
GIGA = 10**9


@pytest.fixture
def model(tmp_path):
    """A billion parameters, of which a file says the shapes."""
    header = json.dumps({"weight": {"dtype": "BF16", "shape": [1000, 10**6], "data_offsets": [0, 2 * GIGA]}}).encode()
    (tmp_path / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)
    return tmp_path


def of(model, flags: str = ""):
    return host_arguments(*RUN.split(), "--actor.model_name_or_path", str(model), *flags.split())


@pytest.mark.parametrize(
    ("flags", "policy", "engine"),
    [
        # Weights + gradients + optimizer, in GB for 4 ranks.
        ("--ds.zero_stage 0", 2 + 2 + 12, 2),
        ("--ds.zero_stage 1", 2 + 2 + 3, 2),
        ("--ds.zero_stage 2", 2 + 0.5 + 3, 2),
        ("--ds.zero_stage 3", 0.5 + 0.5 + 3, 2),
        ("--ds.zero_stage 2 --ds.adam_offload", 2 + 0.5, 2),
        ("--ds.zero_stage 2 --ds.tensor_parallel_size 2", 1 + 0.5 + 3, 2),
        ("--ds.zero_stage 3 --ds.lora.rank 8", 0.5, 2),
        ("--ds.zero_stage 2 --vllm.tensor_parallel_size 2", 2 + 0.5 + 3, 1),
    ],
)
def test_what_a_rank_holds(flags, policy, engine, model):
    assert least_memory.of_run(of(model, flags)) == pytest.approx((policy * GIGA, engine * GIGA))


def test_an_unknown_model_and_megatron_are_not_estimated(model):
    assert least_memory.of_run(of("nobody/on-the-hub")) is None and least_memory.rows(of("nobody/on-the-hub")) == []
    least_memory.check(of("nobody/on-the-hub"), on_cpu=True)
    args = of(model)
    args.backend = "megatron"
    assert least_memory.of_run(args) is None
    assert least_memory.of_run(of(model, "--actor.optim muon")) is None


def test_without_a_gpu_all_ranks_share_the_machine(model, monkeypatch):
    args = of(model, "--ds.zero_stage 2")
    needed = 4 * 5.5 + 2 * 2 * 2
    monkeypatch.setattr(least_memory, "available_memory", lambda: needed * GIGA)
    least_memory.check(args, on_cpu=True)
    monkeypatch.setattr(least_memory, "available_memory", lambda: 29.9 * GIGA)
    with pytest.raises(
        ValueError, match=r"--actor.model_name_or_path is .*at least 30.0 GB of memory, and 29.9 GB are"
    ):
        least_memory.check(args, on_cpu=True)


def test_a_gpu_that_is_too_small_is_named_with_what_helps(model, monkeypatch):
    def there(gigabytes):
        monkeypatch.setattr(gpus, "smallest_memory", lambda: gigabytes * GIGA)

    there(16)
    least_memory.check(of(model, "--ds.zero_stage 0"), on_cpu=False)
    there(15.9)
    with pytest.raises(ValueError, match=r"--ds.zero_stage is 0: .* 16.0 GB, and a GPU has 15.9 GB; ZeRO-3"):
        least_memory.check(of(model, "--ds.zero_stage 0"), on_cpu=False)
    there(3.9)
    with pytest.raises(ValueError, match=r"--vllm.gpu_memory_utilization is 0.5: that is 1.9 GB .* take 2.0 GB"):
        least_memory.check(of(model, "--ds.zero_stage 3 --ds.adam_offload"), on_cpu=False)
    least_memory.check(of(model, "--ds.zero_stage 3 --ds.adam_offload --vllm.tensor_parallel_size 2"), on_cpu=False)
