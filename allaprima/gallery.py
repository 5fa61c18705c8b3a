"""The styles that ship, and how a name or a path on the command line becomes a style file."""

from pathlib import Path

from .errors import InputError

STYLES_FOLDER = Path(__file__).parent / "styles"


def shipped_styles() -> dict[str, Path]:
    """Name -> style file of every style in the package, by name."""
    return {path.stem: path for path in sorted(STYLES_FOLDER.glob("*.onnx"))}


def find_style(style: str | Path) -> Path:
    """The style file for a shipped name or a path.

    Raises:
        InputError: neither.
    """
    shipped = shipped_styles()
    if isinstance(style, str) and style in shipped:
        return shipped[style]
    path = Path(style)
    if path.is_file():
        return path
    if path.suffix:
        raise InputError(f"style file '{style}' does not exist: check the path")
    choice = f"choose one of {', '.join(shipped)}, or give" if shipped else "none ships with this copy, give"
    raise InputError(f"no style is called '{style}': {choice} a .onnx file")
