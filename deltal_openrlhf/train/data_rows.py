"""Checks every row of a run's data before Ray starts, so that no row stops a run in its middle, and its resume again.

The host's own loader reads the rows, so the check sees what the host will see: prompts, labels and lengths in tokens. It also checks
whether the tokenizer gives each prompt back. A dry run checks what is on this machine.
"""

import json
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from deltal_openrlhf.agents import named as agents
from deltal_openrlhf.arguments import Arguments
from deltal_openrlhf.data.templates import is_base_conversation
from deltal_openrlhf.host.data_fingerprint import Digest
from deltal_openrlhf.host.data_sets import BATCH, longest_prompt, rendered
from deltal_openrlhf.rewards import named, scoring
from deltal_openrlhf.rewards.gym_labels import check_gym_label
from deltal_openrlhf.runs.errors import first_line
from deltal_openrlhf.runs.progress import Progress
from deltal_openrlhf.train.data_lines import kind
from deltal_openrlhf.train.data_loading import Loaded
from deltal_openrlhf.train.image_rows import image_problem

if TYPE_CHECKING:
    from datasets import Dataset

REWARD_CHECKS: dict[str, Callable[[str], Any]] = {
    named.MATH: scoring.check_label,
    named.COUNTDOWN: scoring.countdown_problem,
    named.REASONING_GYM: check_gym_label,
    agents.COUNTDOWN_CALCULATOR: scoring.countdown_problem,
}
"""What our own rewards and agents ask of a label. Other labels may be anything that is not null."""
Row = dict[str, Any]
SHOWN = 20
"""Characters of a prompt in a message."""
LONG = 5.0
"""Seconds of a check after which it says how far it is, and then how fast it was."""


@dataclass
class Rows:
    """The result of checking the rows of one flag.

    total: rows, without those that --deltal.skip_long_prompts leaves out. speed: rows per second, None for a short check. long: prompts
    that are cut. altered: prompts that the tokenizer does not give back. Both are None if they were not measured. first_long,
    first_altered: the place of the first one. longest: tokens. base_prompts: those of deltal data --template base. digest: of the
    rows that remain.
    """

    flag: str
    digest: Digest
    total: int = 0
    speed: float | None = None
    long: int | None = 0
    first_long: str = ""
    longest: int = 0
    base_prompts: int = 0
    altered: int = 0
    first_altered: str = ""


