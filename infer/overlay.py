"""What a live window writes over the picture: figures, notices, the help. Only on what is shown, never recorded."""

from collections.abc import Sequence

import cv2
import numpy as np

from ..pictures import Frame

_FONT, _SIZE, _LINE_PX, _INSET_PX = cv2.FONT_HERSHEY_SIMPLEX, 0.45, 18, 8
_EDGED = ((-1, 0, 0), (1, 0, 0), (0, -1, 0), (0, 1, 0), (0, 0, 255))  # shifts and grey: a thicker line would be wider
_DARKEN = 0.45  # of the picture behind the help


def draw_lines(shown: Frame, lines: Sequence[str], *, bottom: bool = False) -> None:
    """Lines in the upper or lower left corner; white with a black edge, so that they read on any painting.

    Args:
        shown: (H, W, 3) uint8, drawn upon.
        lines: ASCII, one a line.
        bottom: in the lower corner.
    """
    first = shown.shape[0] - _INSET_PX - _LINE_PX * (len(lines) - 1) if bottom else _INSET_PX + _LINE_PX // 2 + 2
    for number, line in enumerate(lines):
        for x, y, grey in _EDGED:
            place = (_INSET_PX + x, first + number * _LINE_PX + y)
            cv2.putText(shown, line, place, _FONT, _SIZE, (grey, grey, grey), 1, cv2.LINE_AA)


def draw_help(shown: Frame, rows: Sequence[tuple[str, str]]) -> None:
    """The table of keys in the middle, on a darkened picture; it shrinks to fit."""
    height, width = shown.shape[:2]
    scale = min(1.0, (height - 2 * _INSET_PX) / (_LINE_PX * len(rows)), width / 380)
    line = _LINE_PX * scale
    np.multiply(shown, _DARKEN, out=shown, casting="unsafe")
    left, top = (width - 360 * scale) / 2, (height - line * len(rows)) / 2 + line * 0.7
    for number, (keys, what) in enumerate(rows):
        y = round(top + number * line)
        for text, x in ((keys, left), (what, left + 80 * scale)):
            cv2.putText(shown, text, (round(x), y), _FONT, _SIZE * scale, (255, 255, 255), 1, cv2.LINE_AA)
