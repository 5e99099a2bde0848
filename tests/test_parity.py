"""The gate's mechanics: what is equal, what is a tie, and what two processes answer."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf

from nlp_rnn import parity
from nlp_rnn.parity import ParityError, check, classification_tie, close, tagging_tie, translation_tie, wire

NAN = float("nan")


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        (-1.0, -1.00009, True),
        (-1.0, -1.0002, False),
        (0.0, 9e-5, True),
        (0.0, 2e-4, False),
        (1000.0, 1000.05, True),  # relative to large numbers
        (NAN, NAN, False),
        (1, 2, False),
        (10_000, 10_001, False),  # whole numbers are not approximate
        ("a", "a", True),
        ("a", "b", False),
        (True, False, False),
        ([[0.25, 0.75]], [[0.25004, 0.74996]], True),
        ([[0.25, 0.75]], [[0.252, 0.748]], False),
        ([[0.25, 0.75]], [[0.25, 0.75], [0.5, 0.5]], False),
        ([[0.25, 0.75]], [[NAN, 0.75]], False),
        ([0.5], 0.5, False),
        (0.5, [0.5], False),
        (["a", "</s>"], ["a", "a"], False),
        (0.5, None, False),
    ],
)
def test_numbers_are_compared_approximately_and_all_else_exactly(one: Any, other: Any, expected: bool) -> None:
    assert close(one, other) is expected


def test_bytes_survive_as_text_at_any_depth() -> None:
    spelt = wire([[b"a\xffb", "ß".encode()], 3, [1.5]])
    assert spelt == [["a\udcffb", "ß"], 3, [1.5]]
    assert spelt[0][0].encode("utf-8", "surrogateescape") == b"a\xffb"


def translated(**values: Any) -> dict[str, Any]:
    return {"truncated": False, **values}


def test_only_a_tie_of_scores_excuses_another_translation() -> None:
    candidates = translated(translations=["A", "B", "C"], scores=[-1.0, -1.00005, -1.1])
    live = translated(translation="A", score=-1.0)
    for served, tie in (
        ({"translation": "B", "score": -1.00005}, True),
        ({"translation": "C", "score": -1.1}, False),  # a real difference
        ({"translation": "X", "score": -1.0}, False),  # a text that the model would not give
        ({"translation": "A", "score": -1.1}, False),
        ({"translation": "B", "score": -1.00005, "truncated": True}, False),
        ({"translation": "B", "score": NAN}, False),
    ):
        assert translation_tie(live, translated(**served), candidates) == tie, served
    swapped = {"translations": ["B", "A", "C"], "scores": [-1.0, -1.00005, -1.1]}
    assert translation_tie(candidates, translated(**swapped), candidates)
    turned = {**swapped, "translations": ["C", "B", "A"]}
    assert not translation_tie(candidates, translated(**turned), candidates)
    fewer = {"translations": ["B", "A"], "scores": [-1.0, -1.00005]}
    assert not translation_tie(candidates, translated(**fewer), candidates)


def test_an_empty_translation_among_the_best_is_one_of_them() -> None:
    """Without its padding, an answer's list of texts is shorter than that of scores; or the other way round."""
    live, other, turned = (
        {**translated(scores=[-1.0, score]), "translations": parity._unpadded(texts)}
        for texts, score in ((["A", ""], -1e30), (["B", ""], -1e30), (["", "A"], -1.00005))
    )
    assert translation_tie(translated(translation="C", score=-1.0), translated(translation="A", score=-1.0), live)
    assert not translation_tie(live, other, live)
    close = {**live, "scores": [-1.0, -1.00005]}
    assert translation_tie(close, turned, close)
    certain = {**live, "translations": ["A", "B"], "scores": []}  # each one with a probability of 1
    assert translation_tie(certain, {**certain, "translations": ["B", "A"]}, certain)


@pytest.mark.parametrize(
    ("key", "value"), [("attention", [[0.252, 0.748]]), ("source_tokens", ["a", "a"]), ("score", -1.1)]
)
def test_an_equal_translation_with_other_outputs_is_no_tie(key: str, value: Any) -> None:
    live = translated(translation="A", score=-1.0, attention=[[0.25, 0.75]], source_tokens=["a", "</s>"])
    candidates = translated(translations=["A"], scores=[-1.0])
    assert not translation_tie(live, {**live, key: value}, candidates)


