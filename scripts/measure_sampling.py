#!/usr/bin/env python3
"""Do the same seeds give the same responses? python scripts/measure_sampling.py [--model FOLDER --prompts FILE.jsonl]

The script asks the engine of a training run (SeededRolloutActor on vLLM) for the same prompts several times. Each time something else is
computed together: one prompt after the other, in another order, on a second engine in a process of its own, and without seeds for contrast.
It prints how many responses equal those of the first time, and how many of all compared tokens come before a difference.

Without --model, it makes a random model of 0.1M parameters, whose responses are nearly uniform draws. It takes about a minute on one core.
"""

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from deltal_openrlhf import cpu
from deltal_openrlhf.host import process

SEED, SAMPLES = 1, 8
PROMPTS, NEW_TOKENS = 32, 64
WORDS = ["<pad>", "<eos>", "<unk>", *"0123456789abcdefghijklmnopqrstuvwxyz +-=?.!"]

Responses = dict[tuple[int, int], list[int]]
"""Tokens by the place of the prompt and the number of the sample."""


def make_model(folder: Path) -> None:
    from tokenizers import Regex, pre_tokenizers

    from deltal_openrlhf.models.tiny import write_tiny_model

    write_tiny_model(folder, WORDS, pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated"))


async def start(model: str) -> Any:
    from deltal_openrlhf.host.sampling import SeededRolloutActor

    engine = SeededRolloutActor.__new__(SeededRolloutActor)
    # What create_vllm_engines passes on a machine without a GPU.
    arguments = {"model": model, "seed": SEED, "dtype": "bfloat16", "enforce_eager": True, "max_model_len": 256}
    await engine.__init__(num_gpus=0, remote_rm_url=None, **arguments)
    return engine


async def respond(engine: Any, tokenizer: Any, prompts: Sequence[tuple[int, str]], *, seeded: bool = True) -> Responses:
    """All at once. prompts: place and text of each."""
    from vllm import SamplingParams

    from deltal_openrlhf.host.sampling import Draw
    from deltal_openrlhf.statistics.seeds import seed_of

    async def one(place: int, prompt: str) -> Responses:
        given = {
            "sampling_params": SamplingParams(temperature=1.0, max_tokens=NEW_TOKENS),
            **{"prompt": prompt, "label": "", "max_length": 256, "hf_tokenizer": tokenizer, "num_samples": SAMPLES},
        }
        if seeded:
            found = await engine.generate_responses(**given, draw=Draw(place, seed_of(SEED, "response", 0, place)))
        else:
            found = await super(type(engine), engine).generate_responses(**given)
        return {(place, number): response["observation_tokens"] for number, response in enumerate(found)}

    results = await asyncio.gather(*(one(place, prompt) for place, prompt in prompts))
    return {key: tokens for result in results for key, tokens in result.items()}


async def one_by_one(engine: Any, tokenizer: Any, prompts: Sequence[tuple[int, str]]) -> Responses:
    found: Responses = {}
    for prompt in prompts:
        found |= await respond(engine, tokenizer, [prompt])
    return found


def compared(first: Responses, other: Responses) -> str:
    """One line: equal responses, and tokens before a difference."""
    equal = sum(tokens == other[key] for key, tokens in first.items())
    total, same = 0, 0
    for key, tokens in first.items():
        total += len(tokens)
        same += next((i for i, (a, b) in enumerate(zip(tokens, other[key], strict=False)) if a != b), len(tokens))
    return f"{equal} of {len(first)} responses equal, {same / total:.4f} of the tokens before a difference"


async def measure(model: str, prompts: Sequence[tuple[int, str]], *, once: bool) -> list[tuple[str, Responses]]:
    """(way, responses) of an engine in this process. once: the first way only."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model)
    engine = await start(model)
    ways = [("the first time", await respond(engine, tokenizer, prompts))]
    if not once:
        ways.append(("once more", await respond(engine, tokenizer, prompts)))
        ways.append(("in reverse order", await respond(engine, tokenizer, prompts[::-1])))
        ways.append(("one prompt after the other", await one_by_one(engine, tokenizer, prompts)))
        ways.append(("once more without seeds", await respond(engine, tokenizer, prompts, seeded=False)))
    engine.llm.shutdown()
    return ways


def in_another_process(model: str, file: Path | None) -> Responses:
    words = [sys.executable, __file__, "--model", model, *(["--prompts", str(file)] if file else []), "--once"]
    said = subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()[-1]
    return {(place, number): tokens for place, number, tokens in json.loads(said)}


def read_prompts(file: Path | None) -> list[tuple[int, str]]:
    texts: Iterable[str] = (f"{i}+{i % 7}=" for i in range(PROMPTS))
    if file is not None:
        texts = [json.loads(line)["input"] for line in file.read_text(encoding="utf-8").splitlines()[:PROMPTS]]
    return list(enumerate(texts))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="Hugging Face folder; default: a tiny random one")
    parser.add_argument("--prompts", type=Path, help="JSON lines with `input`; default: sums")
    parser.add_argument("--once", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    cpu.set_environment()
    process.prepare()
    os.environ.setdefault("RAY_ADDRESS", "none")
    prompts = read_prompts(given.prompts)
    with tempfile.TemporaryDirectory() as folder:
        if given.model is None:
            make_model(Path(folder))
        model = given.model or folder
        ways = asyncio.run(measure(model, prompts, once=given.once))
        if given.once:
            print(json.dumps([[*key, tokens] for key, tokens in ways[0][1].items()]), flush=True)
            return
        ways.append(("on an engine in another process", in_another_process(model, given.prompts)))
    (_, first), *others = ways
    print(f"{len(first)} responses to {len(prompts)} prompts, {sum(map(len, first.values()))} tokens with the prompts")
    for way, found in others:
        print(f"{way}: {compared(first, found)}")


if __name__ == "__main__":
    main()
