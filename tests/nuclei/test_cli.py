import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest

from nuclei.cli import run
from nuclei.errors import InputError
from tests.programs import ROOT


@dataclass(frozen=True)
class Settings:
    k1: int = 3  # clusters
    seed: int = 0


def call(monkeypatch, main, *arguments):
    monkeypatch.setattr("sys.argv", ["script.py", *arguments])
    run(main, Settings, "What it does.")


def as_program(code, *arguments, **variables):
    """Run, as a program, a script whose `main` executes `code`."""
    script = (
        "from tests.nuclei.test_cli import Settings\n"
        "from nuclei.cli import run\n"
        f"run(lambda settings: exec({code!r}, globals()), Settings, 'What it does.')"
    )
    environment = {name: value for name, value in os.environ.items() if name != "NUCLEI_LOG_LEVEL"}
    return subprocess.run(
        [sys.executable, "-c", script, *arguments], capture_output=True, text=True, check=False, cwd=ROOT,
        env=environment | variables,
    )  # fmt: skip


def test_constants_become_flags(monkeypatch):
    seen = []
    call(monkeypatch, seen.append, "--k1", "8")
    assert seen == [Settings(k1=8)]


def test_bad_input_is_one_line_and_exit_code_1(monkeypatch, capsys):
    def main(settings):
        raise InputError("data/ does not exist")

    with pytest.raises(SystemExit) as stop:
        call(monkeypatch, main)
    assert stop.value.code == 1
    assert capsys.readouterr().err == "error: data/ does not exist\n"


@pytest.mark.parametrize("seed", ["-1", "4294967296"])
def test_a_seed_that_is_none_is_refused_before_anything_is_done(monkeypatch, capsys, seed):
    seen = []
    with pytest.raises(SystemExit) as stop:
        call(monkeypatch, seen.append, f"--seed={seed}")
    assert (stop.value.code, seen) == (1, [])
    assert capsys.readouterr().err == f"error: --seed is {seed}; it must be at least 0 and below 2^32\n"


def test_wrong_arguments_are_exit_code_2(monkeypatch, capsys):
    with pytest.raises(SystemExit) as stop:
        call(monkeypatch, lambda settings: None, "--k1", "many")
    assert stop.value.code == 2
    assert "Traceback" not in capsys.readouterr().err


def test_help_explains_the_constants(monkeypatch, capsys):
    with pytest.raises(SystemExit) as stop:
        call(monkeypatch, lambda settings: None, "--help")
    assert stop.value.code == 0
    assert "clusters" in capsys.readouterr().out


def test_help_is_shown_wherever_it_goes():
    done = as_program("pass", "--help", PYTHONIOENCODING="ascii")
    assert (done.returncode, done.stderr) == (0, "")
    assert "clusters" in done.stdout


def test_a_name_that_the_terminal_cannot_show_is_escaped():
    done = as_program(r"print('\udcff\u00e4.png')", PYTHONIOENCODING="ascii")
    assert (done.stdout, done.stderr) == (r"\udcff\xe4.png" + "\n", "")


def test_a_file_that_the_system_refuses_is_one_line(monkeypatch, capsys, tmp_path):
    for path, reason in ((tmp_path, "Is a directory"), (tmp_path / ("a" * 300), "File name too long")):
        with pytest.raises(SystemExit) as stop:
            call(monkeypatch, lambda settings, path=path: path.read_bytes())
        assert stop.value.code == 1
        assert capsys.readouterr().err == f"error: {path}: {reason}\n"


def test_an_error_of_the_system_without_a_file_is_one_line(monkeypatch, capsys):
    def main(settings):
        raise TimeoutError("the server does not answer")

    with pytest.raises(SystemExit):
        call(monkeypatch, main)
    assert capsys.readouterr().err == "error: the server does not answer\n"


@pytest.mark.parametrize("arguments", [[], ["--k1", "100000"], ["--help"]])
def test_a_reader_that_has_seen_enough_ends_the_program_quietly(tmp_path, arguments):
    script = tmp_path / "script.py"
    script.write_text(
        "from tests.nuclei.test_cli import Settings\n"
        "from nuclei.cli import run\n"
        "run(lambda settings: print('line\\n' * settings.k1), Settings, 'What it does.')\n"
    )
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer) as closed:
        done = subprocess.run(
            [sys.executable, script, *arguments], stdout=closed, stderr=subprocess.PIPE, text=True,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
        )  # fmt: skip
    assert (done.returncode, done.stderr) == (141, "")


def test_a_defect_of_ours_keeps_its_traceback(monkeypatch):
    def main(settings):
        raise RuntimeError("ours")

    with pytest.raises(RuntimeError, match="ours"):
        call(monkeypatch, main)


def test_bad_input_is_a_value_error_but_a_value_error_is_no_bad_input(monkeypatch):
    def main(settings):
        raise ValueError("ours")

    assert issubclass(InputError, ValueError)
    with pytest.raises(ValueError, match="ours"):  # with its traceback, not as exit code 1
        call(monkeypatch, main)


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--k1", "x"], "--k1 is 'x'; it must be a whole number"),
        (["--k1"], "--k1 has no value"),
        (["--sede", "3"], "unrecognized options: --sede, 3; perhaps you meant --seed"),
        (["stray"], "unrecognized options: stray"),
    ],
)
def test_wrong_arguments_are_one_line_and_exit_code_2(monkeypatch, capsys, arguments, line):
    with pytest.raises(SystemExit) as stop:
        call(monkeypatch, print, *arguments)
    assert (stop.value.code, capsys.readouterr().err) == (2, f"error: {line}; see --help\n")


@dataclass(frozen=True)
class Edited:
    count: int = 4.5  # type: ignore[assignment]


@dataclass(frozen=True)
class Unquoted:
    folder: Path | None = "data"  # type: ignore[assignment]


@dataclass(frozen=True)
class Listed:
    formats: tuple[Literal["coco", "geojson"], ...] = "coco"  # type: ignore[assignment]


@pytest.mark.parametrize(
    ("settings_type", "line"),
    [
        (Edited, "count is 4.5 at the top of script.py; it must be a whole number"),
        (Unquoted, "folder is 'data' at the top of script.py; it must be a path, Path(\"...\") or None"),
        (
            Listed,
            "formats is 'coco' at the top of script.py; it must be a tuple, (one of 'coco', 'geojson',)",
        ),
    ],
)
def test_a_constant_of_a_wrong_type_is_one_line(monkeypatch, capsys, settings_type, line):
    monkeypatch.setattr("sys.argv", ["script.py"])
    with pytest.raises(SystemExit) as stop:
        run(print, settings_type, "What it does.")
    assert (stop.value.code, capsys.readouterr().err) == (1, f"error: {line}\n")
