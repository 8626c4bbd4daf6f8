"""The stages that need transformers, for processes of their own (stages.in_child): importing this module costs nothing."""

import time
from pathlib import Path

from deltal_openrlhf.quickstart.sizes import Size


def supervised_start(size: Size, seed: int, folder: Path) -> dict:
    """Train the start model on traces and save it in `folder`."""
    import torch

    from deltal_openrlhf.quickstart import model, supervised

    torch.set_num_threads(1)
    tokenizer = model.build_tokenizer(size)
    trained = supervised.train(tokenizer, size, seed=seed, progress=_Progress("  supervised step", size.steps))
    model.save(trained, tokenizer, folder, size)
    return {}


def evaluation(folder: Path, problems: list, max_new_tokens: int) -> dict:
    """What evaluate.evaluate gives for the model in `folder`."""
    import torch

    from deltal_openrlhf.quickstart import evaluate

    torch.set_num_threads(1)
    return evaluate.evaluate(folder, problems, max_new_tokens=max_new_tokens)


class _Progress:
    """Prints ten lines over a stage, with the time that is left at the rate so far."""

    def __init__(self, name: str, steps: int) -> None:
        self.name, self.steps, self.start = name, steps, time.monotonic()

    def __call__(self, step: int) -> None:
        if step % max(1, self.steps // 10) == 0:
            left = (time.monotonic() - self.start) / step * (self.steps - step)
            print(f"{self.name} {step}/{self.steps}, {left:.0f} s left", flush=True)
