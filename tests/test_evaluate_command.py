"""`allaprima evaluate`: its figures by hand, the cache of references, the page, and the command on real pictures."""

import dataclasses
import json
import math
import os
import re
import signal
import sys
from collections.abc import Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import clips
import numpy as np
import pytest
import tiny
import torch

from allaprima import files
from allaprima.cli import main
from allaprima.commands.evaluate import Config, describe, trained_weight
from allaprima.contract import StyleCard
from allaprima.infer.timing import Entrant, Timing
from allaprima.models.vgg import VGGFeatures
from allaprima.pictures import Frame
from allaprima.report_page import Curve, Figure, Page, Row, Unrest
from allaprima.train import optimality
from allaprima.train.evaluate import YARDSTICK_LAYERS, Distances, Figures, distances
from allaprima.train.optimality import (
    Example,
    Optimality,
    Proof,
    Reference,
    SlowMethod,
    equivalent_steps,
    read_reference,
    references_folder,
    steps_to_show,
)
from allaprima.train.optimize import Descent
from allaprima.train.tensor_files import read_tensors, write_tensors


def noise(seed: int, height: int = 32, width: int = 40) -> Frame:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3)).astype(np.uint8)


@pytest.fixture(scope="module")
def vgg() -> VGGFeatures:
    """Untrained: random features are features too."""
    torch.manual_seed(0)
    return VGGFeatures(YARDSTICK_LAYERS)


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows with every picture that the slow method really begins."""
    begun: list[int] = []

    class Counted(Descent):
        def __init__(self, *given: Any) -> None:
            begun.append(1)
            super().__init__(*given)

    monkeypatch.setattr(optimality, "Descent", Counted)
    return begun


@pytest.fixture
def small_yardstick(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("evaluate", "optimality"):
        monkeypatch.setattr(f"allaprima.train.{module}.YARDSTICK_PX", 96)


def finish(slow: SlowMethod, photo: Frame, **asked: Any) -> Reference:
    """Paint to the end."""
    given: dict[str, Any] = {"style_weight": 10.0, "steps": 3, "init": "photo", "keep": [1, 3]}
    steps = slow.paint(photo, **given | asked)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            reference: Reference = end.value
            return reference


def result(**values: Any) -> Optimality:
    example = Example(noise(1), noise(2), {50: noise(3), 100: noise(4)})
    given: dict[str, Any] = {
        "style_weight": 10.0,
        "yardstick": Figures(1.0, 0.05, 1.5, 2),
        "ratios": [2.0, 3.0],
        "curve": [8.0, 4.0, 2.0, 1.0],
        "curve_j": 3.0,
        "grid": {2: 1.5, 4: 2.0, 8: 2.5},
        "examples": [example],
    }
    return Optimality(**given | values)


# Figures.


@pytest.mark.parametrize(
    ("j", "steps"),
    [(9.0, 0.0), (8.0, 0.0), (6.0, 0.5), (4.0, 1.0), (3.0, 1.5), (1.25, 2.75), (1.0, 3.0), (0.9, None)],
)
def test_equivalent_steps_by_hand(j: float, steps: float | None) -> None:
    assert equivalent_steps([8, 4, 2, 1], j) == steps


def test_the_first_crossing_counts() -> None:
    assert equivalent_steps([8, 2, 6, 1], 2) == 1


@pytest.mark.parametrize(
    ("steps", "shown"), [(300, [50, 100, 300]), (150, [25, 50, 150]), (6, [1, 2, 6]), (2, [1, 2]), (1, [1])]
)
def test_which_steps_are_shown(steps: int, shown: list[int]) -> None:
    assert steps_to_show(steps) == shown


def test_the_short_form_by_hand() -> None:
    assert result().figures() == {
        "content": 1.0,
        "style": 0.05,
        "J": 1.5,
        "style_weight": 10.0,
        "optimality_ratio": 2.5,
        "equivalent_steps": 1.5,
        "grid_2": 1.5,
        "grid_4": 2.0,
        "grid_8": 2.5,
    }
    assert "equivalent_steps" not in result(curve_j=0.5).figures()
    json.dumps(result().to_json())


def test_j_along_a_curve() -> None:
    assert Reference([Distances(1.0, 0.5), Distances(0.5, 0.25)]).j(4.0) == [3.0, 1.5]


@pytest.mark.parametrize(
    ("training", "weight"),
    [
        ({"style_weight": 4.0}, 4.0),
        ({"style_weight": 4}, 4.0),
        ({}, None),
        ({"style_weight": 0}, None),
        ({"style_weight": -1}, None),
        ({"style_weight": True}, None),
        ({"style_weight": "ten"}, None),
        ({"style_weight": math.inf}, None),
        ({"style_weight": math.nan}, None),
    ],
)
def test_the_weight_of_the_card(training: dict[str, Any], weight: float | None) -> None:
    assert trained_weight(StyleCard(training=training)) == weight
    assert trained_weight(None) is None


@pytest.mark.usefixtures("small_yardstick")
def test_the_photo_itself_as_a_painting(vgg: VGGFeatures) -> None:
    """A network that paints nothing has no content loss, and the slow method, begun at the photo, beats it."""
    proof = Proof(
        lambda frame: frame,
        noise(0),
        [noise(1), noise(2)],
        vgg=vgg,
        vgg_sha256="x",
        style_weights=(3, 10),
        shorter_px=32,
        reference_steps=4,
        curve_steps=6,
        examples=1,
    )
    seen = list(proof.run())
    assert (seen[-1].done, seen[-1].total) == (proof.steps, 2 * 2 * 4 + 6)
    assert [p.done for p in seen] == sorted(p.done for p in seen)
    got = proof.result
    assert got.yardstick.content == pytest.approx(0, abs=1e-9)
    assert got.yardstick.j == pytest.approx(got.style_weight * got.yardstick.style, rel=1e-6)
    assert got.ratio > 1
    assert len(got.curve) == 7
    assert got.curve[-1] < got.curve[0]
    assert sorted(got.examples[0].slow) == [1, 2, 6]


@pytest.mark.usefixtures("small_yardstick")
def test_of_a_panorama_all_judge_the_same_parts(vgg: VGGFeatures) -> None:
    painting, photo = np.concatenate([noise(n) // (n + 1) for n in range(12)], axis=1), noise(20)
    [judged] = distances(lambda x: x, vgg, painting, [photo], shorter_px=min(photo.shape[:2]))
    slow = SlowMethod(vgg, "x", painting, cache=None)
    reference = finish(slow, photo, style_weight=3, steps=1, init="photo")
    assert reference.curve[0].style == pytest.approx(judged.style, rel=1e-5)


# The cache.


def test_a_reference_is_painted_once(vgg: VGGFeatures, looks: list[int], tmp_path: Path) -> None:
    slow = SlowMethod(vgg, "x", noise(0), cache=tmp_path / "a" / "b")
    first, second = finish(slow, noise(1)), finish(slow, noise(1))
    assert len(looks) == 1
    assert first.curve == second.curve
    assert sorted(second.pictures) == [1, 3]
    for step, picture in first.pictures.items():
        np.testing.assert_array_equal(picture, second.pictures[step])
    assert len(list((tmp_path / "a" / "b").iterdir())) == 1


@pytest.mark.parametrize(
    "asked", [{"style_weight": 9.0}, {"steps": 4}, {"init": "noise"}, {"keep": [3]}], ids=lambda asked: str(asked)
)
def test_another_question_has_another_answer(
    vgg: VGGFeatures, looks: list[int], tmp_path: Path, asked: dict[str, Any]
) -> None:
    slow = SlowMethod(vgg, "x", noise(0), cache=tmp_path)
    finish(slow, noise(1))
    finish(slow, noise(1), **asked)
    assert len(looks) == 2


def test_another_photo_painting_or_vgg_has_another_answer(vgg: VGGFeatures, looks: list[int], tmp_path: Path) -> None:
    finish(SlowMethod(vgg, "x", noise(0), cache=tmp_path), noise(1))
    finish(SlowMethod(vgg, "x", noise(0), cache=tmp_path), noise(2))
    finish(SlowMethod(vgg, "x", noise(3), cache=tmp_path), noise(1))
    finish(SlowMethod(vgg, "y", noise(0), cache=tmp_path), noise(1))
    assert len(looks) == 4


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:100])


def of_another_key(path: Path) -> None:
    metadata, tensors = read_tensors(path)
    write_tensors(path, tensors, metadata | {"key": "{}"})


def with_a_short_curve(path: Path) -> None:
    metadata, tensors = read_tensors(path)
    write_tensors(path, tensors, metadata | {"curve": "[[1, 2]]"})


def with_a_curve_of_nan(path: Path) -> None:
    metadata, tensors = read_tensors(path)
    write_tensors(path, tensors, metadata | {"curve": json.dumps([[math.nan, 0]] * 4)})


def without_pictures(path: Path) -> None:
    metadata, _ = read_tensors(path)
    write_tensors(path, {}, metadata)


@pytest.mark.parametrize(
    "spoil", [cut_short, of_another_key, with_a_short_curve, with_a_curve_of_nan, without_pictures]
)
def test_a_damaged_reference_is_painted_again(vgg: VGGFeatures, looks: list[int], tmp_path: Path, spoil: Any) -> None:
    slow = SlowMethod(vgg, "x", noise(0), cache=tmp_path)
    first = finish(slow, noise(1))
    [path] = tmp_path.iterdir()
    spoil(path)
    assert finish(slow, noise(1)).curve == first.curve
    assert finish(slow, noise(1)).curve == first.curve
    assert len(looks) == 2


def test_a_cache_that_cannot_be_written_costs_only_time(vgg: VGGFeatures, looks: list[int], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    slow = SlowMethod(vgg, "x", noise(0), cache=tmp_path / "file" / "references")
    assert finish(slow, noise(1)).curve == finish(slow, noise(1)).curve
    assert len(looks) == 2
    assert read_reference(None, "{}") is None


@pytest.mark.parametrize(
    ("platform", "variables", "folder"),
    [
        ("linux", {"XDG_CACHE_HOME": "/var/x"}, "/var/x/allaprima"),
        ("linux", {"XDG_CACHE_HOME": ""}, "/home/me/.cache/allaprima"),
        ("linux", {"XDG_CACHE_HOME": "here"}, "/home/me/.cache/allaprima"),
        ("darwin", {"XDG_CACHE_HOME": "/var/x"}, "/home/me/Library/Caches/allaprima"),
        ("win32", {"LOCALAPPDATA": "/data/local"}, "/data/local/allaprima"),
        ("win32", {"LOCALAPPDATA": ""}, "/home/me/AppData/Local/allaprima"),
    ],
)
def test_the_cache_is_where_the_platform_has_it(
    monkeypatch: pytest.MonkeyPatch, platform: str, variables: dict[str, str], folder: str
) -> None:
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr(Path, "home", lambda: Path("/home/me"))
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert files.cache_folder() == Path(folder)
    assert references_folder() == Path(folder) / "references"


# The page.


class Balance(HTMLParser):
    """Notes what is opened, and complains of what is not closed."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.words = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))
        if tag not in {"meta", "img"}:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words += data


