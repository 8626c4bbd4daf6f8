"""What only CUDA shows: real kernels against the CPU's, DeepSpeed's own optimizers, the trainer's update on the device."""

import pytest
import torch

from deltal_openrlhf.diagnostics.sketch import Sketch
from deltal_openrlhf.parity import Case, run_cases, run_on_ranks
from deltal_openrlhf.verify.guards import faults_of, poisoned_updates
from megatron_ext.logprob import chunked_logprobs

pytestmark = [pytest.mark.cuda, pytest.mark.timeout(300)]


def test_the_update_is_the_brute_force_update():
    cases = [Case(world=1, micro=2, packing=True), Case(world=1, micro=2, wrong="scale")]
    results = list(run_cases(cases, timeout=240))
    assert [result.good() for result in results] == [True, True], results


@pytest.mark.parametrize("stage", [0, 2])
def test_what_is_not_finite_stops_the_fused_optimizers(stage):
    """The first one compiles DeepSpeed's fused Adam."""
    case = Case(bf16=True, adamw=True, zero=stage, micro=4)
    (found,) = run_on_ranks(1, poisoned_updates, case, timeout=240)
    assert faults_of(found) == []


def test_a_sketch_is_the_cpus():
    torch.manual_seed(0)
    model = torch.nn.Linear(300, 200)
    types = {"weight": "mlp", "bias": "norm"}
    gradient = torch.randn(200 * 300)
    rows = []
    for device in ("cpu", "cuda"):
        sketch = Sketch(model.to(device), types, 1024, seed=3)
        row = torch.zeros(sketch.dim, device=device)
        sketch.add("weight", gradient.clone().to(device), row)
        rows.append(row.cpu())
    assert rows[0].norm() > 100
    assert torch.allclose(*rows, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-4), (torch.bfloat16, 3e-2)])
def test_chunked_log_probabilities_are_those_of_float64(dtype, tolerance):
    torch.manual_seed(0)
    inputs = [torch.randn(600, 64) / 4, torch.randn(5000, 64)]
    labels = torch.randint(0, 5000, (600,))
    hidden, weight = (x.to("cuda", dtype).requires_grad_() for x in inputs)
    log_probs, entropy = chunked_logprobs(hidden, weight, labels.cuda(), group=None, chunk_size=128, entropy=True)
    (log_probs.sum() + entropy.sum()).backward()

    exact = [x.detach().cpu().double().requires_grad_() for x in (hidden, weight)]
    rows = torch.log_softmax(exact[0] @ exact[1].T, dim=-1)
    wanted, wanted_entropy = rows.gather(1, labels[:, None])[:, 0], -(rows.exp() * rows).sum(-1)
    (wanted.sum() + wanted_entropy.sum()).backward()

    pairs = [(log_probs, wanted), (entropy, wanted_entropy), (hidden.grad, exact[0].grad), (weight.grad, exact[1].grad)]
    for ours, theirs in pairs:
        assert (ours.cpu().double() - theirs).norm() <= tolerance * theirs.norm()
