"""`allaprima video`: real clips in, real clips out."""

import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from clips import (
    TICK,
    UNEVEN_TICKS,
    Picture,
    distance,
    make_clip,
    make_sound,
    moving_picture,
    patch_means,
    patches,
    read_clip,
)
from conftest import ROOT, RunCli
from tiny import frame_style

from allaprima.errors import InputError
from allaprima.infer.clip import MAX_SIDE_PX, open_clip, upright
from allaprima.infer.video import PaintedVideo, paint_video
from allaprima.infer.writer import VideoWriter


def identity(frame: Picture) -> Picture:
    return frame


class Witness:
    """Paints nothing and keeps what it saw."""

    def __init__(self) -> None:
        self.seen: list[Picture] = []

    def __call__(self, frame: Picture) -> Picture:
        self.seen.append(frame)
        return frame


def repaint(clip: Path, name: str = "out.mp4", **options: Any) -> tuple[PaintedVideo, Path]:
    output = clip.parent / name
    return paint_video(clip, options.pop("paint", identity), output, **options), output


def files(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


# The whole command.


def test_command_keeps_times_sound_and_size(tmp_path: Path, run_cli: RunCli) -> None:
    """Not smoothed: x264 then decodes in the clip's own order, of which an MP4's duration is a matter."""
    clip = make_clip(tmp_path / "clip.mp4", sound=["aac"])
    style = frame_style(tmp_path / "negative.onnx")
    done = run_cli("video", clip, "--style", style, "-o", tmp_path / "out.mp4", "--smooth", 0)
    assert (done.returncode, done.stderr) == (0, "")
    assert f"{len(UNEVEN_TICKS)} frames painted" in done.stdout
    before, after = read_clip(clip), read_clip(tmp_path / "out.mp4")
    assert after.codec == "h264"
    assert after.size == before.size == (64, 48)
    assert after.times == before.times == [pts * TICK for pts in UNEVEN_TICKS]
    assert after.duration == before.duration
    assert after.sound == before.sound
    assert len(after.sound[0]) > 20
    for old, new in zip(before.pictures, after.pictures, strict=True):
        assert distance(255 - old, new) < 6
    assert files(tmp_path) == {"clip.mp4", "negative.onnx", "out.mp4"}


def test_real_clip_with_another_projects_network(tmp_path: Path, shared: Path, run_cli: RunCli) -> None:
    with av.open(str(shared / "clips" / "webcam_asl_book.mp4")) as container:
        frames = [f.to_ndarray(format="rgb24") for f, _ in zip(container.decode(video=0), range(6), strict=False)]
    clip = make_clip(
        tmp_path / "clip.mp4",
        size=(320, 240),
        ticks=UNEVEN_TICKS[: len(frames)],
        picture=lambda number, w, h: np.ascontiguousarray(frames[number][::2, ::2].astype(np.uint8)),
    )
    style = shared / "peers" / "narrow8-mosaic.onnx"
    done = run_cli("video", clip, "--style", style, "-o", tmp_path / "out.mkv", "--threads", 1)
    assert done.returncode == 0, done.stderr
    before, after = read_clip(clip), read_clip(tmp_path / "out.mkv")
    assert len(after.times) == len(before.times)
    assert distance(before.pictures[3], after.pictures[3]) > 20  # painted
    assert "rounds times to the millisecond" in done.stdout
    assert all(abs(a - b) <= Fraction(1, 2000) for a, b in zip(before.times, after.times, strict=True))


def test_ctrl_c_finishes_the_file(tmp_path: Path) -> None:
    clip = make_clip(
        tmp_path / "clip.mov",
        size=(320, 240),
        ticks=range(0, 500_000, 1000),
        picture=noise,
        sound=["aac"],
        codec="mjpeg",
        pix_fmt="yuvj420p",
    )
    style = frame_style(tmp_path / "negative.onnx")
    command = [sys.executable, "-m", "allaprima", "video", str(clip), "--style", str(style)]
    command += ["-o", str(tmp_path / "out.mp4")]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while not list(tmp_path.glob(".out.*.partial.mp4")):
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate()
    assert (process.returncode, stderr) == (130, "allaprima: stopped\n")
    frames = len(read_clip(tmp_path / "out.mp4").times)
    assert 1 <= frames < 500
    assert f"{frames} of 500 frames painted" in stdout
    assert files(tmp_path) == {"clip.mov", "negative.onnx", "out.mp4"}


def noise(number: int, width: int, height: int) -> Picture:
    """Hard to encode, so that a clip takes its time."""
    return np.roll(_NOISE[:height, :width], 7 * number, axis=1)


_NOISE = np.random.default_rng(0).integers(0, 255, (480, 640, 3), dtype=np.uint8)


# Times.


@pytest.mark.parametrize(("name", "time_base"), [("c.mkv", Fraction(1, 1000)), ("c.mov", Fraction(1, 600))])
def test_times_are_exact_from_other_containers(tmp_path: Path, name: str, time_base: Fraction) -> None:
    clip = make_clip(tmp_path / name, ticks=[40, 77, 131, 250, 251, 400], time_base=time_base, last_duration=20)
    result, output = repaint(clip)
    assert result == PaintedVideo(6, result.of_frames, stopped=False, shortfall=None, exact=True)
    assert read_clip(output).times == read_clip(clip).times == [t * time_base for t in (40, 77, 131, 250, 251, 400)]


@pytest.mark.parametrize("seed", range(4))
def test_times_are_exact_at_random(tmp_path: Path, seed: int) -> None:
    random = np.random.default_rng(seed)
    rates = [Fraction(1, 90000), Fraction(1001, 30000), Fraction(1, 1_000_000), Fraction(1, 12288)]
    time_base, longest = rates[seed], [3000, 10, 3000, 3000][seed]
    ticks = [int(t) for t in random.integers(0, longest) + np.cumsum(random.integers(1, longest, 30))]
    clip = make_clip(tmp_path / "clip.mp4", ticks=ticks, time_base=time_base, sound=["aac"])
    _, output = repaint(clip)
    before, after = read_clip(clip), read_clip(output)
    assert after.times == before.times == [t * time_base for t in ticks]
    assert after.duration == before.duration
    assert after.sound == before.sound


# Sound.


def test_all_sound_tracks_are_copied(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.mp4", sound=["aac", "ac3"])
    _, output = repaint(clip)
    before, after = read_clip(clip), read_clip(output)
    assert after.sound_codecs == ["aac", "ac3"]
    assert after.sound == before.sound
    assert before.sound[0] != before.sound[1]


def test_sound_that_does_not_fit_is_refused_and_fits_matroska(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.mkv", sound=["wavpack"])
    with pytest.raises(InputError, match=r"a \.mp4 file cannot hold the clip's sound \(wavpack\): .*\.mkv"):
        repaint(clip)
    assert files(tmp_path) == {"clip.mkv"}
    _, output = repaint(clip, "out.mkv")
    assert [p[0] for p in read_clip(output).sound[0]] == [p[0] for p in read_clip(clip).sound[0]]


# Pictures.


@pytest.mark.parametrize("degrees", [90, 180, -90])
def test_rotated_clip_is_written_upright(tmp_path: Path, degrees: int) -> None:
    clip = make_clip(tmp_path / "clip.mp4", rotation=degrees, aspect=Fraction(4, 3))
    witness = Witness()
    _, output = repaint(clip, paint=witness)
    before, after = read_clip(clip), read_clip(output)
    assert (abs(before.rotation), after.rotation) == (abs(degrees), 0)
    assert after.size == ((64, 48) if degrees == 180 else (48, 64))
    assert {frame.shape for frame in witness.seen} == {(after.size[1], after.size[0], 3)}
    assert after.aspect == (Fraction(4, 3) if degrees == 180 else Fraction(3, 4))
    quarters = degrees // 90  # PyAV counts them counter-clockwise, as NumPy does
    for old, new in zip(before.pictures, after.pictures, strict=True):
        assert distance(np.ascontiguousarray(np.rot90(old, quarters)), new) < 6


@pytest.mark.parametrize("rows", [
    [(1, 0), (0, 1)], [(-1, 0), (0, 1)], [(1, 0), (0, -1)], [(-1, 0), (0, -1)],
    [(0, 1), (1, 0)], [(0, -1), (1, 0)], [(0, 1), (-1, 0)], [(0, -1), (-1, 0)],
])  # fmt: skip
def test_upright_moves_every_point_as_the_matrix_says(rows: list[tuple[int, int]]) -> None:
    picture = np.random.default_rng(1).integers(0, 255, (3, 5, 3), dtype=np.uint8)
    matrix = np.eye(3, dtype=np.int32)
    matrix[:2, :2] = np.array(rows) * 65536
    turned = upright(picture, matrix)
    points = {(x, y): np.array([x, y]) @ np.array(rows) for x in range(5) for y in range(3)}
    corner = np.min(list(points.values()), axis=0)
    for (x, y), point in points.items():
        to_x, to_y = point - corner
        assert (turned[to_y, to_x] == picture[y, x]).all()


@pytest.mark.parametrize("size", [(65, 48), (64, 49), (65, 49)])
def test_odd_sides_grow_by_one(tmp_path: Path, size: tuple[int, int]) -> None:
    clip = make_clip(tmp_path / "clip.mkv", size=size, codec="ffv1", pix_fmt="yuv444p")
    witness = Witness()
    _, output = repaint(clip, paint=witness)
    after = read_clip(output)
    assert witness.seen[0].shape == (size[1], size[0], 3)
    assert after.size == (64 + 2 * (size[0] % 2), 48 + 2 * (size[1] % 2))
    grown = np.pad(witness.seen[0], ((0, size[1] % 2), (0, size[0] % 2), (0, 0)), mode="edge")
    assert distance(grown, after.pictures[0]) < 6


@pytest.mark.parametrize(("size", "pix_fmt", "tags", "matrix"), [
    ((64, 48), "yuv420p", {}, 6),
    ((64, 48), "yuv420p", {"colorspace": 1, "color_primaries": 1, "color_trc": 1}, 1),
    ((64, 48), "yuvj420p", {"color_range": 2}, 6),
    ((64, 48), "yuvj420p", {"color_range": 2, "colorspace": 1}, 1),
    ((1280, 720), "yuv420p", {}, 1),
    ((64, 48), "yuv420p", {"colorspace": 5}, 5),
])  # fmt: skip
def test_colours_stay(tmp_path: Path, size: tuple[int, int], pix_fmt: str, tags: dict[str, int], matrix: int) -> None:
    clip = make_clip(tmp_path / "clip.mp4", size=size, ticks=[0, 1000], pix_fmt=pix_fmt, tags=tags, picture=patches)
    _, output = repaint(clip, crf=4)
    before, after = read_clip(clip), read_clip(output)
    assert after.tags == (matrix, 1, *before.tags[2:])
    if "colorspace" in tags or size[1] < 720:  # else the oracle does not know the matrix of what has no tag
        for old, new in zip(before.pictures, after.pictures, strict=True):
            assert np.abs(patch_means(old) - patch_means(new)).max() < 2


def test_style_sees_the_clips_colours(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.mp4", tags={"colorspace": 1}, picture=patches)
    witness = Witness()
    repaint(clip, paint=witness)
    for picture, truth in zip(witness.seen, read_clip(clip).pictures, strict=True):
        assert np.abs(patch_means(picture) - patch_means(truth)).max() < 1


# Bad input.


def broken(folder: Path, kind: str) -> Path:
    path = folder / "bad.mp4"
    if kind == "missing":
        return path
    whole = make_clip(folder / "whole.mp4").read_bytes()
    contents = {
        "empty": b"",
        "text": b"no video\n" * 500,
        "without its index": whole[: whole.rindex(b"moov") - 4],
        "a playlist": b"#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\nhttp://127.0.0.1:9/x.ts\n#EXT-X-ENDLIST\n",
        "a script": b"ffconcat version 1.0\nfile whole.mp4\n",
    }
    (folder / "whole.mp4").unlink()
    path.write_bytes(contents[kind])
    return path


@pytest.mark.parametrize("kind", ["missing", "empty", "text", "without its index", "a playlist", "a script"])
def test_what_is_no_video_is_refused(tmp_path: Path, kind: str) -> None:
    clip = broken(tmp_path, kind)
    before = files(tmp_path)
    with pytest.raises(InputError, match=f"clip '{clip}' (does not exist|is not a video that can be read)"):
        repaint(clip)
    assert files(tmp_path) == before


def test_sound_without_pictures_is_refused_in_one_line(tmp_path: Path, run_cli: RunCli) -> None:
    clip = make_sound(tmp_path / "tone.mp4")
    style = frame_style(tmp_path / "negative.onnx")
    done = run_cli("video", clip, "--style", style, "-o", tmp_path / "out.mp4")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"allaprima: clip '{clip}' has no video stream: choose a file with moving pictures\n"
    assert files(tmp_path) == {"tone.mp4", "negative.onnx"}


@pytest.mark.parametrize("name", ["clip.mp4", "clip.mkv"])
def test_clip_cut_in_the_middle_is_painted_as_far_as_it_goes(tmp_path: Path, name: str) -> None:
    whole = make_clip(tmp_path / f"whole{Path(name).suffix}", ticks=range(0, 120_000, 1000), picture=noise)
    if name == "clip.mp4":  # with its index at the front, or nothing could be read
        whole = index_first(whole, tmp_path / "front.mp4")
    clip = tmp_path / name
    clip.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    result, output = repaint(clip, "out.mp4")
    assert result.shortfall is not None
    assert result.shortfall.startswith("it ends after ")
    assert 20 < result.frames < 100
    assert len(read_clip(output).times) == result.frames


def index_first(source: Path, target: Path) -> Path:
    """The same mp4 with its index at the front."""
    with av.open(str(source)) as old, av.open(str(target), "w", container_options={"movflags": "faststart"}) as new:
        stream = new.add_stream_from_template(old.streams.video[0])
        for packet in old.demux(old.streams.video[0]):
            if packet.dts is not None:
                packet.stream = stream
                new.mux(packet)
    return target


@pytest.mark.parametrize(("size", "match"), [((MAX_SIDE_PX + 8, 16), "at most 8192"), ((64, 8), "at least 16")])
def test_sizes_that_cannot_be_painted_are_refused(tmp_path: Path, size: tuple[int, int], match: str) -> None:
    clip = make_clip(tmp_path / "clip.mkv", size=size, ticks=[0], codec="mjpeg", pix_fmt="yuvj420p")
    with pytest.raises(InputError, match=f"clip '{clip}' is {size[0]}x{size[1]} px: expected {match}"):
        repaint(clip)


def test_output_that_is_the_clip_is_refused(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.mp4")
    before = clip.read_bytes()
    (tmp_path / "link.mp4").symlink_to(clip)
    for name in ("clip.mp4", "link.mp4"):
        with pytest.raises(InputError, match="is the clip itself: choose another name"):
            repaint(clip, name)
    assert clip.read_bytes() == before


@pytest.mark.parametrize(("name", "match"), [
    ("out.webm", r"--output: .* ends in '\.webm', expected \.mp4"),
    ("out", r"ends in ''"),
    ("none/out.mp4", "output folder .* does not exist"),
])  # fmt: skip
def test_outputs_that_cannot_be_are_refused(tmp_path: Path, name: str, match: str) -> None:
    clip = make_clip(tmp_path / "clip.mp4")
    with pytest.raises(InputError, match=match):
        repaint(clip, name)
    assert files(tmp_path) == {"clip.mp4"}


def test_crf_out_of_range(tmp_path: Path, run_cli: RunCli) -> None:
    done = run_cli("video", "clip.mp4", "--style", "any", "-o", "out.mp4", "--crf", 52, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (2, "allaprima: --crf: got 52, expected 0 (lossless) to 51\n")


def test_full_disk(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.mp4", size=(320, 240), ticks=range(0, 60_000, 1000), picture=noise)
    style = frame_style(tmp_path / "negative.onnx")
    (tmp_path / "out.mp4").write_bytes(b"older")
    done = subprocess.run(
        [sys.executable, "-m", "allaprima", "video", clip, "--style", style, "-o", tmp_path / "out.mp4"],
        cwd=ROOT,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000)),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2, done
    assert (
        done.stderr
        == f"allaprima: no space left to write '{tmp_path / 'out.mp4'}': free some disk space and try again\n"
    )
    assert (tmp_path / "out.mp4").read_bytes() == b"older"
    assert files(tmp_path) == {"clip.mp4", "negative.onnx", "out.mp4"}


# The stages.


@pytest.fixture
def no_thread_stays() -> Iterator[None]:
    yield
    assert not [t for t in threading.enumerate() if t.name == "ahead"]


@pytest.mark.usefixtures("no_thread_stays")
def test_a_style_that_fails_ends_everything(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.mp4")
    painted = 0

    def fails(frame: Picture) -> Picture:
        nonlocal painted
        painted += 1
        if painted == 3:
            raise InputError("no more paint")
        return frame

    with pytest.raises(InputError, match="no more paint"):
        repaint(clip, paint=fails)
    assert painted == 3
    assert files(tmp_path) == {"clip.mp4"}


@pytest.mark.usefixtures("no_thread_stays")
def test_a_decoder_that_fails_ends_everything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clip = make_clip(tmp_path / "clip.mp4")
    calls = iter(range(100))

    def fails(picture: Picture, matrix: object) -> Picture:
        if next(calls) == 3:
            raise MemoryError("decoder")
        return picture

    monkeypatch.setattr("allaprima.infer.clip.upright", fails)
    with pytest.raises(MemoryError, match="decoder"):
        repaint(clip)
    assert files(tmp_path) == {"clip.mp4"}


@pytest.mark.usefixtures("no_thread_stays")
def test_an_encoder_that_fails_ends_everything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clip = make_clip(tmp_path / "clip.mp4")
    (tmp_path / "out.mp4").write_bytes(b"older")
    write = VideoWriter.write

    def fails(self: VideoWriter, picture: Picture, pts: int, duration: int = 0) -> None:
        if pts > UNEVEN_TICKS[3]:
            raise MemoryError("encoder")
        write(self, picture, pts, duration)

    monkeypatch.setattr(VideoWriter, "write", fails)
    with pytest.raises(MemoryError, match="encoder"):
        repaint(clip)
    assert files(tmp_path) == {"clip.mp4", "out.mp4"}
    assert (tmp_path / "out.mp4").read_bytes() == b"older"


@pytest.mark.usefixtures("no_thread_stays")
def test_stopped_after_five_frames_gives_a_file_of_five(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.mp4", sound=["aac"])
    seen: list[tuple[int, int | None]] = []
    result, output = repaint(clip, on_frame=lambda *now: seen.append(now), stopped=lambda: len(seen) == 5)
    assert seen == [(n, 12) for n in range(1, 6)]
    assert (result.frames, result.of_frames, result.stopped) == (5, 12, True)
    before, after = read_clip(clip), read_clip(output)
    assert after.times == before.times[:5]
    assert after.sound[0] == before.sound[0][: len(after.sound[0])]
    assert 0 < len(after.sound[0]) < len(before.sound[0])


def test_frames_are_read_upright_with_their_times(tmp_path: Path) -> None:
    with open_clip(make_clip(tmp_path / "clip.mp4", rotation=90)) as clip:
        assert (clip.width, clip.height, clip.frames) == (48, 64, 12)
        shots = list(clip.shots())
    assert [shot.pts for shot in shots] == UNEVEN_TICKS
    assert shots[0].picture.shape == (64, 48, 3)
    assert distance(np.ascontiguousarray(np.rot90(moving_picture(0, 64, 48))), shots[0].picture) < 8
