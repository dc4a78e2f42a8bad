import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from nuclei import cluster
from nuclei.errors import InputError


@dataclass(frozen=True)
class Square:
    """Leaves the square of an item in a folder; fails for 3, and dies at the first attempt for 5."""

    folder: Path

    def __call__(self, item: int) -> int:
        if item == 3:
            raise ValueError("three\nis damaged")
        if item == 5 and not (self.folder / "died").exists():
            (self.folder / "died").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        (self.folder / str(item)).write_text(str(item**2))
        return os.getpid()


def full_disk(item):
    raise InputError("cannot write x: No space left on device")


def do(scheduler, task, items):
    with cluster.workers(scheduler) as workers:
        return list(workers.do(task, items, "squares", "number"))


def test_in_this_process_a_failing_item_is_named_and_left_out(tmp_path, caplog):
    found = do(None, Square(tmp_path), [1, 3, 4])
    assert [done.item for done in found if not done.error] == [1, 4]
    assert {done.result for done in found} == {os.getpid(), None}
    assert "number 3 failed and is left out: ValueError: three is damaged" in caplog.text


@pytest.mark.parametrize("scheduler", [None, "local:1"])
def test_a_fault_of_the_user_ends_it_all(scheduler):
    with pytest.raises(InputError, match="No space left"):
        do(scheduler, full_disk, [1, 2, 3])


def test_the_item_of_a_killed_worker_is_done_again(tmp_path, caplog, capsys):
    found = do("local:2", Square(tmp_path), list(range(12)))
    assert sorted(done.item for done in found) == list(range(12))
    assert [done.item for done in found if done.error] == [3]
    written = {path.name: path.read_text() for path in tmp_path.glob("[0-9]*")}
    assert written == {str(n): str(n**2) for n in range(12) if n != 3}
    assert os.getpid() not in {done.result for done in found}
    assert "dashboard of the workers: http://127.0.0.1:" in capsys.readouterr().out


def test_two_workers_share_the_cores(tmp_path):
    (first, second) = do("local:2", threads, [0, 1])
    cores = len(os.sched_getaffinity(0))
    assert first.result == second.result == str(max(1, cores // 2))


def threads(item):
    time.sleep(0.2)
    return os.environ["OMP_NUM_THREADS"]


@pytest.mark.parametrize("scheduler", ["local", "local:0", "8786", "tcp://", "http//x"])
def test_what_no_scheduler_is(scheduler):
    with pytest.raises(InputError, match="--scheduler is .*give local:N"):
        do(scheduler, threads, [])


def test_a_scheduler_that_is_not_there(monkeypatch):
    monkeypatch.setattr(cluster, "CONNECT", 1)
    with pytest.raises(InputError, match="--scheduler tcp://127.0.0.1:1 does not answer"):
        do("tcp://127.0.0.1:1", threads, [])
