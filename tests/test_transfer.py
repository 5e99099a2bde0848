"""What a new model takes over of an earlier one, whatever the families."""

import dataclasses
from pathlib import Path

import classifier_cases
import datasets
import keras
import numpy as np
import pytest
import tagger_cases
import tensorflow as tf

from nlp_rnn import families, transfer
from nlp_rnn.config import ConfigError, TextConfig
from nlp_rnn.corpora import Corpus
from nlp_rnn.families import TranslationText
from nlp_rnn.jobs import ClassifierRun, TaggerRun, TranslatorRun
from nlp_rnn.model_config import ClassifierConfig, ReadingConfig, TranslatorConfig, WordsConfig
from nlp_rnn.store import StoredModel
from nlp_rnn.tasks.classification import ClassificationTask
from nlp_rnn.tasks.tagging import TaggingTask
from nlp_rnn.tasks.translation import TranslationTask
from nlp_rnn.text import CharacterTokenizer, Normalizer
from nlp_rnn.vocabularies import train_tokenizer


def stored(config: object, network: keras.Model, text: object) -> StoredModel:
    return StoredModel(folder=Path("unused"), config=config, network=network, text=text, metrics={}, samples=())


def a_classifier(**changes: object) -> StoredModel:
    text = classifier_cases.text()
    return stored(classifier_cases.run(**changes), classifier_cases.network(text, **changes), text)


def a_tagger(**changes: object) -> StoredModel:
    text = tagger_cases.text(vector_size=3)
    return stored(tagger_cases.run(**changes), tagger_cases.network(text, **changes), text)


def a_translator() -> StoredModel:
    normalizer = Normalizer(unicode_normalization="nfc", lowercase=True)
    tokenizer = CharacterTokenizer(vocabulary="abcdefghijklmnopqrstuvwxyz ", normalizer=normalizer)
    text = TranslationText(source=tokenizer, target=tokenizer)
    sizes = TranslatorConfig(embedding_size=6, encoder_size=5, decoder_size=4, attention_size=4)
    config = TranslatorRun(output="unused", model=sizes, text=TextConfig(tokenizer="characters", vocabulary_size=31))
    return stored(config, families.build_translator(config, text), text)


def corpus(columns: dict[str, list]) -> Corpus:
    rows = datasets.Dataset.from_dict(columns)
    return Corpus(train=rows, validation=rows, notes=())


LABELLED = corpus({"text": ["good", "bad"], "label": ["a", "b"]})
TAGGED = corpus({"tokens": [["Anna", "lives"]], "tags": [["X", "Y"]]})
PARALLEL = corpus({"source": ["ab"], "target": ["ba"]})


def classifier_on(start: StoredModel, **model: object) -> ClassificationTask:
    run = ClassifierRun(output="unused", model=ClassifierConfig(**{"ngram_buckets": 16, **model}))
    return ClassificationTask.prepare(run, LABELLED, "portable", transfer.foundation(start))


