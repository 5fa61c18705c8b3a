"""How the field of a configuration is called on the command line."""


def flag_key(field: str) -> str:
    """The field's name in a YAML file: without what keeps it from being a word of Python (`from_`)."""
    return field.rstrip("_")


def flag_name(field: str) -> str:
    """`learning_rate` -> `--learning-rate`."""
    return "--" + flag_key(field).replace("_", "-")
