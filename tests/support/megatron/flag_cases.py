"""The command lines of test_flags.py: flags, what is said to them, and the files and models that they name."""

from pathlib import Path

from megatron_ext.flags import DEFAULT_CHUNK_SIZE

ROOT = Path(__file__).parents[3]
# Ends at ray.init with status 7 and what the host's train() got; the number of cores is that of a large machine.
UNTIL_RAY = """
os.cpu_count = lambda: 64

def init(*args, **kwargs):
    frame = sys._getframe(1)
    while frame.f_code.co_name != "train":
        frame = frame.f_back
    args = frame.f_locals["args"]
    print("HOST", args.backend, args.ds.tensor_parallel_size, args.ds.ring_attn_size, args.ds.packing_samples, args.ds.enable_sleep,
        args.ds.attn_implementation, vars(args.megatron))
    sys.exit(7)

ray.init = init
"""
SIZES = (
    "--actor.num_gpus_per_node 8 --vllm.num_engines 1 --rollout.batch_size 8 --rollout.n_samples_per_prompt 4 --train.batch_size 16 "
    "--train.micro_batch_size 2 --rollout.micro_batch_size 2 --algo.advantage.estimator rloo --algo.kl.init_coef 0 "
    "--data.prompt_dataset hub/set --data.label_key label --reward.remote_url "
    + str(ROOT / "deltal_openrlhf" / "rewards" / "math_reward.py")
).split()
MEGATRON = ["--backend", "megatron", *SIZES]
MODELS = {
    "dense": {"model_type": "qwen2"},
    "experts": {
        "model_type": "qwen3_moe",
        "num_experts": 4,
        "num_experts_per_tok": 2,
        "moe_intermediate_size": 16,
        "norm_topk_prob": True,
    },
    "mistral": {"model_type": "mistral"},
}
SHAPE = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 4,
    "num_attention_heads": 8,
    "num_key_value_heads": 8,
    "vocab_size": 64,
}
T, P, V, C, E = (
    f"--megatron.{name}_parallel_size" for name in ("tensor", "pipeline", "virtual_pipeline", "context", "expert")
)
BUDGET, CHUNK = "--megatron.max_tokens_per_micro_batch", "--megatron.logprob_chunk_size"

