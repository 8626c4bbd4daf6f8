"""How many pairs a second the reward service grades: single-pair requests to POST /is_equal from 8 clients at once.

    python scripts/bench_reward_service.py PAIRS.jsonl [--clients 8] [--json FILE]

PAIRS.jsonl: one {"gold": text or list of texts, "pred": text or null} a line. Starts a service of its own with 2 workers, warms it up
with the first pairs, sends every pair once over kept connections, and ends it. Prints the pairs/s and the statuses; exit 1 below 1,000
pairs/s.
"""

import argparse
import asyncio
import json
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

from deltal_openrlhf.grading.labels import label_of

LIMIT = 1000
WARM_UP = 200


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pairs", type=Path, help="JSONL with gold and pred")
    parser.add_argument(
        "--clients", type=int, default=8, help="connections, each with one request at a time (default 8)"
    )
    parser.add_argument("--json", type=Path, help="write the result there")
    args = parser.parse_args()
    rows = [json.loads(line) for line in args.pairs.read_text(encoding="utf-8").splitlines()]
    requests = [_request(row["gold"], row["pred"]) for row in rows]
    command = [sys.executable, "-m", "deltal_openrlhf.cli.main", "serve-rewards", "--port", "0", "--workers", "2"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as service:
        try:
            line = service.stdout.readline()
            port = int(line.split(" (")[0].rpartition(":")[2])
            asyncio.run(ask(port, requests[:WARM_UP], args.clients))
            started = time.perf_counter()
            answers = asyncio.run(ask(port, requests, args.clients))
            seconds = time.perf_counter() - started
        finally:
            service.terminate()
    result = {
        "pairs": len(answers),
        "clients": args.clients,
        "seconds": round(seconds, 3),
        "pairs_per_s": round(len(answers) / seconds, 1),
        "statuses": dict(Counter(json.loads(answer)["status"] for answer in answers)),
    }
    print(json.dumps(result, indent=2))
    if args.json:
        args.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    return int(result["pairs_per_s"] < LIMIT)


def _request(gold: str | list[str], pred: str | None) -> bytes:
    body = json.dumps({"str1": gold if isinstance(gold, str) else label_of(gold), "str2": pred or ""}).encode()
    head = f"POST /is_equal HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


async def ask(port: int, requests: list[bytes], clients: int) -> list[bytes]:
    """The bodies of all answers. Raises RuntimeError for one that is not 200."""
    left = iter(requests)
    answers: list[bytes] = []

    async def client() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for request in left:  # shared by all clients
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
            answers.append(await reader.readexactly(length))
            if not head.startswith(b"HTTP/1.1 200 "):
                raise RuntimeError(f"{head.splitlines()[0]!r}: {answers[-1]!r}")
        writer.close()
        await writer.wait_closed()

    await asyncio.gather(*(client() for _ in range(clients)))
    return answers


if __name__ == "__main__":
    sys.exit(main())
