"""The SavedModel here is a dictionary, so that all hypotheses are known, in a model directory like any other."""

import json
from pathlib import Path

import pytest
import sacrebleu
import tensorflow as tf

from nlp_rnn import store
from nlp_rnn.config import ConfigError, DataConfig, TextConfig
from nlp_rnn.corpora import DataError
from nlp_rnn.evaluation import as_trained, evaluate
from nlp_rnn.families import TranslationText, build_translator
from nlp_rnn.jobs import TranslatorRun
from nlp_rnn.model_config import TranslatorConfig
from nlp_rnn.vocabularies import train_tokenizer

SENTENCES = {  # source: (reference, hypothesis)
    "ein hund läuft durch das gras .": ("A dog runs through the grass .", "a dog runs through the grass ."),
    "zwei Katzen": ("two cats", "two cats"),
    "ein Haus steht am See .": ("A house stands by the lake .", "A house is by the lake ."),
}
WORDS = {  # the last one is wrong even without the stress marks
    "c a t": ("K AE1 T", "K AE1 T"),
    "t o d a y": ("T AH0 D EY1", "T AH1 D EY0"),
    "a g o": ("AH0 G OW1", "AH0 G AA1 W"),
}


class Dictionary(tf.Module):
    """Translates what it has learned by heart, and says that texts of more than 20 bytes were truncated."""

    def __init__(self, pairs: dict[str, str]) -> None:
        super().__init__()
        entries = tf.lookup.KeyValueTensorInitializer(list(pairs), list(pairs.values()))
        self.table = tf.lookup.StaticHashTable(entries, "?")

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "text")])
    def translate(self, text: tf.Tensor) -> dict[str, tf.Tensor]:
        score = tf.zeros_like(text, tf.float32)
        return {"translation": self.table[text], "score": score, "truncated": tf.strings.length(text) > 20}


def model_directory(folder: Path, examples: dict[str, tuple[str, str]], lowercase: bool) -> Path:
    text = TextConfig(tokenizer="words", lowercase=lowercase)
    sizes = TranslatorConfig(embedding_size=2, encoder_size=2, decoder_size=2, attention_size=2)
    config = TranslatorRun(output=str(folder), text=text, model=sizes)
    tokenizer = train_tokenizer(examples, text)
    texts = TranslationText(source=tokenizer, target=tokenizer)
    store.save(folder, config=config, network=build_translator(config, texts), text=texts, metrics={})
    dictionary = Dictionary({source: hypothesis for source, (_, hypothesis) in examples.items()})
    names = ("serving_default", "n_best", "explain")
    tf.saved_model.save(dictionary, str(folder / "1"), signatures=dict.fromkeys(names, dictionary.translate))
    return folder


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("models")
    return {
        "cased": model_directory(root / "cased", SENTENCES, lowercase=False),
        "lower": model_directory(root / "lower", SENTENCES, lowercase=True),
        "phones": model_directory(root / "phones", WORDS, lowercase=False),
    }


def held_out(tmp_path: Path, examples: dict[str, tuple[str, str]]) -> DataConfig:
    path = tmp_path / "test.jsonl"
    rows = [{"source": source, "target": reference} for source, (reference, _) in examples.items()]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return DataConfig(test=(str(path),))


def test_the_newest_export_is_measured_as_sacrebleu_measures(models: dict[str, Path], tmp_path: Path) -> None:
    references, hypotheses = (list(column) for column in zip(*SENTENCES.values(), strict=True))
    measured = evaluate(models["cased"], held_out(tmp_path, SENTENCES), batch_size=2)
    assert measured["bleu"] == measured["bleu_cased"] == sacrebleu.corpus_bleu(hypotheses, [references]).score
    assert measured["chrf"] == sacrebleu.corpus_chrf(hypotheses, [references]).score
    assert "case:mixed" in measured["bleu_signature"]
    assert (measured["examples"], measured["truncated"]) == (3, 2)
    assert 0 < measured["seconds"] < 60


def test_case_counts_only_for_models_that_write_it(models: dict[str, Path], tmp_path: Path) -> None:
    """One sentence differs in case alone, in one of its tokens; another has a wrong word."""
    references, hypotheses = (list(column) for column in zip(*SENTENCES.values(), strict=True))
    data = held_out(tmp_path, SENTENCES)
    cased, lower = evaluate(models["cased"], data), evaluate(models["lower"], data)
    assert lower["bleu"] == sacrebleu.corpus_bleu(hypotheses, [references], lowercase=True).score
    assert lower["bleu_cased"] == cased["bleu_cased"] < lower["bleu"]
    assert lower["chrf"] > cased["chrf"]
    assert "case:lc" in lower["chrf_signature"]
    assert "case:lc" in lower["bleu_signature"]
    assert (cased["word_error_rate"], cased["token_error_rate"]) == (2 / 3, 2 / 16)
    assert (lower["word_error_rate"], lower["token_error_rate"]) == (1 / 3, 1 / 16)


