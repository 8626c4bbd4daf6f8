"""Every metric that our code writes has its unit and meaning. tests/end_to_end holds the host's against a real run."""

import torch
from support.metric_names import nameless

from deltal_openrlhf.grading.grader import STATUSES
from deltal_openrlhf.host.metrics import StepStatistics, length_metrics
from deltal_openrlhf.runs import metric_names


def test_our_metrics_are_named():
    lengths = torch.tensor([2.0, 4.0])
    of_rollout = length_metrics(lengths, lengths, torch.zeros(2))
    assert StepStatistics().summary().keys() == metric_names.AGGREGATION.keys()
    assert of_rollout.keys() == {name for name in metric_names.RESPONSES if name.startswith("deltal/")}
    assert metric_names.GRADES["grade/STATUS"].meaning.endswith(", ".join(STATUSES))
    assert all(metric.meaning for metric in metric_names.METRICS.values())


def test_a_name_stands_for_those_of_its_form():
    assert nameless(["deltal/ess", "grade/equal", "eval_aime_2024_pass16", "eval_aime_2024_pass1", "step"]) == []
    assert nameless(["deltal/esss", "grade", "eval_pass"]) == ["deltal/esss", "grade", "eval_pass"]
