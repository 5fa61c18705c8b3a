"""`allaprima tune`: the search on cheap functions, in real studies and processes; and one search on real paintings."""

import json
import math
import re
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import filelock
import optuna
import pytest
from conftest import ROOT, RunCli
from PIL import Image

from allaprima.cli import main, parse
from allaprima.commands import train as train_command
from allaprima.commands import tune as tune_command
from allaprima.errors import InputError
from allaprima.pictures import read_picture, write_picture
from allaprima.train import study_plots
from allaprima.train.config import TrainConfig
from allaprima.train.space import KNOWN, RANGES, Choice, Range, parse_names, search_space, steps_for_equal_work
from allaprima.train.tune import DATABASE, MOST_KILLED, PATIENCE, TRIALS, Attempt, Outcome, Study

DEFAULTS = {"learning_rate": TrainConfig.learning_rate, "warmup": TrainConfig.warmup}
LOOKS = 10


def bowl(attempt: Attempt) -> dict[str, float]:
    """J of two paintings, lowest (1 and 2) at a rate of 0.1 without warm-up; falls from look to look, as J does."""
    rate, warmup = attempt.settings["learning_rate"], attempt.settings["warmup"]
    j = 1 + (math.log10(rate) + 1) ** 2 + warmup
    for look in range(1, LOOKS):
        attempt.report(look, j + 1 / look)
    return {"a": j, "b": 2 * j}


def study(
    folder: Path, *, steps: int = 3, seed: int = 0, names: tuple[str, ...] = ("learning_rate", "warmup")
) -> Study:
    space = search_space(names, batch=TrainConfig.batch, size=TrainConfig.size)
    defaults = {name: getattr(TrainConfig, name) for name in names}
    settings = {"PAINTING": {"a": "1234", "b": "5678"}, "--steps": steps}
    return Study(folder, space=space, defaults=defaults, settings=settings, facts={"k": {"a": 3.0}}, seed=seed)


def search(folder: Path, most: int, objective: Callable[[Attempt], dict[str, float]] = bowl) -> list[Outcome]:
    with study(folder) as opened:
        return list(opened.search(objective, seconds=600, most=most))


def test_the_search_begins_at_the_defaults_and_finds_better(tmp_path: Path) -> None:
    outcomes = search(tmp_path, 30)
    assert [outcome.number for outcome in outcomes] == list(range(30))
    assert outcomes[0].settings == DEFAULTS
    first = 1 + (math.log10(DEFAULTS["learning_rate"]) + 1) ** 2 + DEFAULTS["warmup"]
    assert outcomes[0].j == pytest.approx({"a": first, "b": 2 * first})
    assert outcomes[0].value == pytest.approx(first * math.sqrt(2))  # the geometric mean
    with study(tmp_path) as opened:
        best, reference = opened.best(), opened.reference()
        importance = opened.importance()
    assert reference == outcomes[0]
    assert best in outcomes
    assert best is not None
    assert best.value is not None
    assert best.value < 1.05 * math.sqrt(2)
    assert sum(importance.values()) == pytest.approx(1)
    assert importance.keys() == DEFAULTS.keys()


def test_what_is_worse_than_the_median_is_given_up_but_not_at_once(tmp_path: Path) -> None:
    looks: dict[int, int] = {}

    def counted(attempt: Attempt) -> dict[str, float]:
        j = 2.0 if attempt.number == 7 else 1.0
        for look in range(1, LOOKS):
            looks[attempt.number] = look
            attempt.report(look, j)
        return {"a": j}

    outcomes = search(tmp_path, 9, counted)
    assert [outcome.state for outcome in outcomes] == ["done"] * 7 + ["given up", "done"]
    assert looks == {number: PATIENCE if number == 7 else LOOKS - 1 for number in range(9)}
    assert outcomes[7].reason == f"worse than the median at look {PATIENCE}"
    assert outcomes[7].value is None