def test_only_a_tie_of_probabilities_excuses_another_tag() -> None:
    live = {
        "tokens": ["Anna", "ran"], "tags": ["B-PER", "O"], "scores": [0.5, 0.9], "lengths": 2, "truncated": False,
        "entity_labels": ["PER"], "entity_starts": [0], "entity_counts": 1,
    }  # fmt: skip
    other = {**live, "tags": ["B-LOC", "O"], "scores": [0.49999, 0.9], "entity_labels": ["LOC"]}
    assert tagging_tie(live, other, {})
    none = {"entity_labels": [], "entity_starts": [], "entity_counts": 0}
    assert tagging_tie(live, {**other, "tags": ["O", "O"], **none}, {})
    for change in (
        {"scores": [0.48, 0.9]},  # a real difference
        {"scores": [NAN, 0.9]},
        {"tokens": ["Anne", "ran"]},
        {"lengths": 1},
        {"truncated": True},
        {"tags": live["tags"]},  # the same tags, yet another entity
    ):
        assert not tagging_tie(live, {**other, **change}, {}), change
    assert not tagging_tie(live, {key: other[key] for key in other if key != "tokens"}, {})
    assert not tagging_tie(live, {**other, "more": 1}, {})


def test_only_a_tie_of_labels_excuses_another_label() -> None:
    labels = {"labels": ["a", "b", "c"], "truncated": False}
    live = {**labels, "probabilities": [0.45, 0.45004, 0.09996], "label": "b", "score": 0.45004}
    other = {**live, "label": "a", "score": 0.45}
    assert classification_tie(live, other, {}, threshold=0.5)
    for change in (
        {"label": "c"},  # a real difference, for all that its score may say
        {"label": "d"},
        {"score": 0.46},
        {"score": NAN},
        {"probabilities": [0.46, 0.45004, 0.09996]},
        {"truncated": True},
        {"labels": ["b", "a", "c"]},
        {"more": 1},
    ):
        assert not classification_tie(live, {**other, **change}, {}, threshold=0.5), change
    assert not classification_tie(live, {key: other[key] for key in other if key != "score"}, {}, threshold=0.5)


def test_only_a_tie_with_the_threshold_excuses_another_selection() -> None:
    """Lists end where only False, or 0, would follow."""
    live = {"labels": ["a", "b", "c"], "probabilities": [0.8, 0.3, 0.30004], "selected": [True]}
    for selected, tie in (
        ([True, True], True),
        ([True, False, True], True),
        ([True, True, True], True),
        ([], False),
        ([False, True], False),
    ):
        assert classification_tie(live, {**live, "selected": selected}, {}, threshold=0.3) is tie, selected
    assert not classification_tie(live, {**live, "selected": [True, True]}, {}, threshold=0.4)
    low = {**live, "probabilities": [0.8, 0.3]}
    assert not classification_tie(low, {**low, "selected": [True, False, True]}, {}, threshold=0.3)


class Weighted(tf.Module):
    """Letters of a text, times a weight; padded to the longest text of the batch, and by more, if asked to."""

    def __init__(self, weight: float = 0.5, name: str = "letter", extra: int = 0) -> None:
        super().__init__()
        self.weight = tf.Variable(weight)
        self.suffix = name
        self.extra = extra

    def _letters(self, text: tf.Tensor) -> tf.Tensor:
        letters = tf.strings.bytes_split(text).to_tensor("")
        return tf.pad(letters, [[0, 0], [0, self.extra]], constant_values="")

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="text")], autograph=False)
    def spell(self, text: tf.Tensor) -> dict[str, tf.Tensor]:
        letters = self._letters(text)
        places = tf.cast(tf.range(1, tf.shape(letters)[1] + 1), tf.float32)
        scores = tf.where(letters == "", 0.0, self.weight * places)
        return {"letters": letters, "scores": scores, "lengths": tf.strings.length(text), "named": text + self.suffix}

    @tf.function(
        input_signature=[
            tf.TensorSpec([None, None], tf.string, name="tokens"), tf.TensorSpec([None], tf.int32, name="lengths"),
        ],
        autograph=False,
    )  # fmt: skip
    def join(self, tokens: tf.Tensor, lengths: tf.Tensor) -> dict[str, tf.Tensor]:
        ragged = tf.RaggedTensor.from_tensor(tokens, lengths)
        return {"joined": tf.strings.reduce_join(ragged, axis=1, separator=" ")}

    @property
    def signatures(self) -> dict[str, Any]:
        return {"spell": self.spell.get_concrete_function(), "join": self.join.get_concrete_function()}


