"""How many pairs a second the reward service grades: single-pair requests to POST /is_equal from 8 clients at once.

    python scripts/bench_reward_service.py PAIRS.jsonl [--rounds 1] [--clients 8] [--hostile 0.01] [--json FILE]

PAIRS.jsonl: one {"gold": text or list of texts, "pred": text or null} a line. Starts a service of its own with 2 workers, warms it up
with the first pairs, sends every pair --rounds times over kept connections, and ends it. --hostile puts hostile answers between them
(hostile_answers.py), no two of them the same. Prints the pairs/s, the statuses, and how long good answers took; exit 1 below 1,000 pairs/s,
and where one good answer in a hundred took longer than 100 ms.
"""

import argparse
import asyncio
import json
import statistics
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from hostile_answers import hostile_answers

from deltal_openrlhf.grading.labels import label_of

LIMIT = 1000
P99_MS = 100
WARM_UP = 200


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pairs", type=Path, help="JSONL with gold and pred")
    parser.add_argument(
        "--clients", type=int, default=8, help="connections, each with one request at a time (default 8)"
    )
    parser.add_argument("--rounds", type=int, default=1, help="how often every pair is sent (default 1)")
    parser.add_argument("--hostile", type=float, default=0.0, metavar="SHARE", help="of all answers (default 0)")
    parser.add_argument("--json", type=Path, help="write the result there")
    args = parser.parse_args()
    rows = [json.loads(line) for line in args.pairs.read_text(encoding="utf-8").splitlines()]
    if not 0 <= args.hostile <= 0.5:
        parser.error(f"--hostile is {args.hostile:g}, allowed is 0 to 0.5")
    good = [Request(_body(row["gold"], row["pred"]), True) for row in rows] * args.rounds
    requests = with_hostile(good, args.hostile)
    command = [sys.executable, "-m", "deltal_openrlhf.cli.main", "serve-rewards", "--port", "0", "--workers", "2"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as service:
        try:
            line = service.stdout.readline()
            port = int(line.split(" (")[0].rpartition(":")[2])
            asyncio.run(ask(port, good[:WARM_UP], args.clients))
            started = time.perf_counter()
            answers = asyncio.run(ask(port, requests, args.clients))
            seconds = time.perf_counter() - started
        finally:
            service.terminate()
    quantiles = statistics.quantiles((1000 * answer.seconds for answer in answers if answer.good), n=100)
    result = {
        "pairs": len(answers),
        "clients": args.clients,
        "seconds": round(seconds, 3),
        "pairs_per_s": round(len(answers) / seconds, 1),
        "hostile": sum(not answer.good for answer in answers),
        "statuses": dict(Counter(json.loads(answer.body)["status"] for answer in answers)),
        "good_p50_ms": round(quantiles[49], 1),
        "good_p99_ms": round(quantiles[98], 1),
    }
    print(json.dumps(result, indent=2))
    if args.json:
        args.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    return int(result["pairs_per_s"] < LIMIT or result["good_p99_ms"] > P99_MS)


class Request(NamedTuple):
    body: bytes
    good: bool


class Answer(NamedTuple):
    body: bytes
    good: bool
    seconds: float


def with_hostile(good: list[Request], share: float) -> list[Request]:
    """The requests with so many hostile ones evenly between them."""
    bombs = [text for text in hostile_answers("/tmp/canary").values() if text.strip() and len(text) <= 2000]
    n = round(share / (1 - share) * len(good))
    mixed = list(good)
    for i in reversed(range(n)):
        text = bombs[i % len(bombs)] + f"+{i}" * (i >= len(bombs))
        mixed.insert((i * len(good)) // n, Request(_body("42", text), False))
    return mixed


def _body(gold: str | list[str], pred: str | None) -> bytes:
    body = json.dumps({"str1": gold if isinstance(gold, str) else label_of(gold), "str2": pred or ""}).encode()
    head = f"POST /is_equal HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


async def ask(port: int, requests: list[Request], clients: int) -> list[Answer]:
    """All answers. Raises RuntimeError for one that is not 200."""
    left = iter(requests)
    answers: list[Answer] = []

    async def client() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for request in left:  # shared by all clients
            started = time.perf_counter()
            writer.write(request.body)
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
            body = await reader.readexactly(length)
            answers.append(Answer(body, request.good, time.perf_counter() - started))
            if not head.startswith(b"HTTP/1.1 200 "):
                raise RuntimeError(f"{head.splitlines()[0]!r}: {body!r}")
        writer.close()
        await writer.wait_closed()

    await asyncio.gather(*(client() for _ in range(clients)))
    return answers


if __name__ == "__main__":
    sys.exit(main())
