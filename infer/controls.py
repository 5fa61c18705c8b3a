"""What the keyboard does in a live session: one table of keys, for the session, its help and the documentation."""

from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic

from .look import MASKED, SMOOTHING_STEP, SPLIT_STEP, STRENGTH_STEP, Look
from .rack import Rack

NOTICE_S = 2.5
"""How long a notice stays."""
Act = Callable[[], None]


@dataclass(frozen=True)
class Key:
    """One entry of the help: the keys, what they do, and how."""

    keys: str
    """One character each; `acts` has as many."""
    label: str
    """As people call them."""
    what: str
    """What they do, in words."""
    acts: tuple[Act, ...]


class Controls:
    """Answers keys by changing the look, the styles and the rest of a session.

    Args:
        look, rack: what is changed.
        more: further keys, of parts that not every session has (recording, snapshots, quality).
    """

    def __init__(self, look: Look, rack: Rack, *, more: tuple[Key, ...] = ()) -> None:
        self.look, self.rack = look, rack
        self.overlay, self.help, self.full_screen, self.quit = True, False, False, False
        self.table = (*self._styles(), *self._picture(), *more, *self._window())
        self._acts = {key: act for entry in self.table for key, act in zip(entry.keys, entry.acts, strict=True)}
        self._notice, self._notice_until_s = "", 0.0

    def press(self, key: str) -> None:
        """A key was pressed; those without a meaning are ignored, and letters mean the same in capitals."""
        if act := self._acts.get(key.lower()):
            act()

    def say(self, notice: str) -> None:
        """Show a line for a while."""
        self._notice, self._notice_until_s = notice, monotonic() + NOTICE_S

    @property
    def notice(self) -> str:
        """The line that is to be shown now; empty for none."""
        return self._notice if monotonic() < self._notice_until_s else ""

    def _styles(self) -> tuple[Key, ...]:
        count = min(9, len(self.rack.names))
        numbers = tuple(self._to(number) for number in range(count))
        return (
            Key("nb", "n, b", "next style, the one before", (lambda: self._step(1), lambda: self._step(-1))),
            Key("123456789"[:count], f"1 to {count}", "style by its number", numbers),
        )

    def _to(self, number: int) -> Act:
        def act() -> None:
            self.rack.choose(number)
            self.say(self.rack.names[self.rack.chosen])

        return act

    def _step(self, by: int) -> None:
        self._to(self.rack.chosen + by)()

    def _picture(self) -> tuple[Key, ...]:
        return (
            Key("+-=", "+, -", "more, less of the painting", tuple(self._strength(by) for by in (1, -1, 1))),
            Key("][", "], [", "steadier, livelier", tuple(self._smoothing(by) for by in (1, -1))),
            Key("c", "c", "colours of the photo", (lambda: self._toggle("keep_colours", "colours of the photo"),)),
            Key("m", "m", "mirror", (lambda: self._toggle("mirror", "mirror"),)),
            Key("s", "s", "photo beside painting", (self._split,)),
            Key(",.", ", .", "move the border between them (or drag it)", (self._border(-1), self._border(1))),
            Key("k", "k", "paint all, the person, the background", (self._mask,)),
            Key(" ", "space", "freeze", (lambda: self._toggle("frozen", "frozen"),)),
        )

    def _toggle(self, name: str, what: str) -> None:
        value = not getattr(self.look, name)
        setattr(self.look, name, value)
        self.say(f"{what}: {'on' if value else 'off'}")

    def _strength(self, by: int) -> Act:
        def act() -> None:
            self.look.strength = _within(self.look.strength + by * STRENGTH_STEP)
            self.say(f"painting {self.look.strength:.0%}")

        return act

    def _smoothing(self, by: int) -> Act:
        def act() -> None:
            self.look.smoothing = _within(self.look.smoothing + by * SMOOTHING_STEP)
            self.say(f"smoothing {self.look.smoothing:.0%}")

        return act

    def _mask(self) -> None:
        self.look.mask = MASKED[(MASKED.index(self.look.mask) + 1) % len(MASKED)]
        self.say("paint all" if self.look.mask == "off" else f"paint the {self.look.mask}")

    def _split(self) -> None:
        self.look.split = 0.5 if self.look.split is None else None

    def _border(self, by: int) -> Act:
        def act() -> None:
            if self.look.split is not None:
                self.look.split = _within(self.look.split + by * SPLIT_STEP)

        return act

    def drag(self, share: float) -> None:
        """The border was taken to this share of the width."""
        if self.look.split is not None:
            self.look.split = _within(share)

    def _window(self) -> tuple[Key, ...]:
        return (
            Key("f", "f", "full screen", (lambda: self._flip("full_screen"),)),
            Key("o", "o", "hide or show the figures", (lambda: self._flip("overlay"),)),
            Key("h?", "h", "this help", (lambda: self._flip("help"),) * 2),
            Key("q\x1b", "q, Esc", "quit", (lambda: self._flip("quit"),) * 2),
        )

    def _flip(self, name: str) -> None:
        setattr(self, name, not getattr(self, name))


def _within(value: float) -> float:
    return round(min(1.0, max(0.0, value)), 3)
