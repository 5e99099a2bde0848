"""What all trainings can be told: values out of range are refused, and each field is documented."""

import dataclasses

import pytest

from nlp_rnn.config import BatchConfig, ConfigError, DataConfig, TextConfig, TrainingConfig


@pytest.mark.parametrize(
    ("kind", "values", "message"),
    [
        (DataConfig, {"validation_share": 0.0}, "validation_share must be between 0 and 1, not 0.0"),
        (DataConfig, {"validation_share": 1.0}, "validation_share must be between 0 and 1"),
        (DataConfig, {"dataset": "x", "train": ("y",)}, "dataset and train exclude each other"),
        (DataConfig, {"train": ("y",), "dataset_revision": "v1"}, "dataset_revision is for a data set given by"),
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
        (TrainingConfig, {"epochs": 0}, "epochs must be at least 1"),
        (TrainingConfig, {"seed": 1 << 32}, r"seed must be at least 0 and below 2 \*\* 32, not 4294967296"),
        (TrainingConfig, {"learning_rate": 0.0}, "learning_rate must be above 0"),
        (TrainingConfig, {"warmup_steps": -1}, "warmup_steps must be at least 0"),
        (TrainingConfig, {"clip_norm": 0.0}, "clip_norm must be above 0"),
        (TrainingConfig, {"plateau_factor": 1.0}, "plateau_factor must be above 0 and below 1, not 1.0"),
        (TrainingConfig, {"plateau_patience": 0}, "plateau_patience must be at least 1"),
        (TrainingConfig, {"accumulate_steps": 0}, "accumulate_steps must be at least 1"),
        (TrainingConfig, {"checkpoint_steps": -1}, "checkpoint_steps must be at least 0"),
        (TrainingConfig, {"patience": 0}, "patience must be at least 1"),
        (TrainingConfig, {"worker_timeout": 0.0}, "worker_timeout must be above 0, not 0.0"),
        (TrainingConfig, {"average_checkpoints": 0}, "average_checkpoints must be at least 1"),
        (TrainingConfig, {"seed": -1}, "seed must be at least 0"),
    ],
)
def test_values_out_of_range_are_refused(kind: type, values: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        kind(**values)


def test_configurations_are_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        BatchConfig().batch_size = 3  # type: ignore[misc]


@pytest.mark.parametrize("kind", [DataConfig, TextConfig, BatchConfig, TrainingConfig])
def test_every_field_is_documented(kind: type) -> None:
    """The docstring's lines, and those of the class above, are the command line's help."""
    described = "".join(parent.__doc__ or "" for parent in kind.__mro__)
    for item in dataclasses.fields(kind):
        assert f"\n        {item.name}: " in described, item.name


def test_settings_errors_are_value_errors() -> None:
    assert issubclass(ConfigError, ValueError)
