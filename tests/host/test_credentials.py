"""The wandb key and the password of a reward address: used, and nowhere to be read."""

import json
import os
import pickle
import subprocess
import sys

from openrlhf.utils import get_strategy
from support import commands
from support.host_arguments import host_arguments

from deltal_openrlhf.host.faults import announcements

KEY = "0123456789abcdef0123456789abcdef01234567"
SECRETS = (KEY, "pa55word", "t0ken")
REWARDS = "http://ann:pa55word@127.0.0.1:1/get_reward,http://127.0.0.1:1/get_reward?key=t0ken"
FLAGS = ("--logger.wandb.key", KEY, "--reward.remote_url", REWARDS, "--actor.model_name_or_path", "m")


def leaks(text: str) -> list[str]:
    return [secret for secret in SECRETS if secret in text]


def test_the_hosts_print_of_all_arguments(capsys):
    args = host_arguments(*FLAGS)
    assert [line for line in announcements(args) if "wandb key" in line] != []
    args.reward.remote_url = args.reward.remote_url.split(",")  # as the host's command line does
    get_strategy(args).print(args)
    # In another process, as Ray sends them.
    get_strategy(args).print(pickle.loads(pickle.dumps(args)))
    said = capsys.readouterr().out
    assert said.count("namespace(ref=") == 2
    assert leaks(said) == []
    assert args.logger.wandb.key == KEY and "".join(args.reward.remote_url) == REWARDS.replace(",", "")


WANDB = """
import json, pickle, sys
from deltal_openrlhf.host.wandb_logger import DeltaLWandbLogger

args = pickle.loads(bytes.fromhex(sys.argv[1]))
logger = DeltaLWandbLogger(args)
logger.log_train(1, {"reward": 0.5})
config = dict(logger.handle.config)
logger.close()
print(json.dumps({name: str(value) for name, value in config.items()}))
"""


def test_wandb_gets_no_credential_in_its_config_or_files(tmp_path):
    args = host_arguments(*FLAGS)
    words = [sys.executable, "-c", WANDB, pickle.dumps(args).hex()]
    variables = os.environ | {
        "WANDB_MODE": "offline",
        "WANDB_SILENT": "true",
        "HOME": str(tmp_path),
        "WANDB_DIR": str(tmp_path),
    }
    done = commands.run(words, env=variables, stdout=subprocess.PIPE, text=True, timeout=100, cwd=tmp_path, check=True)
    config = json.loads(done.stdout.splitlines()[-1])
    assert leaks(done.stdout) == []
    assert "batch_size" in config["train"] and "***" in config["logger"] and "***@" in config["reward"]
    files = [path for path in tmp_path.rglob("*") if path.is_file() and not path.is_symlink()]
    assert any(path.suffix == ".wandb" for path in files)
    assert [(path, secret) for path in files for secret in SECRETS if secret.encode() in path.read_bytes()] == []
