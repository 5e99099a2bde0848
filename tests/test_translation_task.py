"""Learning to translate: the vocabularies, and what a validation measures of a network as it is."""

import dataclasses
from collections.abc import Iterable, Iterator
from pathlib import Path

import datasets
import numpy as np
import pytest
import tensorflow as tf

from nlp_rnn import runs, store
from nlp_rnn.config import BatchConfig, DataConfig, TextConfig
from nlp_rnn.corpora import Corpus
from nlp_rnn.jobs import TranslatorRun
from nlp_rnn.metrics import translation_metrics
from nlp_rnn.model_config import SearchConfig, TranslatorConfig
from nlp_rnn.tasks.translation import TranslationTask
from nlp_rnn.text import EOS

RUN = TranslatorRun(
    output="unused",
    data=DataConfig(dataset="sample:translation"),
    text=TextConfig(tokenizer="words", vocabulary_size=500),
    batching=BatchConfig(batch_size=20),
    model=TranslatorConfig(embedding_size=8, encoder_size=8, decoder_size=8, attention_size=8),
    search=SearchConfig(beam_size=1, n_best=1, maximum_length=30),
)


def prepared(run: TranslatorRun, *, validated: int = 0) -> TranslationTask:
    corpus = runs.load_corpus(run)
    if validated:
        corpus = dataclasses.replace(corpus, validation=corpus.validation.select(range(validated)))
    task = runs.prepare(run, corpus)
    assert isinstance(task, TranslationTask)
    return task


def test_two_vocabularies_are_learned_and_stored(tmp_path: Path) -> None:
    run = dataclasses.replace(RUN, text=TextConfig(tokenizer="characters", shared_vocabulary=False))
    task = prepared(run)
    store.save(tmp_path, config=run, network=task.network, text=task.text, metrics={})
    names = {entry.name for entry in (tmp_path / "model").iterdir()}
    assert {"source_tokenizer", "target_tokenizer"} <= names
    assert "tokenizer" not in names
    stored = store.load(tmp_path)
    umlauts = tf.constant(["ä", "e"])
    assert stored.text.source.vocabulary_size < stored.text.target.vocabulary_size
    assert stored.text.source.tokenize(umlauts).to_list()[0] == [1]  # unknown to English
    assert stored.text.target.tokenize(umlauts).to_list()[0] != [1]


def test_targets_that_no_translation_may_be_as_long_as_are_told(caplog: pytest.LogCaptureFixture) -> None:
    rows = datasets.Dataset.from_dict({"source": ["a b", "a", "b a"], "target": ["b " * 25, "b " * 22, "b " * 24]})
    corpus = Corpus(train=rows, validation=rows, notes=())
    for ratio, expected in ((2.0, "1 of 3 training targets are longer than"), (3.0, "")):
        caplog.clear()
        search = dataclasses.replace(RUN.search, maximum_length_ratio=ratio)
        task = runs.prepare(dataclasses.replace(RUN, search=search), corpus)
        task.set_up()
        assert expected in caplog.text and ("longer" in caplog.text) == bool(expected)


def translated_alone(task: TranslationTask, texts: Iterable[str]) -> Iterator[str]:
    """Translates sentences greedily, one after the other."""

    @tf.function(autograph=False, input_signature=[tf.TensorSpec([], tf.string)])
    def translate(text: tf.Tensor) -> tf.Tensor:
        tokens = tf.concat([task.text.source.tokenize(text[tf.newaxis]), [[EOS]]], axis=1).to_tensor()
        encoded = task.network.encode(tokens, tf.ones_like(tokens, tf.bool))
        longest = tf.minimum(2 * (tf.shape(tokens)[1:] - 1) + 20, 30)
        found = task.network.search(encoded, maximum_lengths=longest, beam_size=1)
        return task.text.target.detokenize(tf.RaggedTensor.from_tensor(found.tokens[:, 0], lengths=found.lengths[:, 0]))

    return (translate(tf.constant(text)).numpy()[0].decode() for text in texts)


def test_a_validation_measures_the_translations_of_each_sentence_alone() -> None:
    """However many of them are translated at once; and whatever shapes there are, nothing is traced twice."""
    task = prepared(RUN, validated=150)
    generator = np.random.default_rng(1)
    for variable in task.network.trainable_variables:
        variable.assign(generator.normal(0, 0.7, variable.shape))
    # What a random network says shares no words with the references: some of its answers are made to be right.
    answers = list(translated_alone(task, task.corpus.validation["source"]))
    assert len(set(answers)) > 20
    references = [answer if row % 3 else "Nein ." for row, answer in enumerate(answers)]
    validation = task.corpus.validation.remove_columns("target").add_column("target", references)
    task = dataclasses.replace(task, corpus=dataclasses.replace(task.corpus, validation=validation))
    measured = task.validate()
    expected = translation_metrics(answers, references, lowercase=False)
    assert 10 < expected["bleu"] < 90
    assert (measured["bleu"], measured["chrf"]) == pytest.approx((expected["bleu"], expected["chrf"]))
    assert task._translate.experimental_get_tracing_count() == 1
