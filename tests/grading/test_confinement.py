"""A scorer that runs what it is given, as ours do not: its process can compute and read, and the kernel refuses the rest."""

import subprocess
import sys

import pytest

from deltal_openrlhf.grading.grader import Grade, Grader
from deltal_openrlhf.grading.process import Scorer

MODULE = """
def warm_up():
    pass

def grade(golds, pred):
    try:
        exec(pred)
    except OSError as error:
        return f"different {error.errno}"
    return "equal 1"
"""
HARMFUL = {
    "write": "open(r'{path}', 'w').close()",
    "append": "open(r'{path}', 'a').close()",
    "low-level": "import os; os.close(os.open(r'{path}', os.O_CREAT | os.O_RDONLY))",
    "folder": "import os; os.mkdir(r'{path}')",
    "rename": "import os; os.rename(r'{victim}', r'{path}')",
    "program": "import subprocess; subprocess.run(['touch', r'{path}'])",
    "fork": "import os; os.fork() or os._exit(0)",
    "connection": "import socket; socket.create_connection(('127.0.0.1', 9))",
    "signal": "import os, signal; os.kill(os.getppid(), signal.SIGKILL)",
}
HARMLESS = {
    "compute": "assert sum(range(1000)) == 499500",
    "read": "assert open(r'{victim}').read() == 'here'",
    "import": "import colorsys",
    "thread": "import threading; t = threading.Thread(target=print); t.start(); t.join()",
}


@pytest.fixture
def module(tmp_path, monkeypatch):
    (tmp_path / "runs_answers.py").write_text(MODULE)
    (tmp_path / "victim").write_text("here")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return Scorer("runs_answers", "nothing")


def filled(code, folder):
    return code.format(path=folder / "made", victim=folder / "victim")


def test_what_a_confined_process_cannot_do(module, tmp_path):
    with Grader(workers=1, deadline=20, scorer=module) as grader:
        for name, code in HARMFUL.items():
            assert grader.grade("gold", filled(code, tmp_path)) == Grade(False, "different", 1.0), name  # 1 is EPERM
            assert not (tmp_path / "made").exists() and (tmp_path / "victim").exists(), name
        grader.grade("gold", filled("import os; os.system('touch {path}')", tmp_path))
        assert not (tmp_path / "made").exists()
        for name, code in HARMLESS.items():
            assert grader.grade("gold", filled(code, tmp_path)) == Grade(True, "equal", 1.0), name


def test_without_the_confinement_the_same_code_does_it(tmp_path):
    (tmp_path / "victim").write_text("here")
    for name in ("write", "append", "low-level", "folder", "program"):
        folder = tmp_path / name
        folder.mkdir()
        subprocess.run([sys.executable, "-c", filled(HARMFUL[name], folder)], check=True, timeout=60)
        assert (folder / "made").exists()


def test_a_confined_process_ends_at_its_deadline_and_at_its_memory(module):
    with Grader(workers=1, deadline=1, memory_mb=512, scorer=module) as grader:
        assert (
            grader.grade("gold", "import signal; signal.setitimer(signal.ITIMER_REAL, 0)\nwhile True: pass").status
            == "timeout"
        )
        assert grader.grade("gold", "x = bytes(2**30)").status == "worker_died"
        assert grader.grade("gold", "pass") == Grade(True, "equal", 1.0)


def test_another_scorer_works_next_to_that_of_math(module):
    with Grader(workers=1, deadline=20) as grader:
        assert grader.of(module) is grader.of(module) is not grader
        assert grader.of(module).grade("7", "pass") == Grade(True, "equal", 1.0)
        assert grader.grade("7", "7") == Grade(True, "equal")
        assert grader.grade("7", "7").fields() == {"equal": True, "status": "equal"}
        other = grader.of(module)
        assert other.grade("7", " ") == Grade(False, "unparsable", 0.0)
    for asked in (lambda: grader.of(module), lambda: other.grade("7", "raise OSError(3, 'x')")):
        with pytest.raises(RuntimeError, match="closed"):
            asked()
