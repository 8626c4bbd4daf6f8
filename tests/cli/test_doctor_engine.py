"""What `deltal doctor` says of vLLM's warnings on a CPU; the warnings themselves are looked up in the installed vLLM."""

from importlib.util import find_spec
from pathlib import Path

import pytest

from deltal_openrlhf.cli import doctor, engine_warnings
from deltal_openrlhf.cli.findings import Problem

VLLM = Path(find_spec("vllm").origin).parent


def found(monkeypatch, preload: str, vllm: Path) -> list:
    monkeypatch.setenv("LD_PRELOAD", preload)
    return list(engine_warnings.check_allocator(vllm))


def test_without_the_allocator_a_note_names_the_package_and_the_variable(monkeypatch, tmp_path):
    fact, problem = found(monkeypatch, "", tmp_path)
    assert fact == "allocator     the system's"
    assert isinstance(problem, Problem) and not problem.fatal
    assert "apt install libtcmalloc-minimal4" in problem.remedy and "export LD_PRELOAD=/usr/lib/" in problem.remedy


def test_with_it_there_is_no_note(monkeypatch, tmp_path):
    assert found(monkeypatch, "/usr/lib/x86_64-linux-gnu/libtcmalloc_minimal.so.4", tmp_path) == [
        "allocator     tcmalloc, from LD_PRELOAD"
    ]
    (tmp_path / "libs").mkdir()
    (tmp_path / "libs" / "libtcmalloc_minimal-1a2b.so.4").touch()
    assert found(monkeypatch, "", tmp_path) == ["allocator     tcmalloc, from vLLM's own folder"]


@pytest.mark.cpu_build
def test_the_installed_vllm_gives_these_warnings_and_looks_where_we_look():
    said = (VLLM / "v1" / "worker" / "cpu_worker.py").read_text(encoding="utf-8")
    assert "is not found in LD_PRELOAD. " in said and 'check_preloaded_libs("libtcmalloc")' in said
    assert "does not officially support disabling chunked prefill" in (VLLM / "engine" / "arg_utils.py").read_text(
        encoding="utf-8"
    )
    looks = (VLLM / "platforms" / "cpu.py").read_text(encoding="utf-8")
    assert all(f'"{name}"' in looks for name in engine_warnings.ALLOCATORS) and '"libs"' in looks


@pytest.mark.cpu_build
def test_the_doctor_of_this_machine_says_both():
    facts = [fact for fact in doctor.check_engine() if isinstance(fact, str)]
    assert [fact.split()[0] for fact in facts] == ["allocator", "prompts"]
    assert "disabling chunked prefill" in facts[1]


def test_a_machine_with_a_gpu_hears_nothing_of_it(monkeypatch):
    monkeypatch.setattr(doctor, "_cpu_mode", lambda: False)
    assert list(doctor.check_engine()) == []
