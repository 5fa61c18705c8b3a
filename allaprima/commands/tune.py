"""Trial 0 is the default settings; figures are relative to it. Small tv, grid and motion weights always lower J, at the
eye's expense. So they are not searched by default, and where --over names one, the three terms count in the value,
at their default weights. Trials with larger --batch or --size get fewer steps: all see as many pixels.

The same command goes on with a study, after Ctrl-C too; started in a second terminal, it shares the work. OUT holds
study.db, best.yaml, plots and trials/. To use the best: allaprima train PAINTING --photos DIR --config OUT/best.yaml
"""

import math
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from threading import Event
from time import monotonic
from typing import TYPE_CHECKING, Any, Literal

from rich.table import Table
from rich.text import Text

from ..errors import InputError
from ..files import replacing
from ..flags import flag_name
from ..terminal import console, on_interrupt, printable, progress_bar, show_table
from ..train.config import BASE, PLACES, TrainConfig
from ..train.space import SMALL_TERMS, USUAL, Space, Value, parse_names, search_space

if TYPE_CHECKING:
    from rich.progress import Progress as Bar

    from ..train.trainer import Progress
    from ..train.tune import Attempt, Outcome, Study

BEST = "best.yaml"
_DIFFERS = frozenset({
    *PLACES, "out", "resume", "from_", "epochs", "style_weight", "preview_every", "checkpoint_every",
    "keep_checkpoints", "workers", "proof", "int8", "name", "title", "artist", "year", "licence",
})  # fmt: skip
"""Settings of a training that trials may differ in and are comparable still, or that other facts stand for."""
BEST_SHOWN = 5


@dataclass(kw_only=True)
class Config:
    """Search for training settings that bring J of unseen photos down, by many short trainings.

    allaprima tune painting.jpg --photos ~/Pictures --out studies/first --minutes 60
    allaprima tune a.jpg b.jpg c.jpg --photos ~/Pictures --out studies/three --over learning_rate,batch --steps 400
    """

    paintings: list[str] = field(metadata={"positional": "*"})
    """The paintings to train in each trial; the value is the mean over them."""
    photos: str | None = None
    """Folder of photos to train on, searched recursively; by default `synthetic`, as in train."""
    val_photos: Path | None = None
    """Folder of photos to judge by; by default a few of --photos are held out, or made up."""
    out: Path
    """Folder of the study. One that exists is gone on with."""
    minutes: float = 60
    """Time for this search. A trial that would not be over in time is not begun. 0 only shows what there is."""
    trials: int | None = None
    """Trials at most, in this search."""
    over: str = ",".join(USUAL)
    """What to search, with commas between: learning_rate, warmup, decay, clip, flip, batch, size, tv_weight,
    grid_weight and motion_weight. Strength, strokes and layers are taste, which no search can settle."""

    steps: int = 200
    """Steps of each training."""
    size: int = 160
    """Side of the square crops trained on, in px."""
    batch: int = TrainConfig.batch
    """Photos a step."""
    stroke_size: float = TrainConfig.stroke_size
    """Size of the painting's strokes."""
    from_: str | None = TrainConfig.from_
    """What each training starts from: `base`, `scratch`, or a run folder or checkpoint; the default is that of train.
    """
    build: Literal["realtime", "standard"] = TrainConfig.build
    """The network."""
    vgg_weights: Path | None = None
    """File with torchvision's VGG-19 weights; else ALLAPRIMA_VGG, else torchvision's download."""
    workers: int = TrainConfig.workers
    """Processes that read photos; 0 reads them in the training process."""
    seed: int = TrainConfig.seed
    """Of the trainings and of what is tried."""
    keep: bool = False
    """Keep every trial's checkpoint and TensorBoard events, not only its report and preview."""

    def __post_init__(self) -> None:
        if not 0 <= self.minutes < math.inf:
            raise InputError(f"--minutes: got {self.minutes}, expected 0 or more")
        if self.trials is not None and self.trials < 1:
            raise InputError(f"--trials: got {self.trials}, expected at least 1")
        self.over = ",".join(parse_names(self.over))
        for painting in self.paintings:
            self.training(Path(painting))  # refuses what a training would

    def training(self, painting: Path) -> TrainConfig:
        """The default settings' training."""
        return TrainConfig(
            painting=painting,
            photos=self.photos,
            val_photos=self.val_photos,
            out=self.out,
            steps=self.steps,
            size=self.size,
            batch=self.batch,
            stroke_size=self.stroke_size,
            from_=self.from_,
            build=self.build,
            vgg_weights=self.vgg_weights,
            workers=self.workers,
            seed=self.seed,
        )

    @property
    def space(self) -> Space:
        """What is searched, and where."""
        return search_space(parse_names(self.over), batch=self.batch, size=self.size)

    @property
    def comparable(self) -> dict[str, Any]:
        """Flags that make trials comparable."""
        from ..train.start import digest_of_base

        training = self.training(Path(self.paintings[0]))
        searched = {*self.space, *_DIFFERS}
        fixed = {flag_name(f.name): getattr(training, f.name) for f in fields(training) if f.name not in searched}
        start = f"{self.start} ({digest_of_base()})" if self.start == BASE else self.start
        return fixed | {flag_name("from_"): start}

    @property
    def start(self) -> str:
        """What each training starts from."""
        return self.training(Path(self.paintings[0])).start


