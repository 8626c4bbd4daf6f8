"""The list of the host's faults: what a run announces, and the page that is made of it."""

from pathlib import Path

from support.host_arguments import host_arguments

from deltal_openrlhf.host.faults import FAULTS, announcements, tables

ROOT = Path(__file__).parents[2]
SIZES = "--actor.num_gpus_per_node 2 --rollout.batch_size 8 --rollout.n_samples_per_prompt 4 --reward.remote_url reward.py".split()


def test_dynamic_batches_with_zero_2_are_announced():
    args = host_arguments(*SIZES, "--train.dynamic_batch_enable")
    assert any("dynamic batches and ZeRO-1/2" in line for line in announcements(args))
    assert not any("dynamic batches" in line for line in announcements(host_arguments(*SIZES)))


def test_announcements_are_lines_of_a_console():
    """At most two lines of 120 characters, without Markdown links."""
    for fault in FAULTS:
        line = f"fault of OpenRLHF mended: {fault.host} Now: {fault.now}"
        assert "](" not in line and len(line) <= 240, line


def test_the_page_has_the_tables_and_every_test_exists():
    assert tables() in (ROOT / "docs" / "reference" / "host-faults.md").read_text(encoding="utf-8")
    for fault in FAULTS:
        for test in filter(None, fault.tests.split(", ")):
            assert (ROOT / test).exists(), fault
