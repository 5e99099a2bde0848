"""Any text at all, through every signature: an answer of the documented shape, never an error, never NaN."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf
import tensorflow_text  # noqa: F401  (its import registers the operations)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nlp_rnn import edge_inputs, parity, signature_inputs

# What models know, white space and what ends words, letters with marks, emoji with all that joins them, and NUL.
_NEAR = "abh AEN.'\t\n\0\u0301\u200d\ufe0f\u00ad\u2028\ufdd0\ufffd\U0001f44b\U0001f3fd漢ﷺıİß"
TEXTS = st.one_of(
    st.text(max_size=30).map(lambda text: text.encode("utf-8", "surrogatepass")),
    st.text(alphabet=_NEAR, max_size=30).map(str.encode),
    st.binary(max_size=30),
).map(parity.wire)


@pytest.fixture(scope="module")
def loaded(exported: Callable[[str], Path]) -> Callable[[str], Any]:
    models: dict[str, Any] = {}

    def load(name: str) -> Any:
        if name not in models:
            models[name] = tf.saved_model.load(str(exported(name) / "1"))
        return models[name]

    return load


@pytest.mark.parametrize("name", ["letters", "subwords", "entities", "parts of speech", "opinions"])
@settings(
    max_examples=40, deadline=None, database=None, derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)  # fmt: skip
@given(texts=st.lists(TEXTS, max_size=4))
def test_every_signature_answers_any_text(loaded: Callable[[str], Any], name: str, texts: list[str]) -> None:
    model = loaded(name)
    for function in model.signatures.values():
        specs = parity.specs_of(function)
        rows = [signature_inputs.arguments(specs, sample) for sample in signature_inputs.from_texts(texts)]
        inputs = signature_inputs.batch(specs, rows)
        answer = parity.call(function, inputs)
        assert edge_inputs.answer_problems(function.structured_outputs, inputs, answer) == []
