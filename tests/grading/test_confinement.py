"""A scorer that runs what it is given, as ours do not: its process can compute and read, and the kernel refuses the rest."""

import signal
import socket
import subprocess
import sys
import time

import pytest

from deltal_openrlhf.grading.grader import Grade, Grader
from deltal_openrlhf.grading.process import Scorer, _say_unconfined

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
    "fork": "import os; os.fork() or (os.mkdir(r'{path}'), os._exit(0))",
    "connection": "import socket; socket.create_connection(('127.0.0.1', {port}))",
    "signal": "import os, signal; os.kill(os.getppid(), signal.SIGKILL)",
    "signal by fcntl": (
        "import fcntl, os, signal; fcntl.fcntl(0, fcntl.F_SETOWN, os.getppid()); fcntl.fcntl(0, 10, signal.SIGKILL)\n"
        "fcntl.fcntl(0, fcntl.F_SETFL, os.O_ASYNC); [os.read(0, 1) for _ in range(200)]"
    ),
}
PARENT = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", sys.argv[1]], stdin=subprocess.PIPE, bufsize=0)
for _ in range(3000):  # the child has asked the kernel to tell its parent of each byte
    child.poll() is None and child.stdin.write(b"x")
    time.sleep(0.01)
"""
HARMLESS = {
    "compute": "assert sum(range(1000)) == 499500",
    "read": "assert open(r'{victim}').read() == 'here'",
    "import": "import colorsys",
    "descriptors": "import fcntl, os; fcntl.fcntl(0, fcntl.F_GETFL); fcntl.fcntl(0, fcntl.F_GETFD); os.close(os.dup(0))",
    "thread": "import threading; t = threading.Thread(target=print); t.start(); t.join()",
}


@pytest.fixture
def module(tmp_path, monkeypatch):
    (tmp_path / "runs_answers.py").write_text(MODULE)
    (tmp_path / "victim").write_text("here")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return Scorer("runs_answers", "nothing")


@pytest.fixture
def listener():
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(10)
        yield server


def filled(code, folder, port=0):
    return code.format(path=folder / "made", victim=folder / "victim", port=port)


def test_what_a_confined_process_cannot_do(module, tmp_path, listener):
    port = listener.getsockname()[1]
    with Grader(workers=1, deadline=20, scorer=module) as grader:
        for name, code in HARMFUL.items():
            found = grader.grade("gold", filled(code, tmp_path, port))
            assert found == Grade(False, "different", 1.0), name  # 1 is EPERM
            assert not (tmp_path / "made").exists() and (tmp_path / "victim").exists(), name
        grader.grade("gold", filled("import os; os.system('touch {path}')", tmp_path))
        assert not (tmp_path / "made").exists()
        for name, code in HARMLESS.items():
            assert grader.grade("gold", filled(code, tmp_path)) == Grade(True, "equal", 1.0), name


@pytest.mark.parametrize("name", HARMFUL)
def test_without_the_confinement_the_same_code_does_it(tmp_path, listener, name):
    (tmp_path / "victim").write_text("here")
    code = filled(HARMFUL[name], tmp_path, listener.getsockname()[1])
    if name.startswith("signal"):
        killed = subprocess.run([sys.executable, "-c", PARENT, code], check=False, timeout=60)
        assert killed.returncode == -signal.SIGKILL
        return
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
    if name == "connection":
        listener.accept()[0].close()
        return
    until = time.monotonic() + 10
    while not (tmp_path / "made").exists():  # a process that was forked may come later
        assert time.monotonic() < until
        time.sleep(0.01)


def test_a_machine_that_does_not_confine_says_so_once(module, tmp_path, caplog):
    _say_unconfined.cache_clear()
    with Grader(workers=1, deadline=20, scorer=module) as grader:
        assert grader.grade("gold", "pass").equal
    assert not caplog.records
    (tmp_path / "sitecustomize.py").write_text("import platform\nplatform.machine = lambda: 'riscv64'\n")
    with Grader(workers=2, deadline=20, scorer=module).start() as grader:
        assert grader.grade("gold", filled(HARMFUL["folder"], tmp_path)).equal
    (record,) = caplog.records
    assert "does not confine the grading processes" in record.message


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
