"""The scripts as a user runs them. One tiny model is trained, and used by all.

What costs a process several seconds, importing TensorFlow, is paid once for
each script; further runs of it happen in the process of the tests.
"""

import contextlib
import importlib.util
import os
import resource
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest
import tensorflow as tf
from pipeline_cases import PIPELINES, Finished, Script, complaint, content, results, script

from nlp_rnn import samples
from nlp_rnn.config import BatchConfig, TextConfig
from nlp_rnn.model_config import (
    ClassifierConfig,
    ClassifierTrainingConfig,
    SearchConfig,
    TaggerConfig,
    TaggerTrainingConfig,
    TranslatorConfig,
    TranslatorTrainingConfig,
)

PAIRS = [(row["source"], row["target"]) for row in list(samples.load("translation")["train"])[:300]]
LONG = "dog " * 10_000
TINY = (
    "--tokenizer", "words", "--vocabulary-size", "500", "--batch-size", "50", "--bucket-width", "32", "--epochs", "1",
    "--learning-rate", "0.02", "--warmup-steps", "0", "--embedding-size", "16", "--encoder-size", "16",
    "--decoder-size", "16", "--attention-size", "16", "--beam-size", "3", "--n-best", "3", "--maximum-length", "30",
)  # fmt: skip


def write(folder: Path, pairs: list[tuple[str, str]], name: str) -> tuple[Path, Path]:
    """Writes two parallel files."""
    paths = folder / f"{name}.en", folder / f"{name}.de"
    for path, lines in zip(paths, zip(*pairs, strict=True), strict=True):
        path.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    return paths


@pytest.fixture(scope="module")
def training(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Finished]:
    """A model directory, and what its training said; a line of spaces and one of 10,000 words are among the data."""
    folder = tmp_path_factory.mktemp("pipelines")
    train = write(folder, [*PAIRS[:250], ("   ", "Leer."), (LONG, "Hund.")], "train")
    validation = write(folder, PAIRS[250:], "validation")
    model = folder / "saved_models" / "en-de"
    done = script("train_translator.py", "--train", *train, "--validation", *validation, "--output", model, *TINY)
    assert done.returncode == 0, done.stderr
    return model, done


@pytest.fixture
def model(training: tuple[Path, Finished]) -> Path:
    return training[0]


def test_training_prints_its_result_and_nothing_else(training: tuple[Path, Finished]) -> None:
    model, done = training
    (result,) = results(done)
    assert set(result) == {"model", "version", "validation_loss", "bleu", "chrf"}
    assert (result["model"], result["version"]) == (str(model), str(model / "1"))
    assert "Epoch 1/1" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_line_of_spaces_and_one_that_is_too_long_are_left_out_and_reported(training: tuple[Path, Finished]) -> None:
    _, done = training
    assert "train.de: rows with blank text left out: 1." in done.stderr
    assert "1 of 251 training pairs have more than 100 tokens and are left out." in done.stderr


def test_a_held_out_set_is_measured(run: Script, model: Path, tmp_path: Path) -> None:
    test = write(tmp_path, PAIRS[250:], "test")
    done = run("evaluate.py", "--model", model, "--test", *test, "--predictions", tmp_path / "hypotheses.de")
    (result,) = results(done)
    assert set(result) == {
        "bleu", "bleu_cased", "chrf", "bleu_signature", "chrf_signature", "word_error_rate",
        "token_error_rate", "examples", "truncated", "seconds",
    }  # fmt: skip
    assert (result["examples"], result["truncated"]) == (50, 0)
    assert 0 <= result["bleu"] <= 100
    assert len((tmp_path / "hypotheses.de").read_text(encoding="utf-8").splitlines()) == 50


ODD_TEXTS = ["", "   ", LONG, "The 漢字 \N{WAVING HAND SIGN} works.", PAIRS[0][0]]


def test_each_line_of_standard_input_is_translated_whatever_it_holds(model: Path) -> None:
    done = script("predict.py", "--model", model, given="\n".join(ODD_TEXTS))
    rows = results(done)
    assert [set(row) for row in rows] == [{"text", "score", "truncated"}] * 5
    assert [row["truncated"] for row in rows] == [False, False, True, False, False]
    assert [row["text"] == "" for row in rows[:2]] == [True, True]
    assert all(row["text"] and row["score"] < 0 for row in rows[2:])
    assert "Traceback" not in done.stderr


def lines(tmp_path: Path, content: bytes) -> Path:
    path = tmp_path / "input.txt"
    path.write_bytes(content)
    return path


def test_a_file_gets_n_best_translations(run: Script, model: Path, tmp_path: Path) -> None:
    """A line's end is no part of it, in any convention; what is not UTF-8 is read as such."""
    source = lines(tmp_path, "\r\n".join([PAIRS[0][0], PAIRS[1][0]]).encode() + b"\r\nThe \xff works.")
    best = results(run("predict.py", "--model", model, "--input", source))
    rows = results(run("predict.py", "--model", model, "--input", source, "--n-best", "2"))
    assert [len(row["translations"]) for row in rows] == [2, 2, 2]
    for row, first in zip(rows, best, strict=True):
        scores = [translation["score"] for translation in row["translations"]]
        texts = [translation["text"] for translation in row["translations"]]
        assert scores == sorted(scores, reverse=True)
        assert len(set(texts)) == 2
        assert texts[0] == first["text"]
    alone = results(run("predict.py", "--model", model, "--input", lines(tmp_path, PAIRS[1][0].encode())))
    assert alone[0]["text"] == best[1]["text"]


