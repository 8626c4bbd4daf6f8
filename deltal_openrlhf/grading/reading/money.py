r"""Amounts of money: \$5, US\$ 5, 5 €, Rs. 5 as 5\text{ dollars} and so on, so that five dollars are not five cents or five euros."""

import re

_NAMES = {
    "$": "dollars", "US$": "dollars", "USD": "dollars", r"\textdollar": "dollars", "HK$": "HKD", "HKD": "HKD", "NT$": "TWD", "TWD": "TWD",
    "CA$": "CAD", "CAD": "CAD", "AU$": "AUD", "AUD": "AUD", "NZ$": "NZD", "NZD": "NZD", "SG$": "SGD", "SGD": "SGD", "€": "euros",
    r"\euro": "euros", r"\texteuro": "euros", "EUR": "euros", "£": "GBP", r"\pounds": "GBP", r"\textsterling": "GBP", "GBP": "GBP",
    "¥": "¥", "￥": "¥", r"\yen": "¥", "₹": "rupees", "Rs": "rupees", "INR": "rupees", "¢": "cents", "CHF": "CHF", "JPY": "yen",
    "CNY": "yuan", "RMB": "yuan", "₩": "won", "₽": "rubles", "₱": "pesos", "฿": "baht", "₺": "lira", "₫": "dong", "₴": "hryvnias",
    "₪": "shekels",
}  # fmt: skip
_BY_NAME = r"\\(?:euro|pounds|yen|text(?:dollar|euro|sterling))"
_SIGN = (
    rf"((?:(?:US|HK|NT|CA|AU|NZ|SG) ?)?\\?\$|\\?[€£¥￥₹₩₽₱฿₺₫₴₪]|{_BY_NAME}|(?:USD|EUR|GBP|INR|AUD|CAD|CHF|JPY|CNY|RMB|HKD|TWD|NZD|SGD)"
    r"|Rs\.?)"
)
_NUMBER = r"(\d[\d.,]*(?: ?\\?(?:thousand|million|billion|trillion|bn))?)"
_BEFORE = re.compile(rf"([-+]? ?){_SIGN} ?([-+]?){_NUMBER}((?: ?/ ?| per )[a-z]{{3}}[^$]{{0,40}})?")
_BEHIND = re.compile(rf"([-+]? ?){_NUMBER} ?(\\\$|\\?[€£¥￥₹₩₽₱฿₺₫₴₪]|{_BY_NAME}|¢)")
_MARK = re.compile(rf"[$€£¥￥₹₩₽₱฿₺₫₴₪¢]|Rs|INR|USD|EUR|GBP|AUD|CAD|CHF|JPY|CNY|RMB|HKD|TWD|NZD|SGD|{_BY_NAME}")


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
    spelling = currency.replace(" ", "").removesuffix(".")
    name = _NAMES[spelling if spelling in _NAMES else spelling.replace("\\", "")]
    return rf"{sign}{number}\text{{ {name}}}"
