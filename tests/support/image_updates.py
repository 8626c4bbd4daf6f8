"""One update of the tiny Qwen2.5-VL by the real trainer, and by brute force: one response at a time, without the host's Actor."""

import math
from pathlib import Path
from typing import Any

from deltal_openrlhf.parity import Case

PROMPTS = 4
"""Prompts of the batch: with one image, with two, with none, and with one of another size."""


def errors(rank: int, folder: str, cases: list[Case], blank: bool = False) -> list[float]:
    """The relative error of the update in each case, the larger one of the two towers.

    folder: of the model. blank: train the first response with a grey image, the mistake of a negative control.
    """
    return [_error(folder, case, blank) for case in cases]


def _error(folder: str, case: Case, blank: bool) -> float:
    import torch
    import torch.distributed as dist

    from deltal_openrlhf.parity import host_update, reference

    rows = batch(folder)
    trainer = host_update.build_trainer(case, model=model(folder))
    trainer.actor.is_vlm, trainer.actor._vlm_config = True, trainer.actor.model.module.config
    samples = host_update.experiences(case, rows)
    for number, sample in enumerate(samples):
        images = rows[number]["images"]
        if blank and number == 0:
            images = images | {"pixel_values": torch.zeros_like(images["pixel_values"])}
        sample.mm_train_inputs = [images]
    for sample in samples[dist.get_rank() :: dist.get_world_size()]:
        trainer.replay_buffer.append(sample)
    trainer.ppo_train(0.0)
    after = host_update.parameters(trainer.actor)

    plain = model(folder)
    before = {name: p.detach().clone() for name, p in plain.named_parameters()}
    members = list(range(len(rows)))
    weights = reference.reference_weights(case, rows, members)
    tokens = sum(int(row["mask"].sum()) for row in rows)
    for row, weight in zip(rows, weights.values(), strict=True):
        if row["mask"].any():
            reference.reference_loss(case, _reading(plain, row), row, weight, tokens).backward()
    with torch.no_grad():
        for p in plain.parameters():
            if p.grad is not None:
                p -= p.grad
    wanted = dict(plain.named_parameters())
    towers = [[name for name in before if ("visual" in name) == seen] for seen in (True, False)]
    return max(_relative(after, wanted, before, names) for names in towers)


def _relative(after: dict[str, Any], wanted: dict[str, Any], before: dict[str, Any], names: list[str]) -> float:
    """Of the change of these parameters."""
    import torch

    changes = [torch.cat([(to[name] - before[name]).flatten() for name in names]).double() for to in (after, wanted)]
    return ((changes[0] - changes[1]).norm() / changes[1].norm()).item()


def batch(folder: str) -> list[dict[str, Any]]:
    """As parity.cases.make_batch, with prompts of images that the host's own code has put into tokens, under the key images."""
    import torch
    from openrlhf.utils.vlm_utils import process_prompt_with_images
    from PIL import Image
    from transformers import AutoProcessor

    from deltal_openrlhf.models.tiny_vision import IMAGE, SPECIAL
    from deltal_openrlhf.parity.cases import VOCABULARY, make_batch

    processor = AutoProcessor.from_pretrained(folder)
    picture = f"<|vision_start|>{IMAGE}<|vision_end|>"
    generator = torch.Generator().manual_seed(1)
    prompts = []
    for text, sizes in (
        ("How many?", [(56, 56)]),
        ("Which?", [(56, 56), (84, 56)]),
        ("2 + 3?", []),
        ("And?", [(56, 112)]),
    ):
        pixels = [torch.randint(0, 256, (height, width, 3), generator=generator) for width, height in sizes]
        images = [Image.fromarray(image.byte().numpy()) for image in pixels]
        tokens, inputs, _ = process_prompt_with_images(processor, picture * len(images) + text, images)
        prompts.append((torch.tensor(tokens), inputs))
    rows = make_batch(holes=False)
    rarer = math.log(VOCABULARY / (len(SPECIAL) + 256))  # a token of this vocabulary than one of theirs
    for number, row in enumerate(rows):
        tokens, inputs = prompts[number // PROMPTS]
        short = int(row["mask"].int().argmax()) + 1 if row["mask"].any() else 1
        longer = len(tokens) - short
        # The prompt of the row is replaced; its response keeps its numbers. No token of a response is one of an image.
        response = row["ids"][short:] + len(SPECIAL)
        row["ids"] = torch.cat([tokens, response])
        for key in ("mask", "old", "base", "rollout"):
            row[key] = torch.cat([row[key].new_zeros(longer), row[key]])
        row["old"] = row["old"] + rarer * row["mask"]
        row["images"] = inputs
    return rows


def model(folder: str) -> Any:
    """In fp32, the same in every process."""
    import torch
    from transformers import AutoModelForImageTextToText

    return AutoModelForImageTextToText.from_pretrained(Path(folder), dtype=torch.float32, attn_implementation="sdpa")


def _reading(model: Any, row: dict[str, Any]) -> Any:
    """The model, which reads the row's images besides its tokens."""
    from deltal_openrlhf.models.tiny_vision import IMAGE, SPECIAL

    def read(ids: Any) -> Any:
        kinds = (ids == SPECIAL.index(IMAGE)).int()
        return model(ids, mm_token_type_ids=kinds, **row["images"]) if row["images"] else model(ids)

    return read
