"""The settings that a run leaves in its folder are those it was started with."""

import pytest
from support.host_arguments import host_arguments

from deltal_openrlhf.host import run_settings as host_settings
from deltal_openrlhf.host.settings import LossSettings
from deltal_openrlhf.runs import run_settings


def test_what_a_run_writes_is_what_is_read(tmp_path):
    flags = "--loss_agg deltal --alpha 1 --rollout.max_new_tokens 32 --actor.model_name_or_path runs/base --logger.wandb.key sesame-123"
    args = host_arguments(*flags.split(), "--ckpt.output_dir", str(tmp_path / "new"))
    settings = LossSettings.from_args(args)
    host_settings.write(args, settings)
    read = run_settings.read(tmp_path / "new")
    assert read.loss == settings.to_dict() and read.loss["max_length"] == 32
    assert read.flags["actor.model_name_or_path"] == "runs/base"
    assert "sesame" not in (tmp_path / "new" / run_settings.NAME).read_text()


def test_a_folder_without_the_file_has_none(tmp_path):
    assert run_settings.read(tmp_path) is None


@pytest.mark.parametrize("text", ["{", "[]", '{"version": "1"}'])
def test_a_broken_file_is_named(text, tmp_path):
    (tmp_path / run_settings.NAME).write_text(text)
    with pytest.raises(ValueError, match=r"run_settings.json is broken; move it away"):
        run_settings.read(tmp_path)
