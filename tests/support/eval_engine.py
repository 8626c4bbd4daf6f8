"""`deltal eval` as a script with an engine that is made up: a response depends on its request's seed alone, the order on chance."""

import random
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any

AT_ONCE = 7


def start(*given: object) -> None:
    return None


def sample(llm: None, requests: Sequence[Any], *how: object) -> Iterator[list[tuple[int, Any]]]:
    from deltal_openrlhf.evaluation.sampling import Response

    order = list(range(len(requests)))
    random.shuffle(order)
    for first in range(0, len(order), AT_ONCE):
        time.sleep(0.01)
        finished = []
        for i in order[first : first + AT_ONCE]:
            rng = random.Random(requests[i].seed)
            text = rng.choice([f"a b #### {rng.randint(1, 3)}", "<answer>1+2</answer>", "<answer>1*2</answer>", "a b"])
            finished.append((i, Response(text, rng.randint(1, 60), rng.choice(["stop", "length"]))))
        yield finished


def work(llm: None, *counts: int) -> None:
    return None


def main() -> int:
    from deltal_openrlhf.cli import eval as command
    from deltal_openrlhf.evaluation import sampling

    sampling.start, sampling.sample, sampling.work = start, sample, work
    return command.main(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
