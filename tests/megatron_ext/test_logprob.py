"""chunked_logprobs against autograd through log_softmax of all logits: on one rank, and with the vocabulary split over two."""

import math

import pytest
import torch
import torch.distributed as dist
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from deltal_openrlhf.parity import run_on_ranks
from megatron_ext.logprob import chunked_logprobs

NUM_TOKENS, VOCAB, HIDDEN_SIZE = 20, 34, 6
CHUNK_SIZES = [1, 7, 20, 100]
TOLERANCE = {torch.float64: 1e-12, torch.float32: 1e-5}


def make_inputs(dtype=torch.float64, scale=1.0):
    """hidden, weight, labels and the gradients of log-probabilities and entropies."""
    generator = torch.Generator().manual_seed(0)
    hidden = (scale * torch.randn(NUM_TOKENS, HIDDEN_SIZE, dtype=torch.float64, generator=generator)).to(dtype)
    weight = torch.randn(VOCAB, HIDDEN_SIZE, dtype=torch.float64, generator=generator).to(dtype)
    labels = torch.randint(VOCAB, (NUM_TOKENS,), generator=generator)
    gradients = torch.randn(2, NUM_TOKENS, dtype=torch.float64, generator=generator)
    return hidden.requires_grad_(), weight.requires_grad_(), labels, gradients


def full_logprobs(hidden, weight, labels, temperature):
    """The reference, in the dtype of the inputs and at least fp32."""
    logits = hidden @ weight.t()
    logprobs = torch.log_softmax(logits.to(torch.promote_types(logits.dtype, torch.float32)) / temperature, dim=-1)
    return logprobs[torch.arange(len(labels)), labels], -(logprobs.exp() * logprobs).sum(-1)


def with_gradients(outputs, inputs, gradients):
    """Log-probabilities, entropies and the gradients of their weighted sum in hidden and weight; leaves out what is None."""
    pairs = [(o, g.to(o.dtype)) for o, g in zip(outputs, gradients, strict=True) if o is not None]
    outputs, gradients = zip(*pairs, strict=True)
    return [o.detach() for o in outputs] + list(torch.autograd.grad(outputs, inputs, gradients))


def expected(hidden, weight, labels, gradients, *, temperature, entropy):
    logprobs, entropies = full_logprobs(hidden, weight, labels, temperature)
    return with_gradients((logprobs, entropies if entropy else None), (hidden, weight), gradients)


def chunked(hidden, weight, labels, gradients, **options):
    return with_gradients(chunked_logprobs(hidden, weight, labels, group=None, **options), (hidden, weight), gradients)


def difference(values, references):
    """The largest ||x - r|| / ||r||."""
    pairs = [(x.double(), r.double()) for x, r in zip(values, references, strict=True)]
    return max(float((x - r).norm() / r.norm()) for x, r in pairs)


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("entropy", [False, True])
@pytest.mark.parametrize("temperature", [1.0, 0.7])
@pytest.mark.parametrize("chunk_size", CHUNK_SIZES)
def test_equals_log_softmax_of_all_logits(chunk_size, temperature, entropy, dtype):
    inputs = make_inputs(dtype)
    values = chunked(*inputs, chunk_size=chunk_size, temperature=temperature, entropy=entropy)
    assert len(values) == 3 + entropy and {x.dtype for x in values} == {dtype}
    assert difference(values, expected(*inputs, temperature=temperature, entropy=entropy)) <= TOLERANCE[dtype]


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_sums_of_squared_probabilities(temperature):
    hidden, weight, labels, _ = make_inputs()
    logprobs, squares = chunked_logprobs(
        hidden, weight, labels, group=None, chunk_size=7, temperature=temperature, squares=True
    )
    wanted = torch.softmax(hidden.detach() @ weight.detach().t() / temperature, dim=-1).square().sum(-1)
    assert difference([squares], [wanted]) <= TOLERANCE[torch.float64] and not squares.requires_grad
    assert torch.equal(
        logprobs, chunked_logprobs(hidden, weight, labels, group=None, chunk_size=7, temperature=temperature)[0]
    )
    with pytest.raises(ValueError, match="entropy and squares are both True"):
        chunked_logprobs(hidden, weight, labels, group=None, chunk_size=7, entropy=True, squares=True)


