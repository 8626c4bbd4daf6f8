"""Files of rows, a tokenizer and the host's arguments, for the checks of a run's data."""

import json
from pathlib import Path
from types import SimpleNamespace

from support.host_arguments import host_arguments

REWARDS = Path(__file__).parents[2] / "deltal_openrlhf" / "rewards"
TEMPLATE = "{% for m in messages %}<{{ m.role }}>{{ m.content + '' }}{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}"
SIZES = (
    "--rollout.batch_size 4 --rollout.n_samples_per_prompt 4 --rollout.micro_batch_size 4 --train.batch_size 4 --train.micro_batch_size 4 "
    "--vllm.num_engines 1 --actor.num_gpus_per_node 1 --data.max_len 16 --rollout.max_new_tokens 8 --algo.advantage.estimator group_norm"
).split()
"""A prompt may have 8 tokens."""


def save_tokenizer(folder: Path, *, template: str | None = TEMPLATE, lowercase: bool = False) -> Path:
    """A tokenizer whose tokens are bytes. lowercase: it does not give capital letters back."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={letter: i for i, letter in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    if lowercase:
        tokenizer.normalizer = normalizers.Lowercase()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, clean_up_tokenization_spaces=False)
    fast.chat_template = template
    fast.save_pretrained(folder)
    return folder


def save_processor(folder: Path) -> Path:
    """Configuration and processor of a model of text and images. Its chat template is the processor's only, as in older models."""
    from transformers import (
        AutoTokenizer,
        CLIPImageProcessorPil,
        CLIPVisionConfig,
        LlamaConfig,
        LlavaConfig,
        LlavaProcessor,
    )

    tokenizer = AutoTokenizer.from_pretrained(save_tokenizer(folder, template=None))
    tokenizer.add_tokens("<image>", special_tokens=True)
    LlavaProcessor(CLIPImageProcessorPil(), tokenizer, patch_size=14).save_pretrained(folder)
    LlavaConfig(vision_config=CLIPVisionConfig(), text_config=LlamaConfig()).save_pretrained(folder)
    (folder / "chat_template.json").write_text(json.dumps({"chat_template": TEMPLATE}))
    return folder


def write(path: Path, *rows: dict | str) -> Path:
    """A file of JSON lines; a str is a line as it is."""
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return path


def arguments(model: Path, *flags: str, label: str | None = "label", reward: str = "reward.py") -> SimpleNamespace:
    """Of a real start. reward: a file that is not ours, unless told otherwise."""
    labels = ["--data.label_key", label] if label else []
    words = ["--actor.model_name_or_path", str(model), "--reward.remote_url", reward, *SIZES, *labels, *flags]
    return host_arguments(*words)
