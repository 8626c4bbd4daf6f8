"""The seconds of one optimizer step on a layout, on paper: arithmetic, waiting, communication. They serve to rank layouts. No torch.

T, C, P, V, D, E: tensor, context, pipeline, virtual pipeline, data and expert parallel size; L layers; m micro batches of a replica. Every
figure is of one rank. N tokens are a replica's share of the optimizer step, whose responses all have the mean length.

    arithmetic   6 x active parameters + 6 L q x length a token (arXiv 2104.04473, appendix; causal attention reads half the length on
                 average); the output layer 8 in place of 6, because its chunks are computed again in backward
    recompute    a third more in the layers
    pipeline     what the slowest stage (it has the output layer) costs beyond the mean, and P - 1 micro batches of waiting, (P - 1) / V
                 when interleaved (arXiv 2104.04473, section 2.2)
    tensor       4 all-gathers or reduce-scatters of the hidden states forward, 5 backward with sequence parallelism (the input is
                 gathered once more for the weight's gradient; two linear layers a layer are split so: 6); an all-reduce is two of them
    context      keys and values go round the ring, backward twice with their gradients: 3 (C - 1) / C of them (ring attention)
    pipeline p2p hidden states forward and gradients backward, V times
    expert       tokens to their experts and back, forward and backward
    data         gradients reduce-scattered in fp32, weights gathered in bf16, once a step: 6 bytes x (n - 1) / n, n = D C
                 (arXiv 1910.02054)

No communication is assumed to overlap with arithmetic, so the overhead is an upper bound. It does not include generation, rewards and the
forward passes for old and reference log-probabilities.
"""

from dataclasses import asdict, dataclass

from megatron_ext.layout import ParallelLayout
from megatron_ext.planning.memory import GRADIENT, HALF, WEIGHT, reduction_ranks
from megatron_ext.planning.shape import ModelShape, rank_parameters


@dataclass(frozen=True)
class Machine:
    """flops: a GPU's peak in bf16, 1/s. efficiency: share of it that matrix products reach. nvlink, network: bytes a second and GPU, in
    one direction, within a node and between nodes."""

    gpus: int
    gpus_per_node: int = 8
    flops: float = 989e12
    efficiency: float = 0.4
    nvlink: float = 450e9
    network: float = 50e9

    def bandwidth(self, stride: int, size: int) -> float:
        """Bytes a second in a group of `size` ranks, each `stride` apart."""
        return self.nvlink if stride * size <= self.gpus_per_node else self.network


@dataclass(frozen=True)
class StepTime:
    """Seconds. ideal: the arithmetic alone, spread evenly over all ranks."""

    ideal: float
    recompute: float
    imbalance: float
    bubble: float
    tensor: float
    context: float
    pipeline: float
    expert: float
    data: float

    @property
    def overhead(self) -> float:
        """Everything but the ideal time."""
        return sum(asdict(self).values()) - self.ideal


def step_time(
    shape: ModelShape,
    layout: ParallelLayout,
    machine: Machine,
    *,
    responses: int,
    mean_length: int,
    micro_batches: int,
    recompute: bool,
) -> StepTime:
    """responses: of the optimizer step. micro_batches: of one replica."""
    data_parallel = machine.gpus // layout.replica
    tokens = responses * mean_length / data_parallel
    layers_per_stage = shape.num_hidden_layers / layout.pipeline
    again = 4 / 3 if recompute else 1.0

    layer_flops = 6 * (shape.active_parameters - shape.output_parameters) / shape.num_hidden_layers
    layer_flops += 6 * shape.query_size * mean_length
    head_flops = 8 * shape.output_parameters
    speed = machine.flops * machine.efficiency * layout.tensor * layout.context
    layers, head = layers_per_stage * layer_flops * tokens / speed, head_flops * tokens / speed
    mean = layers + head / layout.pipeline

    local = tokens / layout.context
    per_stage = _communication(shape, layout, machine, local * layers_per_stage, recompute)
    # A rank sends one tensor forward and one backward for every chunk; both directions of a link work at once.
    hidden = local / (layout.tensor if layout.sequence_parallel else 1) * shape.hidden_size * HALF
    between_stages = 2 * hidden * (layout.virtual_pipeline or 1) if layout.pipeline > 1 else 0.0
    p2p = between_stages / machine.bandwidth(layout.tensor * layout.context, layout.pipeline)

    busy = again * layers + head + sum(per_stage.values())
    waiting = (layout.pipeline - 1) / ((layout.virtual_pipeline or 1) * micro_batches)
    return StepTime(
        ideal=mean,
        recompute=(again - 1) * layers,
        imbalance=layers + head - mean,
        bubble=waiting * busy,
        pipeline=p2p,
        data=_data_parallel_seconds(shape, layout, machine),
        **per_stage,
    )


def _communication(
    shape: ModelShape, layout: ParallelLayout, machine: Machine, token_layers: float, recompute: bool
) -> dict[str, float]:
    """Seconds of one rank for all its layers. token_layers: tokens of this context parallel rank times its layers."""
    size, h = layout.tensor, shape.hidden_size
    passes = 2 if recompute else 1
    backward = 6 if layout.sequence_parallel else 4
    ring = (size - 1) / size * h * HALF * token_layers
    tensor = (4 * passes + backward) * ring / machine.bandwidth(1, size)

    ring = (layout.context - 1) * 2 * shape.key_value_size / size * HALF * token_layers
    context = (passes + 2) * ring / machine.bandwidth(size, layout.context)

    expert = 0.0
    if shape.num_experts:
        routed = token_layers / (size if layout.sequence_parallel else 1) * shape.num_experts_per_tok * h * HALF
        group = layout.expert * layout.expert_tensor
        away = (layout.expert - 1) / layout.expert + layout.expert_tensor - 1
        expert = 2 * (passes + 1) * routed * away / machine.bandwidth(1, group)
    return {"tensor": tensor, "context": context, "expert": expert}


def _data_parallel_seconds(shape: ModelShape, layout: ParallelLayout, machine: Machine) -> float:
    """Seconds of the stage with most parameters."""
    ranks, expert_ranks = reduction_ranks(layout, machine.gpus)
    data_parallel = machine.gpus // layout.replica
    wide = layout.replica * data_parallel if data_parallel > 1 else layout.tensor * layout.context
    bandwidth = machine.bandwidth(1, wide)
    slowest = 0.0
    for stage in {0, layout.pipeline - 1}:
        buckets = [c.buckets(ranks, expert_ranks) for c in rank_parameters(shape, layout, stage)]
        moved = sum(
            dense * (ranks - 1) / ranks + expert * (expert_ranks - 1) / expert_ranks for dense, expert in buckets
        )
        slowest = max(slowest, (GRADIENT + WEIGHT) * moved / bandwidth)
    return slowest
