"""A search over settings: a study in a folder, whose trials any number of processes run, stop, resume and share.

Optuna (Akiba et al. 2019, arXiv:1907.10902) proposes the settings by TPE (Bergstra et al. 2011) and gives up trials
that late in a training are worse than the median of the earlier ones. Trial 0 is the default settings.

    with Study(folder, space=space, defaults=defaults, settings=settings, seed=0) as study:
        for outcome in study.search(objective, seconds=3600):
            print(outcome.number, outcome.value)

What is minimised is any function of an `Attempt`: `trials.PaintingTrials` trains paintings, a test may add two numbers.
"""

import math
import sqlite3
import statistics
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

import filelock
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from optuna.exceptions import StorageInternalError
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.exc import SQLAlchemyError

from ..errors import InputError
from ..files import writing
from .space import Choice, Range, Space, Value, readable

DATABASE, TRIALS, LOCK = "study.db", "trials", ".lock"
RANDOM_TRIALS = 6
"""Finished trials before TPE and the pruner have an opinion."""
PATIENCE = 7
"""Looks at a trial before it can be given up: before the rate falls, a high one looks worse than it will end."""
MOST_FAILURES = 3
"""Failures in a row after which something else must be wrong."""
MOST_KILLED = 2
"""Times that settings are tried again after their process was killed: it may be they that kill it."""
FEWEST_FOR_IMPORTANCE = 8
_LOCKED_S = 60.0  # how long one process waits for another's write
_FAILED, _PRUNED, _DONE = TrialState.FAIL, TrialState.PRUNED, TrialState.COMPLETE


@dataclass(frozen=True)
class Attempt:
    """A trial that is being run."""

    number: int
    settings: dict[str, Any]
    folder: Path
    """For whatever it writes; exists."""
    _trial: optuna.Trial = field(repr=False)

    def report(self, look: int, value: float) -> None:
        """How the trial stands at its look numbered `look`, from 1.

        Raises:
            optuna.TrialPruned: worse than the median of the earlier trials at the same look.
            InputError: `value` is not a number.
        """
        _require_finite(value)
        self._trial.report(value, look)
        if self._trial.should_prune():
            raise optuna.TrialPruned(f"worse than the median at look {look}")


Objective = Callable[[Attempt], Mapping[str, float]]
"""Runs a trial and returns J by painting, above 0. Raises InputError where it fails, KeyboardInterrupt where the user
wants to end; what `Attempt.report` raises, it passes on."""


@dataclass(frozen=True)
class Outcome:
    """A trial that has ended."""

    number: int
    state: Literal["done", "given up", "failed"]
    settings: dict[str, Value]
    value: float | None
    """Geometric mean of `j`, where done."""
    j: dict[str, float]
    """J by painting."""
    seconds: float
    reason: str = ""
    """Why it was given up or failed."""


