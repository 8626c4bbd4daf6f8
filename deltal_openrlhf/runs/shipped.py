"""The files that come with the package: recipes, overlays, comparisons and model sizes, found by name from any folder.

A name is the path inside configs/ without its ending: countdown-deltal, overlays/8gpu, compare/countdown, models/qwen2.5-32b.
"""

from pathlib import Path

from deltal_openrlhf.runs.command import nearest

ENDINGS = (".yaml", ".json")
_PACKAGE = Path(__file__).parents[1]


def folder() -> Path:
    """configs/: inside the package where a wheel was installed, next to it in a clone."""
    inside = _PACKAGE / "configs"
    return inside if inside.is_dir() else _PACKAGE.parent / "configs"


def names() -> dict[str, Path]:
    """The path of every shipped file by its name, in order."""
    paths = (path for path in folder().rglob("*") if path.suffix in ENDINGS)
    return dict(sorted((path.relative_to(folder()).with_suffix("").as_posix(), path) for path in paths))


def find(name: str) -> Path | None:
    """The file that a name stands for: one that exists, else a shipped one (its ending may be left out), else None."""
    path = Path(name)
    if path.exists() and not path.is_dir():
        return path
    return next((shipped for known, shipped in names().items() if name in (known, known + shipped.suffix)), None)


def located(name: str) -> Path:
    """The file that a name stands for. Raises ValueError, in one line with the nearest names, if there is none."""
    path = find(name)
    if path is None:
        why = "is a folder" if Path(name).is_dir() else "no such file"
        hint = nearest(name.removesuffix(".yaml"), names()) or "`deltal recipes` lists them"
        raise ValueError(f"{name}: {why}, and no shipped recipe has this name; {hint}")
    return path
