"""What the classifier's task says of its mistakes; the other families' reviews are tested with their trainings."""

from typing import Any

import datasets
import numpy as np

from nlp_rnn.config import DataConfig
from nlp_rnn.corpora import Corpus
from nlp_rnn.jobs import ClassifierRun
from nlp_rnn.model_config import ClassifierConfig
from nlp_rnn.tasks.classification import ClassificationTask

TEXTS = ["good film", "bad film", "a very good film", "so bad"]


def task(labels: list[Any], **data: Any) -> ClassificationTask:
    rows = datasets.Dataset.from_dict({"text": TEXTS, "label": labels})
    sizes = ClassifierConfig(embedding_size=4, encoder_size=4, attention_size=4, ngrams=0, character_ngrams=0)
    run = ClassifierRun(output="unused", data=DataConfig(**data), model=sizes)
    return ClassificationTask.prepare(run, Corpus(train=rows, validation=rows, notes=()), "portable")


def test_mistakes_of_labels_are_those_off_the_matrix_s_diagonal() -> None:
    labels = ["yes", "no", "yes", "no"]
    review = task(labels).review()
    assert review.confusion is not None
    names, matrix = review.confusion
    assert set(names) <= {"yes", "no"}
    # An untrained network gives near even chances, of which some go wrong.
    assert len(review.mistakes) == matrix.sum() - matrix.trace()
    for mistake in review.mistakes:
        shown = dict(mistake.lines)
        assert labels[TEXTS.index(str(shown["text"]))] == shown["expected"] != shown["predicted"]
    np.testing.assert_array_equal(review.lengths["tokens"], [2, 2, 4, 2])
    assert list(review.lengths) == ["tokens"]


def test_mistakes_of_several_labels_name_them_all_and_the_least_expected_comes_first() -> None:
    review = task([["a"], ["a", "b"], [], ["a", "b", "c"]], multi_label=True).review()
    assert review.confusion is None
    chances = [float(mistake.note.rpartition(": ")[2]) for mistake in review.mistakes]
    assert chances == sorted(chances)
    assert len(chances) >= 2
    expected = {dict(mistake.lines)["expected"] for mistake in review.mistakes}
    assert expected <= {"a", "a, b", "", "a, b, c"}
