"""What the scorers of reasoning-gym read: expressions and arithmetic, no other text, and labels that can be scored."""

import typing

import pytest
import sympy

from deltal_openrlhf.grading.grader import Grader
from deltal_openrlhf.rewards import gym_library, gym_scorer
from deltal_openrlhf.rewards.gym_expressions import expression
from deltal_openrlhf.rewards.gym_labels import label_of
from deltal_openrlhf.rewards.scoring import submit_answer

SUM = label_of("chain_sum", {}, "44", {"expression": "12 + 32"})
INTEGRAL = label_of("simple_integration", {}, "x**2 + C", {"variable": "x", "integrand": "2*x"})
COUNTDOWN = label_of("countdown", {}, "(1 + 2)*3", {"numbers": [1, 2, 3], "target": 9})
PUZZLE24 = label_of("puzzle24", {}, "(10 - 9)*8*3", {"numbers": [10, 9, 8, 3]})
X = sympy.Symbol("x")


@pytest.fixture(scope="module", autouse=True)
def library():
    gym_library.load()


@pytest.mark.parametrize(
    "text",
    [
        "1if 0else x**2", "x**2 if 1else 0", "1 if x else 2", "0or x**2", "1and x**2", "1.if x", "1e5if 1else 2", "1e-5if 1else 2",
        "1j*x", "0x1", "x**2 + 0b1", "x**2 + N(0)", "S(x**2)", "N(x**2)", "E(x)", "Q.even", "x1", "x_y", "__", "lambda", "3sin(x)",
        "1_000*x", "evaluate=1",
    ],
)  # fmt: skip
def test_no_other_text_is_an_expression(text):
    with pytest.raises((ValueError, TypeError, SyntaxError)):
        expression(text)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e0*x", X), ("1.5E+1 + x", X + 15), (".5*x", X / 2), ("2.*x", 2 * X), ("12*x**2 - 3", 12 * X**2 - 3), ("exp(x)", sympy.exp(X)),
        ("sin(2*x)/2", sympy.sin(2 * X) / 2), ("pi*x", sympy.pi * X), ("x+x", 2 * X),
        *((f"{letter}*x", sympy.Symbol(letter) * X) for letter in "CEINOQS"),
    ],
)  # fmt: skip
def test_expressions(text, value):
    assert sympy.simplify(expression(text) - value) == 0


def test_a_single_letter_is_a_variable_and_given_names_stand():
    assert expression("I**2") == sympy.Symbol("I") ** 2 != -1
    assert expression("E", local_dict={"E": X}) == X
    mark_of = gym_scorer.marker(INTEGRAL)
    assert [mark_of(answer) for answer in ("x**2 + 7", "x**2 + N(0)", "S(x**2)", "1if 0else x**2")] == [1, 0, 0, 0]


NONSENSE = "(1+2+3)*(pi-pi)" + "+pi/pi" * 9
"""9, whatever the numbers are."""


@pytest.mark.parametrize(
    ("answer", "full"),
    [("(1 + 2)*3", True), ("3*(2+1)\n", True), ("3*(2 + 2)", False), (NONSENSE, False), ("(2 + 1)*3 + x - x", False), ("9", False),
     ("3**2*1", False), ("(1 + 2)*3//1", False), ("3 * * 2 * 1", False), ("9e0 + 1*2*3*0", False)],
)  # fmt: skip
def test_countdown_takes_arithmetic(answer, full):
    assert (gym_scorer.grade([COUNTDOWN], answer) == "equal 1.0") is full
    assert sympy.parse_expr(NONSENSE) == 9  # what the library alone computes, and takes for right


def test_the_scorer_of_puzzle24_does_not_look_at_the_numbers():
    """Why gym_problems.py refuses that task."""
    assert gym_scorer.grade([PUZZLE24], "6*4*1*1") == "equal 1.0"
    assert gym_scorer.grade([PUZZLE24], "6*4*1*2") == "different 0.01"


UNFIT = {
    SUM.replace("chain_sum", "chain_sums"): "no task of reasoning-gym",
    SUM.replace('"config": {}', '"config": {"max_term": 3}'): "no field 'max_term'",
    SUM.replace('"config": {}', '"config": {"max_terms": 1}'): "max_terms must be >= min_terms",
    SUM.replace('"config": {}', '"config": {"max_terms": "3"}'): "allowed is a whole number",
}


@pytest.mark.parametrize("label", UNFIT)
def test_a_label_that_cannot_be_scored_is_no_reward(label):
    with pytest.raises(ValueError, match=UNFIT[label]):
        gym_scorer.grade([label], "44")
    with Grader(workers=1) as grader:
        with pytest.raises(ValueError, match=UNFIT[label]):
            submit_answer(grader, (label,), "44")
        assert not grader._others  # before any process
    assert gym_scorer.grade([SUM], "44") == "equal 1.0"


@pytest.mark.parametrize("gold", [[SUM, "1"], ["1", SUM], [SUM, SUM]])
def test_a_label_among_other_golds_is_refused(gold):
    with Grader(workers=1) as grader, pytest.raises(ValueError, match="holds a reasoning-gym label; it has to stand"):
        submit_answer(grader, gold, "44")


def test_what_a_scorer_raises_is_the_answers_and_memory_is_not(monkeypatch):
    def raises(error):
        def score_answer(*_):
            raise error

        monkeypatch.setattr(gym_scorer, "_data_set", lambda *_: type("Scorer", (), {"score_answer": score_answer})())
        return gym_scorer.grade([SUM], "44")

    assert raises(KeyError("x")) == raises(RecursionError()) == "unparsable 0"
    with pytest.raises(MemoryError):
        raises(MemoryError())


@pytest.mark.parametrize(
    ("text", "hint", "value"),
    [
        ("3", int | None, 3), ("null", int | None, None), ("None", typing.Optional[int], None), ("123", typing.Optional[str], "123"),  # noqa: UP045
        ("123", str | None, "123"), ("null", str | None, None), ("null", str, "null"), ("0.5", float, 0.5), ("2", float | None, 2.0),
        ("1,2", list[int] | None, [1, 2]), ("null", list[int] | None, None), ("a,b", list[str], ["a", "b"]),
    ],
)  # fmt: skip
def test_values_of_optional_fields(text, hint, value):
    assert gym_library.parsed(text, hint) == value


@pytest.mark.parametrize(
    ("text", "hint", "says"),
    [
        ("NaN", float, "finite number"), ("Infinity", float, "finite number"), ("-Infinity", float | None, "finite number"),
        ("1,NaN", list[float], "finite number"), ("1e999", float, "finite number"), ("x", int | None, "a whole number"),
        ("null", int, "a whole number"),
    ],
)  # fmt: skip
def test_values_that_do_not_fit(text, hint, says):
    with pytest.raises(ValueError, match=says):
        gym_library.parsed(text, hint)
