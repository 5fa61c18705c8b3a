"""The slow method is that of `allaprima optimize`. What it comes to is kept in the user's cache folder, so that the
next style for the same painting and photos is measured in a minute. Ctrl-C keeps what is finished.
"""

import json
import platform
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image
from rich.table import Table
from rich.text import Text

from .. import __version__
from ..contract import MIN_SIZE_PX, StyleCard
from ..errors import InputError
from ..files import replacing, require_folder
from ..film import Film
from ..pictures import read_picture
from ..report_page import Curve, Figure, Page, Row
from ..style_flags import StyleFlags
from ..terminal import console, follow, printable, progress_bar, show_table

if TYPE_CHECKING:
    from ..infer.stylizer import Stylizer
    from ..infer.timing import Timing
    from ..pictures import Frame
    from ..train.optimality import Optimality, Proof

SPEED_SIZE = 640, 480
SPEED_SECONDS = 2.0
STOPPED = "stopped; finished references are kept, the same command goes on from them"


@dataclass(kw_only=True)
class Config(StyleFlags):
    """Prove how good a style is: distances on photos, how near it comes to the best that its loss allows, and on a
    clip how steady it is.

    allaprima evaluate starry_night --painting starry_night.jpg --photos ~/Pictures
    allaprima evaluate other.onnx --painting painting.jpg --photos ~/Pictures --html other.html --json other.json
    allaprima evaluate starry_night --clip me.mp4 --html steady.html
    """

    style: str = field(metadata={"positional": ""})
    """Name of a style that ships, or a style file, anybody's."""
    painting: Path | None = None
    """The painting that it was trained on."""
    photos: Path | None = None
    """Folder of photos that it never saw, searched recursively."""
    clip: Path | None = None
    """Video to watch for flicker, beside painting and photos or by itself; one from a camera that stands still says
    most."""
    html: Path | None = None
    """Write a page with pictures, curve and figures to this file."""
    json: Path | None = None
    """Write all numbers to this file."""
    style_weight: float | None = None
    """k of J = content + k * style. Default: what the style was trained with, or of 3, 10 and 30 the one that suits it
    best."""
    count: int = 8
    """Photos to measure on, evenly spread over the folder."""
    examples: int = 3
    """Photos that the slow method also paints from noise, for the curve and the page."""
    size: int = 256
    """Shorter side of the photos that network and slow method paint, in px."""
    reference_steps: int = 200
    """Steps of the slow method from the photo, for the optimality ratio."""
    curve_steps: int = 300
    """Steps of the slow method from noise, for the curve."""
    vgg_weights: Path | None = None
    """File with torchvision's weights for VGG-19 (.safetensors, .pth); else ALLAPRIMA_VGG, else torchvision's download.
    """

    def __post_init__(self) -> None:
        """Raises InputError, naming the flag."""
        _check_material(self.painting, self.photos, self.clip)
        least = {"count": 1, "examples": 1, "size": MIN_SIZE_PX, "reference_steps": 1, "curve_steps": 1}
        for name, value in least.items():
            if getattr(self, name) < value:
                flag = name.replace("_", "-")
                raise InputError(f"--{flag}: got {getattr(self, name)}, expected at least {value}")
        if self.style_weight is not None and not 0 < self.style_weight < float("inf"):
            raise InputError(f"--style-weight: got {self.style_weight}, expected more than 0")
        for path in (self.html, self.json):
            if path is not None:
                require_folder(path)


def _check_material(painting: Path | None, photos: Path | None, clip: Path | None) -> None:
    if painting is None and photos is None:
        if clip is None:
            raise InputError(
                "--painting is missing: give it and --photos to prove the style, or a --clip to watch it on"
            )
    elif painting is None:
        raise InputError("--painting is missing: give the painting that the style was trained on")
    elif photos is None:
        raise InputError("--photos is missing: give a folder of photos that the style never saw")


