"""Pictures from and to disk: (H, W, 3) uint8 RGB arrays, upright, in sRGB.

A picture file is hostile until read: only four formats are tried, and its claimed size is checked before any pixel is
decoded. Pillow does the decoding.
"""

import io
import warnings
from pathlib import Path
from threading import Lock
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image, ImageCms, UnidentifiedImageError

from .contract import MIN_SIZE_PX
from .errors import InputError
from .files import replacing

Frame = npt.NDArray[np.uint8]
"""One picture: (H, W, 3) uint8 RGB."""

READABLE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp"})
WRITABLE_SUFFIXES = READABLE_SUFFIXES
_FORMATS = ("JPEG", "PNG", "WEBP")  # JPEG includes what many phones write (MPO)
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""Orientation in EXIF -> what turns the picture upright."""
_OPENING = Lock()  # the filters of warnings are those of all threads


class Header(NamedTuple):
    """What a picture file claims to be, nothing decoded and nothing turned upright."""

    format: str
    """JPEG, PNG or WEBP, by the content."""
    width: int
    height: int


def read_picture(path: Path, *, what: str = "photo", shorter_px: int | None = None) -> Frame:
    """Read a JPEG, PNG or WebP as (H, W, 3) uint8 RGB, turned upright by its EXIF orientation, in sRGB.

    CMYK, 16-bit and palette pictures are converted; transparency is laid on white.

    Args:
        path: the file.
        what: what the user calls it, for messages ("photo", "painting").
        shorter_px: a JPEG may be decoded at 1/2, 1/4 or 1/8 of its size (fast) as long as its shorter side keeps this.

    Raises:
        InputError: missing, not a picture, truncated, smaller than 16 px, or claiming over 89 megapixels.
    """
    if not path.exists():
        raise InputError(f"{what} '{path}' does not exist: check the path")
    if path.is_dir():
        raise InputError(f"{what} '{path}' is a folder: give a picture file")
    try:
        with _open(path, if_huge="error") as image:
            if min(image.size) < MIN_SIZE_PX:
                raise InputError(
                    f"{what} '{path}' is {image.width}x{image.height} px: expected at least "
                    f"{MIN_SIZE_PX}x{MIN_SIZE_PX}, choose a larger one"
                )
            if shorter_px is not None:
                image.draft(None, (shorter_px, shorter_px))
            return _to_srgb(image)
    except InputError:
        raise
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise InputError(
            f"{what} '{path}' claims more than {Image.MAX_IMAGE_PIXELS or 0:,} pixels: scale it down first"
        ) from error
    except UnidentifiedImageError as error:
        raise InputError(f"{what} '{path}' is not a JPEG, PNG or WebP picture: convert it first") from error
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"{what} '{path}' cannot be read ({reason}): it may be damaged, use another copy") from error


def read_header(path: Path) -> Header:
    """Format, width and height in px as the file's header claims them.

    Raises:
        OSError: not a readable picture file.
    """
    with _open(path, if_huge="ignore") as image:
        return Header("JPEG" if image.format == "MPO" else str(image.format), *image.size)


def find_pictures(folder: Path) -> list[Path]:
    """Every JPEG, PNG and WebP below `folder`, by name; hidden files and folders are left out."""
    found = (path for path in folder.rglob("*") if path.suffix.lower() in READABLE_SUFFIXES and path.is_file())
    return sorted(p for p in found if not any(part.startswith(".") for part in p.relative_to(folder).parts))


def write_picture(path: Path, frame: Frame, *, quality: int = 95) -> None:
    """Write an (H, W, 3) uint8 RGB picture as PNG, JPEG or WebP, by the suffix; whole or not at all.

    Raises:
        InputError: another suffix, a missing folder, or a place that cannot be written.
    """
    if path.suffix.lower() not in WRITABLE_SUFFIXES:
        raise InputError(f"output '{path}' ends in '{path.suffix}': expected .png, .jpg or .webp")
    data = encode_picture(frame, path.suffix, quality=quality)
    with replacing(path) as temporary:
        temporary.write_bytes(data)


def encode_picture(frame: Frame, suffix: str, *, quality: int = 95) -> bytes:
    """An (H, W, 3) uint8 RGB picture as the bytes of a file with this suffix, one of `WRITABLE_SUFFIXES`."""
    encoded = io.BytesIO()
    kind = {".png": "PNG", ".webp": "WEBP"}.get(suffix.lower(), "JPEG")
    Image.fromarray(frame).save(encoded, kind, quality=quality)
    return encoded.getvalue()


def _open(path: Path, *, if_huge: Literal["error", "ignore"]) -> Image.Image:
    with _OPENING, warnings.catch_warnings():
        warnings.simplefilter(if_huge, Image.DecompressionBombWarning)
        return Image.open(path, formats=_FORMATS)


def _to_srgb(image: Image.Image) -> Frame:
    profile = image.info.get("icc_profile")
    turn = _UPRIGHT.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    upright = image if turn is None else image.transpose(turn)  # ImageOps also writes the EXIF anew, and can fail at it
    if upright.mode.startswith("I") or upright.mode == "F":  # 16-bit grey, which convert() would clip to white
        grey = np.asarray(upright, dtype=np.float64) / 257.0
        return np.repeat(np.clip(grey + 0.5, 0, 255).astype(np.uint8)[..., None], 3, axis=2)
    if upright.has_transparency_data:
        painted = upright.convert("RGBA")
        upright = Image.alpha_composite(Image.new("RGBA", painted.size, "white"), painted).convert("RGB")
    elif profile:
        upright = _apply_profile(upright, profile)
    return np.array(upright.convert("RGB"))


def _apply_profile(image: Image.Image, profile: bytes) -> Image.Image:
    """Wide-gamut phone photos and CMYK scans carry an ICC profile; a broken profile is ignored, as browsers do."""
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        target = ImageCms.createProfile("sRGB")
        converted = ImageCms.profileToProfile(image, source, target, outputMode="RGB")
    except (ImageCms.PyCMSError, OSError):
        return image
    return converted if converted is not None else image
