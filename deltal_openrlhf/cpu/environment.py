"""Environment variables and ray.init arguments of a CPU run."""

import json
import os
from typing import Any

THREADS = "OMP_NUM_THREADS"
_OURS = "DELTAL_CHOOSES_THREADS"
"""Set where THREADS is not the user's."""

# name -> (value, why). A value that the user has set wins.
VARIABLES: dict[str, tuple[str, str]] = {
    "DS_ACCELERATOR": ("cpu", "DeepSpeed guesses its accelerator from what is importable; say it"),
    THREADS: (
        "1",
        "several processes share the cores; workers and engines of a large model get more (train/threads.py)",
    ),
    "TORCHDYNAMO_DISABLE": ("1", "the host compiles its entropy, which on a CPU is a C++ compilation in every worker"),
    "TOKENIZERS_PARALLELISM": ("false", "tokenizers warns, or deadlocks, when a process with its threads forks"),
    "VLLM_ENABLE_V1_MULTIPROCESSING": ("0", "one process fewer for each engine, whose CPU worker has one of its own"),
    "VLLM_NO_USAGE_STATS": ("1", "no network is needed, none is used"),
    "RAY_USAGE_STATS_ENABLED": ("0", "the same for Ray"),
    "RAY_ENABLE_ZERO_COPY_TORCH_TENSORS": ("1", "the host's own default"),
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": ("0", "else Ray warns in every worker that it empties CUDA_VISIBLE_DEVICES"),
    "RAY_prestart_worker_first_driver": ("0", "Ray starts workers in advance that the host's actors do not use"),
    "RAY_DEDUP_LOGS": ("0", "every worker's lines in the log, also where they are alike: each says its rank once"),
    "VLLM_LOGGING_LEVEL": ("WARNING", "a quiet console"),
    "TRANSFORMERS_VERBOSITY": ("error", "a quiet console"),
    "HF_HUB_DISABLE_PROGRESS_BARS": ("1", "a quiet console"),
    "TQDM_DISABLE": ("1", "a quiet console: each worker draws bars of its own"),
}

OBJECT_STORE_BYTES = 512 * 1024**2
"""Rollouts pass through Ray's object store, weights do not. Ray's default is 30 % of the memory."""


def environment() -> dict[str, str]:
    """The variables for the driver and its workers, with the user's values where set."""
    ours = {_OURS: "1"} if chooses_threads() or THREADS not in os.environ else {}
    return ours | {name: os.environ.get(name, value) for name, (value, _) in VARIABLES.items()}


def chooses_threads() -> bool:
    """Whether environment() has set THREADS, in this process or in one that started it."""
    return _OURS in os.environ


def ray_init_arguments(num_gpus: int, threads: int = 1) -> dict[str, Any]:
    """Arguments of ray.init: the environment, and num_gpus logical GPUs to place the host's actors on.

    threads: of each worker, unless the user has set them.

    With RAY_ADDRESS set (a running cluster, `ray job submit`) the resources are the cluster's: start it with
    `ray start --head --num-gpus N`. Variables that the submitted job sets itself are left to it (Ray refuses to set them twice).
    """
    variables = environment()
    if _OURS in variables:
        variables[THREADS] = str(threads)
    variables = {name: value for name, value in variables.items() if name not in _variables_of_submitted_job()}
    runtime_env = {"env_vars": variables}
    if os.environ.get("RAY_ADDRESS"):
        return {"runtime_env": runtime_env}
    return {
        # Not a cluster that happens to run on this machine.
        "address": "local",
        "num_gpus": num_gpus,
        # Each actor with a GPU takes a CPU; the controllers take one while they are placed.
        "num_cpus": num_gpus + 4,
        "include_dashboard": False,
        "object_store_memory": OBJECT_STORE_BYTES,
        "runtime_env": runtime_env,
    }


def _variables_of_submitted_job() -> dict[str, str]:
    config = json.loads(os.environ.get("RAY_JOB_CONFIG_JSON_ENV_VAR", "{}"))
    return config.get("runtime_env", {}).get("env_vars", {})
