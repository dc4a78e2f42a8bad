"""End work as a kill does, at any moment that matters."""

import os
from collections.abc import Callable

import pytest


class Killed(BaseException):
    pass


def kill_after(monkeypatch: pytest.MonkeyPatch, renames: int, work: Callable[[], object]) -> bool:
    """Do `work`, which is dead after so many renames: no other succeeds. Returns whether it was killed."""
    done, rename = [], os.replace

    def replace(source, target):
        if len(done) >= renames:
            raise Killed
        done.append(target)
        rename(source, target)

    with monkeypatch.context() as context:
        context.setattr(os, "replace", replace)
        try:
            work()
        except Killed:
            return True
    return False
