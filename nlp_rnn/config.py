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
        streaming: Read the data set as a stream instead of storing it first.
        train: Local training files; two text files are parallel text.
        validation: Local validation files. Without any, part of train is held out.
        test: Local test files.
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
    streaming: bool = False
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
        if self.batch_tokens is not None:
            longest = self.longest_example + 2
            require(
                self.batch_tokens >= longest,
                "batch_tokens",
                self.batch_tokens,
                f"at least longest_example plus two ({longest}), so that every example fits",
            )


@dataclass(frozen=True, kw_only=True)
class TranslatorConfig:
    """The sizes of an encoder-decoder with attention.

    Attributes:
        cell: Recurrent cell of encoder and decoder.
        embedding_size: Width of the token embeddings.
        encoder_size: Units of each direction of each encoder layer.
        encoder_layers: Number of bidirectional encoder layers.
        decoder_size: Units of each decoder layer.
        decoder_layers: Number of decoder layers.
        attention_size: Width of the attention's score space.
        residual: Add a layer's input to its output where widths agree.
        tie_embeddings: Share the target embedding with the output projection.
        dropout: Share of units dropped, the same ones at every time step.
    """

    cell: Literal["lstm", "gru"] = "lstm"
    embedding_size: int = 256
    encoder_size: int = 256
    encoder_layers: int = 1
    decoder_size: int = 512
    decoder_layers: int = 1
    attention_size: int = 512
    residual: bool = False
    tie_embeddings: bool = False
    dropout: float = 0.3

    def __post_init__(self) -> None:
        for name in (
            "embedding_size",
            "encoder_size",
            "encoder_layers",
            "decoder_size",
            "decoder_layers",
            "attention_size",
        ):
            require(getattr(self, name) >= 1, name, getattr(self, name), "at least 1")
        require(0 <= self.dropout < 1, "dropout", self.dropout, "at least 0 and below 1")


@dataclass(frozen=True, kw_only=True)
class SearchConfig:
    """How a translation is searched for; fixed in an exported graph.

    Attributes:
        beam_size: Hypotheses kept at each step; 1 is greedy search.
        length_penalty: Exponent alpha of ((5 + length) / 6) ** alpha, by which
            log-probabilities are divided (Wu et al., 2016).
        coverage_penalty: Weight beta of the coverage penalty (Wu et al., 2016).
        minimum_length: Fewest tokens of a translation.
        maximum_length: Most tokens read from the source and written to the target.
        n_best: Translations returned by the `n_best` signature.
    """

    beam_size: int = 5
    length_penalty: float = 1.0
    coverage_penalty: float = 0.0
    minimum_length: int = 0
    maximum_length: int = 512
    n_best: int = 5

    def __post_init__(self) -> None:
        require(self.beam_size >= 1, "beam_size", self.beam_size, "at least 1")
        require(self.length_penalty >= 0, "length_penalty", self.length_penalty, "at least 0")
        require(self.coverage_penalty >= 0, "coverage_penalty", self.coverage_penalty, "at least 0")
        require(self.maximum_length >= 1, "maximum_length", self.maximum_length, "at least 1")
        require(
            0 <= self.minimum_length <= self.maximum_length,
            "minimum_length",
            self.minimum_length,
            f"between 0 and maximum_length ({self.maximum_length})",
        )
        require(self.n_best >= 1, "n_best", self.n_best, "at least 1")


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """How the parameters are learned, whatever the family.

    Attributes:
        epochs: Passes over the training data.
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
    """

    epochs: int = 16
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

    def __post_init__(self) -> None:
        require(self.epochs >= 1, "epochs", self.epochs, "at least 1")
        require(self.seed >= 0, "seed", self.seed, "at least 0")
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
        require(self.average_checkpoints >= 1, "average_checkpoints", self.average_checkpoints, "at least 1")


@dataclass(frozen=True, kw_only=True)
class TranslatorTrainingConfig(TrainingConfig):
    """How a translator's parameters are learned.

    Attributes:
        label_smoothing: Probability mass spread evenly over the vocabulary.
        scheduled_sampling: How the share of true previous tokens falls over
            the training steps (Bengio et al., 2015); `none` is teacher forcing.
        scheduled_sampling_floor: Smallest share of true previous tokens.
        scheduled_sampling_steps: Steps over which the share falls.
        monitor: What tells the best checkpoint, on the validation set.
    """

    label_smoothing: float = 0.1
    scheduled_sampling: Literal["none", "linear", "exponential", "inverse_sigmoid"] = "none"
    scheduled_sampling_floor: float = 0.5
    scheduled_sampling_steps: int = 5000
    monitor: Literal["bleu", "chrf", "loss"] = "bleu"

    def __post_init__(self) -> None:
        super().__post_init__()
        require(0 <= self.label_smoothing < 1, "label_smoothing", self.label_smoothing, "at least 0 and below 1")
        require(
            0 <= self.scheduled_sampling_floor <= 1,
            "scheduled_sampling_floor",
            self.scheduled_sampling_floor,
            "between 0 and 1",
        )
        require(
            self.scheduled_sampling_steps >= 1, "scheduled_sampling_steps", self.scheduled_sampling_steps, "at least 1"
        )


