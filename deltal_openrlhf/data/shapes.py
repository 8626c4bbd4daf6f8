"""Pictures of shapes, and the question how many of one kind there are: a task for models of text and images that needs no download.

    deltal data shapes --out data/shapes
    deltal train --data.prompt_dataset data/shapes/train.jsonl --data.apply_chat_template --data.max_images_per_prompt 1 \
        --reward.remote_url deltal:math ...

A picture stands in its row, as a data URI of a PNG. So a file is all that a node needs, wherever it lies.
"""

import base64
import io
import random
from typing import TYPE_CHECKING, NamedTuple

from deltal_openrlhf.data.output import Row
from deltal_openrlhf.data.prepare import Files, Options, measured
from deltal_openrlhf.data.templates import chat

if TYPE_CHECKING:
    from PIL.ImageDraw import ImageDraw

KINDS = ("circle", "square", "triangle")
COLOURS = ("#c0392b", "#2471a3", "#1e8449", "#b9770e", "#6c3483")
SIDE = 224
"""Pixels of a picture: 64 tokens of Qwen2.5-VL."""
CELLS = 4
"""Shapes stand in the cells of a grid of so many rows and columns, at most one in each."""
MOST = 9
"""Shapes in a picture."""


class Picture(NamedTuple):
    """A picture, the kind that is asked for, and how many of it there are."""

    uri: str
    kind: str
    number: int


def draw(rng: random.Random) -> Picture:
    """A random picture of 1 to MOST shapes."""
    from PIL import Image, ImageDraw

    kind = rng.choice(KINDS)
    shapes = [rng.choice(KINDS) for _ in range(rng.randint(1, MOST))]
    image = Image.new("RGB", (SIDE, SIDE), "white")
    canvas, cell = ImageDraw.Draw(image), SIDE // CELLS
    for shape, place in zip(shapes, rng.sample(range(CELLS**2), len(shapes)), strict=True):
        size = rng.randint(cell // 2, cell - 6)
        left, top = (corner * cell + rng.randint(2, cell - size - 2) for corner in (place % CELLS, place // CELLS))
        _shape(canvas, shape, left, top, size, rng.choice(COLOURS))
    with io.BytesIO() as file:
        image.save(file, "PNG")
        uri = "data:image/png;base64," + base64.b64encode(file.getvalue()).decode("ascii")
    return Picture(uri, kind, shapes.count(kind))


def _shape(canvas: "ImageDraw", kind: str, left: int, top: int, size: int, colour: str) -> None:
    right, bottom = left + size, top + size
    if kind == "circle":
        canvas.ellipse((left, top, right, bottom), fill=colour)
    elif kind == "square":
        canvas.rectangle((left, top, right, bottom), fill=colour)
    else:
        canvas.polygon(((left, bottom), (right, bottom), ((left + right) // 2, top)), fill=colour)


def shapes_files(train: int, test: int, options: Options) -> Files:
    """Train and test, each of so many different pictures, without a file for 0. No picture of one stands in the other.

    Raises ValueError if both are 0.
    """
    wanted = {name: n for name, n in (("train", train), ("test", test)) if n}
    if not wanted:
        raise ValueError("--train and --test are both 0: nothing to write")
    rng, seen, files = random.Random(options.seed), set[str](), {}
    for name, n in wanted.items():
        pictures: list[Picture] = []
        while len(pictures) < n:
            picture = draw(rng)
            if picture.uri not in seen:
                seen.add(picture.uri)
                pictures.append(picture)
        files[name] = measured(name, [p.uri for p in pictures], [_row(picture) for picture in pictures], options)
    return files


def _row(picture: Picture) -> Row:
    question = f"<image>How many {picture.kind}s are in the picture? Think first, and then give the number in <answer> </answer> tags."
    return Row(chat(question), str(picture.number), "shapes", [picture.uri])
