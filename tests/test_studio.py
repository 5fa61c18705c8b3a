"""What the user changes while a live session runs: styles, the look of the picture, keys, and what is remembered."""

import json
import threading
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import wait_for
from tiny import frame_style

from allaprima import remembered
from allaprima.errors import InputError
from allaprima.infer.controls import Controls, Key
from allaprima.infer.look import Look, blend, split
from allaprima.infer.overlay import draw_help, draw_lines
from allaprima.infer.rack import FADE_S, KEPT, Rack
from allaprima.infer.studio import Studio
from allaprima.infer.stylizer import Stylizer
from allaprima.pictures import Frame
from allaprima.remembered import Remembered, recall, remember

RANDOM = np.random.default_rng(0)


def picture(height: int = 48, width: int = 64) -> Frame:
    return RANDOM.integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Negatives, under five names, and one file that is no style."""
    for name in "abcde":
        frame_style(tmp_path / f"{name}.onnx", name=name)
    (tmp_path / "broken.onnx").write_bytes(b"not a style")
    return tmp_path


@pytest.fixture
def rack(folder: Path) -> Rack:
    return Rack([*"abcde", "broken"], lambda name: Stylizer(folder / f"{name}.onnx", threads=1))


# Styles.


def test_a_style_paints_until_the_next_one_is_ready(folder: Path) -> None:
    ready = threading.Event()

    def open_(name: str) -> Stylizer:
        if name != "a":
            ready.wait()
        return Stylizer(folder / f"{name}.onnx", threads=1)

    rack, frame = Rack([*"abc"], open_), picture()
    rack.choose(1)
    for _ in range(3):
        assert np.array_equal(rack.paint(frame), 255 - frame)
        assert (rack.name, rack.loading) == ("a", True)
    rack.choose(2)  # changed one's mind meanwhile
    ready.set()
    wait_for(lambda: not rack.loading)
    assert rack.name == "c"


def test_numbers_go_round_and_few_styles_stay_loaded(rack: Rack) -> None:
    first = rack.stylizer
    for number in (1, 2, 3, -2):
        rack.choose(number)
        wait_for(lambda: not rack.loading)
        assert len(rack._loaded) <= KEPT
    assert rack.name == "e"
    rack.choose(6)
    wait_for(lambda: not rack.loading)
    assert rack.name == "a"
    assert rack.stylizer is not first  # it had to go, and was opened again


def test_a_style_that_cannot_be_opened_leaves_the_one_that_paints(rack: Rack) -> None:
    rack.choose(5)
    wait_for(lambda: rack.problem is not None)
    assert "broken.onnx" in str(rack.problem)
    assert (rack.name, rack.loading) == ("a", False)
    rack.choose(1)
    wait_for(lambda: not rack.loading)
    assert (rack.name, rack.problem) == ("b", None)


def test_a_choice_made_while_a_broken_style_loads_is_kept(folder: Path) -> None:
    trying, go_on = threading.Event(), threading.Event()

    def open_(name: str) -> Stylizer:
        if name == "broken":
            trying.set()
            go_on.wait()
        return Stylizer(folder / f"{name}.onnx", threads=1)

    rack = Rack(["a", "b", "broken"], open_)
    rack.choose(2)
    trying.wait()
    rack.choose(1)
    go_on.set()
    wait_for(lambda: not rack.loading)
    assert (rack.name, rack.problem) == ("b", None)


def test_a_loaded_style_paints_at_once(folder: Path) -> None:
    """Painting something first to take the memory, as a new one does, would take time from the style that paints."""
    painted: list[str] = []

    class Counted(Stylizer):
        def __call__(self, frame: Frame) -> Frame:
            painted.append(self.name)
            return super().__call__(frame)

    rack = Rack([*"ab"], lambda name: Counted(folder / f"{name}.onnx", threads=1))
    rack.paint(picture())
    for number in (1, 0, 1):
        rack.choose(number)
        wait_for(lambda: not rack.loading)
    assert painted == ["a", "b"]


def test_the_next_style_loads_when_a_frame_has_just_been_painted(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file opened while a frame is painted makes that frame late."""
    monkeypatch.setattr("allaprima.infer.rack._PATIENCE_S", 3600)
    opened: list[str] = []

    def open_(name: str) -> Stylizer:
        opened.append(name)
        return Stylizer(folder / f"{name}.onnx", threads=1)

    rack, frame = Rack([*"ab"], open_), picture()
    rack.paint(frame)
    rack.choose(1)
    threading.Event().wait(0.1)
    assert opened == ["a"]
    while rack.loading:
        rack.paint(frame)
    assert opened == ["a", "b"]


