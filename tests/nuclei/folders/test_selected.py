"""selected.csv, which both the program and a person write."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from nuclei.errors import InputError
from nuclei.folders.selected import earlier_rounds, is_edited, put_selection, read_selection, write_selection
from tests.kills import kill_after


@pytest.fixture
def data(tmp_path) -> Path:
    for name in ("a", "b"):
        (tmp_path / "data" / name / "images").mkdir(parents=True)
    return tmp_path / "data"


def rows(*names: str, number: int = 1, **columns: list) -> pd.DataFrame:
    return pd.DataFrame({"patch": names, "round": number, "score": 0.5} | columns)


def put(data: Path, table: pd.DataFrame, number: int = 1, replace: bool = False) -> str:
    """The folder in which the table was written."""
    return put_selection(data, data.parent / "out", table, number, {"seed": 0}, replace).parent.name


def edit(data: Path, before: str, after: str) -> None:
    path = data / "selected.csv"
    assert before in path.read_text()
    path.write_text(path.read_text().replace(before, after))


def kept(data: Path) -> list[str]:
    return [path.read_text() for path in sorted(data.glob("replaced/*/selected.csv"))]


def test_what_the_program_wrote_is_replaced_and_kept(data):
    assert put(data, rows("a")) == "data" and not kept(data)
    assert put(data, rows("b")) == "data"
    assert (data / "selected.csv").read_text() == "patch,round,score\nb,1,0.5\n"
    assert kept(data) == ["patch,round,score\na,1,0.5\n"]


def test_what_a_person_edited_stays(data, caplog):
    put(data, rows("a", "b"))
    edit(data, "b,1,0.5\n", "")
    edited = (data / "selected.csv").read_text()
    assert put(data, rows("c")) == "out"
    assert (data / "selected.csv").read_text() == edited and not kept(data)
    assert (data.parent / "out" / "selected.csv").read_text() == "patch,round,score\nc,1,0.5\n"
    assert "was edited by hand and stays" in caplog.text and "--replace" in caplog.text

    assert put(data, rows("c"), replace=True) == "data"
    assert kept(data) == [edited] and not (data.parent / "out" / "selected.csv").exists()
    assert put(data, rows("d")) == "data"  # that of the program again


def test_a_table_that_a_person_wrote_stays(data):
    (data / "selected.csv").write_text("patch\na\n")
    assert put(data, rows("b")) == "out"
    (data / "selected.csv").write_text("no table of patches\n")
    assert put(data, rows("b")) == "out"


def test_an_edit_that_says_what_would_be_written_is_none(data):
    (data / "selected.csv").write_text("patch,round,score\na,1,0.5\n")
    assert put(data, rows("a")) == "data" and not kept(data)
    assert put(data, rows("b")) == "data"


def test_saving_a_table_in_a_spreadsheet_is_no_edit(data):
    put(data, rows("a", "b"))
    text = (data / "selected.csv").read_text().replace("\n", "\r\n").replace("a,", '"a",')
    (data / "selected.csv").write_bytes(b"\xef\xbb\xbf" + text.encode())
    assert not is_edited(data)


def test_rows_that_were_all_taken_out_are_no_loss(data):
    put(data, rows("a"))
    edit(data, "a,1,0.5\n", "")
    assert put(data, rows("b")) == "data"


def test_a_second_round_leaves_the_first_as_it_was_edited(data):
    put(data, rows("a", "b"))
    edit(data, "b,1,0.5\n", "z,1,0.50\n")
    edit(data, "score\n", "score,note\n")
    edit(data, "a,1,0.5\n", "a,1,0.5,of Jane\n")
    assert put(data, rows("c", number=2), 2) == "data"
    expected = "patch,round,score,note\na,1,0.5,of Jane\nz,1,0.50,\n"
    assert (data / "selected.csv").read_text() == f"{expected}c,2,0.5,\n"

    # Another second round replaces the rows of this one, and of later ones, alone.
    put(data, rows("d", number=3), 3)
    assert put(data, rows("e", number=2), 2) == "data"
    assert (data / "selected.csv").read_text() == f"{expected}e,2,0.5,\n"
    assert kept(data)[-1] == f"{expected}c,2,0.5,\nd,3,0.5,\n"

    edit(data, "e,2", "f,2")
    assert put(data, rows("g", number=2), 2) == "out"
    assert put(data, rows("g"), 1) == "out"


def test_a_round_that_is_appended_replaces_nothing(data):
    put(data, rows("a"))
    put(data, rows("b", number=2), 2)
    assert earlier_rounds(data, 2)["patch"].tolist() == ["a"] and not kept(data)
    # The first round is still known for one that the program wrote.
    assert put(data, rows("c")) == "data"
    assert (data / "selected.csv").read_text() == "patch,round,score\nc,1,0.5\n"


def test_places_keep_their_digits_beside_patches_without_one(data):
    put(data, rows("a", x=[64]))
    put(data, rows("b", number=2), 2)
    assert (data / "selected.csv").read_text() == "patch,round,score,x\na,1,0.5,64\nb,2,0.5,\n"
    assert not is_edited(data)


@pytest.mark.parametrize("renames", range(4))
def test_a_run_that_was_killed_leaves_no_rows_of_nobody(data, monkeypatch, renames):
    put(data, rows("a"))
    put(data, rows("b", number=2), 2)
    assert kill_after(monkeypatch, renames, lambda: put(data, rows("c", number=2), 2)) == (renames < 3)
    assert not is_edited(data)
    assert put(data, rows("d", number=2), 2) == "data"
    assert (data / "selected.csv").read_text() == "patch,round,score\na,1,0.5\nd,2,0.5\n"
    assert "patch,round,score\na,1,0.5\nb,2,0.5\n" in kept(data)


def test_rounds_that_are_no_numbers(data):
    (data / "selected.csv").write_text("patch,round\na,first\n")
    with pytest.raises(InputError, match="selected.csv has rounds that are not numbers"):
        earlier_rounds(data, 2)
    assert is_edited(data)


def test_the_selection_comes_back_in_its_order(data):
    write_selection(data, pd.DataFrame({"patch": ["b", "a"], "score": [1.5, 2]}))
    assert read_selection(data) == ["b", "a"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "run consis_based.py first"),
        ("name\na\n", "has no column patch"),
        ("patch\n", "selects no patch"),
        ("patch\nz\n", "names the patch 'z', which is not in"),
        ("patch\na\na/\n", "names the patch 'a/',.*names of folders in .*, one a row, comma separated"),
        ("patch\n../data/a\n", "names the patch '../data/a',"),
        ("patch\n.\n", "names the patch '.',"),
        (f"patch\n{'a' * 300}\n", "names the patch 'aaa"),
        ("patch,round\na,1,\n", "its rows have more cells than its first row; mend it"),
        ("patch\ta\n", "has no column patch; its columns are separated by tabs"),
        ("patch;score\na;1,5\nb;1,5,2\n", "has no column patch; its columns are separated by semicolons"),
    ],
)
def test_bad_selections_are_refused(data, text, message):
    if text is not None:
        (data / "selected.csv").write_text(text)
    with pytest.raises(InputError, match=message):
        read_selection(data)


def test_a_patch_is_found_however_a_system_spells_its_name(data):
    for name in ("Pra\u0308p", "\u00e4", " c "):  # as macOS, as Linux, and with blanks that a table loses
        (data / name / "images").mkdir(parents=True)
    (data / "selected.csv").write_text("patch\nPr\u00e4p\na\u0308\n c \n", encoding="utf-8")
    assert read_selection(data) == ["Pra\u0308p", "\u00e4", " c "]


def test_a_patch_that_is_selected_twice_counts_once_and_is_told(data, caplog):
    (data / "selected.csv").write_text("patch\nb\na\nb\n")
    assert read_selection(data) == ["b", "a"]
    assert "names 'b' more than once" in caplog.text


def test_a_selection_names_no_place_outside_of_the_data(data, tmp_path):
    (data / "selected.csv").write_text(f"patch\n{data / 'a'}\n")
    with pytest.raises(InputError, match="names the patch '/.*/a', which is not in"):
        read_selection(data)


def test_an_edited_selection_is_kept_when_a_new_one_is_written(data):
    assert write_selection(data, pd.DataFrame([{"patch": "a"}])) is None
    assert write_selection(data, pd.DataFrame([{"patch": "a"}])) is None
    before = write_selection(data, pd.DataFrame([{"patch": "b"}]))
    assert before.read_text() == "patch\na\n"
    assert read_selection(data) == ["b"]


def test_an_edited_selection_is_kept_in_whatever_encoding(data):
    edited = "patch,note\na,K\u00f6ln\n".encode("latin-1")
    (data / "selected.csv").write_bytes(edited)
    before = write_selection(data, pd.DataFrame({"patch": ["a"]}))
    assert before.read_bytes() == edited
    assert (data / "selected.csv").read_text() == "patch\na\n"


def test_no_edited_selection_is_lost_however_often_a_new_one_is_written(data):
    (data / "selected.csv").write_text("patch\na\n")
    kept = [write_selection(data, pd.DataFrame({"patch": [name]})) for name in ("b", "c", "a")]
    assert [path.read_text() for path in kept] == ["patch\na\n", "patch\nb\n", "patch\nc\n"]