def test_another_temperature_is_another_result():
    inputs = make_inputs()
    values = chunked(*inputs, chunk_size=7, temperature=0.7, entropy=True)
    references = expected(*inputs, temperature=0.75, entropy=True)
    assert all(difference([x], [r]) > 1e-3 for x, r in zip(values, references, strict=True))


@pytest.mark.parametrize("entropy", [False, True])
def test_bf16_is_as_exact_as_autograd_in_bf16(entropy):
    inputs = make_inputs(torch.bfloat16)
    exact = [x.detach().double().requires_grad_() for x in inputs[:2]]
    references = expected(*exact, *inputs[2:], temperature=0.7, entropy=entropy)
    values = chunked(*inputs, chunk_size=7, temperature=0.7, entropy=entropy)
    plain = expected(*inputs, temperature=0.7, entropy=entropy)
    assert [x.dtype for x in values] == [torch.float32] * (1 + entropy) + [torch.bfloat16] * 2
    for value, autograd, reference in zip(values, plain, references, strict=True):
        assert difference([value], [reference]) <= 1.5 * difference([autograd], [reference]) <= 0.05


def test_bf16_gradient_of_a_label_that_is_nearly_certain():
    """1 - p must not be rounded to bf16 as 1 and p: with p = 0.9995 nothing would be left."""
    hidden = torch.tensor([[8.0]], dtype=torch.bfloat16, requires_grad=True)
    weight = torch.tensor([[1.0], [0.0]], dtype=torch.bfloat16, requires_grad=True)
    values = chunked(hidden, weight, torch.tensor([0]), torch.ones(2, 1), chunk_size=1)
    left = 1 - torch.sigmoid(torch.tensor(8.0, dtype=torch.float64))
    assert difference(values[1:], [left.view(1, 1), torch.stack([8 * left, -8 * left]).view(2, 1)]) <= 0.01


def test_bf16_weight_gradient_is_summed_in_fp32():
    """1,024 chunks add 0.5 each; a sum in bf16 would stop at 128."""
    hidden = torch.ones(1024, 1, dtype=torch.bfloat16)
    weight = torch.zeros(2, 1, dtype=torch.bfloat16, requires_grad=True)
    labels = torch.zeros(1024, dtype=torch.int64)
    logprobs, _ = chunked_logprobs(hidden, weight, labels, group=None, chunk_size=1)
    logprobs.sum().backward()
    assert weight.grad.flatten().tolist() == [512, -512]


@pytest.mark.parametrize("used", [0, 1])
def test_only_one_output_is_used(used):
    """The gradient of the other one is then None, not zeros."""
    hidden, weight, labels, gradients = make_inputs()
    outputs = chunked_logprobs(hidden, weight, labels, group=None, chunk_size=7, entropy=True)
    values = torch.autograd.grad(outputs[used], (hidden, weight), gradients[used])
    references = torch.autograd.grad(
        full_logprobs(hidden, weight, labels, 1.0)[used], (hidden, weight), gradients[used]
    )
    assert difference(values, references) <= 1e-12


@pytest.mark.parametrize("entropy", [False, True])
def test_gradcheck(entropy):
    hidden, weight, labels, _ = make_inputs()

    def outputs(hidden, weight):
        pair = chunked_logprobs(hidden, weight, labels[:5], group=None, chunk_size=2, temperature=0.7, entropy=entropy)
        return pair if entropy else pair[0]

    small = hidden[:5].detach().requires_grad_(), weight.detach().requires_grad_()
    assert torch.autograd.gradcheck(outputs, small)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16], ids=str)
