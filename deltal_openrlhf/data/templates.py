"""The prompts of a task: plain text for a base model, messages for a chat model. Worked examples may stand before the question."""

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

Messages = list[dict[str, str]]

_OPENING = (
    "A conversation between User and Assistant. The user asks a question, and the Assistant solves it. The Assistant first "
    "thinks about the reasoning process and then gives the user the answer."
)
_FIRST_WORDS = "Let me solve this step by step."


def ends_in(work: str, answer: str) -> bool:
    """Whether nothing but marks (a full stop, the end of a formula) follows the last time that the answer stands in a text."""
    _, found, after = work.rpartition(answer)
    return bool(found) and not any(map(str.isalnum, after))


class Demo(NamedTuple):
    """A worked example. question: as the template takes it. work: the steps, "" for none. answer: in the form that the prompt asks for."""

    question: str
    work: str
    answer: str

    def thought(self) -> str:
        """The reply with its steps in <think> </think>."""
        return "\n".join(filter(None, ("<think>", self.work, "</think>", self.answer)))

    def plain(self) -> str:
        """The reply without tags around its steps. Steps that end in the answer are all of it."""
        return self.work if ends_in(self.work, self.answer) else "\n".join(filter(None, (self.work, self.answer)))


def base_conversation(task: str, demos: Iterable[Demo] = ()) -> str:
    """A conversation in plain text that opens the assistant's turn with <think>. The demos are earlier turns of it."""
    turns = [(demo.question, f"{_FIRST_WORDS}\n{demo.thought()}") for demo in demos]
    turns.append((task, f"{_FIRST_WORDS}\n<think>"))
    return "\n".join([_OPENING, *(f"User: {asked}\nAssistant: {said}" for asked, said in turns)])


def is_base_conversation(prompt: object) -> bool:
    """Whether a prompt is a base_conversation, in which the assistant has begun to answer."""
    return isinstance(prompt, str) and prompt.startswith(_OPENING)


def chat(task: str, replies: Iterable[tuple[str, str]] = (), system: str | None = None) -> Messages:
    """Messages that end in the user's task, after (task, reply) of each demo. They have a system message only if one is given, because
    not every chat template has that role.
    """
    messages = [] if system is None else [{"role": "system", "content": system}]
    for asked, said in replies:
        messages += [{"role": "user", "content": asked}, {"role": "assistant", "content": said}]
    return [*messages, {"role": "user", "content": task}]


Template = Callable[[str, Sequence[Demo]], str | Messages]
"""A question and its demos -> the prompt."""


def base_math(problem: str, demos: Sequence[Demo] = ()) -> str:
    r"""The prompt for a base model, which asks for the answer in \boxed{}."""
    ask = "{}\nShow your work in <think> </think> tags and then give the final answer in \\boxed{{}}."
    return _base(ask, problem, demos)


def chat_math(problem: str, demos: Sequence[Demo] = ()) -> Messages:
    """The messages for a chat model, with the host's --data.apply_chat_template."""
    return _chat("{}\nPlease reason step by step, and put your final answer within \\boxed{{}}.", problem, demos)


def base_tagged(question: str, demos: Sequence[Demo] = ()) -> str:
    """The prompt for a base model, which asks for the answer in <answer> </answer>."""
    ask = "{}\nShow your work in <think> </think> tags and then give the final answer in <answer> </answer> tags."
    return _base(ask, question, demos)


def chat_tagged(question: str, demos: Sequence[Demo] = ()) -> Messages:
    """The messages for a chat model, which ask for the answer in <answer> </answer>."""
    ask = "{}\nPlease reason step by step, and put your final answer within <answer> </answer> tags."
    return _chat(ask, question, demos)


def _base(ask: str, question: str, demos: Sequence[Demo]) -> str:
    return base_conversation(
        ask.format(question), [demo._replace(question=ask.format(demo.question)) for demo in demos]
    )


def _chat(ask: str, question: str, demos: Sequence[Demo]) -> Messages:
    return chat(ask.format(question), [(ask.format(demo.question), demo.plain()) for demo in demos])


MATH: dict[str, Template] = {"base": base_math, "chat": chat_math}
TAGGED: dict[str, Template] = {"base": base_tagged, "chat": chat_tagged}
