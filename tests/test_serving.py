"""The predictor: any number of texts, in their order, whatever the batches."""

import shutil
import threading
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from serving_cases import TEXTS, save, translation_module

from nlp_rnn import serving
from nlp_rnn.answers import Explanation, Translation
from nlp_rnn.config import ConfigError
from nlp_rnn.models.translation import TranslationModule


@pytest.fixture(scope="module")
def module() -> TranslationModule:
    return translation_module()


@pytest.fixture(scope="module")
def model(module: TranslationModule, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model directory with version 2."""
    path = tmp_path_factory.mktemp("models") / "letters"
    save(module, path / "2")
    (path / "model").mkdir()
    return path


@pytest.fixture(scope="module")
def predictor(model: Path) -> serving.Predictor:
    return serving.Predictor(model, batch_size=3)


def one_by_one(module: TranslationModule, signature: str) -> list[dict[str, np.ndarray]]:
    """The module's own answers, one text at a time."""
    answers = []
    for text in TEXTS:
        encoded = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
        answer = module.signatures[signature](tf.constant([encoded]))
        answers.append({name: tensor.numpy()[0] for name, tensor in answer.items()})
    return answers


def test_translations_come_in_the_order_of_the_texts(module: TranslationModule, predictor: serving.Predictor) -> None:
    found = predictor.predict(TEXTS)
    expected = one_by_one(module, "serving_default")
    assert [item.text for item in found] == [row["translation"].decode() for row in expected]
    assert [item.score for item in found] == pytest.approx([row["score"] for row in expected], rel=1e-4, abs=1e-4)
    assert [item.truncated for item in found] == [False] * 7 + [True]
    assert len({item.text for item in found}) >= 5  # else their order would say little
    assert type(found[0].score) is float
    assert type(found[0].truncated) is bool
    assert predictor.predict([]) == []


def test_n_best_gives_what_there_is(module: TranslationModule, predictor: serving.Predictor) -> None:
    found = predictor.n_best(TEXTS)
    assert found[2] == [Translation(text="", score=0.0, truncated=False)]
    for index, row in enumerate(one_by_one(module, "n_best")):
        count = 1 if index == 2 else 3
        assert [item.text for item in found[index]] == [text.decode() for text in row["translations"][:count]]
        assert [item.score for item in found[index]] == pytest.approx(row["scores"][:count], rel=1e-4, abs=1e-4)
    assert all(item.truncated for item in found[-1])


def test_explanations_hold_no_padding(module: TranslationModule, predictor: serving.Predictor) -> None:
    found = predictor.explain(TEXTS)
    assert found[1].source_tokens == ("a", "b", "c", "</s>")
    assert found[2] == Explanation(
        translation=Translation(text="", score=0.0, truncated=False),
        source_tokens=("</s>",), target_tokens=(), attention=(),
    )  # fmt: skip
    for item, row in zip(found, one_by_one(module, "explain"), strict=True):
        assert "".join(item.target_tokens) == item.translation.text == row["translation"].decode()
        assert len(item.source_tokens) == row["source_lengths"]
        if item.attention:
            np.testing.assert_allclose(item.attention, row["attention"], atol=1e-4)
            np.testing.assert_allclose(np.sum(item.attention, axis=1), 1, atol=1e-4)


def test_two_batches_are_worked_on_at_once(model: Path, predictor: serving.Predictor) -> None:
    """Each of two calls waits for the other one to have begun."""
    both = threading.Barrier(2, timeout=30)

    class Waiting(serving.Predictor):
        def _call(self, signature: str, inputs: dict[str, list]) -> dict[str, list]:
            both.wait()
            return super()._call(signature, inputs)

    found = Waiting(model, batch_size=2).predict(TEXTS[:4])
    assert [answer.text for answer in found] == [answer.text for answer in predictor.predict(TEXTS[:4])]


def test_what_goes_wrong_in_a_batch_is_raised(model: Path) -> None:
    class Failing(serving.Predictor):
        def _call(self, signature: str, inputs: dict[str, list]) -> dict[str, list]:
            if b"abc" in inputs["text"]:
                raise RuntimeError("no such text")
            return super()._call(signature, inputs)

    with pytest.raises(RuntimeError, match="no such text"):
        Failing(model, batch_size=1).predict(TEXTS[:3])


def test_a_lone_text_is_not_taken_for_a_list_of_letters(predictor: serving.Predictor) -> None:
    with pytest.raises(TypeError, match=r"texts must be a list of texts, not one text; give \['abc'\]"):
        predictor.predict("abc")


def test_the_newest_version_is_taken(model: Path, tmp_path: Path) -> None:
    for version in ("9", "10"):
        shutil.copytree(model / "2", tmp_path / version)
    for other in ("11", "model", ".export.writing-1234"):
        (tmp_path / other).mkdir()
    shutil.copy(model / "2" / "saved_model.pb", tmp_path / ".export.writing-1234")
    assert serving.Predictor(str(tmp_path)).folder == tmp_path / "10"
    assert serving.Predictor(tmp_path / "9").folder == tmp_path / "9"


def test_what_is_no_export_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "nothing"):
        with pytest.raises(FileNotFoundError, match="holds no exported model; give a model directory with a version"):
            serving.Predictor(path)
    with pytest.raises(ValueError, match="batch_size must be at least 1, not 0"):
        serving.Predictor(tmp_path, batch_size=0)
    other = tf.Module()
    other.double = tf.function(lambda x: 2 * x, input_signature=[tf.TensorSpec([None])], autograph=False)
    tf.saved_model.save(other, str(tmp_path / "1"), signatures=other.double)
    with pytest.raises(ConfigError, match=r"is no model of this package: its signatures are \['serving_default'\]"):
        serving.Predictor(tmp_path)


@pytest.mark.parametrize("part", ["saved_model.pb", "variables/variables.index"])
def test_a_damaged_export_is_refused(model: Path, tmp_path: Path, part: str) -> None:
    file = Path(shutil.copytree(model / "2", tmp_path / "1")) / part
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    with pytest.raises(ConfigError, match="1 holds a SavedModel that is damaged: .* Export it again."):
        serving.Predictor(tmp_path)
