"""The optimizer's flags of a resumed run. The command line's values hold, and a changed one is refused unless that is allowed.

DeepSpeed restores learning rate, betas, eps, weight decay, momentum and clipping with the moments, whatever the command line says. The kind
of schedule, its warm-up and its length come from the command line. So both are saved with the checkpoint as flags and compared before Ray
starts. After a load, the command line's values are restored.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from deltal_openrlhf import cpu
from deltal_openrlhf.arguments import Arguments

if TYPE_CHECKING:
    from torch.optim import Optimizer

WITH_LEAST_RATE = ("cosine_with_min_lr", "cosine_warmup_with_min_lr")
"""Values of --actor.lr_scheduler that read --actor.min_lr_ratio."""
ALLOW = "--deltal.allow_changed_optimizer"
_ADAM = ("adam.lr", "adam.betas", "adam.eps", "adam.weight_decay")
_MUON = ("muon.lr", "muon.momentum")
_ALWAYS = ("lr_scheduler", "lr_warmup_ratio", "min_lr_ratio", "max_norm")


def optimizer_flags(args: Arguments) -> dict[str, Any]:
    """{flag of the host, by dest: its value in JSON's types}, for every optimizer of the run and for an adaptive KL coefficient."""
    names = []
    for model in ("actor", "critic") if args.algo.advantage.estimator == "gae" else ("actor",):
        muon = _MUON if cpu.lookup(args, f"{model}.optim") == "muon" else ()
        names += [f"{model}.{name}" for name in (*_ADAM, *muon, *_ALWAYS)]
    if args.algo.kl.target:
        names.append(
            "algo.kl.init_coef"
        )  # what it starts with; a fixed coefficient is the flag itself, in a resumed run too
    return {name: _plain(cpu.lookup(args, name)) for name in names}


def check_resumed_optimizer(args: Arguments, saved: Mapping[str, Any], tag: str) -> None:
    """Raise ValueError for flags that differ from the checkpoint's. saved: the optimizer_flags at the time of the save."""
    now = optimizer_flags(args)
    changed = [
        f"--{name}: saved {_text(saved[name])}, now {_text(now[name])}"
        for name in now
        if name in saved and now[name] != saved[name]
    ]
    if changed:
        raise ValueError(
            f"checkpoint {tag} was trained with another optimizer ({'; '.join(changed)}); use the saved values, or {ALLOW} to continue "
            "with the new ones"
        )


@contextmanager
def command_line_kept(optimizer: "Optimizer", schedule: Any) -> Iterator[None]:
    """A context for loading optimizer and schedule. The moments and the number of steps are loaded; the settings of the command line stay.

    schedule: a LambdaLR, as all of the host's are. The rate is then the command line's schedule at that step. Without a changed flag
    nothing changes.
    """
    before = [{name: group[name] for name in group.keys() - {"params", "step"}} for group in optimizer.param_groups]
    rates = list(schedule.base_lrs)
    yield
    for group, settings in zip(optimizer.param_groups, before, strict=True):
        group.update(settings)
    schedule.base_lrs = rates
    factors = [rate_of(schedule.last_epoch) for rate_of in schedule.lr_lambdas]
    now = [rate * factor for rate, factor in zip(rates, factors, strict=True)]
    for group, rate in zip(optimizer.param_groups, now, strict=True):
        group["lr"] = rate
    schedule._last_lr = now


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _text(value: Any) -> str:
    if isinstance(value, list):
        return " ".join(map(_text, value))
    return f"{value:g}" if isinstance(value, float) else str(value)
