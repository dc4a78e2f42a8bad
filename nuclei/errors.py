"""The one exception that means "the user can mend this"."""


class InputError(ValueError):
    """Bad input: its message says what is wrong, in which file, and what to do.

    It is a ValueError, so that who calls this package from Python catches what they expect. `nuclei.cli.run`
    prints the message alone and exits with code 1, and of an OSError the file and the reason. Every other
    exception, a plain ValueError too, is a defect of ours or of the call and keeps its traceback.
    """
