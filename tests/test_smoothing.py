"""Paintings that hold still where their photo does, move where it moves, and never leave a ghost."""

from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import pytest
from clips import make_clip, read_clip
from conftest import RunCli
from tiny import frame_style

from allaprima.infer.clip import open_clip
from allaprima.infer.look import Look
from allaprima.infer.scene_cuts import SceneCuts
from allaprima.infer.smoothing import Smoothed, Smoother
from allaprima.infer.studio import Studio
from allaprima.infer.video import Paint
from allaprima.pictures import Frame
from allaprima.train.artefacts import changes
from allaprima.train.scenes import noisy

WIDTH, HEIGHT = 320, 240


def texture(seed: int, height: int = HEIGHT, width: int = WIDTH) -> Frame:
    """Soft blots of all colours."""
    grain = np.random.default_rng(seed).normal(0, 1, (height, width, 3))
    blots = np.asarray(cv2.GaussianBlur(grain, (0, 0), 3))
    return np.asarray(np.clip(128 + 50 * blots / blots.std(), 0, 255), dtype=np.uint8)


def flat(value: int, height: int = HEIGHT, width: int = WIDTH) -> Frame:
    return np.full((height, width, 3), value, np.uint8)


def painted_as(painting: Frame) -> Paint:
    return lambda _photo: painting.copy()


def shown(photos: Sequence[Frame], paintings: Sequence[Frame], amount: float) -> list[Frame]:
    smoother = Smoother()
    return [smoother(painted_as(p), photo, amount) for photo, p in zip(photos, paintings, strict=True)]


def off(a: Frame, b: Frame) -> Frame:
    """How far apart, in grey levels."""
    return np.asarray(cv2.absdiff(a, b), dtype=np.uint8)


# What is held.


@pytest.mark.parametrize("deviation", [0, 1, 3])
def test_a_still_scene_holds_its_painting_whatever_the_sensor_adds(deviation: float) -> None:
    photos = noisy(texture(0), deviation=deviation, frames=6)
    for picture in shown(photos, [texture(seed) for seed in range(10, 16)], 1):
        assert np.array_equal(picture, texture(10))


@pytest.mark.parametrize(("amount", "expected"), [(0.0, 200), (0.25, 175), (0.8, 120), (1.0, 100)])
def test_the_amount_is_the_share_of_the_painting_before(amount: float, expected: int) -> None:
    photo = texture(0)
    assert (shown([photo, photo], [flat(100), flat(200)], amount)[1] == expected).all()


def test_without_smoothing_paintings_pass_untouched() -> None:
    smoother, painting = Smoother(), texture(1)
    before = painting.copy()
    for seed in range(3):
        assert smoother(lambda _: painting, texture(seed), 0) is painting
        assert np.array_equal(painting, before)


def test_noise_boils_less() -> None:
    photos = noisy(texture(0))
    plain, calm = (changes(Smoothed(np.copy, amount), photos).flicker for amount in (0, 0.8))
    assert plain == 1
    assert calm < 0.4


def test_what_changes_slowly_is_not_held_for_ever() -> None:
    """A lamp that is dimmed: no step is larger than the noise."""
    photos = [np.clip(texture(0).astype(int) + step - 20, 0, 255).astype(np.uint8) for step in range(40)]
    for photo, picture in zip(photos, shown(photos, photos, 1), strict=True):
        assert off(photo, picture).mean() < 15


# What moves.


@pytest.mark.parametrize(("x", "y"), [(1, 0), (6, -4), (-14, 9)])
def test_a_painting_moves_with_its_photo_and_stays_sharp(x: int, y: int) -> None:
    photo, painting = texture(0), np.random.default_rng(1).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    photos, paintings = ([np.roll(p, (y * n, x * n), (0, 1)) for n in range(2)] for p in (photo, painting))
    picture = shown(photos, [paintings[0], flat(0)], 1)[1]
    inner = np.s_[32:-32, 32:-32]
    assert (picture[inner] == paintings[1][inner]).all(2).mean() > 0.95  # random dots: half a pixel off, all differ


