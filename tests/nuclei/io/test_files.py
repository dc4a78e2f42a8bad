"""Files and folders are complete or absent, and remember the settings that made them."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path, PureWindowsPath

import pytest

from nuclei.errors import InputError
from nuclei.io import files

ROOT = Path(__file__).parents[3]
not_windows = pytest.mark.skipif(sys.platform == "win32", reason="Windows limits the path, not the name")


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_file_appears_when_the_block_ends(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.txt"
    with files.atomic_file(path) as temporary:
        temporary.write_text("text")
        assert temporary.suffix == ".txt"  # image writers choose the format by it
        assert files.is_hidden(temporary)
        assert not path.exists()
    assert path.read_text() == "text"
    assert names(path.parent) == ["a.txt"]


def test_a_digest_is_of_all_parts_in_a_row() -> None:
    assert files.digest([b"ab", b"c"]) == files.digest([b"abc"]) == "ba7816bf8f01"  # FIPS 180
    assert files.digest([b"abd"]) != files.digest([b"abc"])


@not_windows
@pytest.mark.parametrize("character", ["a", "\u7d30"])
def test_a_file_may_have_the_longest_name_that_the_system_takes(tmp_path: Path, character: str) -> None:
    name = character * (244 // len(character.encode())) + ".weights.h5"
    with files.atomic_file(tmp_path / name) as temporary:
        temporary.write_text("text")
        assert temporary.name.endswith(".weights.h5") and files.is_hidden(temporary)
    with files.atomic_folder(tmp_path / "folder" / name) as temporary:
        (temporary / "a").touch()
    assert names(tmp_path) == sorted([name, "folder"]) and names(tmp_path / "folder") == [name]


@not_windows
def test_a_name_that_the_system_does_not_take_is_told(tmp_path: Path) -> None:
    path, message = tmp_path / ("a" * 256), "cannot write .*a: File name too long"
    with pytest.raises(InputError, match=message), files.atomic_file(path) as temporary:
        temporary.touch()
    with pytest.raises(InputError, match=message), files.atomic_folder(path):
        pass
    assert names(tmp_path) == []


def test_failed_write_keeps_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(RuntimeError), files.atomic_file(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old"
    assert names(tmp_path) == ["a.txt"]


def test_folder_appears_when_the_block_ends(tmp_path: Path) -> None:
    path = tmp_path / "a"
    for content in ("first", "second"):  # the second takes the place of the first
        with files.atomic_folder(path) as temporary:
            (temporary / content).touch()
        assert names(path) == [content]
    assert names(tmp_path) == ["a"]


def test_failed_folder_keeps_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.mkdir()
    (path / "old").touch()
    with pytest.raises(KeyboardInterrupt), files.atomic_folder(path) as temporary:
        (temporary / "half").touch()
        raise KeyboardInterrupt
    assert names(path) == ["old"]
    assert names(tmp_path) == ["a"]


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_killed_write_leaves_no_result(tmp_path: Path, kind: str) -> None:
    # A kill allows no clean-up: what stays behind has to be recognisable as unfinished.
    code = f"""
import time
from pathlib import Path
from nuclei.io import files
with files.atomic_{kind}(Path({str(tmp_path / "a")!r})) as temporary:
    (temporary / "part" if temporary.is_dir() else temporary).write_text("half")
    print("writing", flush=True)
    time.sleep(60)
