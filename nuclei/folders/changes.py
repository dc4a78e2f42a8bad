"""What differs between two sets of settings, in words."""

from __future__ import annotations

import json
import re

from nuclei.io import files

_DIGEST = re.compile(r" ?\(?\b[0-9a-f]{12}\b\)?")  # of `files.digest`


def differences(before: dict, now: dict) -> str:
    """What differs between two sets of settings, as "name old -> new, ..."; or ""."""
    before, now = _flat(_as_json(before)), _flat(_as_json(now))
    names = sorted(name for name in before.keys() | now.keys() if before.get(name) != now.get(name))
    return ", ".join(f"{name} {_change(before.get(name), now.get(name))}" for name in names)


def _change(before: object, now: object) -> str:
    """Both values; of a digest, which says nothing to a reader, only that it changed."""
    before, now = (_DIGEST.sub("", repr(value)) for value in (before, now))
    return "changed" if before == now else f"{before} -> {now}"


def _flat(settings: dict, prefix: str = "") -> dict:
    """Nested settings by dotted names, so that a difference names no more than what differs."""
    flat: dict = {}
    for name, value in settings.items():
        inner = isinstance(value, dict)
        flat |= _flat(value, f"{prefix}{name}.") if inner else {f"{prefix}{name}": value}
    return flat


def _as_json(settings: dict) -> dict:
    """The settings as they come back from a file."""
    return json.loads(json.dumps(settings, default=files.as_text))
