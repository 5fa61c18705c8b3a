"""List the styles that ship.

allaprima styles
allaprima styles starry_night
allaprima styles --contact-sheet styles.png
"""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from unicodedata import combining, normalize

import numpy as np
from PIL import Image, ImageDraw, ImageFont, ImageOps
from rich.markdown import Markdown
from rich.table import Table
from rich.text import Text

from ..contract import StyleCard
from ..errors import InputError
from ..gallery import find_style, shipped_styles
from ..infer.stylefile import read_card
from ..pictures import Frame, read_picture, write_picture
from ..terminal import console, printable, show_table

TILE_PX, CAPTION_PX, GAP_PX, COLUMNS = (320, 240), 60, 16, 4


@dataclass(kw_only=True)
class Config:
    """List the styles that ship, or show one's card."""

    name: str | None = field(default=None, metadata={"positional": "?"})
    """A style's name, or a style file: show its card instead of the list."""
    contact_sheet: str | None = None
    """Write a picture (.png, .jpg or .webp) of all styles that ship to this file."""


def run(config: Config) -> None:
    """Print the list or one card, and write the contact sheet if asked.

    Raises:
        InputError: an unknown style, a damaged file, or a contact sheet that cannot be written.
    """
    if config.name is not None:
        _show(find_style(config.name))
    elif styles := shipped_styles():
        show_table(table(styles))
    else:
        console.print("no styles ship with this copy; to make one: allaprima train PAINTING --photos DIR")
    if config.contact_sheet is not None:
        write_picture(Path(config.contact_sheet), contact_sheet(shipped_styles()))
        console.print(f"contact sheet written to {config.contact_sheet}")


def table(styles: dict[str, Path]) -> Table:
    """Name -> style file, as a table with one row a style."""
    rows = Table("name", "painting", "artist", "year", "build", box=None, pad_edge=False, header_style="bold")
    rows.add_column("kB", justify="right")
    rows.add_column("J", justify="right")
    for name, path in styles.items():
        card = read_card(path) or StyleCard()
        build, loss = card.network.get("build", ""), card.figures.get("J")
        size_kb = f"{path.stat().st_size / 1000:,.0f}"
        cells = name, card.title, card.artist, card.year, build, size_kb, "" if loss is None else f"{loss:.2f}"
        rows.add_row(*map(_cell, cells))
    return rows


def contact_sheet(styles: dict[str, Path]) -> Frame:
    """The thumbnails beside the style files (NAME.jpg), with captions: (H, W, 3) uint8 RGB.

    Raises:
        InputError: no style has a thumbnail, or one cannot be read.
    """
    tiles = [
        _tile(read_picture(path.with_suffix(".jpg"), what="thumbnail"), name, read_card(path) or StyleCard())
        for name, path in styles.items()
        if path.with_suffix(".jpg").is_file()
    ]
    if not tiles:
        raise InputError("no style with a thumbnail ships with this copy: leave out --contact-sheet")
    columns = min(COLUMNS, len(tiles))
    rows = -(-len(tiles) // columns)
    step_x, step_y = tiles[0].width + GAP_PX, tiles[0].height + GAP_PX
    sheet = Image.new("RGB", (GAP_PX + columns * step_x, GAP_PX + rows * step_y), "white")
    for index, tile in enumerate(tiles):
        row, column = divmod(index, columns)
        sheet.paste(tile, (GAP_PX + column * step_x, GAP_PX + row * step_y))
    return np.asarray(sheet)


def _tile(thumbnail: Frame, name: str, card: StyleCard) -> Image.Image:
    tile = Image.new("RGB", (TILE_PX[0], TILE_PX[1] + CAPTION_PX), "white")
    tile.paste(ImageOps.fit(Image.fromarray(thumbnail), TILE_PX), (0, 0))
    draw = ImageDraw.Draw(tile)
    draw.text((0, TILE_PX[1] + 4), _ascii(name), fill="black", font=ImageFont.load_default(17))
    painter = ", ".join(part for part in (card.artist, card.year) if part)
    for line, text in enumerate((card.title, painter)):
        draw.text((0, TILE_PX[1] + 25 + 17 * line), _ascii(text), fill="dimgray", font=ImageFont.load_default(13))
    return tile


def _ascii(text: str) -> str:
    """What Pillow's own font can draw: letters lose their accents, others become question marks."""
    letters = (letter for letter in normalize("NFKD", text) if not combining(letter))
    return "".join(letters).encode("ascii", "replace").decode()


def _show(path: Path) -> None:
    """The model card beside the style file (NAME.md) if there is one, then everything in its metadata."""
    text = path.with_suffix(".md")
    if text.is_file():
        card_text = text.read_text(encoding="utf-8")
        if console.is_terminal:
            console.print(Markdown(card_text), soft_wrap=False)
        else:
            print(card_text)
    card = read_card(path)
    if card is None:
        console.print(f"{path}: a network from another project, it says nothing about itself")
        return
    rows = Table(box=None, pad_edge=False, show_header=False)
    for key, value in asdict(card).items():
        rows.add_row(key, _cell(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)))
    rows.add_row("file", _cell(f"{path} ({path.stat().st_size / 1000:,.0f} kB)"))
    show_table(rows)


def _cell(value: object) -> Text:
    """Text from a file, as it stands: neither rich's markup nor a terminal's control codes act."""
    return Text(printable(value))