def test_settings_stay_in_their_ranges_and_can_be_typed(tmp_path: Path) -> None:
    with study(tmp_path, names=KNOWN) as opened:
        outcomes = list(opened.search(lambda attempt: {"a": 1.0}, seconds=600, most=12))
        assert opened.importance().keys() == set(KNOWN)
        assert len(study_plots.draw(opened)) == 3
    for outcome in outcomes:
        for name, value in outcome.settings.items():
            part = opened.space[name]
            if isinstance(part, Range):
                assert part.low * 0.995 <= value <= part.high
                assert len(f"{value:g}".replace(".", "").strip("0")) <= 3
            else:
                assert value in part.values
        TrainConfig(painting=Path("p"), photos="p", **outcome.settings)  # type: ignore[arg-type]


def test_a_search_in_two_parts_is_the_search_in_one(tmp_path: Path) -> None:
    whole = [outcome.settings for outcome in search(tmp_path / "whole", 12)]
    parts = [outcome.settings for outcome in search(tmp_path / "parts", 7) + search(tmp_path / "parts", 5)]
    assert parts == whole
    assert len({tuple(settings.items()) for settings in whole}) == 12


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_failing_trial_is_counted_and_the_search_goes_on(tmp_path: Path, value: float) -> None:
    def moody(attempt: Attempt) -> dict[str, float]:
        if attempt.number == 1:
            raise InputError("training gave up: the loss is not a number any more")
        return {"a": value if attempt.number == 3 else 1.0}

    outcomes = search(tmp_path, 5, moody)
    assert [outcome.state for outcome in outcomes] == ["done", "failed", "done", "failed", "done"]
    assert "gave up" in outcomes[1].reason
    assert outcomes[3].reason == "J is not a number any more"


def test_when_all_fails_the_search_ends(tmp_path: Path) -> None:
    def fail(attempt: Attempt) -> dict[str, float]:
        raise InputError("no space left")

    with pytest.raises(InputError, match="3 trials in a row failed, the last: no space left"):
        search(tmp_path, 10, fail)


def test_an_error_in_the_program_is_not_hidden(tmp_path: Path) -> None:
    def broken(attempt: Attempt) -> dict[str, float]:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        search(tmp_path, 1, broken)
    assert search(tmp_path, 1)[0].number == 1


def test_a_stopped_trial_is_the_next_one(tmp_path: Path) -> None:
    def stopped(attempt: Attempt) -> dict[str, float]:
        if attempt.number == 2:
            raise KeyboardInterrupt
        return bowl(attempt)

    with pytest.raises(KeyboardInterrupt):
        search(tmp_path, 10, stopped)
    with study(tmp_path) as opened:
        before = opened.outcomes()
        after = next(opened.search(bowl, seconds=600))
    assert [outcome.state for outcome in before] == ["done", "done", "failed"]
    assert before[2].reason == "stopped"
    assert (after.number, after.settings) == (3, before[2].settings)


def test_time_is_kept(tmp_path: Path) -> None:
    def slow(attempt: Attempt) -> dict[str, float]:
        time.sleep(0.3)
        return {"a": 1.0}

    with study(tmp_path) as opened:
        assert list(opened.search(slow, seconds=0)) == []
        assert len(list(opened.search(slow, seconds=0.5))) == 1  # another would not fit
        assert len(list(opened.search(slow, seconds=0.1))) == 1  # the first is always begun
        assert list(opened.search(slow, seconds=60, stopped=lambda: True)) == []


def test_a_study_of_something_else_is_refused(tmp_path: Path) -> None:
    search(tmp_path, 1)
    with pytest.raises(InputError, match=r"has other settings: --steps was 3, is now 4: give the same, or choose"):
        study(tmp_path, steps=4).__enter__()
    other = "over was learning_rate, warmup, is now learning_rate, clip"
    with pytest.raises(InputError, match=other):
        study(tmp_path, names=("learning_rate", "clip")).__enter__()


