"""The ports on which the host's process groups meet are held until they listen there."""

import socket
from datetime import timedelta
from types import SimpleNamespace

import pytest
import torch
from openrlhf.trainer.ray import launcher, ppo_actor

from deltal_openrlhf.host import ports
from deltal_openrlhf.host.rebind import rebound
from deltal_openrlhf.runs.ports import hold_port

LIMIT = timedelta(seconds=10)


@pytest.fixture(autouse=True)
def real_host():
    """The host's own `socket`, whatever this process has bound before."""
    with rebound(launcher, "socket", socket), rebound(ppo_actor, "socket", socket), rebound(ports, "_held", []):
        yield
        for held in ports._held:
            held.close()


def is_taken(port: int, address: str = "") -> bool:
    """Whether a socket without SO_REUSEADDR, such as the near end of a connection, can have the port."""
    with socket.socket() as other:
        try:
            other.bind((address, port))
        except OSError:
            return True
    return False


def test_the_host_lets_its_port_go_and_we_hold_it():
    launcher.BaseDistributedActor._get_free_port()
    assert not ports._held
    ports.PATCHES[0].apply(launcher)
    port = launcher.BaseDistributedActor._get_free_port()
    assert is_taken(port)
    assert is_taken(port, "127.0.0.1")


def test_torch_listens_on_the_held_port_and_is_reached_there():
    ports.PATCHES[0].apply(launcher)
    port = launcher.BaseDistributedActor._get_free_port()
    store = torch.distributed.TCPStore("127.0.0.1", port, 2, is_master=True, timeout=LIMIT, wait_for_workers=False)
    other = torch.distributed.TCPStore("127.0.0.1", port, 2, is_master=False, timeout=LIMIT)
    other.set("from", "the other")
    assert store.get("from") == b"the other"


def test_the_port_of_the_weight_sync_is_held():
    ports.PATCHES[1].apply(ppo_actor)
    sent = []

    class Engine:
        class init_process_group:
            @staticmethod
            def remote(address, port, *_, **__):
                sent.append((port, is_taken(port)))

    host = SimpleNamespace(
        strategy=SimpleNamespace(args=SimpleNamespace(vllm=SimpleNamespace(num_engines=1, tensor_parallel_size=1))),
        vllm_engines=[Engine()],
    )
    ray = SimpleNamespace(
        get=lambda refs: None,
        _private=SimpleNamespace(services=SimpleNamespace(get_node_ip_address=lambda: "127.0.0.1")),
    )
    with (
        rebound(ppo_actor, "ray", ray),
        rebound(ppo_actor, "stateless_init_process_group", lambda *where: where),
        rebound(torch.cuda, "current_device", lambda: 0),
    ):
        ppo_actor.ActorPPOTrainer._init_vllm_sync_group(host, "gloo")
    assert sent == [(host._model_update_group[1], True)]


def test_two_groups_get_two_ports():
    ports.PATCHES[0].apply(launcher)
    found = [launcher.BaseDistributedActor._get_free_port() for _ in range(50)]
    assert len(set(found)) == 50


def test_another_use_of_the_socket_is_an_error():
    ports.PATCHES[1].apply(ppo_actor)
    with pytest.raises(AttributeError):
        ppo_actor.socket.create_connection(("127.0.0.1", 1))
    with ppo_actor.socket.socket() as sock, pytest.raises(ValueError, match="binds port 1234"):
        sock.bind(("", 1234))


def test_a_holder_holds_until_it_is_closed():
    held = hold_port("127.0.0.1")
    port = held.getsockname()[1]
    assert is_taken(port, "127.0.0.1")
    held.close()
    with pytest.raises(OSError):
        held.getsockname()
