"""What `deltal diagnose` samples and writes, and saved rollouts in place of sampling."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from support.diagnose_command import PROMPTS, N, found, refused, saved_flags

from deltal_openrlhf.cli.diagnose import main
from deltal_openrlhf.diagnostics import gradients
from deltal_openrlhf.diagnostics.folder import GRAM, ROLLOUTS
from deltal_openrlhf.diagnostics.gram import load_grams
from deltal_openrlhf.diagnostics.sources import drawn, from_saved
from deltal_openrlhf.runs import rollouts


def test_what_comes_out(example, finished):
    values, source = found(finished)
    header, read = rollouts.read(finished / ROLLOUTS)
    assert (header.n_samples_per_prompt, header.max_new_tokens, header.step) == (N, 24, 0) and len(read) == PROMPTS * N
    assert values["groups"] == [i // N for i in range(PROMPTS * N)] and values["lengths"] == [r.length for r in read]
    assert values["settings"] == {"advantage": "group_norm", "max_length": 24, "batch_prompts": 2, "seed": 0}
    lines = [json.loads(line)["input"] for line in (example / "data.jsonl").read_text().splitlines()]
    prompts = [read[i].prompt for i in range(0, len(read), N)]
    assert set(prompts) <= set(lines) and prompts != lines[:PROMPTS], "the first prompts of the file, not random ones"
    for rollout in read:
        assert rollout.truncated == (rollout.token_ids[-1] != 1) and rollout.length <= 24
        assert rollout.length == 24 or not rollout.truncated
    rewards = values["rewards"]
    assert 0 < sum(rewards) < len(rewards) and set(rewards) == {0.0, 1.0}
    assert source["projection"] == {"kind": "sketch", "width": 256, "relative_error": pytest.approx(0.0884, abs=1e-4)}
    assert set(load_grams(finished / GRAM)) == set(values["sums"])
    shown = json.loads((finished / "findings.json").read_text())["responses"]
    texts = {(r.prompt, r.response, r.reward, r.length, r.truncated) for r in read}
    assert {tuple(one.values()) for one in shown} <= texts and {one["reward"] for one in shown} == {0.0, 1.0}


def test_saved_rollouts_give_the_same_gradients_as_fresh_ones(example, finished, tmp_path, quick, capsys):
    assert main(saved_flags(example, finished / ROLLOUTS, tmp_path / "out")) == 0
    assert "the rollouts hold no log-probabilities, so the command cannot check" in capsys.readouterr().out
    order = drawn(range(PROMPTS), PROMPTS, seed=0)  # all prompts of a file are in random order too
    place = [N * prompt + k for prompt in order for k in range(N)]
    for kind, gram in load_grams(tmp_path / "out" / GRAM).items():
        fresh = load_grams(finished / GRAM)[kind][np.ix_(place, place)]
        np.testing.assert_allclose(gram, fresh, rtol=1e-5, atol=1e-5 * np.diagonal(fresh).max())
    values, source = found(tmp_path / "out")
    whole = found(finished)[0]
    assert values["lengths"] == [whole["lengths"][i] for i in place]
    assert values["rewards"] == [whole["rewards"][i] for i in place]
    assert source["step"] == 0 and source["log_prob_difference"] is None


def test_all_prompts_of_saved_rollouts_are_in_one_order_asked_for_or_not(finished):
    """The settings of the two are the same, so the other resumes the folder of one: rows must mean the same responses."""
    whole, asked = (from_saved(finished / ROLLOUTS, prompts, seed=0) for prompts in (None, PROMPTS))
    assert whole.settings(PROMPTS) == asked.settings(PROMPTS) and whole.read(None, None) == asked.read(None, None)
    by_place = sorted(whole.read(None, None), key=lambda rollout: (rollout.prompt_index, rollout.sample))
    assert by_place == rollouts.read(finished / ROLLOUTS)[1]
    fewer = from_saved(finished / ROLLOUTS, PROMPTS - 1, seed=0)
    assert fewer.read(None, None) == whole.read(None, None)[:-N]
    assert fewer.settings(PROMPTS - 1) == whole.settings(PROMPTS - 1)


def test_saved_rollouts_of_a_run(example, finished, tmp_path, quick, capsys):
    """Their temperature and M count; log-probabilities of another model are noticed, those of the same one are not."""
    header, read = rollouts.read(finished / ROLLOUTS)
    header = replace(
        header, step=20, temperature=0.8, loss={"mode": "deltal", "alpha": 0.75, "scope": "step", "max_length": 77.0}
    )
    read = [replace(r, log_probs=[0.0] * r.length) for r in read]
    path = tmp_path / "step_000020.jsonl"
    rollouts.write(path, header, read)
    assert main(saved_flags(example, path, tmp_path / "other", prompts=8)) == 0
    assert "another model sampled these rollouts" in capsys.readouterr().out
    values, source = found(tmp_path / "other")
    assert values["settings"]["max_length"] == 77 and len(values["lengths"]) == 8 * N
    assert source["temperature"] == 0.8 and source["log_prob_difference"] < -1
    # What the model itself says, rounded as a run saves it, each token by an independent forward pass.
    model = gradients.load_model(example / "model", torch.device("cpu")).requires_grad_(False)
    ours = []
    for rollout in read:
        logits = (model(input_ids=torch.tensor([rollout.token_ids])).logits[0] / 0.8).log_softmax(-1)
        trained = [t for t, trained in enumerate(rollout.action_mask) if trained]
        values = [round(logits[t, rollout.token_ids[t + 1]].item(), 6) for t in trained]
        ours.append(replace(rollout, log_probs=values))
    rollouts.write(path, header, ours)
    assert main(saved_flags(example, path, tmp_path / "same")) == 0
    assert "warning" not in capsys.readouterr().out
    assert abs(found(tmp_path / "same")[1]["log_prob_difference"]) < 1e-5


def test_saved_rollouts_that_cannot_be(example, finished, tmp_path, capsys):
    header, read = rollouts.read(finished / ROLLOUTS)
    path = tmp_path / "file.jsonl"
    rollouts.write(path, header, [replace(r, token_ids=[*r.token_ids[:-1], 5000]) for r in read])
    assert "holds token 5000, the model has" in refused(capsys, saved_flags(example, path, tmp_path / "out"))
    rollouts.write(path, replace(header, max_new_tokens=None), read)
    assert "--max_length M in tokens is needed" in refused(capsys, saved_flags(example, path, tmp_path / "out"))
    rollouts.write(
        path,
        replace(header, n_samples_per_prompt=1),
        [replace(r, prompt_index=i, sample=0) for i, r in enumerate(read)],
    )
    assert "gives no advantage" in refused(capsys, saved_flags(example, path, tmp_path / "out"))