def test_what_was_measured_first_is_kept(tmp_path: Path) -> None:
    search(tmp_path, 1)
    again = study(tmp_path)
    again.facts = {"k": {"a": 4.0}}
    with again:
        assert again.facts == {"k": {"a": 3.0}}


def test_folders_that_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / DATABASE).write_text("not a database, and long enough to be looked at as one" * 20)
    with pytest.raises(InputError, match=r"study\.db' cannot be used \(file is not a database\)"):
        study(tmp_path).__enter__()
    (tmp_path / DATABASE).unlink()
    (tmp_path / "trials" / "0000").mkdir()
    with pytest.raises(InputError, match=r"holds trials but no study\.db"):
        study(tmp_path).__enter__()
    with pytest.raises(InputError, match="cannot write '/proc/study'"):
        study(Path("/proc/study")).__enter__()
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot write"):
        study(tmp_path / "file" / "study").__enter__()


def test_a_study_of_another_optuna_is_refused(tmp_path: Path) -> None:
    search(tmp_path, 1)
    with sqlite3.connect(tmp_path / DATABASE) as database:
        database.execute("UPDATE alembic_version SET version_num = 'v9.9.9'")
    database.close()
    with pytest.raises(InputError, match="is of another version of Optuna"):
        study(tmp_path).__enter__()


def test_a_folder_with_an_odd_name(tmp_path: Path) -> None:
    folder = tmp_path / "a {b} %20 ?c=1 #"
    search(folder, 1)
    assert (folder / DATABASE).is_file()


def test_plots_are_drawn_once_there_is_something_to_draw(tmp_path: Path) -> None:
    for done, expected in ((1, []), (2, ["history", "slices"]), (8, ["history", "slices", "importance"])):
        with study(tmp_path, names=("learning_rate",)) as opened:
            missing = done - len(opened.outcomes())
            list(opened.search(lambda attempt: {"a": 1.0 + attempt.number}, seconds=600, most=missing))
            paths = study_plots.draw(opened)
        assert [path.stem for path in paths] == expected
        for path in paths:
            assert min(read_picture(path).shape[:2]) > 200
    assert not list(tmp_path.glob(".*partial*"))


WORKER = """
import sys, time
from pathlib import Path
from test_tune import bowl, study
def objective(attempt):
    print(attempt.number, flush=True)
    time.sleep(float(sys.argv[2]))
    return bowl(attempt)
with study(Path(sys.argv[1])) as opened:
    for outcome in opened.search(objective, seconds=600, most=5):
        pass
"""


@pytest.fixture
def worker() -> Iterator[Callable[[Path, float], "subprocess.Popen[str]"]]:
    """A process of its own at work on a study, each trial so many seconds long; it prints the trials' numbers."""
    processes: list[subprocess.Popen[str]] = []

    def start(folder: Path, seconds: float) -> "subprocess.Popen[str]":
        command = [sys.executable, "-W", "error", "-c", WORKER, str(folder), str(seconds)]
        environment = {"PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}", "OMP_NUM_THREADS": "1"}
        process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        processes.append(process)
        return process

    yield start
    for process in processes:
        if process.poll() is None:
            process.kill()
        process.communicate()


def test_two_processes_share_a_study(tmp_path: Path, worker: Callable[..., "subprocess.Popen[str]"]) -> None:
    both = [worker(tmp_path / "study", 0.1) for _ in range(2)]
    numbers: list[int] = []
    for process in both:
        output, errors = process.communicate(timeout=120)
        assert (process.returncode, errors) == (0, "")
        numbers += map(int, output.split())
    assert sorted(numbers) == list(range(10))
    with study(tmp_path / "study") as opened:
        outcomes = opened.outcomes()
    assert {outcome.state for outcome in outcomes} <= {"done", "given up"}
    assert sum(outcome.settings == DEFAULTS for outcome in outcomes) == 1
    assert len({tuple(outcome.settings.items()) for outcome in outcomes}) == 10


