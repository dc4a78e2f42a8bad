"""Files and folders that are complete or absent, and the settings that made them."""

from __future__ import annotations

import contextlib
import functools
import gzip
import hashlib
import json
import os
import platform
import shutil
import tempfile
import time
import unicodedata
import uuid
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path, PurePath
from typing import Any

from nuclei.errors import InputError, unreadable

_UNFINISHED = ".unfinished-"  # begins the name of what is being written: <machine>-<process>-<random>-<name>
_NAME_KEPT = 50  # characters, of four bytes at most, of a name that has room for 255 bytes
_OF_WINDOWS = ("thumbs.db", "desktop.ini")  # what Explorer leaves
_PAUSES = (0.05, 0.1, 0.2, 0.4, 0.8)  # s between attempts at a file that another program has open


def temporary_beside(path: Path) -> Path:
    """A name on the same file system as `path`, so that the rename that ends a write is atomic."""
    with writing(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
    _remove_remains(path.parent)
    # The suffix stays last: image writers choose the format by it. A longer name might be refused.
    owner = f"{_machine()}-{os.getpid()}"
    return path.with_name(f"{_UNFINISHED}{owner}-{uuid.uuid4().hex[:8]}-{path.name[-_NAME_KEPT:]}")


@functools.lru_cache(maxsize=10_000)  # once for each folder that this program writes into
def _remove_remains(folder: Path) -> None:
    """Remove what programs of this machine were writing into a folder when they were killed."""
    if os.name == "nt":  # where nothing tells without harm whether a process is alive
        return
    for path in folder.glob(f"{_UNFINISHED}{_machine()}-*"):
        process = path.name.removeprefix(_UNFINISHED).split("-")[1]
        if process.isdigit() and not _is_alive(int(process)):
            with contextlib.suppress(OSError):  # another program may do the same
                shutil.rmtree(path) if path.is_dir() else path.unlink()


@functools.cache
def _machine() -> str:
    """Six digits for this machine; a container numbers its processes by itself, so it counts as one."""
    container = Path("/proc/self/ns/pid")
    space = str(container.stat().st_ino) if container.exists() else ""
    return digest([platform.node().encode(), space.encode()])[:6]


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):  # of another user; no number of a process
        pass
    return True


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn an OSError of the block (no permission, a full disk) into an InputError that names `path`."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        what = "its permissions and the free disk space"
        if isinstance(error, PermissionError):  # Windows' word for a file that is in use
            what = "its permissions, the free disk space, and that no other program has it open"
        raise InputError(f"cannot write {path}: {reason}; check {what}") from error


def replace(source: Path, target: Path) -> None:
    """Give `source` the name `target`, instead of a file that has it.

    As `os.replace`, tried again for a second or two: Windows does not rename what a virus scanner, a viewer
    or Explorer has open.
    """
    _patiently(os.replace, source, target)


def remove_tree(folder: Path) -> None:
    """Remove a folder, tried again for a second or two as in `replace`."""
    _patiently(shutil.rmtree, folder)


def _patiently(change: Callable[..., object], *paths: Path) -> None:
    for pause in _PAUSES:
        try:
            change(*paths)
            return
        except PermissionError:
            time.sleep(pause)
    change(*paths)


def check_can_hold_files(folder: Path) -> None:
    """InputError where no file can be written into `folder`, which is not made: it shows before slow work."""
    with writing(folder):
        there = Path(folder).resolve()
        while not there.exists():
            there = there.parent
        if not there.is_dir():
            raise InputError(f"cannot write {folder}: {there.name} is a file; name a folder")
        tempfile.TemporaryFile(dir=there).close()  # os.access knows nothing of Windows' permissions


