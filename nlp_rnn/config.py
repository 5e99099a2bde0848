"""What a run can be told: frozen dataclasses, checked once, stored as JSON beside the model.

A run is a small tree of dataclasses, one for each concern. Field names are
unique over the whole tree, so that every field is one flat flag on the command
line and one key of a configuration file. `settings` builds the trees from such
keys.
"""

from dataclasses import dataclass
from typing import Literal


class ConfigError(ValueError):
    """The user's settings are wrong; the message says which, and how to mend it."""


class DataError(ValueError):
    """The user's data is wrong; the message says where, what was expected and how to mend it."""


def require(condition: bool, name: str, value: object, expected: str) -> None:
    """Raises a ConfigError that says what `name` must be, unless the condition holds."""
    if not condition:
        raise ConfigError(f"{name} must be {expected}, not {value!r}.")


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """Where the examples come from, and how their columns are called.

    Attributes:
        dataset: A hub id, a folder written by `save_to_disk`, or `sample:NAME`.
        dataset_config: The hub data set's configuration name.
        dataset_revision: The hub data set's branch, tag or commit, if not its newest state.
        streaming: Train on the data set as a stream instead of storing it
            first: memory and disk stay the same however large it is.
        stream_sample: Rows at the beginning of a stream that vocabularies,
            labels and lengths are learned from; no more are read of its
            validation set.
        shuffle_buffer: Rows of a stream that are shuffled and put together
            into batches at once; twice as many are in memory.
        train: Local training files; two text files are parallel text.
        validation: Local validation files. Without any, part of train is held out.
        test: Local test files; evaluations read them, trainings do not.
        format: Read local files as this format, whatever their extension.
        text_column: Column holding the text.
        text_pair_column: Column holding a second text, if examples are pairs of texts.
        label_column: Column holding the label.
        multi_label: Any number of labels can be right: a list, or text that
            separates them by commas.
        tokens_column: Column holding the list of tokens.
        tags_column: Column holding the list of tags.
        source_column: Column holding the source sentence; a TSV's columns
            can also be named by their places, `1` being the first.
        target_column: Column holding the target sentence.
        source_language: Key of the source sentence in a `translation` feature.
        target_language: Key of the target sentence in a `translation` feature.
        tag_column: The CoNLL-U column that holds the tags, by name.
        validation_share: Share of train held out when there is no validation set.
    """

    dataset: str | None = None
    dataset_config: str | None = None
    dataset_revision: str | None = None
    streaming: bool = False
    stream_sample: int = 20_000
    shuffle_buffer: int = 10_000
    train: tuple[str, ...] = ()
    validation: tuple[str, ...] = ()
    test: tuple[str, ...] = ()
    format: str | None = None
    text_column: str | None = None
    text_pair_column: str | None = None
    label_column: str | None = None
    multi_label: bool = False
    tokens_column: str | None = None
    tags_column: str | None = None
    source_column: str | None = None
    target_column: str | None = None
    source_language: str | None = None
    target_language: str | None = None
    tag_column: str = "upos"
    validation_share: float = 0.05

    def __post_init__(self) -> None:
        require(0 < self.validation_share < 1, "validation_share", self.validation_share, "between 0 and 1")
        if self.dataset is not None and self.train:
            raise ConfigError("dataset and train exclude each other: give a data set id or local files, not both.")
        if self.dataset_revision is not None and self.dataset is None:
            raise ConfigError("dataset_revision is for a data set given by --dataset: leave it out.")
        if self.streaming and self.dataset is None:
            raise ConfigError(
                "streaming is for a data set given by --dataset. Local files need none of it: they are stored in Arrow "
                "files on the disk, not in memory. Leave --streaming out."
            )
        require(self.stream_sample >= 1, "stream_sample", self.stream_sample, "at least 1")
        require(self.shuffle_buffer >= 1, "shuffle_buffer", self.shuffle_buffer, "at least 1")


@dataclass(frozen=True, kw_only=True)
class TextConfig:
    """How text becomes tokens.

    Attributes:
        tokenizer: Subwords learned by SentencePiece, single characters, or
            words separated by white space.
        vocabulary_size: Largest number of tokens, special ones included.
        subword_model: SentencePiece's algorithm.
        shared_vocabulary: One vocabulary for source and target.
        lowercase: Lower-case all text, in training and in serving.
        unicode_normalization: Unicode normal form applied to all text.
    """

    tokenizer: Literal["sentencepiece", "characters", "words"] = "sentencepiece"
    vocabulary_size: int = 8000
    subword_model: Literal["unigram", "bpe"] = "unigram"
    shared_vocabulary: bool = True
    lowercase: bool = False
    unicode_normalization: Literal["none", "nfc", "nfkc"] = "nfc"

    def __post_init__(self) -> None:
        require(self.vocabulary_size >= 5, "vocabulary_size", self.vocabulary_size, "at least 5")