def run(config: Config) -> None:
    """Search, then show and write what was found.

    Raises:
        InputError: something cannot be used, the study in the folder is another, or trials fail one after the other.
        KeyboardInterrupt: stopped by the user; what was found is shown, the study can be gone on with.
    """
    try:
        from ..train import study_plots
        from ..train.synthetic import what_they_are_worth
        from ..train.trials import measure_goal
        from ..train.tune import Study
    except ModuleNotFoundError as error:
        raise InputError(f"tuning needs {error.name}: pip install 'allaprima[cpu,train,tune]'") from error
    configs = {name: config.training(path) for name, path in _named(config.paintings).items()}
    goal = measure_goal(configs)
    space, first = config.space, next(iter(configs.values()))
    if first.made_up:
        console.print(what_they_are_worth())
    study = Study(
        config.out,
        space=space,
        defaults={name: getattr(first, name) for name in space},
        settings=goal.facts | config.comparable,
        facts={"k": goal.k},
        seed=config.seed,
    )
    stop = Event()
    with study:
        k = study.facts["k"]
        configs = {name: replace(training, style_weight=k[name]) for name, training in configs.items()}
        try:
            with on_interrupt(stop.set):
                _search(config, study, configs, stop)
        finally:
            _show(study)
            _write_best(config, study)
            study_plots.draw(study)
    if stop.is_set():
        raise KeyboardInterrupt


def _named(paintings: list[str]) -> dict[str, Path]:
    """Name -> painting; a name is also a folder's."""
    named: dict[str, Path] = {}
    for path in map(Path, paintings):
        if path.stem in named:
            raise InputError(f"two paintings are called '{path.stem}': rename one, or leave it out")
        named[path.stem] = path
    return named


def _search(config: Config, study: "Study", configs: dict[str, TrainConfig], stop: Event) -> None:
    from ..train.trials import PaintingTrials

    started, seconds = monotonic(), config.minutes * 60
    with progress_bar() as bar:
        task = bar.add_task("tuning", total=round(seconds), text="")

        def show(attempt: "Attempt", name: str, progress: "Progress") -> None:
            text = f"trial {attempt.number}: {name}, step {progress.step}/{progress.steps}"
            bar.update(task, completed=min(round(monotonic() - started), round(seconds)), text=printable(text))

        objective = PaintingTrials(
            configs,
            with_small_terms=not SMALL_TERMS.keys().isdisjoint(study.space),
            keep=config.keep,
            on_progress=show,
            stopped=stop.is_set,
        )
        for outcome in study.search(objective, seconds=seconds, most=config.trials, stopped=stop.is_set):
            _tell(bar, outcome, study.reference())


def _tell(bar: "Bar", outcome: "Outcome", reference: "Outcome | None") -> None:
    """One line for a trial: in place of the bar, or where it failed, above it."""
    if console.is_terminal and outcome.state != "failed":
        return
    figure = outcome.reason if outcome.value is None else _figure(outcome, reference)
    state = "" if outcome.state == "done" else f"{outcome.state}: "
    settings = ", ".join(f"{name} {_word(value)}" for name, value in outcome.settings.items())
    line = f"trial {outcome.number}: {state}{figure}; {settings}; {outcome.seconds:.0f} s"
    bar.console.print(printable(line))


def _figure(outcome: "Outcome", reference: "Outcome | None") -> str:
    """J, and J relative to the default settings'."""
    assert outcome.value is not None
    if reference is None or reference.value is None:
        return f"J {outcome.value:.3f}"
    return f"J {outcome.value:.3f}, {outcome.value / reference.value:.3f} of the defaults'"


def _word(value: Value) -> str:
    return str(value).lower() if isinstance(value, bool) else f"{value:g}"


def _show(study: "Study") -> None:
    outcomes = study.outcomes()
    done = sorted((o for o in outcomes if o.value is not None), key=lambda o: o.value or 0.0)
    given_up, failed = (sum(o.state == state for o in outcomes) for state in ("given up", "failed"))
    console.print(
        f"{study.folder}: {len(done)} trials done"
        + (f", {given_up} given up early" if given_up else "")
        + (f", {failed} failed" if failed else "")
    )
    if done:
        show_table(_table(done[:BEST_SHOWN], study))
    if importance := study.importance():
        console.print("what mattered: " + ", ".join(f"{name} {share:.0%}" for name, share in importance.items()))


def _table(best: "list[Outcome]", study: "Study") -> Table:
    reference = study.reference()
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("trial", "J", "of the defaults'", *study.space, "s"):
        table.add_column(heading, justify="right", no_wrap=True)
    for outcome in best:
        value = outcome.value or 0.0
        relative = f"{value / reference.value:.3f}" if reference and reference.value else ""
        settings = (_word(outcome.settings[name]) for name in study.space)
        words = str(outcome.number), f"{value:.3f}", relative, *settings, f"{outcome.seconds:.0f}"
        table.add_row(*map(Text, words))
    return table


def _write_best(config: Config, study: "Study") -> None:
    """The best settings, as `allaprima train --config` reads them."""
    best = study.best()
    if best is None:
        return
    paintings = ", ".join(printable(name) for name in study.facts["k"])
    lines = [
        f"# {_figure(best, study.reference())}: trial {best.number} for {paintings},",
        f"# {config.steps} steps of {config.batch} photos at {config.size} px from {printable(config.start)}. Use:",
        f"# allaprima train PAINTING --photos DIR --config {printable(study.folder / BEST)}",
        *(f"{name}: {_word(value)}" for name, value in best.settings.items()),
    ]
    path = study.folder / BEST
    with replacing(path) as temporary:
        temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")
    console.print(f"best: {path}")