def run(config: Config) -> None:
    """Measure, print the table, write page and numbers.

    Raises:
        InputError: a style, picture, folder, clip or output that cannot be used.
        KeyboardInterrupt: stopped by the user; finished references are kept.
    """
    if config.painting is not None:
        try:
            from ..train.optimality import Proof  # noqa: F401 - says what is missing before anything is read
        except ModuleNotFoundError as error:
            raise InputError(f"evaluate needs {error.name}: pip install 'allaprima[cpu,train]'") from error
    stylizer = config.open_style(keep_memory=False)
    painting = None if config.painting is None else read_picture(config.painting, what="painting")
    proof = None if painting is None else _prepare(config, stylizer, painting)
    film = None if config.clip is None else _watch(config.clip, config.open_style(film=True))
    if proof is not None:
        weights = " or ".join(f"{weight:g}" for weight in proof.style_weights)
        console.print(
            f"{printable(stylizer.name)}: {_photos(len(proof.photos))}, k = {weights}, {proof.steps:,} steps of the "
            f"slow method at {config.size} px, less those kept from before"
        )
        _measure(proof)
    result = None if proof is None else proof.result
    timing = _time(config, stylizer)
    figures = describe(result, timing, stylizer.path.stat().st_size, film)
    show_table(table(figures))
    if config.json is not None:
        _write(config.json, json.dumps(report(config, stylizer, result, timing, film), indent=2) + "\n")
    if config.html is not None:
        shown = film.first if painting is None and film is not None else painting
        assert shown is not None
        _write(config.html, page(config, stylizer, shown, result, film, figures).html())


def _watch(path: Path, stylizer: "Stylizer") -> Film:
    """Paint every frame, as large as it is."""
    from ..infer.clip import open_clip
    from ..train.artefacts import Changes

    seen, first = Changes(), None
    with open_clip(path) as clip, progress_bar() as bar:
        task = bar.add_task("frames", total=clip.frames, text="")
        for shot in clip.shots():
            painted = stylizer(shot.picture)
            seen.add(shot.picture, painted)
            first = painted if first is None else first
            bar.advance(task)
    if first is None or not seen.photo:
        raise InputError(f"clip '{path}' has one frame: give one with two or more")
    return Film(path, seen, first)


def _prepare(config: Config, stylizer: "Stylizer", painting: "Frame") -> "Proof":
    from ..models.vgg import load_vgg
    from ..train.device import best_device
    from ..train.evaluate import YARDSTICK_LAYERS, read_photos
    from ..train.optimality import STYLE_WEIGHTS, Proof, references_folder
    from ..train.photos import list_photos

    assert config.photos is not None
    found = list_photos(config.photos, shorter_px=MIN_SIZE_PX)
    photos = read_photos(found.split(min(config.count, len(found.paths)))[1])
    if not photos:
        raise InputError(f"photo folder '{config.photos}': none of the photos chosen can be read: give others")
    vgg, sha256 = load_vgg(YARDSTICK_LAYERS, weights=config.vgg_weights)
    weight = config.style_weight or trained_weight(stylizer.card)
    return Proof(
        stylizer,
        painting,
        photos,
        vgg=vgg.to(best_device()),
        vgg_sha256=sha256,
        style_weights=STYLE_WEIGHTS if weight is None else (weight,),
        shorter_px=config.size,
        reference_steps=config.reference_steps,
        curve_steps=config.curve_steps,
        examples=config.examples,
        cache=references_folder(),
    )


def trained_weight(card: StyleCard | None) -> float | None:
    """The k that a style says it was trained with; None where it says nothing that could be one."""
    weight: Any = card.training.get("style_weight") if card else None
    if isinstance(weight, bool) or not isinstance(weight, int | float):
        return None
    return float(weight) if 0 < weight < float("inf") else None


def _measure(proof: "Proof") -> None:
    if not follow(proof.run()):
        console.print(STOPPED)
        raise KeyboardInterrupt


def _time(config: Config, stylizer: "Stylizer") -> "Timing":
    """How fast it is; where it cannot paint such frames, the timing's error says so."""
    from ..infer.timing import Entrant, Timing, measure

    entrant = Entrant(style=stylizer.name, path=stylizer.path, provider=stylizer.provider, open=config.open_style)
    timing = Timing(entrant, *SPEED_SIZE)
    measure([timing], seconds=SPEED_SECONDS)
    return timing


def describe(result: "Optimality | None", timing: "Timing", size_bytes: int, film: Film | None = None) -> list[Figure]:
    """Every figure with its explanation, for the table and for the page."""
    figures = [] if result is None else _describe_proof(result)
    if film is not None:
        figures += film.figures()
    if timing.error is None:
        width, height = SPEED_SIZE
        explanation = (
            f"for a frame of {width}x{height} px on {timing.entrant.provider}, half of the frames took no longer"
        )
        figures.append(Figure("speed", f"{timing.median_ms:.1f} ms", explanation, f"for a frame of {width}x{height}"))
    figures.append(Figure("file", f"{size_bytes / 1000:,.0f} kB", "the whole style", "is the whole style"))
    return figures


