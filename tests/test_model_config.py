"""What each family can be told: values out of range are refused, each field is documented, and JSON holds it all."""

import dataclasses
import json

import pytest

from nlp_rnn.config import ConfigError, DataConfig
from nlp_rnn.jobs import ClassifierRun
from nlp_rnn.layers.ngrams import LONGEST
from nlp_rnn.layers.pooling import POOLS
from nlp_rnn.model_config import (
    ClassifierConfig,
    ClassifierTrainingConfig,
    ReadingConfig,
    SearchConfig,
    TaggerConfig,
    TaggerTrainingConfig,
    TranslatorConfig,
    TranslatorTrainingConfig,
    WordsConfig,
)
from nlp_rnn.settings import from_dict, to_dict

KINDS = (
    SearchConfig, TranslatorConfig, TranslatorTrainingConfig, WordsConfig, TaggerConfig, TaggerTrainingConfig,
    ReadingConfig, ClassifierConfig, ClassifierTrainingConfig,
)  # fmt: skip
NAN = float("nan")


@pytest.mark.parametrize(
    ("kind", "values", "message"),
    [
        (TranslatorConfig, {"encoder_layers": 0}, "encoder_layers must be at least 1"),
        (TranslatorConfig, {"attention_size": -1}, "attention_size must be at least 1"),
        (TranslatorConfig, {"dropout": 1.0}, "dropout must be at least 0 and below 1, not 1.0"),
        (SearchConfig, {"beam_size": 0}, "beam_size must be at least 1"),
        (SearchConfig, {"length_penalty": float("nan")}, "length_penalty must be at least 0, not nan"),
        (SearchConfig, {"coverage_penalty": -0.1}, "coverage_penalty must be at least 0"),
        (SearchConfig, {"maximum_length": 0}, "maximum_length must be at least 1"),
        (SearchConfig, {"minimum_length": 9, "maximum_length": 8}, r"between 0 and maximum_length \(8\), not 9"),
        (SearchConfig, {"maximum_length_ratio": -1.0}, "maximum_length_ratio must be at least 0 and finite, not -1.0"),
        (SearchConfig, {"maximum_length_ratio": float("inf")}, "must be at least 0 and finite, not inf"),
        (SearchConfig, {"n_best": 0}, "n_best must be at least 1"),
        (TranslatorTrainingConfig, {"label_smoothing": 1.0}, "label_smoothing must be at least 0 and below 1"),
        (TranslatorTrainingConfig, {"scheduled_sampling_floor": 1.1}, "sampling_floor must be between 0 and 1"),
        (TranslatorTrainingConfig, {"scheduled_sampling_steps": 0}, "scheduled_sampling_steps must be at least 1"),
        (TranslatorTrainingConfig, {"epochs": 0}, "epochs must be at least 1"),  # the common part is checked too
        (TaggerTrainingConfig, {"epochs": 0}, "epochs must be at least 1"),
        (TaggerTrainingConfig, {"word_dropout": -0.1}, "word_dropout must be at least 0"),
        (WordsConfig, {"vocabulary_size": 4}, "vocabulary_size must be at least 5, not 4"),
        (WordsConfig, {"longest_word": 1}, "longest_word must be at least 2"),
        (WordsConfig, {"vector_words": -1}, "vector_words must be at least 0"),
        (WordsConfig, {"subwords": 4}, "subwords must be 0 or at least 5, not 4"),
        (WordsConfig, {"subwords": -1}, "subwords must be 0 or at least 5, not -1"),
        (WordsConfig, {"maximum_length": 0}, "maximum_length must be at least 1"),
        (TaggerConfig, {"word_size": 0}, "word_size must be at least 1"),
        (TaggerConfig, {"shape_size": -1}, "shape_size must be at least 0"),
        (TaggerConfig, {"character_embedding_size": 0}, "character_embedding_size must be at least 1"),
        (TaggerConfig, {"character_size": 0}, "character_size must be at least 1"),
        (TaggerConfig, {"character_size": 7}, "character_size must be even: half for each direction, not 7"),
        (TaggerConfig, {"encoder_size": 0}, "encoder_size must be at least 1"),
        (TaggerConfig, {"encoder_layers": 0}, "encoder_layers must be at least 1"),
        (TaggerConfig, {"dropout": 1.0}, "dropout must be at least 0 and below 1, not 1.0"),
        (ReadingConfig, {"vocabulary_size": 4}, "vocabulary_size must be at least 5, not 4"),
        (ReadingConfig, {"longest_word": 1}, "longest_word must be at least 2"),
        (ReadingConfig, {"vector_words": -1}, "vector_words must be at least 0"),
        (ReadingConfig, {"maximum_length": 0}, "maximum_length must be at least 1"),
        (ReadingConfig, {"vectors": "v", "tokenizer": "sentencepiece"}, "vectors are of words: .*not sentencepiece"),
        (ReadingConfig, {"vectors": "v", "tokenizer": "characters"}, "vectors are of words: .*not characters"),
        (ReadingConfig, {"subword_sampling": -0.1}, "subword_sampling must be at least 0"),
        (ReadingConfig, {"subword_sampling": 0.1}, "subword_sampling needs the tokenizer sentencepiece"),
        (ClassifierConfig, {"embedding_size": 0}, "embedding_size must be at least 1"),
        (ClassifierConfig, {"shape_size": -1}, "shape_size must be at least 0"),
        (ClassifierConfig, {"character_embedding_size": 0}, "character_embedding_size must be at least 1"),
        (
            ClassifierConfig,
            {"character_size": 7, "character_encoder": "recurrent"},
            "character_size must be even: half for each direction, not 7",
        ),
        (ClassifierConfig, {"encoder_size": 0}, "encoder_size must be at least 1"),
        (ClassifierConfig, {"encoder_layers": 0}, "encoder_layers must be at least 1"),
        (ClassifierConfig, {"attention_size": 0}, "attention_size must be at least 1"),
        (ClassifierConfig, {"dropout": 1.0}, "dropout must be at least 0 and below 1, not 1.0"),
        (ClassifierConfig, {"dropout": NAN}, "dropout must be at least 0 and below 1, not nan"),
        (ClassifierConfig, {"members": 0}, "members must be at least 1"),
        (ClassifierConfig, {"ngrams": 6}, "ngrams must be between 0 and 5, not 6"),
        (ClassifierConfig, {"ngrams": -1}, "ngrams must be between 0 and 5"),
        (ClassifierConfig, {"character_ngrams": 6}, "character_ngrams must be between 0 and 5"),
        (ClassifierConfig, {"ngram_buckets": 0}, "ngram_buckets must be at least 1"),
        (ClassifierConfig, {"threshold": 0.0}, "threshold must be between 0 and 1, not 0.0"),
        (ClassifierConfig, {"threshold": 1.0}, "threshold must be between 0 and 1, not 1.0"),
        (ClassifierConfig, {"pools": ()}, r"pools must be at least one, none twice, not \(\)"),
        (ClassifierConfig, {"pools": ("max", "max")}, "pools must be at least one, none twice"),
        (ClassifierTrainingConfig, {"epochs": 0}, "epochs must be at least 1"),  # the common part is checked too
        (ClassifierTrainingConfig, {"word_dropout": 1.0}, "word_dropout must be at least 0 and below 1"),
        (ClassifierTrainingConfig, {"label_smoothing": 1.0}, "label_smoothing must be at least 0 and below 1"),
        (ClassifierTrainingConfig, {"label_smoothing": -0.1}, "label_smoothing must be at least 0 and below 1"),
    ],
)
def test_values_out_of_range_are_refused(kind: type, values: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        kind(**values)


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        (ReadingConfig, {"vectors": "v"}),
        (ReadingConfig, {"vocabulary_size": 5, "longest_word": 2, "vector_words": 0, "maximum_length": 1}),
        (ClassifierConfig, {"pools": POOLS, "ngrams": LONGEST, "character_ngrams": LONGEST, "members": 3}),
        (ClassifierConfig, {"character_size": 7}),
        (TaggerConfig, {"character_size": 7, "character_encoder": "convolution"}),
        (ClassifierConfig, {"ngrams": 0, "character_ngrams": 0, "shape_size": 0, "dropout": 0.0, "encoder_size": 1}),
        (ClassifierTrainingConfig, {"word_dropout": 0.0, "label_smoothing": 0.0}),
    ],
)
def test_values_at_the_borders_are_taken(kind: type, values: dict) -> None:
    assert dataclasses.asdict(kind(**values)).items() >= values.items()


