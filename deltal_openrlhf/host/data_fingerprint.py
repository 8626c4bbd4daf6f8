"""A fingerprint of the training data in a checkpoint, so that a resumed run trains on the same data.

A checkpoint holds a position in the data. If rows were added, removed, changed or moved, some would come twice or never (NeMo-RL#2519), and
nothing would report it. The fingerprint covers the prompts as they stand in the data, the templates, the labels and the sources, in their
order. A file may move or take another format. Rendered prompts are not used, because some chat templates insert today's date.
"""

import hashlib
import json
from collections.abc import Iterable, Sequence
from typing import Any

from deltal_openrlhf import cpu
from deltal_openrlhf.arguments import Arguments, Fingerprint

FLAGS = tuple(
    "data.prompt_dataset data.prompt_probs data.prompt_split data.max_samples data.input_key data.label_key data.input_template "
    "data.apply_chat_template data.max_len rollout.max_new_tokens deltal.skip_long_prompts".split()
)
"""What may have changed the rows. They only explain a difference."""
ORDER = "train.seed"
"""It alone decides the order of the rows (data_order.py)."""


class Digest:
    """A running SHA-256 of rows. rendering: everything else that determines the texts that the model gets."""

    def __init__(self, rendering: Any = None) -> None:
        self._sha256, self._labels = hashlib.sha256(json.dumps(rendering).encode()), hashlib.sha256()
        self.rows = 0

    def add(self, rows: Iterable[tuple[Any, Any, Any]]) -> None:
        """Add rows. rows: source, prompt and label of each."""
        for source, prompt, label in rows:
            self.rows += 1
            self._sha256.update(json.dumps((source, prompt, label), default=_in_json).encode())
            self._labels.update(json.dumps((source, label), default=_in_json).encode())

    def hexdigest(self) -> str:
        return self._sha256.hexdigest()

    def of_labels(self) -> str:
        return self._labels.hexdigest()


def _in_json(value: Any) -> Any:
    """Convert what JSON cannot hold: bytes, a date, a decimal. An array becomes the list that it is in an Arrow data set."""
    return value.tolist() if hasattr(value, "tolist") else str(value)


def fingerprint(args: Arguments, digest: Digest) -> Fingerprint:
    """The fingerprint for a checkpoint and for the process that draws the prompts.

    digest: that of the training rows, without those that are left out.
    """
    flags = {flag: cpu.lookup(args, flag) for flag in (*FLAGS, ORDER)}
    return Fingerprint(digest.rows, digest.hexdigest(), flags, digest.of_labels())


def check_same_rows(checked: Fingerprint | None, dataset: Any) -> None:
    """Raise RuntimeError if the process that draws the prompts read other rows than the driver checked. Labels and number are compared.

    checked: the driver's fingerprint, None if it made none. dataset: the host's PromptDataset.
    """
    if checked is None:
        return
    digest = Digest()
    digest.add(zip(dataset.datasources, dataset.prompts, dataset.labels, strict=True))
    if (digest.rows, digest.of_labels()) != (checked.rows, checked.labels):
        raise RuntimeError(
            f"the training rows are not those that were checked at the start ({checked.rows:,} rows then, {digest.rows:,} now): the "
            "files changed in between, or are others on this node"
        )


def check_resumed_data(now: Fingerprint | None, saved: Sequence[Any] | None, tag: str) -> None:
    """Raise ValueError, in one line, if a run would continue a checkpoint of this tag on other rows, or in another order.

    saved: the fields of its fingerprint. None for a checkpoint of an earlier version, which has none. now: None if the rows could not be
    read in a dry run.
    """
    if now is None or saved is None:
        return
    then = Fingerprint(*saved)
    if now.sha256 != then.sha256:
        raise ValueError(
            f"checkpoint {tag} was trained on other data ({_difference(now, then)}), so rows would come twice or never; resume with its "
            "data, or start from the exported model with another --ckpt.path"
        )
    if now.flags[ORDER] != then.flags[ORDER]:
        raise ValueError(
            f"--{ORDER} is {now.flags[ORDER]}, but checkpoint {tag} was trained with {then.flags[ORDER]}, which is another order of the "
            "data; use the saved value, or start from the exported model with another --ckpt.path"
        )


def _difference(now: Fingerprint, then: Fingerprint) -> str:
    """What changed, as far as it is known."""
    rows = f"{then.rows:,} rows then, {now.rows:,} now"
    if then.rows == now.rows:
        rows = f"{now.rows:,} rows then and now, not the same ones or in another order"
    changed = [
        f"--{flag} {then.flags.get(flag)} then, {now.flags[flag]} now"
        for flag in FLAGS
        if then.flags.get(flag) != now.flags[flag]
    ]
    return "; ".join([rows, *changed])
