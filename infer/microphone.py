"""The sound of a microphone, heard on a thread of its own and laid on the times of the pictures.

FFmpeg, through PyAV, reads the device: ALSA on Linux, DirectShow on Windows, AVFoundation on macOS.
"""

import math
import os
import sys
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from threading import Lock, Thread
from time import monotonic, sleep

import av
import av.error
from av.audio.fifo import AudioFifo
from av.audio.frame import AudioFrame
from av.container import InputContainer
from av.filter import Graph

from ..errors import InputError
from .clip import reason

RATE = 48_000
"""Samples per second of what `SoundTrack` gives."""
_PADDING = Fraction(1024, RATE)  # seconds that an AAC encoder puts before its first sample; no file begins before 0
_KEEP_S = 10.0  # who fetches later than that loses the oldest
_JOIN_S = 1.0  # a device that hangs is left to its thread, which ends with the process
_WINDOW_S = 1.0
_LEAST_S = 0.01  # of a block: some devices give single samples
_FASTEST, _BURST_S = 1.02, 0.5  # of time, and beyond that: no device that hears gives sound sooner
_LATE_S = 0.03  # less is the clocks' jitter
_MICROSECOND = Fraction(1, 1_000_000)
_ALSA_FOLDER = Path("/usr/share/alsa")


@dataclass(frozen=True, eq=False)
class Block:
    """Some sound and when it began."""

    samples: AudioFrame
    time_s: float
    """Monotonic seconds, of the first sample."""


class Microphone:
    """Hears while it is open, and keeps the latest seconds until they are fetched. A context manager.

    Args:
        container: what PyAV opened.
        name: what the user calls it.
    """

    problem: str | None = None
    """Why it hears nothing any more, for people; None: it hears."""

    def __init__(self, container: InputContainer, name: str) -> None:
        self.name = name
        self._container, self.stream = container, container.streams.audio[0]
        self.layout = "mono" if self.stream.codec_context.channels == 1 else "stereo"
        self._blocks: deque[Block] = deque()
        self._lock = Lock()
        self._stopped = False
        self._thread = Thread(target=self._run, name="microphone", daemon=True)

    def __enter__(self) -> "Microphone":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped = True
        self._thread.join(_JOIN_S)

    def fetch(self) -> list[Block]:
        """What was heard since the last call."""
        with self._lock:
            blocks, self._blocks = self._blocks, deque()
        return list(blocks)

    def _run(self) -> None:
        rate = self.stream.codec_context.rate
        clock, fifo, begun_s, heard = SampleClock(rate), AudioFifo(), monotonic(), 0
        try:
            for samples in self._container.decode(self.stream):
                if self._stopped:
                    break
                samples.pts = None  # the device's own, from another zero
                fifo.write(samples)
                if fifo.samples < _LEAST_S * rate:
                    continue
                block, now_s = fifo.read(), monotonic()
                assert block is not None
                self._keep(Block(block, clock.start_s(block.samples, now_s)))
                heard += block.samples
                if (ahead_s := heard / rate - _FASTEST * (now_s - begun_s) - _BURST_S) > 0:
                    sleep(ahead_s)  # ALSA's null, for one, gives hours of silence in a second
            else:
                self.problem = f"{self.name} fell silent: the sound ends here"
        except (av.FFmpegError, OSError) as error:
            self.problem = f"{self.name} fell silent ({reason(error)}): the sound ends here"
        self._container.close()

    def _keep(self, block: Block) -> None:
        with self._lock:
            self._blocks.append(block)
            while self._blocks[0].time_s < block.time_s - _KEEP_S:
                self._blocks.popleft()


