"""Whether Python that a model brings along runs: in what the host, vLLM and our own commands load, in a process that starts as theirs."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from support import commands
from support.host_arguments import host_arguments
from support.remote_code import bring_code

from deltal_openrlhf.host.remote_code import check_models
from deltal_openrlhf.models import remote_code
from deltal_openrlhf.quickstart import model as tiny

LOADS = """
import json, os, sys
from pathlib import Path
from deltal_openrlhf.host import process, remote_code

process.prepare()
from transformers import dynamic_module_utils
dynamic_module_utils.HF_MODULES_CACHE = sys.argv[2]
from openrlhf.models import model
from openrlhf.models.actor import Actor
from openrlhf.utils import utils
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer
from vllm.transformers_utils.config import get_config
from vllm.transformers_utils.dynamic_module import try_get_class_from_dynamic_module

LOADS = {
    "host's tokenizer": lambda folder: utils.get_tokenizer(folder, None),
    "host's actor": lambda folder: Actor(folder, attn_implementation="sdpa"),
    "host's critic": lambda folder: model.get_llm_for_sequence_regression(folder, "critic", attn_implementation="sdpa"),
    "host's vision check": lambda folder: utils.is_vlm_model(folder),
    "vLLM's config": lambda folder: get_config(folder, trust_remote_code=True),
    "vLLM's class": lambda folder: try_get_class_from_dynamic_module("own.OwnModel", folder, True, warn_on_fail=False),
    "config": lambda folder: AutoConfig.from_pretrained(folder),
    "tokenizer": lambda folder: AutoTokenizer.from_pretrained(folder),
}


def outcome(load, folder):
    mark = Path(folder).with_name("mark")
    mark.write_text("")
    for name in [name for name in sys.modules if name.startswith("transformers_modules")]:
        del sys.modules[name]
    try:
        load(folder)
        result = "loaded"
    except Exception as error:
        own = "trust_remote_code" in str(error) or "brings along" in str(error)
        result = "refused" if own else f"{type(error).__name__}: {error}"
    return result, bool(mark.read_text())


answers = []
for folder, told in json.loads(sys.argv[1]):
    if told is None:
        del os.environ[remote_code.VARIABLE]
    else:
        remote_code.choose(told)
    # Nobody answers a question here: that of transformers would be an error.
    answers.append({name: outcome(load, folder) for name, load in LOADS.items() if told is not None or name not in ("config", "tokenizer")})
print(json.dumps(answers))
"""


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory) -> dict[str, Path]:
    """plain; known: with Python that is not needed; own: with Python that is."""
    torch.manual_seed(0)
    tokenizer = tiny.build_tokenizer()
    root = tmp_path_factory.mktemp("models")
    for name in ("plain", "known", "own"):
        tiny.build_model(tokenizer).save_pretrained(root / name)
        tokenizer.save_pretrained(root / name)
    for name in ("known", "own"):
        bring_code(root / name, root / "mark", needed=name == "own")
    return {name: root / name for name in ("plain", "known", "own")}


@pytest.fixture(scope="module")
def loads(checkpoints, tmp_path_factory) -> dict[tuple[str, bool | None], dict[str, tuple[str, bool]]]:
    """(checkpoint, what the process was told) -> name of a load -> (loaded, refused or an error; whether the model's Python ran)."""
    cases = [("own", False), ("known", False), ("own", True), ("own", None)]
    words = [sys.executable, "-c", LOADS, json.dumps([[str(checkpoints[name]), told] for name, told in cases])]
    words.append(str(tmp_path_factory.mktemp("modules")))
    done = commands.run(words, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True, timeout=110, check=True)
    answers = json.loads(done.stdout.splitlines()[-1])
    return {
        case: {name: tuple(pair) for name, pair in found.items()} for case, found in zip(cases, answers, strict=True)
    }


def test_without_the_flag_nothing_of_a_model_runs_and_what_needs_it_is_refused(loads):
    found = loads["own", False]
    swallowed = ("host's vision check", "vLLM's class")  # take every error for a no
    assert found == {name: ("loaded" if name in swallowed else "refused", False) for name in found}


def test_without_the_flag_a_model_that_transformers_knows_is_loaded_without_its_python(loads):
    assert loads["known", False] == dict.fromkeys(loads["known", False], ("loaded", False))


def test_with_the_flag_it_runs(loads):
    found = loads["own", True]
    # The host's critic needs an AutoModel in auto_map, which this model does not have; its configuration has run by then.
    assert found == {name: (found[name][0] if name == "host's critic" else "loaded", True) for name in found}


def test_a_program_that_was_told_nothing_is_left_alone(loads):
    """A program of the user's that loads our vLLM plugin; and what the host does by itself."""
    assert {name: ran for name, (_, ran) in loads["own", None].items()} == dict.fromkeys(loads["own", None], True)


def test_the_check_before_a_start(checkpoints):
    (checkpoints["own"].parent / "mark").write_text("")
    remote_code.check(str(checkpoints["plain"]))
    remote_code.check(str(checkpoints["known"]))
    with pytest.raises(ValueError) as refused:
        remote_code.check(str(checkpoints["own"]), "--x allows it", flag="--model")
    assert str(refused.value) == (
        f"--model {checkpoints['own']}: needs Python of its own (own.py), which would run with your rights; --x allows it"
    )
    assert (checkpoints["own"].parent / "mark").read_text() == ""


SERVICE = ("--reward.remote_url", "http://127.0.0.1:1/")
GROUPS = ("--algo.advantage.estimator", "rloo", "--rollout.n_samples_per_prompt", "2")


@pytest.mark.parametrize(
    ("flags", "refused"),
    [
        (SERVICE, "--critic"),
        ((*SERVICE, *GROUPS), None),  # only gae has a critic
        (GROUPS, "--reward"),
        ((*GROUPS, "--train.agent_func_path", "agent.py"), None),  # the agent gives the rewards
    ],
)
def test_only_the_models_that_a_run_loads_are_asked_about(flags, refused, checkpoints):
    plain, own = str(checkpoints["plain"]), str(checkpoints["own"])
    others = ("--critic.model_name_or_path", own, "--reward.model_name_or_path", own)
    args = host_arguments("--actor.model_name_or_path", plain, *others, *flags)
    if refused is None:
        check_models(args)
    else:
        with pytest.raises(ValueError, match=f"^{refused}.model_name_or_path {own}: needs Python of its own"):
            check_models(args)