def a_page(
    text: str = "words", *, curve: Curve | None = None, unrest: Unrest | None = None, rows: Sequence[Row] = ()
) -> str:
    figures = [Figure(text, text, text, text)]
    made = Page(
        title=text,
        by=text,
        painting=noise(0),
        summary=text,
        figures=figures,
        rows=rows,
        curve=curve,
        unrest=unrest,
        footer=text,
    )
    return made.html()


def read(page: str) -> Balance:
    reader = Balance()
    reader.feed(page)
    reader.close()
    assert reader.open == []
    return reader


HOSTILE = """<script>alert("1")</script><img src='x' onerror=alert(1)> & </title></style>"""


def test_all_words_are_escaped() -> None:
    rows = [Row([(HOSTILE, noise(1)), (HOSTILE, noise(2))])]
    page = read(a_page(HOSTILE, rows=rows, curve=Curve([3, 2, 1], 2.5, 0.5)))
    assert "script" not in [tag for tag, _ in page.seen]
    assert not any(name.startswith("on") for _, attributes in page.seen for name in attributes)
    assert (
        page.words.count(HOSTILE) == 12
    )  # title, heading, three lines, two captions, two at the top, three in the table


def test_the_page_fetches_nothing() -> None:
    text = a_page(rows=[Row([("photo", noise(1)), ("network", noise(2))])], curve=Curve([3, 2, 1], 2.5, 0.5))
    sources = [attributes["src"] or "" for tag, attributes in read(text).seen if tag == "img"]
    assert len(sources) == 3
    assert all(source.startswith("data:image/jpeg;base64,") for source in sources)
    for word in ("http", "url(", "<script", "<link", "@import"):
        assert word not in text
    assert text == a_page(rows=[Row([("photo", noise(1)), ("network", noise(2))])], curve=Curve([3, 2, 1], 2.5, 0.5))


