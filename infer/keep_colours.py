"""The painting's strokes in the photo's colours: luminance of the one, chrominance of the other.

After Gatys et al., "Preserving Color in Neural Artistic Style Transfer" (2016), section 4, in YCbCr in place of YIQ.
To give a pixel another luma and leave its chroma is to add one number to R, G and B. So no colour space has to be gone
through, which is far quicker than Lab and back, and a photo as its own painting comes out unchanged.
"""

from threading import local

import cv2
import numpy as np

from ..pictures import Frame


class KeepColours(local):
    """Repaints paintings in the colours of their photos; its memory serves frame after frame, each thread its own."""

    _spread: Frame = np.empty((0, 0, 3), np.uint8)

    def __call__(self, painted: Frame, photo: Frame) -> Frame:
        """Give `painted` the chroma of `photo` and leave its luma (BT.601, full range), in place.

        Where the two do not go together in RGB, as a bright stroke and a deep red do, the sum is clipped: the luma
        falls up to 20 levels short and the colour stays. Held exactly, the luma would wash out fires to pink.

        Args:
            painted: (H, W, 3) uint8 RGB, contiguous.
            photo: (H, W, 3) uint8 RGB, other memory than that of `painted`; any strides.

        Returns:
            `painted`.
        """
        if self._spread.shape != photo.shape:
            self._spread = np.empty(photo.shape, np.uint8)
            self._wanted, self._there, self._more = np.empty((3, *photo.shape[:2]), np.uint8)
        photo, spread, wanted, there = np.ascontiguousarray(photo), self._spread, self._wanted, self._there
        cv2.cvtColor(painted, cv2.COLOR_RGB2GRAY, wanted)
        cv2.cvtColor(photo, cv2.COLOR_RGB2GRAY, there)
        # Differences stop at 0 and sums at 255: of `more` and `less`, one is 0 at each pixel.
        more, less = cv2.subtract(wanted, there, self._more), cv2.subtract(there, wanted, there)
        cv2.add(photo, cv2.cvtColor(more, cv2.COLOR_GRAY2RGB, spread), painted)
        cv2.subtract(painted, cv2.cvtColor(less, cv2.COLOR_GRAY2RGB, spread), painted)
        return painted