# Flags and the words that have to be in the one line of the refusal.
REFUSED = {
    # Sizes
    f"{T} 0": f"{T} is 0, allowed is 1 or more",
    f"{T} two": f"argument {T}: invalid int value: 'two'",
    f"{P} 0": f"{P} is 0, allowed is 1 or more",
    f"{C} -2": f"{C} is -2, allowed is 1 or more",
    f"{E} 0": f"{E} is 0, allowed is 1 or more",
    f"{V} 2": f"{V} is 2 with {P} 1; the interleaved schedule needs 2 or more of both",
    f"{P} 2 {V} 1": f"{V} is 1 with {P} 2",
    "--megatron.sequence_parallel": f"--megatron.sequence_parallel is set with {T} 1; it splits tokens over the tensor parallel ranks",
    f"{CHUNK} 0": f"{CHUNK} is 0, allowed is 1 or more",
    f"{BUDGET} 0": f"{BUDGET} is 0, allowed is 2048 or more: a response may take --data.max_len 2048 tokens with its prompt",
    f"{BUDGET} 2047": f"{BUDGET} is 2047, allowed is 2048 or more",
    f"{BUDGET} 2051 --data.max_len 2049 {C} 2": f"{BUDGET} is 2051, allowed is 2052 or more: a response may take --data.max_len 2049 "
    "tokens with its prompt, padded to a multiple of 4",
    # Ranks
    f"{T} 3": "--actor.num_nodes x --actor.num_gpus_per_node is 8, which is not a multiple of tensor x context x pipeline parallel size, "
    "3 x 1 x 1 = 3",
    f"{T} 2 {P} 4 {C} 2": "2 x 2 x 4 = 16",
    f"{T} 2 --algo.kl.init_coef 0.1 --ref.num_gpus_per_node 3": "--ref.num_nodes x --ref.num_gpus_per_node is 3, which is not a multiple "
    "of tensor x context x pipeline parallel size, 2 x 1 x 1 = 2",
    f"{E} 3": f"{E} is 3, but there are 8 data x 1 context parallel ranks = 8; allowed is a divisor",
    f"{P} 2 {E} 2": f"{E} is 2 with {P} 2; with pipeline stages experts spread over one stage of one replica",
    # 8 ranks, a copy on 1.
    "--train.batch_size 4": "--train.batch_size is 4, which is not a multiple of the number of data-parallel ranks, 8",
    # The model
    "--actor.model_name_or_path mistral": "--backend megatron does not know the model type mistral, allowed are qwen2, qwen3, llama",
    "--actor.model_name_or_path none/of/these": "--actor.model_name_or_path none/of/these: no such folder",
    "--actor.model_name_or_path of/these": "--actor.model_name_or_path is of/these, allowed is a folder with a config.json or a model of "
    "the Hugging Face hub",
    "--actor.model_name_or_path empty": "--actor.model_name_or_path is empty, allowed is a folder with a config.json",
    f"{P} 8": f"the model's num_hidden_layers is 4, which is not a multiple of {P}, 8",
    f"{P} 2 {V} 3": f"the model's num_hidden_layers is 4, which is not a multiple of {P} x {V}, 6",
    f"{E} 2": f"{E} is 2, but the model (qwen2) has no experts; allowed is 1",
    f"{E} 8 --actor.model_name_or_path experts": f"the model's num_experts is 4, which is not a multiple of {E}, 8",
    "--actor.aux_loss_coef 0.01": "--actor.aux_loss_coef is 0.01, but the model (qwen2) has no experts; allowed is 0",
    # Features without a flag of their own
    "--algo.advantage.estimator gae": "--algo.advantage.estimator gae (critic) does not go with --backend megatron: there is no value",
    "--backend megatrom": "argument --backend: invalid choice: 'megatrom' (choose from 'deepspeed', 'megatron')",
    # Abbreviations
    "--megatron.tensor 2": "unrecognized arguments: --megatron.tensor 2",
    "--megatron.sequence": "unrecognized arguments: --megatron.sequence",
    "--megatron.context_parallel=2": "unrecognized arguments: --megatron.context_parallel=2",
}
# A value other than the default for every flag of features.REFUSED_FLAGS, and what the line points to.
DEEPSPEEDS = {
    "ds.zero_stage": ("3", "distributed optimizer"),
    "ds.zpg": ("2", "distributed optimizer"),
    "ds.overlap_comm": ("", "distributed optimizer"),
    "ds.adam_offload": ("", "the optimizer runs on the device of the model"),
    "ds.grad_accum_dtype": ("bf16", "gradients are added up in float32"),
    "ds.param_dtype": ("fp16", "parameters are bf16"),
    "ds.load_in_4bit": ("", "bf16"),
    "ds.lora.rank": ("8", "all parameters"),
    "ds.lora.alpha": ("8", "all parameters"),
    "ds.lora.target_modules": ("q_proj", "all parameters"),
    "ds.lora.dropout": ("0.1", "all parameters"),
    "train.enable_ema": ("", "no second model"),
    "train.ema_beta": ("0.5", "no second model"),
    "actor.optim": ("muon", "Adam"),
    "actor.muon.lr": ("0.1", "Adam"),
    "actor.muon.momentum": ("0.5", "Adam"),
    "actor.muon.ns_steps": ("4", "Adam"),
    "train.dynamic_batch_enable": ("", BUDGET),
    "train.max_tokens_per_gpu": ("4096", BUDGET),
    "rollout.max_tokens_per_gpu": ("4096", BUDGET),
    "ds.ring_attn_size": ("2", C),
    "ds.ring_attn_head_stride": ("2", C),
    "ds.tensor_parallel_size": ("2", T),
    "ds.deepcompile": ("", "DeepSpeed's engine"),
    "ds.use_liger_kernel": ("", "Hugging Face model"),
    "ds.attn_implementation": ("eager", "have their own"),
    "ds.experts_implementation": ("eager", "have their own"),
    "actor.gradient_checkpointing_reentrant": ("", "recomputes"),
    "ds.use_universal_ckpt": ("", "any layout"),
    "ref.offload": ("", "stays on its device"),
    "data.max_images_per_prompt": ("1", "text models only"),
    "actor.freeze_visual_encoder": ("", "text models only"),
    "ds.value_head_prefix": ("value", "no value model"),
    "local_rank": ("0", "Ray places the ranks"),
}
# Flags and the line of the layout.
ACCEPTED = {
    "": "tensor 1, pipeline 1, context 1, data parallel 8",
    f"{T} 2": "tensor 2, pipeline 1, context 1, data parallel 4",
    f"{T} 2 --megatron.sequence_parallel": "tensor 2 (sequence parallel), pipeline 1, context 1, data parallel 4",
    f"{P} 4": "tensor 1, pipeline 4, context 1, data parallel 2",
    f"{P} 2 {V} 2": "tensor 1, pipeline 2 x 2 chunks, interleaved, context 1, data parallel 4",
    f"{C} 8": "tensor 1, pipeline 1, context 8, data parallel 1",
    f"{T} 2 {P} 2 {C} 2 --ds.packing_samples": "tensor 2, pipeline 2, context 2, data parallel 1",
    f"{E} 2 --actor.model_name_or_path experts": "tensor 1, pipeline 1, context 1, expert 2, data parallel 8",
    f"{T} 2 --megatron.sequence_parallel {P} 2 {E} 2 --actor.model_name_or_path experts --actor.aux_loss_coef 0.01": "tensor 2 (sequence "
    "parallel), pipeline 2, context 1, expert 2, data "
    "parallel 2",
    f"{T} 2 --algo.kl.init_coef 0.1 --ref.num_gpus_per_node 6": "tensor 2, pipeline 1, context 1, data parallel 4",
    # 16 responses on 4 data parallel ranks; with DeepSpeed there would be 8 ranks, and 8 x 4 is no divisor.
    f"{T} 2 --train.micro_batch_size 4": "tensor 2, pipeline 1, context 1, data parallel 4",
    f"{BUDGET} 2048": "tensor 1, pipeline 1, context 1, data parallel 8",
    f"{CHUNK} 1": "tensor 1, pipeline 1, context 1, data parallel 8",
    "--actor.gradient_checkpointing_enable --train.max_epochs 2 --actor.dual_clip 3": "tensor 1, pipeline 1, context 1, data parallel 8",
    "--actor.policy_loss_type gspo": "tensor 1, pipeline 1, context 1, data parallel 8",
    "--actor.policy_loss_type gspo --loss_agg deltal": "tensor 1, pipeline 1, context 1, data parallel 8",
    "--train.async_enable --train.partial_rollout_enable": "tensor 1, pipeline 1, context 1, data parallel 8",
    "--train.colocate_all --vllm.num_engines 8 --ds.enable_sleep --vllm.enable_sleep": "tensor 1, pipeline 1, context 1, data parallel 8",
    # The defaults said aloud
    "--ds.zero_stage 2 --ds.param_dtype bf16 --ds.tensor_parallel_size 1 --actor.optim adam --local_rank -1": "tensor 1, pipeline 1, "
    "context 1, data parallel 8",
}
# Each needs --backend megatron.
MEGATRONS = {T: "2", P: "2", V: "2", C: "2", E: "2", BUDGET: "4096", CHUNK: "512", "--megatron.sequence_parallel": ""}
YAML = {
    "nested.yaml": """backend: megatron
megatron:
  tensor_parallel_size: 2
  sequence_parallel: true
  max_tokens_per_micro_batch: 3000
""",
    "back.yaml": "megatron.tensor_parallel_size: null\nmegatron.sequence_parallel: false\n",
    "zero.yaml": "\nds.zero_stage: 3\n",
    "unknown.yaml": "megatron.tensor_parallel: 2\n",
    "text.yaml": "megatron.pipeline_parallel_size: two\n",
    "size.yaml": "megatron.pipeline_parallel_size: 0\n",
}
DRY = "--dry_run"
REAL = "--data.prompt_dataset prompts.jsonl --data.input_key input --data.label_key label --ckpt.save_steps 5".split()
FULL = [*MEGATRON, *f"{T} 2 {P} 2 {BUDGET} 5000 --loss_agg deltal".split()]
RUNS = {f"refused {flags}": [*MEGATRON, DRY, *flags.split()] for flags in REFUSED}
RUNS |= {f"refused {flag}": [*MEGATRON, DRY, f"--{flag}", *value.split()] for flag, (value, _) in DEEPSPEEDS.items()}
RUNS |= {f"accepted {flags}": [*MEGATRON, DRY, *flags.split()] for flags in ACCEPTED}
RUNS |= {f"deepspeed {flag}": [*SIZES, DRY, flag, *value.split()] for flag, value in MEGATRONS.items()}
RUNS |= {
    "deepspeed with Megatron's defaults": [
        *SIZES,
        DRY,
        *f"--backend deepspeed {T} 1 {CHUNK} {DEFAULT_CHUNK_SIZE}".split(),
    ],
    "deepspeed with its own": [*SIZES, DRY, *"--ds.zero_stage 3 --train.enable_ema --ds.adam_offload".split()],
    "deepspeed with micro batches of 4": [*SIZES, DRY, "--train.micro_batch_size", "4"],
    "no reward": [word for word in MEGATRON if "reward" not in word] + [DRY],
    "no model": [*MEGATRON, DRY],
    "full": [*FULL, DRY, "--ds.tensor_parallel_size", "1"],
    "full, real": [*FULL, *REAL, "--ds.packing_samples", "--ds.enable_sleep"],
    "deepspeed, real": [*SIZES, *REAL],
    "nested.yaml": [*SIZES, "--config", "nested.yaml", DRY],
    "nested.yaml, then back.yaml": [*SIZES, "--config", "nested.yaml", "--config", "back.yaml", DRY],
    "nested.yaml, then a flag": [*SIZES, "--config", "nested.yaml", DRY, T, "4"],
    "nested.yaml with deepspeed": [*SIZES, "--config", "nested.yaml", DRY, "--backend", "deepspeed"],
    "zero.yaml": [*MEGATRON, "--config", "zero.yaml", DRY],
    "unknown.yaml": [*MEGATRON, "--config", "unknown.yaml", DRY],
    "text.yaml": [*MEGATRON, "--config", "text.yaml", DRY],
    "size.yaml": [*MEGATRON, "--config", "size.yaml", DRY],
    "help": ["--help"],
}
