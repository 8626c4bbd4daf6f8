"""What the process and its children print is in the log; the console is where it was, and comes back."""

import os
import subprocess
import sys

import pytest

SCRIPT = """
import os, subprocess, sys
from pathlib import Path
from deltal_openrlhf.runs.console import output_to, send_output_to
log = Path(sys.argv[1])
print("before")
with output_to(log) as console:
    print("out"); print("err", file=sys.stderr); os.write(1, b"raw\\n"); subprocess.run(["echo", "child"])
    print("to stdout", file=console.out); print("to stderr", file=console.err)
print("after")
send_output_to(log)
print("for good")
"""


def test_output_goes_to_a_file_and_back(tmp_path):
    log = tmp_path / "log"
    log.write_text("old\n")
    done = subprocess.run([sys.executable, "-c", SCRIPT, str(log)], capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("before\nto stdout\nafter\n", "to stderr\n")
    assert sorted(log.read_text().split()) == sorted("old out err raw child for good".split())


def test_a_log_that_cannot_be_opened_leaves_everything_as_it_was(tmp_path, capfd):
    from deltal_openrlhf.runs.console import output_to

    before = set(os.listdir("/proc/self/fd"))
    with pytest.raises(OSError), output_to(tmp_path / "none" / "log"):
        pass
    print("here", flush=True)
    assert capfd.readouterr().out == "here\n" and set(os.listdir("/proc/self/fd")) == before
