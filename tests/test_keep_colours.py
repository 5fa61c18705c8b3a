"""`--keep-colours`: the painting's light and dark in the photo's colours."""

import threading
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from clips import Picture, distance, make_clip, read_clip
from mjpeg import BLOCK_PX, MjpegCamera, numbered_pictures
from PIL import Image
from tiny import foreign, frame_style, tensor_style

import allaprima
from allaprima.cli import main
from allaprima.infer.keep_colours import KeepColours
from allaprima.pictures import read_picture

LUMA = np.array([0.299, 0.587, 0.114])


def plain(red: int, green: int, blue: int, size: tuple[int, int] = (16, 24)) -> Picture:
    """One colour everywhere, (*size, 3)."""
    return np.full((*size, 3), (red, green, blue), dtype=np.uint8)


def noise(height: int, width: int, seed: int, low: int = 0, high: int = 256) -> Picture:
    return np.random.default_rng(seed).integers(low, high, (height, width, 3), dtype=np.uint8)


def luma(picture: Picture) -> npt.NDArray[np.float64]:
    return np.asarray(picture @ LUMA, dtype=np.float64)


def recoloured(painted: Picture, photo: Picture) -> Picture:
    """The same in plain NumPy."""
    mixed = photo + (luma(painted) - luma(photo))[..., None]
    return np.asarray(np.clip(np.rint(mixed), 0, 255), dtype=np.uint8)


def keep_colours(painted: Picture, photo: Picture) -> Picture:
    return KeepColours()(painted.copy(), photo)


@pytest.mark.parametrize(
    ("painted", "photo", "expected"),
    [
        ((55, 155, 205), (200, 100, 50), (207, 107, 57)),  # luma 130.8 for 124.2
        ((90, 90, 90), (200, 100, 50), (166, 66, 16)),
        ((255, 0, 0), (128, 128, 128), (76, 76, 76)),  # a grey photo stays grey
        ((200, 200, 200), (0, 0, 255), (171, 171, 255)),  # out of gamut: the blue stays, the luma is 181, not 200
        ((50, 50, 50), (255, 255, 0), (79, 79, 0)),
        ((255, 255, 255), (10, 200, 30), (141, 255, 161)),
        ((0, 0, 0), (0, 0, 0), (0, 0, 0)),
    ],
)
def test_values_computed_by_hand(painted: Any, photo: Any, expected: Any) -> None:
    np.testing.assert_array_equal(keep_colours(plain(*painted), plain(*photo)), plain(*expected))


@pytest.mark.parametrize(("height", "width"), [(16, 16), (17, 31), (480, 640), (101, 16)])
def test_luma_of_the_painting_and_chroma_of_the_photo(height: int, width: int) -> None:
    photo, painted = noise(height, width, 0, 100, 156), noise(height, width, 1, 60, 196)  # no sum leaves 0..255
    result = keep_colours(painted, photo)
    assert np.abs(luma(result) - luma(painted)).max() <= 1.0
    for a, b in ((0, 1), (1, 2)):
        differences = result.astype(int), photo.astype(int)
        np.testing.assert_array_equal(*(d[..., a] - d[..., b] for d in differences))


def test_any_pictures_agree_with_the_formula() -> None:
    keep = KeepColours()
    for seed in range(20):
        height, width = np.random.default_rng(seed).integers(1, 90, 2)
        photo, painted = noise(height, width, seed), noise(height, width, seed + 100)
        expected = recoloured(painted, photo).astype(int)
        result = keep(painted, photo)
        assert result is painted  # in place
        assert np.abs(result - expected).max() <= 1


def test_a_photo_as_its_own_painting_is_unchanged() -> None:
    photo = noise(51, 67, 0)
    np.testing.assert_array_equal(keep_colours(photo, photo), photo)


