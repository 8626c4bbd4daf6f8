"""Files of problems for `deltal data`, and a tokenizer to measure their prompts."""

import json

import pyarrow.parquet as pq

CHAT_TEMPLATE = (
    "{% for m in messages %}<{{ m.role }}> {{ m.content }} {% endfor %}"
    "{% if add_generation_prompt %}<assistant> ok {% endif %}"
)


def jsonl(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def problems(path, n, start=0):
    rows = [{"problem": f"Compute ${i} + {i * i}$.", "answer": str(i + i * i)} for i in range(start, start + n)]
    return jsonl(path, rows)


def read(path):
    if path.suffix == ".parquet":
        return pq.read_table(path).to_pylist()
    return [json.loads(line) for line in path.read_text().splitlines()]


def inputs(path):
    return [row["input"] for row in read(path)]


def save_tokenizers(folder):
    """folder/plain, and folder/chat with a chat template. A token is a word; special tokens, which the host does not add, are one more."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    words = Tokenizer(models.WordLevel({"[UNK]": 0, "[BOS]": 1}, unk_token="[UNK]"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    words.post_processor = processors.TemplateProcessing(single="[BOS] $A", special_tokens=[("[BOS]", 1)])
    fast = PreTrainedTokenizerFast(tokenizer_object=words, unk_token="[UNK]", bos_token="[BOS]")
    fast.save_pretrained(folder / "plain")
    fast.chat_template = CHAT_TEMPLATE
    fast.save_pretrained(folder / "chat")
