"""`deltal train --backend megatron` up to the start of Ray: the real command line, all runs in one process."""

import json

import pytest
from support.launches import launch_all, lines
from support.megatron.flag_cases import (
    ACCEPTED,
    DEEPSPEEDS,
    MEGATRONS,
    MODELS,
    REFUSED,
    ROOT,
    RUNS,
    SHAPE,
    UNTIL_RAY,
    YAML,
    P,
    T,
)
from support.recipe_settings import host_parser
from support.run_data import save_tokenizer, write

from deltal_openrlhf.host.features import EXACT
from megatron_ext.features import FEATURES, REFUSED_FLAGS, table
from megatron_ext.flags import DEFAULT_CHUNK_SIZE

pytestmark = pytest.mark.cpu_build  # a start on GPUs needs Transformer Engine and compares the GPUs


@pytest.fixture(scope="module")
def real(tmp_path_factory) -> dict[str, tuple]:
    """name -> (exit status, stdout, stderr) of every run, with the model `dense` where no other is named."""
    folder = tmp_path_factory.mktemp("models")
    (folder / "empty").mkdir()
    for name, config in MODELS.items():
        (folder / name).mkdir()
        (folder / name / "config.json").write_text(json.dumps(SHAPE | config))
    save_tokenizer(folder / "dense")
    write(folder / "prompts.jsonl", *({"input": f"1 + {i} =", "label": str(1 + i)} for i in range(8)))
    for name, text in YAML.items():
        (folder / name).write_text(text)
    model = ["--actor.model_name_or_path", "dense"]
    runs = {name: argv if name in ("no model", "help") else [*model, *argv] for name, argv in RUNS.items()}
    return launch_all(runs, folder, before=UNTIL_RAY)


def refusal(run: tuple) -> str:
    """The lines of a refused run, one for each thing that does not go."""
    code, out, err = run
    assert (code, out) == (2, "")
    assert all(line.startswith("deltal train: error: ") for line in err.splitlines())
    return err


# ── Refused ──


@pytest.mark.parametrize(("flags", "says"), REFUSED.items())
def test_what_does_not_go_is_refused_in_one_line(flags, says, real):
    assert says in refusal(real[f"refused {flags}"])


@pytest.mark.parametrize(("flag", "says"), [(flag, says) for flag, (_, says) in DEEPSPEEDS.items()])
def test_a_flag_that_this_backend_would_not_read_is_refused(flag, says, real):
    line = refusal(real[f"refused {flag}"])
    assert f"error: --{flag} is " in line
    assert "but --backend is megatron: " in line
    assert says in line
    assert line.endswith("; it is allowed with --backend deepspeed only\n")


def test_every_refused_flag_is_tried():
    assert sorted(DEEPSPEEDS) == sorted(flag for _, flags, _ in REFUSED_FLAGS for flag in flags.split())


def test_every_flag_of_deepspeed_and_of_the_reference_is_used_or_refused():
    used = {"ds.packing_samples", "ds.enable_sleep", "ref.num_nodes", "ref.num_gpus_per_node"}
    flags = {action.dest for action in host_parser()._actions if action.dest.startswith(("ds.", "ref."))}
    assert flags - used == {flag for flag in DEEPSPEEDS if flag.startswith(("ds.", "ref."))}


def test_rewards_need_a_source_and_a_run_a_model(real):
    line = refusal(real["no reward"])
    assert (
        "--reward.model_name_or_path (reward model on GPUs) does not go with --backend megatron: set --reward.remote_url or"
        in line
    )
    assert "--actor.model_name_or_path is None, allowed is a folder" in refusal(real["no model"])


@pytest.mark.parametrize("flag", MEGATRONS)
def test_flags_of_megatron_need_the_backend(flag, real):
    line = refusal(real[f"deepspeed {flag}"])
    assert f"error: {flag} is " in line
    assert "but --backend is deepspeed; it is allowed with --backend megatron only" in line


def test_deepspeed_keeps_its_own(real):
    for run in ("deepspeed with Megatron's defaults", "deepspeed with its own"):
        assert real[run][0] == 0, real[run]
        assert "Megatron" not in real[run][1]
    # What --megatron.tensor_parallel_size 2 lets through: ACCEPTED.
    says = "--train.batch_size is 16, which is not a multiple of ranks x --train.micro_batch_size, 32"
    assert says in refusal(real["deepspeed with micro batches of 4"])


# ── Accepted ──


@pytest.mark.parametrize(("flags", "layout"), ACCEPTED.items())
def test_what_goes_is_accepted_with_its_layout(flags, layout, real):
    code, out, err = real[f"accepted {flags}"]
    assert (code, err) == (0, "")
    assert layout in lines(out)


