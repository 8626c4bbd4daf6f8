"""The garbage collector while large packages are imported: off inside, and afterwards as it was."""

import subprocess
import sys

import pytest

START = """
import gc, os, sys
from pathlib import Path
from deltal_openrlhf.runs import collector
from deltal_openrlhf.standins.on_import import on_import

collector.rest_in_imports()
"""
INNER = "import gc\nENABLED = gc.isenabled()\n"


@pytest.fixture
def said(tmp_path):
    """Runs code in a process of its own, in which vllm, torch and small are packages of this test."""
    for package in ("vllm", "torch", "small"):
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").write_text(INNER)
        (tmp_path / package / "inner.py").write_text(INNER)
    (tmp_path / "vllm" / "outer.py").write_text(f"import small, torch.inner\n{INNER}")
    (tmp_path / "vllm" / "broken.py").write_text("raise RuntimeError")
    (tmp_path / "vllm" / "choosing.py").write_text(
        "import gc\nwas = gc.isenabled()\ngc.enable() if was else gc.disable()\n"
    )

    def run(code):
        command = [sys.executable, "-c", START + code]
        return subprocess.run(
            command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=True
        ).stdout.split()

    return run


def test_it_is_off_in_all_that_a_large_package_imports_and_on_after_it(said):
    code = "import vllm.outer, torch, small\nprint(vllm.ENABLED, vllm.outer.ENABLED, torch.ENABLED, torch.inner.ENABLED, small.ENABLED)"
    assert said(code + "\nprint(gc.isenabled())") == [*["False"] * 5, "True"]


def test_other_packages_are_left_alone(said):
    assert said("import small.inner\nprint(small.ENABLED, small.inner.ENABLED)") == ["True", "True"]


def test_it_is_on_again_after_an_import_that_fails_or_sets_it_itself(said):
    code = "try:\n    import vllm.broken\nexcept RuntimeError:\n    print(gc.isenabled())\nimport vllm.choosing\nprint(gc.isenabled())"
    assert said(code) == ["True", "True"]


def test_a_collector_that_somebody_switched_off_stays_off(said):
    assert said("gc.disable()\nimport vllm.outer\nprint(gc.isenabled())") == ["False"]


PATCH = "on_import('vllm.inner', lambda module: setattr(module, 'OFF', not gc.isenabled()))\n"
IN_FRONT = "sys.meta_path.remove(collector._finder)\ncollector.rest_in_imports()\ncollector.rest_in_imports()\n"


@pytest.mark.parametrize(("order", "off"), [(PATCH, "False"), (PATCH + IN_FRONT, "True")])
def test_it_and_the_patches_of_a_module_do_not_stand_in_each_others_way(order, off, said):
    assert said(order + "import vllm.inner\nprint(vllm.inner.OFF, gc.isenabled())") == [off, "True"]


def test_every_process_of_a_run_has_it():
    code = "import gc, sys; from deltal_openrlhf.host import process; process.prepare(); import torch; "
    code += "print(gc.isenabled(), process.collector._finder in sys.meta_path)"
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert process.stdout.split() == ["True", "True"]
