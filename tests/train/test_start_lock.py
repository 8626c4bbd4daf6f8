"""A start while another run still saves in the same folder: real command lines, before Ray."""

from types import SimpleNamespace

from support.launches import launch_all
from support.run_data import REWARDS, SIZES, save_tokenizer, write

from deltal_openrlhf.train import disk


def test_a_folder_is_locked_before_the_checkpoint_in_it_is_chosen(tmp_path):
    """The one that is there is not the last one yet: a run that has the folder is about to save another."""
    rows = write(tmp_path / "rows.jsonl", {"input": "1+1=", "label": "2"})
    flags = [*SIZES, "--loss_agg", "deltal", "--data.prompt_dataset", str(rows), "--data.label_key", "label"]
    flags += ["--actor.model_name_or_path", str(save_tokenizer(tmp_path / "model")), "--ckpt.save_steps", "-1"]
    flags += ["--reward.remote_url", str(REWARDS / "math_reward.py"), "--ckpt.load_enable", "--algo.kl.init_coef", "0"]
    runs = {}
    for name in ("busy", "free"):
        saved = tmp_path / name / "_actor"
        saved.mkdir(parents=True)
        (saved / "latest").write_text("global_step2")
        runs[name] = [*flags, "--ckpt.path", name, "--ckpt.output_dir", f"of {name}", "--ref.num_gpus_per_node", "1"]
    ckpt = SimpleNamespace(output_dir=tmp_path / "x", path=tmp_path / "busy", save_steps=1, load_enable=False)
    locks = disk.lock(SimpleNamespace(ckpt=ckpt))
    cache = f"import datasets; datasets.config.HF_DATASETS_CACHE = {str(tmp_path / 'cache')!r}"
    found = launch_all(runs, tmp_path, before=cache)
    for file in locks:
        file.close()
    for name, says in (
        ("busy", "--ckpt.path busy: another run is writing there; wait for its end, or take another folder\n"),
        ("free", "no whole checkpoint is left in free/_actor: global_step2 "),
    ):
        code, _, error = found[name]
        assert (code, error.count("\n")) == (2, 1) and error.startswith(f"deltal train: error: {says}"), error
