"""Code that has escaped in a grading process and talks to its owner: no words of it hold up or fool who waits."""

import time

import pytest

from deltal_openrlhf.grading.grader import Grade, Grader
from deltal_openrlhf.grading.process import Scorer

MODULE = """
import os, signal, stat, time

def warm_up():
    pass

def is_pipe(number):
    try:
        return stat.S_ISFIFO(os.fstat(number).st_mode)
    except OSError:
        return False

def say(text):
    os.write(next(filter(is_pipe, range(3, 100))), text)

def stay():
    signal.setitimer(signal.ITIMER_REAL, 0)  # the kernel would end it at the deadline
    while True:
        time.sleep(1)

def grade(golds, pred):
    exec(pred)
    return "equal 1"
"""
DEADLINE = 1.0
FOREVER = "signal.setitimer(signal.ITIMER_REAL, 0)\nwhile True: "
WORDS = {
    "an unfinished line": ("say(b'1'); stay()", "timeout"),
    "a flood of answers to others": (FOREVER + "say(b'0 x\\n' * 100)", "timeout"),
    "a flood without a line": (FOREVER + "say(b'1' * 4096)", "worker_died"),
    "a line at a time": (FOREVER + "say(b'0 x\\n'); time.sleep(0.01)", "timeout"),
    "no line of a worker": ("say(b'garbage\\n')", "worker_died"),
    "an empty line": ("say(b'\\n')", "worker_died"),
    "a number without end": ("say(b'1' * 5000 + b' equal\\n')", "worker_died"),
    "bytes": ("say(bytes(range(128, 256)) + b'\\n')", "worker_died"),
    "another status": ("say(b'1 secret\\n')", "worker_died"),
    "another status with a mark": ("say(b'1 equals 1\\n')", "worker_died"),
    "no mark": ("say(b'1 equal one\\n')", "worker_died"),
    "nan": ("say(b'1 equal nan\\n')", "worker_died"),
    "infinity": ("say(b'1 equal 1e999\\n')", "worker_died"),
}


@pytest.fixture
def module(tmp_path, monkeypatch):
    (tmp_path / "talks.py").write_text(MODULE)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return Scorer("talks", "nothing")


@pytest.mark.timeout(30)
@pytest.mark.parametrize("words", WORDS)
def test_words_that_are_no_answer(module, words):
    code, status = WORDS[words]
    with Grader(workers=1, deadline=DEADLINE, scorer=module).start() as grader:
        began = time.monotonic()
        assert grader.grade("gold", code) == Grade(False, status, 0.0)
        assert time.monotonic() - began < DEADLINE + 3
        assert grader.grade("gold", "pass") == Grade(True, "equal", 1.0)  # and the next answer is graded as ever


def test_words_that_are_an_answer(module):
    """The control: what has the form of an answer counts. Escaped code can do so much (confinement.py)."""
    with Grader(workers=1, deadline=20, scorer=module) as grader:
        assert grader.grade("gold", "say(b'1 different 0.25\\n')") == Grade(False, "different", 0.25)


@pytest.mark.timeout(30)
def test_a_process_that_reads_no_more(module):
    with Grader(workers=1, deadline=DEADLINE, scorer=module).start() as grader:
        assert grader.grade("gold", "say(b'1 equal 1\\n'); stay()").equal
        began = time.monotonic()
        assert grader.grade("g" * 1_000_000, "pass") == Grade(False, "timeout", 0.0)  # no pipe holds it
        assert time.monotonic() - began < DEADLINE + 3
        assert grader.grade("g" * 1_000_000, "0") == Grade(True, "equal", 1.0)
