"""The reward service: rewards over HTTP, for `deltal serve-rewards`.

    POST /get_reward   {"query": [...], "prompts": [...], "labels": [...]}  ->  {"rewards": [...], "scores": [...], "extra_logs": {...}}
                       OpenRLHF's remote-reward protocol; query is prompt and response, and only the text after the prompt is scored
    POST /is_equal     {"str1": gold, "str2": answer}  ->  {"equal": bool, "status": str}        the protocol of the paper's authors
    POST /grade_batch  [{"gold": ..., "pred": ...}, ...]  ->  [{"equal": bool, "status": str}, ...]
    GET  /healthz, /metrics (Prometheus)

gold: an answer, a list of acceptable ones, or the label of a reasoning-gym problem, whose grades have a mark as well. pred: an answer, null
for none. Each refusal comes with {"detail": one line}:

    401   a request without the service's token
    413   a body that is too large, or a batch of too many golds
    422   a malformed body, or a broken label

In most runs a request holds one pair, so its path is short: no model classes and no thread. A pair that the grader's exact path decides is
answered at once.
"""

import asyncio
import json
import logging
import time
from collections.abc import Awaitable, Callable, Iterable
from concurrent.futures import Future
from typing import Any

from fastapi import FastAPI, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Histogram, generate_latest
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Receive, Scope, Send

from deltal_openrlhf.grading.grader import STATUSES, Grade, Grader
from deltal_openrlhf.rewards.scoring import accepted, golds_in, logs_of, response_of, submit, submit_answer
from deltal_openrlhf.rewards.token import VARIABLE, is_borne

logger = logging.getLogger("uvicorn.error")

REWARD_PATH = "/get_reward"
SERVICE = "deltal serve-rewards"
"""How /healthz names this service, so that a run tells it from a user's own."""


