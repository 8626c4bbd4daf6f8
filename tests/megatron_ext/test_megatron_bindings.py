"""What we rely on in Megatron-Core and mbridge is there, is checked when a worker starts, and is imported by the workers only."""

import ast
import functools
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

from megatron_ext import bindings

PACKAGE = Path(bindings.__file__).parent


def test_the_installed_packages_have_every_symbol():
    assert bindings.check() == []


def replace(monkeypatch, symbol: str, replacement) -> None:
    """Put it in the place of module:name, or take the name away."""
    module, _, path = symbol.partition(":")
    *owners, name = path.split(".")
    owner = functools.reduce(getattr, owners, importlib.import_module(module))
    if replacement is None:
        monkeypatch.delattr(owner, name)
    else:
        monkeypatch.setattr(owner, name, replacement)


@pytest.mark.parametrize(
    ("symbol", "replacement", "says"),
    [
        (
            "megatron.core.models.gpt.gpt_model:GPTModel._postprocess",
            lambda self, hidden_states, labels: None,
            "changed megatron.core.models.gpt.gpt_model.GPTModel._postprocess: takes (self, hidden_states, labels), wanted (self, hid",
        ),
        (
            "megatron.core.distributed:finalize_model_grads",
            lambda model: None,
            "changed megatron.core.distributed.finalize_model_grads: takes of what is wanted (model), wanted (model, num_tokens)",
        ),
        (
            "megatron.core.optimizer:get_megatron_optimizer",
            lambda model_chunks, config: None,
            "changed megatron.core.optimizer.get_megatron_optimizer: takes of what is wanted (model_chunks, config), "
            "wanted (config, model_chunks)",
        ),
        (
            "megatron.core.distributed:DistributedDataParallel.offload_grad_buffers",
            None,
            "has no usable megatron.core.distributed.DistributedDataParallel.offload_grad_buffers (",
        ),
        ("mbridge.core.llm_bridge:GPTModel", None, "has no usable mbridge.core.llm_bridge.GPTModel.__init__ ("),
    ],
)
def test_a_changed_symbol_is_named_with_both_versions(symbol, replacement, says, monkeypatch):
    bindings.check()  # everything is imported before
    replace(monkeypatch, symbol, replacement)
    (problem,) = bindings.check()
    package = "mbridge 0.15.1 " if symbol.startswith("mbridge") else "megatron-core 0.16.1 "
    assert problem.startswith(package + says)
    assert problem.endswith("; checked against megatron-core 0.16.1, mbridge 0.15.1")
    assert "\n" not in problem


def _without_context_parallelism(*, output_tensor, loss_func, num_microbatches, **others):
    return loss_func(output_tensor)[0] / num_microbatches, None


@pytest.mark.parametrize(
    ("symbol", "replacement", "says"),
    [
        (
            "megatron.core.pipeline_parallel.schedules:forward_step_calc_loss",
            _without_context_parallelism,
            "a loss of 6 in 3 micro batches on 2 context parallel ranks counts 2.0, wanted 4.0",
        ),
        ("megatron.core.optimizer:get_standard_config_overrides", lambda config: {}, "weight decay is multiplied by {"),
        (
            "mbridge.core.bridge:Bridge._weight_name_mapping_mcore_to_hf",
            lambda self, name: ["lm_head.weight"],
            "the bridge builds a model with {'name': ['lm_head.weight'], 'vocab_size': 8",
        ),
    ],
)
def test_a_changed_behaviour_is_noticed_under_the_same_names(symbol, replacement, says, monkeypatch):
    replace(monkeypatch, symbol, replacement)
    (problem,) = bindings.check()
    assert problem.startswith(f"megatron-core 0.16.1, mbridge 0.15.1: {says}")


def test_what_python_imports_counts_not_what_pip_knows(monkeypatch):
    monkeypatch.setattr(importlib.import_module("megatron.core"), "__version__", "0.17.0")
    assert bindings.check() == [
        "megatron-core 0.17.0 is what Python imports; this package was checked against megatron-core 0.16.1, mbridge 0.15.1"
    ]
    monkeypatch.setitem(sys.modules, "megatron.core", None)
    (problem,) = bindings.check()
    assert problem.startswith("Megatron-Core and mbridge cannot be imported (")