@dataclass(frozen=True, kw_only=True)
class BatchConfig:
    """How examples are put together.

    Attributes:
        batch_size: Examples in a batch.
        batch_tokens: If given, tokens of a batch on each side, padding
            included, instead of a number of examples.
        longest_example: Training examples with more tokens than this on either
            side are left out, and counted.
        bucket_width: Lengths are padded up to a multiple of this many tokens.
    """

    batch_size: int = 64
    batch_tokens: int | None = None
    longest_example: int = 100
    bucket_width: int = 2

    def __post_init__(self) -> None:
        require(self.batch_size >= 1, "batch_size", self.batch_size, "at least 1")
        require(self.longest_example >= 1, "longest_example", self.longest_example, "at least 1")
        require(self.bucket_width >= 1, "bucket_width", self.bucket_width, "at least 1")


EPOCH_STEPS = 1000
"""Batches of an epoch of a stream, if nothing else is said."""


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """How the parameters are learned, whatever the family.

    Attributes:
        epochs: Epochs; each ends with a look at the validation set.
        epoch_steps: Batches of an epoch, which begins where the last one
            ended. If not given, an epoch is a pass over the training data; of
            a stream, 1000 batches.
        learning_rate: Adam's peak learning rate.
        schedule: Course of the learning rate after the warm-up. `one_cycle`
            has its own rise, over the first 30 % of all steps; with
            `reduce_on_plateau` the validation set decides.
        warmup_steps: Steps of linear increase from zero.
        plateau_factor: What `reduce_on_plateau` multiplies the rate by.
        plateau_patience: Epochs without a better one before it does.
        layer_decay: With `init_from`, what was taken over learns by steps this
            much smaller for every layer further down (Howard and Ruder, 2018).
        thaw_epochs: With `init_from`, what was taken over begins to learn this
            many epochs later for every layer further down; 0 is all at once.
        clip_norm: Largest global norm of the gradient.
        accumulate_steps: Batches whose gradients make up one step, as if they
            were one batch.
        patience: Stop after this many epochs without a better checkpoint.
        average_checkpoints: Average the weights of this many last epochs.
        seed: Seed of everything random.
        precision: Number format of the products; `auto` takes the fastest one
            that this machine has.
        deterministic: Use only operations that repeat bit for bit.
        checkpoint_steps: Steps between two checkpoints; there is one after
            each epoch too, and with 0 only there.
        resume: Go on from the newest checkpoint of the output, if it has any.
        tensorboard: Write the history to the output's `logs/` for TensorBoard.
        strategy: Train on one device, on all GPUs of this machine, or as one
            of several workers, which the environment variable TF_CONFIG names.
            Each batch is divided over the devices.
        worker_timeout: Seconds that a worker waits for the others at the start.
    """

    epochs: int = 16
    epoch_steps: int | None = None
    learning_rate: float = 1e-3
    schedule: Literal["constant", "inverse_square_root", "cosine", "one_cycle", "reduce_on_plateau"] = "cosine"
    warmup_steps: int = 200
    plateau_factor: float = 0.5
    plateau_patience: int = 2
    layer_decay: float = 1.0
    thaw_epochs: int = 0
    clip_norm: float = 1.0
    accumulate_steps: int = 1
    patience: int = 5
    average_checkpoints: int = 1
    seed: int = 1
    precision: Literal["auto", "float32", "mixed_bfloat16", "mixed_float16"] = "float32"
    deterministic: bool = False
    checkpoint_steps: int = 500
    resume: bool = False
    tensorboard: bool = False
    strategy: Literal["single", "mirrored", "multi-worker"] = "single"
    worker_timeout: float = 60.0

    def __post_init__(self) -> None:
        require(self.epochs >= 1, "epochs", self.epochs, "at least 1")
        require(self.epoch_steps is None or self.epoch_steps >= 1, "epoch_steps", self.epoch_steps, "at least 1")
        require(0 <= self.seed < 1 << 32, "seed", self.seed, "at least 0 and below 2 ** 32")
        require(self.learning_rate > 0, "learning_rate", self.learning_rate, "above 0")
        require(self.warmup_steps >= 0, "warmup_steps", self.warmup_steps, "at least 0")
        require(0 < self.plateau_factor < 1, "plateau_factor", self.plateau_factor, "above 0 and below 1")
        require(self.plateau_patience >= 1, "plateau_patience", self.plateau_patience, "at least 1")
        require(0 < self.layer_decay <= 1, "layer_decay", self.layer_decay, "above 0 and at most 1")
        require(self.thaw_epochs >= 0, "thaw_epochs", self.thaw_epochs, "at least 0")
        require(self.clip_norm > 0, "clip_norm", self.clip_norm, "above 0")
        require(self.accumulate_steps >= 1, "accumulate_steps", self.accumulate_steps, "at least 1")
        require(self.checkpoint_steps >= 0, "checkpoint_steps", self.checkpoint_steps, "at least 0")
        require(self.patience >= 1, "patience", self.patience, "at least 1")
        require(self.worker_timeout > 0, "worker_timeout", self.worker_timeout, "above 0")
        require(self.average_checkpoints >= 1, "average_checkpoints", self.average_checkpoints, "at least 1")
