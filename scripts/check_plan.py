#!/usr/bin/env python3
"""Compares planned with measured memory: python scripts/check_plan.py

It builds small random models on Megatron-Core, one process a rank, trains one step, and compares with megatron_ext/planning/memory.py:

    weights, gradients   bytes of the buffers that hold the parameters and their main gradients
    optimizer            bytes of main parameters and moments, summed over the ranks that share them
    activations          bytes that one micro batch saves for backward: each storage once, parameters left out
    recomputed           the same with full recomputation: what is kept, and what one layer saves while it is computed again

It runs on plain modules, without GPUs (gloo) or with them (NCCL). Replacements of Transformer Engine's norm and attention
(measure_memory.py) are measured, and its fused rotary embedding is absent. What the real ones save is not measured. Exit status 1 if a
figure of the states differs at all, or one of the activations by more than 2 %. It takes about a minute on 2 cores. --markdown prints the
table of docs/evidence/megatron.md.
"""

import argparse
import os
import sys
import tempfile
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import NamedTuple

import torch
from measure_memory import CHUNK_SIZE, RESPONSES, VOCABULARY, measure

from deltal_openrlhf.parity.spawn import run_on_ranks
from megatron_ext.layout import ParallelLayout
from megatron_ext.planning.memory import (
    HALF,
    OPTIMIZER,
    SINGLE,
    Workload,
    head_activations,
    layer_activations,
    local_tokens,
    stage_memory,
)
from megatron_ext.planning.shape import rank_parameters, read_shape

TOLERANCE = 0.02
TIME_LIMIT = 100
"""Seconds for the cases of one number of ranks."""

SMALL = {
    "vocab_size": VOCABULARY,
    "hidden_size": 256,
    "intermediate_size": 768,
    "num_hidden_layers": 4,
    "num_attention_heads": 8,
    "num_key_value_heads": 2,
    "max_position_embeddings": 1024,
    "tie_word_embeddings": False,
}
EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 128, "norm_topk_prob": True}
MODELS = {
    "qwen2 small": ("qwen2", SMALL),
    "qwen2 wide": ("qwen2", SMALL | {"hidden_size": 512, "intermediate_size": 1024, "num_attention_heads": 4}),
    "qwen2 tied": ("qwen2", SMALL | {"tie_word_embeddings": True}),
    "qwen3": ("qwen3", SMALL | {"head_dim": 64}),
    "llama": ("llama", SMALL),
    "qwen3_moe": ("qwen3_moe", SMALL | EXPERTS | {"head_dim": 32}),
}


@dataclass(frozen=True)
class Case:
    """A model of MODELS, how it is cut, and over how many ranks."""

    model: str
    world: int
    layout: ParallelLayout = field(default_factory=ParallelLayout)
    recompute: bool = False

    @property
    def name(self) -> str:
        cut = self.layout.describe().replace(", context 1", "")
        return f"{self.model}: {cut}, data parallel {self.layout.data_parallel(self.world)}{', recomputed' * self.recompute}"


CASES = (
    Case("qwen2 small", 1),
    Case("qwen2 small", 1, recompute=True),
    Case("qwen2 wide", 1),
    Case("qwen2 small", 2, ParallelLayout(tensor=2)),
    Case("qwen2 small", 2, ParallelLayout(tensor=2, sequence_parallel=True)),
    Case("qwen2 wide", 2, ParallelLayout(tensor=2, sequence_parallel=True), recompute=True),
    Case("qwen2 small", 2, ParallelLayout(pipeline=2)),
    Case("qwen2 tied", 2, ParallelLayout(pipeline=2)),
    Case("qwen2 tied", 1),
    Case("qwen2 small", 2),
    Case("qwen2 small", 2, ParallelLayout(context=2)),
    Case("qwen3", 2, ParallelLayout(tensor=2, sequence_parallel=True)),
    Case("llama", 2),
    Case("qwen3_moe", 2),
)


def write_models(folder: Path) -> None:
    """All of MODELS, as Hugging Face folders."""
    from transformers import AutoConfig, AutoModelForCausalLM

    torch.manual_seed(0)
    for name, (kind, sizes) in MODELS.items():
        config = AutoConfig.for_model(kind, **sizes)
        AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16).save_pretrained(folder / name)