def test_logits_of_10000_are_finite_and_exact(dtype):
    hidden = torch.full((4, 1), 1e4, dtype=torch.float64).to(dtype).requires_grad_()
    size = float(hidden[0, 0].detach())  # bf16 has 9984
    weight = torch.tensor([[1.0], [-1.0], [1.0], [0.0]], dtype=torch.float64).to(dtype).requires_grad_()
    labels = torch.tensor([0, 1, 2, 3])
    gradients = torch.ones(2, 4, dtype=torch.float64)
    logprobs, entropies, hidden_grad, weight_grad = chunked(
        hidden, weight, labels, gradients, chunk_size=3, entropy=True
    )
    # Two tokens share all the probability; log 2 would be lost in the fp32 sum 10000 + log 2, which has steps of 0.001.
    log2 = torch.log(torch.tensor(2.0, dtype=torch.float64))
    assert difference([logprobs], [-log2 - torch.tensor([0.0, 2 * size, 0.0, size], dtype=torch.float64)]) <= 1e-6
    assert difference([entropies], [log2.expand(4)]) <= 1e-6
    # Labels 0 to 3: d log p / d hidden = weight[label] - 1; the weights of 0 and 2 get 1 - 4/2 of `size`, the others their label's 1.
    assert hidden_grad.flatten().tolist() == [0, -2, 0, -1]
    assert difference([weight_grad.flatten()], [size * torch.tensor([-1.0, 1, -1, 1], dtype=torch.float64)]) <= 1e-6


def test_tokens_without_gradient():
    """Rows with gradient zero, as prompts and padding have, get exactly zero and add nothing to the weight's gradient."""
    hidden, weight, labels, gradients = make_inputs()
    gradients[:, 5:] = 0
    values = chunked(hidden, weight, labels, gradients, chunk_size=7, entropy=True)
    assert torch.count_nonzero(values[2][5:]) == 0 and torch.count_nonzero(values[2][:5]) == 5 * HIDDEN_SIZE
    alone = chunked(hidden[:5], weight, labels[:5], gradients[:, :5], chunk_size=7, entropy=True)
    assert difference([values[3]], [alone[3]]) <= 1e-12


def test_no_tokens():
    hidden, weight, labels, gradients = make_inputs()
    values = chunked(hidden[:0], weight, labels[:0], gradients[:, :0], chunk_size=7, entropy=True)
    assert [tuple(x.shape) for x in values] == [(0,), (0,), (0, HIDDEN_SIZE), (VOCAB, HIDDEN_SIZE)]
    assert torch.count_nonzero(values[3]) == 0


def test_without_autograd_and_entropy():
    hidden, weight, labels, _ = make_inputs()
    with torch.no_grad():
        logprobs, entropies = chunked_logprobs(hidden, weight, labels, group=None, chunk_size=7)
        assert entropies is None and not logprobs.requires_grad
        assert difference([logprobs], [full_logprobs(hidden, weight, labels, 1.0)[0]]) <= 1e-12


