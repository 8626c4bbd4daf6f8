"""The grader's processes: deadlines, memory, replacement, and what is left behind."""

import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress

import psutil
import pytest

from deltal_openrlhf.grading.grader import STATUSES, Grade, Grader
from deltal_openrlhf.grading.lanes import LEAST, REMEMBERED, Deadlines, Lanes, kind_of, slow_kind

pytestmark = pytest.mark.timeout(60)
SYMBOLIC = (r"\sum_{k=1}^{3} kx", "6x")  # only a worker decides it
BOMB = "7^{7^{9^9}}"


def family() -> list[psutil.Process]:
    """The workers of this process, and their children."""
    found = []
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            if "deltal_openrlhf.grading.worker" in process.cmdline():
                found.append(process)
    return found


def test_cheap_answers_start_no_process_and_the_others_do():
    before = len(family())
    with Grader(workers=2) as grader:
        assert grader.grade("1/2", "0.5") == Grade(True, "equal")
        assert grader.grade("1/2", "0.6") == Grade(False, "different")
        assert grader.grade("1", None) == grader.grade("1", "  ") == Grade(False, "unparsable")
        assert grader.grade("1", r"\frac{1}{") == Grade(False, "unparsable")
        assert grader.grade("1", "1" * 2001) == Grade(False, "too_long")
        assert len(family()) == before
        assert grader.grade(*SYMBOLIC) == Grade(True, "equal")
        assert grader.grade("x^2", r"\overbrace@@") == Grade(False, "unparsable")
        assert len(family()) > before
        assert grader.counts == {
            **dict.fromkeys(STATUSES, 0),
            "equal": 2,
            "different": 1,
            "unparsable": 4,
            "too_long": 1,
        }
    assert len(family()) == before


def symbolic(number: int) -> tuple[str, str]:
    """One of many pairs that only a worker decides, all of them equal."""
    return rf"\overline{{z}}+{number}", rf"{number}+\overline{{z}}"


def test_a_bomb_takes_its_deadline_and_nothing_else():
    with Grader(workers=1, deadline=1.0).start() as grader:
        (worker,) = [process.pid for process in family() if process.ppid() == os.getpid()]
        for number, (bomb, deadline) in enumerate([(BOMB, 1.0), ("((10^6)!)!", 0.5)], 1):  # both of the slow lane
            start = time.perf_counter()
            assert grader.grade("2", bomb) == Grade(False, "timeout")
            assert 0.9 * deadline < time.perf_counter() - start < deadline + 1
            assert grader.grade(*symbolic(number)).equal  # the next one is graded as ever
        # A new child did it; the process that imported the parsers is the same.
        assert [process.pid for process in family() if process.ppid() == os.getpid()] == [worker]


def test_what_a_worker_found_is_remembered_and_asked_for_once():
    with Grader(workers=2, deadline=2.0).start() as grader:
        grades = grader.grade_many([("2", BOMB)] * 50 + [SYMBOLIC] * 50)
        assert [grade.status for grade in grades] == ["timeout"] * 50 + ["equal"] * 50
        for process in family():  # no worker is there to be asked again
            process.send_signal(signal.SIGSTOP)
        try:
            start = time.perf_counter()
            assert (
                grader.grade_many([("2", BOMB), SYMBOLIC] * 50) == [Grade(False, "timeout"), Grade(True, "equal")] * 50
            )
            assert time.perf_counter() - start < 1
        finally:
            for process in family():
                process.send_signal(signal.SIGCONT)
        assert (grader.counts["timeout"], grader.counts["equal"]) == (100, 100)


def test_a_killed_worker_is_no_grade_to_remember():
    with Grader(workers=1, deadline=5).start() as grader:
        future = grader.submit("2", "((10^6)!)!")
        time.sleep(0.3)
        for process in family():
            process.kill()
        assert future.result(timeout=5).status == "worker_died"
        assert not grader._remembered and not grader._waiting


def test_good_answers_do_not_wait_for_slow_ones():
    # More than five seconds for the one worker that takes them.
    bombs = [("2", f"{number}^{{7^{{9^9}}}}") for number in range(3, 30)]
    with Grader(workers=2, deadline=2.0).start() as grader:
        slow = [grader.submit(*bomb) for bomb in bombs]
        assert grader.grade(*symbolic(1)).equal
        assert not slow[-1].done()  # it came in between
        assert {future.result().status for future in slow} == {"timeout"}


def test_the_lanes():
    lanes = Lanes()
    for job, slow in (("a", True), ("b", False), ("c", True), ("d", False)):
        lanes.put(job, slow)
    assert [lanes.take(slow_too=False), lanes.take(slow_too=True), lanes.take(slow_too=False)] == ["b", "a", "d"]
    lanes.close()
    assert [lanes.take(slow_too=False), lanes.take(slow_too=True), lanes.take(slow_too=True)] == [None, "c", None]


