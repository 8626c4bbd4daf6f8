"""The host's command line as the packages read it: groups of flags under their dotted names, each with its type.

`openrlhf.utils.config.hierarchize` turns the host's flags, with ours on its parser, into such groups: `--actor.adam.lr` becomes
`args.actor.adam.lr`. The view names only what is read or set here. It is a set of protocols: nothing is converted or copied, and a None
stands for a flag without a default that was not given.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

ALL_ROWS = 10**8
"""The host's default of --data.max_samples: no limit."""


class Fingerprint(NamedTuple):
    """Of the training rows that the driver checked (host/data_fingerprint.py).

    sha256: of sources, prompts, labels, and how prompts are rendered. flags: those that decide on the rows and their order. labels:
    SHA-256 of sources and labels only.
    """

    rows: int
    sha256: str
    flags: dict[str, Any]
    labels: str


class WorkerGroup(Protocol):
    """Where the ranks of one model run: those of the policy, the reference, the critic or the reward model."""

    num_nodes: int
    num_gpus_per_node: int


class Adam(Protocol):
    lr: float
    betas: Sequence[float]
    eps: float
    weight_decay: float


class Actor(WorkerGroup, Protocol):
    """The policy: its model, its loss and its optimizer."""

    model_name_or_path: str
    gradient_checkpointing_enable: bool
    loss_agg_mode: str
    policy_loss_type: str
    eps_clip: float
    eps_clip_low_high: Sequence[float] | None
    dual_clip: float | None
    entropy_coef: float | None
    aux_loss_coef: float
    optim: str
    adam: Adam
    lr_scheduler: str
    lr_warmup_ratio: float
    min_lr_ratio: float
    max_norm: float
    freeze_visual_encoder: bool


class Critic(WorkerGroup, Protocol):
    model_name_or_path: str | None
    freezing_steps: int


class Reward(WorkerGroup, Protocol):
    """remote_url: as it was given. The host splits it at its commas once all flags are checked."""

    model_name_or_path: str | None
    remote_url: str | None
    overlong_buffer_len: float | None
    clip_range: Sequence[float] | None
    stop_properly_penalty_coef: float | None


class Advantage(Protocol):
    estimator: str
    gamma: float
    is_correction_level: str
    is_correction_mode: str
    is_correction_gating: str
    is_correction_threshold: Sequence[float]


class Kl(Protocol):
    """target: None for a coefficient that stays init_coef."""

    use_loss: bool
    init_coef: float
    target: float | None
    estimator: str


class Algorithm(Protocol):
    advantage: Advantage
    kl: Kl
    dynamic_filtering_enable: bool
    dynamic_filtering_range: Sequence[float]


class Lora(Protocol):
    rank: int
    target_modules: str | list[str]


class DeepSpeed(Protocol):
    zero_stage: int
    use_universal_ckpt: bool
    param_dtype: str
    attn_implementation: str
    packing_samples: bool
    ring_attn_size: int
    tensor_parallel_size: int
    enable_sleep: bool
    overlap_comm: bool
    grad_accum_dtype: str | None
    deepcompile: bool
    load_in_4bit: bool
    adam_offload: bool
    lora: Lora


class Vllm(Protocol):
    num_engines: int | None
    tensor_parallel_size: int
    gpu_memory_utilization: float
    enable_sleep: bool
    sync_backend: str
    sync_with_ray: bool


class Rollout(Protocol):
    """How responses are sampled. batch_size: prompts of one rollout. max_new_tokens: None where only --data.max_len bounds them."""

    batch_size: int
    micro_batch_size: int
    n_samples_per_prompt: int
    vllm_generate_batch_size: int | None
    max_new_tokens: int | None
    temperature: float
    top_p: float


class Train(Protocol):
    """batch_size: responses of one optimizer step, over all ranks. micro_batch_size: responses of one rank at a time."""

    batch_size: int
    micro_batch_size: int
    max_epochs: int
    num_episodes: int
    seed: int
    agent_func_path: str | None
    async_enable: bool
    colocate_all: bool
    colocate_actor_ref: bool
    colocate_critic_reward: bool
    dynamic_batch_enable: bool
    max_tokens_per_gpu: int
    enable_ema: bool


class Data(Protocol):
    """max_len: tokens of a prompt and its response together."""

    prompt_dataset: str | None
    prompt_probs: str | None
    prompt_split: str
    input_key: str
    label_key: str | None
    input_template: str | None
    apply_chat_template: bool
    disable_fast_tokenizer: bool
    image_key: str
    max_images_per_prompt: int
    max_len: int
    max_samples: int


class Evaluation(Protocol):
    dataset: str | None
    split: str
    steps: int
    temperature: float
    n_samples_per_prompt: int


class Checkpoints(Protocol):
    path: str
    output_dir: str
    save_steps: int
    save_hf: bool
    load_enable: bool
    disable_ds: bool
    best_metric_key: str
    max_num: int
    max_mem: float


class Deltal(Protocol):
    """The flags of this package: train/flags.py says what they mean."""

    alpha: float | str | None
    alpha_window: int | None
    scope: str | None
    max_length: float | None
    overlong_filtering: bool
    sgd: bool
    baseline: str | None
    allow_changed_loss: bool
    allow_changed_optimizer: bool
    unmarked: str
    reward_wait: float | None
    save_rollouts: int
    grace: float
    stall_timeout: float
    trust_remote_code: bool
    resumed: str | None
    """No flag: the tag of the checkpoint from which the run resumes, once the driver has chosen and checked it."""
    start: str
    """No flag: names this start of the command. Checkpoints of policy and critic belong together if the same start saved both."""
    skip_long_prompts: bool
    data: Fingerprint | None
    """No flag: the rows that the run trains on; None where they were not checked."""


class Wandb(Protocol):
    key: str | None


class Logger(Protocol):
    logging_steps: float
    wandb: Wandb


class Megatron(Protocol):
    """The flags of --backend megatron: megatron_ext/flags.py says what they mean."""

    tensor_parallel_size: int
    pipeline_parallel_size: int
    virtual_pipeline_parallel_size: int | None
    context_parallel_size: int
    expert_parallel_size: int
    sequence_parallel: bool
    max_tokens_per_micro_batch: int | None
    logprob_chunk_size: int


class Arguments(Protocol):
    """All of a run. backend: a key of backends.py. config: the --config files, in order."""

    backend: str
    config: list[str] | None
    dry_run: bool
    use_ms: bool
    actor: Actor
    critic: Critic
    ref: WorkerGroup
    reward: Reward
    algo: Algorithm
    ds: DeepSpeed
    vllm: Vllm
    rollout: Rollout
    train: Train
    data: Data
    eval: Evaluation
    ckpt: Checkpoints
    logger: Logger
    deltal: Deltal
    megatron: Megatron
