"""What a PPO step logs of loss, KL, entropy and clipping: means over its tokens, however it was cut. By hand, one response at a time."""

import pytest
from support.step_means import check

from deltal_openrlhf.parity import Case
from deltal_openrlhf.parity.spawn import run_on_ranks

pytestmark = pytest.mark.timeout(300)

ALL = dict(kl=True, entropy=True, filtering=True, correction="token")
ON_ONE = [
    Case(**ALL),
    Case(**ALL, dynamic=True),
    Case(**ALL, dynamic=True, mode="token-mean", steps=2),
    Case(**ALL | {"correction": "seq"}, micro=2, mode="seq-mean-token-mean", steps=2, epochs=2),
    Case(kl=True, entropy=True, mode="token-mean", dynamic=True, zero=3),  # the host's own loss
]
ON_TWO = [Case(**ALL, world=2, dynamic=True), Case(**ALL, world=2, micro=2, steps=2, short=True)]


def logged(rank, cases):
    """(status, the responses of every optimizer step, number of micro batches) of each case, without a change of the weights."""
    from deltal_openrlhf.host.collectives import everyones
    from deltal_openrlhf.host.rebind import rebound
    from deltal_openrlhf.parity import host_update
    from deltal_openrlhf.parity.cases import NUM_SHORT

    found = []
    for case in cases:
        with rebound(host_update, "learning_rate", lambda case: 0.0):
            trainer = host_update.build_trainer(case)
        for sample in host_update.experiences(case)[: NUM_SHORT if case.short else None][rank :: case.world]:
            trainer.replay_buffer.append(sample)
        status = trainer.ppo_train(0.1)
        steps = [sum(parts, []) for parts in zip(*everyones(trainer.trained_on), strict=True)]
        found.append([status, steps, trainer.context.micro_batch + 1])
    return found


@pytest.fixture(scope="module")
def on_one():
    return dict(zip(ON_ONE, run_on_ranks(1, logged, ON_ONE, timeout=100)[0], strict=True))


@pytest.fixture(scope="module")
def on_two():
    return dict(zip(ON_TWO, zip(*run_on_ranks(2, logged, ON_TWO, timeout=100), strict=True), strict=True))


@pytest.mark.parametrize("case", ON_ONE, ids=str)
def test_means_on_one_rank(on_one, case):
    status, steps, micro_batches = on_one[case]
    assert micro_batches > case.epochs * case.steps  # else a share is the whole
    assert len(steps) == case.epochs * case.steps
    check(case, status, steps)


@pytest.mark.parametrize("case", ON_TWO, ids=str)
def test_means_on_two_ranks(on_two, case):
    for status, steps, micro_batches in on_two[case]:
        assert micro_batches > 1
        check(case, status, steps)
