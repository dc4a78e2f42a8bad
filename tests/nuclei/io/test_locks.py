"""One process at a time runs a locked block, and no lock outlives its process."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from nuclei.errors import InputError
from nuclei.io.locks import alone, locked
from tests.programs import ROOT


def test_one_process_at_a_time_runs_a_locked_block(tmp_path: Path) -> None:
    path = tmp_path / "new" / "work"
    program = f"""
from pathlib import Path
from nuclei.io.locks import alone, locked
with locked(Path({str(path)!r}), wait=False) as ours:
    print(ours)
"""

    def other() -> str:
        command = [sys.executable, "-c", program]
        return subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT).stdout

    with locked(path) as ours:
        assert ours
        assert other() == "False\n"
    assert other() == "True\n"


def test_a_lock_ends_with_its_process_and_others_wait_for_it(tmp_path: Path) -> None:
    path = tmp_path / "work"
    program = f"""
import time
from pathlib import Path
from nuclei.io.locks import alone, locked
with locked(Path({str(path)!r})):
    print("ours", flush=True)
    time.sleep(60)
"""
    command = [sys.executable, "-c", program]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as killed:
        assert killed.stdout.readline() == "ours\n"
        with locked(path, wait=False) as ours:
            assert not ours
        killed.kill()
        with locked(path) as ours:
            assert ours


def test_a_lock_that_cannot_be_had_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot write .*below"), locked(tmp_path / "file" / "below"):
        pass


def test_one_program_at_a_time_writes_into_a_folder(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with alone(out, tmp_path / "other", out):
        again = alone(tmp_path / "other" / ".." / "out")
        with pytest.raises(InputError, match="another run writes into .*out/; wait for it, or name"), again:
            pass
        assert not out.exists()  # nothing of it lies among the results
    with alone(out):
        pass