def test_faint_and_sparse_marks_carry_their_painting_along() -> None:
    """Once moved, a region of them differs by a grey level less at most, each mark by ten."""
    marks = flat(120)
    for x, y in np.random.default_rng(2).integers(10, [WIDTH - 20, HEIGHT - 20], (60, 2)):
        marks[y : y + 3, x : x + 3] = 130
    ground = np.random.default_rng(1).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    photos, paintings = ([np.roll(p, 4 * n, 1) for n in range(2)] for p in (marks, ground))
    picture = shown(photos, [paintings[0], flat(0)], 1)[1]
    moved = (photos[1] == 130).all(2)
    assert (picture[moved] == paintings[1][moved]).all(1).mean() > 0.8


def test_slow_motion_is_caught_up() -> None:
    """A third of a pixel a frame is too little to move a painting by, but it adds up."""
    large = texture(0, 3 * HEIGHT, 3 * WIDTH)
    moved = [np.roll(large, n, 1) for n in range(31)]
    photos = [cv2.resize(p, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA).astype(np.uint8) for p in moved]
    held = shown(photos, photos, 1)
    inner = np.s_[32:-32, 32:-32]
    assert off(photos[0], photos[-1])[inner].mean() > 30
    assert off(held[-1], photos[-1])[inner].mean() < 5


def contrast(picture: Frame) -> float:
    """How far strokes stand out, in grey levels."""
    return float(cv2.absdiff(picture, cv2.blur(picture, (15, 15))).mean())


@pytest.mark.parametrize("amount", [0.3, 0.5, 0.7, 0.9])
def test_strokes_that_lie_elsewhere_in_every_painting_do_not_fade(amount: float) -> None:
    """As on a plain wall while the camera moves; nor do they grow, however long."""
    paintings = [texture(seed) for seed in range(60)]
    pictures = shown(noisy_all([flat(128)] * 60), paintings, amount)
    left = [contrast(picture) / contrast(painting) for picture, painting in zip(pictures, paintings, strict=True)]
    faded = ((1 - amount) / (1 + amount)) ** 0.5  # a moving average of what is independent
    assert min(left[10:]) > faded + 0.12
    assert max(left) <= 1


def test_a_square_that_moves_leaves_no_trail() -> None:
    ground = texture(0) // 4 + 40
    corners = [(30 + 12 * n, 60 + 5 * n) for n in range(10)]
    photos = [ground.copy() for _ in corners]
    for photo, (x, y) in zip(photos, corners, strict=True):
        photo[y : y + 50, x : x + 50] = 210, 180, 150
    paintings = [255 - photo for photo in photos]
    pictures = shown(noisy_all(photos), paintings, 0.9)
    for n in range(1, len(corners)):
        uncovered = (photos[n - 1] != photos[n]).any(2)
        assert uncovered.sum() > 1000
        left = off(pictures[n], paintings[n])[uncovered]
        assert left.mean() < 0.5
        assert left.max() < 20  # ground that has moved along, where it looks like the ground there; the square is 106+


def noisy_all(photos: Sequence[Frame], deviation: float = 2) -> list[Frame]:
    return [noisy(photo, deviation=deviation, frames=1, seed=n)[0] for n, photo in enumerate(photos)]


def test_something_of_the_same_brightness_leaves_no_trail_either() -> None:
    """Its colour tells."""
    photos = [flat(100) for _ in range(6)]
    for n, photo in enumerate(photos):
        photo[80:160, 40 + 20 * n : 100 + 20 * n] = 155, 72, 100  # of luma 100
    pictures = shown(photos, photos, 0.9)
    for picture, photo in zip(pictures, photos, strict=True):
        assert off(picture, photo).max() <= 1


# Beginning anew.


def test_a_cut_shows_the_new_painting() -> None:
    photos = [texture(0)] * 3 + [texture(1)] * 2
    smoother, paintings = Smoother(), [texture(seed) for seed in range(20, 25)]
    cuts = []
    for number, (photo, painting) in enumerate(zip(photos, paintings, strict=True)):
        picture = smoother(painted_as(painting), photo, 1)
        assert np.array_equal(picture, paintings[0 if number < 3 else 3])
        cuts.append(smoother.cut)
    assert cuts == [False, False, False, True, False]


