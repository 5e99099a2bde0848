"""What signatures of any family are asked: their inputs' names and types alone say it."""

import tensorflow as tf

from nlp_rnn import signature_inputs

TEXT = tf.TensorSpec([None], tf.string, name="text")
PAIR = tf.TensorSpec([None], tf.string, name="text_pair")
TOKENS = tf.TensorSpec([None, None], tf.string, name="tokens")
LENGTHS = tf.TensorSpec([None], tf.int32, name="lengths")


def specs(*inputs: tf.TensorSpec) -> dict[str, tf.TensorSpec]:
    return {spec.name: spec for spec in inputs}


def test_samples_of_every_family_are_read() -> None:
    translated, tagged, paired = signature_inputs.from_samples(
        [
            {"source": "a b", "target": "c"},
            {"tokens": ["a", "b"], "tags": ["X", "Y"]},
            {"text": "a", "text_pair": "b", "label": "c"},
        ]
    )
    assert signature_inputs.arguments(specs(TEXT), translated) == {"text": "a b"}
    assert signature_inputs.arguments(specs(TOKENS, LENGTHS), tagged) == {"tokens": ["a", "b"], "lengths": 2}
    assert signature_inputs.arguments(specs(TEXT), tagged) == {"text": "a b"}
    assert signature_inputs.arguments(specs(TEXT, PAIR), paired) == {"text": "a", "text_pair": "b"}


def test_a_text_without_tokens_is_split_and_one_without_a_pair_has_another() -> None:
    first, second = signature_inputs.from_texts(["a b", "c"])
    assert signature_inputs.arguments(specs(TOKENS, LENGTHS), first) == {"tokens": ["a", "b"], "lengths": 2}
    assert signature_inputs.arguments(specs(TEXT, PAIR), second) == {"text": "c", "text_pair": "a b"}


def test_without_samples_a_few_sentences_stand_in() -> None:
    texts = [sample["text"] for sample in signature_inputs.from_samples([])]
    assert texts == list(signature_inputs.BUILT_IN)


def test_a_lone_surrogate_is_spelt_as_the_bytes_it_is_read_as() -> None:
    (sample,) = signature_inputs.from_samples([{"text": "a\ud800"}])
    assert sample["text"].encode("utf-8", "surrogateescape") == b"a\xed\xa0\x80"


def test_each_signature_is_called_with_all_samples_and_edges_and_with_nothing() -> None:
    class Tagging:
        structured_input_signature = ((TOKENS, LENGTHS), {})

    whole, nothing = signature_inputs.calls({"tokens": Tagging}, [{"text": "a b", "tokens": ["a", "b"]}])["tokens"]
    assert nothing == {"tokens": [], "lengths": []}
    assert whole["lengths"] == [2, 0, 0, 1, 4, 4]
    # Padded to the longest; the last are words that are empty, blank and no UTF-8.
    assert whole["tokens"][0] == ["a", "b", "", ""]
    assert whole["tokens"][1] == [""] * 4
    assert whole["tokens"][-1] == list(signature_inputs.EDGES)
