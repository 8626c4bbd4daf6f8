"""`deltal serve-rewards`: the reward service (rewards/service.py) until SIGTERM (exit status 0) or Ctrl-C (130)."""

import argparse
import ipaddress
import signal
import socket
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from deltal_openrlhf.grading.reading.extract import FALLBACK_HELP, FALLBACKS
from deltal_openrlhf.rewards.token import VARIABLE, read_token
from deltal_openrlhf.runs.command import OneLineParser, check_numbers, interrupted

if TYPE_CHECKING:
    from starlette.types import ASGIApp

LOOPBACK = "127.0.0.1"
FROM_ENVIRONMENT, NO_TOKEN = "env", "none"
SECONDS_TO_STOP = 30
"""How long requests in progress may take when the service is told to stop; then they are dropped."""


def main(argv: Sequence[str]) -> int:
    args = _parse(argv)
    # Imported here: --help and a bad flag need nothing that may be missing.
    try:
        import uvicorn  # noqa: F401

        from deltal_openrlhf.grading.grader import Grader
        from deltal_openrlhf.rewards import service
    except ImportError as error:
        return _refuse(f"{error}; pip install 'deltal-openrlhf[rewards]'")
    try:
        grader = Grader(workers=args.workers, deadline=args.deadline, memory_mb=args.memory_mb)
    except ValueError as error:
        return _refuse(f"--{error}")
    try:
        token = None if args.token == NO_TOKEN else read_token()
        if args.token == FROM_ENVIRONMENT and token is None:
            raise ValueError(f"--token is {FROM_ENVIRONMENT}, but {VARIABLE} is not set")
        listener = _listen(args.host, args.port, open_to_all=token is not None or args.token == NO_TOKEN)
    except ValueError as error:
        return _refuse(str(error))
    except OSError as error:
        why = (error.strerror or str(error)).partition(" (while")[0]
        return _refuse(f"cannot listen on {args.host}, port {args.port}: {why}")
    # uvicorn finishes what is in progress and then raises the signal again, for this handler.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        with listener, grader:
            try:
                grader.start()
            except RuntimeError as error:
                return _refuse(str(error))
            limits = {"max_body": args.max_body_mb * 2**20, "max_batch": args.max_batch}
            _serve(service.Service(grader, args.unmarked, **limits, token=token).app, listener)
    except KeyboardInterrupt as stop:
        return interrupted("deltal serve-rewards: stopped", stop)
    return 0


def _serve(app: "ASGIApp", listener: socket.socket) -> None:
    """Serve until a signal comes. The address is printed as soon as requests are taken."""
    import uvicorn

    from deltal_openrlhf.rewards.patience import ImpatientProtocol
    from deltal_openrlhf.rewards.service import REWARD_PATH

    host, port = listener.getsockname()[:2]
    url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            print(f"deltal serve-rewards: listening on {url} (--reward.remote_url {url}{REWARD_PATH})", flush=True)

    config = uvicorn.Config(
        app,
        http=ImpatientProtocol,
        lifespan="off",
        ws="none",
        access_log=False,
        log_level="warning",
        timeout_keep_alive=75,
        timeout_graceful_shutdown=SECONDS_TO_STOP,
    )
    Server(config).run([listener])


DESCRIPTION = """\
Give math, countdown and reasoning-gym rewards over HTTP, until SIGTERM or Ctrl-C. Requests in progress are finished first.

  POST /get_reward   OpenRLHF's protocol, for --reward.remote_url
  POST /is_equal     {str1, str2}
  POST /grade_batch  [{gold, pred}, ...]
  GET  /healthz      GET /metrics
"""
EPILOG = """\
  deltal serve-rewards --port 6284 --workers 8
  deltal train ... --reward.remote_url http://127.0.0.1:6284/get_reward
"""


def parser() -> OneLineParser:
    made = OneLineParser(
        prog="deltal serve-rewards", usage="deltal serve-rewards [options]", description=DESCRIPTION, epilog=EPILOG
    )
    made.add_argument(
        "--host",
        default=LOOPBACK,
        metavar="ADDRESS",
        help=f"address to listen on (default {LOOPBACK}: this machine only). Another address needs a token. Nothing is encrypted, so use "
        "one only in a network that you trust.",
    )
    made.add_argument(
        "--token",
        type=_token,
        metavar=f"{FROM_ENVIRONMENT}|{NO_TOKEN}",
        help=f"{FROM_ENVIRONMENT}: requests need the token of the environment variable {VARIABLE} (the default where it is set); "
        f"{NO_TOKEN}: they need none. A run with the same variable sends it.",
    )
    made.add_argument(
        "--port",
        type=int,
        default=6284,
        metavar="N",
        help="port to listen on (default 6284); 0 takes a free one and prints it",
    )
    made.add_argument(
        "--unmarked",
        choices=FALLBACKS,
        default="none",
        help=f"what /get_reward grades where a response marks no answer: {FALLBACK_HELP}; default none",
    )
    made.add_argument(
        "--workers", type=int, default=2, metavar="N", help="grading processes for each kind of label (default 2)"
    )
    made.add_argument(
        "--deadline", type=float, default=3.0, metavar="S", help="seconds that one pair may take (default 3)"
    )
    made.add_argument(
        "--memory_mb", type=int, default=1024, metavar="N", help="memory of a grading process in MiB (default 1024)"
    )
    made.add_argument(
        "--max_batch",
        type=int,
        default=1024,
        metavar="N",
        help="most gold answers in one request, over all its responses (default 1024)",
    )
    made.add_argument(
        "--max_body_mb", type=int, default=16, metavar="N", help="largest body of a request in MiB (default 16)"
    )
    return made


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    command = parser()
    args = command.parse_args(argv)
    if not 0 <= args.port <= 65535:
        command.error(f"--port is {args.port}, allowed is 0 to 65535")
    try:
        check_numbers(args, {"max_batch": 1, "max_body_mb": 1})
    except ValueError as error:
        command.error(str(error))
    return args


def _token(text: str) -> str:
    if text not in (FROM_ENVIRONMENT, NO_TOKEN):
        # Not said again: it may be the token, which ps has shown by now.
        raise argparse.ArgumentTypeError(
            f"allowed are {FROM_ENVIRONMENT} (the token is in {VARIABLE}, where ps does not show it) and {NO_TOKEN}"
        )
    return text


def _listen(host: str, port: int, *, open_to_all: bool) -> socket.socket:
    """Raises ValueError for an address that other machines reach, unless it may be open to all who reach it."""
    family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    if not (open_to_all or ipaddress.ip_address(address[0]).is_loopback):
        raise ValueError(
            f"--host is {host}, which other machines reach: set {VARIABLE} here and for the runs, or say --token {NO_TOKEN} to serve all "
            "who ask"
        )
    return socket.create_server(address, family=family)


def _refuse(message: str) -> int:
    print(f"deltal serve-rewards: error: {message}", file=sys.stderr, flush=True)
    return 2
