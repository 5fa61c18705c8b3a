"""A clip and what a style makes of it: the numbers and words of `allaprima evaluate --clip`."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .pictures import Frame
from .report_page import Figure, Unrest

if TYPE_CHECKING:
    from .train.artefacts import Changes


@dataclass(frozen=True)
class Film:
    """What was seen of a clip."""

    path: Path
    changes: "Changes"
    first: Frame
    """Its first frame, painted."""

    @property
    def unrest(self) -> Unrest:
        """For the plot."""
        return Unrest(self.changes.photo, self.changes.painting)

    def figures(self) -> list[Figure]:
        """With their explanations; what cannot be said of this clip is left out."""
        still, moving, everywhere = self.changes.still.mean, self.changes.moving.mean, self.changes.everywhere.mean
        words = {
            "flicker": f"change where nothing moves but the clip's noise, over that: {_grey(still[1], still[0])}; "
            "lower is better",
            "liveliness": f"change where something moves, over the clip's own: {_grey(moving[1], moving[0])}",
            "spill": f"change where nothing moves, over that of the whole clip: {_grey(still[1], everywhere[0])}; "
            "lower is better",
        }
        values = self.changes.figures()
        return [Figure(f"{name}, clip", f"{v:.2f}", words[name]) for name, v in values.items() if v is not None]

    def to_json(self) -> dict[str, Any]:
        """All numbers; changes are means over pixels, in grey levels."""
        seen = self.changes
        parts = {"still": seen.still, "moving": seen.moving, "everywhere": seen.everywhere}
        per_frame = {"photo": seen.photo, "painting": seen.painting}
        return {
            "file": self.path.name,
            "frames": len(seen.photo) + 1,
            "figures": seen.figures(),
            "change": {name: dict(zip(("photo", "painting"), part.mean, strict=True)) for name, part in parts.items()},
            "change_per_frame": {name: [round(value, 4) for value in values] for name, values in per_frame.items()},
        }


def _grey(painting: float, photo: float) -> str:
    return f"{painting:.2f} against {photo:.2f} grey levels a frame"
