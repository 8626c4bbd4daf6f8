"""The stages that need transformers, for processes of their own (stages.in_child): importing this module costs nothing."""

import sys
from pathlib import Path

from deltal_openrlhf.quickstart.sizes import Size
from deltal_openrlhf.runs.progress import Progress


def supervised_start(size: Size, seed: int, folder: Path) -> dict:
    """Train the start model on traces and save it in `folder`."""
    import torch

    from deltal_openrlhf.quickstart import model, supervised

    if size.device == "cpu":
        torch.set_num_threads(1)
    tokenizer = model.build_tokenizer(size)
    with Progress("  supervised start", "steps", size.steps, stream=sys.stdout) as progress:
        trained = supervised.train(tokenizer, size, seed=seed, progress=progress.update)
    model.save(trained, tokenizer, folder, size)
    return {}


def evaluation(folder: Path, problems: list, max_new_tokens: int, prompts: str = "words", device: str = "cpu") -> dict:
    """What evaluate.evaluate gives for the model in `folder`."""
    import torch

    from deltal_openrlhf.quickstart import evaluate

    if device == "cpu" and prompts == "words":
        torch.set_num_threads(1)
    return evaluate.evaluate(folder, problems, max_new_tokens=max_new_tokens, prompts=prompts, device=device)
