"""What each family can be told: how it reads, its sizes, and how it learns; see `config` for what all share."""

from dataclasses import dataclass
from typing import Literal

from nlp_rnn.config import ConfigError, TrainingConfig, require


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
        maximum_length_ratio: Most tokens of a translation for each token of its source;
            any may have 20 more.
        n_best: Translations returned by the `n_best` signature.
    """

    beam_size: int = 5
    length_penalty: float = 1.0
    coverage_penalty: float = 0.0
    minimum_length: int = 0
    maximum_length: int = 512
    maximum_length_ratio: float = 2.0
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
        ratio = self.maximum_length_ratio
        require(0 <= ratio < float("inf"), "maximum_length_ratio", ratio, "at least 0 and finite")
        require(self.n_best >= 1, "n_best", self.n_best, "at least 1")


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
        halves = self.character_encoder != "recurrent" or self.character_size % 2 == 0
        require(halves, "character_size", self.character_size, "even: half for each direction")
        require(0 <= self.dropout < 1, "dropout", self.dropout, "at least 0 and below 1")


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
class ReadingConfig:
    """How a classifier reads text.

    Attributes:
        tokenizer: Words found in raw text, subwords learned by SentencePiece,
            or single characters.
        vocabulary_size: Largest number of words, subwords or characters known.
        lowercase: Read text in lower case; the characters of words keep theirs.
        unicode_normalization: Unicode normal form applied to all text; words are always in NFC.
        subword_model: SentencePiece's algorithm.
        subword_sampling: If above 0, training texts are cut into subwords at
            random, the more so the smaller this is; 0.1 to 0.5 are usual.
            There is no seed to it.
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
    subword_sampling: float = 0.0
    longest_word: int = 24
    vectors: str | None = None
    vector_words: int = 100_000
    maximum_length: int = 512

    def __post_init__(self) -> None:
        require(self.vocabulary_size >= 5, "vocabulary_size", self.vocabulary_size, "at least 5")
        require(self.longest_word >= 2, "longest_word", self.longest_word, "at least 2")
        require(self.vector_words >= 0, "vector_words", self.vector_words, "at least 0")
        require(self.maximum_length >= 1, "maximum_length", self.maximum_length, "at least 1")
        require(self.subword_sampling >= 0, "subword_sampling", self.subword_sampling, "at least 0")
        if self.subword_sampling and (self.tokenizer, self.subword_model) != ("sentencepiece", "unigram"):
            raise ConfigError("subword_sampling needs the tokenizer sentencepiece with the subword_model unigram.")
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
        halves = self.character_encoder != "recurrent" or self.character_size % 2 == 0
        require(halves, "character_size", self.character_size, "even: half for each direction")
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
