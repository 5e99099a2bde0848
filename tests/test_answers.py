"""How models are asked, and what becomes of their answers: by a client whose answers were written by hand."""

from collections.abc import Mapping
from typing import Any

import pytest

from nlp_rnn.answers import (
    Classification,
    Client,
    Entity,
    Evidence,
    Explanation,
    Signature,
    Tagging,
    Token,
    Translation,
    padded,
)

OUTPUTS = {
    "translator": ("translation", "score", "truncated"),
    "tagger": ("tokens", "tags", "scores", "starts", "ends", "lengths", "truncated"),
    "classifier": ("labels", "probabilities", "truncated"),
}
YES_NO = {"labels": [b"yes", b"no"], "probabilities": [0.75, 0.25], "truncated": False}


class ByHand(Client):
    """Answers each example from a table by its inputs, and remembers the batches.

    Args:
        family: Whose signatures it has.
        rows: An example's answer by its text, or by its inputs' values.
        others: The inputs of further signatures; all are answered alike.
    """

    def __init__(
        self, family: str, rows: Mapping[Any, Any], *, inputs: tuple[str, ...] = ("text",),
        others: Mapping[str, tuple[str, ...]] | None = None, batch_size: int = 64,
    ):  # fmt: skip
        super().__init__(batch_size=batch_size)
        self.rows = rows
        self.known = {"serving_default": Signature(inputs, OUTPUTS[family])}
        self.known |= {name: Signature(given, ()) for name, given in (others or {}).items()}
        self.batches: list[dict[str, list[Any]]] = []

    def _model_name(self) -> str:
        return "The model"

    def _signatures(self) -> Mapping[str, Signature]:
        return self.known

    def _call(self, signature: str, inputs: dict[str, list[Any]]) -> dict[str, list[Any]]:
        self.batches.append(inputs)
        examples = list(zip(*inputs.values(), strict=True))
        answers = [self.rows[example[0] if len(example) == 1 else example] for example in examples]
        return {name: [answer[name] for answer in answers] for name in answers[0]}


def translated(text: bytes, score: float = -1.0) -> dict[str, Any]:
    return {"translation": text, "score": score, "truncated": False}


@pytest.mark.parametrize("family", OUTPUTS)
def test_a_family_is_known_by_an_output_that_no_other_has(family: str) -> None:
    assert ByHand(family, {}).family == family


def test_texts_are_put_together_by_length_and_answers_come_in_their_order() -> None:
    client = ByHand(
        "translator", {word: translated(word.upper()) for word in (b"ccc", b"a", b"dddd", b"bb")}, batch_size=3
    )
    assert [answer.text for answer in client.predict(["ccc", "a", "dddd", "bb"])] == ["CCC", "A", "DDDD", "BB"]
    assert [batch["text"] for batch in client.batches] == [[b"a", b"bb", b"ccc"], [b"dddd"]]


def test_what_is_no_text_is_sent_as_bytes_and_read_as_such() -> None:
    """A lone surrogate, which UTF-8 does not have, is sent as the three bytes that would stand for it."""
    client = ByHand("translator", {b"\xed\xb2\x80": translated(b"a\xff"), b"\xff": translated(b"b")})
    assert [answer.text for answer in client.predict(["\udc80", b"\xff"])] == ["a\ufffd", "b"]


def test_translations_that_there_are_not_are_left_out() -> None:
    rows = {b"x": {"translations": [b"one", b"two", b""], "scores": [-0.5, -2.0, -1e30], "truncated": True}}
    (found,) = ByHand("translator", rows, others={"n_best": ("text",)}).n_best(["x"])
    assert found == [
        Translation(text="one", score=-0.5, truncated=True), Translation(text="two", score=-2.0, truncated=True),
    ]  # fmt: skip


def test_a_translation_s_attention_is_without_padding() -> None:
    row = {
        **translated(b"AB"), "source_tokens": [b"a", b"</s>", b""], "target_tokens": [b"A", b"B", b""],
        "attention": [[0.5, 0.5, 0.0], [0.25, 0.75, 0.0], [1.0, 0.0, 0.0]], "source_lengths": 2, "target_lengths": 2,
    }  # fmt: skip
    assert ByHand("translator", {b"a": row}, others={"explain": ("text",)}).explain(["a"]) == [
        Explanation(
            translation=Translation(text="AB", score=-1.0, truncated=False),
            source_tokens=("a", "</s>"),
            target_tokens=("A", "B"),
            attention=((0.5, 0.5), (0.25, 0.75)),
        )
    ]