class RowCheck:
    """The check of the rows of one flag.

    tokenizer: a tokenizer or processor. None if it is not on this machine; then no prompt is measured.
    """

    def __init__(self, args: Arguments, loaded: Loaded, tokenizer: Any, has_our_service: bool) -> None:
        self.args, self.loaded, self.tokenizer = args, loaded, tokenizer
        self.limit = longest_prompt(args)
        self.check_label: Callable[[str], Any] | None = scoring.check_label if has_our_service else None
        agent = args.train.agent_func_path
        if name := agents.known(agent) if agent else named.known(args.reward.remote_url):
            self.check_label = REWARD_CHECKS[name]
        # Our service and our reward files refuse a query that does not start with its prompt.
        self.needs_prompt = self.check_label is not None and not agent
        self.needs_json = "://" in (args.reward.remote_url or "") and not args.train.agent_func_path

    def run(self) -> Rows:
        """Check all rows. Raises ValueError, in one line, for the first row that would stop the run."""
        self._check_image_key()
        found = Rows(self.loaded.flag, Digest(self._rendering()))
        measured = self.tokenizer is not None and self.args.data.max_images_per_prompt == 0
        if not measured:
            found.long = None
        begun, total = time.monotonic(), len(self.loaded.rows)
        with Progress(f"checking --{found.flag}", "rows", total, after=LONG) as progress:
            for start, rows in self._batches():
                self._check_batch(found, start, rows, measured)
                progress.update(start + len(rows))
        seconds = time.monotonic() - begun
        found.speed = total / seconds if seconds >= LONG else None
        return found

    def _check_batch(self, found: Rows, start: int, rows: list[Row], measured: bool) -> None:
        for number, row in enumerate(rows, start):
            self._check_row(number, row)
        texts = self._texts(start, rows)
        kept = self._measured(found, start, texts) if measured else range(len(rows))
        if texts:
            prompt = self.args.data.input_key
            found.digest.add((self._source(rows[i]), rows[i][prompt], self._label(rows[i])) for i in kept)
        found.total += len(kept)
        found.base_prompts += sum(is_base_conversation(rows[i][self.args.data.input_key]) for i in kept)

    def _rendering(self) -> list[Any]:
        data = self.args.data
        if data.apply_chat_template:
            return [getattr(self.tokenizer, "chat_template", None)]
        return [data.input_template]

    def _batches(self) -> Iterator[tuple[int, list[Row]]]:
        """Yield (number of the first row, rows) for each batch."""
        columns = self.loaded.rows.select_columns(self._columns())
        for start in range(0, len(columns), BATCH):
            numbers = range(start, min(start + BATCH, len(columns)))
            try:
                yield start, columns.select(numbers).to_list()
            except UnicodeDecodeError:
                for number in numbers:
                    self._check_text(number, columns)

    def _check_text(self, number: int, columns: "Dataset") -> None:
        try:
            columns[number]
        except UnicodeDecodeError as error:
            raise ValueError(f"{self.loaded.where(number)}: not UTF-8 text ({error.reason})") from error

    def _columns(self) -> list[str]:
        wanted = (self.args.data.input_key, self.args.data.label_key, "datasource", self._image_key())
        return [name for name in dict.fromkeys(wanted) if name and name in self.loaded.rows.column_names]

    def _source(self, row: Row) -> Any:
        return row.get("datasource", "default")

    def _label(self, row: Row) -> Any:
        return "" if self.args.data.label_key is None else row[self.args.data.label_key]

    # ── Columns ──

    def _image_key(self) -> str | None:
        """The column of images, None in a run without images."""
        return self.args.data.image_key if self.args.data.max_images_per_prompt else None

    def _check_image_key(self) -> None:
        """Raise ValueError if no training row can have an image. A set for evaluation may be of text only."""
        key, columns = self._image_key(), self.loaded.rows.column_names
        if key is not None and key not in columns and self.loaded.flag == "data.prompt_dataset":
            raise ValueError(
                f"--data.image_key is {key}, but --{self.loaded.flag} {','.join(self.loaded.names)} has the columns {', '.join(columns)}; "
                "a run without images leaves out --data.max_images_per_prompt"
            )

    def _check_row(self, number: int, row: Row) -> None:
        data = self.args.data
        problem = self._prompt_problem(row[data.input_key])
        if problem is None and data.label_key is not None:
            problem = self._label_problem(row[data.label_key])
        if problem is None and (key := self._image_key()):
            most, chat = data.max_images_per_prompt, data.apply_chat_template
            problem = image_problem(row[data.input_key], row.get(key), key, most, chat=chat)
        if problem is not None:
            raise ValueError(f"{self.loaded.where(number)}: {problem}")

    def _prompt_problem(self, prompt: Any) -> str | None:
        key, chat = self.args.data.input_key, self.args.data.apply_chat_template
        if isinstance(prompt, str):
            return None if prompt else f"{key} is empty"
        if not isinstance(prompt, list):
            return f"{key} is {kind(prompt)}, allowed is text{' or a list of messages' if chat else ''}"
        if not chat:
            return f"{key} holds messages, which needs --data.apply_chat_template"
        if not prompt or not all(isinstance(message, dict) and message.get("role") for message in prompt):
            return f"{key} is not a list of messages, each with a role and a content"
        return None

    def _label_problem(self, label: Any) -> str | None:
        if label is None or label != label:
            return f"{self.args.data.label_key} is {'null' if label is None else 'not a number'}"
        if self.needs_json and (why := not_json(label)):
            return f"{self.args.data.label_key} has no form in JSON ({why}), in which a reward service gets it"
        if self.check_label is None:
            return None
        try:
            self.check_label(label)
        except ValueError as error:
            agent = self.args.train.agent_func_path
            given_by = (
                f"--train.agent_func_path {agent}" if agent else f"--reward.remote_url {self.args.reward.remote_url}"
            )
            return f"{error} ({given_by})"
        return None

    # ── Prompts ──

    def _texts(self, start: int, rows: list[Row]) -> list[str]:
        """The prompts as the model gets them. [] if the chat template belongs to a tokenizer that is not here."""
        if self.args.data.apply_chat_template and self.tokenizer is None:
            return []
        try:
            return rendered(rows, self.tokenizer, self.args)
        except Exception:  # noqa: BLE001 - whatever a chat template raises; the row that does is looked for
            for number, row in enumerate(rows, start):
                self._render_alone(number, row)
            raise

    def _render_alone(self, number: int, row: Row) -> None:
        try:
            rendered([row], self.tokenizer, self.args)
        except Exception as error:  # noqa: BLE001 - as above
            raise ValueError(
                f"{self.loaded.where(number)}: the chat template of {self.args.actor.model_name_or_path} does not take it: "
                f"{first_line(error)}"
            ) from error

    def _measured(self, found: Rows, start: int, texts: list[str]) -> list[int]:
        """Count the long and altered prompts of a batch. Returns which rows the run keeps."""
        tokens = self.tokenizer(text=texts, add_special_tokens=False)["input_ids"]  # as the host calls a processor, too
        kept = []
        for i, ids in enumerate(tokens):
            found.longest = max(found.longest, len(ids))
            if not ids:
                raise ValueError(f"{self.loaded.where(start + i)}: the tokenizer makes no token of the prompt")
            if len(ids) > self.limit:
                self._count_long(found, start + i, len(ids))
                if self.args.deltal.skip_long_prompts:
                    continue
            kept.append(i)
        # With one token more, as a response has: the end of a text is special to some decoders.
        given_back = decoded([[*ids, ids[0]] for ids in tokens], self.tokenizer)
        for i in kept:
            if len(tokens[i]) <= self.limit and not given_back[i].startswith(texts[i]):
                self._count_altered(found, start + i, texts[i], given_back[i])
        return kept

    def _count_long(self, found: Rows, number: int, length: int) -> None:
        found.first_long = found.first_long or self.loaded.place(number)
        found.long = (found.long or 0) + 1
        if self.needs_prompt and not self.args.deltal.skip_long_prompts:
            raise ValueError(
                f"{self.loaded.where(number)}: the prompt has {length:,} tokens, allowed are {self.limit:,} (--data.max_len minus "
                "--rollout.max_new_tokens); OpenRLHF cuts its beginning off, and the reward then refuses it; "
                "--deltal.skip_long_prompts leaves such prompts out"
            )

    def _count_altered(self, found: Rows, number: int, text: str, given_back: str) -> None:
        found.first_altered = found.first_altered or self.loaded.place(number)
        found.altered += 1
        if self.needs_prompt:
            at = len(os.path.commonprefix([text, given_back]))
            pair = text[at : at + SHOWN], given_back[at : at + SHOWN]
            # Characters that look the same are told apart by their escapes: the ohm sign and the letter omega.
            ours, theirs = map(repr if pair[0].isascii() else ascii, pair)
            raise ValueError(
                f"{self.loaded.where(number)}: the tokenizer does not give the prompt back, so that the reward cannot tell the response "
                f"apart: {ours} becomes {theirs} (character {at + 1})"
            )


def not_json(label: Any) -> str | None:
    """The type in a label that JSON cannot hold. None if there is none."""
    try:
        json.dumps(label)
    except TypeError as error:
        return first_line(error)
    return None


def decoded(tokens: list[list[int]], tokenizer: Any) -> list[str]:
    """Decode each sequence with the tokenizer's decode(), special tokens included. Its own batch call takes three times as long."""
    fast = getattr(tokenizer, "backend_tokenizer", None)
    if fast is None or tokenizer.clean_up_tokenization_spaces:
        return tokenizer.batch_decode(tokens, skip_special_tokens=False)
    return fast.decode_batch(tokens, skip_special_tokens=False)
