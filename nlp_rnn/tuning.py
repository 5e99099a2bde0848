"""A search for good settings: many short trainings, each told what the ones before it have taught.

Trials are kept by Optuna, so that a search that was stopped goes on. Nothing
is exported on the way: what is found is a configuration, to be trained.
"""

import csv
import gc
import io
import json
import logging
import math
import re
import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import keras
import yaml

from nlp_rnn import folders, plots, runs, training
from nlp_rnn.config import ConfigError
from nlp_rnn.corpora import Corpus
from nlp_rnn.families import Run
from nlp_rnn.jobs import ClassifierRun, TaggerRun, TranslatorRun, TuneConfig, TuneRun
from nlp_rnn.settings import flat_values, to_dict
from nlp_rnn.spaces import UNUSED, Choices, Space, chosen, read_space, with_values

_log = logging.getLogger(__name__)

_BEST, _TRIALS, _STUDY, _MODEL = "best.yaml", "trials.csv", "study.db", "best"
_HISTORY, _IMPORTANCES = "history.png", "importances.png"
_ASKED = "asked"  # the study's attribute that says what its trials were told
_MONITOR = "monitor"  # a trial's attribute: the name of its value


@dataclass(frozen=True, kw_only=True)
class Tuned:
    """What a search found.

    Attributes:
        config: The best settings as a file for the family's train script.
        value: What they reached on the validation set.
        monitor: What that is.
        settings: Those of the searched settings.
        trials: Trials done, by their outcome.
    """

    config: Path
    value: float
    monitor: str
    settings: dict[str, Any]
    trials: dict[str, int]


def tune(run: TuneRun, *, callbacks: Callable[[], Sequence[keras.callbacks.Callback]] = tuple) -> Tuned:
    """Searches for the settings with which a model does best on its validation set.

    Writes `best.yaml`, `trials.csv` and pictures into `run.output`, and keeps
    the trials there too unless `run.tuning.storage` says otherwise. Run again,
    it goes on where it was.

    Args:
        run: The settings to start from, and how to search.
        callbacks: Returns Keras callbacks for each trial, such as a progress bar.

    Raises:
        ConfigError: The settings or the space are impossible, the storage
            cannot be used or holds trials of other settings, or no trial was
            completed.
        DataError: The data cannot be read.
    """
    optuna, settings, base = _optuna(), run.tuning, _without_tuning(run)
    _require_whole_trials(base)
    folder = Path(run.output)
    space = read_space(settings.space, base)
    _require_free(base, space)
    _prepare_folder(folder, settings.storage)
    study = _open_study(optuna, base, settings, space, folder)
    todo = settings.trials - len(_finished(study))
    if todo > 0:
        corpus = runs.load_corpus(base)
        study.sampler = optuna.samplers.TPESampler(seed=(base.training.seed + len(study.trials)) % (1 << 32))
        objective = _objective(optuna, base, space, corpus, callbacks)
        study.optimize(
            objective,
            n_trials=todo,
            catch=(ConfigError, training.DivergenceError),
            callbacks=[lambda study, trial: _after(study, trial, base, space, folder)],
        )
    if not _completed(study):
        raise ConfigError(
            f"No trial of {settings.trials} was completed: their settings are impossible or their losses became "
            "infinite, as was logged. Narrow the space."
        )
    _write_best(study, base, space, folder)
    _write_trials(study, folder)
    _draw(optuna, study, folder)
    states = [trial.state.name.lower() for trial in _finished(study)]
    return Tuned(
        config=folder / _BEST,
        value=study.best_value,
        monitor=study.best_trial.user_attrs[_MONITOR],
        settings=chosen(space, study.best_params),
        trials={state: states.count(state) for state in sorted(set(states))},
    )


def _optuna() -> types.ModuleType:
    try:
        import optuna
    except ImportError as error:
        raise ConfigError("The search for settings needs Optuna: pip install 'nlp_rnn[tune]'.") from error
    # Its lines would go to standard error beside ours.
    optuna.logging.disable_default_handler()
    return optuna


def _without_tuning(run: TuneRun) -> Run:
    """Returns what a training is told."""
    kind: Any = type(run).__base__
    return kind(**{item.name: getattr(run, item.name) for item in fields(kind)})


