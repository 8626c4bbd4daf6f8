r"""Amounts of money: \$5, US\$ 5, 5 €, Rs. 5 as 5\text{ dollars} and so on, so that five dollars are not five cents or five euros."""

import re

_SIGN = r"(\\?\$|US ?\\?\$|USD|€|\\euro|EUR|£|\\pounds|GBP|¥|￥|₹|Rs\.?|INR|AUD|CAD|CHF|JPY|CNY|RMB)"
_NUMBER = r"(\d[\d.,]*(?: ?\\?(?:thousand|million|billion|trillion|bn))?)"
_BEFORE = re.compile(rf"([-+]? ?){_SIGN} ?([-+]?){_NUMBER}((?: ?/ ?| per )[a-z]{{3}}[^$]{{0,40}})?")
_BEHIND = re.compile(rf"([-+]? ?){_NUMBER} ?(\\\$|€|\\euro|£|\\pounds|¥|￥|₹|¢)")
_MARK = re.compile(r"[$€£¥￥₹¢]|Rs|INR|USD|EUR|GBP|AUD|CAD|CHF|JPY|CNY|RMB|\\euro|\\pounds")
_NAMES = {
    "$": "dollars", "US$": "dollars", "USD": "dollars", "€": "euros", r"\euro": "euros", "EUR": "euros", "£": "GBP", r"\pounds": "GBP",
    "GBP": "GBP", "¥": "¥", "￥": "¥", "₹": "rupees", "Rs": "rupees", "INR": "rupees", "¢": "cents", "AUD": "AUD", "CAD": "CAD",
    "CHF": "CHF",
    "JPY": "yen", "CNY": "yuan", "RMB": "yuan",
}  # fmt: skip


def money_in_words(text: str) -> str:
    r"""The amount with its currency behind it, where the whole text is one amount; any other text as it is."""
    if not _MARK.search(text):
        return text
    match = _BEFORE.fullmatch(text.rstrip(" ."))
    if match:
        return _amount(match[1].strip() or match[3], match[4], match[2]) + (match[5] or "")
    match = _BEHIND.fullmatch(text.rstrip(" ."))
    return _amount(match[1].strip(), match[2], match[3]) if match else text


def _amount(sign: str, number: str, currency: str) -> str:
    name = _NAMES[currency.replace(r"\$", "$").replace(" ", "").removesuffix(".")]
    return rf"{sign}{number}\text{{ {name}}}"
