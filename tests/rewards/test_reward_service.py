"""`deltal serve-rewards` as a real process, over real connections."""

import http.client
import json
import os
import signal
import socket
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest
from support import commands
from support.reward_command import COMMAND, integrals, running

from deltal_openrlhf.grading.grader import STATUSES

MAX_BATCH = 64
COUNTDOWN = json.dumps({"numbers": [1, 2, 3], "target": 9})


@pytest.fixture(scope="module")
def service():
    with running("--max_batch", str(MAX_BATCH), "--max_body_mb", "1", start=subprocess.Popen) as service:
        yield service


# ── What it answers ──


def test_the_authors_protocol(service):
    for gold, answer, equal, status in (
        (r"\frac{3}{5}", "0.6", True, "equal"),
        (r"\frac{3}{5}", "0.5", False, "different"),
        ("25", r"\int_0^5 2x dx", True, "equal"),
        ("5", "", False, "unparsable"),
        ("5", "5" * 10_000, False, "too_long"),
    ):
        assert service.ask("/is_equal", {"str1": gold, "str2": answer}) == (200, {"equal": equal, "status": status})


def test_the_hosts_protocol_scores_math_and_countdown_after_the_prompt_only(service):
    example = r"An example: \boxed{3/4} <answer>(1 + 2) * 3</answer>. "
    rows = [
        (example, r"\boxed{0.75}", "3/4", 1.0),
        (example, "no idea", "3/4", 0.0),
        ("", example, "3/4", 0.0),  # the last answer counts, and it is no number
        ("", r"\boxed{3/4}", "3/4", 1.0),
        (example, "<answer>(1+2)*3</answer>", COUNTDOWN, 1.0),
        (example, "", COUNTDOWN, 0.0),
        ("", example, COUNTDOWN, 1.0),
        ("", r"\boxed{7}", '["6", "7"]', 1.0),
    ]
    prompts, responses, labels, rewards = (list(column) for column in zip(*rows, strict=True))
    queries = [prompt + response for prompt, response in zip(prompts, responses, strict=True)]
    status, answer = service.ask("/get_reward", {"query": queries, "prompts": prompts, "labels": labels})
    assert status == 200
    assert answer["rewards"] == answer["scores"] == rewards
    assert list(answer["extra_logs"]) == [f"grade/{status}" for status in STATUSES]
    assert answer["extra_logs"]["grade/equal"] == rewards
    assert [sum(flags) for flags in zip(*answer["extra_logs"].values(), strict=True)] == [1.0] * len(rows)


def test_a_batch_keeps_its_order(service):
    pairs = [{"gold": str(n), "pred": str(n + n % 2)} for n in range(20)] + integrals(5)
    pairs += [{"gold": ["1", "2"], "pred": "2"}, {"gold": "1", "pred": None}]
    status, answer = service.ask("/grade_batch", pairs)
    assert status == 200
    assert [grade["equal"] for grade in answer] == [n % 2 == 0 for n in range(20)] + [True] * 6 + [False]
    assert [grade["status"] for grade in answer[-2:]] == ["equal", "unparsable"]
    assert service.ask("/grade_batch", []) == (200, [])


def test_many_clients_at_once_each_get_their_own_answer(service):
    def client(n: int) -> bool:
        pred = rf"\int_0^{{{n}}} 2x dx" if n % 4 == 0 else str(n * n + n % 2)
        status, answer = service.ask("/is_equal", {"str1": str(n * n), "str2": pred})
        return status == 200 and answer["equal"] == (n % 2 == 0)

    with ThreadPoolExecutor(16) as pool:
        assert all(pool.map(client, range(1, 81)))


def test_health(service):
    status, answer = service.ask("/healthz", None, "GET")
    assert (status, answer["status"], answer["reward_path"]) == (200, "ok", "/get_reward")