"""
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, cwd=ROOT
    ) as killed:
        assert killed.stdout.readline() == "writing\n"
        killed.kill()
    assert not (tmp_path / "a").exists()
    left = list(tmp_path.iterdir())
    assert left and all(files.is_hidden(path) for path in left)
    files.write_json(tmp_path / "b", {})  # the next write into the folder removes them
    assert names(tmp_path) == (["b"] if sys.platform != "win32" else [*(path.name for path in left), "b"])


@pytest.mark.skipif(sys.platform == "win32", reason="nothing there tells without harm what is alive")
def test_what_others_are_writing_stays(tmp_path: Path) -> None:
    alive = tmp_path / files.temporary_beside(tmp_path / "a").name.replace(
        str(os.getpid()), str(os.getppid())
    )
    elsewhere = tmp_path / ".unfinished-abcdef-999999999-01234567-a"
    odd = tmp_path / ".unfinished-01234567-a"  # as earlier versions named them
    for path in (alive, elsewhere, odd):
        path.touch()
    files._remove_remains.cache_clear()
    files.write_json(tmp_path / "b", {})
    assert names(tmp_path) == sorted([alive.name, elsewhere.name, odd.name, "b"])


def test_unwritable_place(tmp_path: Path) -> None:
    # Root may write anywhere, so permissions cannot be used here; nothing lies below a regular file.
    (tmp_path / "file").touch()
    below = tmp_path / "file" / "below" / "a.json"
    with pytest.raises(InputError, match="cannot write .*file"):
        files.write_json(below, {})
    with pytest.raises(InputError, match="cannot write"), files.atomic_folder(below):
        pass


def refuse(*paths: Path, **options: Path) -> None:
    raise PermissionError(errno.EACCES, "Permission denied")


def test_a_place_that_cannot_hold_files_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    for below in ("file", "file/below/it"):
        with pytest.raises(InputError, match=f"cannot write .*{below}: file is a file; name a folder"):
            files.check_can_hold_files(tmp_path / below)
    files.check_can_hold_files(tmp_path / "new" / "folder")
    assert names(tmp_path) == ["file"]
    # Root may write anywhere, so that the answer of the system is put in its mouth.
    monkeypatch.setattr(files.tempfile, "TemporaryFile", refuse)
    with pytest.raises(InputError, match="cannot write .*new/folder: Permission denied"):
        files.check_can_hold_files(tmp_path / "new" / "folder")


def test_what_another_program_has_open_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As Windows does it while a virus scanner looks at the file.
    replace, pauses = os.replace, []

    def replace_later(source: Path, target: Path) -> None:
        refuse() if len(pauses) % 3 < 2 else replace(source, target)

    monkeypatch.setattr(files.time, "sleep", pauses.append)
    monkeypatch.setattr(files.os, "replace", replace_later)
    files.write_text(tmp_path / "a.txt", "new")
    assert (tmp_path / "a.txt").read_text() == "new" and len(pauses) == 2
    pauses.clear()
    monkeypatch.setattr(files.os, "replace", refuse)
    message = r"cannot write .*a\.txt: Permission denied; check .* that no other program has it open"
    with pytest.raises(InputError, match=message):
        files.write_text(tmp_path / "a.txt", "newer")
    assert (tmp_path / "a.txt").read_text() == "new" and names(tmp_path) == ["a.txt"]
    assert 1 < sum(pauses) < 3


def test_text_is_the_same_on_every_system(tmp_path: Path) -> None:
    files.write_text(tmp_path / "a.txt", "7 \u00b5m\n")
    assert (tmp_path / "a.txt").read_bytes() == b"7 \xc2\xb5m\n"
    files.write_json(tmp_path / "a.json", {"out": PureWindowsPath("runs", "mrcnn")})
    assert files.read_json(tmp_path / "a.json") == {"out": "runs/mrcnn"}


def test_json_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    files.write_json(path, {"k1": 4, "out": Path("runs")})
    assert files.read_json(path) == {"k1": 4, "out": "runs"}


def test_json_missing_or_broken(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="a.json does not exist"):
        files.read_json(tmp_path / "a.json")
    (tmp_path / "a.json").write_text("{")
    with pytest.raises(InputError, match="a.json cannot be read as JSON"):
        files.read_json(tmp_path / "a.json")


def test_a_folder_that_cannot_be_exchanged_stays(tmp_path, monkeypatch):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "old").touch()
    replace = os.replace

    def interrupted(source, target):
        if target == tmp_path / "a" and (source / "new").exists():
            raise KeyboardInterrupt
        replace(source, target)

    monkeypatch.setattr(files.os, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt), files.atomic_folder(tmp_path / "a") as folder:
        (folder / "new").touch()
    assert names(tmp_path) == ["a"] and names(tmp_path / "a") == ["old"]


def test_a_folder_is_replaced_where_a_link_leads(tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "disk" / "old").touch()
    (tmp_path / "link").symlink_to(tmp_path / "disk")
    with files.atomic_folder(tmp_path / "link") as folder:
        (folder / "new").touch()
    assert names(tmp_path) == ["disk", "link"] and names(tmp_path / "disk") == ["new"]
    assert (tmp_path / "link").is_symlink()


def test_json_may_begin_with_a_byte_order_mark(tmp_path):
    (tmp_path / "a.json").write_bytes(b"\xef\xbb\xbf[1]")
    assert files.read_json(tmp_path / "a.json") == [1]


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ("a", "a", True),
        ("a", "a/b/c", True),
        ("link/b", "a", True),
        ("a/../c", "c", True),
        ("a", "ab", False),
        ("a/b", "a/c", False),
    ],
)
def test_folders_overlap_where_one_lies_in_the_other(tmp_path, one, other, expected):
    (tmp_path / "link").symlink_to(tmp_path / "a")
    assert files.overlap(tmp_path / one, tmp_path / other) == expected
    assert files.overlap(tmp_path / other, tmp_path / one) == expected


def test_json_in_other_encodings(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    for encoding in ("utf-8-sig", "utf-16", "utf-32"):  # as Windows' programs write it
        path.write_text('{"name": "Pr\u00e4p"}', encoding=encoding)
        assert files.read_json(path) == {"name": "Pr\u00e4p"}
    path.write_text('{"name": "Pr\u00e4p"}', encoding="latin-1")
    with pytest.raises(InputError, match="a.json is not text in UTF-8: .* save it as UTF-8"):
        files.read_json(path)
