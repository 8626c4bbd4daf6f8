"""`deltal grade FILE.jsonl|-`: grade a file or a stream of answers, with the grader that gives the rewards."""

import argparse
import json
import os
import stat
import sys
import time
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextlib import nullcontext
from pathlib import Path
from typing import Any, NamedTuple

from deltal_openrlhf.grading.grader import STATUSES, Grade, Grader
from deltal_openrlhf.grading.labels import number_text
from deltal_openrlhf.grading.reading.extract import FALLBACK_HELP, FALLBACKS
from deltal_openrlhf.rewards.gym_labels import check_gym_label, is_gym
from deltal_openrlhf.rewards.scoring import answer_of, submit_answer
from deltal_openrlhf.runs.command import OneLineParser, interrupted, terminable
from deltal_openrlhf.runs.files import write_atomically
from deltal_openrlhf.runs.progress import Progress
from deltal_openrlhf.runs.reader import reader_left

SHOWN_BAD_LINES = 20
IN_FLIGHT = 10_000
"""Lines read ahead of the oldest one that is not graded yet."""


DESCRIPTION = """\
Grade answers against gold answers. Each line of FILE is a JSON object:

  gold   a text, a number, a list of these, of which one has to be met, or
         the label of a reasoning-gym problem
  pred   the answer: a text, a number or null
  label  if known, whether pred is right: true, false, 1 or 0

Each line comes back with two more fields, equal and status. A reasoning-gym problem has a third one, mark. Totals follow at the end.
"""
EPILOG = """\
The exit status is 0 if a line was graded, and 2 if none could be. Bad lines are named, left out and counted in the totals; they do not
change the exit status. 130 and 143 stand for Ctrl-C and SIGTERM.

  deltal grade answers.jsonl --out graded.jsonl
"""


def parser() -> OneLineParser:
    parser = OneLineParser(
        prog="deltal grade", usage="deltal grade FILE [options]", description=DESCRIPTION, epilog=EPILOG
    )
    parser.add_argument("file", metavar="FILE", help="JSON lines; - reads standard input")
    parser.add_argument("--out", metavar="FILE", help="write the graded lines to FILE, not to standard output")
    parser.add_argument("--summary", metavar="FILE", help="write the totals to FILE as JSON")
    parser.add_argument(
        "--unmarked",
        choices=FALLBACKS,
        help="pred is a whole response, not the answer alone. Its last \\boxed{}, <answer> or #### answer is graded; where there is "
        f"none: {FALLBACK_HELP}",
    )
    parser.add_argument("--workers", type=int, default=2, metavar="N", help="worker processes (default 2)")
    parser.add_argument(
        "--deadline", type=float, default=3.0, metavar="S", help="seconds that one answer may take (default 3)"
    )
    parser.add_argument(
        "--memory_mb", type=int, default=1024, metavar="N", help="memory of a worker in MiB (default 1024)"
    )
    parser.add_argument(
        "--max_chars",
        type=int,
        default=2000,
        metavar="N",
        help="a longer answer has the status too_long (default 2000)",
    )
    return parser


class Line(NamedTuple):
    number: int
    fields: dict
    golds: list[str]
    answer: str | None


def main(argv: Sequence[str] | None = None) -> int:
    command = parser()
    args = command.parse_args(argv)
    try:
        grader = Grader(
            workers=args.workers, deadline=args.deadline, memory_mb=args.memory_mb, max_chars=args.max_chars
        )
        # A pipe can be read once, and its length is not known.
        is_file = args.file != "-" and stat.S_ISREG(os.stat(args.file).st_mode)
        lines = sum(1 for _ in open(args.file, "rb")) if is_file else 0
        for path in filter(None, (args.out, args.summary)):
            if not Path(path).resolve().parent.is_dir():
                raise ValueError(f"{path}: there is no folder {Path(path).resolve().parent}")
            if Path(path).is_dir() or Path(path).resolve() == Path(args.file).resolve():
                raise ValueError(
                    f"{path}: is {'a folder' if Path(path).is_dir() else 'the input'}; it must be another file"
                )
        with terminable(), grader:
            totals = _grade_file(args, grader, lines)
    except OSError as error:
        if reader_left(error):
            raise
        command.error(f"{error.filename or args.file}: {error.strerror or error}")
    except (ValueError, RuntimeError) as error:
        command.error(str(error))
    except KeyboardInterrupt as stop:
        return interrupted("deltal grade", stop, ", nothing written")
    if not totals["pairs"]:
        command.error(f"{_name(args.file)}: holds no line with gold and pred")
    if args.summary:
        write_atomically(args.summary, json.dumps(totals, indent=1) + "\n")
    print(describe(totals), file=sys.stdout if args.out else sys.stderr)
    return 0