def test_a_kind_that_times_out_gets_less_time_and_others_do_not():
    deadlines = Deadlines(3.0)
    for expected in (3.0, 1.5, 0.75):
        assert deadlines.of("0+a", slow=False) == expected
        deadlines.saw("0+a", slow=False, timed_out=True)
    for _ in range(20):
        deadlines.saw("0+a", slow=False, timed_out=True)
    assert deadlines.of("0+a", slow=False) == 3.0 * LEAST and deadlines.times_out("0+a")
    assert deadlines.of("0-a", slow=False) == 3.0 and not deadlines.times_out("0-a")
    for _ in range(8):
        deadlines.saw("0+a", slow=False, timed_out=False)
    assert deadlines.of("0+a", slow=False) == 3.0 and not deadlines.times_out("0+a")


def test_slow_kinds_share_the_time_of_their_lane():
    deadlines = Deadlines(3.0)
    deadlines.saw("power", slow=True, timed_out=True)
    assert (deadlines.of("long", slow=True), deadlines.of("0+a", slow=False)) == (1.5, 3.0)
    deadlines.saw("long", slow=True, timed_out=False)
    assert (deadlines.of("long", slow=True), deadlines.of("power", slow=True)) == (3.0, 1.5)


def test_the_kinds_that_are_known_are_bounded():
    deadlines = Deadlines(1.0)
    for number in range(3 * REMEMBERED):
        deadlines.saw(f"kind {number}", slow=False, timed_out=True)
    assert not deadlines.times_out("kind 0") and deadlines.times_out(f"kind {3 * REMEMBERED - 1}")


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        (r"7^{7^{9^9}}", "power"), ("9**9**9", "power"), ("3^{100000}", "power"), ("1e99999", "power"), ("7" * 50, "digits"),
        ("((9!)!)!", "factorial"), (r"\binom{10^9}{5}", "factorial"), (r"\int_0^1 x dx", None), ("(" * 9 + "1" + ")" * 9, "deep"),
        ("x+" * 200 + "1", "long"), (r"\frac{x^{2}+1}{3}", None), ("2^{100}", None), ("3e8", None), (r"\frac{\sqrt{x^{2}+1}}{2}", None),
    ],
)  # fmt: skip
def test_what_may_be_slow(text, kind):
    assert slow_kind(text) == kind
    assert kind_of(text) == kind or kind is None


def test_answers_that_differ_in_digits_and_letters_are_of_one_kind():
    assert kind_of(r"12\sin(ax)+3") == kind_of(r"7\cos(bt)+45") != kind_of(r"12\sin(ax)-3")


def test_answers_behind_a_bomb_wait_for_it_only():
    with Grader(workers=2, deadline=1.0).start() as grader:
        pairs = [("2", BOMB)] + [symbolic(number) for number in range(1, 21)]
        start = time.perf_counter()
        grades = grader.grade_many(pairs)
        seconds = time.perf_counter() - start
    assert [grade.status for grade in grades] == ["timeout"] + ["equal"] * 20
    assert seconds < 4


