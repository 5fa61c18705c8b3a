"""Pictures from and to disk: (H, W, 3) uint8 RGB arrays, upright, in sRGB.

A picture file is hostile until read: only four formats are tried, and its claimed size is checked before any pixel is
decoded. Pillow does the decoding.
"""

import io
import warnings
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError

from .contract import MIN_SIZE_PX
from .errors import InputError
from .files import replacing

Frame = npt.NDArray[np.uint8]
"""One picture: (H, W, 3) uint8 RGB."""

READABLE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp"})
WRITABLE_SUFFIXES = READABLE_SUFFIXES
_FORMATS = ("JPEG", "PNG", "WEBP")  # JPEG includes what many phones write (MPO)


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
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path, formats=_FORMATS) as image:
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


def picture_size(path: Path) -> tuple[int, int]:
    """(width, height) in px as the file's header claims them, nothing decoded and nothing turned upright.

    Raises:
        OSError: not a readable picture file.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        with Image.open(path, formats=_FORMATS) as image:
            width, height = image.size
            return width, height


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
    encoded = io.BytesIO()
    kind = {".png": "PNG", ".webp": "WEBP"}.get(path.suffix.lower(), "JPEG")
    Image.fromarray(frame).save(encoded, kind, quality=quality)
    with replacing(path) as temporary:
        temporary.write_bytes(encoded.getvalue())


def _to_srgb(image: Image.Image) -> Frame:
    profile = image.info.get("icc_profile")
    upright = ImageOps.exif_transpose(image)
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
