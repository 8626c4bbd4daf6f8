"""Words that take back or leave open what they are said of: not, wrong, instead, maybe. Where one stands, nothing is read as plain."""

import re

NO_NAME = (
    r"not|no|never|neither|nor|none|nothing|cannot|without|except|excluding|but|besides|anything|everything|instead|rather|false|wrong|incorrect"
    r"|invalid|impossible|if|unless|either|or|maybe|perhaps|possibly|probably|might|may|could|think|guess|doubt|[a-z]{2,5}n't"
)
"""Alternatives of a pattern: words that stand in no name of a quantity. "Anything but x = 5" does not say that x is 5."""

DENIAL = re.compile(
    r"(?:\b(?:not?|never|neither|nor|none|cannot|without|fail(?:s|ed|ing|ure)?|unable|refus(?:es?|ed)|wrong(?:ly)?|incorrect(?:ly)?|false"
    r"|untrue|invalid|impossible|mistak\w{1,5}|errors?|guess\w{0,4}|attempts?|than|which\s(?:is|was)\stoo|instead|rather|but|however|although|though|except"
    r"|unless|if|or|either|maybe|perhaps|possibly|probably|might|may|could|almost|nearly|hardly|barely|actually|wait|oops|sorry|hmm+"
    r"|contradict\w{1,6}|reject\w{0,4}|discard\w{0,4}|exclud\w{1,4}|eliminat\w{1,4}|extraneous|unlikely|doubt\w{0,4}|correct(?:ed|ion)"
    r"|stop\w{0,4}|prevent\w{0,3}|avoid\w{0,3}|revis\w{1,4}|den(?:y|ies|ied))\b|n't\b|n’t\b|[✗✘❌])",
    re.IGNORECASE,
)