@pytest.mark.parametrize(
    "curve",
    [
        Curve([10, 5, 2, 1], 3.0, 1.5),
        Curve([10, 5, 2, 1], 0.5, None),
        Curve([10, 5, 2, 1], 30.0, 0.0),
        Curve([1, 1], 1.0, 0.0),
        Curve([2.0], 2.0, 0.0),
        Curve([1, 0.0], 0.0, 1.0),
    ],
)
def test_every_point_of_the_curve_is_in_the_picture(curve: Curve) -> None:
    page = read(a_page(curve=curve))
    [points] = [attributes["points"] or "" for tag, attributes in page.seen if tag == "polyline"]
    numbers = [tuple(map(float, point.split(","))) for point in points.split()]
    assert len(numbers) == len(curve.j)
    assert all(0 <= x <= 720 and 0 <= y <= 340 for x, y in numbers)
    circles = [attributes for tag, attributes in page.seen if tag == "circle"]
    assert len(circles) == (curve.crossing is not None)


@pytest.mark.parametrize(
    "unrest",
    [
        Unrest([1, 2, 30, 1], [2, 3, 60, 2]),
        Unrest([0, 0], [0, 0]),
        Unrest([255.0], [255.0]),
        Unrest([0.01] * 500, [0.5] * 500),
    ],
)
def test_photo_and_painting_are_both_in_the_plot(unrest: Unrest) -> None:
    page = read(a_page(unrest=unrest))
    lines = [attributes["points"] or "" for tag, attributes in page.seen if tag == "polyline"]
    assert [len(points.split()) for points in lines] == [len(unrest.photo)] * 2
    heights = [[float(point.split(",")[1]) for point in points.split()] for points in lines]
    assert all(0 <= y <= 340 for line in heights for y in line)
    own, painted = heights
    assert [y < x for x, y in zip(own, painted, strict=True)] == [
        b > a for a, b in zip(unrest.photo, unrest.painting, strict=True)
    ]
    levels = [tag for tag, attributes in page.seen if tag == "path" and attributes.get("class") == "line"]
    assert 2 <= len(levels) <= 8


