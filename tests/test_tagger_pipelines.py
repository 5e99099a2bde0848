"""The tagger's scripts as a user runs them, on good input and on bad."""

import json
from pathlib import Path

import pytest
from pipeline_cases import Finished, Script, complaint, results, script

from nlp_rnn import samples

SENTENCES = [(row["tokens"], row["tags"]) for row in list(samples.load("tagging")["train"])[:200]]
TINY = (
    "--batch-size", "50", "--bucket-width", "32", "--epochs", "1", "--word-size", "8", "--shape-size", "4",
    "--character-encoder", "convolution", "--character-size", "8", "--encoder-size", "8", "--encoder-layers", "1",
)  # fmt: skip


def write(path: Path, sentences: list[tuple[list[str], list[str]]]) -> Path:
    """Writes a CoNLL file."""
    rows = ("".join(f"{token}\t{tag}\n" for token, tag in zip(*pair, strict=True)) for pair in sentences)
    path.write_text("\n".join(rows), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def training(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Finished]:
    """A model directory, and what its training said; a sentence of 5,000 words is among the data."""
    folder = tmp_path_factory.mktemp("pipelines")
    long = (["word"] * 5000, ["O"] * 5000)
    train = write(folder / "train.conll", [*SENTENCES[:150], long])
    validation = write(folder / "validation.conll", SENTENCES[150:])
    model = folder / "saved_models" / "names"
    done = script("train_tagger.py", "--train", train, "--validation", validation, "--output", model, *TINY)
    assert done.returncode == 0, done.stderr
    return model, done


@pytest.fixture
def model(training: tuple[Path, Finished]) -> Path:
    return training[0]


def test_training_prints_its_result_and_what_it_found_out(training: tuple[Path, Finished]) -> None:
    model, done = training
    (result,) = results(done)
    assert result["version"] == str(model / "1")
    assert {"accuracy", "f1", "expected_calibration_error", "validation_loss"} <= set(result)
    assert "The tags mark spans in BIO." in done.stderr
    assert "1 of 151 training sentences have more than 100 words and are left out." in done.stderr
    assert "Warning" not in done.stderr


def test_a_test_set_is_measured(run: Script, model: Path, tmp_path: Path) -> None:
    test = write(tmp_path / "test.conll", SENTENCES[150:])
    (result,) = results(run("evaluate.py", "--model", model, "--test", test, "--pictures", tmp_path / "pictures"))
    assert {
        "accuracy", "macro_f1", "weighted_f1", "f1", "precision", "recall", "per_class", "out_of_vocabulary_accuracy",
        "expected_calibration_error", "examples", "truncated", "seconds",
    } == set(result)  # fmt: skip
    assert (result["examples"], result["truncated"]) == (50, 0)
    assert (tmp_path / "pictures" / "confusion_matrix.png").stat().st_size > 0


def test_a_tag_that_the_model_does_not_know_counts_as_an_error(run: Script, model: Path, tmp_path: Path) -> None:
    tokens, file = SENTENCES[0][0], tmp_path / "test.conll"

    said: list[str] = []

    def measured(tags: list[str]) -> dict:
        write(file, [(tokens, tags)])
        done = run("evaluate.py", "--model", model, "--test", file, "--predictions", tmp_path / "tags.txt")
        said.append(done.stderr)
        return results(done)[0]

    measured(["O"] * len(tokens))
    predicted = (tmp_path / "tags.txt").read_text().split()
    assert measured(predicted)["accuracy"] == 1
    strange = measured(["B-STAR", *predicted[1:]])
    assert strange["accuracy"] == pytest.approx(1 - 1 / len(tokens))
    assert strange["per_class"]["STAR"] == {"precision": 0, "recall": 0, "f1": 0, "support": 1}
    assert ["are unknown, thus never right" in log for log in said] == [False, False, True]
    assert "1 tags of the test set are unknown, thus never right: B-STAR." in said[-1]


def test_texts_are_tagged_line_by_line(run: Script, model: Path, tmp_path: Path) -> None:
    texts = ["Anna lives in York.", "", "  ", "a" * 10_000, "word " * 5000, "👋🏽 e\u0301!"]
    file = tmp_path / "texts.txt"
    file.write_bytes("\n".join(texts).encode() + b"\na\xffb\n")
    rows = results(run("predict.py", "--model", model, "--input", file))
    assert [len(row["tokens"]) for row in rows] == [5, 0, 0, 1, 512, 3, 3]
    assert [row["truncated"] for row in rows] == [False] * 4 + [True] + [False] * 2
    for text, row in zip(texts, rows, strict=False):
        for token in row["tokens"]:
            assert text[token["start"] : token["end"]] == token["text"]
            assert 0 < token["score"] <= 1.0001
    assert rows[5]["tokens"][1]["text"] == "e\u0301"


def test_what_is_not_a_tagger_s_is_refused(run: Script, model: Path, tmp_path: Path) -> None:
    assert "n_best is for translators, and this is a tagger" in complaint(
        run("predict.py", "--model", model, "--input", write(tmp_path / "x.txt", SENTENCES[:1]), "--n-best", "2")
    )
    assert "beam_size: a tagger has no such setting" in complaint(
        run("export.py", "--model", model, "--beam-size", "2")
    )


def test_an_export_can_read_shorter_texts(run: Script, model: Path) -> None:
    (result,) = results(run("export.py", "--model", model, "--maximum-length", "3"))
    settings = json.loads((Path(result["version"]) / "assets.extra" / "settings.json").read_text())
    assert settings == {"weights": "float32", "maximum_length": 3}


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.conll", "a\tO\nb\n", "x.conll, line 2"),
        ("x.jsonl", '{"tokens": ["a", "b"], "tags": ["O"]}\n', "x.jsonl, line 1: expected one tag a token, found 2"),
        ("x.conllu", "1\ta\ta\tX\n", "x.conllu, line 1"),
        ("x.conll", "", "there are no examples in it"),
        ("x.txt", "only text\n", "there is no column 'tokens'"),
    ],
)
def test_bad_files_are_refused_with_their_line(
    run: Script, tmp_path: Path, name: str, content: str, message: str
) -> None:
    file = tmp_path / name
    file.write_text(content)
    done = run("train_tagger.py", "--train", file, "--validation", file, "--output", tmp_path / "model", *TINY)
    assert message in complaint(done)
    assert not (tmp_path / "model").exists()


def test_invalid_utf_8_is_refused_with_its_line(run: Script, tmp_path: Path) -> None:
    file = tmp_path / "x.conll"
    file.write_bytes(b"a\tO\n\xff\tO\n")
    done = run("train_tagger.py", "--train", file, "--output", tmp_path / "model", *TINY)
    assert "x.conll, line 2" in complaint(done)


def test_a_missing_file_of_vectors_is_refused(run: Script, tmp_path: Path) -> None:
    train = write(tmp_path / "train.conll", SENTENCES[:20])
    done = run(
        "train_tagger.py", "--train", train, "--vectors", tmp_path / "none.txt", "--output", tmp_path / "m", *TINY
    )
    assert done.returncode == 2
    assert "none.txt: No such file" in done.stderr.splitlines()[-1]