def peak_memory_of_workers(grader: Grader, pred: str, enough: float) -> int:
    """MiB of the largest worker while it grades `pred`; looks no longer once it is `enough`."""
    peak = 0
    future = grader.submit(r"\overline{z}", pred)
    while not future.done() and peak < enough:
        for process in family():
            with suppress(psutil.NoSuchProcess):
                peak = max(peak, process.memory_info().rss // 2**20)
        time.sleep(0.01)
    return peak


@pytest.mark.timeout(150)  # 10 s where nothing else runs
def test_memory_of_a_worker_stays_under_its_limit():
    glutton = r"\sum_{k=1}^{2} 2^{2^{33}}"  # numbers of 1 GiB
    with Grader(workers=1, deadline=20, memory_mb=512).start() as grader:
        assert peak_memory_of_workers(grader, glutton, enough=float("inf")) < 512
        assert grader.grade(*SYMBOLIC).equal
    with Grader(workers=1, deadline=90, memory_mb=4096).start() as grader:
        assert peak_memory_of_workers(grader, glutton, enough=513) > 512  # what it takes where it may
        for process in family():
            process.kill()


def test_a_killed_worker_is_replaced():
    with Grader(workers=1, deadline=5).start() as grader:
        worker = family()[0]
        future = grader.submit("2", BOMB)
        time.sleep(0.3)
        for process in [*worker.children(recursive=True), worker]:
            process.send_signal(signal.SIGKILL)
        assert future.result(timeout=5).status == "worker_died"
        assert grader.grade(*SYMBOLIC).equal


def test_an_idle_worker_that_was_killed_costs_no_answer():
    with Grader(workers=1, deadline=5).start() as grader:
        for process in family():
            process.kill()
        psutil.wait_procs(family(), timeout=5)
        assert grader.grade(*SYMBOLIC).equal
        assert grader.counts["worker_died"] == 0


def test_a_forked_process_has_workers_of_its_own():
    with Grader(workers=1, deadline=5) as grader:
        assert grader.grade(*SYMBOLIC).equal
        child = os.fork()
        if child == 0:
            code = 1
            try:
                signal.alarm(30)  # a hang ends here
                code = 0 if grader.grade(*SYMBOLIC).equal else 2
                grader.close()
            finally:
                os._exit(code)
        assert os.waitpid(child, 0)[1] == 0
        assert grader.grade(*SYMBOLIC).equal  # and the parent keeps its own


def test_children_that_die_between_two_answers_shift_nothing():
    """A line that says so for no request, or too late, must not become the grade of the next answer."""
    with Grader(workers=1, deadline=5).start() as grader:
        for _ in range(10):
            (worker,) = [process for process in family() if process.parent().pid == os.getpid()]
            for child in worker.children():
                with suppress(psutil.NoSuchProcess):  # the worker has just replaced it
                    child.kill()
            assert grader.grade(*SYMBOLIC).equal
            assert grader.grade(SYMBOLIC[0], r"\sum_{k=1}^{4} kx").status == "different"
        assert grader.counts["worker_died"] == grader.counts["timeout"] == 0


def test_many_threads():
    with Grader(workers=2).start() as grader:
        results: list[Grade] = []

        def ask(number: int):
            results.extend(grader.grade(*symbolic(number)) for _ in range(5))

        threads = [threading.Thread(target=ask, args=(number,)) for number in range(1, 9)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(results) == 40 and all(grade.equal for grade in results)


def test_a_cancelled_answer_is_not_graded():
    with Grader(workers=1, deadline=1.0).start() as grader:
        grader.submit("2", BOMB)
        waiting = grader.submit("2", BOMB)
        assert waiting.cancel()
        assert grader.grade(*SYMBOLIC).equal
        assert grader.counts["timeout"] == 1


def test_workers_end_with_the_process_that_owns_them():
    code = (
        "import os, sys, time, threading\n"
        "from deltal_openrlhf.grading.grader import Grader\n"
        "grader = Grader(workers=2, deadline=1.0).start()\n"
        f"grader.submit('2', {BOMB!r})\n"  # one is busy, one waits
        "time.sleep(0.2)\n"
        "print('started', flush=True)\n"
        "time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout.readline() == "started\n"
        workers = psutil.Process(owner.pid).children(recursive=True)
        assert len(workers) == 4  # two, and the child of each
        owner.kill()
        _, alive = psutil.wait_procs(workers, timeout=5)
    assert alive == []


def test_the_parsers_never_run_what_they_read(tmp_path):
    canary = tmp_path / "canary"
    answers = [
        f"__import__('os').system('touch {canary}')",
        rf"\text{{__import__('os').system('touch {canary}')}}",
        f"exec(open('{canary}','w').close())",
        f"Lambda(x, open('{canary}', 'w'))(1)",
        f"{{}}.__class__.__bases__[0].__subclasses__() + open('{canary}', 'w')",
    ]
    with Grader(workers=1, deadline=1) as grader:
        for answer in answers:
            assert not grader.grade(SYMBOLIC[0], answer).equal
    assert not canary.exists()


def test_a_worker_that_does_not_start_says_so(monkeypatch, tmp_path):
    (tmp_path / "math_verify.py").write_text("raise ImportError('gone')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with Grader(workers=2) as grader:
        assert grader.grade("1", "1").equal
        for _ in range(3):
            with pytest.raises(RuntimeError, match="a grading worker did not start .*needs math-verify"):
                grader.grade(*SYMBOLIC)
    with pytest.raises(RuntimeError, match="did not start"):
        Grader(workers=1).start()


@pytest.mark.parametrize(
    ("keyword", "value"),
    [("workers", 0), ("deadline", 0), ("deadline", float("nan")), ("memory_mb", 1), ("max_chars", 0)],
)
def test_bad_settings_are_named(keyword, value):
    with pytest.raises(ValueError, match=f"{keyword} is {value}, allowed is"):
        Grader(**{keyword: value})


def test_more_workers_than_the_machine_can_start():
    with pytest.raises(ValueError, match=r"workers is 100000, allowed are \d+ at most on \d+ cores"):
        Grader(workers=100_000)


@pytest.mark.parametrize("golds", ["", (), [" "], [None]])
def test_no_gold_no_grade(golds):
    with Grader() as grader, pytest.raises(ValueError, match="a gold answer is a non-empty text"):
        grader.grade(golds, "1")


def test_a_closed_grader_takes_nothing_more():
    grader = Grader(workers=1).start()
    grader.close()
    with pytest.raises(RuntimeError, match="closed"):
        grader.grade(*SYMBOLIC)