@contextlib.contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path; when the block ends well it becomes `path`, otherwise it is removed.

    Raises InputError where the folder cannot be written.
    """
    path = Path(path)
    temporary = temporary_beside(path)
    try:
        with writing(path):
            yield temporary
            replace(temporary, path)
    finally:
        with contextlib.suppress(OSError):  # it may never have been made, and what failed before says more
            temporary.unlink()


@contextlib.contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yield a new temporary folder; when the block ends well it replaces `path`, otherwise it is removed.

    Raises InputError where the parent folder cannot be written.
    """
    path = Path(path).resolve()  # a link stays where it is
    temporary = temporary_beside(path)
    try:
        with writing(path):
            temporary.mkdir()
            yield temporary
            if path.exists():
                _exchange(path, temporary)
            else:
                replace(temporary, path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _exchange(old: Path, new: Path) -> None:
    """Put the folder `new` in the place of `old`, which is removed, or put back where that fails."""
    aside = temporary_beside(old)
    replace(old, aside)
    try:
        replace(new, old)
    except BaseException:
        replace(aside, old)
        raise
    remove_tree(aside)


def overlap(one: Path, other: Path) -> bool:
    """Whether two folders, which may be absent, are the same one or one lies in the other."""
    one, other = Path(one).resolve(), Path(other).resolve()
    return one.is_relative_to(other) or other.is_relative_to(one)


def is_hidden(path: Path) -> bool:
    """Whether readers pass over `path`: the temporary of a killed write, or what a system leaves by itself.

    macOS writes ._0.png beside 0.png, Windows Thumbs.db into folders of pictures.
    """
    return path.name.startswith(".") or path.name.lower() in _OF_WINDOWS


def as_read(name: str) -> str:
    """A name as a person reads it: macOS takes umlauts apart, and blanks at its ends do not show."""
    return unicodedata.normalize("NFC", name).strip()


def check_names(paths: Iterable[Path]) -> None:
    """InputError for a name that is not UTF-8: it can neither be printed nor written into a table."""
    for path in paths:
        try:
            path.name.encode()
        except UnicodeEncodeError:
            raise InputError(f"{path} has a name that is not UTF-8; rename it") from None


def write_json(path: Path, value: object) -> None:
    """Write `value` as indented JSON, atomically; paths become strings, with / on every system."""
    write_text(path, json.dumps(value, indent=2, default=as_text) + "\n")


def as_text(value: object) -> str:
    """What is not JSON by itself, as text: paths with / on every system."""
    return value.as_posix() if isinstance(value, PurePath) else str(value)


def write_text(path: Path, text: str) -> None:
    """Write a text file, atomically; in UTF-8 with the ends of lines of Unix, on every system."""
    with atomic_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def read_json(path: Path) -> Any:
    """Read a JSON file, also in a `.gz` or alone in a `.zip`; InputError where it is missing or broken."""
    try:
        return json.loads(_read_packed(Path(path)))  # in UTF-8, 16 or 32, as it tells itself
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path} is not text in UTF-8: damaged, or of another encoding; save it as UTF-8"
        ) from error
    except FileNotFoundError:
        raise InputError(f"{path} does not exist") from None
    except InputError:
        raise
    except (PermissionError, IsADirectoryError) as error:
        raise InputError(f"{path} cannot be read: {error.strerror}; check its permissions") from error
    # RuntimeError: a zip with a password, or packed in a way that Python does not know.
    except (OSError, EOFError, ValueError, RuntimeError, zlib.error, zipfile.BadZipFile) as error:
        raise unreadable(path, "JSON", error, "save or copy it again") from error


def _read_packed(path: Path) -> bytes:
    """What a file holds, unpacked where its suffix says that it is packed."""
    if path.suffix.lower() == ".gz":
        return gzip.decompress(path.read_bytes())
    if path.suffix.lower() != ".zip":
        return path.read_bytes()
    names = packed_json(path)
    if len(names) != 1:
        raise InputError(f"{path} packs {len(names)} JSON files, not one; unpack it")
    with zipfile.ZipFile(path) as archive:
        return archive.read(names[0])


def packed_json(path: Path) -> list[str]:
    """Names of the JSON files in a zip file; none where it is no zip."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (OSError, NotImplementedError, zipfile.BadZipFile):
        return []
    # macOS adds a hidden file for each.
    return [n for n in names if n.lower().endswith("json") and not n.rpartition("/")[2].startswith(".")]


def digest(parts: Iterable[bytes]) -> str:
    """Twelve hexadecimal digits (SHA-256) of all parts in a row, by which settings name what was used."""
    found = hashlib.sha256()
    for part in parts:
        found.update(part)
    return found.hexdigest()[:12]
