"""Kill the scripts at random moments and run them again: they end as if nothing had happened.

    python -m tests.campaigns.kills --count 100

The chain runs once undisturbed. Then each script is killed and started again until it ends, in chain after
chain. The results must be the same to the last bit, with no file left over.
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import tyro

from tests.campaigns import chain

MOST = 20  # kills of a script in one chain; then it is left to end


@dataclass(frozen=True)
class Settings:
    count: int = 100  # kills, in all
    seed: int = 0  # of their moments


def main(settings: Settings) -> None:
    rng = random.Random(settings.seed)
    with tempfile.TemporaryDirectory() as top:
        folder = Path(top) / "chain"
        seconds, expected = chain.undisturbed(folder)
        kills = failures = chains = 0
        said: list[str] = []
        while kills < settings.count:
            done, failed = disturbed(folder, seconds, rng)
            said += chain.differences(folder, expected)
            shutil.rmtree(folder)
            kills, failures, chains = kills + done, failures + failed, chains + 1
            print(f"{kills} kills in {chains} chains", flush=True)
    print(*said, sep="\n")
    print(
        f"kills: {kills} in {chains} chains, scripts that did not end well: {failures}, "
        f"results that differ: {len(said)}"
    )
    raise SystemExit(bool(failures or said))


def disturbed(folder: Path, seconds: list[float], rng: random.Random) -> tuple[int, int]:
    """Run the chain, killing each step at random moments until it ends; kills, and scripts that failed."""
    kills = failures = 0
    chain.prepare(folder)
    for step, time_needed in zip(chain.STEPS, seconds, strict=True):
        kills += killed(folder, step, time_needed, MOST, rng)
        code, errors = step.run(folder)
        chain.after(folder, step)
        print(f"{step.script}: exit code {code}{': ' + errors if code else ''}", flush=True)
        failures += code != 0
    return kills, failures


def killed(folder: Path, step: chain.Step, seconds: float, count: int, rng: random.Random) -> int:
    """Start a step and kill it, `count` times or until it ends sooner; returns how often it was killed."""
    for number in range(count):
        process = step.start(folder)
        # It goes on where it was, so that each start needs less than the whole time.
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.communicate(timeout=rng.uniform(0, seconds))
            return number
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    return count


if __name__ == "__main__":
    main(tyro.cli(Settings, description=__doc__))
