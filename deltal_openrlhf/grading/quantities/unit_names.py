"""Names of units in answers -> pint's names, without asking pint for what is ordinary."""

_PREFIXES = {
    "p": "pico", "n": "nano", "µ": "micro", "u": "micro", "m": "milli", "c": "centi", "d": "deci", "h": "hecto", "k": "kilo",
    "M": "mega", "G": "giga", "T": "tera",
}  # fmt: skip
# Symbol: (unit, the prefixes that people write before it).
_PREFIXED = {
    "m": ("meter", "pnµumcdk"), "g": ("gram", "nµumk"), "s": ("second", "pnµum"), "l": ("liter", "µumcdh"), "L": ("liter", "µumcdhk"),
    "N": ("newton", "µmkM"), "J": ("joule", "mkMG"), "W": ("watt", "µmkMGT"), "V": ("volt", "µmkM"), "A": ("ampere", "pnµmk"),
    "Pa": ("pascal", "hkMG"), "Hz": ("hertz", "kMGT"), "eV": ("electron_volt", "mkMGT"), "mol": ("mole", "nµmk"),
    "Ω": ("ohm", "mkM"), "C": ("coulomb", "pnµm"), "F": ("farad", "pnµm"), "H": ("henry", "µm"), "T": ("tesla", "nµm"),
    "K": ("kelvin", "mµ"), "cal": ("calorie", "k"), "Wh": ("watt_hour", "kMGT"), "Wb": ("weber", "m"), "bar": ("bar", "m"),
    "Sv": ("sievert", "µm"), "Gy": ("gray", "µm"), "Bq": ("becquerel", "kMG"), "pc": ("parsec", "kMG"), "byte": ("byte", "kMGT"),
}  # fmt: skip
_SYMBOLS = {
    prefix + symbol: _PREFIXES[prefix] + unit for symbol, (unit, prefixes) in _PREFIXED.items() for prefix in prefixes
} | {symbol: unit for symbol, (unit, _) in _PREFIXED.items()}
_SYMBOLS |= {
    "min": "minute", "h": "hour", "hr": "hour", "hrs": "hour", "yr": "year", "in": "inch", "ft": "foot", "yd": "yard", "mi": "mile",
    "lb": "pound", "lbs": "pound", "oz": "ounce", "pt": "pint", "qt": "quart", "ly": "light_year", "AU": "astronomical_unit",
    "ha": "hectare", "t": "metric_ton",
    "lm": "lumen", "lx": "lux", "cd": "candela", "sr": "steradian", "cc": "cubic_centimeter", "atm": "atmosphere",
    "kmh": "kilometer_per_hour", "kmph": "kilometer_per_hour", "kwh": "kilowatt_hour", "KWh": "kilowatt_hour",
    "MPH": "mile_per_hour", "d": "day", "wk": "week", "mmHg": "millimeter_Hg",
    "degC": "degree_Celsius", "degF": "degree_Fahrenheit", "GB": "gigabyte", "MB": "megabyte", "KB": "kilobyte", "kB": "kilobyte",
    "TB": "terabyte", "dB": "decibel", "Å": "angstrom",
}  # fmt: skip
_ANY_CASE = frozenset(("cm", "km", "kg", "ft", "lb", "lbs", "oz", "hr", "hrs", "yd", "kmh", "kmph"))
"""Symbols that are no others in capitals: Km and KG, but not MM, Nm and MS."""
_MONEY = {
    "dollar": "dollar", "usd": "dollar", "buck": "dollar", "cent": "cent", "euro": "euro", "eur": "euro", "gbp": "pound_sterling",
    "yen": "yen", "jpy": "yen", "yuan": "yuan", "rmb": "yuan", "cny": "yuan", "rupee": "rupee", "inr": "rupee",
    "rs": "rupee", "peso": "peso", "won": "won", "krw": "won", "aud": "AUD", "cad": "CAD", "chf": "franc",
    "hkd": "HKD", "sgd": "SGD", "nzd": "NZD", "twd": "TWD", "ruble": "ruble", "rub": "ruble", "franc": "franc", "baht": "baht",
    "lira": "lira", "dong": "dong", "hryvnia": "hryvnia", "shekel": "shekel",
}  # fmt: skip
# What one spelling may mean.
_AMBIGUOUS = {
    "'": ("foot", "arcminute"), "''": ("inch", "arcsecond"), "°": ("degree", "degree_Celsius", "degree_Fahrenheit"),
    "pound": ("pound", "pound_sterling"), "C": ("coulomb", "degree_Celsius"), "F": ("farad", "degree_Fahrenheit"),
    "ounce": ("ounce", "fluid_ounce"), "¥": ("yen", "yuan"),
}  # fmt: skip
_AMBIGUOUS |= {"deg": _AMBIGUOUS["°"], "degree": _AMBIGUOUS["°"], "oz": _AMBIGUOUS["ounce"]}
_LONG_PREFIXES = ("kilo", "milli", "centi", "mega", "giga", "micro", "nano", "deci", "deca", "hecto", "tera", "pico")
# Units to pint, other things in answers: five fifths, three quarters, four hands.
_ORDINARY_WORDS = frozenset(
    "quarter fifth section link chain hand rod pole perch point dot count particle molecule circle bag blob candle shake shot stone jig "
    "scruple pond peck octet octave decade grade are gamma lambda sigma alpha zeta mil thou mas fur den kip kat pica tex rem minim "
    "quad strain toe percent permille ppm pel pixel cup hogshead gravity score nit bel neper decibel pi bus mass has "
    "ats cts ins gray".split()
)

_TWO_WORDS = frozenset({"nautical_mile", "light_year", "metric_ton", "fluid_ounce", "electron_volt"})
GENERIC = "unit"
"""The unit of figures that have none: 5 units, 12 square units."""


def names_of(word: str) -> tuple[str, ...]:
    """pint's names of what a word or symbol may mean, the usual one first; () where it is no unit. MW and mW differ."""
    if len(word) > 24:
        return ()
    if "_" in word:
        return (word,) if word in _TWO_WORDS else ()
    lower = word.lower()
    singular = lower[:-1] if len(lower) > 3 and lower.endswith("s") else lower
    for spelling in (word, singular):
        if spelling in _AMBIGUOUS:
            return _AMBIGUOUS[spelling]
    if word in _SYMBOLS:
        return (_SYMBOLS[word],)
    if singular in _MONEY:
        return (_MONEY[singular],)
    if singular == GENERIC:
        return (GENERIC,)
    if lower in _ANY_CASE:
        return (_SYMBOLS[lower],)
    if len(word) < 3 or not lower.isalpha() or (word != lower and word != word.capitalize()):
        return ()
    return _known_to_pint(lower)


def _known_to_pint(word: str) -> tuple[str, ...]:
    """Names written out, whole or after a prefix that is: centimetres, not the cats that pint reads as centi-at."""
    from deltal_openrlhf.grading.quantities.conversion import registry

    for prefix, name, _ in registry().parse_unit_name(word):
        if {name, word, word.removesuffix("s")} & _ORDINARY_WORDS:
            continue
        if not prefix or (prefix in _LONG_PREFIXES and word.startswith(prefix) and len(word) > len(prefix) + 2):
            return (prefix + name,)
    return ()
