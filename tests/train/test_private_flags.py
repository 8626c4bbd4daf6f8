"""`deltal train` with credentials, and with models that bring Python along: what it shows, and what it refuses before Ray starts."""

import json
from types import SimpleNamespace

import pytest
import torch
from support.launches import launch_all, lines
from support.recipe_settings import config
from support.remote_code import bring_code

from deltal_openrlhf.quickstart import model as tiny
from deltal_openrlhf.runs.redaction import Key
from deltal_openrlhf.train import credentials

KEY = "0123456789abcdef0123456789abcdef01234567"
REWARDS = "http://ann:pa55word@127.0.0.1:1/get_reward,http://127.0.0.1:1/get_reward?key=t0ken"
DRY = [*config("math-deltal"), "--dry_run"]
SMALL = "--actor.num_gpus_per_node 1 --vllm.num_engines 1 --data.prompt_dataset hub/set --eval.dataset hub/set".split()
SIZES = """--dry_run --actor.num_gpus_per_node 8 --vllm.num_engines 1 --rollout.batch_size 8 --rollout.n_samples_per_prompt 4
    --train.batch_size 16 --train.micro_batch_size 2 --rollout.micro_batch_size 2 --algo.advantage.estimator rloo
    --algo.kl.init_coef 0 --data.prompt_dataset hub/set""".split()
MEGATRON = [*SIZES, "--backend", "megatron", "--reward.remote_url", "http://127.0.0.1:1/"]
ENVIRONMENT = (
    "import os; [os.environ.pop(name, None) for name in ('WANDB_API_KEY', 'WANDB_MODE')]; os.environ['NETRC'] = 'none'"
)


@pytest.fixture(scope="module")
def real(tmp_path_factory) -> dict[str, tuple]:
    """name -> (exit status, stdout, stderr) of every run."""
    folder = tmp_path_factory.mktemp("runs")
    torch.manual_seed(0)
    tokenizer = tiny.build_tokenizer()
    for name in ("own", "known"):
        tiny.build_model(tokenizer).save_pretrained(folder / name)
        tokenizer.save_pretrained(folder / name)
        bring_code(folder / name, folder / "mark", needed=name == "own")
    for path in folder.glob("*/config.json"):  # Megatron-Core has no bias there; the recipe's responses are long
        settings = json.loads(path.read_text()) | {"attention_bias": False, "max_position_embeddings": 65536}
        path.write_text(json.dumps(settings))
    (folder / "key.yaml").write_text(f"logger.wandb.key: {KEY}\nreward.remote_url: {REWARDS}\n")
    runs = {
        "flags": [*DRY, "--logger.wandb.key", KEY, "--reward.remote_url", REWARDS],
        "file": [*DRY, "--config", "key.yaml"],
        "mistyped": [*DRY, "--logger.wandb.keyy", KEY],
        "no service": [*DRY, "--logger.wandb.key", KEY, "--reward.remote_url", "htp://ann:pa55word@h/x?key=t0ken"],
        "no key": [*DRY, "--logger.wandb.key", "env"],
        "no real key": [*DRY, "--logger.wandb.key", "geheim"],
        "own": [*DRY, "--actor.model_name_or_path", "own"],
        "own, real start": [*config("math-deltal"), *SMALL, "--actor.model_name_or_path", "own"],
        "own, megatron": [*MEGATRON, "--actor.model_name_or_path", "own"],
        "own, reward": [*SIZES, "--reward.model_name_or_path", "known,own"],
        "known": [*DRY, "--actor.model_name_or_path", "known"],
        "known, megatron": [*MEGATRON, "--actor.model_name_or_path", "known"],
    }
    found = launch_all(runs, folder, before=ENVIRONMENT)
    assert not (folder / "mark").exists()
    trusted = {"own, trusted": [*DRY, "--actor.model_name_or_path", "own", "--deltal.trust_remote_code"]}
    return found | launch_all(trusted, folder)


@pytest.mark.parametrize("run", ["flags", "file", "mistyped", "no service"])
def test_no_credential_is_shown(run, real):
    said = "".join(real[run][1:])
    assert "***" in said
    assert [secret for secret in (KEY, "pa55word", "t0ken") if secret in said] == []


def test_a_dry_run_shows_where_they_come_from(real):
    assert real["flags"][0] == 0
    assert "logger.wandb.key *** command line" in lines(real["flags"][1])
    shown = "reward.remote_url http://***@127.0.0.1:1/get_reward,http://127.0.0.1:1/get_reward?*** key.yaml:2"
    assert shown in lines(real["file"][1])