@pytest.mark.parametrize("kind", KINDS)
def test_every_field_is_documented(kind: type) -> None:
    """The docstring's lines are the command line's help."""
    documented = "\n".join(str(base.__doc__) for base in kind.__mro__)
    for item in dataclasses.fields(kind):
        assert f"\n        {item.name}: " in documented, item.name


@pytest.mark.parametrize("kind", KINDS)
def test_configurations_do_not_change(kind: type) -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(kind(), dataclasses.fields(kind)[0].name, "other")


def test_a_run_survives_json() -> None:
    run = ClassifierRun(
        output="here",
        data=DataConfig(train=("a.tsv",), text_pair_column="second", multi_label=True),
        reading=ReadingConfig(tokenizer="characters", maximum_length=100),
        model=ClassifierConfig(pools=("last", "mean"), threshold=0.3),
        training=ClassifierTrainingConfig(class_weights="none", label_smoothing=0.1, monitor="macro_f1"),
    )
    assert from_dict(ClassifierRun, json.loads(json.dumps(to_dict(run)))) == run


def test_a_pool_that_there_is_not_is_refused() -> None:
    with pytest.raises(ConfigError, match="pools must be one of 'last', 'max', 'mean', 'attention', not 'median'"):
        from_dict(ClassifierRun, {"output": "o", "pools": ["max", "median"]})


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"ngrams": 0, "character_ngrams": 5}, False),
        ({"ngrams": 2, "character_ngrams": 0}, False),
        ({"ngrams": 2, "character_ngrams": 5}, True),
        ({"ngrams": 0, "character_ngrams": 0, "character_encoder": "recurrent"}, True),
    ],
)
def test_characters_are_read_by_an_encoder_or_the_linear_model(values: dict, expected: bool) -> None:
    assert ClassifierConfig(**values).reads_characters is expected