class Study:
    """The trials of one search, in `folder`, open for this process.

    The value of a trial is the geometric mean of its J over the paintings. It orders trials as the mean of the ratios
    to the defaults' J does, each painting counting the same, but no trial has to wait for the defaults' own.

    Args:
        folder: is made if it is not there.
        space: what is searched.
        defaults: the value of each, for trial 0.
        settings: all that makes trials comparable, by flag; a study with others is refused.
        facts: computed once, by whoever makes the study, and kept with it (`Study.facts`).
        seed: of the proposals.

    Raises:
        InputError: on entering, the study has other settings, is damaged or cannot be written.
    """

    def __init__(
        self,
        folder: Path,
        *,
        space: Space,
        defaults: Mapping[str, Value],
        settings: Mapping[str, Any],
        facts: Mapping[str, Any] | None = None,
        seed: int = 0,
    ) -> None:
        self.folder, self.space, self.defaults, self.seed = folder, space, dict(defaults), seed
        self.settings = {**settings, "over": {name: str(part) for name, part in space.items()}}
        self.facts: dict[str, Any] = dict(facts or {})
        self._distributions = {name: _distribution(part) for name, part in space.items()}
        self._lock = filelock.FileLock(folder / LOCK)

    def __enter__(self) -> "Study":
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        with writing(self.folder):
            (self.folder / TRIALS).mkdir(parents=True, exist_ok=True)
        with self._alone(), self._database():
            self._open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    def search(
        self,
        objective: Objective,
        *,
        seconds: float,
        most: int | None = None,
        stopped: Callable[[], bool] = lambda: False,
    ) -> Iterator[Outcome]:
        """Run trials, `most` at most, and yield each as it ends.

        A trial that would not be over in time, as long as the median one takes, is not begun; the first always is.

        Raises:
            InputError: trials fail one after the other, or the study cannot be written any more.
            KeyboardInterrupt: out of the objective; the settings it was at are left for the next search.
        """
        deadline, run, failures = time.monotonic() + seconds, 0, 0
        while not stopped() and run != most and self._is_time_for_another(deadline - time.monotonic(), first=not run):
            outcome = self._run_one(objective)
            yield outcome
            run, failures = run + 1, failures + 1 if outcome.state == "failed" else 0
            if failures == MOST_FAILURES:
                raise InputError(f"{failures} trials in a row failed, the last: {outcome.reason}")

    def outcomes(self) -> list[Outcome]:
        """Every trial that has ended, whoever ran it, by number."""
        with self._database():
            ended = self.optuna.get_trials(deepcopy=False, states=(_DONE, _PRUNED, _FAILED))
        return [_outcome(trial) for trial in ended if trial.params]

    def best(self) -> Outcome | None:
        """The trial with the lowest value; None while none is done."""
        done = [outcome for outcome in self.outcomes() if outcome.value is not None]
        return min(done, key=lambda outcome: outcome.value or 0.0, default=None)

    def reference(self) -> Outcome | None:
        """The trial of the default settings; None while it is not done."""
        done = (outcome for outcome in self.outcomes() if outcome.value is not None)
        return next((outcome for outcome in done if outcome.settings == self.defaults), None)

    def importance(self) -> dict[str, float]:
        """Share of each setting in what sets good trials apart (PED-ANOVA), most first; none of too few trials."""
        if sum(outcome.value is not None for outcome in self.outcomes()) < FEWEST_FOR_IMPORTANCE:
            return {}
        with self._database(), _quiet():
            evaluator = optuna.importance.PedAnovaImportanceEvaluator()
            return optuna.importance.get_param_importances(self.optuna, evaluator=evaluator)

    def _open(self) -> None:
        path = self.folder / DATABASE
        if not path.exists() and any((self.folder / TRIALS).iterdir()):
            raise InputError(f"'{self.folder}' holds trials but no {DATABASE}: choose another --out")
        # A path may hold what a URL gives a meaning to, so the engine is told how to connect instead.
        connect: dict[str, Any] = {"creator": lambda: sqlite3.connect(path, timeout=_LOCKED_S, check_same_thread=False)}
        try:
            self._storage = optuna.storages.RDBStorage(f"sqlite:///{DATABASE}", engine_kwargs=connect)
        except RuntimeError as error:  # tables of another version of Optuna
            raise InputError(f"study '{path}' is of another version of Optuna: choose another --out") from error
        try:
            pruner = optuna.pruners.MedianPruner(n_startup_trials=RANDOM_TRIALS, n_warmup_steps=PATIENCE)
            self.optuna = optuna.create_study(
                storage=self._storage, study_name="allaprima", pruner=pruner, load_if_exists=True
            )
            self._compare_or_begin()
        except BaseException:
            self._close()
            raise

    def _close(self) -> None:
        self._storage.remove_session()
        self._storage.engine.dispose()

    def _compare_or_begin(self) -> None:
        stored = self.optuna.user_attrs
        if "settings" in stored:
            if difference := first_difference(stored["settings"], self.settings):
                raise InputError(
                    f"study '{self.folder}' has other settings: {difference}: give the same, or choose another --out"
                )
            self.facts = stored["facts"]
            return
        self.optuna.set_user_attr("facts", self.facts)
        if not self.optuna.get_trials(deepcopy=False):
            self.optuna.enqueue_trial(dict(self.defaults))
        self.optuna.set_user_attr("settings", self.settings)

    def _is_time_for_another(self, seconds_left: float, *, first: bool) -> bool:
        if seconds_left <= 0 or first:
            return seconds_left > 0
        took = [outcome.seconds for outcome in self.outcomes() if outcome.value is not None]
        return not took or statistics.median(took) <= seconds_left

    def _run_one(self, objective: Objective) -> Outcome:
        with self._alone(), self._database():
            self._bury_the_killed()
            trial = self._ask()
            settings = {name: readable(value) for name, value in trial.params.items()}
            attempt = Attempt(trial.number, settings, self._folder(trial.number), trial)
            with writing(attempt.folder):
                attempt.folder.mkdir(exist_ok=True)
            held = filelock.FileLock(attempt.folder / LOCK)  # as long as this process lives
            held.acquire()
        started = time.monotonic()
        try:
            return self._run(attempt, objective, started)
        finally:
            held.release()

    def _run(self, attempt: Attempt, objective: Objective, started: float) -> Outcome:
        trial = attempt._trial
        try:
            j = {name: float(value) for name, value in objective(attempt).items()}
            value = _require_finite(statistics.geometric_mean(j.values()))
        except optuna.TrialPruned as error:
            return self._end(trial, _PRUNED, started, reason=str(error))
        except InputError as error:
            return self._end(trial, _FAILED, started, reason=str(error))
        except KeyboardInterrupt:
            self._end(trial, _FAILED, started, reason="stopped")
            with self._database():
                self.optuna.enqueue_trial(trial.params)
            raise
        except BaseException as error:
            self._end(trial, _FAILED, started, reason=f"{type(error).__name__}: {error}")
            raise
        return self._end(trial, _DONE, started, value=value, j=j)

    def _end(
        self,
        trial: optuna.Trial,
        state: TrialState,
        started: float,
        *,
        value: float | None = None,
        j: Mapping[str, float] | None = None,
        reason: str = "",
    ) -> Outcome:
        with self._database():
            for name, fact in {"j": j or {}, "seconds": time.monotonic() - started, "reason": reason}.items():
                trial.set_user_attr(name, fact)
            return _outcome(self.optuna.tell(trial, value, state))

    def _ask(self) -> optuna.Trial:
        """The next trial. Its proposal depends on the seed and the trials before it, not on which process asks."""
        number = len(self.optuna.get_trials(deepcopy=False))
        with _quiet():
            # constant_liar: what other processes are trying now counts as tried.
            self.optuna.sampler = optuna.samplers.TPESampler(
                n_startup_trials=RANDOM_TRIALS, seed=self.seed * 1_000_003 + number, constant_liar=True
            )
            return self.optuna.ask(self._distributions)

    def _bury_the_killed(self) -> None:
        """Trials whose process is gone (their lock is free) have failed; their settings get another chance."""
        for trial in self.optuna.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            folder = self._folder(trial.number)
            try:
                with filelock.FileLock(folder / LOCK, timeout=0) if folder.is_dir() else nullcontext():
                    if self.optuna.get_trials(deepcopy=False)[trial.number].state.is_finished():
                        continue  # it ended just now, before its lock was free
                    self.optuna.tell(trial.number, state=_FAILED)
            except filelock.Timeout:
                continue
            killed = trial.user_attrs.get("killed", 0) + 1
            settings = trial.system_attrs.get("fixed_params", {}) | trial.params
            if killed <= MOST_KILLED and settings.keys() == self.space.keys():
                self.optuna.enqueue_trial(settings, user_attrs={"killed": killed})

    def _folder(self, number: int) -> Path:
        return self.folder / TRIALS / f"{number:04}"

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """No other process begins a trial meanwhile."""
        with writing(self.folder):
            self._lock.acquire()
        try:
            yield
        finally:
            self._lock.release()

    @contextmanager
    def _database(self) -> Iterator[None]:
        """Turn what SQLite says into a message for people."""
        try:
            yield
        except (SQLAlchemyError, StorageInternalError, sqlite3.Error) as error:
            path, cause = self.folder / DATABASE, error.__cause__ or error
            reason = str(getattr(cause, "orig", None) or cause).splitlines()[0]
            raise InputError(f"study '{path}' cannot be used ({reason}): free the disk, or choose another --out") from (
                error
            )