NEEDS = "own: needs Python of its own (own.py), which would run with your rights; --deltal.trust_remote_code allows it"


@pytest.mark.parametrize(
    ("run", "says"),
    [
        ("no key", "--logger.wandb.key is env, but WANDB_API_KEY is not set and `wandb login` has saved no key here"),
        (
            "no real key",
            "--logger.wandb.key: wandb refuses it: API key must have 40+ characters, has 6; allowed are env",
        ),
        ("own", f"--actor.model_name_or_path {NEEDS}"),
        ("own, real start", f"--actor.model_name_or_path {NEEDS}"),
        ("own, megatron", f"--actor.model_name_or_path {NEEDS}"),
        ("own, reward", f"--reward.model_name_or_path {NEEDS}"),
    ],
)
def test_what_is_refused_with_status_2_and_one_line(run, says, real):
    code, _, err = real[run]
    assert code == 2
    assert [says in line for line in err.splitlines() if "not there: " not in line] == [True]


@pytest.mark.parametrize("run", ["known", "known, megatron", "own, trusted"])
def test_what_needs_none_or_may_run_is_not_refused(run, real):
    code, out, err = real[run]
    assert (code, err) == (0, "")


def wandb_flags(key: str) -> SimpleNamespace:
    return SimpleNamespace(logger=SimpleNamespace(wandb=SimpleNamespace(key=key)))


@pytest.mark.parametrize(
    ("key", "is_taken"),
    [
        (KEY, True),
        ("wandb_v1_" + "k" * 77, True),
        ("local-" + KEY, True),
        ("local-" + KEY[:36], False),  # 42 characters, of which 36 count
        ("eyJh.eyJz.c2ln", True),  # a token
        (KEY[:39] + "!", False),
    ],
)
def test_a_key_is_taken_where_wandb_takes_it(key, is_taken, monkeypatch):
    """The reference is what wandb makes of a key when it logs in."""
    from wandb.errors import AuthenticationError
    from wandb.sdk.lib.wbauth import AuthApiKey

    monkeypatch.delenv("WANDB_MODE", raising=False)
    try:
        AuthApiKey(host="https://example.org", api_key=key)
        assert is_taken
    except AuthenticationError:
        assert not is_taken
    try:
        assert credentials.resolve_wandb_key(wandb_flags(key)) == []
        assert is_taken
    except ValueError as error:
        assert not is_taken and key not in str(error)


@pytest.mark.parametrize("server", [None, "http://127.0.0.1:1"])
def test_the_key_is_that_of_the_variable_or_of_wandb_login(server, monkeypatch, tmp_path):
    """The file is written as `wandb login` writes it."""
    import wandb
    from wandb.sdk.lib.wbauth import write_netrc_auth

    monkeypatch.delenv("WANDB_MODE", raising=False)
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    if server:
        monkeypatch.setenv("WANDB_BASE_URL", server)
    else:
        monkeypatch.delenv("WANDB_BASE_URL", raising=False)
    write_netrc_auth(host=server or wandb.Settings().base_url, api_key="n" * 40)
    args = wandb_flags("env")
    for variable, wanted in ((None, "n" * 40), (KEY, KEY)):
        args.logger.wandb.key = "env"
        if variable:
            monkeypatch.setenv("WANDB_API_KEY", variable)
        else:
            monkeypatch.delenv("WANDB_API_KEY", raising=False)
        credentials.resolve_wandb_key(args)
        assert args.logger.wandb.key == wanted
        assert isinstance(args.logger.wandb.key, Key)


def test_another_version_of_wandb_is_named_where_its_functions_are_missing(monkeypatch):
    """A key that is given is used unchecked, with a line; one that is not given is not said to be missing."""
    from wandb.sdk.lib import wbauth

    for name in ("WANDB_MODE", "WANDB_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.delattr(wbauth, "check_api_key")
    monkeypatch.delattr(wbauth, "read_netrc_auth")
    monkeypatch.setattr(credentials, "installed_version", {"wandb": "0.99.0"}.get)
    args = wandb_flags(KEY)
    (line,) = credentials.resolve_wandb_key(args)
    assert args.logger.wandb.key == KEY and KEY not in line
    assert line.startswith(
        "--logger.wandb.key: its form was not checked: cannot import name 'check_api_key' from 'wandb."
    )
    with pytest.raises(
        ValueError, match=r"cannot be looked up: .*'read_netrc_auth' from 'wandb\..*0\.99\.0.*; set WANDB_API_KEY$"
    ):
        credentials.resolve_wandb_key(wandb_flags("env"))