def test_the_figures_are_explained() -> None:
    timing = Timing(Entrant(style="s", path=Path("s"), provider="cpu", open=lambda: None), 640, 480, [5.0])  # type: ignore[arg-type, return-value]
    rows = {figure.name: figure for figure in describe(result(), timing, 1_103_466)}
    assert rows["optimality ratio"].value == "2.50"
    assert rows["equivalent steps"].value == "2"
    assert rows["J"].value == "1.500"
    assert rows["speed"].value == "5.0 ms"
    assert rows["file"].value == "1,103 kB"
    assert all(figure.explanation for figure in rows.values())
    timing.error = "fails"
    rows = {figure.name: figure for figure in describe(result(curve_j=0.5), timing, 1)}
    assert rows["equivalent steps"].value == "over 3"
    assert "speed" not in rows


# The command.


@pytest.fixture
def photos(shared: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for photo in sorted((shared / "photos" / "val").glob("*.jpg"))[:2]:
        (folder / photo.name).symlink_to(photo)
    return folder


@pytest.fixture
def words(
    shared: Path, weights: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small_yardstick: None
) -> list[str]:
    """A miniature proof of a network that paints negatives, with a cache of its own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("allaprima.commands.evaluate.SPEED_SECONDS", 0.05)
    style = tiny.frame_style(tmp_path / "negative.onnx", name="negative", title="<b>Night</b>")
    given = ["evaluate", style, "--painting", shared / "paintings" / "starry_night.jpg", "--photos", photos]
    small = ["--size", 64, "--reference-steps", 3, "--curve-steps", 6, "--count", 1, "--examples", 1]
    return [str(word) for word in [*given, "--vgg-weights", weights, *small]]


def test_a_style_is_proved(words: list[str], looks: list[int], tmp_path: Path, capsys: Any) -> None:
    page, numbers = tmp_path / "page.html", tmp_path / "numbers.json"
    assert main([*words, "--html", str(page), "--json", str(numbers)]) == 0
    said = capsys.readouterr().out
    assert len(looks) == 4  # the optimum at k = 3, 10 and 30, and the curve
    for name in ("optimality ratio", "equivalent steps", "content", "grid", "speed"):
        assert name in said
    report = json.loads(numbers.read_text())
    figures = report["figures"]
    assert figures["style_weight"] in {3, 10, 30}
    assert figures["J"] == pytest.approx(figures["content"] + figures["style_weight"] * figures["style"])
    assert figures["optimality_ratio"] > 1
    assert report["style"] == "negative"
    assert str(tmp_path) not in numbers.read_text() + page.read_text()
    reader = read(page.read_text())
    assert "<b>Night</b>" in reader.words
    assert sum(tag == "img" for tag, _ in reader.seen) == 1 + 5
    again = tmp_path / "again.json"
    assert main([*words, "--json", str(again), "--style-weight", str(figures["style_weight"])]) == 0
    assert len(looks) == 4
    second = json.loads(again.read_text())
    assert {k: v for k, v in second.items() if k != "speed"} == {k: v for k, v in report.items() if k != "speed"}


def brightening(number: int, width: int, height: int) -> Frame:
    """A grey left half that turns lighter by 10 with each frame, beside a dark one that stays."""
    frame = np.full((height, width, 3), 40, np.uint8)
    frame[:, : width // 2] = 60 + 10 * number
    return frame


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    return clips.make_clip(tmp_path / "clip.mp4", size=(160, 96), ticks=range(0, 5000, 1000), picture=brightening)


def test_a_clip_alone_says_how_steady_a_style_is(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setattr("allaprima.commands.evaluate.SPEED_SECONDS", 0.05)
    style = tiny.frame_style(tmp_path / "negative.onnx", name="negative", title="<b>Night</b>")
    page, numbers = tmp_path / "page.html", tmp_path / "numbers.json"
    words = ["evaluate", str(style), "--clip", str(clip), "--json", str(numbers)]
    assert main([*words, "--html", str(page)]) == 0
    said = capsys.readouterr().out
    assert "liveliness, clip" in said
    assert "optimality" not in said
    report = json.loads(numbers.read_text())
    film = report["clip"]
    assert (film["file"], film["frames"]) == ("clip.mp4", 5)
    assert film["change_per_frame"]["photo"] == pytest.approx([5] * 4, abs=0.5)  # 10 on one half, but for H.264
    assert film["change_per_frame"]["painting"] == film["change_per_frame"]["photo"]
    assert film["change"]["moving"]["photo"] == pytest.approx(10, abs=1)
    assert film["figures"]["liveliness"] == pytest.approx(1)
    assert film["figures"]["spill"] < 0.2
    assert not {"figures", "painting", "settings"} & {*report}
    reader = read(page.read_text())
    assert "<b>Night</b>" in reader.words
    assert "slow method" not in reader.words
    assert [tag for tag, _ in reader.seen if tag in {"img", "polyline"}] == ["img", "polyline", "polyline"]
    assert str(tmp_path) not in numbers.read_text() + page.read_text()
    assert main(words) == 0
    assert json.loads(numbers.read_text())["clip"] == film


def test_a_clip_beside_the_proof(words: list[str], clip: Path, tmp_path: Path) -> None:
    numbers, page = tmp_path / "numbers.json", tmp_path / "page.html"
    outputs = ["--json", str(numbers), "--html", str(page)]
    assert main([*words, "--style-weight", "10", "--clip", str(clip), *outputs]) == 0
    report = json.loads(numbers.read_text())
    assert report["yardstick"]["flicker"] == pytest.approx(1, abs=0.05)  # as the photo itself does
    assert report["yardstick"]["motion"] == pytest.approx(1, abs=0.05)
    assert report["clip"]["frames"] == 5
    assert sum(tag == "polyline" for tag, _ in read(page.read_text()).seen) == 3


def test_ctrl_c_keeps_the_finished_references(
    words: list[str], looks: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    keep = optimality.write_reference

    def keep_and_stop(*given: Any) -> None:
        keep(*given)
        os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(optimality, "write_reference", keep_and_stop)
    words += ["--style-weight", "10", "--html", str(tmp_path / "page.html")]
    assert main(words) == 130
    assert "the same command goes on from them" in capsys.readouterr().out
    assert len(list((tmp_path / "cache" / "allaprima" / "references").iterdir())) == 1
    assert not (tmp_path / "page.html").exists()
    monkeypatch.setattr(optimality, "write_reference", keep)
    begun = len(looks)
    assert main(words) == 0
    assert len(looks) == begun + 1  # only what was under way is begun again
    assert (tmp_path / "page.html").exists()


def test_a_network_of_another_project(words: list[str], tmp_path: Path) -> None:
    words[1] = str(tiny.foreign(tmp_path / "theirs.onnx", top=255, block=4))
    assert main([*words, "--style-weight", "10", "--json", str(tmp_path / "n.json")]) == 0
    assert json.loads((tmp_path / "n.json").read_text())["figures"]["style_weight"] == 10


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"style": "nothing"}, "no style is called 'nothing'"),
        ({"--painting": "missing.jpg"}, "painting 'missing.jpg' does not exist"),
        ({"--photos": "nowhere"}, "photo folder 'nowhere' does not exist"),
        ({"--photos": "."}, "no JPEG, PNG or WebP"),
        ({"--vgg-weights": "none.pth"}, "VGG weights 'none.pth' (--vgg-weights) do not exist"),
        ({"--style-weight": "0"}, "--style-weight: got 0.0, expected more than 0"),
        ({"--count": "0"}, "--count: got 0, expected at least 1"),
        ({"--size": "8"}, "--size: got 8, expected at least 16"),
        ({"--html": "nowhere/page.html"}, "output folder 'nowhere' does not exist"),
        ({"--json": "."}, "output '.' is a folder"),
        ({"--clip": "missing.mp4"}, "clip 'missing.mp4' does not exist"),
    ],
)
def test_what_cannot_be_proved(
    words: list[str], change: dict[str, str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    (here := tmp_path / "here").mkdir()
    monkeypatch.chdir(here)
    for flag, value in change.items():
        if flag == "style":
            words[1] = value
        elif flag in words:
            words[words.index(flag) + 1] = value
        else:
            words += [flag, value]
    assert main(words) == 2
    errors = capsys.readouterr().err
    assert errors.count("\n") == 1
    assert re.search(re.escape(message), errors), errors
    assert list(here.iterdir()) == []


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([], "--painting is missing: give it and --photos to prove the style, or a --clip to watch it on"),
        (["--photos", "."], "--painting is missing: give the painting that the style was trained on"),
        (["--painting", "p.jpg"], "--photos is missing: give a folder of photos that the style never saw"),
        (["--clip", "one.mp4"], "clip 'one.mp4' has one frame: give one with two or more"),
        (["--clip", "style.onnx"], "clip 'style.onnx'"),
    ],
)
def test_what_cannot_be_watched(
    given: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    tiny.frame_style(tmp_path / "style.onnx")
    clips.make_clip(tmp_path / "one.mp4", ticks=[0])
    before = {*tmp_path.iterdir()}
    assert main(["evaluate", "style.onnx", *given, "--json", "numbers.json"]) == 2
    errors = capsys.readouterr().err
    assert errors.count("\n") == 1
    assert message in errors
    assert {*tmp_path.iterdir()} == before


def test_every_setting_is_a_keyword() -> None:
    assert all(field.kw_only for field in dataclasses.fields(Config))