def test_views_and_the_photo_itself_stay_as_they_are() -> None:
    whole = noise(40, 60, 0)
    before = whole.copy()
    for view in (whole[:, ::-1], whole[::2, 1::3], whole[..., ::-1]):
        painted = noise(view.shape[0], view.shape[1], 1)
        assert np.abs(keep_colours(painted, view).astype(int) - recoloured(painted, view)).max() <= 1
    np.testing.assert_array_equal(whole, before)


def test_threads_do_not_disturb_each_other() -> None:
    keep = KeepColours()
    wrong: list[int] = []

    def work(seed: int) -> None:
        photo, painted = noise(120, 160, seed), noise(120, 160, seed + 10)
        expected = keep_colours(painted, photo)
        wrong.extend(seed for _ in range(100) if not np.array_equal(keep(painted.copy(), photo), expected))

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


# A style that keeps colours.


def run(*words: object) -> None:
    assert main([str(word) for word in words]) == 0


@pytest.mark.parametrize("make", [frame_style, tensor_style, foreign])
def test_every_kind_of_style_file(make: Any, tmp_path: Path) -> None:
    style = allaprima.load(make(tmp_path / "negative.onnx"), keep_colours=True)
    photos = [noise(33, 47, seed) for seed in range(8)]
    paintings = [style(photo) for photo in photos]  # all held at once: each has memory of its own
    for seed, (photo, painted) in enumerate(zip(photos, paintings, strict=True)):
        np.testing.assert_array_equal(photo, noise(33, 47, seed))
        assert np.abs(painted.astype(int) - recoloured(255 - photo, photo)).max() <= 1


def test_image(tmp_path: Path) -> None:
    Image.fromarray(plain(200, 100, 50)).save(tmp_path / "a.png")
    style = frame_style(tmp_path / "negative.onnx")
    run("image", tmp_path / "a.png", "--style", style, "-o", tmp_path / "b.png", "--keep-colours")
    np.testing.assert_array_equal(read_picture(tmp_path / "b.png"), plain(207, 107, 57))


def test_image_with_a_style_that_ships(shared: Path, tmp_path: Path) -> None:
    photo = shared / "photos" / "val" / "v0003.jpg"
    words = "image", photo, "--style", "starry_night", "-o"
    for name, flags in (("painted.png", []), ("kept.png", ["--keep-colours"])):
        run(*words, tmp_path / name, "--size", 240, *flags)
    painted, kept = (read_picture(tmp_path / name) for name in ("painted.png", "kept.png"))
    with Image.open(photo) as image:
        small = np.asarray(image.resize((kept.shape[1], kept.shape[0]), Image.Resampling.BOX), dtype=np.uint8)
    assert np.abs(luma(kept) - luma(painted)).mean() < 2
    chroma = [picture - luma(picture)[..., None] for picture in (small, painted, kept)]
    assert np.abs(chroma[2] - chroma[0]).mean() < 4
    assert np.abs(chroma[1] - chroma[0]).mean() > 15


def test_video(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.mp4")
    style = frame_style(tmp_path / "negative.onnx")
    run("video", clip, "--style", style, "-o", tmp_path / "out.mp4", "--keep-colours")
    before, after = read_clip(clip), read_clip(tmp_path / "out.mp4")
    for old, new in zip(before.pictures, after.pictures, strict=True):
        assert distance(recoloured(255 - old, old), new) < 6
        assert distance(255 - old, new) > 40


def test_cam(tmp_path: Path) -> None:
    pictures = numbered_pictures(60)
    style = frame_style(tmp_path / "negative.onnx")
    with MjpegCamera(pictures) as camera:
        flags = "--record", tmp_path / "out.mkv", "--no-window", "--seconds", 0.5, "--keep-colours"
        run("cam", camera.url, "--style", style, *flags)
    last = read_clip(tmp_path / "out.mkv").pictures[-1][BLOCK_PX:]  # below the frame's number
    photo = pictures[0][BLOCK_PX:]
    assert distance(recoloured(255 - photo, photo), last) < 6
    assert distance(255 - photo, last) > 40
