"""The sketch of `deltal diagnose` against its theory, and the same values in any block and any order of parameters."""

import math

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from deltal_openrlhf.diagnostics import sketch as sketch_module
from deltal_openrlhf.diagnostics.sketch import Sketch, relative_error


class OneTensor(nn.Module):
    def __init__(self, shape):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(shape))


WIDTH = 32


def sketched(x, seed, width=WIDTH):
    model = OneTensor(x.shape)
    sketch = Sketch(model, {"weight": "mlp"}, width, seed)
    row = torch.zeros(sketch.dim)
    sketch.add("weight", x.clone(), row)
    return row


def theory(x, y):
    """Exact variance of <Rx, Ry>: coordinates of different rows meet with chance 1 / width, those of one row never."""
    x, y = x.flatten().double(), y.flatten().double()
    block = torch.arange(len(x)) // WIDTH
    apart = (block[:, None] != block[None]).double()
    return ((torch.outer(x**2, y**2) + torch.outer(x * y, x * y)) * apart).sum().item() / WIDTH


@pytest.mark.parametrize("kind", ["plain", "one column", "correlated rows"])
def test_inner_products_of_sketches(kind):
    """Mean and variance over 2000 seeds against theory; the last row of the parameter is not full."""
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(2, 25, 39, generator=generator)
    if kind == "one column":  # without shifts, all of it would be in one bucket
        flat = torch.arange(x.numel()) % WIDTH == 3
        x, y = (v.where(flat.view_as(v), torch.zeros(())) for v in (x, y))
    if kind == "correlated rows":  # with one sign for a whole row its products would not average out
        x, y = (v[:1].expand_as(v) + 0.1 * v for v in (x, y))
    y = x + 0.5 * y
    products = torch.stack([sketched(x, seed) @ sketched(y, seed) for seed in range(2000)]).double()
    truth, variance = (x.double() * y.double()).sum().item(), theory(x, y)
    assert abs(products.mean().item() - truth) <= 4 * math.sqrt(variance / len(products))
    assert products.var().item() == pytest.approx(variance, rel=0.2)
    bound = (x.norm() ** 2 * y.norm() ** 2 + truth**2).item() / WIDTH
    assert variance <= bound * (1 + 1e-6)
    assert math.sqrt(theory(x, x)) / x.norm().item() ** 2 <= relative_error(WIDTH)


def test_a_sketch_depends_on_the_seed_and_not_on_the_order_of_parameters():
    x = torch.randn(40, 40)
    assert torch.equal(sketched(x, 5), sketched(x, 5)) and not torch.equal(sketched(x, 5), sketched(x, 6))
    two = nn.ModuleDict({"a": OneTensor((40, 40)), "b": OneTensor((7, 90))})
    types = {"a.weight": "mlp", "b.weight": "mlp"}
    values = {name: torch.randn_like(parameter) for name, parameter in two.named_parameters()}
    rows = []
    for order in (["a.weight", "b.weight"], ["b.weight", "a.weight"]):
        sketch = Sketch(two, types, WIDTH, 0)
        rows.append(torch.zeros(sketch.dim))
        for name in order:
            sketch.add(name, values[name].clone(), rows[-1])
    torch.testing.assert_close(*rows)
    # Two parameters of the same shape have signs of their own.
    pair = nn.ModuleDict({"a": OneTensor((40, 40)), "b": OneTensor((40, 40))})
    sketch = Sketch(pair, types, WIDTH, 0)
    each = torch.zeros(2, sketch.dim)
    for row, name in zip(each, types, strict=True):
        sketch.add(name, x.clone(), row)
    assert not torch.equal(*each)


@pytest.mark.parametrize("rows_a_block", [1, 3, 8, 1 << 20])
def test_any_block_gives_the_count_sketch(rows_a_block, monkeypatch):
    """Against the definition: each coordinate's bucket and sign, found by sketching it alone, then summed one by one."""
    x = torch.randn(21, 39)  # 25 rows of the sketch, and a part of one
    alone = torch.stack([sketched(unit.view_as(x), 3) for unit in torch.eye(x.numel())])
    buckets, signs = alone.abs().argmax(1), alone.sum(1)
    assert torch.equal(alone.abs().sum(1), torch.ones(x.numel())) and 0.4 < (signs > 0).double().mean() < 0.6
    expected = [0.0] * WIDTH
    for value, bucket, sign in zip(x.flatten().tolist(), buckets.tolist(), signs.tolist(), strict=True):
        expected[bucket] += sign * value
    monkeypatch.setitem(sketch_module._BLOCK, "cpu", rows_a_block * WIDTH)
    torch.testing.assert_close(sketched(x, 3), torch.tensor(expected), rtol=1e-5, atol=1e-5)


class Launches(TorchDispatchMode):
    """Counts operations, each of which is a kernel launch on a GPU or does nothing on the device."""

    def __init__(self):
        super().__init__()
        self.all = self.blocks = 0

    def __torch_dispatch__(self, function, types, arguments=(), keywords=None):
        self.all += 1
        self.blocks += function is torch.ops.aten.gather.default
        return function(*arguments, **(keywords or {}))


def blocks(numel, width, block):
    whole, rest = divmod(numel, width)
    return -(-whole // max(1, block // width)) + (rest > 0)


def test_launches_of_a_large_model_on_a_gpu(monkeypatch):
    """Blocks by arithmetic, which is held to what a small parameter takes."""
    for shape, rows in (((21, 39), 2), ((64, 32), 64), ((64, 32), 5)):
        model = OneTensor(shape)
        sketch = Sketch(model, {"weight": "mlp"}, WIDTH, 0)
        monkeypatch.setitem(sketch_module._BLOCK, "cpu", rows * WIDTH)
        with Launches() as launches:
            sketch.add("weight", torch.ones(shape), torch.zeros(sketch.dim))
        assert launches.blocks == blocks(model.weight.numel(), WIDTH, rows * WIDTH)
        assert launches.all <= 30 * launches.blocks  # views, which launch nothing, count too
    # Qwen2.5-3B: 36 layers of width 2048 and 11,008, a vocabulary of 151,936.
    shapes = [2048 * 2048, 2048 * 256, 2048 * 256, 2048 * 2048, *[2048 * 11_008] * 3] * 36 + [151_936 * 2048]
    on_cpu, on_gpu = (sum(blocks(n, 8192, sketch_module._BLOCK[kind]) for n in shapes) for kind in ("cpu", "cuda"))
    assert on_cpu > 11_000 and on_gpu < 300