BATCHES: dict[str, Any] = {
    "spell": [{"text": ["abc", "", "a\udcffb", "x"]}, {"text": []}],
    "join": [
        {"tokens": [["a", "b"], ["c", ""], ["", ""]], "lengths": [2, 1, 0]}, {"tokens": [], "lengths": []},
    ],
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weighted")
    module = Weighted()
    tf.saved_model.save(module, str(path), signatures=module.signatures)
    return path


def always(live: Any, served: Any, other: Any) -> bool:
    return True


def never(live: Any, served: Any, other: Any) -> bool:
    return False


def test_a_saved_model_answers_as_its_functions_however_far_they_pad(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also without examples; and in a process that reads nothing from where it was started."""
    monkeypatch.chdir(folder.parent)
    (folder.parent / "tensorflow.py").write_text("raise SystemExit('read from where it was started')")
    live = Weighted(extra=3)
    assert check(Path(folder.name), live.signatures, BATCHES, never) == 0


def test_another_weight_is_found_and_named(folder: Path) -> None:
    live = Weighted(weight=0.505)
    with pytest.raises(
        ParityError, match=r"^spell of \{'text': 'abc'\} gives scores \[0\.5, 1\.0, 1\.5\] instead of \[0\.50.*\]\.$"
    ):
        check(folder, live.signatures, BATCHES, never)


def test_ties_are_counted_and_told_what_else_is_good(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "nlp_rnn")
    live, seen = Weighted(name="other"), []

    def tie(live: Any, served: Any, other: Any) -> bool:
        seen.append((live["named"], served["named"], other["named"]))
        return True

    batches = {"spell": [{"text": ["a", "b"]}, {"text": []}]}
    assert check(folder, live.signatures, batches, tie, alternatives="spell") == 2
    assert seen == [("aother", "aletter", "aother"), ("bother", "bletter", "bother")]
    assert "2 answers of the export differ from the model's by a tie of two scores." in caplog.text


def saved(path: Path, body: Callable[[tf.Tensor], dict[str, tf.Tensor]]) -> Any:
    module = tf.Module()
    module.answer = tf.function(body, input_signature=[tf.TensorSpec([None], tf.string, name="text")], autograph=False)
    answer = module.answer.get_concrete_function()
    tf.saved_model.save(module, str(path), signatures={"answer": answer})
    return answer


def test_another_number_of_answers_is_found(tmp_path: Path) -> None:
    saved(tmp_path / "served", lambda text: {"answer": text[1:]})
    live = saved(tmp_path / "live", lambda text: {"answer": text})
    with pytest.raises(ParityError, match=r"^answer answers 2 examples with 1\.$"):
        check(tmp_path / "served", {"answer": live}, {"answer": [{"text": ["a", "b"]}]}, always)


def test_another_output_is_found(tmp_path: Path) -> None:
    saved(tmp_path / "served", lambda text: {"answer": text, "more": text})
    live = saved(tmp_path / "live", lambda text: {"answer": text})
    with pytest.raises(ParityError, match="answer of {'text': 'a'} gives more 'a' instead of None"):
        check(tmp_path / "served", {"answer": live}, {"answer": [{"text": ["a"]}]}, never)


def test_what_cannot_be_loaded_is_refused_with_its_own_error(tmp_path: Path) -> None:
    live = Weighted()
    with pytest.raises(ParityError, match=r"(?s)^it cannot be loaded and called\..*does not exist"):
        check(tmp_path, live.signatures, BATCHES, never)


def test_dense_and_padded_answers_are_the_same_at_every_depth() -> None:
    answer = {"x": tf.constant([[[1, 0], [0, 0]], [[0, 2], [3, 0]]]), "y": tf.constant([0, 1])}
    rows = parity._by_example(answer)
    assert rows == [{"x": [[1]], "y": 0}, {"x": [[0, 2], [3]], "y": 1}]
