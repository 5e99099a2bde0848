"""Learning a tokenizer's vocabulary from text.

Characters and words are counted; subwords are learned by SentencePiece's
trainer, whose settings are here. What a tokenizer then does with text is in
`text`.
"""

import io
import itertools
import logging
import random
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import tensorflow as tf

from nlp_rnn.config import ConfigError, TextConfig
from nlp_rnn.text import (
    BOS,
    EOS,
    PAD,
    SPECIAL_PIECES,
    UNK,
    CharacterTokenizer,
    Normalizer,
    SentencePieceTokenizer,
    Tokenizer,
    WordTokenizer,
)

_TEXTS_AT_ONCE = 1000

# What SentencePiece learns from at most: this many lines, drawn evenly from
# all, and this many characters of a line, which is then continued as another.
_SAMPLE_LINES = 500_000
_LINE_LENGTH = 1000
_BYTE_PIECES = 256
_SMALLEST_WITH_BYTES = 320
# Share of the text whose characters get pieces of their own when the others
# can be spelt in bytes; SentencePiece's own default.
_CHARACTER_COVERAGE = 0.9995

# SentencePiece writes a space as U+2581, so that a real U+2581 would come back
# as a space. Escaped by the private character U+E000, itself escaped, it
# survives. The rules are SentencePiece's own, in hexadecimal.
_ESCAPE = "E000\tE000 E001\n2581\tE000 E002\n"
_UNESCAPE = "E000 E001\tE000\nE000 E002\t2581\n"
# No piece is made of the escapes, nor of what SentencePiece's trainer uses as
# marks of its own (it would leave out the line).
_NEVER_IN_PIECES = "\u2581\ue000\u2585"

_log = logging.getLogger(__name__)


def train_tokenizer(texts: Iterable[str], config: TextConfig) -> Tokenizer:
    """Learns a vocabulary; the same texts give the same one.

    Memory stays bounded however many texts there are: they are read once, and
    SentencePiece learns from an even sample of at most 500,000 lines. A
    vocabulary smaller than asked for, because the text supports no more, is
    reported as a warning.

    Args:
        texts: Raw text, normalised here.
        config: Which tokenizer, and how large. SentencePiece spells unseen
            characters in bytes from a `vocabulary_size` of 320 upwards;
            smaller ones have no room for the 256 byte pieces.

    Raises:
        ConfigError: There is no text but white space, or `vocabulary_size` is
            too small for SentencePiece.
    """
    normalizer = Normalizer(unicode_normalization=config.unicode_normalization, lowercase=config.lowercase)
    batches = _normalized(texts, normalizer)
    if config.tokenizer == "characters":
        characters = _most_frequent(batches, CharacterTokenizer.split, config.vocabulary_size)
        return CharacterTokenizer(vocabulary=characters, normalizer=normalizer)
    if config.tokenizer == "words":
        words = _most_frequent(batches, WordTokenizer.split, config.vocabulary_size)
        return WordTokenizer(vocabulary=words, normalizer=normalizer)
    model = _train_sentencepiece(_sample(_lines(batches), _SAMPLE_LINES), config)
    tokenizer = SentencePieceTokenizer(model=model, normalizer=normalizer)
    if tokenizer.vocabulary_size < config.vocabulary_size:
        _log.warning(
            "The training text supports %d subwords only; vocabulary_size asked for %d.",
            tokenizer.vocabulary_size,
            config.vocabulary_size,
        )
    return tokenizer


def _normalized(texts: Iterable[str], normalizer: Normalizer) -> Iterator[tf.Tensor]:
    """Batches of normalised text, string[b]."""
    iterator = iter(texts)
    while batch := list(itertools.islice(iterator, _TEXTS_AT_ONCE)):
        # A lone surrogate is no text: as invalid UTF-8 it becomes U+FFFD.
        yield normalizer(tf.constant([text.encode("utf-8", "surrogatepass") for text in batch]))


def _most_frequent(batches: Iterable[tf.Tensor], split: Callable[[tf.Tensor], tf.RaggedTensor], size: int) -> list[str]:
    counts: Counter[bytes] = Counter()
    for batch in batches:
        counts.update(split(batch).values.numpy().tolist())
    if not any(unit.decode("utf-8").strip() for unit in counts):
        raise _no_text()
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return [unit.decode("utf-8") for unit, _ in ordered[: size - len(SPECIAL_PIECES)]]