def test_a_style_loads_though_no_frame_comes(rack: Rack) -> None:
    """From a camera that is frozen, say."""
    rack.paint(picture())
    rack.choose(1)
    wait_for(lambda: not rack.loading)
    assert rack.name == "b"


def test_a_first_style_that_cannot_be_opened_is_an_error(folder: Path) -> None:
    with pytest.raises(InputError, match=r"broken.onnx"):
        Rack(["broken"], lambda name: Stylizer(folder / f"{name}.onnx"))


def test_a_snapshot_of_a_frozen_picture_is_of_that_picture() -> None:
    first, second, taken = picture(), picture(), list[tuple[Frame, Frame]]()
    studio = Studio(lambda photo: 255 - photo, Look(frozen=True, split=0.5))
    studio(first)
    studio.snapshot = lambda photo, painting: taken.append((photo, painting))
    studio(second)
    [(photo, painting)] = taken
    assert np.array_equal(photo, first)
    assert np.array_equal(painting, 255 - first)
    assert studio.snapshot is None


# The look.


class Beside:
    """A mask that takes its time to be opened; it finds the person in the upper half."""

    def __init__(self, problem: str = "") -> None:
        self.may_open, self.problem = threading.Event(), problem

    def open(self) -> Any:
        self.may_open.wait()
        if self.problem:
            raise InputError(self.problem)
        return self

    def __call__(self, frame: Frame) -> Any:
        alpha = np.zeros(frame.shape[:2], np.uint8)
        alpha[: len(alpha) // 2] = 255
        return alpha


def test_all_is_painted_until_the_mask_is_there() -> None:
    beside, photo = Beside(), picture()
    studio = Studio(lambda frame: 255 - frame, Look(mask="person"), open_mask=beside.open)
    assert np.array_equal(studio(photo), 255 - photo)
    beside.may_open.set()
    wait_for(lambda: not np.array_equal(studio(photo), 255 - photo))
    shown = studio(photo)
    assert np.array_equal(shown[:24], 255 - photo[:24])
    assert np.array_equal(shown[24:], photo[24:])


def test_a_mask_that_cannot_be_opened_is_a_problem_and_no_end() -> None:
    beside, photo, look = Beside("no network"), picture(), Look(mask="person")
    beside.may_open.set()
    studio = Studio(lambda frame: 255 - frame, look, open_mask=beside.open)
    wait_for(lambda: np.array_equal(studio(photo), 255 - photo) and look.mask == "off")
    assert studio.problem == "no network"
    beside.problem, look.mask = "", "background"  # asked for once more
    wait_for(lambda: not np.array_equal(studio(photo), 255 - photo))
    assert studio.problem is None


def test_what_a_frame_costs_beside_the_style_is_known() -> None:
    class Slow(Beside):
        def __call__(self, frame: Frame) -> Any:
            threading.Event().wait(0.05)
            return super().__call__(frame)

    def paint(frame: Frame) -> Frame:
        threading.Event().wait(0.1)
        return 255 - frame

    studio = Studio(paint, Look(mask="person"), mask=Slow())  # type: ignore[arg-type]
    studio(picture(48, 64))
    assert studio.beside_ms >= 50
    assert studio.size_px == (64, 48)
    studio.look.mask = "off"
    studio(picture())
    assert studio.beside_ms < 50  # it was 100 and more with the style's time in it


@pytest.mark.parametrize(("strength", "expected"), [(0.0, 200), (1.0, 100), (0.5, 150), (0.25, 175)])
def test_strength_mixes_painting_and_photo(strength: float, expected: int) -> None:
    painting, photo = np.full((16, 16, 3), 100, np.uint8), np.full((16, 16, 3), 200, np.uint8)
    assert (blend(painting, photo, strength) == expected).all()


@pytest.mark.parametrize(("border", "column"), [(0.0, 0), (0.5, 32), (1.0, 64), (0.25, 16)])
def test_photo_left_and_painting_right_of_the_border(border: float, column: int) -> None:
    painting, photo = np.full((8, 64, 3), 100, np.uint8), np.full((8, 64, 3), 200, np.uint8)
    shown = split(painting, photo, border)
    assert (shown[:, : max(0, column - 1)] == 200).all()
    assert (shown[:, column + 1 :] == 100).all()
    if 0 < column < 64:
        assert (shown[:, column - 1 : column + 1] == 255).all()


# The studio.


def test_the_picture_follows_the_look(rack: Rack) -> None:
    look, frame = Look(), picture()
    studio = Studio(rack.paint, look)
    assert np.array_equal(studio(frame), 255 - frame)
    look.mirror = True
    assert np.array_equal(studio(frame), 255 - frame[:, ::-1])
    look.mirror, look.strength = False, 0.0
    assert np.array_equal(studio(frame), frame)
    look.strength, look.split = 1.0, 0.5
    shown = studio(frame)
    assert np.array_equal(shown[:, :31], frame[:, :31])
    assert np.array_equal(shown[:, 33:], 255 - frame[:, 33:])
    look.split, look.keep_colours = None, True
    kept = studio(frame)
    assert not np.array_equal(kept, 255 - frame)
    assert abs(kept.astype(int) - frame).mean() > 10


def test_a_frozen_picture_stays_as_it_was(rack: Rack) -> None:
    look = Look()
    studio = Studio(rack.paint, look)
    studio(picture())
    look.frozen = True
    still = studio(picture()).copy()
    for _ in range(5):
        assert np.array_equal(studio(picture()), still)
    look.frozen, frame = False, picture()
    assert np.array_equal(studio(frame), 255 - frame)


def test_a_snapshot_is_of_the_next_frame_and_of_one(rack: Rack) -> None:
    look, taken = Look(split=0.5, mirror=True), list[tuple[Frame, Frame]]()
    studio, frame = Studio(rack.paint, look), picture()
    studio.snapshot = lambda photo, painting: taken.append((photo, painting))
    studio(frame)
    studio(picture())
    [(photo, painting)] = taken
    assert np.array_equal(photo, frame[:, ::-1])
    assert np.array_equal(painting, 255 - photo)  # whole, whatever the window shows


def test_one_style_turns_into_the_next(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    frame_style(folder / "same.onnx", "Identity", name="same")
    rack = Rack(["a", "same"], lambda name: Stylizer(folder / f"{name}.onnx", threads=1), fade=True)
    now, frame = [10.0], np.full((32, 32, 3), 200, np.uint8)
    monkeypatch.setattr("allaprima.infer.rack.monotonic", lambda: now[0])
    assert (rack.paint(frame) == 55).all()
    rack.choose(1)
    wait_for(lambda: not rack.loading)
    shown, turning = [], []
    for _ in range(6):
        shown.append(int(rack.paint(frame)[0, 0, 0]))
        turning.append(rack.turning)
        now[0] += FADE_S / 4
    assert shown == [55, 91, 128, 164, 200, 200]
    assert (turning[:4], turning[5]) == ([True] * 4, False)


# Keys.


@pytest.fixture
def controls(rack: Rack) -> Controls:
    return Controls(Look(), rack)


def test_keys_change_the_look(controls: Controls) -> None:
    look = controls.look
    for key, name, value in [
        ("c", "keep_colours", True),
        ("m", "mirror", True),
        ("M", "mirror", False),
        (" ", "frozen", True),
        ("-", "strength", 0.9),
        ("+", "strength", 1.0),
        ("=", "strength", 1.0),
        ("]", "smoothing", 0.1),
        ("[", "smoothing", 0.0),
        ("[", "smoothing", 0.0),
        (".", "split", None),
        ("s", "split", 0.5),
        (".", "split", 0.55),
        (",", "split", 0.5),
        ("s", "split", None),
    ]:
        controls.press(key)
        assert getattr(look, name) == value, key
    controls.drag(0.3)
    assert look.split is None
    controls.press("s")
    for share, border in ((0.3, 0.3), (-4, 0), (7, 1)):
        controls.drag(share)
        assert look.split == border


def test_keys_choose_styles(controls: Controls) -> None:
    for key, chosen in (("n", 1), ("n", 2), ("b", 1), ("5", 4), ("1", 0)):
        controls.press(key)
        assert controls.rack.chosen == chosen
        assert controls.notice == "abcde"[chosen]
        wait_for(lambda: not controls.rack.loading)
    controls.press("9")  # there are six
    assert controls.rack.chosen == 0


def test_keys_of_the_window(controls: Controls) -> None:
    for key, name in (("o", "overlay"), ("h", "help"), ("?", "help"), ("f", "full_screen"), ("q", "quit")):
        before = getattr(controls, name)
        controls.press(key)
        assert getattr(controls, name) is not before
    controls.quit = False
    controls.press("\x1b")
    assert controls.quit


def test_no_key_means_two_things_and_all_are_in_the_help(rack: Rack) -> None:
    pressed: list[str] = []
    more = Key("r", "r", "record", (lambda: pressed.append("r"),))
    controls = Controls(Look(), rack, more=(more,))
    keys = "".join(entry.keys for entry in controls.table)
    assert len(set(keys)) == len(keys)
    assert all(entry.label and entry.what.isascii() for entry in controls.table)
    controls.press("R")
    controls.press("~")
    assert pressed == ["r"]


# Over the picture.


@pytest.mark.parametrize("size", [(48, 64), (240, 320), (1080, 1920)])
def test_figures_and_help_stay_in_the_picture(size: tuple[int, int], controls: Controls) -> None:
    shown = np.full((*size, 3), 128, np.uint8)
    draw_lines(shown, ["30.0 fps"])
    assert (shown[: size[0] // 2] != 128).any()
    assert size[0] < 100 or (shown[size[0] // 2 :] == 128).all()
    draw_help(shown, [(entry.label, entry.what) for entry in controls.table])
    border = np.concatenate([shown[0], shown[-1], shown[:, 0], shown[:, -1]])
    assert border.max() < 100  # nothing was cut off


# What is remembered.


@pytest.fixture(autouse=True)
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(remembered, "config_folder", lambda: tmp_path / "config" / "allaprima")
    return tmp_path / "config" / "allaprima" / "live.json"


def test_the_next_session_is_like_the_last(config: Path) -> None:
    assert recall() == Remembered()
    looks = {"strength": 0.4, "smoothing": 0.2, "keep_colours": True, "mirror": True, "overlay": False}
    settings = Remembered(style="udnie", mask="person", quality="auto", **looks)  # type: ignore[arg-type]
    remember(settings)
    assert recall() == settings
    assert [path.name for path in config.parent.iterdir()] == ["live.json"]


@pytest.mark.parametrize("text", ["", "[]", "null", "{", '{"style": 3}', '{"strength": "x"}', "\x00", "[" * 5000])
def test_a_file_that_says_nothing_sound_counts_as_none(config: Path, text: str) -> None:
    config.parent.mkdir(parents=True)
    config.write_text(text)
    assert recall() == Remembered()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("strength", 2),
        ("smoothing", float("nan")),
        ("mirror", 1),
        ("style", []),
        ("mask", "nobody"),
        ("mask", None),
        ("quality", "1000"),
        ("quality", "auto "),
    ],
)
def test_what_no_flag_could_say_is_not_taken(config: Path, name: str, value: object) -> None:
    config.parent.mkdir(parents=True)
    good = Remembered(style="a", strength=0.5, mirror=True)
    config.write_text(json.dumps(asdict(good) | {name: value}))
    assert recall() == Remembered(**(asdict(good) | {name: getattr(Remembered(), name)}))


def test_where_nothing_can_be_kept_nothing_happens(config: Path) -> None:
    config.parent.parent.mkdir(parents=True)
    config.parent.write_text("a file where the folder should be")
    remember(Remembered(style="a"))
    assert recall() == Remembered()
