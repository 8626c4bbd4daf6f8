"""`deltal doctor --cluster`: asks every node of a running Ray cluster whether they fit together."""

import logging
import os
import socket
import time
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any

from deltal_openrlhf.cli import node as on_node
from deltal_openrlhf.cli.findings import Findings, Problem
from deltal_openrlhf.runs.errors import first_line

SAME = "make it the same on all nodes: one environment on a file system that all of them see, or the same setup on each"
SHOWN = ("deltal-openrlhf", "openrlhf", "torch", "NVIDIA driver")
LATE_FILE = 5.0
"""Seconds that a file written on one node may take to appear on another."""
CONNECT = 5.0
"""Seconds for a TCP connection to the cluster."""

HEAD = "node:__internal_head__"
"""The resource by which Ray marks the head; its list of the nodes has no fixed order."""


class Unanswered(Exception):
    """Why a node gave no answer, in one line."""


class Cluster:
    """The nodes of the Ray cluster that this process has joined, the head first. seconds: for each question to all nodes."""

    def __init__(self, seconds: float) -> None:
        import ray

        self.seconds = seconds
        alive = [node for node in ray.nodes() if node["Alive"]]
        alive.sort(key=lambda node: HEAD not in node["Resources"])
        self.gpus = {node["NodeID"]: node["Resources"].get("GPU", 0.0) for node in alive}
        addresses = [node["NodeManagerAddress"] for node in alive]
        self.names = {}
        for node in alive:
            address, host = node["NodeManagerAddress"], node["NodeManagerHostname"]
            other = f", node {node['NodeID'][:6]}" if addresses.count(address) > 1 else ""
            self.names[node["NodeID"]] = f"{address} ({host}{other})"

    def ask(self, nodes: list[str], function: Callable, *arguments: Any) -> dict[str, Any]:
        """function(*arguments) on each of the nodes; an Unanswered in place of what did not come."""
        import ray

        # Without a CPU: a node that is busy with a run answers too.
        task = ray.remote(num_cpus=0, max_retries=0)(function)
        return self.answers(
            {node: task.options(scheduling_strategy=self.on(node)).remote(*arguments) for node in nodes}
        )

    def on(self, node: str) -> Any:
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        return NodeAffinitySchedulingStrategy(node, soft=False)

    def answers(self, references: dict[str, Any]) -> dict[str, Any]:
        import ray

        ready, _ = ray.wait([*references.values()], num_returns=len(references), timeout=self.seconds)
        answers = {}
        for node, reference in references.items():
            if reference not in ready:
                answers[node] = Unanswered(f"no answer within {self.seconds:g} s")
                continue
            try:
                answers[node] = ray.get(reference)
            except Exception as error:  # noqa: BLE001 - whatever a node says is its answer, and shown
                cause = getattr(error, "cause", None) or error
                answers[node] = Unanswered(f"{type(cause).__name__}: {first_line(cause)}")
        return answers


def find_address() -> str:
    """HOST:PORT of RAY_ADDRESS or of the cluster on this machine. Raises ValueError if there is none, or no one answers there."""
    from ray._private.services import canonicalize_bootstrap_address_or_die

    given = os.environ.get("RAY_ADDRESS", "")
    if "://" in given:
        raise ValueError(f"RAY_ADDRESS is {given}, allowed is HOST:PORT of the cluster's head (the port of ray start)")
    address = given
    try:
        address = canonicalize_bootstrap_address_or_die("auto")
        host, _, port = address.rpartition(":")
        socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT).close()
    except ConnectionError as error:
        if given:
            raise ValueError(f"RAY_ADDRESS is {given}, and no Ray cluster answers there: {error}") from error
        raise ValueError("no Ray cluster runs here; start one (ray start --head), or set RAY_ADDRESS") from error
    except (OSError, ValueError) as error:
        raise ValueError(f"no Ray cluster answers at {address}: {error}") from error
    return address


def check(address: str, path: str | None, seconds: float) -> Findings:
    """Facts and problems of the cluster at this address. path: a folder that all nodes have to see."""
    import ray
    from ray import cloudpickle

    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # else a warning on the screen
    try:
        ray.init(address=address, logging_level=logging.ERROR, log_to_driver=False)
    except (RuntimeError, ConnectionError) as error:  # RuntimeError: another version of Ray or Python on the head
        what = f"this machine cannot join the cluster at {address}: {' '.join(str(error).split())}"
        yield f"cluster       {address}: not joined"
        yield Problem(what, SAME)
        return
    cloudpickle.register_pickle_by_value(on_node)
    try:
        cluster = Cluster(seconds)
        yield f"cluster       {address}: {len(cluster.names)} node(s), {sum(cluster.gpus.values()):g} GPU(s)"
        found = cluster.ask([*cluster.names], on_node.facts)
        answered = {node: answer for node, answer in found.items() if not isinstance(answer, Unanswered)}
        for node, answer in answered.items():
            parts = f"{cluster.gpus[node]:g} GPU(s)", *(f"{key} {answer[key]}" for key in SHOWN)
            yield f"node          {cluster.names[node]}: {', '.join(parts)}"
        for node in (node for node in found if node not in answered):
            what = f"node {cluster.names[node]}: {found[node]}"
            yield Problem(what, "ray status shows it; start Ray on it again, or take it out")
        yield from differences({cluster.names[node]: answer for node, answer in answered.items()})
        yield from check_path(cluster, [*answered], path)
        yield from check_all_reduce(cluster, answered)
    finally:
        cloudpickle.unregister_pickle_by_value(on_node)
        ray.shutdown()