def test_tags_and_entities_are_cut_from_the_text_by_their_places() -> None:
    """Places count code points of the text after invalid UTF-8 was replaced."""
    row = {
        "tokens": ["é\ufffd".encode(), b"York", b""], "tags": [b"O", b"S-LOC", b"O"], "scores": [0.5, 0.75, 0.0],
        "starts": [0, 3, 0], "ends": [2, 7, 0], "lengths": 2, "truncated": False,
        "entity_labels": [b"LOC", b""], "entity_scores": [0.625, 0.0], "entity_starts": [3, 0], "entity_ends": [7, 0],
        "entity_counts": 1,
    }  # fmt: skip
    text = "é".encode() + b"\xff York"
    assert ByHand("tagger", {text: row}).predict([text]) == [
        Tagging(
            tokens=(
                Token(text="é\ufffd", tag="O", score=0.5, start=0, end=2),
                Token(text="York", tag="S-LOC", score=0.75, start=3, end=7),
            ),
            entities=(Entity(text="York", label="LOC", score=0.625, start=3, end=7),),
            truncated=False,
        )
    ]


def test_split_sentences_have_tags_and_no_places() -> None:
    class Split(ByHand):
        def _call(self, signature: str, inputs: dict[str, list[Any]]) -> dict[str, list[Any]]:
            assert (signature, inputs) == ("tokens", {"tokens": [[b"a", b"b", b"c"]], "lengths": [3]})
            return {"tags": [[b"X", b"Y"]], "scores": [[0.5, 0.25]], "lengths": [2], "truncated": [True]}

    tokens = tuple(
        Token(text=w, tag=t, score=s, start=None, end=None) for w, t, s in (("a", "X", 0.5), ("b", "Y", 0.25))
    )
    client = Split("tagger", {}, others={"tokens": ("tokens", "lengths")})
    assert client.tag([["a", "b", "c"]]) == [Tagging(tokens=tokens, entities=(), truncated=True)]
    with pytest.raises(TypeError, match="sentences must be lists of words, not texts"):
        client.tag(["a b"])


def test_one_label_is_the_one_that_was_chosen_and_several_are_those_selected() -> None:
    one = ByHand("classifier", {b"x": {**YES_NO, "label": b"yes", "score": 0.75}})
    assert one.predict(["x"]) == [
        Classification(labels=("yes",), score=0.75, probabilities={"yes": 0.75, "no": 0.25}, truncated=False)
    ]
    rows = {b"x": {**YES_NO, "selected": [True, True]}, b"": {**YES_NO, "selected": [False, False]}}
    assert [answer.labels for answer in ByHand("classifier", rows).predict(["x", ""])] == [("yes", "no"), ()]


def test_a_text_s_evidence_is_without_padding() -> None:
    row = {**YES_NO, "label": b"yes", "tokens": [b"a", b"b", b""], "attention": [0.25, 0.75, 0.0], "lengths": 2}
    (found,) = ByHand("classifier", {b"a b": row}, others={"explain": ("text",)}).explain(["a b"])
    answer = Classification(labels=("yes",), score=0.75, probabilities={"yes": 0.75, "no": 0.25}, truncated=False)
    assert found == Evidence(classification=answer, tokens=("a", "b"), attention=(0.25, 0.75))
    assert (found.pair_tokens, found.pair_attention) == ((), ())


def test_a_pair_s_evidence_is_of_both_texts() -> None:
    pair = ("text", "text_pair")
    row = {
        **YES_NO, "label": b"yes", "tokens": [b"a", b"b"], "attention": [1.0, 0.0], "lengths": 1,
        "pair_tokens": [b"c", b"d", b""], "pair_attention": [0.25, 0.75, 0.0], "pair_lengths": 2,
    }  # fmt: skip
    client = ByHand("classifier", {(b"a", b"c d"): row}, inputs=pair, others={"explain": pair})
    (found,) = client.explain(["a"], pairs=["c d"])
    assert (found.tokens, found.attention) == (("a",), (1.0,))
    assert (found.pair_tokens, found.pair_attention) == (("c", "d"), (0.25, 0.75))


def test_second_texts_are_for_models_of_pairs_and_as_many_as_the_first() -> None:
    pair = ByHand("classifier", {}, inputs=("text", "text_pair"))
    assert pair.reads_pairs and not ByHand("classifier", {}).reads_pairs
    with pytest.raises(ValueError, match="The model reads pairs of texts: give pairs"):
        pair.predict(["x"])
    with pytest.raises(ValueError, match="The model reads single texts: leave out pairs"):
        ByHand("classifier", {}).predict(["x"], pairs=["y"])
    with pytest.raises(ValueError, match="pairs must be as many as the 2 texts, not 1"):
        pair.predict(["x", "y"], pairs=["z"])


def test_a_signature_that_the_model_lacks_is_named() -> None:
    with pytest.raises(ValueError, match="The model is a tagger, which has no signature n_best"):
        ByHand("tagger", {}).n_best(["x"])


def test_lists_of_words_are_padded_and_all_else_is_left() -> None:
    assert padded([[b"a", b"b"], [b"c"]]) == [[b"a", b"b"], [b"c", b""]]
    assert padded([[], []]) == [[b""], [b""]]
    assert padded([b"a", b"bc"]) == [b"a", b"bc"]
    assert padded([2, 1]) == [2, 1]
