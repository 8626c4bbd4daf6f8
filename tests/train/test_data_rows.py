"""Every row is checked before a start, by the host's own loader: what is refused, with its line, and what is counted."""

import json
import time
from datetime import date
from decimal import Decimal

import datasets
import pyarrow
import pyarrow.parquet
import pytest
from support.run_data import REWARDS, arguments, save_processor, save_tokenizer, write
from tokenizers import normalizers
from transformers import AutoTokenizer

from deltal_openrlhf.data.templates import base_math
from deltal_openrlhf.host.data_sets import BATCH
from deltal_openrlhf.train import data_rows, run_data

GOOD = {"input": "1+1=", "label": "2"}
DATED = {"input": "a", "label": "2024-01-31"}
LONG = {"input": "123456789", "label": "3"}  # 9 bytes, of which 8 are allowed
MATH = str(REWARDS / "math_reward.py")
COUNTDOWN = str(REWARDS / "countdown_reward.py")


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory):
    """The loader keeps an Arrow copy of every file that it has read."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path_factory.mktemp("cache"))
        yield


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save_tokenizer(tmp_path_factory.mktemp("model"))


@pytest.fixture
def read(model, tmp_path):
    """Check these rows; flags, label and reward as arguments() takes them."""

    def check(*rows, flags=(), name="train.jsonl", tokenizer=model, **options):
        path = write(tmp_path / name, *rows)
        return run_data.read(arguments(tokenizer, "--data.prompt_dataset", str(path), *flags, **options))

    return check


def train(data: run_data.RunData):
    return data.sets["data.prompt_dataset"]


def test_good_rows_pass_and_empty_lines_are_no_rows(read):
    found = train(read("", GOOD, "  ", GOOD, ""))
    assert (found.total, found.long, found.altered, found.longest) == (2, 0, 0, 4)


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ({"input": "a", "label": None}, "line 4: label is null"),
        ({"input": "a"}, "line 4: label is null"),
        ({"input": None, "label": "1"}, "line 4: input is null, allowed is text"),
        ({"input": "", "label": "1"}, "line 4: input is empty"),
        ({"input": "a", "label": 2}, "label is a number in line 4 and text in line 1; all rows need one type"),
        ({"input": "a", "label": ["2"]}, "label is a list in line 4 and text in line 1"),
        ({"input": [{"role": "user", "content": "a"}], "label": "1"}, "input is a list in line 4 and text in line 1"),
        ('{"input": "a", "la', "line 4: not JSON"),
        ("[1, 2]", "line 4: a list, a row is an object with columns"),
        ('{"input": "a\\ud800", "label": "1"}', "line 4: half a character"),
    ],
)
def test_a_bad_row_is_named_with_its_line(row, says, read, tmp_path):
    with pytest.raises(ValueError) as refused:
        read(GOOD, "", GOOD, row, GOOD)
    message = str(refused.value)
    assert message.startswith(f"--data.prompt_dataset {tmp_path / 'train.jsonl'}: ") and says in message
    assert "\n" not in message


def test_an_empty_line_that_the_loader_cannot_pass_over_is_named(read):
    rows = {**GOOD, "meta": "a"}, {**GOOD, "meta": 1}
    assert train(read(*rows)).total == 2
    with pytest.raises(ValueError, match="line 2: empty, in a file with columns of more than one type"):
        read(rows[0], "", rows[1])


def test_invalid_utf_8_is_named_with_file_and_line(read, tmp_path):
    path = write(tmp_path / "broken.jsonl", GOOD)
    path.write_bytes(path.read_bytes() + b'\n{"input": "\xff", "label": "1"}\n')
    with pytest.raises(ValueError, match=r"--eval.dataset .*broken.jsonl: line 3: not UTF-8 text \(byte 0xff\)"):
        read(GOOD, flags=["--eval.dataset", str(path)])


@pytest.mark.parametrize(
    ("rows", "flags", "says"),
    [
        ([], (), "train.jsonl: holds no rows"),
        (["", ""], (), "train.jsonl: holds no rows"),
        (
            [GOOD],
            ("--data.prompt_split", "test"),
            r"--data.prompt_split is test, but .*train.jsonl has no such split; it has train",
        ),
        (
            [GOOD],
            ("--data.label_key", "lable"),
            "--data.label_key is lable, but --data.prompt_dataset .* has the columns input, label",
        ),
        ([GOOD], ("--data.input_key", "prompt"), "--data.input_key is prompt, but"),
        ([DATED], (), "label is read as timestamp"),
        (
            [{"input": [{"role": "user", "content": "a"}], "label": "1"}],
            (),
            "line 1: input holds messages, which needs --data.apply_chat_template",
        ),
        (
            [{"input": [{"role": "user"}], "label": "1"}],
            ("--data.apply_chat_template",),
            "line 1: the chat template of .* does not take it",
        ),
        (
            [{"input": [{"content": "a"}], "label": "1"}],
            ("--data.apply_chat_template",),
            "line 1: input is not a list of messages",
        ),
        ([{"input": [], "label": "1"}], ("--data.apply_chat_template",), "line 1: input is not a list of messages"),
    ],
)
def test_what_a_file_lacks_is_refused(rows, flags, says, read):
    with pytest.raises(ValueError, match=says):
        read(*rows, flags=flags)


def test_a_bad_row_of_a_parquet_file_is_named_with_its_number(model, tmp_path):
    path = tmp_path / "train.parquet"
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist([GOOD, {"input": "a", "label": None}]), path)
    with pytest.raises(ValueError, match=r"train.parquet: row 2: label is null"):
        run_data.read(arguments(model, "--data.prompt_dataset", str(path)))


def test_invalid_utf_8_in_a_parquet_file_is_named_with_its_row(model, tmp_path):
    path = tmp_path / "train.parquet"
    texts = pyarrow.array([b"a", b"\xff"], pyarrow.binary()).view(pyarrow.string())
    pyarrow.parquet.write_table(pyarrow.table({"input": texts, "label": ["1", "2"]}), path)
    with pytest.raises(ValueError, match=r"train.parquet: row 2: not UTF-8 text"):
        run_data.read(arguments(model, "--data.prompt_dataset", str(path)))


def test_labels_without_a_form_in_json_suit_a_file_and_no_service(model, tmp_path):
    flags = "--data.prompt_dataset", str(tmp_path / "train.parquet")
    columns = {"input": ["a", "b"], "label": [Decimal("1.50"), date(2024, 1, 31)]}
    for label in columns["label"]:
        pyarrow.parquet.write_table(pyarrow.table(columns | {"label": [label, label]}), flags[1])
        assert train(run_data.read(arguments(model, *flags))).total == 2
        with pytest.raises(
            ValueError, match=r"row 1: label has no form in JSON \(.*\), in which a reward service gets"
        ):
            run_data.read(arguments(model, *flags, reward="http://127.0.0.1:1/get_reward"))


def test_a_column_of_dates_is_refused_only_where_json_made_it_of_texts(model, tmp_path):
    """Folders: of JSON lines, of parquet, and one that save_to_disk has written."""
    typed = datasets.Dataset.from_list([{**DATED, "label": date(2024, 1, 31)}])
    for name in ("lines", "parquet"):
        (tmp_path / name).mkdir()
    write(tmp_path / "lines" / "train.jsonl", DATED)
    typed.to_parquet(tmp_path / "parquet" / "train.parquet")
    typed.save_to_disk(tmp_path / "saved")
    for name in ("parquet", "saved"):
        assert train(run_data.read(arguments(model, "--data.prompt_dataset", str(tmp_path / name)))).total == 1
    with pytest.raises(ValueError, match="lines: label is read as timestamp"):
        run_data.read(arguments(model, "--data.prompt_dataset", str(tmp_path / "lines")))


def test_a_bad_row_of_the_second_file_is_named_by_that_file(model, tmp_path):
    one, two = (
        write(tmp_path / "one.jsonl", GOOD, GOOD),
        write(tmp_path / "two.jsonl", GOOD, {"input": "a", "label": None}),
    )
    for flags in ([], ["--data.prompt_probs", "0.5,0.5"]):
        with pytest.raises(ValueError, match=r"--data.prompt_dataset .*two.jsonl: line 2: label is null"):
            run_data.read(arguments(model, "--data.prompt_dataset", f"{one},{two}", *flags))


def test_labels_of_other_types_in_two_sets_are_refused(model, tmp_path):
    one, two = write(tmp_path / "one.jsonl", GOOD), write(tmp_path / "two.jsonl", {"input": "a", "label": 2})
    with pytest.raises(
        ValueError, match=r"--data.prompt_dataset: label is text in .*one.jsonl and a whole number in .*two.jsonl"
    ):
        run_data.read(arguments(model, "--data.prompt_dataset", f"{one},{two}"))


@pytest.mark.parametrize(
    ("reward", "label", "says"),
    [
        (MATH, " ", "line 2: a math label is an answer's text"),
        ("deltal:math", " ", "line 2: a math label is an answer's text"),
        (COUNTDOWN, "2", "line 2: a countdown label is"),
        (COUNTDOWN, json.dumps({"numbers": "12", "target": 3}), "line 2: a countdown label holds a list of integers"),
    ],
)
def test_labels_that_our_rewards_refuse_are_found_before_the_start(reward, label, says, read):
    good = {"input": "a", "label": json.dumps({"numbers": [1, 2], "target": 3})}
    assert train(read(good, reward=reward)).total == 1
    with pytest.raises(ValueError, match=says):
        read(good, {"input": "a", "label": label}, reward=reward)
    assert train(read(good, {"input": "a", "label": label})).total == 2  # another reward may want such a label


# ── Prompts over the limit, and prompts that the tokenizer alters ──


def test_long_prompts_are_counted_and_said(read, tmp_path):
    data = read(GOOD, LONG, GOOD, {**LONG, "input": "x" * 20})
    assert (train(data).total, train(data).long, train(data).longest) == (4, 2, 20)
    assert (
        "--data.prompt_dataset: 2 of 4 prompts have more than 8 tokens (--data.max_len minus --rollout.max_new_tokens), the first is "
        f"{tmp_path / 'train.jsonl'}: line 2; OpenRLHF cuts their beginning off; --deltal.skip_long_prompts leaves them out"
    ) in data.lines()


def test_long_prompts_are_left_out_on_request(read):
    data = read(GOOD, LONG, GOOD, flags=["--deltal.skip_long_prompts"])
    assert (train(data).total, train(data).long) == (2, 1)
    assert any("--deltal.skip_long_prompts leaves out 1 of 3 prompts" in line for line in data.lines())
    assert data.fingerprint().sha256 == read(GOOD, GOOD).fingerprint().sha256
    with pytest.raises(ValueError, match="leaves out all 1 prompts: each has more than 8 tokens"):
        read(LONG, flags=["--deltal.skip_long_prompts"])


def test_a_long_prompt_that_the_reward_would_refuse_is_refused(read):
    with pytest.raises(ValueError, match=r"line 2: the prompt has 9 tokens, allowed are 8 .*skip_long_prompts leaves"):
        read(GOOD, LONG, reward=MATH)
    assert train(read(GOOD, LONG, reward=MATH, flags=["--deltal.skip_long_prompts"])).total == 1


def test_our_service_asks_as_much_as_our_files_and_others_do_not(model, tmp_path):
    path = write(tmp_path / "train.jsonl", GOOD, LONG)
    args = arguments(model, "--data.prompt_dataset", str(path), reward="http://127.0.0.1:1/get_reward")
    assert train(run_data.read(args)).long == 1
    with pytest.raises(ValueError, match="line 2: the prompt has 9 tokens"):
        run_data.read(args, has_our_service=True)


def test_the_template_counts(read):
    assert train(read(GOOD, flags=["--data.input_template", "<{}>"])).longest == 6
    assert train(read(GOOD, flags=["--data.apply_chat_template"])).longest == len("<user>1+1=<assistant>")


def test_a_sign_that_the_tokenizer_replaces_is_found_in_any_row_and_told_apart(read, model, tmp_path):
    """NFC makes the Greek letter of the ohm sign; on a screen they are the same. All rows are looked at: here the last one has it."""
    nfc = AutoTokenizer.from_pretrained(model)
    nfc.backend_tokenizer.normalizer = normalizers.NFC()
    nfc.save_pretrained(tmp_path / "nfc")
    rows = [*[GOOD] * (BATCH + 1), {"input": "5\u2126", "label": "1"}]
    says = rf"line {BATCH + 2}: the tokenizer does not give the prompt back, .* '\\u2126' becomes '\\u03a9.*' \(character 2\)"
    with pytest.raises(ValueError, match=says):
        read(*rows, tokenizer=tmp_path / "nfc", reward=MATH)
    found = train(read(*rows, tokenizer=tmp_path / "nfc"))  # a reward of the user's own may not look for the prompt
    assert (found.total, found.altered) == (BATCH + 2, 1)
    assert train(read(*rows, reward=MATH)).altered == 0  # without NFC


def test_what_the_tokenizer_does_not_give_back(read, tmp_path):
    lower = save_tokenizer(tmp_path / "lower", lowercase=True)
    rows = GOOD, {"input": "so A", "label": "1"}
    with pytest.raises(
        ValueError, match=r"line 2: the tokenizer does not give the prompt back, .* 'A' becomes 'a.' \(character 4\)"
    ):
        read(*rows, tokenizer=lower, reward=MATH)
    data = read(*rows, tokenizer=lower)
    assert train(data).altered == 1
    assert any("does not give 1 of 2 prompts back, the first is " in line and "line 2" in line for line in data.lines())


def test_prompts_that_open_the_answer_do_not_belong_in_a_chat_template(read):
    rows = {"input": base_math("1 + 1?"), "label": "2"}, {"input": "1 + 2?", "label": "3"}
    without_template = ["--data.max_len", "1024"]
    with_template = ["--data.apply_chat_template", *without_template]
    assert any(
        "in 1 of 2 prompts the assistant has begun to answer" in line
        for line in read(*rows, flags=with_template).lines()
    )
    assert not any("begun" in line for line in read(*rows, flags=without_template).lines())
    assert not any("begun" in line for line in read(rows[1], flags=with_template).lines())


def test_a_long_check_says_how_far_it_is_and_how_fast(read, monkeypatch, capsys):
    assert not [line for line in read(GOOD).lines() if "a second" in line]
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(data_rows, "LONG", 1e-6)
    begun = time.monotonic()
    data = read(*[GOOD] * 9)
    assert 0 < 9 / train(data).speed < time.monotonic() - begun
    assert capsys.readouterr().err == "checking --data.prompt_dataset: 9/9 rows, 0:00:00\n"
    assert data.lines()[0].endswith(f" of 4 tokens, checked at {train(data).speed:,.0f} rows a second")


# ── The tokenizer, and dry runs ──


def test_a_missing_chat_template_or_tokenizer_is_named(read, tmp_path):
    plain = save_tokenizer(tmp_path / "plain", template=None)
    with pytest.raises(
        ValueError, match=r"--data.apply_chat_template needs a chat template, and the tokenizer of .*plain has none"
    ):
        read(GOOD, tokenizer=plain, flags=["--data.apply_chat_template"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(
        ValueError, match=r"--actor.model_name_or_path .*empty: the tokenizer cannot be loaded: "
    ) as refused:
        read(GOOD, tokenizer=tmp_path / "empty")
    assert "\n" not in str(refused.value)


def test_a_model_of_text_and_images_is_read_by_the_hosts_processor(read, tmp_path):
    flags = ["--data.apply_chat_template", "--data.max_len", "64"]
    found = train(read(GOOD, tokenizer=save_processor(tmp_path / "vision"), flags=flags))
    assert (found.total, found.altered, found.longest) == (1, 0, len("<user>1+1=<assistant>"))
    with pytest.raises(ValueError, match="needs a chat template"):  # its tokenizer alone
        read(GOOD, tokenizer=save_tokenizer(tmp_path / "plain", template=None), flags=flags)


def test_a_dry_run_checks_what_is_here(read):
    data = read(GOOD, flags=["--dry_run", "--eval.dataset", "hub/set"], tokenizer="hub/model")
    assert data.lines() == [
        "--eval.dataset is not on this machine: its rows were not checked",
        "--data.prompt_dataset: 1 prompt",
        "--data.prompt_dataset: the tokenizer is not here: prompts were not measured",
    ]
    with pytest.raises(ValueError, match="line 1: label is null"):
        read({"input": "a", "label": None}, flags=["--dry_run"], tokenizer="hub/model")


def test_a_dry_run_counts_rows_whose_chat_template_is_not_here(read):
    data = read(GOOD, GOOD, flags=["--dry_run", "--data.apply_chat_template"], tokenizer="hub/model")
    assert data.lines() == [
        "--data.prompt_dataset: 2 prompts",
        "--data.prompt_dataset: the tokenizer is not here: prompts were not measured",
    ]
    assert data.fingerprint() is None


def test_a_real_start_has_the_tokenizer_and_so_a_fingerprint(read):
    with pytest.raises(ValueError, match="--actor.model_name_or_path /nodes/model: the tokenizer cannot be loaded"):
        read(GOOD, flags=["--deltal.skip_long_prompts"], tokenizer="/nodes/model")
    assert read(GOOD, flags=["--deltal.skip_long_prompts"]).fingerprint() is not None


def test_an_evaluation_set_is_whole_and_a_training_set_is_cut(read, tmp_path):
    held_out = write(tmp_path / "test.jsonl", *[GOOD] * 5)
    data = read(*[GOOD] * 3, flags=["--eval.dataset", str(held_out), "--data.max_samples", "2"])
    assert {flag: rows.total for flag, rows in data.sets.items()} == {"data.prompt_dataset": 2, "eval.dataset": 5}
