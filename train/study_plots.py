"""Pictures of a study, drawn by Optuna itself with Matplotlib: how the search went and what mattered."""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib
import optuna

from ..files import replacing
from .tune import FEWEST_FOR_IMPORTANCE, Study

FEWEST = 2
"""Trials done, below which there is nothing to draw."""


def draw(study: Study) -> list[Path]:
    """Write history.png, slices.png and importance.png into the study's folder, as far as there are trials enough."""
    done = sum(outcome.value is not None for outcome in study.outcomes())
    if done < FEWEST:
        return []
    matplotlib.use("Agg")  # no window, no display
    from optuna.visualization import matplotlib as plots

    written = [
        _save(study, "history", plots.plot_optimization_history, target_name="J"),
        _save(study, "slices", plots.plot_slice, target_name="J"),
    ]
    if done >= FEWEST_FOR_IMPORTANCE:
        evaluator = optuna.importance.PedAnovaImportanceEvaluator()
        written.append(_save(study, "importance", plots.plot_param_importances, evaluator=evaluator))
    return written


def _save(study: Study, file: str, plot: Callable[..., Any], **options: Any) -> Path:
    from matplotlib import pyplot

    path = study.folder / f"{file}.png"
    with warnings.catch_warnings(), pyplot.rc_context():  # Optuna sets a style, for good, and warns of novelties
        warnings.simplefilter("ignore")
        plot(study.optuna, **options)
        figure = pyplot.gcf()
        try:
            with replacing(path) as temporary:
                figure.savefig(temporary, dpi=120, bbox_inches="tight")
        finally:
            pyplot.close(figure)
    return path
