"""A covering set of cases: every way to cut, with every mode, scope and term of the loss spread over them, and negative controls."""

from dataclasses import replace
from typing import Any

from deltal_openrlhf.parity.cases import Case
from megatron_ext.layout import ParallelLayout as Layout
from megatron_ext.modules import Modules
from megatron_ext.parity.cases import ShardedCase
from megatron_ext.parity_choices import DTYPE

EVERYTHING: dict[str, Any] = {"kl": True, "entropy": True, "dual_clip": 3.0}
TP2_SP = Layout(tensor=2, sequence_parallel=True)
ONE = [
    ShardedCase(),
    ShardedCase(model="llama", tied=True, packed=True, recompute=True, loss=Case(gspo=True)),
    ShardedCase(model="qwen3_moe", packed=True),
    ShardedCase(wrong="scale"),
    ShardedCase(wrong="micro-batch"),
]
TWO = [
    ShardedCase(Layout(tensor=2)),
    ShardedCase(Layout(tensor=2), model="llama", loss=Case(micro=3, correction="seq", **EVERYTHING)),
    ShardedCase(TP2_SP, model="qwen3", tied=True, recompute=True, loss=Case(mode="token-mean", micro=3)),
    ShardedCase(TP2_SP, packed=True, loss=Case(mode="seq-mean-token-sum-norm", micro=5)),
    ShardedCase(Layout(pipeline=2), loss=Case(mode="seq-mean-token-mean", micro=3, holes=True)),
    ShardedCase(Layout(pipeline=2), packed=True, max_tokens=60, tied=True, loss=Case(micro=3, scope="rollout")),
    ShardedCase(
        Layout(pipeline=2, virtual_pipeline=2),
        packed=True,
        model="qwen3",
        loss=Case(mode="prompt-mean", filtering=True),
    ),
    ShardedCase(
        Layout(pipeline=2, virtual_pipeline=2), tied=True, loss=Case(micro=3, correction="token", **EVERYTHING)
    ),
    ShardedCase(data_parallel=2, loss=Case(micro=3, scope="group", correction="token", **EVERYTHING)),
    ShardedCase(
        data_parallel=2, packed=True, max_tokens=50, model="qwen3", loss=Case(mode="balanced", micro=3, filtering=True)
    ),
    ShardedCase(Layout(context=2), loss=Case(micro=3, alpha=1.0, gspo=True)),
    ShardedCase(
        Layout(context=2), packed=True, loss=Case(mode="seq-mean-token-mean", micro=3, correction="seq", **EVERYTHING)
    ),
    ShardedCase(Layout(expert=2), data_parallel=2, model="qwen3_moe", packed=True),
    ShardedCase(TP2_SP, packed=True, wrong="scale"),
    ShardedCase(Layout(pipeline=2), packed=True, wrong="micro-batch"),
    ShardedCase(data_parallel=2, wrong="micro-batch"),
    ShardedCase(Layout(context=2), wrong="scale"),
]
FOUR = [
    ShardedCase(Layout(tensor=2, pipeline=2, sequence_parallel=True), packed=True),
    ShardedCase(Layout(pipeline=2, context=2), packed=True),
    ShardedCase(Layout(context=2), data_parallel=2, packed=True, tied=True, max_tokens=60, model="qwen3"),
]
MATRIX = (*ONE, *TWO, *FOUR)


def cases_for(modules: Modules, dtype: str | None = None) -> list[ShardedCase]:
    """The covering set on these modules, by number of ranks. dtype: "fp32" or "bf16", None for the modules' usual one."""
    return [replace(case, modules=modules, dtype=dtype or DTYPE[modules]) for case in MATRIX]
