"""Start each script twice at the same moment: one waits or is refused, and the results are as of one.

python -m tests.campaigns.two_at_once
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from tests.campaigns import chain


def main() -> None:
    failures = 0
    with tempfile.TemporaryDirectory() as top:
        folder = Path(top) / "chain"
        _, expected = chain.undisturbed(folder)
        chain.prepare(folder)
        for step in chain.STEPS:
            ended = [chain.finish(process) for process in [step.start(folder), step.start(folder)]]
            chain.after(folder, step)
            codes = sorted(code for code, _ in ended)
            refusals = [errors for code, errors in ended if code]
            well = codes[0] == 0 and codes[1] in (0, 1) and all(is_one_line(one) for one in refusals)
            print(f"{step.script}: exit codes {codes}", *refusals, flush=True)
            failures += not well
        said = chain.differences(folder, expected)
    print(*said, sep="\n")
    print(f"two at once: {failures} scripts that did not end well, {len(said)} results that differ")
    raise SystemExit(bool(failures or said))


def is_one_line(errors: str) -> bool:
    """Whether there is one error, after notes and warnings at most."""
    others = [line for line in errors.splitlines() if not line.startswith(("note: ", "warning: "))]
    return len(others) == 1 and others[0].startswith("error: ")


if __name__ == "__main__":
    main()