def _grade_file(args: argparse.Namespace, grader: Grader, lines: int) -> dict:
    bad: list[str] = []
    counts: Counter[str] = Counter()
    verdicts: Counter[tuple[bool, bool]] = Counter()  # (label, equal)
    out: list[str] = []
    waiting: deque[tuple[Line, Future[Grade]]] = deque()
    start = time.perf_counter()

    with Progress("deltal grade", "lines", lines) as progress:

        def finish() -> None:
            line, future = waiting.popleft()
            grade = future.result()
            counts[grade.status] += 1
            if line.fields.get("label") is not None:
                verdicts[bool(line.fields["label"]), grade.equal] += 1
            text = json.dumps({**line.fields, **grade.fields()}, ensure_ascii=False)
            if args.out:
                out.append(text.encode("utf-8", "backslashreplace").decode() + "\n")
            else:
                print(text.encode("utf-8", "backslashreplace").decode())
            progress.update(sum(counts.values()) + len(bad))

        for line in _read(args.file, args.unmarked):
            if isinstance(line, str):
                bad.append(line)
                if len(bad) <= SHOWN_BAD_LINES:
                    print(f"deltal grade: {line}", file=sys.stderr)
                continue
            waiting.append((line, submit_answer(grader, line.golds, line.answer)))
            while waiting and (waiting[0][1].done() or len(waiting) > IN_FLIGHT):
                finish()
        while waiting:
            finish()
    seconds = time.perf_counter() - start
    if args.out:
        write_atomically(args.out, "".join(out))
    pairs = sum(counts.values())
    labelled = sum(verdicts.values())
    return {
        "file": args.file,
        "pairs": pairs,
        "bad_lines": len(bad),
        "seconds": round(seconds, 3),
        "pairs_per_s": round(pairs / seconds, 1),
        "labelled": labelled,
        "accuracy": (verdicts[True, True] + verdicts[False, False]) / labelled if labelled else None,
        "false_equal": verdicts[False, True] if labelled else None,
        "false_different": verdicts[True, False] if labelled else None,
        "statuses": {status: counts[status] for status in STATUSES},
    }


def _name(path: str) -> str:
    return "standard input" if path == "-" else path


def _read(path: str, unmarked: str | None) -> Iterator[Line | str]:
    """The lines of a file, or of standard input; for a bad one what is wrong with it. unmarked: of a whole response; None for answers."""
    with nullcontext(sys.stdin.buffer) if path == "-" else open(path, "rb") as file:
        for number, raw in enumerate(file, 1):
            if not raw.strip():
                continue
            try:
                fields = json.loads(raw)
            except json.JSONDecodeError as error:
                yield f"line {number}: not JSON ({error.msg} at column {error.pos + 1})"  # the error's own line is 1
                continue
            except (ValueError, RecursionError) as error:
                yield f"line {number}: not JSON ({error})"
                continue
            try:
                golds, pred = _golds(fields), _pred(fields["pred"])
            except ValueError as error:
                yield f"line {number}: {error}"
                continue
            yield Line(number, fields, golds, answer_of(pred, golds[0], unmarked) if unmarked and pred else pred)


def _golds(fields: Any) -> list[str]:
    """The acceptable answers of a line. Raises ValueError for whatever is wrong with it."""
    if not isinstance(fields, dict):
        raise ValueError(f"an object with gold and pred is wanted, not {_shown(fields)}")
    for name in ("gold", "pred"):
        if name not in fields:
            raise ValueError(f"no field {name!r}; it has {', '.join(fields) or 'none'}")
    golds = fields["gold"] if isinstance(fields["gold"], list) else [fields["gold"]]
    if not golds or not all(isinstance(gold, str) and gold.strip() or type(gold) in (int, float) for gold in golds):
        raise ValueError(f"gold is a non-empty text, a number or a list of these, not {_shown(fields['gold'])}")
    for gold in filter(is_gym, golds):
        if len(golds) > 1:
            raise ValueError("gold is a list that holds a reasoning-gym label; it has to stand alone")
        check_gym_label(gold)
    if fields.get("label") not in (True, False, None):
        raise ValueError(f"label is true, false, 1, 0 or null, not {_shown(fields['label'])}")
    return [gold if isinstance(gold, str) else number_text(gold) for gold in golds]


def _pred(pred: Any) -> str | None:
    if not (isinstance(pred, str | None) or type(pred) in (int, float)):
        raise ValueError(f"pred is a text, a number or null, not {_shown(pred)}")
    return number_text(pred) if isinstance(pred, int | float) else pred


def _shown(value: Any) -> str:
    """As it stands in the file, cut."""
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:57]}..."


def describe(totals: dict) -> str:
    """The totals as a few lines for a person."""
    statuses = ", ".join(f"{count} {status}" for status, count in totals["statuses"].items() if count)
    lines = [f"{totals['pairs']} pairs in {totals['seconds']:.2f} s ({totals['pairs_per_s']:,.0f} pairs/s): {statuses}"]
    if totals["labelled"]:
        lines.append(
            f"accuracy {totals['accuracy']:.4f} on {totals['labelled']} labelled pairs: {totals['false_equal']} wrong answers called "
            f"equal, {totals['false_different']} right ones called different"
        )
    if totals["bad_lines"]:
        n = totals["bad_lines"]
        named = "named above" if n <= SHOWN_BAD_LINES else f"the first {SHOWN_BAD_LINES} are named above"
        lines.append(f"{n:,} bad line{'s were' if n > 1 else ' was'} left out ({named})")
    return "\n".join(lines)
