"""A quiet console: one line per PPO step, with an estimate of the time left. Everything else goes into a log file."""

import sys
import time
from contextlib import ExitStack
from pathlib import Path

from deltal_openrlhf.runs.console import output_to
from deltal_openrlhf.runs.metrics_file import NAME, read_metrics, silence
from deltal_openrlhf.runs.progress import duration
from deltal_openrlhf.runs.watch import Watch


def step_line(row: dict, left: float | None) -> str:
    """Describe one PPO step for a reader. left: seconds, None if unknown."""
    total = f"/{row['total_steps']}" if row.get("total_steps") else ""
    parts = [
        f"step {row['step']}{total}",
        f"reward {row.get('rollout/reward_mean', float('nan')):.3f}",
        f"length {row['deltal/response_length_mean']:.0f} (p95 {row['deltal/response_length_p95']:.0f})",
        f"ess {row.get('deltal/ess', float('nan')):.0f}",
        f"grad norm {row.get('deltal/grad_norm', float('nan')):.3g}",
        f"{row.get('timing/step_total', 0.0):.1f} s",
    ]
    if left is not None:
        parts.append(f"{duration(left)} left")
    return "  ".join(parts)


class QuietConsole:
    """Redirects this process's stdout and stderr, with all that Ray's workers print, to run folder/logs/train.log."""

    def __init__(self, folder: Path, every: float = 0.5) -> None:
        """every: seconds between two looks at metrics.jsonl."""
        (folder / "logs").mkdir(parents=True, exist_ok=True)
        self.log_path = (folder / "logs" / "train.log").resolve()
        self._metrics = folder / NAME
        self._started = time.time()
        self._shown = 0
        self._redirection = ExitStack()
        self._out = self._redirection.enter_context(output_to(self.log_path)).out
        print(f"log: {self.log_path}", file=self._out)
        print("starting Ray, vLLM and the trainer (about 40 s on 2 cores)", file=self._out)
        self._watch = Watch(self._look, every, "console")

    def _look(self) -> None:
        rows = self._rows()
        for number, row in enumerate(rows[self._shown :], self._shown + 1):
            print(step_line(row, _seconds_left(rows, row)), file=self._out)
            if note := silence(rows[:number]):
                print(f"note: {note}", file=self._out)
        self._shown = max(self._shown, len(rows))

    def say(self, line: str) -> None:
        """Show a line to the user, and write it to the log too."""
        for stream in (self._out, sys.stdout):
            print(f"deltal train: {line}", file=stream, flush=True)

    def _rows(self) -> list[dict]:
        if not self._metrics.exists():
            return []
        return [row for row in read_metrics(str(self._metrics)) if row["time"] >= self._started]

    def close(self) -> None:
        """Print the remaining lines, and restore stdout and stderr."""
        self._watch.stop()
        self._redirection.close()


def _seconds_left(rows: list[dict], row: dict) -> float | None:
    """Estimate the seconds left from the wall time between the last steps, which includes every part of a step."""
    done = [r for r in rows if r["step"] <= row["step"]][-6:]
    if not row.get("total_steps") or len(done) < 2:
        return None
    a_step = (done[-1]["time"] - done[0]["time"]) / (done[-1]["step"] - done[0]["step"])
    return a_step * (row["total_steps"] - row["step"])