def test_attention_is_drawn_for_each_line_that_has_any(run: Script, model: Path, tmp_path: Path) -> None:
    source = lines(tmp_path, f"{PAIRS[0][0]}\n\nThe 漢字 works.\n".encode())
    plots = tmp_path / "new" / "plots"
    rows = results(run("predict.py", "--model", model, "--input", source, "--attention-plots", plots))
    assert [bool(row["text"]) for row in rows] == [True, False, True]
    assert sorted(path.name for path in plots.iterdir()) == ["1.png", "3.png"]
    assert all(tf.io.decode_png(path.read_bytes()).shape[0] > 50 for path in plots.iterdir())


def test_a_byte_order_mark_is_no_part_of_the_first_text(run: Script, model: Path, tmp_path: Path) -> None:
    text = PAIRS[0][0].encode()
    plain, marked = (
        results(run("predict.py", "--model", model, "--input", lines(tmp_path, content)))
        for content in (text, b"\xef\xbb\xbf" + text)
    )
    assert marked == plain


def test_an_evaluation_refuses_what_it_would_pass_over(run: Script, model: Path) -> None:
    done = run("evaluate.py", "--model", model, "--train", "a.en", "a.de", "--test", "b.en", "b.de")
    assert complaint(done).startswith("error: train is for trainings: an evaluation reads --test")


def test_no_input_gives_no_output(run: Script, model: Path, tmp_path: Path) -> None:
    assert results(run("predict.py", "--model", model, "--input", lines(tmp_path, b""))) == []


