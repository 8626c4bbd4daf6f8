"""The garbage collector while modules are imported: off, and on again by itself."""

import subprocess
import sys

START = """
import gc, importlib, os, sys, time, types
from deltal_openrlhf.runs.collector import rest_while_importing
"""


def said(code):
    return subprocess.run(
        [sys.executable, "-c", START + code], capture_output=True, text=True, timeout=60, check=True
    ).stdout.split()


def test_it_is_off_while_modules_come_and_on_soon_after():
    code = """
rest_while_importing(pause=0.3)
states = []
for number in range(10):  # 1 s
    sys.modules[f"made{number}"] = types.ModuleType("made")
    states.append(gc.isenabled())
    time.sleep(0.1)
print(any(states))
time.sleep(1.0)
print(gc.isenabled())
"""
    assert said(code) == ["False", "True"]


def test_a_collector_that_was_off_stays_off():
    assert said("gc.disable(); rest_while_importing(pause=0.01); time.sleep(0.3); print(gc.isenabled())") == ["False"]


def test_a_child_that_is_forked_meanwhile_collects():
    code = """
rest_while_importing(pause=60.0)
child = os.fork()
if not child:
    os._exit(10 + gc.isenabled())
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), gc.isenabled())
"""
    assert said(code) == ["11", "False"]


def test_what_is_there_at_exit_is_frozen():
    assert said(
        "rest_while_importing(pause=60.0); import atexit; atexit._run_exitfuncs(); print(gc.get_freeze_count() > 1000)"
    ) == ["True"]