def test_a_killed_process_leaves_its_trial_to_the_others(
    tmp_path: Path, worker: Callable[..., "subprocess.Popen[str]"]
) -> None:
    process = worker(tmp_path, 600)
    assert process.stdout is not None
    assert process.stdout.readline() == "0\n"
    with study(tmp_path) as opened:
        alive = next(opened.search(bowl, seconds=600))  # the process lives: its trial is left alone
        process.kill()
        process.wait()
        again, later = opened.search(bowl, seconds=600, most=2)
        ended = opened.outcomes()
    assert alive.number == 1
    assert alive.settings != DEFAULTS
    assert (again.number, again.settings) == (2, DEFAULTS)
    assert later.settings not in (DEFAULTS, alive.settings)
    assert (ended[0].state, ended[0].reason) == ("failed", "its process was killed")


def test_a_trial_that_ends_while_it_is_looked_at_is_not_taken_for_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if another process, which saw it run, came to its lock only after it had ended."""
    with study(tmp_path) as opened:
        trial = opened.optuna.ask(opened._distributions)
        (tmp_path / TRIALS / "0000").mkdir()
        acquire = filelock.FileLock.acquire

        def ends_first(lock: filelock.FileLock) -> object:
            opened.optuna.tell(trial, 1.5)
            return acquire(lock)

        monkeypatch.setattr(filelock.FileLock, "acquire", ends_first)
        opened._bury_the_killed()
        (ended,) = opened.optuna.get_trials()  # and its settings are not to be tried again
    assert (ended.state, ended.value) == (optuna.trial.TrialState.COMPLETE, 1.5)


def test_settings_that_kill_are_not_tried_for_ever(tmp_path: Path) -> None:
    with study(tmp_path) as opened:
        for number in range(MOST_KILLED + 2):
            trial = opened.optuna.ask(opened._distributions)  # running, and nobody holds its lock
            assert trial.number == number
            assert (trial.params == DEFAULTS) == (number <= MOST_KILLED)
            opened._bury_the_killed()
        states = [trial.state for trial in opened.optuna.get_trials()]
    assert states == [*[optuna.trial.TrialState.FAIL] * (MOST_KILLED + 2), optuna.trial.TrialState.WAITING]


def test_every_range_holds_the_default() -> None:
    for name, part in search_space(KNOWN, batch=TrainConfig.batch, size=96).items():
        default = 96 if name == "size" else getattr(TrainConfig, name)
        assert default in part.values if isinstance(part, Choice) else part.low <= default <= part.high, name
    warmup, decay = RANGES["warmup"], RANGES["decay"]
    assert isinstance(warmup, Range)
    assert isinstance(decay, Range)
    assert warmup.high + decay.high <= 1


def test_names_are_read() -> None:
    assert parse_names(" learning-rate,clip, clip,") == ("learning_rate", "clip")


def test_all_trainings_see_as_many_pixels() -> None:
    def sized(batch: int, size: int) -> TrainConfig:
        return TrainConfig(painting=Path("p"), photos="p", batch=batch, size=size)

    base = sized(4, 160)
    assert steps_for_equal_work(200, base, base) == 200
    assert steps_for_equal_work(200, base, sized(8, 160)) == 100
    assert steps_for_equal_work(200, base, sized(4, 80)) == 800
    assert steps_for_equal_work(1, base, sized(16, 320)) == 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--over", "learning_rate,strength"], "--over: got 'strength', expected some of learning_rate, warmup"),
        (["--over", ","], "--over: got nothing, expected some of learning_rate"),
        (["--minutes", "-1"], "--minutes: got -1"),
        (["--trials", "0"], "--trials: got 0, expected at least 1"),
        (["--steps", "0"], "--steps: got 0, expected at least 1"),
        (["--size", "8"], "--size: got 8, expected at least 64"),
        (["--photos", "nowhere"], "photo folder 'nowhere' does not exist"),
        (["p.png", "other/p.png"], "two paintings are called 'p'"),
        (["missing.png"], "painting 'missing.png' does not exist"),
    ],
)
def test_what_is_wrong_is_one_line(
    words: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Image.radial_gradient("L").save("p.png")
    Path("photos").mkdir()
    Image.radial_gradient("L").save("photos/a.png")
    monkeypatch.setenv("ALLAPRIMA_VGG", "none.pth")
    paintings, flags = ([], words) if words[0].startswith("--") else (words, [])
    assert main(["tune", *(paintings or ["p.png"]), "--photos", "photos", "--out", "study", *flags]) == 2
    output, errors = capsys.readouterr()
    assert output == ""
    assert errors.startswith("allaprima: ")
    assert errors.count("\n") == 1
    assert message in errors
    assert not Path("study").exists()


def test_no_painting(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tune", "--photos", "p", "--out", "study"]) == 2
    assert capsys.readouterr().err.startswith("allaprima: PAINTINGS is missing")


@pytest.mark.parametrize("library", ["optuna", "matplotlib"])
def test_a_library_that_is_missing(
    library: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for module in ("study_plots", "trials", "tune"):
        monkeypatch.delitem(sys.modules, f"allaprima.train.{module}", raising=False)
        monkeypatch.delattr(f"allaprima.train.{module}", raising=False)
    monkeypatch.setitem(sys.modules, library, None)
    assert main(["tune", "p.jpg", "--photos", "p", "--out", "study"]) == 2
    wanted = f"allaprima: tuning needs {library}: pip install 'allaprima[cpu,train,tune]'\n"
    assert capsys.readouterr().err == wanted


@pytest.fixture(scope="module")
def words(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> list[object]:
    """A search with two real paintings and the smallest trainings, but for how long."""
    folder = tmp_path_factory.mktemp("tune")
    (folder / "train").mkdir()
    (folder / "val").mkdir()
    for photo in sorted((shared / "photos" / "train").glob("*.jpg"))[:6]:
        (folder / "train" / photo.name).symlink_to(photo)
    unseen = next((shared / "photos" / "val").glob("*.jpg"))
    write_picture(folder / "val" / "square.png", read_picture(unseen)[:288, :288])  # less to paint than all of it
    paintings = [shared / "paintings" / f"{name}.jpg" for name in ("starry_night", "great_wave")]
    places = ["--photos", folder / "train", "--val-photos", folder / "val", "--out", folder / "study"]
    weights = ["--vgg-weights", shared / "weights" / "vgg19-conv1_1-conv5_1.safetensors"]
    small = ["--size", 64, "--stroke-size", 0.25, "--batch", 1, "--steps", 11, "--from", "scratch", "--workers", 0]
    return ["tune", *paintings, *places, *weights, *small, "--over", "learning_rate,grid_weight"]


def folder_of(words: list[object]) -> Path:
    return Path(str(words[words.index("--out") + 1]))


@pytest.fixture(scope="module")
def searched(words: list[object], run_cli: RunCli) -> "subprocess.CompletedProcess[str]":
    """Two trials of that search."""
    done = run_cli(*words, "--trials", 2)
    assert (done.returncode, done.stderr) == (0, "")
    return done


def test_real_paintings(searched: "subprocess.CompletedProcess[str]", words: list[object]) -> None:
    folder = folder_of(words)
    lines = searched.stdout.splitlines()
    assert lines[0].startswith("trial 0: J ")
    rate = f"learning_rate {TrainConfig.learning_rate:g}"
    assert f"1.000 of the defaults'; {rate}, grid_weight 2; " in lines[0]
    assert lines[1].startswith("trial 1: J ")
    assert "2 trials done" in lines[2]
    reports = sorted(folder.glob("trials/*/*/report.json"))
    assert [str(path.parent.relative_to(folder / "trials")) for path in reports] == [
        f"{number:04}/{name}" for number in range(2) for name in ("great_wave", "starry_night")
    ]
    contents = [json.loads(path.read_text()) for path in reports]
    for report in contents:
        assert report["step"] == 11
        assert report["figures"]["photos"] == 1
    for first, second in ((0, 2), (1, 3)):  # k stays, whatever is searched
        weights = [contents[number]["configuration"]["style_weight"] for number in (first, second)]
        assert weights[0] == weights[1]
    assert not list(folder.glob("trials/*/*/checkpoints")) + list(folder.glob("trials/*/*/events"))
    assert {path.name for path in folder.glob("*.*")} >= {DATABASE, "best.yaml", "history.png", "slices.png"}
    values = {trial.number: trial.user_attrs["j"] for trial in trials_in(folder)}
    for path, report in zip(reports, contents, strict=True):
        with_small_terms = values[int(path.parts[-3])][path.parts[-2]]
        assert report["figures"]["j"] < with_small_terms < report["figures"]["j"] + 3


def test_whatever_is_not_searched_makes_trials_comparable(
    words: list[object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = parse(tune_command, "tune", [*map(str, words[1:]), "--over", "learning_rate,grid_weight"])
    before = config.comparable
    assert {"--tv-weight", "--motion-weight", "--steps", "--style-layers"} < before.keys()
    assert before.keys().isdisjoint({"--learning-rate", "--grid-weight", "--out", "--workers"})
    assert re.fullmatch(r"base \([0-9a-f]{12}\)|scratch", before["--from"])
    another = tmp_path / "base"
    another.write_bytes(b"another base")
    monkeypatch.setattr("allaprima.train.start.BASE_FILE", another)
    config.from_ = "base"
    assert config.comparable["--from"] != before["--from"]


def test_the_best_settings_can_be_trained_with(
    searched: "subprocess.CompletedProcess[str]", words: list[object]
) -> None:
    folder = folder_of(words)
    config = parse(train_command, "train", ["p.jpg", "--photos", "here", "--config", str(folder / "best.yaml")])
    best = min(trials_in(folder), key=lambda trial: trial.value or math.inf)
    assert config.learning_rate == pytest.approx(best.params["learning_rate"], rel=5e-3)
    assert config.grid_weight == pytest.approx(best.params["grid_weight"], rel=5e-3)
    assert (config.batch, config.size) == (TrainConfig.batch, TrainConfig.size)


def test_ctrl_c_and_another_study(
    searched: "subprocess.CompletedProcess[str]", words: list[object], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = folder_of(words)
    command = [sys.executable, "-m", "allaprima", *map(str, words)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        while process.poll() is None and not (folder / "trials" / "0002" / "starry_night").exists():
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=60)
    finally:
        process.kill()
    assert (process.returncode, errors) == (130, "allaprima: stopped\n")
    assert "2 trials done, 1 failed" in output
    stopped, waiting = trials_in(folder)[2:]
    assert stopped.user_attrs["reason"] == "stopped"
    assert waiting.state is optuna.trial.TrialState.WAITING
    assert waiting.system_attrs["fixed_params"] == stopped.params

    given = list(map(str, words))
    given[given.index("--steps") + 1] = "12"
    assert main(given) == 2
    errors = capsys.readouterr().err
    assert "--steps was 11, is now 12" in errors
    assert errors.count("\n") == 1


def trials_in(folder: Path) -> list[optuna.trial.FrozenTrial]:
    """As any other user of Optuna sees the study."""
    storage = optuna.storages.RDBStorage(f"sqlite:///{folder / DATABASE}")
    try:
        return optuna.load_study(study_name=None, storage=storage).get_trials()
    finally:
        storage.remove_session()
        storage.engine.dispose()
