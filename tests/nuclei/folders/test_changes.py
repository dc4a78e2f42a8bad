from pathlib import Path

import pytest

from nuclei.folders.changes import differences


@pytest.mark.parametrize(
    ("before", "now", "said"),
    [
        ({"steps": 100}, {"steps": 100}, ""),
        ({"steps": 100, "seed": 0}, {"steps": 200}, "seed 0 -> None, steps 100 -> 200"),
        ({"out": Path("a") / "b"}, {"out": "a/b"}, ""),
        # A digest of `files.digest` says nothing to a reader.
        ({"image": "0123456789ab"}, {"image": "ba9876543210"}, "image changed"),
        ({"patches": "3 (0123456789ab)"}, {"patches": "4 (ba9876543210)"}, "patches '3' -> '4'"),
        ({"patches": "3 (0123456789ab)"}, {"patches": "3 (ba9876543210)"}, "patches changed"),
    ],
)
def test_what_differs_is_said_in_words(before, now, said):
    assert differences(before, now) == said
