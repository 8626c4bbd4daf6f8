"""A reward function has to return in time, and its call starts when a thread is free for it."""

import asyncio
import sys
import threading
import time

from support import commands

from deltal_openrlhf.host.reward_wait import RewardWait, in_thread


async def rewards(function, seconds: float, calls: int) -> list:
    wait, ours = RewardWait(seconds), in_thread(function)
    return await asyncio.gather(
        *(wait.result(lambda i=i: asyncio.to_thread(ours, i)) for i in range(calls)), return_exceptions=True
    )


def test_a_function_that_never_returns_is_named_while_others_return():
    never = threading.Event()
    try:
        begun = time.monotonic()
        answers = []

        async def run():
            answers.extend(await rewards(lambda i: never.wait() if i == 1 else i, 0.3, 3))
            never.set()  # the loop's end waits for its threads

        asyncio.run(run())
        assert time.monotonic() - begun < 5
    finally:
        never.set()
    assert (answers[0], answers[2]) == (0, 2)
    assert isinstance(answers[1], TimeoutError)
    assert str(answers[1]) == "it did not return within 0.3 s (--deltal.reward_wait)"


def test_the_wait_for_a_free_thread_does_not_count():
    async def run() -> list:
        from concurrent.futures import ThreadPoolExecutor

        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))
        return await rewards(lambda i: time.sleep(0.15) or i, 0.4, 5)

    assert asyncio.run(run()) == [0, 1, 2, 3, 4]  # 0.75 s in all


def test_sys_exit_is_an_error_like_others():
    (error,) = asyncio.run(rewards(lambda i: sys.exit(3), 1, 1))
    assert isinstance(error, RuntimeError) and str(error) == "it called sys.exit(3)"


HOLDS = """
import asyncio, sys
from deltal_openrlhf.host import reward_wait

def reward_func(seconds):
    9**9**(8 if seconds else 2)

async def main():
    wait = reward_wait.RewardWait(0.2)
    for seconds in (0, 1):
        await wait.result(lambda: asyncio.to_thread(reward_wait.in_thread(reward_func), seconds))
        print("returned", flush=True)
        await asyncio.sleep(0.5)

reward_wait.MARGIN, reward_wait.BEAT = 0.2, 0.1
asyncio.run(main())
"""


def test_a_function_that_holds_pythons_lock_ends_its_process_with_its_stack():
    done = commands.run([sys.executable, "-c", HOLDS], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (1, "returned\n")
    assert done.stderr.startswith("Timeout (0:00:00.400000)!\n") and "in reward_func\n" in done.stderr