def test_a_worker_does_not_start_with_a_problem(monkeypatch):
    from megatron_ext.strategy import MegatronStrategy

    monkeypatch.setattr(bindings, "check", lambda: ["first", "second"])
    with pytest.raises(ImportError, match="^first$"):
        MegatronStrategy.setup_distributed(object())


# ── The table is whole ──


def used_symbols(source: str) -> set[str]:
    """module:name of what a file imports from Megatron-Core and mbridge, and of what it takes out of a module imported so."""
    tree = ast.parse(source)
    found, modules = set(), {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in ("megatron", "mbridge"):
            for alias in node.names:
                try:
                    modules[alias.name] = importlib.import_module(f"{node.module}.{alias.name}").__name__
                except ImportError:
                    found.add(f"{node.module}:{alias.name}")
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in modules:
            found.add(f"{modules[node.value.id]}:{node.attr}")
    return found


FILES = [
    path for path in sorted(PACKAGE.rglob("*.py")) if path.name != "cpu.py"
]  # which checks the names that it replaces


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_every_symbol_that_is_used_is_in_the_table(path):
    # Base classes, annotations and a name with a version have nothing to be checked but that they can be imported.
    names_only = {
        "mbridge.core.bridge:Bridge",
        "megatron.core.transformer.module:MegatronModule",
        "megatron.core.optimizer.distrib_optimizer:DistributedOptimizer",
        "megatron.core:__version__",
        "megatron.core.transformer.moe.moe_utils:te_general_gemm",  # set; there with Transformer Engine only
    }
    inside = {"megatron.core.optimizer:get_standard_config_overrides", "mbridge.core.parallel_states:ParallelStates"}
    inside |= {"megatron.core.pipeline_parallel.schedules:forward_step_calc_loss"}  # what the behaviours are asked with
    listed = {*bindings.CALLED, *bindings.REPLACED}
    used = used_symbols(path.read_text(encoding="utf-8")) - names_only - inside
    missing = [
        symbol
        for symbol in sorted(used)
        if not any(entry == symbol or entry.startswith(symbol + ".") for entry in listed)
    ]
    assert missing == [], f"add them to megatron_ext/bindings.py: {missing}"


def test_used_symbols_finds_both_ways_of_importing():
    source = """
from megatron.core import parallel_state
from megatron.core.optimizer import OptimizerConfig
def f(): parallel_state.get_something(parallel_state)
"""
    wanted = {"megatron.core.parallel_state:get_something", "megatron.core.optimizer:OptimizerConfig"}
    assert used_symbols(source) == wanted


# ── Who imports Megatron-Core ──


def ask(code: str) -> str:
    process = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, timeout=90)
    assert process.returncode == 0, process.stderr
    return process.stdout.splitlines()[-1]


def test_what_is_checked_before_ray_starts_imports_no_torch():
    code = (
        "import sys, deltal_openrlhf.cli.plan\nfrom megatron_ext import layout, flags, support, bindings\n"
        "print([m for m in ('torch', 'megatron', 'mbridge') if m in sys.modules])"
    )
    assert ask(code) == "[]"


def test_the_driver_does_not_import_megatron_core_and_finds_nothing_replaced():
    code = (
        "import sys\n"
        "from deltal_openrlhf import cpu; cpu.install()\n"
        "import torch\n"
        "from megatron_ext.cpu import REPLACEMENTS\n"
        "names = [target.split('.')[1] for target in REPLACEMENTS if target.startswith('torch:cuda.')]\n"
        "before = [getattr(torch.cuda, name) for name in names]\n"
        "import megatron_ext.features, megatron_ext.strategy, megatron_ext.actor\n"
        "same = [getattr(torch.cuda, name) for name in names] == before\n"
        "print([m for m in ('megatron', 'mbridge') if m in sys.modules], same, torch.zeros(1).type())"
    )
    assert ask(code) == "[] True torch.FloatTensor"