@contextlib.contextmanager
def largest_file(size: int) -> Iterator[None]:
    """Stands for a full disk: no file may grow beyond so many bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_an_export_on_a_full_disk_says_so_and_loses_nothing(run: Script, model: Path) -> None:
    before, entries = content(model), sorted(os.listdir(model))
    with largest_file(50_000):
        done = run("export.py", "--model", model)
    assert "File too large" in complaint(done)
    assert (content(model), sorted(os.listdir(model))) == (before, entries)


def test_mistakes_are_told_before_tensorflow_is_waited_for(tmp_path: Path) -> None:
    """In processes of their own, to see that no log line of a library joins the one that counts."""
    message = complaint(script("train_translator.py", "--output", tmp_path / "o", "--beam-size", "0"))
    assert message == "error: beam_size must be at least 1, not 0."


def test_missing_files_are_named(run: Script, model: Path, tmp_path: Path) -> None:
    output = ("--output", tmp_path / "o", *TINY)
    missing = complaint(run("train_translator.py", "--train", "nowhere.en", "nowhere.de", *output))
    assert missing == "error: Cannot read nowhere.en: No such file or directory."
    assert "nowhere.en" in complaint(run("evaluate.py", "--model", model, "--test", "nowhere.en", "nowhere.de"))
    assert "nowhere.txt" in complaint(run("predict.py", "--model", model, "--input", "nowhere.txt"))
    for name in ("export.py", "predict.py"):
        assert "saved_models/nothing" in complaint(run(name, "--model", "saved_models/nothing"))
    assert not (tmp_path / "o").exists()


def data_complaint(run: Script, folder: Path, *files: Path | str) -> str:
    """Returns what training says of its data; no model directory may be left of it."""
    message = complaint(run("train_translator.py", "--output", folder / "o", *TINY, "--train", *files))
    assert not (folder / "o").exists()
    return message


def test_a_wrong_column_is_named_with_those_there_are(run: Script, tmp_path: Path) -> None:
    table = tmp_path / "train.csv"
    table.write_text("english,german\nI work.,Ich arbeite.\n")
    message = data_complaint(run, tmp_path, table, "--source-column", "englisch", "--target-column", "german")
    assert "no column 'englisch'; there are 'english', 'german'. Did you mean english?" in message


def test_parallel_files_of_unequal_length_are_named_with_both_counts(run: Script, tmp_path: Path) -> None:
    source, target = write(tmp_path, PAIRS[:30], "train")
    target.write_text(target.read_text(encoding="utf-8") + "Zwei.\nDrei.\n", encoding="utf-8")
    message = data_complaint(run, tmp_path, source, target)
    assert f"{source} has 30, {target} has 32" in message


@pytest.mark.parametrize("lines", [0, 3])
def test_a_corpus_without_text_is_refused(run: Script, tmp_path: Path, lines: int) -> None:
    for name in ("train.en", "train.de"):
        (tmp_path / name).write_text("  \n" * lines)
    message = data_complaint(run, tmp_path, tmp_path / "train.en", tmp_path / "train.de")
    assert "there are no examples in it. Expected at least one." in message


def test_what_is_not_utf_8_is_named_with_file_and_line(run: Script, tmp_path: Path) -> None:
    source, target = write(tmp_path, PAIRS[:3], "train")
    target.write_bytes("eins\nzwei\nf\xfcnf\n".encode("latin-1"))
    message = data_complaint(run, tmp_path, source, target)
    assert f"{target}, line 3: byte 0xfc is not UTF-8." in message


def test_an_output_that_holds_something_else_is_refused_and_left_alone(run: Script, tmp_path: Path) -> None:
    source, target = write(tmp_path, PAIRS[:30], "train")
    before = content(tmp_path)
    message = complaint(run("train_translator.py", "--output", tmp_path, *TINY, "--train", source, target))
    assert f"output {tmp_path} holds something else (train.de, train.en)" in message
    assert content(tmp_path) == before


@pytest.fixture
def quickstart(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    spec = importlib.util.spec_from_file_location("quickstart", PIPELINES / "quickstart.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "quickstart", module)
    spec.loader.exec_module(module)
    return module


def test_the_quickstart_takes_no_settings() -> None:
    done = script("quickstart.py", "--epochs", "1")
    assert (done.returncode, done.stdout) == (2, "")
    assert "unrecognized arguments: --epochs 1" in done.stderr


def test_the_quickstart_asks_for_what_no_model_has_seen(quickstart: ModuleType) -> None:
    translation, tagging, sentiment = quickstart.JOBS
    corpus = samples.load("translation")
    assert translation.text not in {row["source"] for rows in corpus.values() for row in rows}
    # But the model knows each word of it.
    assert set(translation.text.split()) <= {word for text in corpus["train"]["source"] for word in text.split()}
    sentences = {"".join(row["tokens"]) for rows in samples.load("tagging").values() for row in rows}
    assert tagging.text.replace(" ", "") not in sentences
    opinions = samples.load("sentiment")
    assert sentiment.text not in {text for rows in opinions.values() for text in rows["text"]}
    known = {word.strip(",.") for text in opinions["train"]["text"] for word in text.split()}
    assert {word.strip(",.") for word in sentiment.text.split()} <= known


def test_the_quickstart_shows_each_model(
    quickstart: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With smaller models, trained less."""
    translation, tagging, sentiment = quickstart.JOBS
    folder = tmp_path / "quick"
    translator = replace(
        translation.run,
        output=str(folder / "translation"),
        text=TextConfig(tokenizer="words", vocabulary_size=500),
        batching=BatchConfig(batch_size=200, bucket_width=32),
        model=TranslatorConfig(embedding_size=8, encoder_size=8, decoder_size=8, attention_size=8),
        search=SearchConfig(beam_size=1, n_best=1, minimum_length=1, maximum_length=20),
        training=TranslatorTrainingConfig(epochs=1, epoch_steps=4, warmup_steps=0, learning_rate=0.02),
    )
    tagger = replace(
        tagging.run,
        output=str(folder / "tagging"),
        batching=BatchConfig(batch_size=200, bucket_width=32),
        model=TaggerConfig(word_size=8, character_encoder="none", encoder_size=8, encoder_layers=1),
        training=TaggerTrainingConfig(epochs=1, epoch_steps=4, warmup_steps=0, learning_rate=0.02),
    )
    classifier = replace(
        sentiment.run,
        output=str(folder / "sentiment"),
        batching=BatchConfig(batch_size=200, bucket_width=32),
        model=ClassifierConfig(embedding_size=8, encoder_size=8, attention_size=4, ngrams=0),
        training=ClassifierTrainingConfig(epochs=1, epoch_steps=4, warmup_steps=0, learning_rate=0.02),
    )
    runs = (translator, tagger, classifier)
    jobs = [replace(job, run=run) for job, run in zip(quickstart.JOBS, runs, strict=True)]
    monkeypatch.setattr(quickstart, "JOBS", jobs)
    quickstart.main()
    headings, *rows, empty, answer, picture, _, entities, _, judged, page = capsys.readouterr().out.splitlines()
    assert headings.split() == ["sample", "metric", "seconds", "SavedModel"]
    assert [row.split()[:2] for row in rows] == [
        ["sample:translation", "bleu"],
        ["sample:tagging", "f1"],
        ["sample:sentiment", "accuracy"],
    ]
    for row, name in zip(rows, ("translation", "tagging", "sentiment"), strict=True):
        _, _, figure, seconds, version = row.split()
        assert 0 <= float(figure) <= 100
        assert float(seconds) > 0
        assert version == str(folder / name / "1")
        assert (folder / name / "1" / "saved_model.pb").is_file()
    assert (empty, answer.partition(" -> ")[0]) == ("", translation.text)
    assert entities.startswith(f"{tagging.text} ->")
    assert judged.startswith(f"{sentiment.text} ->")
    assert Path(page.removeprefix("What that leans on: ")).read_text("utf-8").count("<section>") == 1
    drawn = Path(picture.removeprefix("Its attention: "))
    assert drawn == folder / "translation.png"
    assert drawn.read_bytes().startswith(b"\x89PNG")
