"""The one exception that is meant for people.

Its message is a single line that names the value and the remedy; the command line prints it and exits with 2.
"""


class InputError(ValueError):
    """What the user gave (a file, a flag, a camera) cannot be used: what is wrong, with the value, and what to do."""


def describe_missing_library(error: ImportError) -> str | None:
    """One line for a system library that OpenCV's wheel links to and a slim Debian lacks; None for another error."""
    if ".so" not in str(error):
        return None
    return f"{error}: on Debian and Ubuntu, apt-get install libgl1 libglib2.0-0"
