"""The prompts of a task: plain text for a base model, messages for a chat model."""

from collections.abc import Callable

Messages = list[dict[str, str]]

_OPENING = (
    "A conversation between User and Assistant. The user asks a question, and the Assistant solves it. The Assistant first "
    "thinks about the reasoning process and then gives the user the answer."
)


def base_conversation(task: str) -> str:
    """A conversation in plain text that opens the assistant's turn with <think>."""
    return f"{_OPENING}\nUser: {task}\nAssistant: Let me solve this step by step.\n<think>"


def base_math(problem: str) -> str:
    r"""The prompt for a base model, which asks for the answer in \boxed{}."""
    return base_conversation(
        f"{problem}\nShow your work in <think> </think> tags and then give the final answer in \\boxed{{}}."
    )


def chat_math(problem: str) -> Messages:
    """The message for a chat model, with the host's --data.apply_chat_template. It is one message, because not every chat template has a
    system role.
    """
    task = f"{problem}\nPlease reason step by step, and put your final answer within \\boxed{{}}."
    return [{"role": "user", "content": task}]


MATH: dict[str, Callable[[str], str | Messages]] = {"base": base_math, "chat": chat_math}