def _require_whole_trials(base: Run) -> None:
    """Refuses what a search cannot do."""
    if base.training.strategy != "single":
        raise ConfigError(f"A search trains on one device: leave out strategy {base.training.strategy}.")
    if base.training.resume:
        raise ConfigError("A search goes on by itself when it is run again, with whole trials: leave out resume.")


def _require_free(base: Run, space: Space) -> None:
    """Refuses to search over what the model to begin with decides."""
    start = runs.foundation(base)
    if start is None:
        return
    kinds: dict[type, Any] = {
        TranslatorRun: start.for_translator,
        TaggerRun: start.for_tagger,
        ClassifierRun: start.for_classifier,
    }
    for name, dimension in space.items():
        values = dimension.values if isinstance(dimension, Choices) else (dimension.low, dimension.high)
        begun = [kinds[type(base)](with_values(base, {name: value}))[0] for value in values]
        found = [flat_values(type(base), to_dict(run))[name] for run in begun]
        if found != list(values):
            raise ConfigError(
                f"{name} cannot be searched over with init_from: it is {found[0]!r}, as {base.init_from} has it. "
                "Leave one of them out."
            )


def _prepare_folder(folder: Path, storage: str | None) -> None:
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"output {folder} is a file; give a folder for the results.")
    known = (_BEST, f".{_BEST}", _TRIALS, _MODEL, _HISTORY, _IMPORTANCES, *_storage_files(folder, storage))
    strange = sorted({entry.name for entry in folder.iterdir()} - {*known}) if folder.exists() else []
    if strange:
        raise ConfigError(
            f"output {folder} holds something else ({', '.join(strange[:3])}); give a new or empty folder, or that of "
            "an earlier search."
        )
    folder.mkdir(parents=True, exist_ok=True)


def _storage_files(folder: Path, storage: str | None) -> tuple[str, ...]:
    """Returns the names that trials may be kept under in the folder of the results."""
    found = re.match(r"sqlite[^:]*:///([^?]+)", storage or "")
    paths = (folder / _STUDY, *([Path(found[1])] if found else []))
    inside = [path.name for path in paths if path.resolve().parent == folder.resolve()]
    return (*inside, *(f"{name}-journal" for name in inside))


# ---- Trials


def _open_study(optuna: Any, base: Run, settings: TuneConfig, space: Space, folder: Path) -> Any:
    storage = settings.storage or f"sqlite:///{folder / _STUDY}"
    pruners = {
        "median": lambda: optuna.pruners.MedianPruner(n_startup_trials=4, n_warmup_steps=1),
        "hyperband": lambda: optuna.pruners.HyperbandPruner(min_resource=1, max_resource=base.training.epochs),
        "none": optuna.pruners.NopPruner,
    }
    name = settings.study or folder.absolute().name
    try:
        study = optuna.create_study(
            storage=storage,
            study_name=name,
            direction="minimize" if base.training.monitor == "loss" else "maximize",
            pruner=pruners[settings.pruner](),
            load_if_exists=True,
        )
    except Exception as error:  # of whichever database it is
        reason = str(error).partition("\n")[0].rstrip(".")
        raise ConfigError(
            f"storage {storage} cannot be used: {reason}. Expected an Optuna URL such as sqlite:///trials.db."
        ) from error
    asked = _asked(base, space)
    told = study.user_attrs.get(_ASKED, asked)
    different = sorted(key for key in {*asked, *told} if asked.get(key) != told.get(key))
    if different:
        raise ConfigError(
            f"The study {name!r} in {storage} has trials that differ from these in {', '.join(different)}: give the "
            "same settings and space to go on with it, in the same version of nlp_rnn, or another study (--study)."
        )
    study.set_user_attr(_ASKED, asked)
    return study


def _asked(base: Run, space: Space) -> dict[str, Any]:
    """Returns what trials must agree in, as JSON brings it back: the base settings and the space."""
    idle = {"output", *UNUSED}
    values = {name: value for name, value in flat_values(type(base), to_dict(base)).items() if name not in idle}
    dimensions = {f"space of {name}": vars(dimension) for name, dimension in space.items()}
    return json.loads(json.dumps({**values, **dimensions}))


