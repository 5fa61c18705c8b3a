"""One self-contained HTML page that shows how good a style is: pictures, curves, figures; no scripts, nothing fetched.

Whatever comes from cards and file names is escaped.
"""

import base64
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from html import escape

from .pictures import Frame, encode_picture

WIDTH, HEIGHT = 720, 340  # of the curve's drawing, in its own units
LEFT, RIGHT, TOP, BOTTOM = 56, 20, 20, 48  # margins, likewise
JPEG_QUALITY = 88

STYLE = """
:root { color-scheme: light dark; --ink: #22201c; --paper: #fbf9f5; --faint: #7a746a; --line: #ddd6ca; --mark: #b4451f }
@media (prefers-color-scheme: dark) {
  :root { --ink: #ece7de; --paper: #181715; --faint: #9a9388; --line: #37332d; --mark: #f0916a }
}
* { box-sizing: border-box }
body { margin: 0 auto; padding: 3rem 1.25rem 4rem; max-width: 72rem; background: var(--paper); color: var(--ink);
  font: 1.0625rem/1.6 "Iowan Old Style", "Palatino Linotype", Palatino, "URW Palladio L", Georgia, serif }
h1 { margin: 0; font-size: clamp(2rem, 6vw, 3.25rem); font-weight: 500; line-height: 1.1; overflow-wrap: anywhere }
h2 { margin: 3.5rem 0 .5rem; font-size: 1.5rem; font-weight: 500 }
p { max-width: 42rem; margin: .5rem 0 }
.by, figcaption, footer, .why { color: var(--faint) }
.head { display: grid; grid-template-columns: minmax(0, 1fr) minmax(0, 16rem); gap: 2rem; align-items: end }
.head img { width: 100% }
.large { display: flex; flex-wrap: wrap; gap: 1rem 3rem; margin: 2rem 0 0; padding: 0; list-style: none }
.large b { display: block; font-size: 2.5rem; font-weight: 500; line-height: 1.2; color: var(--mark) }
.row { display: grid; grid-template-columns: repeat(auto-fit, minmax(11rem, 1fr)); gap: .75rem; margin: 1.25rem 0 2rem }
figure { margin: 0 }
img { display: block; max-width: 100%; border-radius: 3px }
.row img { width: 100% }
figcaption { font-size: .9rem; padding-top: .25rem }
.ours { color: var(--mark) }
svg { display: block; width: 100%; height: auto; margin-top: 1rem }
svg text { font: 13px system-ui, sans-serif; fill: var(--faint) }
svg .ours { fill: var(--mark) }
.line { stroke: var(--line) }
.curve { fill: none; stroke: currentColor; stroke-width: 2 }
.level { stroke: var(--mark); stroke-width: 2 }
.down { stroke: var(--mark); stroke-dasharray: 4 4 }
.scroll { overflow-x: auto }
table { border-collapse: collapse; width: 100%; margin-top: 1rem }
th, td { padding: .55rem 1rem .55rem 0; border-bottom: 1px solid var(--line); text-align: left; vertical-align: top }
th { font-weight: 500; white-space: nowrap }
td:nth-child(2) { font-variant-numeric: tabular-nums; white-space: nowrap }
footer { margin-top: 4rem; font-size: .9rem }
@media (max-width: 40rem) { .head { grid-template-columns: 1fr } .head img { max-width: 16rem } }
"""


@dataclass(frozen=True)
class Figure:
    """One line of the table, and perhaps one of the large numbers at the top."""

    name: str
    value: str
    explanation: str
    headline: str = ""
    """What stands under it at the top; empty: not there."""


@dataclass(frozen=True)
class Row:
    """Pictures that stand side by side, with the words below them."""

    pictures: Sequence[tuple[str, Frame]]
    marked: int = 1
    """The one that is the style's own."""