def test_another_size_begins_anew() -> None:
    smoother = Smoother()
    for height, width in ((240, 320), (16, 16), (16, 400), (99, 47), (480, 854), (240, 320)):
        first, second = texture(1, height, width), texture(2, height, width)
        assert np.array_equal(smoother(np.copy, first, 0.5), first)
        moved = np.roll(first, 3, 1)
        assert smoother(painted_as(second), moved, 0.5).shape == first.shape


def test_forgetting_begins_anew() -> None:
    smoother, photo = Smoother(), texture(0)
    assert (smoother(painted_as(flat(100)), photo, 1) == 100).all()
    assert (smoother(painted_as(flat(200)), photo, 1) == 100).all()
    smoother.forget()
    assert (smoother(painted_as(flat(200)), photo, 1) == 200).all()


def test_a_style_may_tell_that_its_painting_is_another() -> None:
    smoother, photo = Smoother(), texture(0)

    def another(_: Frame) -> Frame:
        smoother.forget()
        return flat(200)

    assert (smoother(painted_as(flat(100)), photo, 1) == 100).all()
    assert (smoother(another, photo, 1) == 200).all()
    assert (smoother(painted_as(flat(50)), photo, 1) == 200).all()


# At rest.


def painted(photos: Sequence[Frame]) -> list[bool]:
    """Whether each photo is painted."""
    smoother, seen, asked = Smoother(), list[Frame](), list[bool]()

    def paint(photo: Frame) -> Frame:
        seen.append(photo)
        return photo.copy()

    for photo in photos:
        before = len(seen)
        smoother(paint, photo, 0.7)
        asked.append(len(seen) > before)
    return asked


def test_a_scene_at_rest_is_painted_every_other_time() -> None:
    assert painted(noisy(texture(0), frames=7)) == [True, True, False, True, False, True, False]


def test_what_moves_is_painted_every_time_and_at_once() -> None:
    photos = noisy(texture(0), frames=9)
    photos[4][100:110, 100:110] = 255  # where the fifth would have been left out
    assert painted(photos[:5]) == [True, True, False, True, True]
    assert all(painted([np.roll(texture(0), n, 1) for n in range(6)]))


def test_what_is_left_out_is_what_was_shown_before_and_ones_own() -> None:
    smoother, photo, coming = Smoother(), texture(0), iter(texture(seed) for seed in range(1, 9))
    pictures = [smoother(lambda _: next(coming), photo, 0.7) for _ in range(3)]
    assert np.array_equal(pictures[1], pictures[2])
    pictures[2][:] = 0  # a caller may draw into it
    assert smoother(lambda _: next(coming), photo, 1).mean() > 100


def test_a_session_tells_of_each_frame_at_rest() -> None:
    told, photo = list[str](), texture(0)
    studio = Studio(np.copy, Look(smoothing=0.7), on_rest=lambda: told.append("rest"))
    for _ in range(5):
        studio(photo)
        told.append("shown")
    assert told == ["shown", "shown", "rest", "shown", "shown", "rest", "shown"]


def test_the_same_frames_give_the_same_pictures() -> None:
    photos = noisy_all([np.roll(texture(0), 5 * n, 1) for n in range(4)])
    for a, b in zip(*(shown(photos, photos, 0.7) for _ in range(2)), strict=True):
        assert np.array_equal(a, b)


def live(paintings: Sequence[Frame], look: Look, *, turning: Callable[[], bool] = lambda: False) -> Callable[[], int]:
    """A session before a still scene: the next picture's grey."""
    coming, photo = iter(paintings), texture(0)
    studio = Studio(lambda frame: next(coming), look, turning=turning)
    return lambda: int(studio(photo).mean())


def test_a_live_session_smooths_and_stops_smoothing() -> None:
    look = Look(smoothing=0.5)
    picture = live([flat(100), flat(200), flat(200), flat(50)], look)
    assert [picture(), picture()] == [100, 150]
    look.smoothing = 0
    assert picture() == 200
    look.smoothing = 0.5
    assert picture() == 50  # what was before is forgotten