@dataclass(frozen=True, kw_only=True)
class TaggerTrainingConfig(TrainingConfig):
    """How a tagger's parameters are learned.

    Attributes:
        word_dropout: A training word that occurs n times is read as unknown
            with probability word_dropout / (word_dropout + n), so that the
            unknown word is learned.
        monitor: What tells the best checkpoint, on the validation set;
            `auto` is the entities' F1 where the tags are spans, else accuracy.
    """

    word_dropout: float = 0.25
    monitor: Literal["auto", "accuracy", "f1", "precision", "recall", "macro_f1", "weighted_f1", "loss"] = "auto"

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.word_dropout >= 0, "word_dropout", self.word_dropout, "at least 0")


@dataclass(frozen=True, kw_only=True)
class WordsConfig:
    """How a tagger reads words.

    Attributes:
        vocabulary_size: Largest number of training words that are known.
        lowercase: Look words up in lower case; their characters keep it.
        longest_word: Characters read of a word: of a longer one the first and
            the last half.
        vectors: A file of pre-trained word vectors, in the text format of
            GloVe, word2vec or fastText. They are not trained further.
        vector_words: Read the first of them, besides those of training words.
        subwords: Pieces of a SentencePiece vocabulary whose mean joins the
            features of a word; 0 does without.
        maximum_length: Most words of a sentence that an export reads.
    """

    vocabulary_size: int = 50_000
    lowercase: bool = True
    longest_word: int = 24
    vectors: str | None = None
    vector_words: int = 100_000
    subwords: int = 0
    maximum_length: int = 512

    def __post_init__(self) -> None:
        require(self.vocabulary_size >= 5, "vocabulary_size", self.vocabulary_size, "at least 5")
        require(self.longest_word >= 2, "longest_word", self.longest_word, "at least 2")
        require(self.vector_words >= 0, "vector_words", self.vector_words, "at least 0")
        require(self.subwords == 0 or self.subwords >= 5, "subwords", self.subwords, "0 or at least 5")
        require(self.maximum_length >= 1, "maximum_length", self.maximum_length, "at least 1")


@dataclass(frozen=True, kw_only=True)
class TaggerConfig:
    """The sizes of a tagger, and how it reads tags.

    Attributes:
        tag_scheme: How the data's tags mark spans; `auto` looks at them, and
            `none` takes each tag for itself, as parts of speech.
        head: A linear-chain conditional random field, or a softmax for each
            token.
        cell: Recurrent cell of the encoder.
        word_size: Width of the trained word embeddings.
        shape_size: Width of the embeddings of word shapes (capitals, digits); 0 does without.
        character_encoder: What reads the characters of a word.
        character_embedding_size: Width of the character embeddings.
        character_size: Width of what is read from a word's characters.
        encoder_size: Units of each direction of each encoder layer.
        encoder_layers: Number of bidirectional encoder layers.
        residual: Add a layer's input to its output where widths agree.
        dropout: Share of units dropped, the same ones at every time step.
    """

    tag_scheme: Literal["auto", "none", "bio", "iob1", "iobes", "io"] = "auto"
    head: Literal["crf", "softmax"] = "crf"
    cell: Literal["lstm", "gru"] = "lstm"
    word_size: int = 100
    shape_size: int = 16
    character_encoder: Literal["none", "recurrent", "convolution"] = "recurrent"
    character_embedding_size: int = 32
    character_size: int = 128
    encoder_size: int = 256
    encoder_layers: int = 2
    residual: bool = False
    dropout: float = 0.4

    def __post_init__(self) -> None:
        for name in (
            "word_size",
            "character_embedding_size",
            "character_size",
            "encoder_size",
            "encoder_layers",
        ):
            require(getattr(self, name) >= 1, name, getattr(self, name), "at least 1")
        require(self.shape_size >= 0, "shape_size", self.shape_size, "at least 0")
        require(self.character_size % 2 == 0, "character_size", self.character_size, "even: half for each direction")
        require(0 <= self.dropout < 1, "dropout", self.dropout, "at least 0 and below 1")
