"""An error that a rank keeps while DeepSpeed saves is not lost where something else raises before the end."""

from types import SimpleNamespace

import pytest

from deltal_openrlhf.host.write_errors import raised_at_the_end


def _engine():
    def full(*given):
        raise OSError("the disk is full")

    files = SimpleNamespace(makedirs=full, save=full)
    return SimpleNamespace(checkpoint_engine=files, _copy_recovery_script=full)


def test_the_first_error_is_raised_and_the_other_one_is_its_context():
    engine, reached = _engine(), []
    with pytest.raises(OSError, match="the disk is full") as raised, raised_at_the_end(engine):
        engine.checkpoint_engine.save({}, "a.pt")
        reached.append("the barrier")
        raise MemoryError("no room to gather")
    assert reached == ["the barrier"]
    assert isinstance(raised.value.__context__, MemoryError)


def test_without_a_kept_error_what_raises_is_left_alone():
    with pytest.raises(MemoryError), raised_at_the_end(_engine()):
        raise MemoryError