def differences(found: dict[str, dict[str, str]]) -> Iterator[Problem]:
    """One problem for each fact that is not the same everywhere. found: the facts of each node, by its name."""
    for key in dict.fromkeys(key for facts in found.values() for key in facts):
        nodes = defaultdict(list)
        for name, facts in found.items():
            # A node without a GPU, such as a head that only coordinates, needs no driver.
            if key != "NVIDIA driver" or facts[key] != "-":
                nodes[facts[key]].append(name)
        if len(nodes) > 1:
            values = "; ".join(f"{value} on {', '.join(names)}" for value, names in nodes.items())
            yield Problem(f"{key} differs: {values}", SAME)


def check_path(cluster: Cluster, nodes: list[str], path: str | None) -> Findings:
    """The first node writes a file into the folder, all others read it back."""
    if path is None:
        yield "shared path   not checked; --path FOLDER, such as the --ckpt.path of a run"
        return
    if not nodes:
        return
    remedy = "mount one file system there on all nodes; checkpoints are written and read by several of them"
    name, text = f".deltal-doctor-{uuid.uuid4().hex}", uuid.uuid4().hex
    first, *others = nodes
    wrote = cluster.ask([first], on_node.write, path, name, text)[first]
    if isinstance(wrote, Unanswered):
        yield Problem(f"{path} cannot be written on node {cluster.names[first]}: {wrote}", remedy)
        return
    try:
        read = cluster.ask(others, on_node.read, path, name, min(LATE_FILE, cluster.seconds / 2)) if others else {}
    finally:
        cluster.ask([first], on_node.remove, path, name)
    for node, answer in read.items():
        if answer != text:
            why = answer if isinstance(answer, Unanswered) else "it is not there"
            what = f"a file that node {cluster.names[first]} wrote into {path} cannot be read on node {cluster.names[node]}: {why}"
            yield Problem(what, remedy)
    seen = 1 + sum(answer == text for answer in read.values())
    yield f"shared path   {path}: seen by {seen} of {len(nodes)} node(s)"


def check_all_reduce(cluster: Cluster, found: dict[str, dict[str, str]]) -> Findings:
    """Sum over the nodes, with NCCL on one GPU of each node that has some, else with gloo. found: the facts of each node."""
    import ray

    with_gpus = [node for node, facts in found.items() if cluster.gpus[node] and "CUDA" in facts["torch"]]
    nodes, backend = (with_gpus, "nccl") if with_gpus else ([*found], "gloo")
    if with_gpus:
        free = ray._private.state.available_resources_per_node()
        busy = [node for node in nodes if free.get(node, {}).get("GPU", 0) < 1]
        nodes = [node for node in nodes if node not in busy]
        yield from (f"all-reduce    without node {cluster.names[node]}: a run has all of its GPUs" for node in busy)
    if not nodes:
        return
    started = time.monotonic()
    rank: Any = ray.remote(num_cpus=0, num_gpus=int(backend == "nccl"))(on_node.Rank)
    ranks = {node: rank.options(scheduling_strategy=cluster.on(node)).remote() for node in nodes}
    try:
        addresses = cluster.answers({node: actor.address.remote() for node, actor in ranks.items()})
        answers = {node: address for node, address in addresses.items() if isinstance(address, Unanswered)}
        if not answers:
            # The ranks give up first, and can say why.
            arguments = len(nodes), addresses[nodes[0]], backend, 0.8 * cluster.seconds
            answers = cluster.answers(
                {node: ranks[node].all_reduce.remote(index, *arguments) for index, node in enumerate(nodes)}
            )
    finally:
        for actor in ranks.values():
            ray.kill(actor)
    wanted = len(nodes) * (len(nodes) + 1) / 2
    failed = {node: answer for node, answer in answers.items() if answer != wanted}
    for node, answer in failed.items():
        why = answer if isinstance(answer, Unanswered) else f"the sum is {answer}, not {wanted}"
        remedy = (
            "open all TCP ports between the nodes; NCCL_SOCKET_IFNAME or GLOO_SOCKET_IFNAME names the network interface, "
            "NCCL_DEBUG=INFO shows more"
        )
        yield Problem(f"all-reduce ({backend}) on node {cluster.names[node]}: {why}", remedy)
    if not failed:
        yield f"all-reduce    {backend} over {len(nodes)} node(s): right, {time.monotonic() - started:.0f} s with start"
