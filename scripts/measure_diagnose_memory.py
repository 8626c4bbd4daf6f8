"""Measures the peak memory of `deltal diagnose` on a model of GPT-2's size, and the accuracy of its estimates of the time left.

    python scripts/measure_diagnose_memory.py --out runs/diagnose_memory

It makes a random GPT-2 (124,439,808 parameters in float32) with one word a token, and prompts for it. It runs the command on 256 responses
in a process of its own. Then it prints that process's largest resident set (libraries, model and all) next to the limit of 3 x model + 1
GB. For every progress line with an estimate it prints the time that was really left of that stage.
"""

import argparse
import json
import random
import re
import resource
import subprocess
import sys
import time
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import GenerationConfig, GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

PROMPTS, RESPONSES_A_PROMPT = 32, 8
END_TOKENS = 4000
"""Of 50,257: a random model ends its responses after 12 tokens in the mean."""
REWARD = """
def reward_func(queries, prompts, labels, **_):
    return {"rewards": [len(queries[0]) % 2]}
"""
ESTIMATE = re.compile(r"deltal diagnose: (\w+): (\d+)/(\d+) \w+, [\d:]+, about (\d+):(\d+):(\d+) left")
FINISHED = re.compile(r"deltal diagnose: (\w+): (\d+)/\2 ")


def write_model(folder: Path) -> int:
    """Returns the bytes of its parameters."""
    config = GPT2Config(bos_token_id=None, eos_token_id=0)
    torch.manual_seed(0)
    model = GPT2LMHeadModel(config)
    model.generation_config = GenerationConfig(eos_token_id=list(range(END_TOKENS)))
    model.save_pretrained(folder)
    words = Tokenizer(models.WordLevel({f"w{i}": i for i in range(config.vocab_size)}, unk_token="w0"))
    words.pre_tokenizer, words.decoder = pre_tokenizers.Split(" ", "removed"), decoders.Fuse()
    PreTrainedTokenizerFast(tokenizer_object=words, eos_token="w0", unk_token="w0").save_pretrained(folder)
    return sum(parameter.numel() * parameter.element_size() for parameter in model.parameters())


def write_prompts(path: Path) -> None:
    rng = random.Random(0)
    with open(path, "w", encoding="utf-8") as file:
        for _ in range(PROMPTS):
            prompt = " ".join(f"w{rng.randrange(END_TOKENS, 50257)}" for _ in range(rng.randint(5, 20)))
            file.write(json.dumps({"input": prompt, "label": "1", "datasource": "random"}) + "\n")


def run(command: list[str]) -> list[tuple[float, str]]:
    """(seconds, line) of its output, which is printed as it comes."""
    began, lines = time.monotonic(), []
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        for line in process.stdout:
            lines.append((time.monotonic() - began, line.rstrip()))
            print(f"{lines[-1][0]:7.1f} s  {lines[-1][1]}", flush=True)
    if process.returncode:
        sys.exit(f"the command ended with {process.returncode}")
    return lines


def estimates(lines: list[tuple[float, str]]) -> list[tuple[str, float, float, float]]:
    """(stage, share of it done, seconds left as estimated, as it was) of every progress line with an estimate."""
    ends = {m[1]: seconds for seconds, line in lines if (m := FINISHED.match(line))}
    found = []
    for seconds, line in lines:
        if m := ESTIMATE.match(line):
            stage, done, total, *left = m.groups()
            hours, minutes, rest = map(int, left)
            found.append((stage, int(done) / int(total), 3600 * hours + 60 * minutes + rest, ends[stage] - seconds))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="a new folder")
    parser.add_argument("--max_new_tokens", type=int, default=128)
    args = parser.parse_args()
    args.out.mkdir(parents=True)
    model_bytes = write_model(args.out / "model")
    write_prompts(args.out / "data.jsonl")
    (args.out / "reward.py").write_text(REWARD, encoding="utf-8")
    flags = {
        "model": args.out / "model",
        "data": args.out / "data.jsonl",
        "out": args.out / "diagnose",
        "reward": args.out / "reward.py",
        "prompts": PROMPTS,
        "n": RESPONSES_A_PROMPT,
        "batch_prompts": PROMPTS // 4,
        "max_new_tokens": args.max_new_tokens,
    }
    command = [sys.executable, "-m", "deltal_openrlhf.cli.main", "diagnose"]
    lines = run([*command, *(str(part) for name, value in flags.items() for part in (f"--{name}", value))])
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
    print("\nstage, share done, estimated and real seconds left:")
    for stage, share, estimated, real in estimates(lines):
        print(f"  {stage:<10} {share:4.0%} {estimated:6.0f} {real:6.0f}")
    limit = 3 * model_bytes + 10**9
    print(
        f"\n{PROMPTS * RESPONSES_A_PROMPT} responses, model {model_bytes / 1e6:.0f} MB: peak resident set {peak / 1e6:.0f} MB, allowed "
        f"{limit / 1e6:.0f} MB, {lines[-1][0]:.0f} s on {torch.get_num_threads()} threads"
    )
    sys.exit(int(peak > limit))


if __name__ == "__main__":
    main()
