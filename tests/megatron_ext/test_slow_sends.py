"""The interleaved schedule sends without waiting: an output stays as it is until it has been sent."""

import math
import time
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest
import torch
from torch import Tensor, distributed

from deltal_openrlhf.parity.spawn import RankPool
from megatron_ext.layout import ParallelLayout
from megatron_ext.parity import ShardedCase, run_case

pytestmark = pytest.mark.timeout(400)


class Sending:
    """A request of a send that is under way in a thread."""

    def __init__(self, sent: Future) -> None:
        self.wait = sent.result


def send_slowly(rank: int) -> None:
    """The second rank's sends read their tensor late, as a busy machine's do. What is given free becomes nan at once.

    Its sends have a process group that nothing else uses (p2p_communication._p2p_ops), so that their order is kept.
    """
    from megatron.core.pipeline_parallel import p2p_communication, schedules

    operations, send, free = p2p_communication._p2p_ops, distributed.isend, schedules.deallocate_output_tensor
    thread = ThreadPoolExecutor(1)

    def late(**given: Any) -> None:
        time.sleep(0.05)
        send(**given).wait()

    def with_slow_sends(**given: Any) -> Any:
        distributed.isend = lambda **sent: Sending(thread.submit(late, **sent))
        try:
            return operations(**given)
        finally:
            distributed.isend = send

    def overwrite(out: Tensor | None, deallocate_pipeline_outputs: bool = False) -> None:
        if out is not None and deallocate_pipeline_outputs:
            with torch.no_grad():
                out.data.fill_(math.nan)
        free(out, deallocate_pipeline_outputs)

    schedules.deallocate_output_tensor = overwrite
    if rank == 1:
        p2p_communication._p2p_ops = with_slow_sends


def test_outputs_of_the_interleaved_schedule_outlive_their_sends():
    case = ShardedCase(layout=ParallelLayout(pipeline=2, virtual_pipeline=2), packed=True, model="qwen3")
    with RankPool(2) as pool:
        pool.call(send_slowly, timeout=200)
        result = run_case(pool, case, timeout=200)
    assert result.gradient <= 1e-5
    assert result.fits()
