"""What each command is told: one flag a field, and what an export takes over from the training."""

import dataclasses
from typing import Any

import pytest

from nlp_rnn.config import BatchConfig, ConfigError, DataConfig
from nlp_rnn.jobs import ClassifierRun, EvaluateRun, ExportRun, PredictRun, TaggerRun, TranslatorRun
from nlp_rnn.model_config import ClassifierConfig, ClassifierTrainingConfig, ReadingConfig, SearchConfig, WordsConfig

RUNS = (TranslatorRun, TaggerRun, ClassifierRun, EvaluateRun, PredictRun, ExportRun)


@pytest.mark.parametrize(
    ("kind", "values", "message"),
    [
        (TranslatorRun, {"output": ""}, "output must be the path of a model directory, not ''"),
        (TaggerRun, {"output": ""}, "output must be the path of a model directory, not ''"),
        (ClassifierRun, {"output": ""}, "output must be the path of a model directory, not ''"),
        (EvaluateRun, {"model": ""}, "model must be the path of a model directory, not ''"),
        (EvaluateRun, {"model": "m", "batch_size": 0}, "batch_size must be at least 1"),
        (EvaluateRun, {"model": "m", "ignore_pattern": "("}, r"ignore_pattern must be a regular expression, not '\('"),
        (PredictRun, {"model": ""}, "model must be the path of a model directory, not ''"),
        (PredictRun, {"model": "m", "n_best": 0}, "n_best must be at least 1"),
        (PredictRun, {"model": "m", "batch_size": 0}, "batch_size must be at least 1"),
        (PredictRun, {"model": "m", "n_best": 2, "attention_plots": "p"}, "n_best and attention_plots exclude"),
        (ExportRun, {"model": ""}, "model must be the path of a model directory, not ''"),
        (ExportRun, {"model": "m", "weights": "int8"}, "weights must be one of float32, bfloat16, float16, not 'int8'"),
    ],
)
def test_values_out_of_range_are_refused(kind: type, values: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        kind(**values)


@pytest.mark.parametrize("kind", RUNS)
def test_field_names_are_unique_over_the_tree(kind: type) -> None:
    """Otherwise two fields would fight for one flag."""

    def leaves(kind: type) -> list[str]:
        names = []
        for item in dataclasses.fields(kind):
            names += leaves(item.type) if dataclasses.is_dataclass(item.type) else [item.name]
        return names

    assert "beam_size" in leaves(TranslatorRun)
    names = leaves(kind)
    assert len(names) == len(set(names))


@pytest.mark.parametrize("kind", RUNS)
def test_every_field_is_documented(kind: type) -> None:
    """The docstring's lines are the command line's help."""
    for item in dataclasses.fields(kind):
        assert f"\n        {item.name}: " in (kind.__doc__ or ""), item.name


def test_an_export_keeps_the_search_of_the_training_but_for_what_is_given() -> None:
    search = SearchConfig(beam_size=3, length_penalty=0.6, maximum_length=40, n_best=2)
    trained_with = TranslatorRun(output="o", search=search)
    kept = {"beam_size": 3, "length_penalty": 0.6, "coverage_penalty": 0.0, "minimum_length": 0,
            "maximum_length": 40, "maximum_length_ratio": 2.0, "n_best": 2}  # fmt: skip
    assert ExportRun(model="m").fixed(trained_with) == kept
    given = ExportRun(model="m", beam_size=8, length_penalty=0.0, coverage_penalty=0.2, minimum_length=1, n_best=4)
    assert given.fixed(trained_with) == {
        "beam_size": 8, "length_penalty": 0.0, "coverage_penalty": 0.2, "minimum_length": 1, "maximum_length": 40,
        "maximum_length_ratio": 2.0, "n_best": 4,
    }  # fmt: skip


def test_an_export_can_change_every_setting_of_the_search() -> None:
    settings = {item.name for item in dataclasses.fields(SearchConfig)}
    assert {item.name for item in dataclasses.fields(ExportRun)} == settings | {"model", "threshold", "weights", "keep"}


def test_an_export_whose_settings_contradict_the_training_s_is_refused() -> None:
    trained_with = TranslatorRun(output="o", search=SearchConfig(maximum_length=40))
    with pytest.raises(ConfigError, match=r"minimum_length must be between 0 and maximum_length \(40\), not 50"):
        ExportRun(model="m", minimum_length=50).fixed(trained_with)


def test_an_export_of_a_tagger_fixes_its_maximum_length_alone() -> None:
    trained_with = TaggerRun(output="o", words=WordsConfig(maximum_length=40))
    assert ExportRun(model="m").fixed(trained_with) == {"maximum_length": 40}
    assert ExportRun(model="m", maximum_length=9).fixed(trained_with) == {"maximum_length": 9}
    with pytest.raises(ConfigError, match="maximum_length must be at least 1, not 0"):
        ExportRun(model="m", maximum_length=0).fixed(trained_with)
    with pytest.raises(ConfigError, match="beam_size, n_best: a tagger has no such setting; it has maximum_length."):
        ExportRun(model="m", n_best=2, beam_size=3, maximum_length=9).fixed(trained_with)
    with pytest.raises(ConfigError, match="threshold: a tagger has no such setting; it has maximum_length."):
        ExportRun(model="m", threshold=0.3).fixed(trained_with)


def test_a_threshold_is_for_several_labels() -> None:
    export = ExportRun(model="m", threshold=0.3)
    several = ClassifierRun(output="m", data=DataConfig(multi_label=True))
    assert export.fixed(several)["threshold"] == 0.3
    with pytest.raises(ConfigError, match="threshold is for classifiers that give several labels"):
        export.fixed(ClassifierRun(output="m"))


@pytest.mark.parametrize("sizes", [{"shape_size": 4}, {"character_encoder": "recurrent"}])
def test_what_is_read_of_words_needs_words(sizes: dict[str, Any]) -> None:
    reading = ReadingConfig(tokenizer="sentencepiece")
    with pytest.raises(ConfigError, match="are for words: .* set tokenizer to words, not sentencepiece"):
        ClassifierRun(output="m", reading=reading, model=ClassifierConfig(**sizes))


def test_an_export_of_a_classifier_fixes_its_maximum_length_and_its_threshold() -> None:
    trained_with = ClassifierRun(
        output="o", data=DataConfig(multi_label=True), reading=ReadingConfig(maximum_length=40),
        model=ClassifierConfig(threshold=0.4),
    )  # fmt: skip
    assert ExportRun(model="m").fixed(trained_with) == {"maximum_length": 40, "threshold": 0.4}
    given = ExportRun(model="m", maximum_length=9, threshold=0.1)
    assert given.fixed(trained_with) == {"maximum_length": 9, "threshold": 0.1}
    with pytest.raises(ConfigError, match="threshold must be between 0 and 1, not 2.0"):
        ExportRun(model="m", threshold=2.0).fixed(trained_with)
    with pytest.raises(ConfigError, match="beam_size: a classifier has no such setting; it has maximum_length, thresh"):
        ExportRun(model="m", beam_size=3).fixed(trained_with)


def test_a_translator_has_no_threshold() -> None:
    with pytest.raises(ConfigError, match="threshold: a translator has no such setting; it has beam_size, coverage_p"):
        ExportRun(model="m", threshold=0.3).fixed(TranslatorRun(output="o"))


def test_classes_are_balanced_where_one_label_is_right() -> None:
    balanced = ClassifierTrainingConfig(class_weights="balanced")
    assert ClassifierRun(output="o", training=balanced).training.class_weights == "balanced"
    with pytest.raises(ConfigError, match="class_weights are for examples with one label: leave them out with multi_"):
        ClassifierRun(output="o", data=DataConfig(multi_label=True), training=balanced)


@pytest.mark.parametrize("kind", [TranslatorRun, TaggerRun, ClassifierRun])
def test_a_stream_is_not_divided_over_devices(kind: type) -> None:
    training = kind(output="o").training
    divided = dataclasses.replace(training, strategy="mirrored")
    with pytest.raises(ConfigError, match="strategy mirrored .* cannot be had with streaming"):
        kind(output="o", data=DataConfig(dataset="x", streaming=True), training=divided)
    kind(output="o", data=DataConfig(dataset="x", streaming=True), training=training)


@pytest.mark.parametrize("kind", [TranslatorRun, TaggerRun])
def test_a_batch_has_room_for_the_longest_example(kind: type) -> None:
    with pytest.raises(ConfigError, match=r"batch_tokens must be at least longest_example plus two \(102\), so that"):
        kind(output="o", batching=BatchConfig(batch_tokens=101))
    kind(output="o", batching=BatchConfig(batch_tokens=102))


def test_a_batch_of_a_classifier_has_room_for_what_is_read_of_a_text() -> None:
    """Whatever `longest_example` is, of which classifiers take no notice."""
    reading = ReadingConfig(maximum_length=40)
    with pytest.raises(ConfigError, match=r"batch_tokens must be at least maximum_length plus two \(42\), so that"):
        ClassifierRun(output="o", reading=reading, batching=BatchConfig(batch_tokens=41))
    ClassifierRun(output="o", reading=reading, batching=BatchConfig(batch_tokens=42))


@pytest.mark.parametrize("kind", [TranslatorRun, TaggerRun, ClassifierRun])
@pytest.mark.parametrize("changes", [{"layer_decay": 0.5}, {"thaw_epochs": 1}])
def test_what_is_not_taken_over_does_not_learn_later_or_more_slowly(kind: type, changes: dict) -> None:
    training = dataclasses.replace(kind(output="o").training, **changes)
    with pytest.raises(ConfigError, match="layer_decay and thaw_epochs are for what init_from takes over"):
        kind(output="o", training=training)
    kind(output="o", training=training, init_from="m")
