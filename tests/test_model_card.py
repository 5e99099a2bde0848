"""The model card, of findings made by hand: what the hub reads in it, and what people do."""

from typing import Any

import huggingface_hub
import numpy as np
import pytest
from report_cases import HOSTILE, findings

from nlp_rnn.config import DataConfig
from nlp_rnn.jobs import ClassifierRun, TaggerRun, TranslatorRun
from nlp_rnn.model_card import card
from nlp_rnn.model_config import ReadingConfig, TaggerConfig
from nlp_rnn.reviews import Review


def test_the_card_is_read_by_the_hub_s_own_reader() -> None:
    data = DataConfig(dataset="organisation/pairs", dataset_revision="v1", source_language="en", target_language="de")
    text = card(findings(TranslatorRun(output="models/en-de", data=data), metrics={"bleu": 31.4, "chrf": 50.0}))
    read = huggingface_hub.ModelCard(text)
    assert read.data.pipeline_tag == "translation"
    assert read.data.library_name == "nlp_rnn"
    assert read.data.language == ["en", "de"]
    assert read.data.datasets == ["organisation/pairs"]
    assert read.data.metrics == ["bleu", "chrf"]
    assert read.data.model_name == "en-de"
    results = [(result.metric_type, result.metric_value, result.dataset_split) for result in read.data.eval_results]
    assert results == [("bleu", 31.4, "validation"), ("chrf", 50.0, "validation")]
    assert [result.dataset_revision for result in read.data.eval_results] == ["v1", "v1"]
    assert 'nlp_rnn.Predictor("saved_models/NAME")' in read.text
    assert "beam of 5" in read.text
    assert '"$PWD/saved_models/NAME:/models/NAME"' in read.text


def test_results_are_those_of_a_hub_data_set_s_split_only_where_that_was_measured() -> None:
    def measured(*, own_validation: bool, **data: Any) -> tuple[str, str, str | None]:
        run = TranslatorRun(output="o", data=DataConfig(dataset="organisation/pairs", **data))
        text = card(findings(run, own_validation=own_validation, metrics={"bleu": 31.4}))
        (result,) = huggingface_hub.ModelCard(text).data.eval_results
        assert ("these held out of the former" in text) == (not own_validation and not data)
        return result.dataset_type, result.dataset_name, result.dataset_split

    hub_id = "organisation/pairs"
    assert measured(own_validation=True) == (hub_id, hub_id, "validation")
    assert measured(own_validation=False) == (hub_id, f"{hub_id}, held-out training examples", "train")
    assert measured(own_validation=False, validation=("own.tsv",)) == ("local", "validation set", None)


def test_a_card_of_local_files_names_them_without_their_folders_and_claims_no_hub_data_set() -> None:
    text = card(findings())
    read = huggingface_hub.ModelCard(text)
    assert read.data.datasets is None
    assert read.data.pipeline_tag == "token-classification"
    assert "/home/me" not in text
    assert "<script" not in read.text
    # What is no finite number is no result.
    assert [result.metric_name for result in read.data.eval_results] == ["f1", "accuracy"]


@pytest.mark.parametrize("dataset", ["sample:tagging", "."])
def test_samples_and_folders_are_no_data_sets_of_the_hub(dataset: str) -> None:
    run = TaggerRun(output="o", data=DataConfig(dataset=dataset), model=TaggerConfig())
    assert huggingface_hub.ModelCard(card(findings(run))).data.datasets is None


def test_the_training_data_are_counted_and_measured() -> None:
    text = card(findings())
    # Of the lengths 2, 3, 3 and 40.
    assert (
        "4 training and 7 validation examples. Length of the training examples in words: 12.0 on average, at most 40."
        in text
    )
    many = card(
        findings(training_examples=1234567, review=Review(lengths={"a": np.array([1, 2]), "b": np.array([1000])}))
    )
    assert "1,234,567 training and" in many
    assert "in a: 1.5 on average, at most 2; b: 1000.0 on average, at most 1,000." in many


def test_metrics_and_sizes_are_rows_of_tables() -> None:
    lines = card(findings()).splitlines()
    assert "| f1 | 0.75 |" in lines
    assert "| encoder_size | `256` |" in lines
    assert not any("nan" in line for line in lines)


@pytest.mark.parametrize(
    ("dataset", "expected"),
    [
        (
            "organisation/corpus",
            "The data set [organisation/corpus](https://huggingface.co/datasets/organisation/corpus).",
        ),
        ("sample:tagging", "The data set `sample:tagging`."),
        ("/home/me/secret/corpus", "The data set `corpus`."),
        ("a/b/c", "The data set `c`."),
    ],
)
def test_the_data_set_is_named_and_linked_if_it_is_on_the_hub(dataset: str, expected: str) -> None:
    text = card(findings(TaggerRun(output="o", data=DataConfig(dataset=dataset))))
    assert expected in text
    assert "secret" not in text


def test_no_text_of_the_data_is_quoted() -> None:
    text = card(findings())
    assert "York" not in text and HOSTILE not in text


def test_names_cannot_write_markup_or_break_a_table() -> None:
    read = huggingface_hub.ModelCard(card(findings(TaggerRun(output="models/a|b<i>[x](y)\nz"))))
    heading = next(line for line in read.text.splitlines() if line.startswith("# "))
    assert heading == "# a b i  x (y) z"
    files = card(findings(TaggerRun(output="o", data=DataConfig(train=("x/a`b``c.conll",)))))
    assert "Local files: ``` a`b``c.conll ```." in files


def test_limits_say_how_much_is_read_and_what_probabilities_are_worth() -> None:
    tagger = card(findings(TaggerRun(output="o")))
    assert "Texts are read up to 512 tokens" in tagger
    assert "Scores and probabilities are the network's own, not calibrated afterwards." in tagger
    classifier = card(findings(ClassifierRun(output="o", reading=ReadingConfig(maximum_length=99))))
    assert "Texts are read up to 99 tokens" in classifier
    assert "Probabilities are calibrated on the validation set" in classifier and "not calibrated" not in classifier