def _no_text() -> ConfigError:
    return ConfigError("A tokenizer cannot be trained on nothing: the training text is empty, or white space only.")


def _lines(batches: Iterable[tf.Tensor]) -> Iterator[str]:
    """The lines that are not blank, long ones cut at a space."""
    for batch in batches:
        for text in batch.numpy().tolist():
            for line in text.decode("utf-8").splitlines():
                while len(line) > _LINE_LENGTH:
                    end = line.rfind(" ", 1, _LINE_LENGTH)
                    end = end if end > 0 else _LINE_LENGTH
                    yield line[:end]
                    line = line[end:].removeprefix(" ")
                if line and not line.isspace():
                    yield line


def _sample(lines: Iterable[str], size: int) -> list[str]:
    """At most this many lines, each with the same chance (reservoir sampling), drawn the same way each time."""
    generator, chosen = random.Random(1), []
    for number, line in enumerate(lines):
        if number < size:
            chosen.append(line)
        elif (place := generator.randrange(number + 1)) < size:
            chosen[place] = line
    return chosen


def _train_sentencepiece(lines: list[str], config: TextConfig) -> bytes:
    # Only training needs this library; the graph's operations bring their own.
    import sentencepiece
    from sentencepiece import sentencepiece_model_pb2

    settings = _trainer_settings(config)
    rare = _rare_characters(lines, config.vocabulary_size, settings["byte_fallback"])
    blank = str.maketrans(dict.fromkeys(rare, " "))
    written = io.BytesIO()
    with tempfile.TemporaryDirectory() as folder:
        escape, unescape = Path(folder, "escape.tsv"), Path(folder, "unescape.tsv")
        escape.write_text(_ESCAPE, encoding="utf-8")
        unescape.write_text(_UNESCAPE, encoding="utf-8")
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=(" " + line.translate(blank) for line in lines),
            model_writer=written,
            normalization_rule_tsv=str(escape),
            denormalization_rule_tsv=str(unescape),
            **settings,
        )
    proto = sentencepiece_model_pb2.ModelProto.FromString(written.getvalue())
    # The rules are compiled into the model; the files' names differ from run to run.
    proto.normalizer_spec.ClearField("normalization_rule_tsv")
    proto.denormalizer_spec.ClearField("normalization_rule_tsv")
    return proto.SerializeToString(deterministic=True)


def _trainer_settings(config: TextConfig) -> dict[str, Any]:
    return {
        "model_type": config.subword_model,
        "vocab_size": config.vocabulary_size,
        "hard_vocab_limit": False,
        "pad_id": PAD,
        "unk_id": UNK,
        "bos_id": BOS,
        "eos_id": EOS,
        "byte_fallback": config.vocabulary_size >= _SMALLEST_WITH_BYTES,
        "character_coverage": 1.0,
        "remove_extra_whitespaces": False,
        "add_dummy_prefix": False,
        "max_sentence_length": 8 * _LINE_LENGTH,
        "num_threads": 4,  # sums in float32 depend on it: hence not the machine's number
        "minloglevel": 2,
    }


def _rare_characters(lines: Iterable[str], size: int, with_bytes: bool) -> set[str]:
    """The characters that get no piece of their own.

    SentencePiece refuses a vocabulary that cannot hold all characters. With
    bytes to spell them, they may take half of the room and leave out the
    rarest ones; without, all of it.

    Raises:
        ConfigError: There are no characters, or there is no room for any.
    """
    counts = Counter(itertools.chain.from_iterable(lines))
    for character in (" ", *_NEVER_IN_PIECES):
        counts.pop(character, None)
    if not counts:
        raise _no_text()
    room = size - len(SPECIAL_PIECES) - 1  # one for the space
    if with_bytes:
        room = (room - _BYTE_PIECES) // 2
    if room < 1:
        raise ConfigError(f"vocabulary_size must be at least 6 for SentencePiece, not {size}.")
    wanted = counts.total() * (_CHARACTER_COVERAGE if with_bytes else 1.0)
    kept, covered = set(), 0
    for character, count in sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:room]:
        if covered >= wanted:
            break
        kept.add(character)
        covered += count
    return set(counts) - kept | set(_NEVER_IN_PIECES)
