"""The stacks of other processes: of one that holds Python's lock, and of no process that does not offer them."""

import subprocess
import sys
import time

import psutil

from deltal_openrlhf.runs import stacks

OFFERS = """
import ctypes
from deltal_openrlhf.runs import stacks

def stands_still():
    print("ready", flush=True)
    while True:
        ctypes.PyDLL(None).sleep(600)  # without letting the lock go; a signal ends it

stacks.offer()
stands_still()
"""
OTHER = "import time; print('ready', flush=True); time.sleep(600)"


def test_stacks_of_those_that_offer_them(monkeypatch):
    monkeypatch.setattr(stacks, "_TIME_TO_WRITE", 0.5)
    started = [
        subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) for code in (OFFERS, OTHER)
    ]
    try:
        for process in started:
            assert process.stdout.readline() == "ready\n"
        time.sleep(0.5)  # from its last word to the call that holds the lock
        found = stacks.collect([psutil.Process(process.pid) for process in started])
        ((name, text),) = found.items()
        assert name.startswith(f"pid {started[0].pid}: {sys.executable}")
        assert 'File "<string>", line 8 in stands_still' in text
        assert [process.poll() for process in started] == [None, None]
    finally:
        for process in started:
            process.kill()
            process.wait()
            process.stdout.close()
    assert stacks.collect([]) == {}
