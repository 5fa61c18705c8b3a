"""Paint a camera live. In the window, h shows what each key does; q, Esc, closing it or Ctrl-C ends the session.

allaprima cam
allaprima cam demo --style great_wave                        # no camera needed
allaprima cam 1 --size 1280x720 --fps 30 --quality auto --mirror
allaprima cam http://192.168.0.20:8080/video --style great_wave --record evening.mp4 --record-sound
allaprima cam --virtual-camera --serve 8090 --mask person    # for Zoom, OBS and browsers; only you are painted
allaprima cam clip.mp4 --no-window --record painted.mkv --seconds 10
"""

import sys
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from pathlib import Path
from threading import Event, Thread
from typing import TYPE_CHECKING, Any, Literal

from ..errors import InputError
from ..gallery import find_style, shipped_styles
from ..remembered import Remembered, recall, remember
from ..style_flags import StyleFlags
from ..terminal import console, on_interrupt

if TYPE_CHECKING:
    from ..infer.controls import Key
    from ..infer.live import LiveReport
    from ..infer.look import Look
    from ..infer.microphone import Microphone
    from ..infer.rack import Rack
    from ..infer.sinks import Sink
    from ..infer.stylizer import Stylizer
    from ..infer.window import Window
    from ..pictures import Frame

FPS = 30.0
"""What `--quality auto` holds where `--fps` says nothing."""


