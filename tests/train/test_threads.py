"""Threads of a run without a GPU: by the size of the model and by what computes at the same time."""

import os

import pytest
import torch
from safetensors.torch import save_file
from support.host_arguments import host_arguments
from torch import zeros

from deltal_openrlhf.train import threads

RUN = "--actor.num_nodes 1 --actor.num_gpus_per_node 2 --vllm.num_engines 3"


@pytest.fixture
def model(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(0, 32, 2)))  # 16 of more cores
    monkeypatch.setenv("DELTAL_CHOOSES_THREADS", "1")
    monkeypatch.delenv("RAY_ADDRESS", raising=False)

    def of(millions):
        save_file({"weight": zeros(int(millions * 1000), 1000)}, tmp_path / "model.safetensors")
        return tmp_path

    return of


@pytest.mark.parametrize(
    ("millions", "flags", "wanted"),
    [
        (4.9, "", 1),
        (5, "", 5),  # 16 cores, 3 engines
        (5, "--vllm.num_engines 1", 8),
        (5, "--vllm.num_engines 1 --vllm.tensor_parallel_size 4", 4),
        (5, "--train.async_enable", 3),
        (5, "--actor.num_gpus_per_node 20", 1),
    ],
)
def test_cores_are_shared_by_what_computes_at_once(millions, flags, wanted, model):
    args = host_arguments(*RUN.split(), *flags.split(), "--actor.model_name_or_path", str(model(millions)))
    assert threads.of_a_process(args) == wanted


def test_a_number_of_the_user_a_cluster_and_an_unknown_size_leave_one(model, monkeypatch):
    args = host_arguments(*RUN.split(), "--actor.model_name_or_path", str(model(5)))
    assert threads.of_a_process(args) == 5
    monkeypatch.setenv("RAY_ADDRESS", "192.0.2.1:6379")
    assert threads.of_a_process(args) == 1
    monkeypatch.delenv("RAY_ADDRESS")
    monkeypatch.delenv("DELTAL_CHOOSES_THREADS")
    assert threads.of_a_process(args) == 1
    monkeypatch.setenv("DELTAL_CHOOSES_THREADS", "1")
    args = host_arguments(*RUN.split(), "--actor.model_name_or_path", "nobody/on-the-hub")
    assert threads.of_a_process(args) == 1


def test_a_process_that_is_alone_takes_every_core(model, monkeypatch):
    chosen = []
    monkeypatch.setattr(torch, "set_num_threads", chosen.append)
    threads.use(4_999_999)
    threads.use(5_000_000)
    assert chosen == [1, 16]
    monkeypatch.delenv("DELTAL_CHOOSES_THREADS")
    threads.use(5_000_000)
    assert chosen == [1, 16]
