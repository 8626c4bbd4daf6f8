"""Rows with images that would stop a run in its middle, or train it on another picture, are refused before the start."""

import base64
import io

import pytest
from PIL import Image
from support.run_data import arguments, write

from deltal_openrlhf.data import shapes
from deltal_openrlhf.models.tiny_vision import write_tiny_vision_model
from deltal_openrlhf.train import run_data
from deltal_openrlhf.train.data_flags import IMAGE_KEY, check_data_flags
from deltal_openrlhf.train.image_rows import image_problem


def uri(content: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(content).decode()


def png() -> bytes:
    with io.BytesIO() as file:
        Image.effect_noise((64, 64), 50).save(file, "PNG")
        return file.getvalue()


ASKS = [{"role": "user", "content": "<image>How many?"}]
HALF = uri(png()[: len(png()) // 2])
PARTS = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "How many?"}]}]


@pytest.mark.parametrize(
    ("prompt", "images", "says"),
    [
        (ASKS, [uri(png())], None),
        (PARTS, uri(png()), None),
        (ASKS, ["https://example.org/a.png"], None),
        ([{"role": "user", "content": "2 + 3?"}], None, None),
        ("<image>How many?", [uri(png())], None),
        ("How many?", [uri(png())], "the prompt has 0 <image>, and images has 1 image"),
        (ASKS, ["gone.png"], "images: not there: gone.png"),
        (
            ASKS,
            [uri(b"no picture")],
            "images: data:image/png;base64,bm8gcGljdHVyZQ== is not an image that Pillow reads",
        ),
        (ASKS, [HALF], f"images: {HALF[:60]} is not an image that Pillow reads"),
        (ASKS, ["data:image/png;base64,???"], "images: data:image/png;base64,??? is not an image that Pillow reads"),
        (ASKS, [], "the prompt has 1 <image>, and images has 0 images"),
        (ASKS, None, "the prompt has 1 <image>, and images has 0 images"),
        ([{"role": "user", "content": "2 + 3?"}], [uri(png())], "the prompt has 0 <image>, and images has 1 image"),
        (ASKS, [uri(png())] * 3, "images has 3 images, allowed are 2 (--data.max_images_per_prompt)"),
        (
            [{"role": "user", "content": ["a"]}],
            None,
            "the prompt has the content part 'a', allowed is an object with a type",
        ),
        (ASKS, [7], "images is not a list of texts, each the path of an image, its URL or a data URI"),
        (ASKS, {"path": "a.png"}, "images is not a list of texts, each the path of an image, its URL or a data URI"),
    ],
)
def test_what_is_wrong_with_a_row(prompt, images, says):
    assert image_problem(prompt, images, "images", 2, chat=True) == says


def test_a_truncated_file(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(png())
    assert image_problem(ASKS, [str(path)], "images", 1, chat=True) is None
    path.write_bytes(png()[: len(png()) // 2])
    assert (
        image_problem(ASKS, [str(path)], "images", 1, chat=True)
        == f"images: {str(path)[:60]} is not an image that Pillow reads"
    )


def test_a_text_that_is_the_models_own_has_its_tokens_already():
    assert (
        image_problem("<|vision_start|><|image_pad|><|vision_end|>How many?", [uri(png())], "images", 1, chat=False)
        is None
    )


def test_a_start_names_the_line_and_other_runs_do_not_look_at_images(tmp_path):
    model = tmp_path / "model"
    write_tiny_vision_model(model)
    good, bad = {"input": ASKS, "label": "1"}, {"input": ASKS, "label": "2", "images": ["gone.png"]}
    path = write(tmp_path / "rows.jsonl", good | {"images": [uri(png())]}, bad)
    flags = ("--data.prompt_dataset", str(path), "--data.apply_chat_template")
    with pytest.raises(ValueError) as error:
        run_data.read(arguments(model, *flags, "--data.max_images_per_prompt", "1"))
    assert str(error.value) == f"--data.prompt_dataset {path}: line 2: images: not there: gone.png"
    assert run_data.read(arguments(model, *flags)).sets["data.prompt_dataset"].total == 2


def test_flags_that_do_not_go_with_images(tmp_path):
    for flags, says in (
        (
            ("--train.dynamic_batch_enable",),
            "--train.dynamic_batch_enable packs responses, but --data.max_images_per_prompt is 1",
        ),
        (("--deltal.skip_long_prompts",), "--deltal.skip_long_prompts counts the tokens of text"),
    ):
        with pytest.raises(ValueError, match=says):
            check_data_flags(arguments(tmp_path, "--data.max_images_per_prompt", "1", *flags))
        check_data_flags(arguments(tmp_path, *flags))


def test_a_column_of_images_that_nothing_would_read(tmp_path):
    """A mistyped --data.image_key makes every row one of text."""
    model = tmp_path / "model"
    write_tiny_vision_model(model)
    path = write(tmp_path / "rows.jsonl", {"input": "How many?", "label": "1", "picture": [uri(png())]})
    flags = "--data.prompt_dataset", str(path), "--data.max_images_per_prompt", "1"
    with pytest.raises(ValueError) as error:
        run_data.read(arguments(model, *flags, "--data.image_key", "pictures"))
    assert str(error.value) == (
        f"--data.image_key is pictures, but --data.prompt_dataset {path} has the columns input, label, picture; "
        "a run without images leaves out --data.max_images_per_prompt"
    )
    read = run_data.read(arguments(model, *flags, "--data.image_key", "picture"))
    assert read.sets["data.prompt_dataset"].total == 1


def test_a_run_of_images_may_have_a_set_of_text(tmp_path):
    model = tmp_path / "model"
    write_tiny_vision_model(model)
    seen = write(tmp_path / "seen.jsonl", {"input": "How many?", "label": "1", "images": [uri(png())]})
    text = write(tmp_path / "text.jsonl", {"input": "1 + 1?", "label": "2"})
    flags = "--data.prompt_dataset", f"{text},{seen}", "--eval.dataset", str(text), "--data.max_images_per_prompt", "1"
    assert {flag: rows.total for flag, rows in run_data.read(arguments(model, *flags)).sets.items()} == {
        "data.prompt_dataset": 2,
        "eval.dataset": 1,
    }


def test_a_column_of_images_is_for_runs_with_images(tmp_path):
    with pytest.raises(ValueError, match="^--data.image_key is pictures, but --data.max_images_per_prompt is 0;"):
        check_data_flags(arguments(tmp_path, "--data.image_key", "pictures"))
    check_data_flags(arguments(tmp_path, "--data.image_key", "pictures", "--data.max_images_per_prompt", "1"))
    assert arguments(tmp_path).data.image_key == IMAGE_KEY


def test_the_rows_of_the_task_pass():
    files = shapes.shapes_files(5, 0, shapes.Options("chat"))
    for prompt in files["train"]:
        assert image_problem(prompt.row.input, prompt.row.images, "images", 1, chat=True) is None
