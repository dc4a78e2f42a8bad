"""The one exception that means "the user can mend this"."""


class InputError(Exception):
    """Bad input: its message says what is wrong, in which file, and what to do.

    `nuclei.cli.run` prints the message alone and exits with code 1, and of an OSError the file and the
    reason. Every other exception is a defect of ours and keeps its traceback.
    """
