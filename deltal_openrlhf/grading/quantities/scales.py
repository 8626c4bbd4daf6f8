"""Words that multiply the number before them: 3 dozen is 36, 1.5 million dollars are 1500000 dollars. 3 pairs are neither 3 nor 6."""

_SCALES = {
    "dozen": 12, "hundred": 100, "thousand": 10**3, "grand": 10**3, "lakh": 10**5, "million": 10**6, "crore": 10**7, "billion": 10**9,
    "bn": 10**9, "trillion": 10**12,
}  # fmt: skip

_LETTERS = {"k": 10**3, "K": 10**3, "M": 10**6, "B": 10**9}


def scaled(value: str, words: str) -> tuple[str, str]:
    """(value, words) with the scales that stand first multiplied into the value."""
    factor = 1
    for _ in range(3):
        first, _, rest = words.partition(" ")
        scale = (
            _SCALES.get(first)
            or _SCALES.get(first[:-1] if first.endswith("s") else first)
            or _SCALES.get(first.lower())
        )
        if scale is None:
            break
        factor *= scale
        words = rest
    return (value if factor == 1 else f"({value})*{factor}"), words


def abbreviated(text: str) -> str | None:
    """5000 of 5k and 5K, which may be a product as well; None for any other text."""
    number, factor = text[:-1], _LETTERS.get(text[-1:])
    return f"{number}*{factor}" if factor and number.isascii() and number.replace(".", "", 1).isdecimal() else None
