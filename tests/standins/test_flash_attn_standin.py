"""flash-attn's stand-in: where flash-attn is missing, with a torch for CPUs or for GPUs, and not where it is installed."""

import os
import subprocess
import sys
import textwrap
from types import SimpleNamespace

import pytest

from deltal_openrlhf import backends
from deltal_openrlhf.host import process
from deltal_openrlhf.standins import flash_attn

FAKE = "def unpad_input(): ...\ndef pad_input(): ...\ndef index_first_axis(): ...\ndef rearrange(): ...\n"


def python(code: str, *paths) -> str:
    """The last line that a Python process of its own prints; paths come first on its sys.path."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(map(str, paths))},
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout.strip().splitlines()[-1]


IMPORTED = """
    import sys, torch
    torch.version.cuda = "13.0"
    from deltal_openrlhf import cpu
    from deltal_openrlhf.host import process
    assert not cpu.is_needed()
    process.prepare()
    from openrlhf.models.ring_attn_utils import unpad_input
    from openrlhf.models import Actor
    print(unpad_input.__module__, Actor.__init__.__code__.co_filename.endswith("standins/flash_attn.py"))
"""


def test_a_torch_for_gpus_gets_it_too_where_flash_attn_is_missing():
    assert python(IMPORTED) == "deltal_openrlhf.standins.bert_padding True"


def test_an_installed_flash_attn_is_left_alone(tmp_path):
    for name, text in (("__init__", ""), ("bert_padding", FAKE), ("utils/__init__", "")):
        path = tmp_path / "flash_attn" / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (tmp_path / "flash_attn/utils/distributed.py").write_text("def all_gather(): ...\n")
    (tmp_path / "flash_attn-2.8.3.dist-info").mkdir()
    (tmp_path / "flash_attn-2.8.3.dist-info/METADATA").write_text(
        "Metadata-Version: 2.1\nName: flash-attn\nVersion: 2.8.3\n"
    )
    assert python(IMPORTED, tmp_path) == "flash_attn.bert_padding False"


def _args(attention: str, packing: bool = False) -> SimpleNamespace:
    return SimpleNamespace(ds=SimpleNamespace(attn_implementation=attention, packing_samples=packing))


@pytest.mark.parametrize("packing", [False, True])
def test_the_attention_that_can_run_is_set_and_said(packing):
    args = _args("flash_attention_2", packing)
    (note,) = flash_attn.adjust_flags(args)
    assert args.ds.attn_implementation == "sdpa"
    assert note.startswith("--ds.attn_implementation sdpa instead of flash_attention_2: flash-attn is not installed")
    assert ("packed rows are slower" in note) == packing


@pytest.mark.parametrize(
    ("args", "backend"),
    [(_args("eager"), "deepspeed"), (_args("sdpa", True), "deepspeed"), (_args("flash_attention_2"), "megatron")],
)
def test_other_attention_stays_and_so_does_that_of_a_backend_with_its_own(args, backend):
    before = args.ds.attn_implementation
    assert flash_attn.adjust_flags(args, backends.load(backend).ignored) == []
    assert args.ds.attn_implementation == before


def test_flash_attention_stays_where_it_is_installed(monkeypatch):
    monkeypatch.setattr(flash_attn, "is_missing", lambda: False)
    args = _args("flash_attention_2")
    assert flash_attn.adjust_flags(args) == []
    assert args.ds.attn_implementation == "flash_attention_2"


def test_ray_can_load_the_hook():
    module, _, name = process.SETUP_HOOK.rpartition(".")
    assert getattr(sys.modules[module], name) is process.prepare_worker
