"""Commands of tests/support/commands.py are as those that subprocess starts, and warm."""

import os
import signal
import subprocess
import sys

import pytest
from support import commands

CODES = {
    "streams": "import sys; print(sys.argv, sys.stdin.read()); print('e', file=sys.stderr)",
    "surroundings": "import os, sys; print(os.getcwd(), os.environ.get('PLANTED'), sys.path[:1], __name__)",
    "status": "raise SystemExit(3)",
    "message": "raise SystemExit('said')",
    "signal": "import os; os.kill(os.getpid(), 9)",
    "at exit": "import atexit; atexit.register(print, 'end'); raise SystemExit(1)",
}


@pytest.mark.parametrize("name", CODES)
def test_a_forked_command_is_as_a_started_one(name, tmp_path):
    words = [sys.executable, "-c", CODES[name], "a b"]
    surroundings = {"cwd": tmp_path, "env": os.environ | {"PLANTED": "1"}}
    streams = {"input": "∆L", "capture_output": True, "text": True, "timeout": 60}
    started, forked = (run(words, **surroundings, **streams) for run in (subprocess.run, commands.run))
    assert (forked.returncode, forked.stdout, forked.stderr) == (started.returncode, started.stdout, started.stderr)


def test_a_forked_script_is_as_a_started_one(tmp_path):
    (tmp_path / "beside.py").write_text("WORD = 'found'")
    script = tmp_path / "script.py"
    script.write_text("import sys, beside\nprint(sys.argv, beside.WORD, sys.path[0], __name__, __file__)\nsys.exit(4)")
    started, forked = (
        run([sys.executable, str(script), "a b"], capture_output=True, text=True, timeout=60)
        for run in (subprocess.run, commands.run)
    )
    assert started.returncode == 4 and "found" in started.stdout
    assert (forked.returncode, forked.stdout, forked.stderr) == (started.returncode, started.stdout, started.stderr)


@pytest.mark.cpu_build
def test_ranks_of_a_forked_command_come_from_the_server_that_is_there():
    code = """
import psutil
from deltal_openrlhf.parity import run_on_ranks
print(run_on_ranks(2, pow, 2, timeout=100), psutil.Process().children())
"""
    done = commands.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=110)
    assert (done.returncode, done.stdout) == (0, "[0, 1] []\n"), done.stderr


@pytest.mark.cpu_build
def test_a_forked_command_is_warm_and_can_be_interrupted_in_its_own_session():
    code = "import sys, time; print('openrlhf' in sys.modules, flush=True); time.sleep(60)"
    with commands.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        assert process.stdout.readline() == "True\n"
        assert os.getsid(process.pid) == process.pid != os.getsid(0)
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait(timeout=10) == -signal.SIGINT
        assert process.stderr.read().endswith("KeyboardInterrupt\n")


def test_a_forked_command_that_takes_too_long_is_killed():
    with pytest.raises(subprocess.TimeoutExpired):
        commands.run([sys.executable, "-c", "import time; time.sleep(60)"], timeout=0.2)


@pytest.mark.cpu_build
def test_what_is_read_at_import_needs_a_start():
    with pytest.raises(ValueError, match="PYTHONHASHSEED: read at import"):
        commands.run([sys.executable, "-c", "pass"], env=os.environ | {"PYTHONHASHSEED": "7"})


@pytest.mark.cpu_build
def test_what_the_server_has_not_read_is_not_taken_from_the_tests_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    with pytest.raises(ValueError, match="HF_HOME: read at import"):
        commands.run([sys.executable, "-c", "pass"])