def test_another_style_shows_at_once() -> None:
    """Also to a session at rest, with the next painting there is."""
    turning = iter([False, False, True, True, False])
    picture = live([flat(grey) for grey in (100, 90, 80, 70, 60)], Look(smoothing=1), turning=lambda: next(turning))
    assert [picture() for _ in range(6)] == [100, 100, 100, 80, 70, 70]


def test_the_colours_of_the_photo_show_at_once() -> None:
    look = Look(smoothing=1)
    picture = live([flat(100), flat(90), flat(200), flat(50)], look)
    assert [picture(), picture()] == [100, 100]
    look.keep_colours = True  # where the painting before would have been shown again
    assert 180 < picture() < 220
    look.keep_colours = False
    assert picture() == 50


# Scene cuts.


def cuts_in(photos: Sequence[Frame]) -> list[int]:
    cuts = SceneCuts()
    return [number for number, photo in enumerate(photos) if cuts(photo)]


def test_flashes_and_pans_and_noise_are_no_cuts() -> None:
    photo = texture(0)
    flash = np.clip(1.8 * photo.astype(float) + 20, 0, 255).astype(np.uint8)
    assert cuts_in([photo, flash, photo, flash // 3, photo]) == []
    assert cuts_in([np.roll(photo, 40 * n, 1) for n in range(5)]) == []
    assert cuts_in(noisy(photo, deviation=20)) == []


def test_blank_frames_say_nothing() -> None:
    here, there, black, white = texture(0), texture(1), flat(0), flat(255)
    assert cuts_in([black, here, white, black, here]) == []
    assert cuts_in([here, white, there, black, there, here]) == [2, 5]


def test_cuts_between_real_clips(shared: Path) -> None:
    names = ["webcam_asl_book", "davis_parkour", "webcam_asl_sister"]
    photos: list[Frame] = []
    expected = []
    for name in names:
        expected.append(len(photos))
        with open_clip(shared / "clips" / f"{name}.mp4") as clip:
            shots = islice(clip.shots(), 40)
            photos += [cv2.resize(shot.picture, (160, 120)).astype(np.uint8) for shot in shots]
    assert cuts_in(photos) == expected[1:]


# The command.


def test_command_smooths_and_keeps_every_time(tmp_path: Path, shared: Path, run_cli: RunCli) -> None:
    with open_clip(shared / "clips" / "static_noise_sim.mp4") as clip:
        shots = [shot.picture for shot in islice(clip.shots(), 6)]
    photos = [np.ascontiguousarray(picture[:240, :320]) for picture in shots] + [texture(0)] * 2
    ticks = [0, 900, 2100, 3000, 4007, 5003, 6000, 7100]
    source = make_clip(
        tmp_path / "clip.mp4", size=(320, 240), ticks=ticks, sound=["aac"], picture=lambda n, w, h: photos[n]
    )
    style = frame_style(tmp_path / "negative.onnx")
    painted = []
    for name, flags in {"plain": ["--smooth", "0"], "default": [], "calm": ["--smooth", "0.8"]}.items():
        output = tmp_path / f"{name}.mp4"
        done = run_cli("video", source, "--style", style, "-o", output, "--crf", 4, *flags)
        assert (done.returncode, done.stderr) == (0, "")
        painted.append(read_clip(output))
    plain, _, calm = painted
    assert calm.times == plain.times == read_clip(source).times
    assert calm.sound == plain.sound
    boils, by_default, held = (changes(np.copy, film.pictures[:6]).everywhere.mean[0] for film in painted)
    assert held < 0.5 * boils
    assert held < by_default < 0.75 * boils
    assert off(calm.pictures[6], plain.pictures[6]).mean() < 2  # after the cut, as if nothing had been before


@pytest.mark.parametrize("amount", ["-0.1", "1.5"])
def test_amounts_that_cannot_be(tmp_path: Path, run_cli: RunCli, amount: str) -> None:
    words = ["clip.mp4", "--style", "any", "-o", "out.mp4", f"--smooth={amount}"]
    done = run_cli("video", *words, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (2, f"allaprima: --smooth: got {amount}, expected 0 to 1\n")
    assert not list(tmp_path.iterdir())
