"""What the tests of `deltal doctor` on simulated GPU machines share."""

from deltal_openrlhf.cli.findings import Findings, Problem

GIB = 1024**3
ARCHITECTURES = ["sm_75", "sm_80", "sm_86", "sm_90", "sm_100", "sm_120", "compute_120"]
"""As torch.cuda.get_arch_list() of a torch for CUDA 13."""


def report(findings: Findings) -> tuple[list[str], list[Problem]]:
    """The facts and the problems."""
    found = list(findings)
    return [fact for fact in found if isinstance(fact, str)], [each for each in found if isinstance(each, Problem)]


def only(findings: Findings) -> Problem:
    """The one problem among the findings."""
    (problem,) = report(findings)[1]
    return problem
