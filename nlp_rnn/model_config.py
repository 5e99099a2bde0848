"""What a classifier can be told: how it reads, its sizes, and how it learns; see `config`."""

from dataclasses import dataclass
from typing import Literal

from nlp_rnn.config import ConfigError, TrainingConfig, require


@dataclass(frozen=True, kw_only=True)
class ReadingConfig:
    """How a classifier reads text.

    Attributes:
        tokenizer: Words found in raw text, subwords learned by SentencePiece,
            or single characters.
        vocabulary_size: Largest number of words, subwords or characters known.
        lowercase: Read text in lower case; the characters of words keep theirs.
        unicode_normalization: Unicode normal form applied to all text; words are always in NFC.
        subword_model: SentencePiece's algorithm.
        longest_word: Characters read of a word: of a longer one the first and
            the last half.
        vectors: A file of pre-trained word vectors, in the text format of
            GloVe, word2vec or fastText. They are not trained further.
        vector_words: Read the first of them, besides those of training words.
        maximum_length: Most tokens of a text that are read, in training and by
            an export; the rest is cut off.
    """

    tokenizer: Literal["words", "sentencepiece", "characters"] = "words"
    vocabulary_size: int = 30_000
    lowercase: bool = True
    unicode_normalization: Literal["none", "nfc", "nfkc"] = "nfc"
    subword_model: Literal["unigram", "bpe"] = "unigram"
    longest_word: int = 24
    vectors: str | None = None
    vector_words: int = 100_000
    maximum_length: int = 512

    def __post_init__(self) -> None:
        require(self.vocabulary_size >= 5, "vocabulary_size", self.vocabulary_size, "at least 5")
        require(self.longest_word >= 2, "longest_word", self.longest_word, "at least 2")
        require(self.vector_words >= 0, "vector_words", self.vector_words, "at least 0")
        require(self.maximum_length >= 1, "maximum_length", self.maximum_length, "at least 1")
        if self.vectors is not None and self.tokenizer != "words":
            raise ConfigError(f"vectors are of words: leave them out, or set tokenizer to words, not {self.tokenizer}.")


@dataclass(frozen=True, kw_only=True)
class ClassifierConfig:
    """The sizes of a classifier.

    Attributes:
        cell: Recurrent cell of the encoders.
        embedding_size: Width of the trained embedding of words, subwords or characters.
        tune_vectors: Begin the trained embeddings of words with their
            pre-trained vectors, whose width they then take.
        shape_size: Width of the embeddings of word shapes (capitals, digits); 0 does without.
        character_encoder: What reads the characters of a word, if anything does.
        character_embedding_size: Width of the character embeddings of words.
        character_size: Width of what is read from a word's characters.
        encoder_size: Units of each direction of each encoder layer.
        encoder_layers: Number of bidirectional encoder layers.
        residual: Add a layer's input to its output where widths agree.
        pools: How a text becomes one vector: the encoder's final states, and
            the maximum, the mean and the attention-weighted mean of its
            outputs, side by side. `explain` needs attention.
        attention_size: Width of the attention's score space.
        dropout: Share of units dropped, the same ones at every time step.
        members: Recurrent networks that differ in their random start alone,
            and vote.
        ngrams: Longest run of tokens seen by a linear model that votes too; 0 does without it.
        character_ngrams: Longest run of the characters of a word that it sees, if it reads words; 0 does without.
        ngram_buckets: Rows of each table into which runs are hashed.
        threshold: Probability from which on a label is selected, where
            several can be right.
    """

    cell: Literal["lstm", "gru"] = "lstm"
    embedding_size: int = 100
    tune_vectors: bool = True
    shape_size: int = 0
    character_encoder: Literal["none", "recurrent", "convolution"] = "none"
    character_embedding_size: int = 32
    character_size: int = 64
    encoder_size: int = 128
    encoder_layers: int = 1
    residual: bool = False
    pools: tuple[Literal["last", "max", "mean", "attention"], ...] = ("max", "attention")
    attention_size: int = 128
    dropout: float = 0.5
    members: int = 1
    ngrams: int = 2
    character_ngrams: int = 5
    ngram_buckets: int = 65_536
    threshold: float = 0.5

    def __post_init__(self) -> None:
        for name in (
            "embedding_size",
            "character_embedding_size",
            "character_size",
            "encoder_size",
            "encoder_layers",
            "attention_size",
            "members",
            "ngram_buckets",
        ):
            require(getattr(self, name) >= 1, name, getattr(self, name), "at least 1")
        require(self.character_size % 2 == 0, "character_size", self.character_size, "even: half for each direction")
        require(self.shape_size >= 0, "shape_size", self.shape_size, "at least 0")
        require(0 <= self.dropout < 1, "dropout", self.dropout, "at least 0 and below 1")
        for name in ("ngrams", "character_ngrams"):
            require(0 <= getattr(self, name) <= 5, name, getattr(self, name), "between 0 and 5")
        require(0 < self.threshold < 1, "threshold", self.threshold, "between 0 and 1")
        require(
            bool(self.pools) and len(set(self.pools)) == len(self.pools),
            "pools",
            self.pools,
            "at least one, none twice",
        )

    @property
    def reads_characters(self) -> bool:
        """Whether the characters of words are read."""
        return self.character_encoder != "none" or (self.ngrams > 0 and self.character_ngrams > 0)


@dataclass(frozen=True, kw_only=True)
class ClassifierTrainingConfig(TrainingConfig):
    """How a classifier's parameters are learned.

    Attributes:
        word_dropout: Share of training tokens that are read as unknown.
        label_smoothing: Probability mass spread evenly over the labels.
        class_weights: `balanced` counts a training example the more the rarer
            its label is; `none` counts all alike.
        monitor: What tells the best checkpoint, on the validation set.
    """

    word_dropout: float = 0.1
    label_smoothing: float = 0.0
    class_weights: Literal["none", "balanced"] = "none"
    monitor: Literal["accuracy", "macro_f1", "weighted_f1", "loss"] = "accuracy"

    def __post_init__(self) -> None:
        super().__post_init__()
        require(0 <= self.word_dropout < 1, "word_dropout", self.word_dropout, "at least 0 and below 1")
        require(0 <= self.label_smoothing < 1, "label_smoothing", self.label_smoothing, "at least 0 and below 1")
