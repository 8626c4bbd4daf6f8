"""The data of a run: reads and checks it before Ray starts, reports it to the user, and takes the fingerprint of the training rows."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deltal_openrlhf import cpu
from deltal_openrlhf.arguments import Arguments, Fingerprint
from deltal_openrlhf.data.sources import quiet_hub
from deltal_openrlhf.host.data_fingerprint import FLAGS as DECIDE_ON_ROWS
from deltal_openrlhf.host.data_fingerprint import fingerprint
from deltal_openrlhf.host.data_sets import longest_prompt
from deltal_openrlhf.runs.errors import first_line
from deltal_openrlhf.train.data_flags import FLAGS, names_of, path_of

if TYPE_CHECKING:
    from deltal_openrlhf.train.data_rows import RowCheck, Rows

READ = (
    *DECIDE_ON_ROWS,
    *"data.image_key data.max_images_per_prompt data.disable_fast_tokenizer eval.dataset eval.split actor.model_name_or_path".split(),
    *"reward.remote_url train.agent_func_path deltal.trust_remote_code dry_run".split(),
)
"""All flags that the check depends on; --train.seed only with --data.prompt_probs."""


@dataclass(frozen=True)
class RunData:
    """The checked data of a run.

    sets: the rows of each flag that was read. unread: flags whose data is not on this machine, in a dry run.
    """

    args: Arguments
    sets: "dict[str, Rows]"
    unread: list[str]

    def fingerprint(self) -> Fingerprint | None:
        """The fingerprint of the training rows. None only in a dry run that lacks the rows or the way to render them."""
        rows = self.sets.get("data.prompt_dataset")
        if rows is None or not rows.digest.rows or (rows.long is None and self.args.deltal.skip_long_prompts):
            return None
        return fingerprint(self.args, rows.digest)

    def lines(self) -> list[str]:
        """The lines that the user sees before the start."""
        lines = [f"--{flag} is not on this machine: its rows were not checked" for flag in self.unread]
        for flag, rows in self.sets.items():
            longest = f", the longest of {rows.longest:,} tokens" if rows.long is not None else ""
            speed = f", checked at {rows.speed:,.0f} rows a second" if rows.speed else ""
            lines.append(f"--{flag}: {rows.total:,} prompt{'s' if rows.total != 1 else ''}{longest}{speed}")
            lines += [line for line in (self._long(rows), self._altered(rows), self._base_prompts(rows)) if line]
        if self.sets and self.args.data.apply_chat_template and self.args.data.input_template:
            lines.append("--data.input_template takes no part: OpenRLHF leaves it out with --data.apply_chat_template")
        return lines

    def _long(self, rows: "Rows") -> str | None:
        flag, limit = rows.flag, longest_prompt(self.args)
        if rows.long is None:
            why = (
                "prompts with images are"
                if self.args.data.max_images_per_prompt
                else "the tokenizer is not here: prompts were"
            )
            return f"--{flag}: {why} not measured"
        if not rows.long:
            return None
        found = f"more than {limit:,} tokens (--data.max_len minus --rollout.max_new_tokens), the first is {rows.first_long}"
        if self.args.deltal.skip_long_prompts:
            every = rows.long + rows.total
            return f"--{flag}: --deltal.skip_long_prompts leaves out {rows.long:,} of {every:,} prompts, which have {found}"
        return (
            f"--{flag}: {rows.long:,} of {rows.total:,} prompts have {found}; OpenRLHF cuts their beginning off; "
            "--deltal.skip_long_prompts leaves them out"
        )

    def _base_prompts(self, rows: "Rows") -> str | None:
        if not rows.base_prompts or not self.args.data.apply_chat_template:
            return None
        return (
            f"--{rows.flag}: in {rows.base_prompts:,} of {rows.total:,} prompts the assistant has begun to answer, and "
            "--data.apply_chat_template puts that into the user's turn; deltal data --template chat makes messages"
        )

    def _altered(self, rows: "Rows") -> str | None:
        if not rows.altered:
            return None
        return (
            f"--{rows.flag}: the tokenizer does not give {rows.altered:,} of {rows.total:,} prompts back, the first is "
            f"{rows.first_altered}; a reward that looks for the prompt in the query will not find it"
        )


def read(args: Arguments, has_our_service: bool = False) -> RunData:
    """Read and check every row. Raises ValueError, in one line. A dry run reads what is on this machine.

    has_our_service: whether `deltal serve-rewards` gives the rewards. It requires more of a row than other services.
    """
    given = {flag: names_of(args, flag) for flag in FLAGS}
    flags = [flag for flag, names in given.items() if names]
    here = [flag for flag in flags if not args.dry_run or all(path_of(name).exists() for name in given[flag])]
    key = (has_our_service, *_key(args, [name for flag in here for name in given[flag]]))
    if key not in _checked:
        _checked[key] = _check(args, here, has_our_service) if here else {}
    return RunData(args, _checked[key], [flag for flag in flags if flag not in here])


def _check(args: Arguments, flags: list[str], has_our_service: bool) -> "dict[str, Rows]":
    from deltal_openrlhf.train.data_loading import load  # imports datasets, which takes a second
    from deltal_openrlhf.train.data_rows import RowCheck

    tokenizer = _tokenizer(args)
    checks = {flag: RowCheck(args, load(args, flag), tokenizer, has_our_service) for flag in flags}
    return {flag: _rows(check) for flag, check in checks.items()}


_checked: "dict[tuple, dict[str, Rows]]" = {}
"""By all that a check depends on: `deltal compare` checks the same rows once for each of its runs."""


def _key(args: Arguments, names: list[str]) -> tuple:
    stats = [path_of(name).stat() for name in names if path_of(name).exists()]
    seed = args.train.seed if args.data.prompt_probs else None
    return (
        seed,
        *(cpu.lookup(args, flag) for flag in READ),
        *((stat.st_mtime_ns, stat.st_size, stat.st_ino) for stat in stats),
    )


def _rows(check: "RowCheck") -> "Rows":
    rows = check.run()
    if not rows.total:
        raise ValueError(
            f"--{rows.flag}: --deltal.skip_long_prompts leaves out all {rows.long:,} prompts: each has more than {check.limit:,} tokens "
            "(--data.max_len minus --rollout.max_new_tokens)"
        )
    return rows


def _tokenizer(args: Arguments) -> Any:
    """The policy's tokenizer, or the processor of a model of text and images, as the host chooses. None if a dry run does not find it here.

    Raises ValueError if it cannot be loaded or lacks a chat template.
    """
    from transformers import AutoProcessor, AutoTokenizer

    name = args.actor.model_name_or_path
    if name is None:  # a dry run: data_files.py asks a real start for one
        return None
    how = {"trust_remote_code": args.deltal.trust_remote_code, "local_files_only": args.dry_run}
    try:
        with quiet_hub():
            if _sees_images(name, how):
                tokenizer = AutoProcessor.from_pretrained(name, **how)
            else:
                tokenizer = AutoTokenizer.from_pretrained(name, use_fast=not args.data.disable_fast_tokenizer, **how)
    except Exception as error:  # noqa: BLE001 - missing file, broken JSON, no network, unknown class: each raises its own kind
        if args.dry_run and not Path(name).is_dir():
            return None
        raise ValueError(
            f"--actor.model_name_or_path {name}: the tokenizer cannot be loaded: {first_line(error)}"
        ) from error
    if args.data.apply_chat_template and not tokenizer.chat_template:
        raise ValueError(
            f"--data.apply_chat_template needs a chat template, and the tokenizer of --actor.model_name_or_path {name} has none"
        )
    return tokenizer


def _sees_images(name: str, how: dict[str, Any]) -> bool:
    """Whether the model reads images, by the host's rule (openrlhf.utils.utils.is_vlm_model). A model that cannot be read counts as no."""
    from transformers import AutoConfig

    try:
        return hasattr(AutoConfig.from_pretrained(name, **how), "vision_config")
    except Exception:  # noqa: BLE001 - no configuration, a broken one, no network
        return False
