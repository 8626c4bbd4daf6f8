"""Finds every layout that a model, the GPUs and the batch allow, with its memory and time on paper. Those that fit come first. No torch."""

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from megatron_ext.layout import ParallelLayout
from megatron_ext.planning.estimates import Machine, StepTime, step_time
from megatron_ext.planning.memory import GIB, StageMemory, Workload, peak_memory
from megatron_ext.planning.shape import ModelShape


@dataclass(frozen=True)
class Request:
    """The request of the user. Memory is in GiB. tokens_per_micro_batch: those of one replica. mean_length: tokens of prompt and
    response.
    """

    shape: ModelShape
    machine: Machine
    gpu_memory: float
    max_sequence_length: int
    tokens_per_micro_batch: int
    batch_size: int
    mean_length: int
    logprob_chunk_size: int
    vllm_share: float
    sleep: bool
    reference: bool
    reserve: float


@dataclass(frozen=True)
class Plan:
    """One layout.

    recompute: whether it is needed. memory, time: those with `recompute`. activations: (without, with), in bytes. free: GiB that are left
    at the worse of two moments, training and generation. Below 0 the layout does not fit.
    """

    layout: ParallelLayout
    data_parallel: int
    micro_batches: int
    recompute: bool
    activations: tuple[int, int]
    memory: StageMemory
    training: float
    generation: float
    free: float
    time: StepTime

    @property
    def fits(self) -> bool:
        return self.free >= 0


def plans(request: Request) -> tuple[list[Plan], Counter[str]]:
    """All possible layouts, the best first, and the number of impossible ones for each reason."""
    found: list[Plan] = []
    refused: Counter[str] = Counter()
    for layout in _layouts(request):
        try:
            layout.check_sizes()
            layout.check_model(request.shape)
            layout.check_world(request.machine.gpus)
            found.append(plan(request, layout))
        except ValueError as error:
            refused[str(error)] += 1
    return sorted(found, key=lambda p: (not p.fits, p.time.overhead if p.fits else -p.free, -p.free)), refused


def plan(request: Request, layout: ParallelLayout) -> Plan:
    """One layout, without recomputation if that fits. Raises ValueError where the batch cannot be dealt out."""
    gpus = request.machine.gpus
    data_parallel = layout.data_parallel(gpus)
    if request.batch_size % data_parallel:
        raise ValueError(f"--batch_size is {request.batch_size}, not a multiple of {data_parallel} data parallel ranks")
    micro_batches = math.ceil(request.batch_size * request.mean_length / data_parallel / request.tokens_per_micro_batch)
    if layout.virtual_pipeline:  # the interleaved schedule takes them in groups
        micro_batches = math.ceil(micro_batches / layout.pipeline) * layout.pipeline
    work = Workload(request.tokens_per_micro_batch, micro_batches, request.logprob_chunk_size, request.reference)
    kept, recomputed = (peak_memory(request.shape, layout, gpus, work, recompute=again) for again in (False, True))
    recompute = _free(request, kept)[2] < 0
    memory = recomputed if recompute else kept
    time = step_time(
        request.shape,
        layout,
        request.machine,
        responses=request.batch_size,
        mean_length=request.mean_length,
        micro_batches=micro_batches,
        recompute=recompute,
    )
    activations = kept.activations, recomputed.activations
    return Plan(layout, data_parallel, micro_batches, recompute, activations, memory, *_free(request, memory), time)


def _free(request: Request, memory: StageMemory) -> tuple[float, float, float]:
    """GiB taken while training and while generating, reserve included, and what is left at the worse of the two.

    Asleep, vLLM gives its memory back, and so do gradients and optimizer; the weights stay.
    """
    vllm = request.vllm_share * request.gpu_memory
    states = memory.weights + memory.reference
    training = memory.total / GIB + request.reserve + (0 if request.sleep else vllm)
    generation = (
        (states if request.sleep else states + memory.gradients + memory.optimizer) / GIB + request.reserve + vllm
    )
    generation = generation if vllm else 0.0
    return training, generation, request.gpu_memory - max(training, generation)


def _layouts(request: Request) -> Iterator[ParallelLayout]:
    """Tensor parallelism within a node, every other size as the GPUs allow."""
    gpus, per_node, shape = request.machine.gpus, request.machine.gpus_per_node, request.shape
    for tensor in _divisors(min(gpus, per_node)):
        for pipeline in _divisors(gpus // tensor):
            per_stage, rest = divmod(shape.num_hidden_layers, pipeline)
            pieces = [d for d in _divisors(per_stage) if d > 1] if pipeline > 1 and not rest else []
            for context in _divisors(gpus // tensor // pipeline):
                for virtual in (None, *pieces):
                    for expert in _divisors(shape.num_experts) if shape.num_experts else (1,):
                        yield ParallelLayout(tensor, pipeline, virtual, context, expert, sequence_parallel=tensor > 1)


def _divisors(number: int) -> list[int]:
    return [d for d in range(1, number + 1) if number % d == 0]
