"""Searches of a few trials of an epoch each, on an embedded corpus."""

import csv
import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf
from pipeline_cases import Script, complaint, results
from tensorflow.python.util import _pywrap_determinism

from nlp_rnn import runs, training, tuning
from nlp_rnn.command_line import parse
from nlp_rnn.config import BatchConfig, ConfigError, DataConfig
from nlp_rnn.jobs import ClassifierRun, TaggerRun, TuneClassifierRun, TuneConfig, TuneTaggerRun
from nlp_rnn.model_config import ClassifierTrainingConfig, TaggerConfig, TaggerTrainingConfig

SPACE = "learning_rate: {low: 1e-3, high: 3e-2, log: true}\nword_size: [4, 6]\n"
STORED = str(Path(__file__).parent / "formats" / "1" / "tagger")
SIZES: dict[str, Any] = {
    "tag_scheme": "none",
    "head": "softmax",
    "character_encoder": "none",
    "word_size": 4,
    "shape_size": 2,
    "encoder_size": 4,
    "encoder_layers": 1,
}


@pytest.fixture
def space(tmp_path: Path) -> Path:
    path = tmp_path / "space.yaml"
    path.write_text(SPACE)
    return path


def search(
    folder: Path,
    space: Path,
    *,
    epochs: int = 1,
    monitor: Any = "loss",
    init_from: str | None = None,
    trained: dict[str, Any] | None = None,
    **settings: Any,
) -> TuneTaggerRun:
    return TuneTaggerRun(
        output=str(folder),
        data=DataConfig(dataset="sample:tagging"),
        batching=BatchConfig(batch_size=400, bucket_width=32),
        model=TaggerConfig(**SIZES),
        training=TaggerTrainingConfig(epochs=epochs, warmup_steps=0, monitor=monitor, **(trained or {})),
        init_from=init_from,
        tuning=TuneConfig(space=str(space), **settings),
    )


