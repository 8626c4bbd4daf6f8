"""The faults of OpenRLHF 0.11.2 that a run mends or refuses. The start announces those that it meets.

`python -m deltal_openrlhf.host.faults` prints the tables of docs/reference/host-faults.md.
"""

from collections.abc import Callable
from dataclasses import dataclass

from deltal_openrlhf.arguments import ALL_ROWS, Arguments
from deltal_openrlhf.runs.redaction import redacted

LOSS, RESPONSES, DATA = "Loss, metrics and schedule", "Rewards and responses", "Data and evaluation"
RESUME, ENDING, SAFETY = "Checkpoints and resuming", "Runs that end, stop or stall", "Keys and code"


@dataclass(frozen=True)
class Fault:
    """One row of the tables: what the host does, what a run does now, and the tests that show it.

    met: whether a run meets the fault, so that its start announces it; None where nothing is announced.
    more: details for the page.
    """

    topic: str
    host: str
    now: str
    tests: str = ""
    met: Callable[[Arguments], bool] | None = None
    more: str = ""


def _always(args: Arguments) -> bool:
    return True


def _resumes(args: Arguments) -> bool:
    return bool(args.ckpt.load_enable)


def _has_rewards(args: Arguments) -> bool:
    return bool(args.reward.remote_url or args.train.agent_func_path)


def _saves(args: Arguments) -> bool:
    return args.ckpt.save_steps > 0 or args.eval.steps > 0


def _sees_images(args: Arguments) -> bool:
    return args.data.max_images_per_prompt > 0


def _has_credentials(args: Arguments) -> bool:
    address = args.reward.remote_url or ""
    return bool(args.logger.wandb.key) or redacted(address) != address


