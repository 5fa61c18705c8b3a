"""The command line: `allaprima VERB ...`. One dataclass a verb is its flags, its YAML and its documentation.

Exit codes: 0 done, 1 done and something essential is broken (`doctor`), 2 a message for the user (one line on stderr),
130 stopped with Ctrl-C.
"""

import argparse
import dataclasses
import difflib
import re
import sys
import typing
import warnings
from collections.abc import Sequence
from importlib import import_module
from types import ModuleType
from typing import Any, NoReturn

from . import __version__
from .errors import InputError, describe_missing_library
from .flags import flag_key, flag_name

VERBS = {
    "train": "learn a painting: photos and one painting in, a style file out",
    "export": "write a training run or checkpoint as a style file (.onnx)",
    "evaluate": "prove how good a style is: figures against the slow method, and a page",
    "optimize": "paint one photo by the slow, exact method, without a network",
    "image": "paint photos",
    "video": "paint a video, sound and timing kept",
    "cam": "paint a camera live",
    "cameras": "list the cameras of this machine, with their sizes and rates",
    "photos": "look a folder of photos over before training on it, or download one",
    "tune": "search for training settings, by many short trainings",
    "styles": "list the styles that ship",
    "bench": "measure how fast styles run here, and which camera rate they hold",
    "doctor": "check whether this machine is ready, and say what to do where it is not",
}
EXIT_INPUT, EXIT_INTERRUPTED = 2, 130
_WRONG_TYPE = re.compile(  # where it may also be left out, the parser names all types in turn
    r"(--[\w-]+): .*?Expected an? ((?:<class '[\w.]+'>|typing\.Literal\[.*?\])).*? (?:Got|Given) value: (.*)"
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb and return the exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        if not words or words[0] in {"-h", "--help"}:
            print(_overview())
            return 0
        if words[0] == "--version":
            print(f"allaprima {__version__}")
            return 0
        if words[0] not in VERBS:
            raise InputError(f"unknown command '{words[0]}': expected one of {', '.join(VERBS)}")
        command = import_module(f".commands.{words[0]}", __package__)
        with warnings.catch_warnings():
            warnings.showwarning = _show_warning
            code: int | None = command.run(parse(command, words[0], words[1:]))
    except InputError as error:
        print(f"allaprima: {error}", file=sys.stderr)
        return EXIT_INPUT
    except ImportError as error:
        if (problem := describe_missing_library(error)) is None:
            raise
        print(f"allaprima: {problem}", file=sys.stderr)
        return EXIT_INPUT
    except (RuntimeError, MemoryError) as error:
        if not _is_of_memory(error):
            raise
        print(
            "allaprima: there is not enough memory for it: make it smaller (--size, --batch), or close other programs",
            file=sys.stderr,
        )
        return EXIT_INPUT
    except KeyboardInterrupt:
        print("allaprima: stopped", file=sys.stderr)
        return EXIT_INTERRUPTED
    except BrokenPipeError:  # `allaprima styles | head`
        sys.stderr.close()
        return 0
    return code or 0


def _is_of_memory(error: Exception) -> bool:
    """Whether memory ran out: Python's or NumPy's, a GPU's or a CPU's in torch, which has no name for the last."""
    kinds = MemoryError, getattr(sys.modules.get("torch"), "OutOfMemoryError", MemoryError)
    return isinstance(error, kinds) or "can't allocate memory" in str(error)


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: typing.TextIO | None = None,
    line: str | None = None,
) -> None:
    """A warning as one line on stderr, without the file and line that only a programmer wants."""
    print(f"allaprima: warning: {' '.join(str(message).split())}", file=sys.stderr)


def parse(command: ModuleType, verb: str, words: Sequence[str]) -> Any:
    """Words of the command line -> the verb's `Config`.

    A field of `Config` is a flag (`learning_rate` is `--learning-rate`; a bool also has its `--no-` form) unless its
    metadata says ``positional``: "" for exactly one, "?" for at most one, "*" for any number (a list).

    Raises:
        InputError: a flag that is unknown, missing or of the wrong type, or that `Config` itself refuses.
    """
    config_class = command.Config
    parser = _parser(verb, config_class.__doc__, command.__doc__)
    parser.add_argument("--config", action="config", help="YAML file with these settings; flags after it win.")
    _add_fields(parser, config_class)
    values = parser.parse_args(list(words)).as_dict()
    values.pop("config", None)
    for field in dataclasses.fields(config_class):
        default, required = _default(field)
        if flag_key(field.name) in values:
            values[field.name] = values.pop(flag_key(field.name))
        if not values.setdefault(field.name, default) and required and "positional" in field.metadata:
            raise InputError(f"{field.name.upper()} is missing (allaprima {verb} --help explains)")
    try:
        return config_class(**values)
    except InputError:
        raise
    except ValueError as error:
        raise InputError(str(error)) from error