@dataclass(frozen=True)
class Curve:
    """How the slow method's loss falls."""

    j: Sequence[float]
    """After 0, 1, 2, ... steps."""
    level: float
    """The network's own."""
    crossing: float | None
    """After how many steps the curve is down at `level`."""


@dataclass(frozen=True)
class Unrest:
    """How much a clip and its painting change from each frame to the next, in grey levels."""

    photo: Sequence[float]
    painting: Sequence[float]


@dataclass(frozen=True, kw_only=True)
class Page:
    """What the page says."""

    title: str
    by: str
    """The painting, its painter and the like, one line."""
    painting: Frame
    summary: str
    figures: Sequence[Figure]
    rows: Sequence[Row]
    curve: Curve | None
    unrest: Unrest | None = None
    footer: str

    def html(self) -> str:
        """The whole page, the same for the same contents."""
        return "\n".join(part for part in self._parts() if part) + "\n"

    def _parts(self) -> Iterator[str]:
        yield '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">'
        yield '<meta name="viewport" content="width=device-width, initial-scale=1">'
        yield f"<title>{escape(self.title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>"
        yield f'<header class="head"><div><h1>{escape(self.title)}</h1>\n<p class="by">{escape(self.by)}</p>'
        yield f"<p>{escape(self.summary)}</p></div>\n{_image(self.painting, 'the painting')}</header>"
        yield f'<ul class="large">{"".join(map(_headline, self.figures))}</ul>'
        if self.rows:
            yield "<h2>Look</h2>\n<p>The same photo by the network, at once, and by the slow method, which starts from "
            yield "noise and paints each picture by itself.</p>"
            yield from map(_row, self.rows)
        if self.curve:
            yield "<h2>How long the slow method takes to get there</h2>"
            yield "<p>Its loss, step by step, on a logarithmic scale; the line across is the network.</p>"
            yield _svg(self.curve)
        if self.unrest:
            yield "<h2>From frame to frame</h2>"
            yield "<p>Mean change of light and dark from each frame of a clip to the next, in grey levels; where the "
            yield "camera stands still, the painting should as well.</p>"
            yield _unrest_svg(self.unrest)
        yield '<h2>Figures</h2>\n<div class="scroll"><table>'
        yield from map(_line, self.figures)
        yield f"</table></div>\n<footer>{escape(self.footer)}</footer>\n</body>\n</html>"


def _headline(figure: Figure) -> str:
    return f"<li><b>{escape(figure.value)}</b>{escape(figure.headline)}</li>" if figure.headline else ""


def _line(figure: Figure) -> str:
    cells = f'<td>{escape(figure.value)}</td><td class="why">{escape(figure.explanation)}</td>'
    return f'<tr><th scope="row">{escape(figure.name)}</th>{cells}</tr>'


def _row(row: Row) -> str:
    figures = []
    for number, (words, picture) in enumerate(row.pictures):
        marked = ' class="ours"' if number == row.marked else ""
        figures.append(f"<figure>{_image(picture, words)}<figcaption{marked}>{escape(words)}</figcaption></figure>")
    return f'<div class="row">{"".join(figures)}</div>'


def _image(picture: Frame, words: str) -> str:
    data = base64.b64encode(encode_picture(picture, ".jpg", quality=JPEG_QUALITY)).decode()
    height, width = picture.shape[:2]
    source = f"data:image/jpeg;base64,{data}"
    return f'<img src="{source}" width="{width}" height="{height}" alt="{escape(words)}">'


