"""`deltal data shapes`: pictures whose label is what they show, different in every row, and the same for a seed."""

import base64
import io
import random
from collections import Counter

import pytest
from PIL import Image
from support.data_files import read

from deltal_openrlhf.cli.main import main
from deltal_openrlhf.data import shapes


def regions(uri: str) -> list[tuple[int, int, int]]:
    """Width, height and area of every coloured region of a picture, by a flood fill."""
    image = Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2])))
    assert image.format == "PNG" and image.size == (shapes.SIDE, shapes.SIDE)
    pixels = image.load()
    left = {(x, y) for x in range(shapes.SIDE) for y in range(shapes.SIDE) if pixels[x, y] != (255, 255, 255)}
    found = []
    while left:
        edge, region = [left.pop()], 0
        xs, ys = [edge[0][0]], [edge[0][1]]
        while edge:
            x, y = edge.pop()
            region += 1
            xs.append(x)
            ys.append(y)
            for near in ((x + 1, y), (x - 1, y), (x, y + 1), (x, y - 1)):
                if near in left:
                    left.remove(near)
                    edge.append(near)
        found.append((max(xs) - min(xs) + 1, max(ys) - min(ys) + 1, region))
    return found


def kind_of(width: int, height: int, area: int) -> str:
    """A square fills its frame, a circle pi / 4 of it, a triangle a half."""
    share = area / (width * height)
    return "square" if share > 0.9 else "circle" if share > 0.65 else "triangle"


def test_a_picture_shows_what_its_label_says():
    rng = random.Random(3)
    pictures = [shapes.draw(rng) for _ in range(12)]
    for picture in pictures:
        kinds = Counter(kind_of(*region) for region in regions(picture.uri))
        assert kinds[picture.kind] == picture.number and 1 <= sum(kinds.values()) <= shapes.MOST
    assert len({picture.number for picture in pictures}) > 2


def test_command(tmp_path, capsys):
    for out in ("a", "b"):
        assert main(["data", "shapes", "--out", str(tmp_path / out), "--train", "20", "--test", "5"]) == 0
    said = capsys.readouterr().out
    assert "--data.apply_chat_template --data.max_images_per_prompt 1" in said.splitlines()[-1]
    train, test = read(tmp_path / "a/train.jsonl"), read(tmp_path / "a/test.jsonl")
    assert (train, test) == (read(tmp_path / "b/train.jsonl"), read(tmp_path / "b/test.jsonl"))
    assert len(train) == 20 and len(test) == 5
    assert len({row["images"][0] for row in [*train, *test]}) == 25
    assert all(row["input"][0]["content"].count("<image>") == len(row["images"]) == 1 for row in train)
    assert (
        main(
            [
                "data",
                "shapes",
                "--out",
                str(tmp_path / "c"),
                "--train",
                "3",
                "--test",
                "0",
                "--seed",
                "1",
                "--format",
                "parquet",
            ]
        )
        == 0
    )
    assert not {row["images"][0] for row in read(tmp_path / "c/train.parquet")} & {row["images"][0] for row in train}


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--train", "0", "--test", "0"], "--train and --test are both 0: nothing to write"),
        (["--template", "base"], "unrecognized arguments: --template base"),
    ],
)
def test_refusals(tmp_path, capsys, words, says):
    try:
        code = main(["data", "shapes", "--out", str(tmp_path / "out"), *words])
    except SystemExit as stop:
        code = stop.code
    assert code == 2 and says in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
