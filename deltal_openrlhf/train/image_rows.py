"""Checks the images of a row before Ray starts. The host leaves out an image that it cannot open, and the prompt then has one too many."""

import base64
import io
from pathlib import Path
from typing import Any

TAG = "<image>"
"""Stands in a message for the next image of its row."""
URLS = ("http://", "https://")


def image_problem(prompt: Any, images: Any, key: str, most: int, *, chat: bool) -> str | None:
    """What is wrong with the images of a row. None if nothing is; what a URL leads to is not looked at.

    prompt: text or messages, as they stand in the row. key: the column. most: images that a prompt may have. chat: whether a chat template
    makes the model's tokens of the tags.
    """
    if images is None:
        images = []
    elif isinstance(images, str):
        images = [images]
    if not isinstance(images, list) or not all(isinstance(image, str) for image in images):
        return f"{key} is not a list of texts, each the path of an image, its URL or a data URI"
    if len(images) > most:
        return f"{key} has {len(images)} images, allowed are {most} (--data.max_images_per_prompt)"
    parts = [] if isinstance(prompt, str) else _parts(prompt)
    if wrong := [part for part in parts if not isinstance(part, dict)]:
        return f"the prompt has the content part {str(wrong[0])[:60]!r}, allowed is an object with a type"
    tags = _tags(prompt)
    if chat and tags != len(images):
        return f"the prompt has {tags} {TAG}, and {key} has {len(images)} image{'s' if len(images) != 1 else ''}"
    return next((problem for image in images if (problem := _unreadable(image, key))), None)


def _tags(messages: Any) -> int:
    """In a text, or in messages, whose content may be a list of parts."""
    if isinstance(messages, str):
        return messages.count(TAG)
    contents = [message.get("content") for message in messages]
    pictures = [part for part in _parts(messages) if part.get("type") == "image"]
    return sum(content.count(TAG) for content in contents if isinstance(content, str)) + len(pictures)


def _parts(messages: Any) -> list[Any]:
    contents = [message.get("content") for message in messages]
    return [part for content in contents if isinstance(content, list) for part in content]


def _unreadable(image: str, key: str) -> str | None:
    from PIL import Image

    if image.startswith(URLS):
        return None
    try:
        is_data = image.startswith("data:")
        file = io.BytesIO(base64.b64decode(image.partition(",")[2], validate=True)) if is_data else Path(image)
        with Image.open(file) as picture:
            picture.load()  # open() reads the header only
    except FileNotFoundError:
        return f"{key}: not there: {image}"
    except Exception:  # noqa: BLE001 - of base64, the system and Pillow's readers, each of which raises its own kinds
        return f"{key}: {image[:60]} is not an image that Pillow reads"
    return None