def _describe_proof(result: "Optimality") -> list[Figure]:
    y, steps, k = result.yardstick, result.equivalent_steps, f"{result.style_weight:g}"
    last = len(result.curve) - 1
    ratio, many = f"{result.ratio:.2f}", _photos(len(result.ratios))
    figures = [
        Figure(
            "optimality ratio",
            ratio,
            f"loss of the network over that of the slow method on the same photo, mean over {many}; "
            "1 is the best that the loss allows",
            "times the least loss possible",
        ),
        Figure(
            "equivalent steps",
            f"over {last}" if steps is None else f"{steps:.0f}",
            "after so many steps of L-BFGS from noise the slow method is as good as the network",
            "steps of the slow method in one go",
        ),
        Figure("J", f"{y.j:.3f}", f"content + {k} x style on {many}, shorter side 384 px; lower is better"),
        Figure(
            "content", f"{y.content:.3f}", "how far the painting is from its photo, of the photo's own size in VGG-19"
        ),
        Figure("style", f"{y.style:.4f}", "how far its textures are from those of the painting, likewise"),
    ]
    grids = " / ".join(f"{value:.1f}" for value in result.grid.values())
    periods = ", ".join(map(str, result.grid))
    figures.append(Figure("grid", grids, f"strength of a pattern of {periods} px; a photo has 1.1 to 1.3"))
    if y.flicker is not None and y.motion is not None:
        figures.append(Figure("flicker", f"{y.flicker:.2f}", "of a still photo with noise, over the photo's own"))
        figures.append(Figure("motion", f"{y.motion:.2f}", "error along true motion, over the photo's own"))
    return figures


def _photos(count: int) -> str:
    return "1 photo" if count == 1 else f"{count} photos"


def table(figures: list[Figure]) -> Table:
    """The figures for people."""
    rows = Table(box=None, pad_edge=False, show_header=False)
    rows.add_column(no_wrap=True)
    rows.add_column(no_wrap=True, justify="right")
    rows.add_column()
    for figure in figures:
        rows.add_row(*(Text(printable(cell)) for cell in (figure.name, figure.value, figure.explanation)))
    return rows


def report(
    config: Config, stylizer: "Stylizer", result: "Optimality | None", timing: "Timing", film: Film | None
) -> dict[str, Any]:
    """All numbers; names of files, but no folders of this machine."""
    width, height = SPEED_SIZE
    speed = {"width": width, "height": height, "provider": timing.entrant.provider}
    median_ms = None if timing.error else round(timing.median_ms, 3)
    contents = {
        "allaprima": __version__,
        "machine": f"{platform.system()} {platform.machine()}",
        "style": stylizer.name,
        "file": stylizer.path.name,
        "file_bytes": stylizer.path.stat().st_size,
    }
    if result is not None and config.painting is not None:
        settings = {name: getattr(config, name) for name in ("size", "reference_steps", "curve_steps")}
        contents |= {"painting": config.painting.name, **result.to_json(), "settings": settings}
    if film is not None:
        contents["clip"] = film.to_json()
    return contents | {"speed": {**speed, "median_ms": median_ms}}


def page(
    config: Config,
    stylizer: "Stylizer",
    painting: "Frame",
    result: "Optimality | None",
    film: Film | None,
    figures: list[Figure],
) -> Page:
    """The page for people; `painting` is what stands at its top."""
    card = stylizer.card or StyleCard(title=(config.painting or stylizer.path).stem)
    rows: list[Row] = []
    summary, measured, curve = "A small network, watched on a clip.", "on a clip", None
    if result is not None:
        rows = [
            Row(
                [
                    ("photo", e.photo),
                    ("the network", e.painted),
                    *((f"L-BFGS, {n} steps", p) for n, p in e.slow.items()),
                ]
            )
            for e in result.examples
        ]
        summary = (
            "A small network that paints like this in one go, held against the slow method that optimises each picture "
            f"by itself on the same loss, content + {result.style_weight:g} x style."
        )
        measured = (
            f"on {_photos(len(result.ratios))}. The slow method: Gatys, Ecker and Bethge 2016, L-BFGS, "
            f"{config.reference_steps} steps from the photo for the ratio, {config.curve_steps} from noise for the "
            "curve; VGG-19"
        )
        curve = Curve(result.curve, result.curve_j, result.equivalent_steps)
    return Page(
        title=printable(stylizer.name),
        by=printable(", ".join(part for part in (card.title, card.artist, card.year) if part)),
        painting=_thumbnail(painting),
        summary=summary,
        figures=figures,
        rows=rows,
        curve=curve,
        unrest=None if film is None else film.unrest,
        footer=f"Measured by allaprima {__version__} {measured}.",
    )


def _thumbnail(painting: "Frame") -> "Frame":
    picture = Image.fromarray(painting)
    picture.thumbnail((512, 512))
    return np.asarray(picture)


def _write(path: Path, text: str) -> None:
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    console.print(f"{path} written")