class _Drawing:
    """A plot's frame: x runs over 0..`last`, what stands in the drawing is placed by its share of the height."""

    def __init__(self, last: float, label: str) -> None:
        self.last = max(1, last)
        self.parts = [f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(label)}">']

    def x(self, value: float) -> float:
        """In the drawing's units."""
        return LEFT + (WIDTH - LEFT - RIGHT) * value / self.last

    def y(self, share: float) -> float:
        """Likewise, of 0 (bottom) to 1."""
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * share

    def text(self, at_x: float, at_y: float, words: str, anchor: str = "middle", class_: str = "") -> None:
        """Words."""
        marked = f' class="{class_}"' if class_ else ""
        self.parts.append(f'<text x="{at_x:.1f}" y="{at_y:.1f}" text-anchor="{anchor}"{marked}>{escape(words)}</text>')

    def axes(self, ticks: Iterable[tuple[float, float]], words: str) -> None:
        """A line across for each tick (its value, its share of the height), seven numbers below and what they are."""
        for tick, share in ticks:
            self.parts.append(f'<path d="M{LEFT} {self.y(share):.1f}H{WIDTH - RIGHT}" class="line"/>')
            self.text(LEFT - 8, self.y(share) + 4, f"{tick:g}", "end")
        for n in range(7):
            self.text(self.x(self.last * n / 6), HEIGHT - BOTTOM + 20, f"{self.last * n / 6:.0f}")
        self.text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 8, words)

    def line(self, shares: Iterable[float], class_: str) -> None:
        """A curve through x = 0, 1, 2, ..."""
        points = " ".join(f"{self.x(step):.1f},{self.y(share):.1f}" for step, share in enumerate(shares))
        self.parts.append(f'<polyline points="{points}" class="{class_}"/>')

    def __str__(self) -> str:
        return "".join([*self.parts, "</svg>"])


def _svg(curve: Curve) -> str:
    """The curve, the network's level and where they meet."""
    low, high = _decades([*curve.j, curve.level])
    drawing = _Drawing(len(curve.j) - 1, "Loss over steps of L-BFGS")

    def share(value: float) -> float:
        return math.log(max(value, low) / low) / math.log(high / low)

    drawing.axes(((tick, share(tick)) for tick in _ticks(low, high)), "steps of L-BFGS from noise")
    drawing.line(map(share, curve.j), "curve")
    level = drawing.y(share(curve.level))
    drawing.parts.append(f'<path d="M{LEFT} {level:.1f}H{WIDTH - RIGHT}" class="level"/>')
    drawing.text(WIDTH - RIGHT, level - 8, f"the network, {curve.level:.2f}", "end", "ours")
    if curve.crossing is not None:
        at = drawing.x(curve.crossing)
        drawing.parts.append(f'<path d="M{at:.1f} {level:.1f}V{HEIGHT - BOTTOM}" class="down"/>')
        drawing.parts.append(f'<circle cx="{at:.1f}" cy="{level:.1f}" r="5" class="ours"/>')
        drawing.text(at + 8, HEIGHT - BOTTOM - 8, f"{curve.crossing:.0f} steps", "start", "ours")
    return str(drawing)


def _unrest_svg(unrest: Unrest) -> str:
    """Photo and painting, from 0 upwards."""
    high = 1.1 * max(*unrest.photo, *unrest.painting, 1.0)
    step = next(d * 10.0**p for p in range(-1, 3) for d in (1, 2, 5) if high <= 7 * d * 10.0**p)
    drawing = _Drawing(len(unrest.photo) - 1, "Change from frame to frame")
    drawing.axes(((n * step, n * step / high) for n in range(int(high / step) + 1)), "frames")
    for values, class_ in ((unrest.photo, "curve"), (unrest.painting, "curve level")):
        drawing.line((value / high for value in values), class_)
    drawing.text(WIDTH - RIGHT, TOP - 4, "the painting", "end", "ours")
    drawing.text(WIDTH - RIGHT - 90, TOP - 4, "the clip itself", "end")
    return str(drawing)


def _decades(values: Sequence[float]) -> tuple[float, float]:
    """Bounds of a logarithmic scale that holds all of the positive values."""
    positive = [value for value in values if value > 0] or [1.0]
    return 0.9 * min(positive), 1.1 * max(positive)


def _ticks(low: float, high: float) -> list[float]:
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    return [tick for power in powers for digit in (1, 2, 5) if low <= (tick := digit * 10.0**power) <= high]