def test_error_rates_can_ignore_stress_marks(models: dict[str, Path], tmp_path: Path) -> None:
    """With the marks, two phones of `today` are wrong; without, only OW for AA W in `ago`: two edits."""
    data = held_out(tmp_path, WORDS)
    marked = evaluate(models["phones"], data)
    unmarked = evaluate(models["phones"], data, ignore_pattern="[0-9]")
    assert (marked["word_error_rate"], marked["token_error_rate"]) == (2 / 3, 4 / 10)
    assert (unmarked["word_error_rate"], unmarked["token_error_rate"]) == (1 / 3, 2 / 10)
    assert unmarked["bleu"] == marked["bleu"]


def test_the_hypotheses_are_written_one_a_line(models: dict[str, Path], tmp_path: Path) -> None:
    evaluate(models["cased"], held_out(tmp_path, SENTENCES), predictions=tmp_path / "hypotheses.txt")
    written = (tmp_path / "hypotheses.txt").read_text(encoding="utf-8")
    assert written == "".join(hypothesis + "\n" for _, hypothesis in SENTENCES.values())


def test_line_breaks_in_a_hypothesis_keep_the_lines_aligned(tmp_path: Path) -> None:
    examples = {"a": ("x", "first\nsecond\u2028third"), "b": ("y", "y")}
    model = model_directory(tmp_path / "model", examples, lowercase=False)
    evaluate(model, held_out(tmp_path, examples), predictions=tmp_path / "hypotheses.txt")
    assert (tmp_path / "hypotheses.txt").read_bytes() == b"first second third\ny\n"


def test_what_the_corpus_notes_is_logged(
    models: dict[str, Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO", logger="nlp_rnn"):
        measured = evaluate(models["cased"], held_out(tmp_path, SENTENCES | {"leer": (" ", "")}))
    assert measured["examples"] == 3
    assert "rows with blank text left out: 1" in caplog.text


def test_wrong_input_is_refused(models: dict[str, Path], tmp_path: Path) -> None:
    data = held_out(tmp_path, WORDS)
    with pytest.raises(ConfigError, match="There is no folder"):
        evaluate(tmp_path / "nothing", data)
    with pytest.raises(ConfigError, match="There is no test set"):
        evaluate(models["phones"], DataConfig())
    with pytest.raises(DataError, match=r"missing\.tsv"):
        evaluate(models["phones"], DataConfig(test=(str(tmp_path / "missing.tsv"),)))
    with pytest.raises(ConfigError, match=r"ignore_pattern '\.' leaves nothing of the references"):
        evaluate(models["phones"], data, ignore_pattern=".")
    with pytest.raises(ConfigError, match=r"predictions .* cannot be written: make its folder first"):
        evaluate(models["phones"], data, predictions=tmp_path / "none" / "hypotheses.txt")


XPOS = DataConfig(train=("a.conllu",), tag_column="xpos")
REVERSED = DataConfig(train=("a.tsv",), source_column="2", target_column="1")
HUB = DataConfig(dataset="hub/set", source_language="en", target_language="de")


@pytest.mark.parametrize(
    ("given", "trained", "read"),
    [
        (DataConfig(test=("b.conllu",)), XPOS, {"tag_column": "xpos"}),
        (DataConfig(test=("b.tsv",)), REVERSED, {"source_column": "2", "target_column": "1"}),
        (DataConfig(test=("b.tsv",), source_column="1"), REVERSED, {"source_column": "1", "target_column": None}),
        (DataConfig(test=("b.en", "b.de")), REVERSED, {"source_column": None, "target_column": None}),
        (DataConfig(test=("b.txt",), format="tsv"), REVERSED, {"source_column": "2"}),
        (DataConfig(dataset="hub/other"), HUB, {"source_language": "en", "target_language": "de"}),
        (DataConfig(test=("b.jsonl",)), HUB, {"source_language": None}),
    ],
)
def test_a_test_set_is_read_as_the_training_set_was_unless_something_else_is_said(
    given: DataConfig, trained: DataConfig, read: dict[str, str | None]
) -> None:
    found = as_trained(given, trained)
    assert {name: getattr(found, name) for name in read} == read
    assert (found.test, found.dataset, found.train) == (given.test, given.dataset, ())
