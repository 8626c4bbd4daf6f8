"""The time left is that of this run's rate; a file gets few lines without escape codes, a terminal one line that rich redraws."""

import io

import pytest

from deltal_openrlhf.runs.progress import Progress


@pytest.fixture
def clock(monkeypatch):
    """clock[0]: the seconds that time.monotonic gives."""
    clock = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: clock[0])
    return clock


def test_the_rate_is_that_of_what_was_done_in_this_run():
    progress = Progress("deltal eval", "responses", 1000, done=400, stream=io.StringIO())
    assert progress.text(400, 0.0) == "400/1000 responses, 0:00:00"
    assert progress.text(405, 10.0) == "405/1000 responses, 0:00:10"  # too early to say
    assert progress.text(500, 60.0) == "500/1000 responses, 0:01:00, about 0:05:00 left"
    assert progress.text(1000, 360.0) == "1000/1000 responses, 0:06:00"


def test_without_a_total_only_what_is_done_is_said():
    assert Progress("deltal grade", "lines", stream=io.StringIO()).text(306, 12.0) == "306 lines, 0:00:12"


def test_costs_weigh_the_items():
    progress = Progress("", "", 5, costs=[100, 100, 10, 10, 80], done=1, stream=io.StringIO())
    assert progress.seconds_left(1, 0.0) is None
    assert progress.seconds_left(2, 10.0) == pytest.approx(10.0)
    assert progress.seconds_left(4, 12.0) == pytest.approx(8.0)
    assert progress.seconds_left(5, 20.0) is None


def test_without_an_estimate_the_total_may_come_later():
    progress = Progress("statistics", "steps", estimate=False, stream=(console := io.StringIO()))
    progress.update(1, 2)
    progress.update(2, 2)
    assert console.getvalue() == "statistics: 2/2 steps, 0:00:00\n" and progress.seconds_left(1, 9.0) is None


def test_a_file_gets_few_lines(clock):
    console = io.StringIO()
    with Progress("deltal eval", "responses", 100, stream=console) as progress:
        for done in range(101):
            clock[0] += 0.3
            progress.update(done)
        progress.update(100)
    lines = console.getvalue().splitlines()
    assert [line.split()[2] for line in lines] == ["16/100", "33/100", "50/100", "67/100", "84/100", "100/100"]
    # 26.8 s were left at 5.1 s, so the clock says 21.7 s at 10.2 s. The estimate says 20.7 s, and is followed by 1 - e^(-5.1 / 30).
    assert lines[1] == "deltal eval: 33/100 responses, 0:00:10, about 0:00:22 left"
    assert "\x1b" not in console.getvalue()


@pytest.mark.parametrize("terminal", [False, True])
def test_of_what_is_short_nothing_is_said(terminal, clock, monkeypatch):
    monkeypatch.setenv("TERM", "xterm")

    def said(seconds):
        console = io.StringIO()
        console.isatty = lambda: terminal
        with Progress("checking", "rows", 4, after=5.0, stream=console) as progress:
            for done in range(1, 5):
                clock[0] += seconds / 4
                progress.update(done)
        return console.getvalue()

    assert said(4.0) == ""
    assert "checking: 4/4 rows, 0:00:08" in said(8.0)


def test_a_terminal_has_one_line_that_is_redrawn(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    console = io.StringIO()
    console.isatty = lambda: True
    with pytest.raises(KeyboardInterrupt), Progress("deltal eval", "responses", 3, stream=console) as progress:
        progress.update(1)
        progress.update(3)
        raise KeyboardInterrupt
    text = console.getvalue()
    assert "deltal eval: 3/3 responses, 0:00:00" in text and text.count("\n") == 1
    assert text.endswith("\x1b[?25h")  # the cursor is back


@pytest.mark.parametrize(("columns", "bar"), [(60, False), (80, True)])
def test_a_narrow_terminal_shows_the_time_left_and_not_the_bar(monkeypatch, columns, bar, clock):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", str(columns))
    console = io.StringIO()
    console.isatty = lambda: True
    with Progress("deltal eval", "responses", 100, stream=console) as progress:
        clock[0] += 10
        progress.update(33)
    assert "deltal eval: 33/100 responses, 0:00:10, about 0:00:20 left" in console.getvalue()
    assert ("━" in console.getvalue()) is bar
