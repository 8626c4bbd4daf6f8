r"""Chinese around an answer: 答案是5, 选A, 1和2, 15厘米, 5元, 3个, 三分之二. What is left in Chinese is text."""

import re

_UNITS = {
    "厘米": "cm", "毫米": "mm", "分米": "dm", "千米": "km", "公里": "km", "米": "m", "千克": "kg", "公斤": "kg", "毫克": "mg", "克": "g",
    "吨": "t", "毫升": "ml", "升": "l", "公顷": "ha", "小时": "hours", "时": "hours", "分钟": "minutes", "秒": "seconds", "天": "days",
    "周": "weeks", "个月": "months", "月": "months", "年": "years", "度": r"^\circ", "牛": "N", "焦": "J", "瓦": "W", "伏": "V",
    "双": "pairs", "对": "pairs", "打": "dozen",
}  # fmt: skip
_UNIT = "|".join(sorted(_UNITS, key=len, reverse=True))
_MANY = {"万": 4, "亿": 8}
_COUNTERS = (
    "个個种種次人名位只隻头頭条條件张張枚块辆棵朵组組套倍岁歲页頁道题元圆円份根"
    "颗粒箱盒瓶杯袋包间层级台艘所家户支片圈步场行列项句笔本匹"
)
_ANSWER = re.compile(
    r"^(?:(?:所以|因此|故|则|综上所述?|最终|最后|正确|即|于是)[，,：:]?)*(?:(?:的|正确)?(?:答案|结果|选项|值|解)(?:应该|应)?(?:是|为|选|等于|[:：=])|答\s*[:：]|选项|应?选择?(?:选项)?[:：]?"
    r"(?=\s*[(（]?[A-J])|(?:一|总)?共(?:有|是|需要?)?(?=\d)|等于|[大]?约(?=[\d\\$])|有(?=\d))*\s*[:：]?"
)
_IN_TEXT = re.compile(r"\\(?:text|mathrm|mbox)\s*\{([^{}]*[\u3400-\u9fff][^{}]*)\}")
_JOINED = re.compile(r"(?<=[\w)}\]$.%'])\s*(和|或|与|及|以及)\s*(?=[\w({\[\\$.+-])")
_SPACE = r"(?:\s|~|\\[,;:! ])*"
_MANY_AFTER = re.compile(rf"(?<=[\d}}]){_SPACE}([万亿])")
_WITH_UNIT = re.compile(rf"(?<=[\d}})%$]){_SPACE}(平方|立方)?({_UNIT})(?:(?:/|每)\s*({_UNIT}))?(?=[^\u3400-\u9fff]|$)")
_COUNTED = re.compile(
    rf"(?<=[\d}})$]){_SPACE}[{_COUNTERS}](?<!次(?=方))(?!半|多|以|左|分|百|千|万|亿|月)[\u3400-\u9fff]{{0,4}}(?=[\s,;.:)}}\]$]|$)"
)
_PARTS = re.compile(r"(\d+)分之(\d+)|百分之(\d+(?:\.\d+)?)")
_CHINESE = re.compile(r"[\u3400-\u9fff]")
_DIGITS = {"零": 0, "〇": 0, "一": 1, "二": 2, "两": 2, "三": 3, "四": 4, "五": 5, "六": 6, "七": 7, "八": 8, "九": 9}
_PLACES = {"十": 10, "百": 100, "千": 1000}
_NUMERAL = re.compile(r"[零〇一二两三四五六七八九十百千]{1,12}")
_NUMERAL_ANSWER = re.compile(rf"({_NUMERAL.pattern})(?:(分之)({_NUMERAL.pattern}))?")


def without_chinese(text: str) -> str:
    """The text with Chinese units, counters, numerals and phrases as LaTeX."""
    if not _CHINESE.search(text):
        return text
    text = _ANSWER.sub("", _IN_TEXT.sub(r"\1", text), count=1)
    numeral = _NUMERAL_ANSWER.fullmatch(text.strip())
    if numeral:
        value = str(_value(numeral[1]))
        return rf"\frac{{{_value(numeral[3])}}}{{{value}}}" if numeral[2] else value
    text = _PARTS.sub(lambda m: rf"\frac{{{m[2]}}}{{{m[1]}}}" if m[1] else rf"{m[3]}\%", text)
    text = re.sub(r"负(?=\d)", "-", text)
    text = _JOINED.sub(lambda m: r" \text{ or } " if m[1] == "或" else r" \text{ and } ", text)
    text = _MANY_AFTER.sub(lambda m: rf" \times 10^{{{_MANY[m[1]]}}}", text)
    text = _COUNTED.sub("", text)
    return _WITH_UNIT.sub(_latin_unit, text)


def _latin_unit(match: re.Match[str]) -> str:
    unit = _UNITS[match[2]]
    if unit.startswith("^"):
        return unit
    power = {"平方": "^2", "立方": "^3", None: ""}[match[1]]
    per = f"/{_UNITS[match[3]].rstrip('s') or 's'}" if match[3] else ""
    return rf" \text{{ {unit}{per}}}{power}"


def _value(numeral: str) -> int:
    total = digit = 0
    for sign in numeral:
        if sign in _PLACES:
            total, digit = total + (digit or 1) * _PLACES[sign], 0
        else:
            digit = digit * 10 + _DIGITS[sign]
    return total + digit