def test_metrics_count_requests_statuses_and_seconds(service):
    before = service.metrics()
    service.ask("/is_equal", {"str1": "1", "str2": "1"})
    service.ask("/is_equal", {"str1": "1", "str2": "2"})
    service.ask("/is_equal", {"str1": "1"})
    service.ask("/grade_batch", [{"gold": "1", "pred": None}, {"gold": "1", "pred": "1" * 10_000}])
    service.ask("/get_reward", {"query": [r"\boxed{9}"], "prompts": [""], "labels": ["9"]})
    after = service.metrics()
    grown = {name: after[name] - before[name] for name in after if after[name] != before[name]}
    assert {
        name: n for name, n in grown.items() if name.startswith(("deltal_grades_total", "deltal_requests_total"))
    } == {
        'deltal_grades_total{status="equal"}': 2,
        'deltal_grades_total{status="different"}': 1,
        'deltal_grades_total{status="unparsable"}': 1,
        'deltal_grades_total{status="too_long"}': 1,
        'deltal_requests_total{code="200",path="/is_equal"}': 2,
        'deltal_requests_total{code="422",path="/is_equal"}': 1,
        'deltal_requests_total{code="200",path="/grade_batch"}': 1,
        'deltal_requests_total{code="200",path="/get_reward"}': 1,
    }
    assert grown['deltal_request_seconds_count{path="/is_equal"}'] == 3
    assert 0 < grown['deltal_request_seconds_sum{path="/is_equal"}'] < 5
    assert {f'deltal_grades_total{{status="{status}"}}' for status in STATUSES} <= set(after)


# ── What it refuses ──

REWARD = {"query": ["p a"], "prompts": ["p"], "labels": ["1"]}


@pytest.mark.parametrize(
    ("path", "body", "says"),
    [
        ("/is_equal", b"", "not JSON"),
        ("/is_equal", b"{", "not JSON"),
        ("/is_equal", b"\xff\xfe", "not JSON"),
        ("/is_equal", b"[" * 200_000, "not JSON"),
        ("/is_equal", b"9" * 10_000, "not JSON"),
        ("/is_equal", b"null", "str1"),
        ("/is_equal", {"str1": "1"}, "str1"),
        ("/is_equal", {"str1": 1, "str2": "1"}, "str1"),
        ("/is_equal", {"str1": "", "str2": "1"}, "a math label is"),
        ("/grade_batch", {"gold": "1", "pred": "1"}, "must be a list"),
        ("/grade_batch", [{"gold": "1", "pred": "1"}, "1"], "item 1: "),
        ("/grade_batch", [{"gold": "1", "pred": 1}], "item 0: "),
        ("/grade_batch", [{"gold": [], "pred": "1"}], "item 0: "),
        ("/grade_batch", [{"gold": ["1", ""], "pred": "1"}], "item 0: "),
        ("/get_reward", [], "query is not a list"),
        ("/get_reward", {**REWARD, "query": "p a"}, "query is not a list"),
        ("/get_reward", {**REWARD, "prompts": [None]}, "prompts is not a list"),
        ("/get_reward", {"query": ["p a"], "prompts": ["p"]}, "labels is not a list"),
        ("/get_reward", {**REWARD, "labels": ["1", "2"]}, "1 query, 1 prompts, 2 labels"),
        ("/get_reward", {**REWARD, "prompts": ["q"]}, "does not start with its prompt"),
        ("/get_reward", {**REWARD, "labels": [""]}, "a math label is"),
        ("/get_reward", {**REWARD, "labels": ['{"numbers": [1]}']}, "a countdown label is"),
    ],
)
def test_malformed_bodies_are_422_with_one_line(service, path, body, says):
    status, answer = service.ask(path, body)
    assert status == 422
    assert says in answer["detail"]
    assert "\n" not in answer["detail"]
    assert len(answer["detail"]) < 1000


def test_what_is_too_large_is_413(service):
    pair = {"gold": "1", "pred": "1"}
    assert service.ask("/grade_batch", [pair] * MAX_BATCH)[0] == 200
    assert service.ask("/grade_batch", [pair] * (MAX_BATCH + 1))[0] == 413
    many = MAX_BATCH + 1
    assert service.ask("/get_reward", {"query": [""] * many, "prompts": [""] * many, "labels": ["1"] * many})[0] == 413
    padding = 2**20 - len(json.dumps({"str1": "1", "str2": ""}))
    assert service.ask("/is_equal", {"str1": "1", "str2": " " * padding})[0] == 200
    status, answer = service.ask("/is_equal", {"str1": "1", "str2": " " * (padding + 1)})
    assert (status, answer["detail"]) == (413, "the body has more than 1048576 bytes (--max_body_mb)")


