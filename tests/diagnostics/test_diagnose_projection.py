"""`deltal diagnose` as a whole, with its statistics and report: sketched against full gradients of the same responses."""

import json

import numpy as np
import pytest
from support import diagnose_child
from support.diagnose_example import write_example

from deltal_openrlhf.cli.diagnose import main
from deltal_openrlhf.diagnostics import run
from deltal_openrlhf.diagnostics.analyse import analyse
from deltal_openrlhf.diagnostics.folder import GRAM, ROLLOUTS
from deltal_openrlhf.diagnostics.gram import load_grams
from deltal_openrlhf.diagnostics.sample import GradientSample
from deltal_openrlhf.diagnostics.settings import Settings
from deltal_openrlhf.diagnostics.sources import drawn
from deltal_openrlhf.runs import rollouts

PROMPTS, N, WIDTH = 64, 4, 1024
M = 40
IN_FILE = [N * prompt + k for prompt in drawn(range(PROMPTS), PROMPTS, seed=0) for k in range(N)]
"""The responses in the order in which --rollouts takes them."""


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """The command's folders, full and sketched, of the same responses."""
    example = tmp_path_factory.mktemp("example")
    write_example(example, PROMPTS)
    common = ["--model", str(example / "model"), "--batch_prompts", "8"]
    full, sketched = example / "full", example / "sketched"
    sampled = ["--data", str(example / "data.jsonl"), "--reward", str(example / "reward.py")]
    size = ["--prompts", str(PROMPTS), "--n", str(N), "--max_new_tokens", str(M)]
    assert main([*common, *sampled, *size, "--out", str(full)]) == 0
    with pytest.MonkeyPatch.context() as patch:  # the Gram matrices are enough of it
        patch.setattr(run, "analyse", diagnose_child.quick_analysis)
        patch.setattr(run.page, "write_report", lambda *_: None)
        again = ["--rollouts", str(full / ROLLOUTS), "--projection", str(WIDTH), "--out", str(sketched)]
        assert main([*common, *again]) == 0
    return full, sketched


def sample_of(folder, responses):
    return GradientSample(
        lengths=np.array([r.length for r in responses]),
        rewards=np.array([r.reward for r in responses]),
        groups=np.array([r.prompt_index for r in responses]),
        truncated=np.array([r.truncated for r in responses]),
        grams=load_grams(folder / GRAM),
    )


def test_the_findings_and_the_report_are_written(folders):
    findings = json.loads((folders[0] / "findings.json").read_text())
    source, sample = findings["source"], findings["sample"]
    assert source["projection"] == {"kind": "full", "width": None, "relative_error": 0.0}
    assert (sample["responses"], sample["prompts"], sample["batches"]) == (PROMPTS * N, PROMPTS, PROMPTS // 8)
    assert sample["max_length"] == M and source["peak_memory_gb"] > 0.1
    stages = source["seconds_by_stage"]
    assert set(stages) == {"sampling", "gradients", "Gram matrices", "statistics"}
    assert source["seconds"] == pytest.approx(sum(stages.values()))
    assert list(findings["variance"]["with_advantage"])[0] == "all"
    report = (folders[0] / "report.html").read_text()
    assert str(source["model"]) in report and list((folders[0] / "plots").glob("*.png"))


def test_beta_and_cv_of_sketched_gradients(folders):
    """Beta within 0.1 and CV within 5 % of those of full gradients, for every layer type, and for every estimator whose CV the
    full gradients resolve.
    """
    responses = rollouts.read(folders[0] / ROLLOUTS)[1]
    settings = Settings(max_length=M, batch_prompts=8)
    full = analyse(sample_of(folders[0], responses), settings)
    sketched = analyse(sample_of(folders[1], [responses[i] for i in IN_FILE]), settings)
    for which in ("with_advantage", "without_advantage"):
        for kind, fit in full["variance"][which].items():
            assert fit["beta"]["value"] is not None
            assert abs(sketched["variance"][which][kind]["beta"]["value"] - fit["beta"]["value"]) < 0.1, (which, kind)
    compared = 0
    for a, b in zip(full["estimators"], sketched["estimators"], strict=True):
        assert a["key"] == b["key"]
        if a["cv"]["resolved"]:
            assert b["cv"]["value"] == pytest.approx(a["cv"]["value"], rel=0.05), a["key"]
            compared += 1
    assert compared > 20


def test_the_sketch_is_noisy_where_it_should_be(folders):
    """Negative control for the test above: single inner products differ, by about what the theory says."""
    full, sketched = (load_grams(folder / GRAM) for folder in folders)
    full = {kind: gram[np.ix_(IN_FILE, IN_FILE)] for kind, gram in full.items()}
    a, b = full["mlp"].astype(np.float64), sketched["mlp"].astype(np.float64)
    scale = np.sqrt(np.outer(a.diagonal(), a.diagonal()))
    off = ~np.eye(len(a), dtype=bool)
    error = ((b - a) / scale)[off].std()
    assert 0.1 / np.sqrt(WIDTH) < error < 2 / np.sqrt(WIDTH)
    # Kept whole: fewer parameters than the width.
    np.testing.assert_allclose(full["norm"], sketched["norm"], rtol=1e-4, atol=1e-6 * full["norm"].max())