def test_second_derivative_is_refused():
    hidden, weight, labels, _ = make_inputs()
    logprobs, _ = chunked_logprobs(hidden, weight, labels, group=None, chunk_size=7)
    (gradient,) = torch.autograd.grad(logprobs.square().sum(), hidden, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.sum().backward()


class Shapes(TorchDispatchMode):
    """The shapes of all tensors that operations return."""

    def __init__(self):
        super().__init__()
        self.seen = set()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        self.seen |= {tuple(x.shape) for x in tree_leaves(result) if isinstance(x, torch.Tensor)}
        return result

    def largest(self):
        return max(torch.Size(shape).numel() for shape in self.seen)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("entropy", [False, True])
def test_logits_of_all_tokens_are_never_held(entropy, dtype):
    inputs = make_inputs(dtype)
    with Shapes() as shapes:
        chunked(*inputs, chunk_size=7, temperature=0.7, entropy=entropy)
    assert shapes.largest() == 7 * VOCAB
    with Shapes() as shapes:
        expected(*inputs, temperature=0.7, entropy=entropy)
    assert shapes.largest() == NUM_TOKENS * VOCAB


@pytest.mark.parametrize("frozen", [0, 1])
def test_a_frozen_input_costs_no_gradient(frozen):
    hidden, weight, labels, gradients = make_inputs()
    inputs = [hidden, weight]
    references = expected(*inputs, labels, gradients, temperature=1.0, entropy=False)
    inputs[frozen].requires_grad_(False)
    logprobs, _ = chunked_logprobs(*inputs, labels, group=None, chunk_size=7)
    with Shapes() as shapes:
        (value,) = torch.autograd.grad(logprobs, inputs[1 - frozen], gradients[0])
    assert difference([value], [references[2 - frozen]]) <= 1e-12
    assert tuple(inputs[frozen].shape) not in shapes.seen and tuple(inputs[1 - frozen].shape) in shapes.seen


def on_rank(rank: int) -> list:
    """For every case: chunk size, largest difference, that of this rank's part of the hidden gradient, all-reduces of both passes."""
    dist.init_process_group("gloo")
    calls = []
    original = dist.all_reduce
    dist.all_reduce = lambda *args, **kwargs: (calls.append(1), original(*args, **kwargs))
    hidden, weight, labels, gradients = make_inputs()
    half = VOCAB // 2
    shard = weight[rank * half : (rank + 1) * half].detach().requires_grad_()
    cases = []
    for temperature in (1.0, 0.7):
        for entropy in (False, True):
            references = expected(hidden, weight, labels, gradients, temperature=temperature, entropy=entropy)
            references[-1] = references[-1][rank * half : (rank + 1) * half]
            for chunk_size in CHUNK_SIZES:
                calls.clear()
                outputs = chunked_logprobs(
                    hidden,
                    shard,
                    labels,
                    group=dist.group.WORLD,
                    chunk_size=chunk_size,
                    temperature=temperature,
                    entropy=entropy,
                )
                in_forward = len(calls)
                values = with_gradients(outputs, (hidden, shard), gradients)
                in_backward = len(calls) - in_forward
                part = difference([values[-2]], [references[-2]])
                original(values[-2])
                cases.append([chunk_size, difference(values, references), part, in_forward, in_backward])
    dist.destroy_process_group()
    return cases


@pytest.mark.timeout(100)
def test_vocabulary_split_over_two_ranks():
    for cases in run_on_ranks(2, on_rank, timeout=90):
        assert len(cases) == 4 * len(CHUNK_SIZES)
        for chunk_size, largest, part, in_forward, in_backward in cases:
            assert largest <= 1e-12
            assert part > 1e-2, "the hidden gradient of one rank cannot be all of it"
            num_chunks = math.ceil(NUM_TOKENS / chunk_size)
            assert (in_forward, in_backward) == (2 * num_chunks, 0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"chunk_size": 0}, "chunk_size is 0, allowed is 1 or more"),
        ({"temperature": 0.0}, "temperature is 0.0, allowed is"),
        ({"temperature": float("nan")}, "temperature is nan, allowed is"),
        ({"hidden": torch.zeros(2, 3, 4)}, r"hidden has shape \(2, 3, 4\) and weight \(5, 4\), allowed are"),
        ({"weight": torch.zeros(5, 3)}, r"hidden has shape \(3, 4\) and weight \(5, 3\), allowed are"),
        ({"weight": torch.zeros(5, 4).bfloat16()}, "hidden is torch.float32 and weight torch.bfloat16, allowed is"),
        ({"labels": torch.zeros(2, dtype=torch.int64)}, r"labels are torch.int64 of shape \(2,\), allowed is int64"),
        ({"labels": torch.zeros(3)}, r"labels are torch.float32 of shape \(3,\), allowed is int64 of shape \(3,\)"),
    ],
)
def test_what_does_not_fit_is_refused(change, message):
    fitting = {"hidden": torch.zeros(3, 4), "weight": torch.zeros(5, 4), "labels": torch.zeros(3, dtype=torch.int64)}
    with pytest.raises(ValueError, match=message) as caught:
        chunked_logprobs(**{"group": None, "chunk_size": 2, **fitting, **change})
    assert "\n" not in str(caught.value)