class Finding(NamedTuple):
    """One figure, in bytes. allowed: relative difference."""

    case: str
    what: str
    planned: int
    measured: int
    allowed: float

    @property
    def agrees(self) -> bool:
        return abs(self.planned - self.measured) <= self.allowed * self.measured


def compare(case: Case, folder: str, ranks: list[dict]) -> list[Finding]:
    """Every figure of every rank; equal ones once."""
    shape, layout = read_shape(str(Path(folder) / case.model)), case.layout
    work = Workload(sum(RESPONSES), 1, CHUNK_SIZE, fused_rope=False)
    tokens = local_tokens(layout, work)
    findings = []
    for rank in ranks:
        stage = rank["stage"]
        plan = stage_memory(shape, layout, case.world, work, stage=stage, recompute=case.recompute)
        layer = layer_activations(shape, layout, tokens, fused_rope=work.fused_rope)
        kept = tokens // (layout.tensor if layout.sequence_parallel else 1) * shape.hidden_size * HALF
        chunk = shape.num_hidden_layers // layout.pipeline * (kept if case.recompute else layer)
        chunk += max(RESPONSES) * shape.head_dim * SINGLE if case.recompute else 0
        chunk += head_activations(shape, layout, tokens) if stage == layout.pipeline - 1 else 0
        # A rank's share ends within a parameter, and padding has no states: exact is the sum over the ranks that share them.
        (parameters,) = rank_parameters(shape, layout, stage)
        states = layout.tensor * sum(parameters.dense + parameters.shared)
        states += layout.expert_tensor * layout.expert * sum(parameters.expert)
        shared = sum(r["optimizer"] for r in ranks if r["stage"] == stage)
        rows = [
            ("weights", plan.weights, rank["weights"], 0.0),
            ("gradients", plan.gradients, rank["gradients"], 0.0),
            ("optimizer, all its ranks", OPTIMIZER * states, shared, 0.0),
            ("activations", chunk, rank["chunk"], TOLERANCE),
        ]
        rows += [("one layer, recomputed", layer, rank["layer"], TOLERANCE)] if case.recompute else []
        where = f", stage {stage}" if layout.pipeline > 1 else ""
        findings += [Finding(case.name, what + where, *figures) for what, *figures in rows]
    return list(dict.fromkeys(findings))


def check(world: int, folder: str) -> list[Finding]:
    """All cases of that many ranks."""
    cases = [case for case in CASES if case.world == world]
    ranks = run_on_ranks(world, measure, [asdict(case) for case in cases], folder, timeout=TIME_LIMIT)
    return [
        f for case, results in zip(cases, zip(*ranks, strict=True), strict=True) for f in compare(case, folder, results)
    ]


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--markdown", action="store_true", help="print the table in Markdown")
    options = parser.parse_args(argv)
    os.environ["PYTHONWARNINGS"] = "ignore"  # Megatron-Core's, in the ranks' processes
    with tempfile.TemporaryDirectory() as folder:
        write_models(Path(folder))
        findings = [finding for world in (1, 2) for finding in check(world, folder)]
    print(markdown(findings) if options.markdown else "\n".join(map(_line, findings)))
    return 0 if all(f.agrees for f in findings) else 1


def _line(f: Finding) -> str:
    cells = [f.case, f.what, f"{f.planned:,}", f"{f.measured:,}", f"{f.planned / f.measured:.4f}"]
    return "  ".join(cells) + "  DIFFERS" * (not f.agrees)


def markdown(findings: list[Finding]) -> str:
    """One row a case and stage: planned / measured."""
    names = ("weights", "gradients", "optimizer, all its ranks", "activations", "one layer, recomputed")
    rows: dict[str, dict[str, str]] = {}
    for f in findings:
        what, _, stage = f.what.partition(", stage ")
        rows.setdefault(f.case + (f", stage {stage}" if stage else ""), {})[what] = f"{f.planned / f.measured:.4f}"
    lines = ["| planned / measured | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|"]
    lines += [f"| {case} | " + " | ".join(row.get(name, "") for name in names) + " |" for case, row in rows.items()]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
