r"""The layouts in which math problems are published: a row in, the problem's text and its answer out.

| set | problem | answer |
|---|---|---|
| Open-Reasoner-Zero, train | pair of messages, `value` of the first | `ground_truth.value` of the second |
| Open-Reasoner-Zero, eval files | `prompt`: list of one message, its `value` | `final_answer` |
| MATH500, AIME 2024, AMC, Minerva | `problem` or `question` | `answer`: text, number ("142.0" is 142) or list |
| OlympiadBench | `question`, after `context` where there is one | `final_answer`: list |
| GSM8K | `question` | `answer`: a solution that ends in "#### N" |
| MATH (Hendrycks), Minerva's own | `problem` | the last \boxed{} of `solution` |
| DAPO, verl | `prompt`: messages, of which the user's counts | `reward_model.ground_truth` |
| conversations | `messages`: the user's | a column above, or what the assistant's marks as its answer |
"""

from typing import Any

from deltal_openrlhf.grading.reading.extract import extract_answer

PROBLEM_COLUMNS = ("problem", "question", "prompt", "messages")
ANSWER_COLUMNS = ("final_answer", "answer")

DAPO_BEFORE = (
    "Solve the following math problem step by step. The last line of your response should be of the form Answer: $Answer (without quotes) "
    "where $Answer is the answer to the problem.\n\n"
)
DAPO_AFTER = '\n\nRemember to put your answer on its own line after "Answer:".'
"""What DAPO's prompts say around each problem. Our templates ask for the answer in words of their own."""


def problem_and_answer(row: Any) -> tuple[str, Any]:
    """The problem's text and its answer as it stands in the row: a text, number or list. Raises ValueError for an unknown layout."""
    pair = _message_pair(row)
    if pair:
        return text_of(pair[0].get("value"), "the problem"), pair[1]["ground_truth"]["value"]
    if not isinstance(row, dict):
        raise ValueError(f"a {type(row).__name__}, wanted are columns or a pair of messages")
    column = _column(row, PROBLEM_COLUMNS)
    problem = row[column]
    if isinstance(problem, list):
        problem = _message_of(problem, "user", f"the {column}")
    text = text_of(problem, "the problem").removeprefix(DAPO_BEFORE).removesuffix(DAPO_AFTER)
    if row.get("context") is not None:
        text = f"{text_of(row['context'], 'the context')}\n{text}"
    return text, _answer(row)


def solution_of(row: Any) -> str | None:
    """The worked solution of a row: its column solution, GSM8K's answer, or the assistant's message. None for a row without one."""
    if not isinstance(row, dict):
        return None
    texts = [row.get("solution")]
    if isinstance(row.get("answer"), str) and "\n####" in row["answer"]:
        texts.append(row["answer"])
    for message in row["messages"] if isinstance(row.get("messages"), list) else ():
        if isinstance(message, dict) and "assistant" in (message.get("role"), message.get("from")):
            texts.append(message.get("value", message.get("content")))
    return next((text.strip() for text in texts if isinstance(text, str) and text.strip()), None)


def _answer(row: dict) -> Any:
    for name in ANSWER_COLUMNS:
        if name in row:
            return row[name]
    reward = row.get("reward_model")
    if isinstance(reward, dict) and "ground_truth" in reward:
        return reward["ground_truth"]
    if "solution" in row:
        return _marked(row["solution"], "the solution")
    if isinstance(row.get("messages"), list):
        return _marked(_message_of(row["messages"], "assistant", "the messages"), "the assistant's message")
    wanted = f"{' or '.join(ANSWER_COLUMNS)}, reward_model with a ground_truth, or solution"
    raise ValueError(f"no column {wanted}; it has {', '.join(map(str, row))}")


def _marked(solution: Any, what: str) -> str:
    answer = extract_answer(text_of(solution, what))
    if answer is None:
        raise ValueError(rf"{what} marks no answer, by \boxed{{}} or ####: {short(solution)}")
    return answer


def _message_pair(row: Any) -> tuple[dict, dict] | None:
    """[{"value": problem}, {"ground_truth": {"value": answer}}]; the hub's reader makes columns "0" and "1" of it."""
    if isinstance(row, dict) and row.keys() >= {"0", "1"}:
        row = [row["0"], row["1"]]
    if not (isinstance(row, list) and len(row) == 2 and all(isinstance(message, dict) for message in row)):
        return None
    truth = row[1].get("ground_truth")
    if not (isinstance(truth, dict) and "value" in truth):
        raise ValueError("the second message has no ground_truth with a value")
    return row[0], row[1]


def _message_of(messages: list, role: str, what: str) -> Any:
    """The text of the one message of this role. A single message is the user's, whatever its role says."""
    if not all(isinstance(message, dict) for message in messages):
        raise ValueError(f"{what} must be a text or a list of messages, got {short(messages)}")
    if len(messages) > 1 or role != "user":
        messages = [message for message in messages if role in (message.get("role"), message.get("from"))]
    if len(messages) != 1:
        raise ValueError(f"{what} must hold one message of the {role}, got {len(messages)}")
    return messages[0].get("value", messages[0].get("content"))


def _column(row: dict, names: tuple[str, ...]) -> str:
    for name in names:
        if name in row:
            return name
    raise ValueError(f"no column {' or '.join(names)}; it has {', '.join(map(str, row)) or 'none'}")


def text_of(value: Any, what: str) -> str:
    """The value without white space around it. Raises ValueError if it is not text, or text that a file cannot hold."""
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"{what} must be a non-empty text, got {short(value)}")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as error:
        raise ValueError(f"{what} holds half a surrogate pair, which no UTF-8 file can") from error
    return value.strip()


def short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
