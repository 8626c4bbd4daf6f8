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
_COUNTERS = {
    "个個种種": "", "人名位": " people", "只隻头頭匹": " animals", "条條": " strips", "件块": " pieces", "张張": " sheets", "枚": " coins",
    "辆": " cars", "棵": " trees", "朵": " flowers", "组組套": " sets", "倍次圈": " times", "岁歲": " years", "页頁": " pages",
    "道题": " problems", "元圆円": " yuan", "份": " portions", "根": " sticks", "颗粒": " grains", "箱盒": " boxes", "瓶": " bottles",
    "杯": " cups", "袋包": " bags", "间": " rooms", "层": " floors", "级": " steps", "台": " machines", "艘": " ships", "所": " schools",
    "家户": " households", "支": " pens", "片": " slices", "步": " steps", "场": " games", "行": " rows", "列": " columns", "项": " terms",
    "句": " sentences", "笔": " payments", "本": " books",
}  # fmt: skip
"""What each counts, where one word says it; a general one is left out, as 个 is."""
_NOUNS = {counter: noun for counters, noun in _COUNTERS.items() for counter in counters}
_COUNTER = "".join(_NOUNS)
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
    rf"(?<=[\d}})$]){_SPACE}([{_COUNTER}])(?<!次(?=方))(?!半|多|以|左|分|百|千|万|亿|月)[\u3400-\u9fff]{{0,4}}(?=[\s,;.:)}}\]$]|$)"
)
_THING = re.compile(rf"\d{_SPACE}(?:[{_COUNTER}]([\u3400-\u9fff]{{1,4}}))(?![\u3400-\u9fff])")
_PARTS = re.compile(r"(\d+)分之(\d+)|百分之(\d+(?:\.\d+)?)")
_CHINESE = re.compile(r"[\u3400-\u9fff]")
_DIGITS = {"零": 0, "〇": 0, "一": 1, "二": 2, "两": 2, "三": 3, "四": 4, "五": 5, "六": 6, "七": 7, "八": 8, "九": 9}
_PLACES = {"十": 10, "百": 100, "千": 1000}
_NUMERAL = r"[零〇一二两三四五六七八九十百千万亿]{1,16}"
_NO_NUMERAL = re.compile(
    r"[一二两三四五六七八九]{2}|[百千万亿][一二两三四五六七八九]$|[十百千]{2}|十[^万亿]*[百千]|百[^万亿]*千|[万亿].*亿|万.*万|^[百千万亿]"
)
_NUMERAL_ANSWER = re.compile(rf"(负)?(?:({_NUMERAL})(?:分之({_NUMERAL})|点([零〇一二三四五六七八九]{{1,9}}))?|(一半))")
_SAYINGS = {
    "无解": "no solution", "没有解": "no solution", "方程无解": "no solution", "无实数解": "no real solution",
    "无实数根": "no real solution", "不存在": "does not exist", "空集": r"\emptyset",
}  # fmt: skip


def without_chinese(text: str) -> str:
    """The text with Chinese units, counters, numerals and phrases as LaTeX."""
    if not _CHINESE.search(text):
        return text
    text = _ANSWER.sub("", _IN_TEXT.sub(r"\1", text), count=1)
    whole = text.strip(" .。$")
    if whole in _SAYINGS:
        return _SAYINGS[whole]
    numeral = _NUMERAL_ANSWER.fullmatch(whole)
    percent = numeral and numeral[2] == "百" and numeral[3]
    if (
        numeral
        and (percent or not numeral[2] or _is_numeral(numeral[2]))
        and (not numeral[3] or _is_numeral(numeral[3]))
    ):
        return ("-" if numeral[1] else "") + _in_latex(*numeral.groups()[1:])
    text = _PARTS.sub(lambda m: rf"\frac{{{m[2]}}}{{{m[1]}}}" if m[1] else rf"{m[3]}\%", text)
    text = re.sub(r"负(?=\d)", "-", text)
    text = _JOINED.sub(lambda m: r" \text{ or } " if m[1] == "或" else r" \text{ and } ", text)
    text = _MANY_AFTER.sub(lambda m: rf" \times 10^{{{_MANY[m[1]]}}}", text)
    text = _COUNTED.sub(lambda m: rf"\text{{{_NOUNS[m[1]]}}}" if _NOUNS[m[1]] else "", text)
    return _WITH_UNIT.sub(_latin_unit, text)


def count_different_things(gold: str, pred: str) -> bool:
    """Whether both count something that a noun behind the counter names, and the nouns differ: 5个苹果 and 5个橘子."""
    things = _THING.findall(gold), _THING.findall(pred)
    return bool(things[0] and things[1]) and set(things[0]).isdisjoint(things[1])


def _latin_unit(match: re.Match[str]) -> str:
    unit = _UNITS[match[2]]
    if unit.startswith("^"):
        return unit
    power = {"平方": "^2", "立方": "^3", None: ""}[match[1]]
    per = f"/{_UNITS[match[3]].rstrip('s') or 's'}" if match[3] else ""
    return rf" \text{{ {unit}{per}}}{power}"


def _in_latex(numeral: str | None, over: str | None, decimals: str | None, half: str | None) -> str:
    """四十二, 三分之二 (the numeral is under the line), 百分之五, 三点一四 and 一半."""
    if numeral is None:
        return r"\frac{1}{2}"
    if over and numeral == "百":
        return rf"{_value(over)}\%"
    if over:
        return rf"\frac{{{_value(over)}}}{{{_value(numeral)}}}"
    return str(_value(numeral)) + ("." + "".join(str(_DIGITS[digit]) for digit in decimals) if decimals else "")


def _is_numeral(text: str) -> bool:
    """四十二 and 二〇二四, but not 四二; nor 三百五, which is 350 to some."""
    return "〇" in text or not _NO_NUMERAL.search(text)


def _value(numeral: str) -> int:
    for many, power in reversed(_MANY.items()):
        head, found, tail = numeral.rpartition(many)
        if found:
            return _value(head) * 10**power + _value(tail)
    total = digit = 0
    for sign in numeral:
        if sign in _PLACES:
            total, digit = total + (digit or 1) * _PLACES[sign], 0
        else:
            digit = digit * 10 + _DIGITS[sign]
    return total + digit
