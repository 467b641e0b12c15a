import stat
import subprocess
import sys

import pytest

from assay.core import LockHeldError, exclusive_lock, write_atomically


def test_writes_with_the_mode_and_leaves_no_temporary_file(tmp_path):
    target = tmp_path / "secret"
    write_atomically(target, b"one", mode=0o600)
    write_atomically(target, b"two", mode=0o600)
    assert target.read_bytes() == b"two"
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["secret"]


@pytest.mark.parametrize("step", ["os.fsync", "pathlib.Path.replace"])
def test_a_failure_keeps_the_old_file_and_leaves_nothing(tmp_path, monkeypatch, step):
    target = tmp_path / "head"
    write_atomically(target, b"old")

    def fail(*_args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(step, fail)
    with pytest.raises(OSError, match="No space"):
        write_atomically(target, b"new")
    monkeypatch.undo()
    assert target.read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["head"]


def test_a_lock_keeps_other_processes_out_and_ends_with_its_holder(tmp_path):
    path = tmp_path / "run.lock"
    holder = subprocess.Popen(
        [sys.executable, "-c", "import sys; from pathlib import Path; "
         "from assay.core import exclusive_lock\n"
         f"with exclusive_lock(Path({str(path)!r}), 'x'):\n print('held', flush=True); sys.stdin.read()"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    with holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(LockHeldError, match="nothing was changed"), exclusive_lock(path, "x"):
            pass
        holder.kill()
    with exclusive_lock(path, "x"), pytest.raises(LockHeldError), exclusive_lock(path, "x"):
        pass