def first_difference(before: Mapping[str, Any], now: Mapping[str, Any]) -> str | None:
    """Two studies' settings by flag, in words: the first flag that differs, with both values."""
    for flag in {**now, **before}:
        old, new = before.get(flag), now.get(flag)
        if old != new:
            if isinstance(old, dict) and isinstance(new, dict) and old.keys() != new.keys():
                old, new = (", ".join(value) for value in (old, new))
            return f"{flag} was {old}, is now {new}"
    return None


def _outcome(trial: FrozenTrial) -> Outcome:
    facts = trial.user_attrs
    reason = facts.get("reason", "its process was killed")
    state: Literal["done", "given up", "failed"] = "failed"
    if trial.state is not _FAILED:
        state = "done" if trial.state is _DONE else "given up"
    settings = {name: readable(value) for name, value in trial.params.items()}
    value = trial.value if state == "done" else None
    return Outcome(trial.number, state, settings, value, facts.get("j", {}), facts.get("seconds", 0.0), reason)


def _distribution(part: Range | Choice) -> BaseDistribution:
    if isinstance(part, Choice):
        return CategoricalDistribution(part.values)
    return FloatDistribution(part.low, part.high, log=part.log, step=part.step)


def _require_finite(value: float) -> float:
    if not math.isfinite(value):
        raise InputError("J is not a number any more")
    return value


@contextmanager
def _quiet() -> Iterator[None]:
    """Optuna warns of what is new in it, and of too few trials."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