class SampleClock:
    """When sound was heard, from when its blocks arrived: some late, never early.

    Samples follow each other without a gap, at a rate that a second's least late block bears out. Where even that one
    is late, samples were lost, or the device's clock is slower than this machine's.
    """

    def __init__(self, rate: int) -> None:
        self._rate = rate
        self._samples = 0
        self._zero_s = self._least_s = float("inf")  # when the first of all samples was heard, if none was lost
        self._window_end_s = -float("inf")

    def start_s(self, samples: int, arrival_s: float) -> float:
        """When a block of so many samples, which follows the one before, began; monotonic seconds like `arrival_s`."""
        zero_s = arrival_s - (self._samples + samples) / self._rate
        self._zero_s, self._least_s = min(self._zero_s, zero_s), min(self._least_s, zero_s)
        if arrival_s > self._window_end_s:
            if self._least_s > self._zero_s + _LATE_S:
                self._zero_s = self._least_s
            self._least_s, self._window_end_s = float("inf"), arrival_s + _WINDOW_S
        start_s = self._zero_s + self._samples / self._rate
        self._samples += samples
        return start_s


class SoundTrack:
    """A microphone's sound from `start_s` (monotonic seconds) on, without gaps: silence where there was none.

    Where the clocks of microphone and machine drift apart, it is stretched or shortened, by 2 % at most.
    """

    def __init__(self, microphone: Microphone, start_s: float) -> None:
        self._microphone, self._start_s = microphone, start_s
        self._graph = Graph()
        first_sample = math.ceil(_PADDING * microphone.stream.codec_context.rate)
        self._graph.link_nodes(
            self._graph.add_abuffer(template=microphone.stream, time_base=_MICROSECOND),
            self._graph.add("aresample", f"{RATE}:async=1000:min_hard_comp={_LATE_S}:first_pts={first_sample}"),
            self._graph.add("aformat", f"sample_fmts=fltp:channel_layouts={microphone.layout}"),
            self._graph.add("abuffersink"),
        ).configure()

    def heard(self) -> Iterator[AudioFrame]:
        """Yield what was heard since the last call: float samples at `RATE`, times from `start_s` on."""
        for block in self._microphone.fetch():
            block.samples.pts = round((block.time_s - self._start_s) / float(_MICROSECOND))
            block.samples.time_base = _MICROSECOND
            self._graph.push(block.samples)
        with suppress(av.error.BlockingIOError):
            while True:
                samples = self._graph.pull()
                assert isinstance(samples, AudioFrame)
                yield samples


def open_microphone() -> Microphone:
    """Open the one that this system's programs hear by default.

    Raises:
        InputError: there is none, or it cannot be opened.
    """
    reasons = []
    for format_, device, options in _devices():
        try:
            with _alsa_says_nothing():
                return Microphone(av.open(device, format=format_, options=options), "the microphone")
        except (av.FFmpegError, OSError, ValueError, IndexError) as error:
            reasons.append(f"{device}: {reason(error)}")
    raise InputError(
        f"--record-sound: no microphone can be opened ({'; '.join(reasons) or 'this system shows none'}): plug one in, "
        "allow this program to hear it, or leave the flag out"
    )


def _devices() -> list[tuple[str, str, dict[str, str]]]:
    """FFmpeg's format, its name of the device, and options; the best first."""
    if sys.platform == "win32":
        found = []
        with suppress(av.FFmpegError, OSError):  # none
            found = [device.name for device in av.enumerate_input_devices("dshow") if "audio" in device.media_types]
        return [("dshow", f"audio={name}", {"audio_buffer_size": "50"}) for name in found]  # ms; its own 500 are late
    if sys.platform == "darwin":
        return [("avfoundation", ":default", {})]
    _show_alsa_its_files()
    return [("alsa", "default", {}), ("alsa", "sysdefault", {})]


def _show_alsa_its_files() -> None:
    """The ALSA inside PyAV's wheels looks for its files, code among them, below /tmp: show it the system's."""
    plugins = [*Path("/usr/lib").glob("*/alsa-lib"), Path("/usr/lib64/alsa-lib"), Path("/usr/lib/alsa-lib")]
    os.environ.setdefault("ALSA_CONFIG_DIR", str(_ALSA_FOLDER))
    os.environ.setdefault("ALSA_PLUGIN_DIR", str(next((folder for folder in plugins if folder.is_dir()), plugins[-1])))


@contextmanager
def _alsa_says_nothing() -> Iterator[None]:
    """ALSA complains on stderr, past Python; the one line that counts is ours."""
    if sys.platform != "linux":
        yield
        return
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
