"""The classifier's scripts as a user runs them, on good input and on bad."""

import json
from pathlib import Path
from typing import Any

import classifier_cases
import pytest
from pipeline_cases import Finished, Script, complaint, content, results, script

from nlp_rnn import export, samples, store
from nlp_rnn.config import DataConfig
from nlp_rnn.jobs import ExportRun

ROWS = list(samples.load("sentiment")["train"])[:200]
SAME = [{"text": f"text {number}", "label": "x"} for number in range(40)]
TINY = (
    "--batch-size", "50", "--bucket-width", "32", "--epochs", "1", "--embedding-size", "8", "--encoder-size", "8",
    "--attention-size", "4", "--ngram-buckets", "64",
)  # fmt: skip


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def training(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Finished]:
    """A model directory, and what its training said; an empty text and one of 100,000 words are among the data."""
    folder = tmp_path_factory.mktemp("pipelines")
    strange = [{"text": "", "label": "positive"}, {"text": "word " * 100_000, "label": "rare"}]
    train = write(folder / "train.jsonl", [*ROWS[:150], *strange])
    validation = write(folder / "validation.jsonl", ROWS[150:])
    model = folder / "saved_models" / "opinions"
    done = script("train_classifier.py", "--train", train, "--validation", validation, "--output", model, *TINY)
    assert done.returncode == 0, done.stderr
    return model, done


@pytest.fixture
def model(training: tuple[Path, Finished]) -> Path:
    return training[0]


def test_training_prints_its_result_and_what_it_found_out(training: tuple[Path, Finished]) -> None:
    model, done = training
    (result,) = results(done)
    assert result["version"] == str(model / "1")
    assert {"accuracy", "macro_f1", "temperature", "validation_loss", "uncalibrated_expected_calibration_error"} <= set(
        result
    )
    assert "rows with blank text left out: 1." in done.stderr
    assert "1 of 151 training texts are cut after 512 tokens." in done.stderr
    assert "1 labels have a single training example: rare." in done.stderr
    assert (model / "model" / "report.html").is_file() and (model / "model" / "README.md").is_file()


def test_a_test_set_is_measured(run: Script, model: Path, tmp_path: Path) -> None:
    test = write(tmp_path / "test.jsonl", ROWS[150:])
    predictions, pictures = tmp_path / "labels.txt", tmp_path / "pictures"
    arguments = ("--test", test, "--pictures", pictures, "--predictions", predictions)
    (result,) = results(run("evaluate.py", "--model", model, *arguments))
    assert {
        "accuracy", "macro_f1", "weighted_f1", "per_class", "expected_calibration_error", "examples", "truncated",
        "seconds",
    } == set(result)  # fmt: skip
    assert (result["examples"], result["truncated"]) == (50, 0)
    assert {picture.name for picture in pictures.iterdir()} == {"confusion_matrix.png", "reliability.png"}
    labels = predictions.read_text().split()
    right = sum(mine == row["label"] for mine, row in zip(labels, ROWS[150:], strict=True))
    assert result["accuracy"] == pytest.approx(right / 50)


def test_an_unknown_label_is_never_right_and_said_so(run: Script, model: Path, tmp_path: Path) -> None:
    test = write(tmp_path / "test.jsonl", [{"text": "fine", "label": "splendid"}])
    done = run("evaluate.py", "--model", model, "--test", test)
    (result,) = results(done)
    assert result["accuracy"] == 0 and result["per_class"]["splendid"]["support"] == 1
    assert "1 labels of the test set are unknown, thus never right: splendid." in done.stderr


