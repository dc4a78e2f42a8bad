import pandas as pd
import pytest

from nuclei.errors import InputError
from nuclei.selection.budget import patches_of_budget, pool_pixels


@pytest.mark.parametrize(
    ("budget", "expected"),
    [("12", 12), ("5%", 5), ("5 %", 5), ("5.9%", 5), ("29%", 29), ("57%", 57), (" 100% ", 100)],
)
def test_shares_and_numbers(budget, expected):
    assert patches_of_budget(budget, pixels=100 * 256**2, size=256) == expected


@pytest.mark.parametrize("budget", ["0.9%", "0", "0%"])
def test_less_than_a_patch_says_what_a_patch_is(budget):
    with pytest.raises(InputError, match="less than one patch, which is 1% of the pixels"):
        patches_of_budget(budget, pixels=100 * 256**2, size=256)


@pytest.mark.parametrize("budget", ["", "5.5", "five", "-3", "5%%", "1e2"])
def test_other_text_is_refused(budget):
    with pytest.raises(InputError, match="neither a share such as 5% nor a number"):
        patches_of_budget(budget, pixels=100 * 256**2, size=256)


def test_pixels_of_overlapping_patches_count_once():
    # Two patches of 8 px that share a column of 2 px, one of another image, and one of unknown origin.
    sources = pd.DataFrame(
        {
            "patch": ["a", "b", "c", "gone"],
            "source": ["x", "x", "y", "y"],
            "x": [0, 6, 0, 50],
            "y": [0, 0, 0, 0],
        }
    )
    assert pool_pixels(["a", "b", "c", "d"], sources, size=8) == 14 * 8 + 64 + 64
    assert pool_pixels(["a", "b", "c", "d"], None, size=8) == 4 * 64