def equal(one: keras.layers.Layer, other: keras.layers.Layer) -> None:
    for mine, theirs in zip(one.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(mine, theirs)


def test_a_classifier_takes_over_a_classifier_but_not_its_labels() -> None:
    start = a_classifier(members=2)
    task = classifier_on(start, members=3)
    assert task.text.labels == ("a", "b") and task.text.reader.words is start.text.reader.words
    assert task.text.temperature == 1.0
    for number, member in enumerate(task.network.members):
        equal(member.encoder, start.network.members[number % 2].encoder)
        equal(member.embedding, start.network.members[number % 2].embedding)


def test_a_classifier_takes_over_a_tagger() -> None:
    start = a_tagger(shape_size=3)
    task = classifier_on(start)
    assert task.text.reader.words is start.text.reader
    assert (task.run.model.encoder_layers, task.run.model.embedding_size, task.run.model.shape_size) == (2, 6, 3)
    assert task.text.vector_size == 3
    (member,) = task.network.members
    equal(member.encoder, start.network.encoder)
    equal(member.embedding, start.network.words)
    # What is stored beside it says enough to build it again.
    again = families.build_classifier(task.run, task.text)
    assert [weight.shape for weight in again.weights] == [weight.shape for weight in task.network.weights]
    (batch,) = task.set_up().epoch_batches(0, 0)
    assert np.isfinite(task.network(list(batch["texts"])).scores).all()


def test_a_classifier_takes_over_the_reading_side_of_a_translator() -> None:
    start = a_translator()
    task = classifier_on(start)
    assert task.text.reader.tokenizer is start.text.source
    (member,) = task.network.members
    equal(member.encoder, start.network.encoder)
    np.testing.assert_array_equal(member.embedding.get_weights()[0], start.network.source_embedding.get_weights()[0])


def test_a_tagger_takes_over_a_classifier_of_words() -> None:
    start = a_classifier()
    base = transfer.foundation(start)
    task = TaggingTask.prepare(TaggerRun(output="unused"), TAGGED, "portable", base)
    assert task.text.reader is start.text.reader.words and task.text.tags == ("X", "Y")
    equal(task.network.encoder, start.network.members[0].encoder)
    equal(task.network.words, start.network.members[0].embedding)


def test_a_translator_goes_on_with_a_translator() -> None:
    start = a_translator()
    task = TranslationTask.prepare(TranslatorRun(output="unused"), PARALLEL, "portable", transfer.foundation(start))
    assert task.text is start.text and task.run.model == start.config.model
    equal(task.network, start.network)


def test_how_a_translator_learns_is_its_own() -> None:
    run = TranslatorRun(output="unused", model=TranslatorConfig(dropout=0.45))
    task = TranslationTask.prepare(run, PARALLEL, "portable", transfer.foundation(a_translator()))
    assert task.run.model.dropout == task.network.arguments["dropout"] == 0.45
    assert task.run.model.encoder_size == 5


def test_a_classifier_samples_the_pieces_that_it_takes_over() -> None:
    texts = ["the film was good", "the film was bad", "a good film", "bad films"]
    tokenizer = train_tokenizer(texts, TextConfig(vocabulary_size=40))
    sizes = TranslatorConfig(embedding_size=6, encoder_size=5, decoder_size=4, attention_size=4)
    config = TranslatorRun(output="unused", model=sizes, text=TextConfig(vocabulary_size=40))
    text = TranslationText(source=tokenizer, target=tokenizer)
    start = stored(config, families.build_translator(config, text), text)
    reading = ReadingConfig(tokenizer="sentencepiece", subword_sampling=0.2)
    task = ClassificationTask.prepare(
        ClassifierRun(output="unused", reading=reading), LABELLED, "portable", transfer.foundation(start)
    )
    drawn = {str(task.text.reader.cut_in_training(tf.constant(texts)).to_list()) for _ in range(8)}
    assert len(drawn) > 1


def test_a_tagger_s_subwords_are_those_it_takes_over() -> None:
    def learned(subwords: int) -> TaggingTask:
        run = TaggerRun(output="unused", words=WordsConfig(subwords=subwords))
        return TaggingTask.prepare(run, TAGGED, "portable", base)

    base = transfer.foundation(a_tagger())
    assert learned(0).run.words.subwords == 0
    with pytest.raises(ConfigError, match="subwords must be those of init_from's model, none"):
        learned(30)
    base = transfer.foundation(
        dataclasses.replace(base.stored, config=dataclasses.replace(base.stored.config, words=WordsConfig(subwords=30)))
    )
    assert learned(0).run.words.subwords == learned(30).run.words.subwords == 30


def test_what_cannot_be_taken_over_is_refused() -> None:
    with pytest.raises(ConfigError, match="init_from must be a model that reads words"):
        TaggingTask.prepare(TaggerRun(output="x"), TAGGED, "portable", transfer.foundation(a_translator()))
    with pytest.raises(ConfigError, match="init_from must be a translator"):
        TranslationTask.prepare(TranslatorRun(output="x"), PARALLEL, "portable", transfer.foundation(a_tagger()))
    base = transfer.foundation(a_classifier())
    with pytest.raises(ConfigError, match="vectors are those of init_from's model"):
        reading = ReadingConfig(vectors="vectors.txt")
        ClassificationTask.prepare(ClassifierRun(output="x", reading=reading), LABELLED, "portable", base)
    with pytest.raises(ConfigError, match="vectors are those of init_from's model"):
        words = WordsConfig(vectors="vectors.txt")
        TaggingTask.prepare(TaggerRun(output="x", words=words), TAGGED, "portable", base)


def test_layers_further_down_have_larger_depths() -> None:
    task = classifier_on(a_tagger(), members=2)
    found = dict(zip((v.path for v in task.network.trainable_variables), transfer.depths(task.network), strict=True))
    assert {depth for path, depth in found.items() if "word_embedding" in path} == {3}
    layers = task.network.members[1].encoder.stack.layers
    for layer, depth in zip(layers, (2, 1), strict=True):
        assert {found[variable.path] for variable in layer.trainable_variables} == {depth}
    assert {depth for path, depth in found.items() if "projection" in path or "pooling" in path} == {0}