def _parser(verb: str, description: str | None, epilog: str | None) -> Any:
    from jsonargparse import ArgumentParser, DefaultHelpFormatter

    class Parser(ArgumentParser):
        def error(self, message: str, ex: Exception | None = None) -> NoReturn:
            if unknown := re.match(r"unrecognized arguments: (--[\w-]+)", message):
                near = difflib.get_close_matches(unknown[1], self._option_string_actions, 1)
                message = f"{unknown[1]} is unknown" + (f": did you mean {near[0]}?" if near else "")
            raise InputError(f"{_readable(message)} (allaprima {verb} --help explains)") from ex

    class Formatter(DefaultHelpFormatter):
        def _fill_text(self, text: str, width: int, indent: str) -> str:
            return "".join(indent + line for line in text.splitlines(keepends=True))  # keeps the examples' lines

    return Parser(prog=f"allaprima {verb}", description=description, epilog=epilog, formatter_class=Formatter)


def _add_fields(parser: Any, config_class: type) -> None:
    from docstring_parser import parse_from_object
    from jsonargparse import ActionYesNo

    types = typing.get_type_hints(config_class)
    classes = [c for c in config_class.__mro__ if dataclasses.is_dataclass(c)]
    texts = {p.arg_name: p.description for c in classes for p in parse_from_object(c).params}
    for field in dataclasses.fields(config_class):
        default, required = _default(field)
        kind, text = types[field.name], texts.get(field.name)
        flag = flag_name(field.name)
        if (count := field.metadata.get("positional")) is not None:
            # What stands in --config need not be repeated: an absent one leaves no mark here, and `parse` checks.
            kind = str if count == "*" else kind
            parser.add_argument(field.name, nargs=count or "?", type=kind, default=argparse.SUPPRESS, help=text)
        elif kind in (bool, bool | None):  # None: neither form was given
            parser.add_argument(flag, action=ActionYesNo(no_prefix="no-"), default=default, help=text)
        else:
            short = ["-o"] if field.name == "output" else []
            parser.add_argument(*short, flag, type=kind, default=default, required=required, help=text)


def _default(field: "dataclasses.Field[Any]") -> tuple[Any, bool]:
    """The field's default and whether it has to be given."""
    if field.default is not dataclasses.MISSING:
        return field.default, False
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory(), False
    return None, True


def _readable(message: str) -> str:
    """The parser's message as one line in the user's words."""
    line = " ".join(message.split())
    line = re.sub(r'^Parser key "([\w.]+)":', lambda m: f"{flag_name(m[1])}:", line)
    line = re.sub(r"^the following arguments are required: (\w+)", lambda m: f"{flag_name(m[1])} is missing", line)
    if of_type := _WRONG_TYPE.fullmatch(line):
        flag, kind, value = of_type.groups()
        return f"{flag}: got '{value}', expected {_in_words(kind)}"
    return line


def _in_words(kind: str) -> str:
    """What the parser calls a type: "<class 'int'>", "typing.Literal['a', 'b']"."""
    name = re.sub(r"<class '(?:\w+\.)*(\w+)'>", r"\1", kind)
    if choices := re.findall(r"'([^']*)'", name):
        return f"{', '.join(choices[:-1])} or {choices[-1]}" if choices[1:] else choices[0]
    return {"int": "a whole number", "float": "a number", "bool": "true or false", "str": "text"}.get(name, name)


def _overview() -> str:
    verbs = "\n".join(f"  {verb:10}{text}" for verb, text in VERBS.items())
    return (
        f"allaprima {__version__}: train a painting into a small network, run it live\n\n"
        f"usage: allaprima VERB ...    (allaprima VERB --help explains one)\n\n{verbs}\n\n"
        "  allaprima image me.jpg --style starry_night -o painted.jpg\n"
        "  allaprima cam --style great_wave\n"
        "  allaprima train painting.jpg --photos ~/Pictures"
    )
