"""Run a command and measure all of its processes together."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from nuclei.errors import InputError

ROOT = Path(__file__).resolve().parents[2]
EVERY = 0.2  # s between looks at the processes


@dataclass(frozen=True)
class Measured:
    """What a command took."""

    seconds: float
    peak_mb: float  # proportional set size of all its processes together: shared pages count once
    code: int
    output: str


def segment(
    slide: Path, out: Path, *flags: str, cores: int = 2, watch: Callable[[psutil.Process], None] | None = None
) -> Measured:
    """`segment.py slide --out out flags` on so many cores; as `run`."""
    command = [sys.executable, str(ROOT / "segment.py"), str(slide), "--out", str(out), *flags]
    return run(command, cores, watch)


def run(
    command: Sequence[str], cores: int = 2, watch: Callable[[psutil.Process], None] | None = None
) -> Measured:
    """Run a command on so many cores, if there are; `watch` is called with its process at times."""
    began, peak = time.monotonic(), 0.0
    allowed = sorted(os.sched_getaffinity(0))[:cores]
    process = subprocess.Popen(
        ["taskset", "-c", ",".join(map(str, allowed)), *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=ROOT,
        start_new_session=True,
    )
    root = psutil.Process(process.pid)
    while process.poll() is None:
        peak = max(peak, _memory(root))
        if watch is not None:
            watch(root)
        time.sleep(EVERY)
    output = process.stdout.read() if process.stdout else ""
    return Measured(time.monotonic() - began, peak / 2**20, process.returncode, output)


def checked(measured: Measured) -> Measured:
    """InputError with the last line of the output where the command failed."""
    if measured.code:
        raise InputError(f"a run of the benchmark failed: {measured.output.strip().splitlines()[-1]}")
    return measured


def kill(process: psutil.Process) -> None:
    """End a process and all that it has started as a power failure would."""
    for one in [*process.children(recursive=True), process]:
        try:
            os.kill(one.pid, signal.SIGKILL)
        except ProcessLookupError:
            continue


def _memory(root: psutil.Process) -> float:
    total = 0.0
    try:
        for one in [root, *root.children(recursive=True)]:
            total += one.memory_full_info().pss
    except psutil.Error:  # one has just ended
        return 0.0
    return total
