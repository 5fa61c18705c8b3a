"""The one exception that is meant for people.

Its message is a single line that names the value and the remedy; the command line prints it and exits with 2.
"""


class InputError(ValueError):
    """What the user gave (a file, a flag, a camera) cannot be used: what is wrong, with the value, and what to do."""
