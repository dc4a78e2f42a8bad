import logging
import sys

import pytest
from tqdm import tqdm

from nuclei import messages
from nuclei.errors import InputError
from tests.nuclei.test_cli import as_program

OURS = logging.getLogger("nuclei.somewhere")
FOREIGN = logging.getLogger("library")


def say():
    for logger in (OURS, FOREIGN):
        logger.debug("detail of %s", logger.name)
        logger.info("note of %s", logger.name)
        logger.warning("warning of %s", logger.name)
    FOREIGN.error("the disk is gone")


@pytest.mark.parametrize(
    ("level", "lines"),
    [
        (None, ["note: note of nuclei.somewhere", "warning: warning of nuclei.somewhere"]),
        ("WARNING", ["warning: warning of nuclei.somewhere"]),
        (
            "DEBUG",
            [
                "debug: detail of nuclei.somewhere",
                "note: note of nuclei.somewhere",
                "warning: warning of nuclei.somewhere",
                "note: note of library",
                "warning: warning of library",
            ],
        ),
    ],
)
def test_how_much_is_said(monkeypatch, capsys, level, lines):
    if level:
        monkeypatch.setenv(messages.VARIABLE, level)
    else:
        monkeypatch.delenv(messages.VARIABLE, raising=False)
    with messages.shown():
        say()
    shown = capsys.readouterr()
    assert shown.err.splitlines() == [*lines, "error: the disk is gone"]
    assert shown.out == ""


def test_afterwards_logging_is_as_before(capsys):
    root = logging.getLogger()
    before = (root.level, OURS.getEffectiveLevel(), list(root.handlers))
    with pytest.raises(KeyError), messages.shown():
        raise KeyError
    assert (root.level, OURS.getEffectiveLevel(), list(root.handlers)) == before


def test_a_bar_is_not_torn(capsys):
    with messages.shown(), tqdm(total=2, file=sys.stderr, ncols=40) as bar:
        bar.update()
        OURS.warning("look")
    written = capsys.readouterr().err
    assert "\nwarning: look\n" in written.replace("\r", "\n")


def test_a_level_that_is_none_is_refused(monkeypatch):
    monkeypatch.setenv(messages.VARIABLE, "LOUD")
    with pytest.raises(InputError, match="NUCLEI_LOG_LEVEL is 'LOUD'; set it to DEBUG, INFO, WARNING"):
        messages.level()


NOTE = "import logging; say = logging.getLogger; say('mrcnn.x').info('going on'); say(__name__).debug('why')"


@pytest.mark.parametrize(
    ("flags", "shown"),
    [([], "note: going on\n"), (["--quiet"], ""), (["--verbose"], "note: going on\ndebug: why\n")],
)
def test_every_script_has_the_flags(flags, shown):
    done = as_program(NOTE, *flags)
    assert (done.returncode, done.stderr) == (0, shown)


def test_what_a_script_starts_inherits_them():
    code = "import os; print(os.environ.get('NUCLEI_LOG_LEVEL'))"
    assert as_program(code, "--quiet").stdout == "WARNING\n"
    assert as_program(code, "--verbose").stdout == "DEBUG\n"
    assert as_program(code).stdout == "None\n"


def test_the_flags_contradict_each_other():
    done = as_program("pass", "--verbose", "--quiet")
    assert done.returncode == 1
    assert done.stderr == "error: --verbose and --quiet contradict each other; pass one of them\n"


def test_help_shows_them():
    shown = as_program("pass", "--help").stdout
    assert "--verbose" in shown and "--quiet" in shown
