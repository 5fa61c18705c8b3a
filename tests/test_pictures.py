"""Pictures of every kind become (H, W, 3) uint8 RGB, and go to disk whole or not at all."""

import struct
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image, ImageCms, ImageOps

from allaprima.errors import InputError
from allaprima.pictures import read_picture, write_picture


def gradient(height: int, width: int) -> npt.NDArray[np.uint8]:
    return np.tile(np.linspace(0, 255, width).round().astype(np.uint8), (height, 1))


@pytest.mark.parametrize("suffix", [".png", ".PNG", ".jpg", ".jpeg", ".webp"])
def test_written_and_read_back(suffix: str, tmp_path: Path) -> None:
    frame = np.repeat(gradient(40, 60)[..., None], 3, axis=2)
    path = tmp_path / f"a{suffix}"
    write_picture(path, frame)
    assert np.abs(read_picture(path).astype(int) - frame).max() <= (0 if suffix.lower() == ".png" else 12)
    assert list(tmp_path.iterdir()) == [path]


def test_sixteen_bits_are_scaled_not_clipped(tmp_path: Path) -> None:
    eight = gradient(20, 256)
    sixteen = eight.astype(np.uint16) * 257
    cv2.imwrite(str(tmp_path / "grey.png"), sixteen)
    cv2.imwrite(str(tmp_path / "rgb.png"), np.stack([sixteen, sixteen[:, ::-1], sixteen // 2], axis=2))
    np.testing.assert_array_equal(read_picture(tmp_path / "grey.png"), np.repeat(eight[..., None], 3, axis=2))
    expected = np.stack([eight // 2, eight[:, ::-1], eight], axis=2)  # OpenCV writes BGR
    assert np.abs(read_picture(tmp_path / "rgb.png").astype(int) - expected).max() <= 1


def test_cmyk_becomes_rgb(tmp_path: Path) -> None:
    Image.new("CMYK", (32, 24), (0, 255, 255, 0)).save(tmp_path / "a.jpg", quality=100)
    red = read_picture(tmp_path / "a.jpg")
    assert red.shape == (24, 32, 3)
    assert np.abs(red.astype(int) - [255, 0, 0]).max() <= 6


def test_transparency_is_laid_on_white(tmp_path: Path) -> None:
    Image.new("RGBA", (20, 20), (0, 0, 0, 0)).save(tmp_path / "clear.png")
    Image.new("RGBA", (20, 20), (255, 0, 0, 128)).save(tmp_path / "half.webp", lossless=True)
    Image.new("LA", (20, 20), (0, 0)).save(tmp_path / "grey.png")
    palette = Image.new("P", (20, 20), 0)
    palette.putpalette([9, 9, 9])
    palette.save(tmp_path / "palette.png", transparency=0)
    for name in ("clear.png", "grey.png", "palette.png"):
        assert (read_picture(tmp_path / name) == 255).all(), name
    assert np.abs(read_picture(tmp_path / "half.webp").astype(int) - [255, 127, 127]).max() <= 1


@pytest.mark.parametrize("mode", ["1", "L", "P", "I;16"])
def test_every_mode_is_rgb(mode: str, tmp_path: Path) -> None:
    picture = Image.new("L", (20, 18), 255).convert("I") if mode == "I;16" else Image.new("L", (20, 18), 255)
    picture.convert(mode).save(tmp_path / "a.png")
    frame = read_picture(tmp_path / "a.png")
    assert frame.shape == (18, 20, 3)
    assert frame.dtype == np.uint8


def test_exif_orientation_6_is_turned_upright(tmp_path: Path) -> None:
    upright = np.zeros((60, 40, 3), np.uint8)
    upright[:30] = 255  # white above, black below
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held turned: rotate 90 degrees clockwise to show
    Image.fromarray(np.rot90(upright)).save(tmp_path / "a.jpg", exif=exif, quality=100)
    frame = read_picture(tmp_path / "a.jpg")
    assert frame.shape == (60, 40, 3)
    assert np.abs(frame.astype(int) - upright).max() < 40


def test_all_orientations_agree_with_pillow(tmp_path: Path) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    for orientation in range(10):
        exif = Image.Exif()
        exif[0x0112] = orientation
        Image.fromarray(picture).save(tmp_path / "a.png", exif=exif)
        with Image.open(tmp_path / "a.png") as image:
            expected = np.asarray(ImageOps.exif_transpose(image))
        np.testing.assert_array_equal(read_picture(tmp_path / "a.png"), expected)


def test_odd_exif_does_no_harm(tmp_path: Path) -> None:
    orientation = struct.pack("<HHIHH", 0x0112, 3, 1, 6, 0)
    unit_as_text = struct.pack("<HHI4s", 0x0128, 2, 1, b"x")  # Pillow can read this, but not write it
    exif = b"Exif\0\0II*\0" + struct.pack("<IH", 8, 2) + orientation + unit_as_text + bytes(4)
    Image.new("RGB", (40, 30)).save(tmp_path / "a.jpg", exif=exif)
    assert read_picture(tmp_path / "a.jpg").shape == (40, 30, 3)


def test_a_colour_profile_is_applied_and_a_broken_one_ignored(tmp_path: Path) -> None:
    picture = Image.new("RGB", (20, 20), (200, 100, 50))
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for name, profile in (("same.png", srgb), ("broken.png", b"nonsense")):
        picture.save(tmp_path / name, icc_profile=profile)
        assert np.abs(read_picture(tmp_path / name).astype(int) - [200, 100, 50]).max() <= 1


def test_what_cannot_be_written(tmp_path: Path) -> None:
    frame = np.zeros((20, 20, 3), np.uint8)
    (tmp_path / "file").touch()
    for path, message in (
        (tmp_path / "a.gif", r"ends in '.gif': expected .png, .jpg or .webp"),
        (tmp_path / "none" / "a.png", "output folder '.*none' does not exist"),
        (tmp_path / "file" / "a.png", "output folder '.*file' does not exist"),
    ):
        with pytest.raises(InputError, match=message):
            write_picture(path, frame)
    assert [p.name for p in tmp_path.iterdir()] == ["file"]
