"""Signs beyond ASCII and what they are in LaTeX: fractions, digits and letters of other widths, Greek, operators, quotes."""

import re
import unicodedata

_SIGNS = {
    "−": "-", "–": "-", "—": "-", "‐": "-", "‑": "-", "×": r"\times ", "✕": r"\times ", "·": r"\cdot ", "⋅": r"\cdot ", "∙": r"\cdot ",
    "•": r"\cdot ", "∗": "*", "÷": "/", "∕": "/", "⁄": "/", "∶": ":", "∣": "|", "∥": r"\parallel ", "⊥": r"\perp ", "∠": r"\angle ",
    "∞": r"\infty ", "°": r"^\circ ", "º": r"^\circ ", "˚": r"^\circ ", "≤": r"\le ", "≦": r"\le ", "⩽": r"\le ", "≥": r"\ge ",
    "≧": r"\ge ", "⩾": r"\ge ", "≠": r"\ne ", "≈": r"\approx ", "≃": r"\approx ", "≅": r"\approx ", "≡": r"\equiv ", "∼": r"\sim ",
    "∪": r"\cup ", "∩": r"\cap ", "∖": r"\setminus ", "∈": r"\in ", "∉": r"\notin ", "⊂": r"\subset ", "⊆": r"\subseteq ",
    "∅": r"\emptyset ", "±": r"\pm ", "∓": r"\mp ", "√": r"\sqrt ", "∑": r"\sum ", "∏": r"\prod ", "∫": r"\int ", "∂": r"\partial ",
    "∧": r"\wedge ", "∨": r"\vee ", "→": r"\rightarrow ", "⇒": r"\Rightarrow ", "∴": r"\therefore ", "⌊": r"\lfloor ", "⌋": r"\rfloor ",
    "⌈": r"\lceil ", "⌉": r"\rceil ", "⟨": "(", "⟩": ")", "〈": "(", "〉": ")", "…": "...", "⋯": "...", "‰": "/1000", "ℓ": r"\ell ",
    "′": "'", "″": "''", "’": "'", "‘": "'", "“": "", "”": "", "「": "", "」": "", "『": "", "』": "", "《": "", "》": "", "。": ".",
    "、": ",", "【": "[", "】": "]", "〔": "(", "〕": ")", "ℝ": r"\mathbb{R}", "ℤ": r"\mathbb{Z}", "ℕ": r"\mathbb{N}",
    "ℚ": r"\mathbb{Q}", "ℂ": r"\mathbb{C}", "µ": r"\mu ", "Ω": r"\Omega ", "\u212a": "K", "℃": r"^\circ C", "℉": r"^\circ F",
    "«": "", "»": "", "￥": "¥", "￡": "£",
}  # fmt: skip
_SPACES = "\u00a0\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u202f\u205f\u3000"
_NOTHING = "\u200b\u200c\u200d\u2060\u2061\u2062\u2063\u2064\ufeff\u200e\u200f✓✔✅☑∎■"
_GREEK_NAMES = {"LAMDA": "lambda"}


def _table() -> dict[str, str]:
    table = _SIGNS | dict.fromkeys(_SPACES, " ") | dict.fromkeys(_NOTHING, "")
    for zero in (0x660, 0x6F0, 0x966, 0x9E6, 0xE50):  # Arabic, Persian, Hindi, Bengali, Thai
        table |= {chr(zero + digit): str(digit) for digit in range(10)}
    # Units and Roman numerals in one sign.
    for code in (*range(0x3380, 0x33E0), *range(0x2160, 0x2180)):
        plain = unicodedata.normalize("NFKC", chr(code))
        if plain.isascii() and plain.isalnum():
            table[chr(code)] = re.sub(r"(.+)(\d)", r" \\text{\1}^\2", plain) if plain[-1].isdigit() else plain
    # Fullwidth and small ASCII, and letters and digits in mathematical alphabets.
    for code in (*range(0xFF01, 0xFF5F), *range(0xFE50, 0xFE6C), *range(0x1D400, 0x1D800)):
        plain = unicodedata.normalize("NFKC", chr(code))
        if plain.isascii():
            table[chr(code)] = plain
    table["～"] = r"\sim "
    for code in (0xBC, 0xBD, 0xBE, *range(0x2150, 0x215F), 0x2189):
        over, under = unicodedata.normalize("NFKC", chr(code)).split("⁄")
        table[chr(code)] = rf"\frac{{{over}}}{{{under}}}" if under else chr(code)
    for code in range(0x391, 0x3CA):
        words = unicodedata.name(chr(code), "").split()
        if len(words) == 4:  # GREEK SMALL LETTER PHI
            name = _GREEK_NAMES.get(words[3], words[3].lower())
            table[chr(code)] = rf"\{name.title() if words[1] == 'CAPITAL' else name} "
    for code in (*range(0x1D6A8, 0x1D7CC), 0x3D1, 0x3D5, 0x3F5):
        plain = unicodedata.normalize("NFKC", chr(code))
        if plain in table:
            table[chr(code)] = table[plain]
    return table


_TRANSLATION = str.maketrans(_table())
_RAISED = re.compile("[⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁺⁽⁾ⁿⁱ]+")
_LOWERED = re.compile("[₀₁₂₃₄₅₆₇₈₉₊₋ₙ]+")
_PLAIN_DIGITS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁺⁽⁾ⁿⁱ₀₁₂₃₄₅₆₇₈₉₊₋ₙ", "0123456789-+()ni0123456789+-n")
_ROOT = re.compile(r"([√∛∜])\s*(\d+(?:\.\d+)?|(?=\())?")
_DEGREES = {"√": r"\sqrt", "∛": r"\sqrt[3]", "∜": r"\sqrt[4]"}
_ROOT_OF_BRACKETS = re.compile(r"[√∛∜]\s*\(([^()]*)\)")
_OVERLINED = re.compile("(?:\\d[\u0304\u0305])+")
_DOTTED = re.compile("(\\d)\u0307")


def in_latex(text: str) -> str:
    """The text with its signs as LaTeX."""
    text = _OVERLINED.sub(lambda match: rf"\overline{{{re.sub('[^0-9]', '', match[0])}}}", text)
    text = _DOTTED.sub(r"\\dot{\1}", text)
    text = _ROOT_OF_BRACKETS.sub(lambda match: f"{_DEGREES[match[0][0]]}{{{match[1]}}}", text)
    text = _ROOT.sub(lambda match: _DEGREES[match[1]] + (f"{{{match[2]}}}" if match[2] else " "), text)
    text = _RAISED.sub(lambda match: f"^{{{match[0].translate(_PLAIN_DIGITS)}}}", text)
    text = _LOWERED.sub(lambda match: f"_{{{match[0].translate(_PLAIN_DIGITS)}}}", text)
    return text.translate(_TRANSLATION)