FAULTS = (
    Fault(
        LOSS,
        "With dynamic batches and ZeRO-1/2, training uses the gradient of the last micro batch only.",
        "DeepSpeed's managed accumulation is switched off, so every micro batch counts.",
        "tests/parity/test_gradients.py",
        lambda args: args.train.dynamic_batch_enable and args.ds.zero_stage in (1, 2),
    ),
    Fault(
        LOSS,
        "A micro batch without a trained token divides by zero and ends the run.",
        "It adds nothing to the averages.",
        "tests/host/test_guards.py",
        _always,
    ),
    Fault(
        LOSS,
        "A short last rollout leaves an optimizer step incomplete, which shifts every later one.",
        "The step is completed at the end of the rollout.",
        "tests/parity/test_gradients.py",
        _always,
    ),
    Fault(
        LOSS,
        "The logged policy loss, KL and entropy are divided by the number of micro batches.",
        "They are means over tokens.",
        "tests/host/test_step_means.py",
        _always,
        "With dynamic batches the adaptive KL coefficient follows the wrong KL (verl#5072). Static micro batches of different length "
        "are off too. `kl` and `entropy_loss` are now means over all tokens of the PPO step. `policy_loss` is the mean of the "
        "optimizer steps' losses, weighted by their tokens.",
    ),
    Fault(
        LOSS,
        "`ppo_clip_ratio`, `ppo_kl`, `vllm_kl` and `is_filter_ratio` count responses that the loss leaves out.",
        "They are means over the tokens that are trained on.",
        "tests/host/test_step_means.py",
    ),
    Fault(
        LOSS,
        "The schedule is planned for too few steps when rollouts are short, so a cosine climbs again.",
        "It is planned for the steps that the run takes, with both backends.",
        "tests/host/test_planned_steps.py, tests/megatron_ext/test_schedule_of_a_run.py",
        _always,
        "The host divides the responses of an episode by the batch size and rounds down: 8 steps planned, 12 taken. With dynamic "
        "filtering the plan stays an upper bound.",
    ),
    Fault(
        LOSS,
        "A loss or gradient norm that is NaN or inf reaches the weights.",
        "The run stops before the update and names the rank and the prompts.",
        "tests/host/test_guards.py",
        _always,
    ),
    Fault(
        LOSS,
        "`--train.enable_ema` averages in the model's dtype, where bf16 rounds small changes away.",
        "The average is kept in float32, divided over the ranks.",
        "tests/host/test_resumed_state.py",
        lambda args: args.train.enable_ema,
        "With ZeRO-3 DeepSpeed drops every change, so the host exports the first model.",
    ),
    Fault(
        LOSS,
        "LoRA weights never reach vLLM.",
        "vLLM gets the merged weights under their own names.",
        "tests/host/test_lora.py",
        lambda args: args.ds.lora.rank > 0,
    ),
    Fault(
        LOSS,
        "`--train.dynamic_batch_enable` packs prompts with images, which OpenRLHF refuses where it is asked to.",
        "The start refuses it.",
        "tests/train/test_image_rows.py",
    ),
    Fault(
        LOSS,
        "With dynamic batches the logged `critic_loss` is smaller by the number of micro batches.",
        "It is left as it is: the critic's trainer is the host's, and nothing depends on the number.",
    ),
    Fault(
        RESPONSES,
        "An exception in a reward function becomes a missing reward.",
        "A reward function that raises, exits or never returns stops the run, which names the file.",
        "tests/host/test_reward.py, tests/host/test_reward_wait.py",
        lambda args: bool(args.reward.remote_url),
        "`--deltal.reward_wait` bounds the wait: [stopping.md](stopping.md).",
    ),
    Fault(
        RESPONSES,
        "A reward that is NaN or inf is trained on, and a score that is NaN makes dynamic filtering drop all data.",
        "The run stops and names the reward file, service or agent.",
        "tests/host/test_responses.py",
        _has_rewards,
    ),
    Fault(
        RESPONSES,
        "`extra_logs` that hold text, None or lists, or whose keys differ between responses, end the run.",
        "What is not a number is left out and reported once. Other keys are means over the responses that have them.",
        "tests/host/test_responses.py",
        _has_rewards,
        "In the host, a key such as `reward` also replaces the host's metric.",
    ),
    Fault(
        RESPONSES,
        "A multi-turn episode that the context length cuts counts as finished (OpenRLHF#1352).",
        "It counts as cut off.",
        "tests/host/test_responses.py",
        lambda args: bool(args.train.agent_func_path),
        "This holds for `--deltal.overlong_filtering`, the length penalties and the metrics.",
    ),
    Fault(
        RESPONSES,
        "The soft punishment (`--reward.overlong_buffer_len`) spares responses that the context length cuts.",
        "A response that is cut off is punished as the longest one.",
        "tests/host/test_responses.py",
        lambda args: args.reward.overlong_buffer_len is not None,
        "The host looks at lengths only. It measures an agent's episodes by `--rollout.max_new_tokens`, which does not bound them; now "
        "`--data.max_len` counts.",
    ),
    Fault(
        RESPONSES,
        "A model that samples the token of an image ends the run (`Image features and image tokens do not match`).",
        "vLLM never draws such a token.",
        "tests/host/test_images.py",
        _sees_images,
        "Other trainers have it too: R1-V#91, EasyR1#110, verl#3469.",
    ),
    Fault(
        RESPONSES,
        "vLLM reads an image again by what the vision tower's old weights made of it.",
        "It forgets the images of earlier steps after each weight sync.",
        "tests/host/test_images.py",
        lambda args: _sees_images(args) and not args.vllm.enable_sleep,
        "With `--actor.freeze_visual_encoder`, nothing changes in the tower.",
    ),
    Fault(
        RESPONSES,
        "The query that a reward gets repeats an image's token, so it does not start with its prompt.",
        "It is the prompt with the response behind it.",
        "tests/host/test_images.py",
        lambda args: _sees_images(args) and bool(args.reward.remote_url),
    ),
    Fault(
        DATA,
        "`--train.seed` does not fix the order of the prompts: two identical commands differ in every step (OpenRLHF#1355).",
        "One seed gives one order in every episode, also after a resume and in asynchronous training.",
        "tests/host/test_data_order.py",
        _always,
    ),
    Fault(
        DATA,
        "Responses depend on the order in which the engine schedules them, and are trained on as they finish.",
        "Each response has a seed of its own, and responses are trained on in the order of the data.",
        "tests/host/test_data_order.py",
        _always,
        "[reproducibility.md](reproducibility.md)",
    ),
    Fault(
        DATA,
        "`--data.max_samples` cuts the evaluation sets too (OpenRLHF#1145).",
        "It cuts training sets only.",
        "tests/host/test_data_host.py",
        lambda args: bool(args.eval.dataset) and args.data.max_samples < ALL_ROWS,
    ),
    Fault(
        DATA,
        "A prompt that is in two evaluation sets counts for the last one only.",
        "Each response counts for the row that it answers.",
        "tests/host/test_data_host.py",
        lambda args: bool(args.eval.dataset),
    ),
    Fault(
        DATA,
        "In asynchronous training `best` holds the weights of a later step than its metric (OpenRLHF#1341).",
        "The training process evaluates between two steps, and training waits for it.",
        "tests/host/test_async_evaluation.py",
        lambda args: args.train.async_enable and bool(args.eval.dataset) and args.eval.steps > 0,
        "In the host, the last evaluation never happens.",
    ),
    Fault(
        DATA,
        "The beginning of a prompt that is too long is cut off, with a line in a worker's log.",
        "The start counts such prompts and names the first. `--deltal.skip_long_prompts` leaves them out.",
        "tests/train/test_data_rows.py",
        more="[data.md](data.md)",
    ),
    Fault(
        DATA,
        'A row with a null, an empty prompt or another type stops a run in its middle, or changes other labels ("1" becomes 1).',
        "The start refuses the row and names its line.",
        "tests/train/test_data_rows.py",
        more="[data.md](data.md)",
    ),
    Fault(
        DATA,
        "An image that cannot be read is left out, and the prompt keeps its place.",
        "The start opens the images of every row, and refuses the row.",
        "tests/train/test_image_rows.py",
        _sees_images,
        "Images behind a URL are not fetched.",
    ),
    Fault(
        RESUME,
        "A model of images is exported without its processor, and the export does not load.",
        "The processor is exported with it.",
        "tests/end_to_end/test_agent_with_images.py",
        _sees_images,
    ),
    Fault(
        RESUME,
        "An old checkpoint is deleted before the new one is complete.",
        "The new one is complete first.",
        "tests/host/test_checkpoints.py",
        lambda args: args.backend == "deepspeed" and _saves(args),
    ),
    Fault(
        RESUME,
        "A damaged checkpoint is loaded and trained on, or ends in a traceback.",
        "Checksums are compared before Ray starts, and the run resumes from the newest whole checkpoint.",
        "tests/host/test_checkpoints.py, tests/megatron_ext/test_killed_save.py",
        lambda args: _saves(args) or _resumes(args),
        "Checkpoints of a policy and a critic from different steps count as damage too. [checkpoints.md](checkpoints.md)",
    ),
    Fault(
        RESUME,
        "Prompts that were generated but not trained on are lost on resume (OpenRLHF#1322).",
        "A checkpoint names them, and they are generated again.",
        "tests/host/test_data_order.py",
        lambda args: args.ckpt.save_steps > 0 or _resumes(args),
        "The fault appears with `--rollout.vllm_generate_batch_size`.",
    ),
    Fault(
        RESUME,
        "An episode whose last rollout is short is trained again after a resume from its last checkpoint.",
        "The next episode begins.",
        "tests/host/test_data_order.py",
        lambda args: args.ckpt.save_steps > 0 or _resumes(args),
    ),
    Fault(
        RESUME,
        "After a resume, responses are shuffled into optimizer steps as in the first PPO step of the run.",
        "The order follows from the seed and the steps taken, so a resumed run takes the steps of an uninterrupted one.",
        "tests/host/test_data_order.py",
    ),
    Fault(
        RESUME,
        "A resumed run trains on whatever rows it finds, so some come twice or never (NeMo-RL#2519).",
        "A checkpoint holds a fingerprint of the rows, and the start refuses others.",
        "tests/train/test_data_resumed.py",
        _resumes,
        "[data.md](data.md)",
    ),
    Fault(
        RESUME,
        "A resume ignores the command line's learning rate, betas, eps and weight decay (as prime-rl#2088).",
        "The start refuses a value that differs from the saved one, unless `--deltal.allow_changed_optimizer` is set.",
        "tests/host/test_saved_run.py, tests/host/test_resumed_state.py",
        _resumes,
        "With ZeRO-1/2 the host ignores the clipping too. The message gives both values.",
    ),
    Fault(
        RESUME,
        "A resume starts the average of the weights again, from the first model, and exports it.",
        "The average is part of the checkpoint (`ema.safetensors`).",
        "tests/host/test_resumed_state.py, tests/host/test_saved_run.py",
        lambda args: args.train.enable_ema,
        "A checkpoint without it is refused with `--train.enable_ema`, and one with it is refused without the flag.",
    ),
    Fault(
        RESUME,
        "A resume resets the coefficient of an adaptive KL penalty (`--algo.kl.target`; as verl#2653).",
        "The coefficient is part of the checkpoint.",
        "tests/host/test_saved_run.py",
        lambda args: bool(args.algo.kl.target),
    ),
    Fault(
        RESUME,
        "A resume with another ZeRO stage, number of ranks, dtype, optimizer or LoRA rank ends in a worker's traceback.",
        "The start refuses it in one line.",
        "tests/host/test_saved_run.py",
        more="A critic that is added starts without its past in the host; it is refused too.",
    ),
    Fault(
        RESUME,
        "A finished run that is started again repeats its last steps and exports over its model.",
        "The command ends at once.",
        "tests/host/test_saved_run.py",
        _resumes,
        "`finished.json` next to the model marks the run. A larger `--train.num_episodes` trains further.",
    ),
    Fault(
        ENDING,
        "A run that trained nothing ends like any other and exports its first model.",
        "It ends with the reason and exit code 1.",
        "tests/host/test_trained.py",
        _always,
    ),
    Fault(
        ENDING,
        "SIGTERM ends a run without a reason and without a checkpoint.",
        "The run saves, says so and exits with 143, or with 1 where all its steps are lost.",
        "tests/host/test_stopped.py, tests/host/test_kept_steps.py, tests/train/test_signals.py",
        _always,
        "The host exits with -6 or 15: ray.init sets handlers of its own, and Ray's daemons hear what a scheduler sends to all "
        "processes. [stopping.md](stopping.md)",
    ),
    Fault(
        ENDING,
        "A run that hangs (in a collective, an agent or a data loader) hangs forever.",
        "After `--deltal.stall_timeout` without progress, all stacks go into the log and the run ends.",
        "tests/train/test_signals.py, tests/host/test_alive.py",
        more="Progress is a response, a micro batch or a part of a save. [stopping.md](stopping.md)",
    ),
    Fault(
        ENDING,
        'A full disk ends a run with a traceback that names no path ("unexpected pos 704 vs 598").',
        "Folders and free space are checked before the start, and a full disk is named with its path and sizes.",
        "tests/train/test_disk.py, tests/runs/test_full_disk.py",
        more="Two runs in one folder overwrite each other in the host; now a folder belongs to one run. "
        "[checkpoints.md](checkpoints.md)",
    ),
    Fault(
        ENDING,
        "Killed processes leave semaphores in /dev/shm, and sockets in the temporary folder.",
        "The run removes its own.",
        "tests/runs/test_leftovers.py",
        _always,
    ),
    Fault(
        ENDING,
        "A port that is chosen for a process group is let go until the group listens, and another process may take it.",
        "The port is held until then.",
        "tests/host/test_ports.py",
        _always,
    ),
    Fault(
        SAFETY,
        "The wandb key, and passwords in `--reward.remote_url`, are printed and sent to wandb with all arguments.",
        "They are hidden everywhere.",
        "tests/host/test_credentials.py, tests/train/test_private_flags.py",
        _has_credentials,
        "The host's wandb.login also writes the key to `~/.netrc`. [security.md](security.md)",
    ),
    Fault(
        SAFETY,
        "Python in a model's folder is always run (`trust_remote_code=True`).",
        "It runs only with `--deltal.trust_remote_code`; a model that needs it is refused before the start.",
        "tests/host/test_remote_code.py, tests/train/test_private_flags.py",
        lambda args: not args.deltal.trust_remote_code,
        "[security.md](security.md)",
    ),
)


def announcements(args: Arguments) -> list[str]:
    """One line for each fault that this run meets."""
    return [f"{fault.host} Now: {fault.now}" for fault in FAULTS if fault.met and fault.met(args)]


def tables() -> str:
    """The faults in Markdown, a table for each topic."""
    parts = []
    for topic in dict.fromkeys(fault.topic for fault in FAULTS):
        rows = [
            f"## {topic}",
            "",
            "| OpenRLHF 0.11.2 | a run with this package | announced | tests |",
            "|---|---|---|---|",
        ]
        for fault in FAULTS:
            if fault.topic == topic:
                now = f"{fault.now} {fault.more}".strip()
                rows.append(f"| {fault.host} | {now} | {'yes' if fault.met else ''} | {fault.tests} |")
        parts.append("\n".join(rows))
    return "\n\n".join(parts)


if __name__ == "__main__":
    print(tables())