def test_the_dry_run_of_a_full_command(real):
    code, out, err = real["full"]
    found = lines(out)
    assert (code, err) == (0, "")
    assert found[found.index("Megatron") + 1] == "tensor 2, pipeline 2, context 1, data parallel 2"
    assert any(line.startswith("--ds.tensor_parallel_size is set to 4, the ranks of one copy") for line in found)
    # Set by the backend, so it is not shown as the 1 of the command line, nor as a 4 from there.
    assert not any(line.startswith("ds.tensor_parallel_size") for line in found)
    assert "megatron.pipeline_parallel_size 2 command line" in found
    # 16 responses on 2 data parallel ranks; 2 responses of 2,048 tokens fit into 5,000.
    assert (
        "micro batches per optimizer step and rank 1 to 4, by tokens 2 data parallel ranks, 8 responses each" in found
    )
    assert "Tokens per copy of the model, on 4 GPUs, at most" in found
    assert "in a micro batch 5,000 forward and backward at once" in found


def test_a_start_says_the_layout_and_the_host_gets_it(real):
    code, out, err = real["full, real"]
    assert (code, err) == (7, "")
    assert "deltal train: Megatron: tensor 2, pipeline 2, context 1, data parallel 2" in lines(out)
    host = next(line for line in lines(out) if line.startswith("HOST"))
    # The model is not transformers', so its attention is left alone; sleep is switched off where there is no GPU memory.
    assert host.startswith(
        "HOST megatron 4 1 True False flash_attention_2 {'tensor_parallel_size': 2, 'pipeline_parallel_size': 2"
    )
    assert "--ds.attn_implementation" not in out
    assert "--ds.enable_sleep False instead of True" in out


def test_a_start_with_deepspeed_says_nothing_of_it(real):
    code, out, _ = real["deepspeed, real"]
    assert code == 7
    assert "Megatron" not in out
    assert any(line.startswith("HOST deepspeed 1 1 ") for line in lines(out))


def test_only_the_faults_of_the_host_that_are_met_are_counted(real):
    """With DeepSpeed, checkpoints are one more: Megatron-Core's are another format."""

    def mended(run: str) -> int:
        line = next(line for line in lines(real[run][1]) if "known faults of OpenRLHF are mended" in line)
        return int(line.split()[2])

    assert mended("deepspeed, real") == mended("full, real") + 1


# ── Files ──


def test_flags_from_a_file(real):
    code, out, err = real["nested.yaml"]
    assert (code, err) == (0, "")
    found = lines(out)
    assert "tensor 2 (sequence parallel), pipeline 1, context 1, data parallel 4" in found
    assert "backend megatron nested.yaml:1" in found
    assert "megatron.max_tokens_per_micro_batch 3000 nested.yaml:5" in found
    assert "tensor 1, pipeline 1, context 1, data parallel 8" in lines(real["nested.yaml, then back.yaml"][1])
    assert "tensor 4 (sequence parallel), pipeline 1, context 1, data parallel 2" in lines(
        real["nested.yaml, then a flag"][1]
    )


@pytest.mark.parametrize(
    ("run", "says"),
    [
        (
            "nested.yaml with deepspeed",
            f"{T} is 2, but --backend is deepspeed; it is allowed with --backend megatron only (set in nested.yaml:3;",
        ),
        ("zero.yaml", "--ds.zero_stage is 3, but --backend is megatron: "),
        ("zero.yaml", "(set in zero.yaml:2; `ds.zero_stage: null` in a later --config file takes it back)"),
        ("unknown.yaml", "unknown.yaml:1: unknown key 'megatron.tensor_parallel'; the nearest known one is 'megatron."),
        ("text.yaml", f"text.yaml:1: argument {P}: invalid int value: 'two'"),
        ("size.yaml", f"{P} is 0, allowed is 1 or more (set in size.yaml:1)"),
    ],
)
def test_a_wrong_value_in_a_file_is_refused_with_its_place(run, says, real):
    assert says in refusal(real[run])


# ── Documentation ──


def test_help_has_a_text_for_each_flag(real):
    code, out, _ = real["help"]
    assert code == 0
    assert "--backend" in out[: out.index("\nMegatron:")]
    text = " ".join(out[out.index("\nMegatron:") :].split())
    for flag in MEGATRONS:
        assert flag in text
    assert "docs/reference/megatron_features.md" in text
    assert f"default {DEFAULT_CHUNK_SIZE}" in text


def test_every_exact_feature_names_a_test_that_exists():
    for feature in FEATURES:
        if feature.status == EXACT:
            assert (ROOT / feature.why).exists(), feature


def test_the_doc_has_the_table():
    assert table(FEATURES) in (ROOT / "docs" / "reference" / "megatron_features.md").read_text(encoding="utf-8")


def test_every_flag_of_the_table_is_one_of_the_command_line():
    known = set(host_parser()._option_string_actions)
    for feature in FEATURES:
        for flag in feature.flag.split(", "):
            assert not flag or flag.split()[0] in known, feature
