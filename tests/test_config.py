import dataclasses

import pytest

from nlp_rnn.config import BatchConfig, ConfigError, DataConfig, TextConfig, TrainingConfig
from nlp_rnn.model_config import (
    SearchConfig,
    TaggerConfig,
    TaggerTrainingConfig,
    TranslatorConfig,
    TranslatorTrainingConfig,
    WordsConfig,
)


@pytest.mark.parametrize(
    ("kind", "values", "message"),
    [
        (DataConfig, {"validation_share": 0.0}, "validation_share must be between 0 and 1, not 0.0"),
        (DataConfig, {"validation_share": 1.0}, "validation_share must be between 0 and 1"),
        (DataConfig, {"dataset": "x", "train": ("y",)}, "dataset and train exclude each other"),
        (
            DataConfig,
            {"streaming": True, "train": ("y",)},
            "streaming is for a data set .* Local files need none of it",
        ),
        (DataConfig, {"streaming": True}, "streaming is for a data set given by --dataset"),
        (DataConfig, {"stream_sample": 0}, "stream_sample must be at least 1"),
        (DataConfig, {"shuffle_buffer": 0}, "shuffle_buffer must be at least 1"),
        (TrainingConfig, {"epoch_steps": 0}, "epoch_steps must be at least 1"),
        (TextConfig, {"vocabulary_size": 4}, "vocabulary_size must be at least 5, not 4"),
        (BatchConfig, {"batch_size": 0}, "batch_size must be at least 1"),
        (BatchConfig, {"longest_example": 0}, "longest_example must be at least 1"),
        (BatchConfig, {"bucket_width": 0}, "bucket_width must be at least 1"),
        (BatchConfig, {"batch_tokens": 101}, r"batch_tokens must be at least longest_example plus two \(102\)"),
        (TranslatorConfig, {"encoder_layers": 0}, "encoder_layers must be at least 1"),
        (TranslatorConfig, {"attention_size": -1}, "attention_size must be at least 1"),
        (TranslatorConfig, {"dropout": 1.0}, "dropout must be at least 0 and below 1, not 1.0"),
        (SearchConfig, {"beam_size": 0}, "beam_size must be at least 1"),
        (SearchConfig, {"length_penalty": float("nan")}, "length_penalty must be at least 0, not nan"),
        (SearchConfig, {"coverage_penalty": -0.1}, "coverage_penalty must be at least 0"),
        (SearchConfig, {"maximum_length": 0}, "maximum_length must be at least 1"),
        (SearchConfig, {"minimum_length": 9, "maximum_length": 8}, r"between 0 and maximum_length \(8\), not 9"),
        (SearchConfig, {"n_best": 0}, "n_best must be at least 1"),
        (TrainingConfig, {"epochs": 0}, "epochs must be at least 1"),
        (TrainingConfig, {"learning_rate": 0.0}, "learning_rate must be above 0"),
        (TrainingConfig, {"warmup_steps": -1}, "warmup_steps must be at least 0"),
        (TrainingConfig, {"clip_norm": 0.0}, "clip_norm must be above 0"),
        (TrainingConfig, {"plateau_factor": 1.0}, "plateau_factor must be above 0 and below 1, not 1.0"),
        (TrainingConfig, {"plateau_patience": 0}, "plateau_patience must be at least 1"),
        (TrainingConfig, {"accumulate_steps": 0}, "accumulate_steps must be at least 1"),
        (TrainingConfig, {"checkpoint_steps": -1}, "checkpoint_steps must be at least 0"),
        (TranslatorTrainingConfig, {"label_smoothing": 1.0}, "label_smoothing must be at least 0 and below 1"),
        (TranslatorTrainingConfig, {"scheduled_sampling_floor": 1.1}, "sampling_floor must be between 0 and 1"),
        (TranslatorTrainingConfig, {"scheduled_sampling_steps": 0}, "scheduled_sampling_steps must be at least 1"),
        (TrainingConfig, {"patience": 0}, "patience must be at least 1"),
        (TrainingConfig, {"worker_timeout": 0.0}, "worker_timeout must be above 0, not 0.0"),
        (TrainingConfig, {"average_checkpoints": 0}, "average_checkpoints must be at least 1"),
        (TrainingConfig, {"seed": -1}, "seed must be at least 0"),
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
    ],
)
def test_values_out_of_range_are_refused(kind: type, values: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        kind(**values)


def test_the_smallest_batch_that_holds_every_example_is_allowed() -> None:
    assert BatchConfig(longest_example=100, batch_tokens=102).batch_tokens == 102


def test_configurations_are_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        SearchConfig().beam_size = 3  # type: ignore[misc]


@pytest.mark.parametrize(
    "kind",
    [
        DataConfig, TextConfig, BatchConfig, TranslatorConfig, SearchConfig, WordsConfig, TaggerConfig, TrainingConfig,
        TranslatorTrainingConfig, TaggerTrainingConfig,
    ],
)  # fmt: skip
def test_every_field_is_documented(kind: type) -> None:
    """The docstring's lines, and those of the class above, are the command line's help."""
    described = "".join(parent.__doc__ or "" for parent in kind.__mro__)
    for item in dataclasses.fields(kind):
        assert f"\n        {item.name}: " in described, item.name


def test_settings_errors_are_value_errors() -> None:
    assert issubclass(ConfigError, ValueError)