def test_answers_come_one_a_line_and_the_page_explains_them(model: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    given = "The meal was far from cold.\n\n"
    done = script("predict.py", "--model", model, "--explain", page, given=given)
    first, blank = results(done)
    assert set(first) == {"labels", "score", "probabilities", "truncated"}
    assert sum(first["probabilities"].values()) == pytest.approx(1, abs=1e-5)
    assert first["score"] == max(first["probabilities"].values())
    assert set(blank["probabilities"]) == {"positive", "negative", "rare"}
    assert page.read_text("utf-8").count("<section>") == 2


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of pairs of texts with any number of labels."""
    lines = [
        f'"{row["text"]}","{other["text"]}","{"about, " if number % 2 else ""}{row["label"]}"'
        for number, (row, other) in enumerate(zip(ROWS[:60], ROWS[60:120], strict=True))
    ]
    path = tmp_path_factory.mktemp("pairs") / "pairs.csv"
    path.write_text("one,two,label\n" + "\n".join(lines) + '\n"nothing","nobody",""\n')
    return path


PAIRED = ("--text-column", "one", "--text-pair-column", "two")


@pytest.fixture
def paired(run: Script, pairs: Path, tmp_path: Path) -> tuple[Path, dict[str, Any]]:
    """A model directory of pairs with several labels, and what its training measured."""
    files = ("--train", pairs, "--validation", pairs, "--output", tmp_path / "model")
    (trained,) = results(run("train_classifier.py", *files, *PAIRED, "--multi-label", "--threshold", "0.35", *TINY))
    return tmp_path / "model", trained


def test_pairs_and_several_labels_are_learned_measured_and_asked_for(
    run: Script, pairs: Path, paired: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    model, trained = paired
    (measured,) = results(run("evaluate.py", "--model", model, "--test", pairs, *PAIRED))
    assert measured["examples"] == 61
    # The threshold is that of calibrated probabilities, in training too.
    for name in ("precision", "recall", "f1", "macro_f1", "accuracy"):
        assert trained[name] == pytest.approx(measured[name], abs=1e-6)
    assert measured["f1"] > 0
    lines, page = tmp_path / "lines.txt", tmp_path / "page.html"
    lines.write_text("The film was dull.\tThe film was fun.\n")
    before = content(model / "1")
    assert results(run("export.py", "--model", model, "--threshold", "0.001")) == [{"version": str(model / "2")}]
    assert content(model / "1") == before
    # The newest version answers.
    (answer,) = results(run("predict.py", "--model", model, "--input", lines, "--explain", page))
    assert set(answer["labels"]) == {"about", "positive", "negative"}
    shaded = page.read_text("utf-8")
    assert 0 < shaded.index(">dull</span>") < shaded.index(">fun</span>")
    lines.write_text("The film was dull.\n")
    assert "line 1: this model reads pairs" in complaint(run("predict.py", "--model", model, "--input", lines))


def test_an_earlier_model_goes_on_with_a_stream_and_is_measured_on_one(
    run: Script, model: Path, tmp_path: Path
) -> None:
    folder, later = tmp_path / "set", tmp_path / "later"
    folder.mkdir()
    for split, rows in (("train", ROWS[:120]), ("validation", ROWS[120:160]), ("test", ROWS[160:])):
        write(folder / f"{split}.jsonl", rows)
    stream = ("--dataset", folder, "--streaming")
    settings = ("--epoch-steps", "4", "--shuffle-buffer", "40", "--layer-decay", "0.5", *TINY)
    done = run("train_classifier.py", *stream, "--init-from", model, "--output", later, *settings)
    assert results(done)[0]["version"] == str(later / "1")
    # Its words are the earlier model's, which the stream's first rows need not have.
    earlier, words = ((place / "model" / "words" / "words.json").read_text() for place in (model, later))
    assert earlier == words
    (measured,) = results(run("evaluate.py", "--model", later, *stream))
    assert measured["examples"] == 40


@pytest.fixture(scope="module")
def tags(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model directory with random weights: several labels of a single text, and no attention."""
    path, side = tmp_path_factory.mktemp("models") / "tags", classifier_cases.text()
    told: dict[str, Any] = {"data": DataConfig(multi_label=True), "pools": ("mean",)}
    config, network = classifier_cases.run(str(path), **told), classifier_cases.network(side, **told)
    store.save(path, config=config, network=network, text=side, metrics={})
    fixed = ExportRun(model=str(path)).fixed(config)
    export.write_saved_model(export.build_module(store.load(path), fixed), path / "1", fixed)
    return path


def test_without_attention_nothing_is_explained(run: Script, tags: Path, tmp_path: Path) -> None:
    lines = tmp_path / "lines.txt"
    lines.write_text("The meal was cold.\n")
    message = complaint(run("predict.py", "--model", tags, "--input", lines, "--explain", tmp_path / "page.html"))
    assert "explain is for classifiers trained with attention among --pools" in message
    assert not (tmp_path / "page.html").exists()


def test_a_page_that_cannot_be_written_is_refused_before_anything_is_read(run: Script, tmp_path: Path) -> None:
    message = complaint(run("predict.py", "--model", "nowhere", "--explain", tmp_path / "none" / "page.html"))
    assert "none/page.html cannot be written: make its folder first" in message


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (("--pictures", "pictures"), "pictures are of single labels, and this classifier gives several"),
        (("--text-pair-column", "b"), "text_pair_column is for classifiers of pairs, and this one reads single texts"),
    ],
)
def test_what_a_classifier_does_not_do_is_refused_before_anything_is_read(
    run: Script, tags: Path, flags: tuple[str, ...], expected: str
) -> None:
    assert expected in complaint(run("evaluate.py", "--model", tags, "--test", "nowhere.jsonl", *flags))


@pytest.mark.parametrize(
    ("rows", "flags", "expected"),
    [
        (SAME, (), "nothing to tell apart: all training examples have the label 'x'"),
        ([{"text": "a", "label": 0.5}], (), "line 1: column 'label' must hold the name or number of a class, not 0.5"),
        ([{"text": "a", "label": None}], (), "line 1: no value in column 'label'"),
        ([{"text": None, "label": "x"}], (), "line 1: no value in column 'text'"),
        ([{"text": "a", "label": ["x"]}], (), "Are there several? Then set multi_label"),
        ([{"text": "a", "label": "x"}], ("--multi-label", "--class-weights", "balanced"), "class_weights are for"),
        ([{"text": "a", "label": "x"}], ("--tokenizer", "characters", "--vectors", "v.txt"), "vectors are of words"),
        ([{"text": "a", "label": "x"}], ("--pools", "max", "max"), "pools must be at least one, none twice"),
        (SAME, ("--init-from", "nowhere"), "There is no folder nowhere"),
    ],
)
def test_bad_input_gives_one_clear_line(
    run: Script, tmp_path: Path, rows: list[dict[str, Any]], flags: tuple[str, ...], expected: str
) -> None:
    data = write(tmp_path / "data.jsonl", rows)
    output = tmp_path / "model"
    files = ("--train", data, "--validation", data, "--output", output)
    assert expected in complaint(run("train_classifier.py", *files, *TINY, *flags))
    assert not (output / "model").exists()