def rows(folder: Path) -> list[dict[str, str]]:
    with open(folder / "trials.csv", encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def test_a_search_finds_the_best_trial_goes_on_and_leaves_a_configuration(
    tmp_path: Path, space: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "search"
    first = tuning.tune(search(folder, space, trials=1))
    assert first.trials == {"complete": 1}
    before = rows(folder)
    tuned = tuning.tune(search(folder, space, trials=2))
    # The first trial is kept, and the same is not tried again.
    assert rows(folder)[:1] == before
    assert tuned.trials == {"complete": 2}
    assert len({row["learning_rate"] for row in rows(folder)}) == 2
    values = [float(row["value"]) for row in rows(folder)]
    assert (tuned.value, tuned.monitor) == (min(values), "validation_loss")
    # What the train script makes of the file is the base with the best trial's settings.
    best = parse(TaggerRun, ["--config", str(tuned.config)])
    assert best.output == str(folder / "best")
    assert best.training.learning_rate == tuned.settings["learning_rate"]
    assert best.model.word_size == tuned.settings["word_size"]
    assert (best.data.dataset, best.batching.batch_size, best.training.epochs) == ("sample:tagging", 400, 1)
    # All trials are there: nothing is trained.
    monkeypatch.setattr(training, "train", None)
    assert tuning.tune(search(folder, space, trials=2)).value == tuned.value


def test_trials_of_other_settings_are_not_mixed(tmp_path: Path, space: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "prepare", lambda run, corpus: Told(run))
    monkeypatch.setattr(training, "train", lambda made, settings, callbacks: history(settings.learning_rate))
    folder = tmp_path / "search"
    storage = f"sqlite:///{tmp_path / 'shared.db'}"
    tuning.tune(search(folder, space, trials=2, storage=storage))
    assert not (folder / "study.db").exists()
    with pytest.raises(ConfigError, match="has trials that differ from these in epochs: give the same settings"):
        tuning.tune(search(folder, space, epochs=2, trials=2, storage=storage))
    # What makes no difference to a trial may differ.
    again = search(folder, space, trials=2, storage=storage, trained={"tensorboard": True})
    assert tuning.tune(again).trials == {"complete": 2}
    space.write_text("learning_rate: [0.1]")
    with pytest.raises(ConfigError, match="differ from these in space of learning_rate, space of word_size"):
        tuning.tune(search(folder, space, trials=2, storage=storage))
    other = tuning.tune(search(folder, space, trials=1, storage=storage, study="other"))
    assert other.settings == {"learning_rate": 0.1}


class Told:
    """Stands for a task where only what the search does of its figures is looked at."""

    monitor = "validation_loss"
    higher_is_better = False

    def __init__(self, run: TaggerRun | ClassifierRun) -> None:
        self.run = run

    def set_up(self) -> "Told":
        return self

    def validate(self) -> dict[str, float]:
        return {"validation_loss": 0.5}


def history(value: float) -> list[dict[str, float]]:
    return [{"validation_loss": value + 1}, {"validation_loss": value}]


def test_a_trial_that_fails_or_is_impossible_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    space = tmp_path / "space.yaml"
    space.write_text("character_size: {low: 2, high: 6}\n")  # odd ones are refused

    def train(made: Told, settings: Any, callbacks: Any) -> list[dict[str, float]]:
        if made.run.model.character_size == 4:
            raise training.DivergenceError("The loss became inf.")
        return history(made.run.model.character_size)

    monkeypatch.setattr(runs, "prepare", lambda run, corpus: Told(run))
    monkeypatch.setattr(training, "train", train)
    asked = search(tmp_path / "search", space, trials=7)
    asked = dataclasses.replace(asked, model=dataclasses.replace(asked.model, character_encoder="recurrent"))
    tuned = tuning.tune(asked)
    assert (tuned.value, tuned.settings) == (2, {"character_size": 2})
    assert tuned.trials["fail"] + tuned.trials["complete"] == 7
    assert "character_size must be even" in caplog.text
    assert "The loss became inf." in caplog.text


def test_a_trial_that_does_worse_than_others_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The fifth and later ones are worse from the second epoch on than all before."""
    space = tmp_path / "space.yaml"
    space.write_text("learning_rate: {low: 1e-3, high: 3e-2}\n")
    epochs: list[int] = []

    def train(made: Told, settings: Any, callbacks: Any) -> list[dict[str, float]]:
        (reporter,) = callbacks
        epochs.append(0)
        for epoch in range(5):
            epochs[-1] += 1
            reporter.on_epoch_end(epoch, {"validation_loss": 1.0 if len(epochs) <= 4 else 2.0})
        return [{"validation_loss": 1.0}]

    monkeypatch.setattr(runs, "prepare", lambda run, corpus: Told(run))
    monkeypatch.setattr(training, "train", train)
    tuned = tuning.tune(search(tmp_path / "search", space, epochs=5, trials=6))
    assert tuned.trials == {"complete": 4, "pruned": 2}
    assert epochs == [5, 5, 5, 5, 2, 2]


def test_without_a_completed_trial_there_is_no_best(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    space = tmp_path / "space.yaml"
    space.write_text("learning_rate: [0.1]\n")
    monkeypatch.setattr(runs, "prepare", lambda run, corpus: Told(run))
    monkeypatch.setattr(training, "train", lambda made, settings, callbacks: history(float("nan")))
    with pytest.raises(ConfigError, match="No trial of 2 was completed"):
        tuning.tune(search(tmp_path / "search", space, trials=2))


@pytest.fixture
def determinism() -> Iterator[None]:
    yield
    _pywrap_determinism.enable(False)


@pytest.mark.usefixtures("determinism")
def test_trials_begin_with_another_model_as_a_training_does(
    tmp_path: Path, space: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    space.write_text("layer_decay: [0.5]\n")
    given: list[training.Training] = []

    def train(made: training.Training, *_: Any, **__: Any) -> list[dict[str, float]]:
        given.append(made)
        return history(1.0)

    monkeypatch.setattr(training, "train", train)
    (tmp_path / "train.conll").write_text("Anna X\nlives Y\n\nBo X\nsleeps Y\n\n")
    told = search(tmp_path / "search", space, trials=1, init_from=STORED, trained={"deterministic": True})
    told = dataclasses.replace(told, data=DataConfig(train=(str(tmp_path / "train.conll"),)))
    assert tuning.tune(told).trials == {"complete": 1}
    # Those of a new top, of the encoder's layer or layers, and of the embedding below them.
    assert sorted(set(given[0].depths)) == list(range(max(given[0].depths) + 1))
    assert max(given[0].depths) >= 2
    assert _pywrap_determinism.is_enabled()


def test_what_the_model_to_begin_with_decides_is_not_searched_over(tmp_path: Path, space: Path) -> None:
    space.write_text("dropout: [0.1, 0.2]\nencoder_size: {low: 4, high: 64}\n")
    told = search(tmp_path / "search", space, init_from=STORED)
    with pytest.raises(ConfigError, match="encoder_size cannot be searched over with init_from: it is [0-9]+, as "):
        tuning.tune(told)
    assert not (tmp_path / "search").exists()


def test_lists_are_searched_over(tmp_path: Path, space: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And are found again in the storage, by a search that goes on."""
    space.write_text("pools: [[max, attention], mean]\n")
    monkeypatch.setattr(runs, "prepare", lambda run, corpus: Told(run))
    monkeypatch.setattr(training, "train", lambda made, settings, callbacks: history(len(made.run.model.pools)))
    for trials in (1, 2):
        tuned = tuning.tune(
            TuneClassifierRun(
                output=str(tmp_path / "search"),
                data=DataConfig(dataset="sample:sentiment"),
                training=ClassifierTrainingConfig(monitor="loss"),
                tuning=TuneConfig(space=str(space), trials=trials),
            )
        )
    assert tuned.settings["pools"] == {1: ("mean",), 2: ("max", "attention")}[int(tuned.value)]
    assert parse(ClassifierRun, ["--config", str(tuned.config)]).model.pools == tuned.settings["pools"]


def test_a_search_goes_on_in_a_folder_that_holds_its_trials_and_what_a_kill_left(
    tmp_path: Path, space: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs, "prepare", lambda run, corpus: Told(run))
    monkeypatch.setattr(training, "train", lambda made, settings, callbacks: history(settings.learning_rate))
    monkeypatch.chdir(tmp_path)
    folder, told = tmp_path / "search", {"trials": 1, "storage": "sqlite:///search/trials.db"}
    tuned = tuning.tune(search(folder, space, **told))
    (folder / ".best.yaml").touch()
    (folder / "trials.db-journal").touch()
    assert tuning.tune(search(folder, space, **told)) == tuned
    (folder / "other.db").touch()
    with pytest.raises(ConfigError, match=r"holds something else \(other.db\)"):
        tuning.tune(search(folder, space, **told))


def test_what_makes_no_difference_to_trials_is_no_part_of_what_was_found(
    tmp_path: Path, space: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs, "prepare", lambda run, corpus: Told(run))
    monkeypatch.setattr(training, "train", lambda made, settings, callbacks: history(settings.learning_rate))
    trained = {"tensorboard": True, "checkpoint_steps": 7}
    tuned = tuning.tune(search(tmp_path / "search", space, trials=1, trained=trained))
    found = parse(TaggerRun, ["--config", str(tuned.config)]).training
    assert (found.tensorboard, found.checkpoint_steps) == (False, 500)
    with pytest.raises(ConfigError, match="leave out resume"):
        tuning.tune(search(tmp_path / "search", space, trials=1, trained={"resume": True}))


def test_a_mean_of_epochs_counts(tmp_path: Path, space: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is what a training leaves if it is better than all of them, and has no row in the history."""
    space.write_text("average_checkpoints: [3]\n")
    monkeypatch.setattr(runs, "prepare", lambda run, corpus: Told(run))
    monkeypatch.setattr(training, "train", lambda made, settings, callbacks: history(1.0))
    assert tuning.tune(search(tmp_path / "search", space, trials=1)).value == 0.5


@pytest.mark.parametrize("storage", ["nonsense", "sqlite:////no/such/folder/x.db"])
def test_a_storage_that_cannot_be_used_is_named(tmp_path: Path, space: Path, storage: str) -> None:
    with pytest.raises(ConfigError, match=f"storage {storage} cannot be used: .* Expected an Optuna URL"):
        tuning.tune(search(tmp_path / "search", space, storage=storage))


def test_the_script_refuses_what_cannot_be_searched(run: Script, tmp_path: Path) -> None:
    space = tmp_path / "space.yaml"
    space.write_text("learnin_rate: [0.1]")
    told = ("--dataset", "sample:tagging", "--space", space, "--output", tmp_path / "o")
    assert "learnin_rate'. Did you mean learning_rate?" in complaint(run("tune.py", "tagger", *told))
    assert "must be one of translator, tagger, classifier" in complaint(run("tune.py", "taggr", *told))
    assert "Did you mean tagger?" in complaint(run("tune.py", "taggr", *told))
    assert "The first argument must be one of" in complaint(run("tune.py"))
    assert "--space is required" in complaint(run("tune.py", "tagger", "--output", tmp_path / "o"))
    message = complaint(run("tune.py", "tagger", *told, "--strategy", "mirrored"))
    assert "leave out strategy mirrored" in message
    space.write_text("learning_rate: [0.1]")
    message = complaint(run("tune.py", "tagger", *told[:4], "--output", tmp_path))
    assert "holds something else (space.yaml)" in message
    assert not (tmp_path / "o").exists()


def test_the_script_prints_what_was_found(run: Script, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "prepare", lambda run, corpus: Told(run))
    monkeypatch.setattr(training, "train", lambda made, settings, callbacks: history(settings.learning_rate))
    (tmp_path / "space.yaml").write_text("learning_rate: [0.1, 0.2]")
    told = ("--dataset", "sample:tagging", "--space", tmp_path / "space.yaml", "--output", tmp_path / "o")
    (found,) = results(run("tune.py", "tagger", *told, "--monitor", "loss", "--trials", "5"))
    assert found == {
        "config": str(tmp_path / "o" / "best.yaml"), "value": 0.1, "monitor": "validation_loss",
        "settings": {"learning_rate": 0.1}, "trials": {"complete": 5},
    }  # fmt: skip
    for name in ("history.png", "importances.png"):
        assert tf.io.decode_png((tmp_path / "o" / name).read_bytes()).shape[0] > 50
