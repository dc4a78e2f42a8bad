"""Tables as people and spreadsheets write them."""

from __future__ import annotations

from pathlib import Path

import pytest

from nuclei.errors import InputError
from nuclei.folders.tables import read_table


@pytest.fixture
def path(tmp_path) -> Path:
    return tmp_path / "table.csv"


@pytest.mark.parametrize(
    "text",
    ["patch,score\n b ,1\na,2\n", "Patch\nb\na\n", "sep=,\npatch\nb\na\n", "\ufeffsep=,\n patch \nb\n a\n"],
)
def test_a_table_is_read_as_a_person_reads_it(path, text):
    path.write_text(text, encoding="utf-8")
    assert read_table(path)["patch"].tolist() == ["b", "a"]


def test_a_table_may_have_empty_rows_and_names_that_look_like_nothing(path):
    path.write_text("patch,round\nNA,1\n,\n007,\n")
    assert read_table(path)["patch"].tolist() == ["NA", "007"]


def test_what_is_wrong_with_a_table_is_said_once(path):
    path.write_text("name\na\n")
    with pytest.raises(InputError) as error:
        read_table(path)
    assert "cannot be read" not in str(error.value)
