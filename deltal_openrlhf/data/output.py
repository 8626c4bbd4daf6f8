"""Writes files of rows {"input", "label", "datasource"}, for the host's --data.input_key input --data.label_key label.

Rows with pictures have them in "images", the host's --data.image_key.
"""

import hashlib
import io
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from deltal_openrlhf.data.sources import Skipped
from deltal_openrlhf.data.templates import Messages
from deltal_openrlhf.runs.files import write_all_atomically

FORMATS = ("jsonl", "parquet")


class Row(NamedTuple):
    """One row.

    input: prompt text, or messages for --data.apply_chat_template. label: what the reward reads. datasource: the set's name, by which the
    host separates its evaluation. images: data URIs, as many as the input has <image> tags; None for text.
    """

    input: str | Messages
    label: str
    datasource: str
    images: list[str] | None = None

    def columns(self) -> dict[str, Any]:
        """The row as it is written."""
        return {name: value for name, value in self._asdict().items() if name != "images" or value is not None}


class Written(NamedTuple):
    path: Path
    rows: int
    sha256: str


SKIPPED = "skipped.json"


def write(
    files: dict[str, Sequence[Row]], folder: Path, format: str, skipped: Sequence[Skipped] | None = None
) -> list[Written]:
    """Write FOLDER/NAME.jsonl or .parquet for each name, and FOLDER/SKIPPED unless skipped is None. Either all files are written or none.

    Raises ValueError if that is impossible.
    """
    contents = {folder / f"{name}.{format}": _ENCODE[format](rows) for name, rows in files.items()}
    if skipped is not None:
        text = json.dumps([bad._asdict() for bad in skipped], indent=1, default=str)
        contents[folder / SKIPPED] = (text + "\n").encode("ascii")
    for path in contents:
        if path.is_dir():
            raise ValueError(f"{path}: not writable: it is a folder")
    try:
        write_all_atomically(contents)
    except OSError as error:
        raise ValueError(f"{error.filename or folder}: not writable: {error.strerror}") from error
    return [
        Written(path, len(rows), hashlib.sha256(content).hexdigest())
        for (path, content), rows in zip(contents.items(), files.values(), strict=False)
    ]


def _jsonl(rows: Iterable[Row]) -> bytes:
    return "".join(json.dumps(row.columns()) + "\n" for row in rows).encode("ascii")


def _parquet(rows: Sequence[Row]) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist([row.columns() for row in rows]), buffer)
    return buffer.getvalue()


_ENCODE = {"jsonl": _jsonl, "parquet": _parquet}