def _objective(
    optuna: Any, base: Run, space: Space, corpus: Corpus, callbacks: Callable[[], Sequence[keras.callbacks.Callback]]
) -> Callable[[Any], float]:
    def objective(trial: Any) -> float:
        try:
            return attempt(trial)
        except (ConfigError, training.DivergenceError) as error:
            _log.warning("Trial %d failed: %s", trial.number + 1, error)
            raise

    def attempt(trial: Any) -> float:
        run = with_values(base, {name: dimension.suggest(trial, name) for name, dimension in space.items()})
        keras.backend.clear_session()
        gc.collect()
        task = runs.prepare(run, corpus)
        made = runs.set_up(task)
        trial.set_user_attr(_MONITOR, made.monitor)
        watchers = [*callbacks(), _reporter(optuna, trial, made.monitor)]
        history = training.train(made, task.run.training, callbacks=watchers)
        figures = [row[made.monitor] for row in history]
        if task.run.training.average_checkpoints > 1:
            # What is left may be a mean of epochs, which is no row of the history.
            figures.append(made.validate()[made.monitor])
        values = [figure for figure in figures if math.isfinite(figure)]
        if not values:
            raise optuna.TrialPruned
        return max(values) if made.higher_is_better else min(values)

    return objective


def _reporter(optuna: Any, trial: Any, monitor: str) -> keras.callbacks.Callback:
    """Returns a callback that tells a trial each epoch's figure, and ends it when the pruner says so."""

    class Reporter(keras.callbacks.Callback):
        def on_epoch_end(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
            trial.report((logs or {})[monitor], epoch)
            if trial.should_prune():
                raise optuna.TrialPruned

    return Reporter()


def _finished(study: Any) -> list[Any]:
    return [trial for trial in study.trials if trial.state.is_finished()]


def _completed(study: Any) -> list[Any]:
    return [trial for trial in study.trials if trial.state.name == "COMPLETE"]


# ---- Results


def _after(study: Any, trial: Any, base: Run, space: Space, folder: Path) -> None:
    """Tells of a trial, and keeps the best settings so far, should the search be stopped."""
    outcome = {"COMPLETE": f"{trial.value:.4g}" if trial.value is not None else "", "PRUNED": "given up"}
    settings = ", ".join(f"{name} {value}" for name, value in trial.params.items())
    _log.info("Trial %d: %s, with %s.", trial.number + 1, outcome.get(trial.state.name, "failed"), settings)
    if _completed(study):
        _write_best(study, base, space, folder)


def _write_best(study: Any, base: Run, space: Space, folder: Path) -> None:
    best = study.best_trial
    run = with_values(base, {**chosen(space, best.params), "output": str(folder / _MODEL)})
    # JSON turns tuples into lists, which YAML can be read into again.
    values = json.loads(json.dumps(to_dict(run)))
    for name in UNUSED:
        del values["training"][name]
    heading = f"# Trial {best.number + 1} of {len(_finished(study))}: {best.user_attrs[_MONITOR]} {best.value:.6g}\n"
    content = heading + yaml.safe_dump(values, sort_keys=False, allow_unicode=True)
    folders.replace_file(folder / _BEST, content)


def _write_trials(study: Any, folder: Path) -> None:
    rows = [
        {"trial": trial.number + 1, "state": trial.state.name.lower(), "value": trial.value, **trial.params}
        for trial in _finished(study)
    ]
    columns = list(dict.fromkeys(name for row in rows for name in row))
    table = io.StringIO()
    writer = csv.DictWriter(table, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    folders.replace_file(folder / _TRIALS, table.getvalue())


def _draw(optuna: Any, study: Any, folder: Path) -> None:
    values = [trial.value if trial.state.name == "COMPLETE" else math.nan for trial in _finished(study)]
    maximising = study.direction == optuna.study.StudyDirection.MAXIMIZE
    plots.search_history(
        values, folder / _HISTORY, name=study.best_trial.user_attrs[_MONITOR], higher_is_better=maximising
    )
    if len({trial.value for trial in _completed(study)}) < 2:  # nothing made a difference
        return
    try:
        shares = optuna.importance.get_param_importances(study)
    except (RuntimeError, ValueError) as error:
        _log.info("What matters most cannot be told: %s", error)
        return
    plots.importances({name: float(share) for name, share in shares.items()}, folder / _IMPORTANCES)
