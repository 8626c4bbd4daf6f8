"""How a run cuts the model and the batch. It deals in sizes only and needs no torch, so the sizes are checked before anything starts.

The rank order is tensor, then context, then pipeline, then data parallel rank. One replica of the model is contiguous, because OpenRLHF
sends the same chunk of a batch to contiguous ranks.
"""

from dataclasses import dataclass
from typing import Any

from deltal_openrlhf.arguments import Arguments

RANK_ORDER = "tp-cp-ep-pp-dp"


@dataclass(frozen=True)
class ParallelLayout:
    """Sizes in ranks. virtual_pipeline: model chunks per pipeline rank (interleaved schedule), None for 1F1B."""

    tensor: int = 1
    pipeline: int = 1
    virtual_pipeline: int | None = None
    context: int = 1
    expert: int = 1
    sequence_parallel: bool = False

    @classmethod
    def from_args(cls, args: Arguments) -> "ParallelLayout":
        """Read the --megatron.* flags in the host's hierarchical arguments. Raises ValueError for impossible sizes."""
        given = args.megatron
        layout = cls(
            tensor=given.tensor_parallel_size,
            pipeline=given.pipeline_parallel_size,
            virtual_pipeline=given.virtual_pipeline_parallel_size,
            context=given.context_parallel_size,
            expert=given.expert_parallel_size,
            sequence_parallel=given.sequence_parallel,
        )
        layout.check_sizes()
        return layout

    @property
    def replica(self) -> int:
        """Ranks that hold one copy of the model."""
        return self.tensor * self.context * self.pipeline

    @property
    def expert_tensor(self) -> int:
        """The number of ranks over which one expert is cut. Experts have no context parallelism. With pipeline stages, the ranks of one
        stage of one replica have to be the same for dense and for expert layers.
        """
        return self.tensor * self.context // self.expert if self.pipeline > 1 else self.tensor

    @property
    def row_multiple(self) -> int:
        """Every sequence, or every packed one, is padded to a multiple of this many tokens."""
        return (2 * self.context if self.context > 1 else 1) * (self.tensor if self.sequence_parallel else 1)

    def padded(self, num_tokens: int) -> int:
        """Length of a row that holds this many tokens."""
        return -(-num_tokens // self.row_multiple) * self.row_multiple

    def data_parallel(self, world_size: int, workers: str = "actor") -> int:
        """Copies of the model. workers: actor or ref. Raises ValueError if the ranks do not come out even."""
        if world_size < self.replica or world_size % self.replica:
            raise ValueError(
                f"--{workers}.num_nodes x --{workers}.num_gpus_per_node is {world_size}, which is not a multiple of tensor x context x "
                f"pipeline parallel size, {self.tensor} x {self.context} x {self.pipeline} = {self.replica}"
            )
        return world_size // self.replica

    def check_sizes(self) -> None:
        """Raise ValueError for sizes that are wrong for every model."""
        for flag, value in (
            ("tensor_parallel_size", self.tensor),
            ("pipeline_parallel_size", self.pipeline),
            ("virtual_pipeline_parallel_size", self.virtual_pipeline),
            ("context_parallel_size", self.context),
            ("expert_parallel_size", self.expert),
        ):
            if value is not None and value < 1:
                raise ValueError(f"--megatron.{flag} is {value}, allowed is 1 or more")
        if self.sequence_parallel and self.tensor == 1:
            raise ValueError(
                "--megatron.sequence_parallel is set with --megatron.tensor_parallel_size 1; it splits tokens over the tensor parallel "
                "ranks, so allowed is 2 or more"
            )
        if self.virtual_pipeline is not None and (self.virtual_pipeline < 2 or self.pipeline < 2):
            raise ValueError(
                f"--megatron.virtual_pipeline_parallel_size is {self.virtual_pipeline} with --megatron.pipeline_parallel_size "
                f"{self.pipeline}; the interleaved schedule needs 2 or more of both"
            )

    def check_model(self, config: Any) -> None:
        """Raise ValueError, with the numbers, if the model cannot be cut this way. config: the model's Hugging Face configuration."""
        # With fewer key-value heads than ranks Megatron would have to copy them.
        for name in ("num_attention_heads", "num_key_value_heads", "vocab_size", "intermediate_size"):
            self._check_divides(name, getattr(config, name), "tensor_parallel_size", self.tensor)
        if self.virtual_pipeline is None:
            self._check_divides("num_hidden_layers", config.num_hidden_layers, "pipeline_parallel_size", self.pipeline)
        else:
            chunks = self.pipeline * self.virtual_pipeline
            name = "pipeline_parallel_size x --megatron.virtual_pipeline_parallel_size"
            self._check_divides("num_hidden_layers", config.num_hidden_layers, name, chunks)
        experts = num_experts(config)
        if self.expert > 1 and not experts:
            raise ValueError(
                f"--megatron.expert_parallel_size is {self.expert}, but the model ({config.model_type}) has no experts; allowed is 1"
            )
        if experts:
            self._check_divides("num_experts", experts, "expert_parallel_size", self.expert)
            if config.moe_intermediate_size % self.expert_tensor:
                raise ValueError(
                    f"the model's moe_intermediate_size is {config.moe_intermediate_size}, which is not a multiple of the "
                    f"{self.expert_tensor} ranks that share an expert"
                )
            if self.expert_tensor != self.tensor and (
                self.expert == 1 or (self.tensor == 1 and self.expert_tensor > 1)
            ):
                raise ValueError(
                    f"one expert would be cut over {self.expert_tensor} ranks and the other layers over {self.tensor}, which mbridge "
                    f"cannot export; set --megatron.expert_parallel_size to {self.context}, or leave out context or pipeline parallelism"
                )
        if experts and self.tensor > 1 and not self.sequence_parallel:
            raise ValueError(
                f"--megatron.tensor_parallel_size is {self.tensor} and the model has experts; Megatron-Core trains them with "
                "--megatron.sequence_parallel only, set it too"
            )

    def check_world(self, world_size: int, workers: str = "actor") -> None:
        """Raise ValueError if the ranks do not divide evenly, for dense and for expert layers. workers: actor or ref."""
        data_parallel = self.data_parallel(world_size, workers)
        if self.expert == 1:
            return
        if self.pipeline == 1 and data_parallel * self.context % self.expert:
            raise ValueError(
                f"--megatron.expert_parallel_size is {self.expert}, but there are {data_parallel} data x {self.context} context parallel "
                f"ranks = {data_parallel * self.context}; allowed is a divisor"
            )
        if self.pipeline > 1 and self.tensor * self.context % self.expert:
            raise ValueError(
                f"--megatron.expert_parallel_size is {self.expert} with --megatron.pipeline_parallel_size {self.pipeline}; with pipeline "
                f"stages experts spread over one stage of one replica, tensor {self.tensor} x context {self.context} = "
                f"{self.tensor * self.context} ranks; allowed is a divisor"
            )

    def _check_divides(self, name: str, value: int, flag: str, size: int) -> None:
        if value % size:
            raise ValueError(f"the model's {name} is {value}, which is not a multiple of --megatron.{flag}, {size}")

    def describe(self) -> str:
        """One line for logs: "tensor 2 (sequence parallel), pipeline 2, context 1"."""
        parts = [f"tensor {self.tensor}" + (" (sequence parallel)" if self.sequence_parallel else "")]
        virtual = f" x {self.virtual_pipeline} chunks, interleaved" if self.virtual_pipeline else ""
        parts += [f"pipeline {self.pipeline}{virtual}", f"context {self.context}"]
        return ", ".join(parts + ([f"expert {self.expert}"] if self.expert > 1 else []))


def num_experts(config: Any) -> int:
    """The number of routed experts of a mixture-of-experts model, 0 for a dense one. config: the model's Hugging Face configuration."""
    return getattr(config, "num_experts", None) or 0