def test_every_gold_counts(service):
    """One response may name thousands of golds, each of which is compared with it."""
    golds = [str(n) for n in range(MAX_BATCH)]
    too_many = f"{MAX_BATCH + 1} golds in one request, allowed are {MAX_BATCH} (--max_batch)"
    assert service.ask("/grade_batch", [{"gold": golds, "pred": "-1"}])[0] == 200
    assert service.ask("/grade_batch", [{"gold": golds, "pred": "-1"}, {"gold": "1", "pred": "1"}]) == (
        413,
        {"detail": too_many},
    )
    label = json.dumps([*golds, "7"])
    assert service.ask("/is_equal", {"str1": label, "str2": "-1"}) == (413, {"detail": too_many})
    assert service.ask("/get_reward", {"query": ["x"], "prompts": [""], "labels": [label]}) == (
        413,
        {"detail": too_many},
    )


def test_a_body_that_does_not_say_its_length_is_cut_off_at_the_limit(service):
    connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=60)
    connection.request("POST", "/is_equal", (b"x" * 2**16 for _ in range(32)), encode_chunked=True)
    assert connection.getresponse().status == 413
    connection.close()


def test_a_client_that_goes_away_in_the_middle_of_its_body_harms_nobody(service):
    with socket.create_connection(("127.0.0.1", service.port)) as connection:
        connection.sendall(b"POST /is_equal HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
    assert service.ask("/is_equal", {"str1": "1", "str2": "1"})[0] == 200


def test_wrong_paths_and_methods(service):
    assert service.ask("/", {})[0] == 404
    assert service.ask("/is_equal", None, "GET")[0] == 405


def test_listens_on_this_machine_only(service):
    addresses = {c.laddr.ip for c in psutil.Process(service.process.pid).net_connections() if c.status == "LISTEN"}
    assert addresses == {"127.0.0.1"}


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        ("--port 70000", "--port is 70000, allowed is 0 to 65535"),
        ("--port 0 --workers 0", "--workers is 0, allowed is 1 or more"),
        ("--port 0 --max_batch 0", "--max_batch is 0, allowed is 1 or more"),
        ("--port 0 --host no.such.host.invalid", "cannot listen on no.such.host.invalid, port 0: "),
        ("--port 0 --speed 9", "unrecognized arguments: --speed 9"),
    ],
)
def test_bad_flags_are_one_line_and_exit_code_2(flags, says):
    ended = commands.run([*COMMAND, *flags.split()], capture_output=True, text=True, timeout=60)
    assert ended.returncode == 2
    assert ended.stderr.startswith("deltal serve-rewards: error: ")
    assert says in ended.stderr
    assert ended.stderr.count("\n") == 1


def test_an_address_in_use_is_one_line_and_exit_code_2(service):
    ended = commands.run([*COMMAND, "--port", str(service.port)], capture_output=True, text=True, timeout=60)
    assert ended.returncode == 2
    assert (
        ended.stderr
        == f"deltal serve-rewards: error: cannot listen on 127.0.0.1, port {service.port}: Address already in use\n"
    )


# ── How it stops ──


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_a_signal_lets_requests_finish_and_leaves_nothing_behind(signum, code):
    with running() as service:
        assert len(service.family) >= 2
        pairs = integrals(100)
        answered: list[float] = []

        def client():
            status, answer = service.ask("/grade_batch", pairs)
            assert status == 200
            assert all(grade["equal"] for grade in answer)
            answered.append(time.monotonic())

        thread = threading.Thread(target=client)
        thread.start()
        time.sleep(0.3)  # the request is there, and 100 integrals take longer
        assert not answered
        told = time.monotonic()
        if signum == signal.SIGINT:
            os.killpg(service.process.pid, signum)  # Ctrl-C reaches everybody
        else:
            service.process.send_signal(signum)
        assert service.process.wait(timeout=30) == code
        thread.join()
        assert answered and answered[0] > told
        assert service.survivors() == []
        said = service.process.stderr.read()
        assert said == ("deltal serve-rewards: stopped: interrupted\n" if code else "")
        with pytest.raises(ConnectionRefusedError):
            service.ask("/healthz", None, "GET")


def test_a_second_ctrl_c_does_not_wait_for_requests():
    with running() as service:
        answers = []
        thread = threading.Thread(target=lambda: answers.append(service.ask("/grade_batch", integrals(1024))))
        thread.start()
        time.sleep(0.5)
        service.process.send_signal(signal.SIGINT)
        time.sleep(0.3)
        assert service.process.poll() is None  # waits for the request
        service.process.send_signal(signal.SIGINT)
        assert service.process.wait(timeout=10) == 130
        thread.join()
        assert answers == [(503, {"detail": "the service is stopping"})]
        assert service.survivors() == []
