"""The tiny example, and the folder of an undisturbed run on it."""

import pytest
import torch
from support import diagnose_child
from support.diagnose_command import flags
from support.diagnose_example import write_example

from deltal_openrlhf.cli.diagnose import main


@pytest.fixture
def quick(monkeypatch):
    diagnose_child.be_quick(monkeypatch.setattr)


@pytest.fixture(scope="package", autouse=True)
def one_thread():
    """As in the child: sums over more threads have other last bits."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="package")
def example(tmp_path_factory):
    folder = tmp_path_factory.mktemp("example")
    write_example(folder)
    return folder


@pytest.fixture(scope="package")
def finished(example, tmp_path_factory):
    """The folder of an undisturbed run."""
    out = tmp_path_factory.mktemp("finished") / "out"
    with pytest.MonkeyPatch.context() as patch:
        diagnose_child.be_quick(patch.setattr)
        assert main(flags(example, out)) == 0
    return out
