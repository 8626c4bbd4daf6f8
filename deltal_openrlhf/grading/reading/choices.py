r"""Multiple choice: a letter or several, with or without the text of that choice."""

import re

from deltal_openrlhf.grading.leaves import Same
from deltal_openrlhf.grading.reading.denials import DENIAL

_CHOICE = re.compile(r"\(([A-J])\)\s*(.*)|\(?([A-H])\)?|([A-J])[).:]\s+(.*)|\[([A-J])\]", re.DOTALL)
_CHOSEN = re.compile(
    r"\(?([A-Za-z])\)?[.:]?|\[(?P<square>[A-J])\]|\(([A-Za-z])\)(.*)|([A-Za-z])(?:[).:]\s|\s-\s(?=(?:[Aa]n?\s)?[A-Za-z]{3}))(.*)",
    re.DOTALL,
)
_LABELLED = re.compile(r"(?:\([A-Ja-j]\)|[A-J][).:])\s+((?![-+*/^=<>,|&]\s|[+*/^=<>,|&]).+)", re.DOTALL)
_FIRST_TEXT = re.compile(r"^\\text\s*\{\s*([^{}]*?)\s*\}")
_OPTION = re.compile(r"^(?:option|choice|answer|statement|graph|figure|plan|player|team)\s*:?\s*", re.IGNORECASE)
_ANOTHER = re.compile(r"^(?:,|and\b|or\b|/|&)|(?<![a-zA-Z])\([A-Ja-j]\)|^[A-J](?:[.:),;&]|\s*(?:and|or)\b|$)")
_SAID_OF_LETTER = re.compile(
    r"[,;-]?\s?(?:which\s|it\s)?(?:is|was|be|isn't|wasn't|cannot|can't|can|does|doesn't|do|fails?|failed|seems|would|could|may|might|has|must"
    r"|should|because|since|if|unless|except)\b"
)
_REFUSED = re.compile(
    r"(?:wrong|incorrect|not\s(?:correct|right|true|the\sanswer)|(?:ruled|crossed)\sout|eliminated|excluded|rejected|impossible|[✗✘❌])",
    re.IGNORECASE,
)
_OTHER_LETTER = re.compile(
    r"\b(?:is|be|choose|pick|select|answer:?|option|choice|so|but|not|no[,;.]?|or|instead|hence|thus|therefore|then|because|since)\s\(?([A-J])\)?(?![\w'])|\(([A-J])\)",
    re.IGNORECASE,
)
_WORDED = re.compile(r"[()]|\band\b")
_BETWEEN_LETTERS = re.compile(r"[\s,;&]|\band\b")
_LETTER = re.compile(r"[A-J]|\([A-J]\)")
_EITHER = re.compile(
    r"(?:either )?\(?[A-J]\)?(?:,? ?\(?[A-J]\)?){0,8},? ?(?:\\text\{ ?)?(?:or|\\vee)(?![a-z]) ?\}? ?\(?[A-J]\)?",
    re.IGNORECASE,
)
_LONGEST_LETTERS = 80
"""Ten letters in brackets, with all that may stand between them."""


def choice(gold: str) -> tuple[str, str | None] | None:
    """(letter, text of the choice) where the gold answer is one; None for any other answer."""
    match = _CHOICE.fullmatch(_flat(gold))
    if match is None:
        return None
    letter, said = match[1] or match[3] or match[4] or match[6], match[2] or match[5]
    return None if said and (_ANOTHER.search(said) or _is_taken_back(letter, said)) else (letter, said or None)


def same_choice(letter: str, text: str | None, pred: str, same: Same) -> bool | None:
    """The gold answer is a letter, with or without the text of that choice; so may the other one be: "B", "(b)", "B.", "(B) 7"."""
    pred = _flat(_OPTION.sub("", _flat(pred)))
    chosen = _CHOSEN.fullmatch(pred)
    if chosen is None:
        return same(text, pred) if text else False
    if (chosen[1] or chosen["square"] or chosen[3] or chosen[5]).upper() != letter:
        return False
    said = (chosen[4] or chosen[6] or "").strip()
    if text and said:
        return False if _ANOTHER.search(said) else same(text, said)
    return not (_ANOTHER.search(said) or _is_taken_back(letter, said))


def _is_taken_back(letter: str, said: str) -> bool:
    """Whether what stands behind a letter denies it or names another one: (A) is wrong, A. It is D."""
    said = said.strip("-: ([")
    if _SAID_OF_LETTER.match(said) and DENIAL.search(said) or _REFUSED.match(said):
        return True
    return any(
        (match[1] or match[2]).upper() != letter for match in _OTHER_LETTER.finditer(said) if not match[0][-1].islower()
    )


def text_of_choice(pred: str) -> str | None:
    """7 of "(B) 7", "B. 7" and \\text{(B)} 7; None where no letter stands before it."""
    match = _LABELLED.fullmatch(_flat(pred))
    return match[1].strip() if match and not _ANOTHER.search(match[1]) else None


def is_either(text: str) -> bool:
    """Whether it leaves open which of several choices: A or B."""
    return bool(_EITHER.fullmatch(text))


def same_letters(gold: str, pred: str) -> bool:
    """Whether both are the same several choices: "ABD", "A, B, D", "(A), (B) and (D)". AB beside A, B may be a segment, and so may ABC
    beside C, B, A."""
    letters = _letters(gold)
    if letters is None or letters != _letters(pred):
        return False
    joined = _flat(gold).isalpha(), _flat(pred).isalpha()
    if joined[0] == joined[1]:
        return True
    apart = _flat(pred if joined[0] else gold)
    listed = re.sub("[^A-J]", "", apart)
    return bool(_WORDED.search(apart)) or len(letters) > 2 and listed == "".join(letters)


def _letters(text: str) -> list[str] | None:
    text = _flat(text)
    if len(text) > _LONGEST_LETTERS or len(text) < 2:
        return None
    joined = text.isalpha()
    parts = list(text) if joined else list(filter(None, _BETWEEN_LETTERS.split(text)))
    if len(parts) < 2 or len(set(parts)) < len(parts) or not all(map(_LETTER.fullmatch, parts)):
        return None
    letters = [part.strip("()") for part in parts]
    return sorted(letters) if not joined or letters == sorted(letters) else None  # BA may be a segment


def _flat(text: str) -> str:
    r"""Without \text{} around the beginning: \text{(B) } 7."""
    return _FIRST_TEXT.sub(r"\1 ", text).strip()