@dataclass(kw_only=True)
class Config(StyleFlags):
    """Paint a camera live: in a window, into a recording, as a virtual camera, over HTTP, or all at once."""

    source: str = field(default="0", metadata={"positional": "?"})
    """Camera: an index (0 is the first), a part of its name, an address (http, https or rtsp), a video file, a folder
    of pictures, or `demo`."""
    style: str = ""
    """Name of a style that ships (`allaprima styles` lists them), or a style file; by default the last session's."""

    window: bool = True
    """Show what is painted."""
    record: str | None = None
    """Record what is painted to this file: .mp4, .m4v, .mov or .mkv. It plays even after a crash or a full disk."""
    record_sound: bool = False
    """Record the microphone as well, with --record and with the key r."""
    virtual_camera: bool = False
    """Be a camera that other programs can choose; needs allaprima[vcam] and a virtual device."""
    virtual_device: str | None = None
    """Be this one of several, such as /dev/video9 or "Unity Video Capture"."""
    serve: int | None = None
    """Show it to browsers at http://127.0.0.1:PORT/, as MJPEG at /stream; 0 takes any free port."""
    serve_host: str = "127.0.0.1"
    """Address to serve on; 0.0.0.0 lets everybody in the network look."""
    snapshots: str = "."
    """Folder for snapshots (p) and for recordings started by key (r)."""

    strength: float | None = None
    """Share of the painting, 0..1; the rest is the photo."""
    smooth: float | None = None
    """How much of the painting before stays, moved along with the picture, 0 (nothing) to 1."""
    keep_colours: bool | None = None  # type: ignore[assignment]
    """Keep the colours of the photo: only light and dark come from the painting."""
    mirror: bool | None = None
    """Swap left and right, as in a mirror."""
    mask: Literal["off", "person", "background"] | None = None
    """Paint everything, only the person, or only the background."""
    mask_model: str | None = None
    """Another network that finds the person: an ONNX file, RGB in 0..1 in, the person's probability out."""
    fade: bool = False
    """Let one style turn into the next, in place of changing at once."""

    size: str | None = None
    """Size to ask the camera for, such as 640x480; what it gives is said at the start."""
    fps: float | None = None
    """Frames per second to ask the camera for, and to hold with --quality auto."""
    quality: str | None = None
    """Percentage of the frame's sides to paint at, or `auto`: smaller whenever the frame rate would not hold."""
    loop: bool = False
    """Play a video file again and again."""
    seconds: float | None = None
    """Stop after so many seconds."""

    def __post_init__(self) -> None:
        for name in ("fps", "seconds"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise InputError(f"--{name}: got {value}, expected more than 0")
        for name in ("strength", "smooth"):
            value = getattr(self, name)
            if value is not None and not 0 <= value <= 1:
                raise InputError(f"--{name}: got {value}, expected 0 to 1")
        if self.serve is not None and not 0 <= self.serve <= 65535:
            raise InputError(f"--serve: got {self.serve}, expected a port, 0 to 65535")
        self.virtual_camera = self.virtual_camera or self.virtual_device is not None
        if self.record_sound and not (self.record or self.window):
            raise InputError("--record-sound needs --record FILE, or a window and its key r")
        if not (self.window or self.record or self.virtual_camera or self.serve is not None):
            raise InputError("--no-window leaves nothing to do: add --record FILE, --serve PORT or --virtual-camera")


def run(config: Config) -> None:
    """Paint until the user has seen enough, and print the figures.

    Raises:
        InputError: camera, style, window or another sink cannot be used, or the camera failed on the way.
    """
    with ExitStack() as stack:
        session = _Session(config, stack)
        session.run()


class _Session:
    """The parts of a live session, put together from the flags and from what was remembered."""

    def __init__(self, config: Config, stack: ExitStack) -> None:
        from ..infer.camera import NewestFrame, open_camera, parse_size
        from ..infer.controls import Controls
        from ..infer.live import Tally
        from ..infer.mask import PERSON_MODEL, Mask
        from ..infer.quality import Quality, parse_quality
        from ..infer.sinks import Recorder
        from ..infer.steady import SteadyCamera
        from ..infer.studio import Studio

        self.config, self.before = config, recall()
        size = parse_size(config.size) if config.size else None
        steps = parse_quality(config.quality or self.before.quality)
        self._check_places()
        self.look = self._look()
        self.rack = self._open_rack()
        self.tally, self.stop = Tally(), Event()
        open_mask = partial(Mask, config.mask_model or PERSON_MODEL, provider=config.provider, threads=config.threads)
        asked_for = config.mask_model or config.mask in {"person", "background"}
        mask = open_mask() if asked_for else None  # what is wrong with it is said now, not in mid-session
        self.microphone = self._open_microphone(stack)
        self.camera = SteadyCamera(partial(open_camera, config.source, size=size, fps=config.fps, loop=config.loop))
        stack.callback(self.camera.close)  # whatever fails before it is read
        self.newest = NewestFrame(self.camera)
        self.quality = Quality(
            self.rack.paint,
            steps,
            target_fps=config.fps or FPS,
            dropped=lambda: self.newest.dropped,
            beside_ms=lambda: self.studio.beside_ms,
            on_change=lambda change: self.say(str(change)),
        )
        self.studio = Studio(
            self.quality,
            self.look,
            mask=mask,
            open_mask=open_mask,
            turning=lambda: self.rack.turning,
            on_rest=self.quality.rest,
        )
        self.recorder = Recorder(microphone=self.microphone)
        if config.record:
            self.recorder.start(Path(config.record))
        self.controls = Controls(self.look, self.rack, more=self._keys())
        self.controls.overlay = self.before.overlay
        self.sinks = self._sinks()
        self._stack = stack
        self._noted, self._was_lost = list(self.camera.notes), False
        self._problems: tuple[str | None, ...] = ()
        self._said: set[str] = set()
        where = f"{self.rack.stylizer.name} on {self.rack.stylizer.provider}"
        for line in (f"{self.camera.description}, {where}", *self._noted):
            console.print(line)

    def run(self) -> None:
        """Paint, then say what it came to, and remember how it was."""
        from ..infer.live import run_live

        self._stack.enter_context(on_interrupt(self.stop.set))
        try:
            with ExitStack() as stack:
                for sink in self.sinks:
                    stack.enter_context(sink)
                    if sink.description:
                        console.print(sink.description)
                stack.enter_context(self.newest)  # last: while a window opens, frames would be lost
                run_live(
                    self.newest,
                    self.studio,
                    self.sinks,
                    self.tally,
                    seconds=self.config.seconds,
                    stopped=self._stopped,
                    on_problem=self.say,
                )
            if (problem := self.recorder.problem) and problem not in self._said:
                raise InputError(problem)  # it came with the file's last bytes
        finally:
            if self.tally.frames:
                console.print(_summary(self.tally.report(dropped=self.newest.dropped), self.config.record))
                self._remember()
            for note in self.camera.notes[len(self._noted) :]:
                console.print(note)

    def _stopped(self) -> bool:
        """Whether to end; asked after every frame, and while there is none."""
        self._tell_news()
        return self.stop.is_set()

    def _tell_news(self) -> None:
        """Say what has happened beside the sinks: to the camera, the style chosen, the mask, the microphone."""
        lost = self.camera.lost is not None
        if lost != self._was_lost:
            self._was_lost = lost
            self.say(f"{self.camera.name} {self.camera.lost}" if lost else f"{self.camera.name} is back")
        problems = tuple(part.problem for part in (self.rack, self.studio, self.microphone) if part)
        for problem in set(problems).difference(self._problems, [None]):
            self.say(str(problem))
        self._problems = problems

    def say(self, text: str) -> None:
        """Into the window and onto the terminal."""
        self._said.add(text)
        self.controls.say(text)
        print(f"allaprima: {text}", file=sys.stderr)

    def _check_places(self) -> None:
        from ..infer.writer import check_video_path

        config = self.config
        if config.record:
            path = Path(config.record)
            check_video_path(path, "--record")
            if path.exists() and Path(config.source).exists() and path.samefile(config.source):
                raise InputError(f"--record: '{path}' is the camera's own file, choose another name")
        if not Path(config.snapshots).is_dir():
            raise InputError(f"--snapshots: folder '{config.snapshots}' does not exist: create it or choose another")

    def _look(self) -> "Look":
        from ..infer.look import Look

        def chosen(flag: str, name: str) -> Any:
            value = getattr(self.config, flag)
            return getattr(self.before, name) if value is None else value

        return Look(
            strength=chosen("strength", "strength"),
            smoothing=chosen("smooth", "smoothing"),
            keep_colours=chosen("keep_colours", "keep_colours"),
            mirror=chosen("mirror", "mirror"),
            mask=chosen("mask", "mask"),
        )

    def _open_rack(self) -> "Rack":
        from ..infer.rack import Rack

        shipped = list(shipped_styles())
        style = self.config.style or (self.before.style if self.before.style in shipped else "") or _first(shipped)
        names = shipped if style in shipped else [style, *shipped]
        find_style(style)  # what is wrong with the name is said in its own words
        return Rack(names, self._open_style, first=names.index(style), fade=self.config.fade)

    def _open_style(self, name: str) -> "Stylizer":
        return replace(self.config, style=name, keep_colours=False).open_style(film=True)

    def _open_microphone(self, stack: ExitStack) -> "Microphone | None":
        from ..infer.microphone import open_microphone

        return stack.enter_context(open_microphone()) if self.config.record_sound else None

    def _sinks(self) -> "list[Sink]":
        """As asked for; nothing is opened yet."""
        config = self.config
        sinks: list[Sink] = []
        if config.virtual_camera:
            from ..infer.virtual_camera import VirtualCamera

            sinks.append(VirtualCamera(fps=config.fps or FPS, device=config.virtual_device))
        if config.serve is not None:
            from ..infer.mjpeg_server import MjpegServer

            sinks.append(MjpegServer(config.serve, config.serve_host))
        window = self._window(needed=not (sinks or config.record))
        if window or config.record:
            sinks.append(self.recorder)
        return [*sinks, window] if window else sinks

    def _window(self, *, needed: bool) -> "Window | None":
        from ..infer.window import Window, display_problem

        if not self.config.window:
            return None
        if (problem := display_problem()) is None:
            return Window("Allaprima", self.controls, self._figures)
        if needed:
            raise InputError(f"no display: {problem}; paint into a file instead: --record FILE --no-window")
        print(f"allaprima: no display: {problem}; going on without a window", file=sys.stderr)
        return None

    def _keys(self) -> "tuple[Key, ...]":
        from ..infer.controls import Key

        return (
            Key("ud", "u, d", "larger, smaller painting", (partial(self._quality, 1), partial(self._quality, -1))),
            Key("a", "a", "the size that holds the frame rate", (partial(self._quality, 0),)),
            Key("p", "p", "snapshot: photo and painting", (self._take_snapshot,)),
            Key("r", "r", "start, stop recording", (self._toggle_recording,)),
        )

    def _quality(self, by: int) -> None:
        if by:
            self.quality.step(by)
            self.controls.say(f"painted at {self.quality.scale:.0%}")
        else:
            self.quality.choose_automatically()
            self.controls.say("size by itself")

    def _take_snapshot(self) -> None:
        self.studio.snapshot = lambda photo, painting: Thread(target=self._save, args=(photo, painting)).start()

    def _save(self, photo: "Frame", painting: "Frame") -> None:
        from ..infer.snapshot import save_snapshot

        try:
            paths = save_snapshot(Path(self.config.snapshots), photo, painting, datetime.now())
        except InputError as error:
            self.say(str(error))
        else:
            self.controls.say(f"saved {paths[1].name}")

    def _toggle_recording(self) -> None:
        from ..infer.snapshot import new_paths

        if path := self.recorder.path:
            self.recorder.stop()
            if not self.recorder.problem:
                self.say(f"recorded {path}")
        else:
            [path] = new_paths(Path(self.config.snapshots), datetime.now(), ".mp4")
            self.recorder.start(path)
            self.say(f"recording {path}")

    def _figures(self) -> list[str]:
        """What stands over the picture."""
        from ..infer.quality import scaled_size

        now = self.tally.lately(dropped=self.newest.dropped)
        rates = f"{now.fps:.1f} fps  {now.latency_p50_ms:.0f} / {now.latency_p95_ms:.0f} ms  {now.dropped} dropped"
        if lost := self.camera.lost:
            rates = f"camera lost: {lost}"
        width, height = self.studio.size_px
        height, width = scaled_size(height, width, self.quality.scale)
        size = f"{width}x{height}{' by itself' if self.quality.automatic else ''}"
        style = f"{self.rack.stylizer.name}{' (loading the next)' if self.rack.loading else ''}"
        lines = [rates, f"{style}  {self.rack.stylizer.provider}  {size}"]
        if path := self.recorder.path:
            lines.append(f"REC {path.name}")
        return lines

    def _remember(self) -> None:
        name = self.rack.name
        remember(
            Remembered(
                style=name if name in shipped_styles() else "",
                strength=self.look.strength,
                smoothing=self.look.smoothing,
                keep_colours=self.look.keep_colours,
                mirror=self.look.mirror,
                overlay=self.controls.overlay,
                mask=self.look.mask,
                quality="auto" if self.quality.automatic else f"{100 * self.quality.scale:.0f}",
            )
        )


def _first(shipped: list[str]) -> str:
    if not shipped:
        raise InputError("no style ships with this copy: give one with --style")
    return "starry_night" if "starry_night" in shipped else shipped[0]


def _summary(report: "LiveReport", record: str | None) -> str:
    return (
        f"{report.frames} frames painted in {report.seconds:.1f} s, {report.fps:.1f} fps, {report.dropped} dropped, "
        f"latency p50 {report.latency_p50_ms:.0f} ms, p95 {report.latency_p95_ms:.0f} ms"
        + (f": {record}" if record else "")
    )
