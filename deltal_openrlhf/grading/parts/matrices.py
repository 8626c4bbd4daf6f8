r"""Matrices and vectors: \begin{pmatrix}...\end{pmatrix}, [[1, 2], [3, 4]], \frac12 times a matrix, determinants, \hat{i}+2\hat{j}."""

import re

from deltal_openrlhf.grading.parts.structure import Group, group, split

_TRANSPOSED = re.compile(r"\s*\^\s*\{?\s*(?:T|\\top|\\intercal|\\text\s?\{T\})\s*\}?$")
_BEGIN = r"\begin{"
_MATRIX = re.compile(r"\\begin\{([a-zA-Z]*matrix|array)\}(?:\{[clr| ]*\})?((?:(?!\\begin).)*)\\end\{\1\}", re.DOTALL)
_DETERMINANT = re.compile(r"\\det\s*|\|(?=.*\|$)", re.DOTALL)
_UNIT = re.compile(
    r"\\(?:hat|vec|mathbf|boldsymbol|bm|overrightarrow|widehat)\s*\{?\s*(?:\\(?:text|mathbf|boldsymbol|hat|vec)\s*\{)?\s*\\?([ijkxyz])"
    r"(?:math)?\s*\}?\s*\}?|\\text\{\s*(?:\\(?:hat|vec)\s*\{?)?\\?([ijk])(?:math)?\s*\}?\s*\}"
)
_MARK = re.compile(r"\\(?:hat|vec|mathbf|boldsymbol|bm|text|overrightarrow|widehat)(?![a-z])")
_PLAIN_UNIT = re.compile(r"(?<![a-zA-Z\\])([ijk])(?![a-zA-Z(_^])")
_AXES = {"i": 0, "j": 1, "k": 2, "x": 0, "y": 1, "z": 2}


def matrix(text: str) -> Group | None:
    """A matrix, row by row, whatever its brackets; a number before it multiplies every entry, ^T transposes it."""
    rows = _matrix(text) if "[" in text or "(" in text or _BEGIN in text else None
    return _of(rows) if rows else None


def _matrix(text: str) -> list[list[str]] | None:
    transposed = _TRANSPOSED.search(text) if "^" in text else None
    if transposed:
        vector = group(text[: transposed.start()])
        rows = _matrix(text[: transposed.start()]) or ([vector.parts] if vector else [])
        return [list(column) for column in zip(*rows, strict=True)] if len(set(map(len, rows))) == 1 else None
    if _BEGIN not in text:
        return _nested(text)
    head, body = text[: text.index(_BEGIN)], text[text.index(_BEGIN) :]
    if head.endswith("|"):
        return None  # a determinant
    factor = head.rstrip("([ ")
    for _ in head[len(factor) :].replace(" ", ""):
        if body[-1:] not in (")", "]"):
            return None
        body = body[:-1].rstrip()
    match = _MATRIX.fullmatch(body)
    if match is None or match[1].lower() == "vmatrix":
        return None
    rows = _rows(match[2])
    factor = factor.strip().removesuffix("*").strip()
    if not factor:
        return rows
    if "=" in factor or "," in factor:
        return None
    factor = f"{factor}1" if factor in ("-", "+") else factor
    return [[f"({factor})*({cell})" for cell in row] for row in rows]


def determinant(text: str) -> str | None:
    """The expression that a determinant of two or three rows stands for."""
    if _BEGIN not in text:
        return None
    inner = text
    prefix = _DETERMINANT.match(text)
    if prefix:
        inner = text[prefix.end() :].strip().removesuffix("|").strip()
        if inner[:1] in ("(", "[") and inner[-1:] in (")", "]"):
            inner = inner[1:-1].strip()
    match = _MATRIX.fullmatch(inner)
    if match is None or not (prefix or match[1] == "vmatrix"):
        return None
    rows = _rows(match[2])
    if len(rows) not in (2, 3) or any(len(row) != len(rows) for row in rows):
        return None
    return _expanded([[f"({cell})" for cell in row] for row in rows])


def _expanded(rows: list[list[str]]) -> str:
    """By the first row."""
    if len(rows) == 1:
        return rows[0][0]
    terms = []
    for column, cell in enumerate(rows[0]):
        minor = [row[:column] + row[column + 1 :] for row in rows[1:]]
        terms.append(f"{'-' if column % 2 else '+'}{cell}*({_expanded(minor)})")
    return "".join(terms).removeprefix("+")


def _rows(body: str) -> list[list[str]]:
    rows = [row for row in re.split(r"\\\\(?:\[[^\]]{0,20}\])?", body.replace(r"\hline", "")) if row.strip()]
    return [[cell.strip() for cell in row.split("&")] for row in rows]


def _nested(text: str) -> list[list[str]] | None:
    """[[1, 2], [3, 4]], the row [[1, 2]], and [1, 2; 3, 4]."""
    if not (text.startswith("[") and text.endswith("]")):
        return None
    inner = text[1:-1].strip()
    if ";" in inner and not inner.startswith("["):
        rows = [re.split(r"\s*,\s*|\s+", row.strip()) for row in inner.strip("; ").split(";")]
    elif inner.startswith("["):
        groups = [group(row) for row in split(inner, ",")]
        rows = [found.parts for found in groups if found and found.kind == "[]"]
        if len(rows) < len(groups):
            return None
    else:
        return None
    return rows if len({len(row) for row in rows}) == 1 and len(rows[0]) > 1 else None


def _of(rows: list[list[str]]) -> Group:
    return Group(f"matrix {[len(row) for row in rows]}", [cell for row in rows for cell in row])


def as_column(vector: Group) -> Group | None:
    """(1, 2) as the column that it stands for."""
    return _of([[part] for part in vector.parts]) if vector.kind == "()" else None


def unit_vectors(text: str, *, plain: bool = False) -> str:
    r"""\hat{i}+2\hat{j} as (1, 2), and i+2j where letters may be plain; text without unit vectors as it is."""
    if not plain and not _MARK.search(text):
        return text
    marked = (_PLAIN_UNIT if plain else _UNIT).sub(lambda match: f"\1{match[match.lastindex or 0]}", text)
    if "\1" not in marked:
        return text
    coordinates: dict[int, str] = {}
    for term in terms(marked):
        factors = term.split("\1")
        if len(factors) != 2 or factors[1][1:].strip():
            return text  # a product of vectors, or a term without one
        axis = _AXES[factors[1][0]]
        factor = factors[0].strip().removesuffix("*").strip()
        if axis in coordinates:
            return text
        coordinates[axis] = f"{factor}1" if factor in ("", "+", "-") else factor
    if len(coordinates) == 1 and r"\text" in text:
        return text  # 5 k
    size = max(coordinates) + 1
    return f"({','.join(coordinates.get(axis, '0') for axis in range(size))})" if size > 1 else text


def terms(text: str) -> list[str]:
    """The terms of a sum, each with its sign."""
    terms, depth, start = [], 0, 0
    for position, character in enumerate(text):
        depth += (character in "([{") - (character in ")]}")
        if character in "+-" and depth == 0 and text[start:position].strip(" +-"):
            terms.append(text[start:position].strip())
            start = position
    return [*terms, text[start:].strip()]