class _Refused(Exception):
    """The request gets this HTTP status and one line."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status = status


class Service:
    """app: what serves the requests. max_body: bytes of a request's body. max_batch: golds to compare with in one request.

    token: what requests have to bear, None for nothing.
    """

    def __init__(self, grader: Grader, unmarked: str, max_body: int, max_batch: int, token: str | None = None) -> None:
        self.grader, self.unmarked, self.max_body, self.max_batch = grader, unmarked, max_body, max_batch
        self.registry = CollectorRegistry()
        grades = Counter("deltal_grades", "Grades by status.", ["status"], registry=self.registry)
        self.grades = {status: grades.labels(status) for status in STATUSES}
        self.requests = Counter("deltal_requests", "Requests by HTTP status.", ["path", "code"], registry=self.registry)
        self.seconds = Histogram(
            "deltal_request_seconds", "From a request's head to its answer.", ["path"], registry=self.registry
        )
        app = FastAPI(title=SERVICE, openapi_url=None)
        posts = {REWARD_PATH: self.get_reward, "/is_equal": self.is_equal, "/grade_batch": self.grade_batch}
        for path, answer in posts.items():
            app.add_route(path, self._endpoint(path, answer), methods=["POST"])
        app.add_api_route("/healthz", self.healthz, methods=["GET"])
        app.add_api_route("/metrics", self.metrics, methods=["GET"])
        self.app: ASGIApp = app if token is None else _bearers_only(app, token)

    async def get_reward(self, data: Any) -> dict:
        queries, prompts, labels = (_strings(data, name) for name in ("query", "prompts", "labels"))
        if not len(queries) == len(prompts) == len(labels):
            raise _Refused(
                422, f"{len(queries)} query, {len(prompts)} prompts, {len(labels)} labels: as many of each are needed"
            )
        self._check_batch(sum(map(golds_in, labels)))
        responses = [response_of(query, prompt) for query, prompt in zip(queries, prompts, strict=True)]
        grades = await self._grades(
            submit(self.grader, response, label, self.unmarked)
            for response, label in zip(responses, labels, strict=True)
        )
        rewards = [float(grade.equal) for grade in grades]
        return {"rewards": rewards, "scores": rewards, "extra_logs": logs_of(grades)}

    async def is_equal(self, data: Any) -> dict:
        if not (isinstance(data, dict) and isinstance(data.get("str1"), str) and isinstance(data.get("str2"), str)):
            raise _Refused(422, 'the body must be {"str1": gold, "str2": answer}, both text')
        golds = accepted(data["str1"])
        self._check_batch(len(golds))
        (grade,) = await self._grades([submit_answer(self.grader, golds, data["str2"])])
        return grade.fields()

    async def grade_batch(self, data: Any) -> list[dict]:
        if not isinstance(data, list):
            raise _Refused(422, 'the body must be a list of {"gold": ..., "pred": ...}')
        pairs = [_pair(index, item) for index, item in enumerate(data)]
        self._check_batch(sum(len(golds) for golds, _ in pairs))
        grades = await self._grades(submit_answer(self.grader, golds, pred) for golds, pred in pairs)
        return [grade.fields() for grade in grades]

    async def healthz(self) -> dict:
        return {"status": "ok", "service": SERVICE, "reward_path": REWARD_PATH}

    async def metrics(self) -> Response:
        return Response(generate_latest(self.registry), media_type=CONTENT_TYPE_LATEST)

    def _check_batch(self, size: int) -> None:
        if size > self.max_batch:
            raise _Refused(413, f"{size} golds in one request, allowed are {self.max_batch} (--max_batch)")

    async def _grades(self, submitted: Iterable[Future[Grade]]) -> list[Grade]:
        futures = []
        for future in submitted:
            futures.append(future)
            if len(futures) % 8 == 0:
                await asyncio.sleep(0)  # a long batch leaves room for other requests
        pending = [asyncio.wrap_future(future) for future in futures if not future.done()]
        if pending:
            await asyncio.gather(*pending)  # cancelled together when the service is made to stop
        grades = [future.result() for future in futures]
        for grade in grades:
            self.grades[grade.status].inc()
        return grades

    def _endpoint(self, path: str, answer: Callable[[Any], Awaitable[Any]]) -> Callable[[Request], Awaitable[Response]]:
        """Body in, JSON out, counted and timed."""
        seconds = self.seconds.labels(path)
        codes = {code: self.requests.labels(path, code) for code in (200, 400, 413, 422, 500, 503)}

        async def endpoint(request: Request) -> Response:
            started, code = time.perf_counter(), 500
            try:
                content, code = await answer(_parsed(await self._body(request))), 200
            except _Refused as refused:
                content, code = {"detail": str(refused)}, refused.status
            except ValueError as error:  # a broken label or query
                content, code = {"detail": str(error)}, 422
            except ClientDisconnect:
                content, code = {"detail": "the client went away before its body was complete"}, 400
            except asyncio.CancelledError:  # made to stop before its requests were finished
                content, code = {"detail": "the service is stopping"}, 503
            except Exception as error:  # such as a grading process that cannot be started: whoever asked is told
                logger.exception("%s failed", path)
                content = {"detail": f"{type(error).__name__}: {error}"}
            codes[code].inc()
            seconds.observe(time.perf_counter() - started)
            return Response(json.dumps(content), code, media_type="application/json")

        return endpoint

    async def _body(self, request: Request) -> bytes:
        """The body, of which never more than the limit is held."""
        too_large = _Refused(413, f"the body has more than {self.max_body} bytes (--max_body_mb)")
        if int(request.headers.get("content-length", 0)) > self.max_body:
            raise too_large
        body = bytearray()
        async for chunk in request.stream():
            body += chunk
            if len(body) > self.max_body:
                raise too_large
        return bytes(body)


def _bearers_only(app: ASGIApp, token: str) -> ASGIApp:
    """Pass requests that carry the token to the app, and refuse all others."""
    refusal = Response(
        json.dumps({"detail": f"this service needs the token in {VARIABLE}", "service": SERVICE}),
        401,
        {"www-authenticate": "Bearer", "connection": "close"},
        "application/json",
    )

    async def checked(scope: Scope, receive: Receive, send: Send) -> None:
        await (app if is_borne(token, scope["headers"]) else refusal)(scope, receive, send)

    return checked


def _parsed(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:  # also wrong UTF-8, integers of thousands of digits, and deep nesting
        raise _Refused(422, f"the body is not JSON: {error}") from error


def _strings(data: Any, name: str) -> list[str]:
    values = data.get(name) if isinstance(data, dict) else None
    if not (isinstance(values, list) and all(isinstance(value, str) for value in values)):
        raise _Refused(
            422,
            f'the body must be {{"query": [...], "prompts": [...], "labels": [...]}}; {name} is not a list of texts',
        )
    return values


def _pair(index: int, item: Any) -> tuple[tuple[str, ...], str | None]:
    """(golds, pred) of one item of a batch."""
    complete = isinstance(item, dict) and "pred" in item
    gold, pred = (item.get("gold"), item["pred"]) if complete else (None, None)
    golds = tuple(gold) if isinstance(gold, list) else accepted(gold) if isinstance(gold, str) else ()
    if not (golds and all(isinstance(text, str) and text.strip() for text in golds) and isinstance(pred, str | None)):
        raise _Refused(
            422,
            f'item {index}: must be {{"gold": text or list of texts, "pred": text or null}}, none of the golds empty',
        )
    return golds, pred
