"""Sees where another scene begins.

cuts = SceneCuts()
if cuts(photo): ...                              # frame after frame of one clip or camera
"""

import cv2
import numpy as np
import numpy.typing as npt

from ..pictures import Frame

_SAMPLED_PX = 120
_SCENE_PX = 32, 24
_BROAD_PX = 9  # what is larger is no structure but light and shade, and may be alike in any two scenes
_STRUCTURE = 2.0  # grey levels, standard deviation: a frame of less is blank
_ALIKE = 0.42  # correlation: 97 in 100 pairs of unrelated photos have less, no two frames in a row of the clips tried

Plane = npt.NDArray[np.float32]


class SceneCuts:
    """Sees where another scene begins, from the structure of tiny photos.

    Not by light, so that a flash is no cut; wherever the middle of the photo went, so that a fast pan is none; and a
    blank frame says nothing: the one after it is held against the one before.
    """

    def __init__(self) -> None:
        self._before: Plane | None = None

    def __call__(self, photo: Frame) -> bool:
        """Whether the next photo, (H, W, 3) uint8 RGB of any size, shows another scene than the one before."""
        height, width = (side // max(1, min(photo.shape[:2]) // _SAMPLED_PX) for side in photo.shape[:2])
        sample = cv2.resize(photo, (width, height), interpolation=cv2.INTER_NEAREST)  # quick, and enough for a mean
        grey = cv2.resize(cv2.cvtColor(sample, cv2.COLOR_RGB2GRAY), _SCENE_PX, interpolation=cv2.INTER_AREA)
        luma = grey.astype(np.float32)
        structure = luma - cv2.blur(luma, (_BROAD_PX, _BROAD_PX))
        if structure.std() < _STRUCTURE:
            return False
        before, self._before = self._before, np.asarray(structure, dtype=np.float32)
        return before is not None and _likeness(before, self._before) < _ALIKE


def _likeness(before: Plane, structure: Plane) -> float:
    """The best correlation, -1..1, of the middle with a part of the one before; that with its middle, if it will do."""
    x, y = (side // 5 for side in _SCENE_PX)
    middle = structure[y:-y, x:-x]
    here = float(cv2.matchTemplate(before[y:-y, x:-x], middle, cv2.TM_CCOEFF_NORMED)[0, 0])
    return here if here >= _ALIKE else float(cv2.matchTemplate(before, middle, cv2.TM_CCOEFF_NORMED).max())
