"""The time left of `deltal eval`, on the trace of a real one.

It drew 72 responses of SmolLM2-135M-Instruct, of up to 300 tokens and all at once, on 2 cores that other programs used too.
"""

import io
import json
import random
from itertools import pairwise
from pathlib import Path

import pytest

from deltal_openrlhf.evaluation.sampling import expected_steps
from deltal_openrlhf.runs.progress import Progress

TRACE = json.loads((Path(__file__).parents[1] / "support" / "eval_trace.json").read_text(encoding="utf-8"))
"""responses: [tokens, the engine's step at which it ended]. steps: [seconds, step], about one a second."""
END = TRACE["steps"][-1][0]


def said(monkeypatch, *, with_work: bool) -> list[tuple[float, float]]:
    """(seconds, time left) of each line."""
    clock = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: clock[0])
    stream = io.StringIO()
    with Progress("eval", "responses", len(TRACE["responses"]), stream=stream) as progress:
        for clock[0], step in TRACE["steps"]:
            finished = [tokens for tokens, at in TRACE["responses"] if at <= step]
            begun = [min(step, tokens) for tokens, at in TRACE["responses"] if at > step]
            left = expected_steps(begun, len(finished), sum(finished), TRACE["max_new_tokens"])
            progress.update(len(finished), work=(step, left) if with_work else None)
    lines = [line.partition("responses, ")[2].split(", about ") for line in stream.getvalue().splitlines()]
    return [(seconds(line[0]), seconds(line[1].removesuffix(" left"))) for line in lines if len(line) == 2]


def seconds(text: str) -> int:
    hours, minutes, rest = map(int, text.split(":"))
    return 3600 * hours + 60 * minutes + rest


def rises(lines: list[tuple[float, float]]) -> list[float]:
    return [later - before for (_, before), (_, later) in pairwise(lines) if later > before]


def test_by_ended_responses_alone_the_time_left_rises_and_is_minutes_where_seconds_are_left(monkeypatch):
    """The control: the estimate that the engine's steps replace, smoothed as well."""
    lines = said(monkeypatch, with_work=False)
    assert sum(rises(lines)) > 30
    assert max(left / (END - at) for at, left in lines if END - at > 10) > 4


def test_by_the_engines_steps_it_falls_and_stays_near_what_was_left(monkeypatch):
    lines = said(monkeypatch, with_work=True)
    assert len(lines) > 40 and rises(lines) == []
    # The cores were busier in the first half than in the second, which nobody could know.
    assert all(left <= 3 * (END - at) for at, left in lines)
    assert all(0.5 <= left / (END - at) <= 1.5 for at, left in lines if 20 < END - at < 100)


@pytest.mark.parametrize(("responses", "at_once"), [(16, 16), (200, 16), (600, 64)])
def test_of_lengths_without_memory_the_expected_steps_are_those_of_an_engine(responses, at_once):
    """Against an engine that draws lengths and gives each response in progress one token a step: the mean of 50 runs."""
    rng = random.Random(0)
    mean, runs = 50, []
    for _ in range(50):
        ends = [0] * at_once  # the step at which each place is free again
        for length in (max(1, round(rng.expovariate(1 / mean))) for _ in range(responses)):
            place = min(range(at_once), key=ends.__getitem__)
            ends[place] += length
        runs.append(max(ends))
    # As if `at_once` had just begun, and 1,000 had ended before with the same mean.
    begun = [1] * at_once + [0] * (responses - at_once)
    expected = expected_steps(begun, 1000, 1000 * mean - at_once, max_new_tokens=10**6)
    assert expected == pytest.approx(sum(runs) / len(runs), rel=0.3)


def test_no_response_takes_more_than_its_limit():
    assert expected_steps([290, 100], 0, 0, 300) == 200
    assert expected_steps([299] * 50, 1, 300, 300) == 1
    assert expected_steps([], 3, 30, 300) == 0
