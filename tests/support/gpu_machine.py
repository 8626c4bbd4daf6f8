"""What the tests of `deltal doctor` on simulated GPU machines share."""

from deltal_openrlhf.cli.findings import Problem, Report

GIB = 1024**3
ARCHITECTURES = ["sm_75", "sm_80", "sm_86", "sm_90", "sm_100", "sm_120", "compute_120"]
"""As torch.cuda.get_arch_list() of a torch for CUDA 13."""


def only(report: Report) -> Problem:
    """The problem of a report that has one."""
    (problem,) = report[1]
    return problem
