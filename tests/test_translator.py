"""The translator: its loss, its gradients and its search, all against the logits of its call."""

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from nlp_rnn.layers.precision import policy_of
from nlp_rnn.models.translator import Translator
from nlp_rnn.search import Hypotheses
from nlp_rnn.text import BOS, EOS, PAD, UNK

SOURCES, TARGETS = 11, 13
SIZES = {
    "embedding_size": 4, "cell": "lstm", "encoder_size": 3, "encoder_layers": 1, "decoder_size": 5,
    "decoder_layers": 1, "attention_size": 6, "residual": False, "dropout": 0.0,
}  # fmt: skip


def translator_of(dtype: str = "float32", *, spread: float = 0.6, **changed: Any) -> Translator:
    shared = changed.get("share_embeddings", False)
    arguments = {
        "source_vocabulary_size": SOURCES, "target_vocabulary_size": SOURCES if shared else TARGETS,
        "share_embeddings": False, "tie_embeddings": False, **SIZES, **changed,
    }  # fmt: skip
    translator = Translator(**arguments, dtype=keras.DTypePolicy(dtype))
    generator = np.random.default_rng(1)
    for weight in translator.trainable_variables:
        weight.assign(generator.normal(0, spread, weight.shape))
    return translator


def batch_of(*, sources: list[int], targets: list[int], longer: int = 0, padding: int = PAD) -> dict[str, tf.Tensor]:
    """Random sentences of these lengths, the end included; the padding may be wider, and of any token."""
    generator = np.random.default_rng(2)
    batch = {}
    for side, lengths in (("source", sources), ("target", targets)):
        tokens = np.full([len(lengths), max(lengths) + longer], padding)
        for row, length in enumerate(lengths):
            tokens[row, :length] = [*generator.integers(EOS + 1, SOURCES, max(length - 1, 0)), EOS][:length]
        batch[side] = tf.constant(tokens, tf.int32)
        batch[f"{side}_mask"] = tf.sequence_mask(lengths, tokens.shape[1])
    return batch


BATCH = batch_of(sources=[5, 3, 1, 0], targets=[4, 6, 1, 2])


def log_softmax(logits: tf.Tensor) -> np.ndarray:
    logits = np.asarray(logits, np.float64)
    logits = logits - logits.max(axis=-1, keepdims=True)
    return logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))


def cross_entropy(logits: tf.Tensor, batch: dict[str, tf.Tensor], smoothing: float) -> float:
    """The loss in float64, target token by target token."""
    logs, total = log_softmax(logits), 0.0
    for row, time in np.argwhere(batch["target_mask"].numpy()):
        spread = smoothing * logs[row, time].mean()
        total -= (1 - smoothing) * logs[row, time, batch["target"][row, time]] + spread
    return total


def test_what_is_read_begins_larger_than_what_scores() -> None:
    """So that the encoder tells tokens apart from the start, and the first guess is nearly even all the same."""
    sizes = {**SIZES, "source_vocabulary_size": 300, "target_vocabulary_size": 200, "embedding_size": 64}
    translator = Translator(**sizes, share_embeddings=False, tie_embeddings=False)
    norms = [
        np.linalg.norm(embedding.get_weights()[0], axis=1).mean()
        for embedding in (translator.source_embedding, translator.target_embedding, translator.output_embedding)
    ]
    np.testing.assert_allclose(norms, [4, 4, 1], rtol=0.1)
    tied = Translator(**sizes, share_embeddings=False, tie_embeddings=True)
    for network in (translator, tied):
        probabilities = np.exp(log_softmax(network(BATCH)))
        assert probabilities.max() < 10 / 200


@pytest.mark.parametrize("tie_embeddings", [False, True])
def test_logits_are_the_products_of_the_decoder_s_steps_with_the_output_embedding(tie_embeddings: bool) -> None:
    translator = translator_of(tie_embeddings=tie_embeddings)
    logits = translator(BATCH)
    assert logits.shape == (4, 6, TARGETS)
    assert logits.dtype == tf.float32
    encoded = translator.encode(BATCH["source"], BATCH["source_mask"])
    state, token = encoded.state, tf.fill([4, 1], BOS)
    matrix, bias = translator.output_embedding.embeddings.numpy(), translator.output_bias.numpy()
    for time in range(6):
        output, state, _ = translator.decoder.step(translator.target_embedding(token), state, encoded.memory)
        expected = output[:, 0].numpy() @ matrix.T + bias
        real = BATCH["target_mask"].numpy()[:, time]
        np.testing.assert_allclose(logits.numpy()[real, time], expected[real], atol=1e-5)
        token = BATCH["target"][:, time : time + 1]


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_loss_is_the_cross_entropy_of_the_real_target_tokens(smoothing: float) -> None:
    translator = translator_of()
    total, count = translator.loss_sum(BATCH, label_smoothing=smoothing)
    assert float(count) == 4 + 6 + 1 + 2
    assert float(total) == pytest.approx(cross_entropy(translator(BATCH), BATCH, smoothing), rel=1e-5)


def test_padding_and_empty_targets_cost_nothing() -> None:
    translator = translator_of()
    sizes = {"sources": [5, 3, 2], "targets": [4, 6, 0]}
    total, count = translator.loss_sum(batch_of(**sizes), label_smoothing=0.1)
    padded = translator.loss_sum(batch_of(**sizes, longer=3, padding=7), label_smoothing=0.1)
    without = translator.loss_sum({name: tensor[:2] for name, tensor in batch_of(**sizes).items()}, label_smoothing=0.1)
    for other_total, other_count in (padded, without):
        assert float(other_count) == float(count) == 10
        assert float(other_total) == pytest.approx(float(total), rel=1e-5)
    empty = {name: tensor[2:] for name, tensor in batch_of(**sizes).items()}
    assert [float(number) for number in translator.loss_sum(empty, label_smoothing=0.1)] == [0, 0]


@pytest.mark.parametrize("tie_embeddings", [False, True])
@pytest.mark.parametrize("share_embeddings", [False, True])
def test_gradients_are_those_of_plain_autodiff(tie_embeddings: bool, share_embeddings: bool) -> None:
    translator = translator_of(tie_embeddings=tie_embeddings, share_embeddings=share_embeddings)
    weights = {weight.path: weight.value for weight in translator.trainable_variables}
    with tf.GradientTape() as tape:
        loss, _ = translator.loss_sum(BATCH, label_smoothing=0.1, training=True)
    found = tape.gradient(loss, weights)
    with tf.GradientTape() as tape:
        logs = tf.nn.log_softmax(translator(BATCH))
        right = tf.gather(logs, BATCH["target"], batch_dims=2)
        losses = -0.9 * right - 0.1 * tf.reduce_mean(logs, axis=-1)
        plain_loss = tf.reduce_sum(tf.where(BATCH["target_mask"], losses, 0.0))
    plain = tape.gradient(plain_loss, weights)
    np.testing.assert_allclose(loss, plain_loss, rtol=1e-5)
    for name, gradient in plain.items():
        expected = tf.convert_to_tensor(gradient)
        assert np.abs(expected).max() > 2e-4, name
        np.testing.assert_allclose(tf.convert_to_tensor(found[name]), expected, atol=1e-5, rtol=1e-4, err_msg=name)


def search(translator: Translator, batch: dict[str, tf.Tensor], *, beam_size: int, n_best: int = 1) -> Hypotheses:
    encoded = translator.encode(batch["source"], batch["source_mask"])
    maximum_lengths = 2 * tf.reduce_sum(tf.cast(batch["source_mask"], tf.int32), axis=1) + 3
    return translator.search(encoded, maximum_lengths=maximum_lengths, beam_size=beam_size, n_best=n_best)


def rescored(translator: Translator, batch: dict[str, tf.Tensor], row: int, tokens: np.ndarray) -> np.ndarray:
    """The log-probabilities (length + 1, vocabulary) along a translation of one row, by teacher forcing it alone."""
    source = batch["source"][row : row + 1][:, : int(tf.reduce_sum(tf.cast(batch["source_mask"][row], tf.int32)))]
    target = tf.constant([[*tokens, EOS]], tf.int32)
    given = {"source": source, "target": target}
    given |= {f"{side}_mask": tf.ones_like(tensor, tf.bool) for side, tensor in given.items()}
    return log_softmax(translator(given))[0]


def test_greedy_search_takes_the_best_token_of_the_teacher_forced_logits() -> None:
    translator = translator_of(spread=0.9)
    batch = batch_of(sources=[5, 3, 1, 0], targets=[1, 1, 1, 1])
    found = search(translator, batch, beam_size=1)
    for row, source_length in enumerate([5, 3, 1, 0]):
        length = int(found.lengths[row, 0])
        tokens = found.tokens[row, 0, :length].numpy()
        logs = rescored(translator, batch, row, tokens)
        probability = sum(logs[time, token] for time, token in enumerate([*tokens, EOS]))
        assert float(found.log_probabilities[row, 0]) == pytest.approx(probability, abs=1e-4)
        logs[:, [PAD, UNK, BOS]] = -np.inf  # never produced
        best = logs.argmax(axis=1)
        np.testing.assert_array_equal(best[:length], tokens)
        assert best[length] == EOS or length == 2 * source_length + 3
    assert len(set(found.lengths[:, 0].numpy())) > 1  # they did not all run into the same end


def test_beam_search_scores_as_teacher_forcing_does() -> None:
    translator = translator_of(spread=0.9, tie_embeddings=True, cell="gru", decoder_layers=2)
    batch = batch_of(sources=[5, 3, 1], targets=[1, 1, 1])
    found = search(translator, batch, beam_size=4, n_best=3)
    for row in range(3):
        for index in range(3):
            tokens = found.tokens[row, index, : int(found.lengths[row, index])].numpy()
            logs = rescored(translator, batch, row, tokens)
            probability = sum(logs[time, token] for time, token in enumerate([*tokens, EOS]))
            assert float(found.log_probabilities[row, index]) == pytest.approx(probability, abs=1e-4)
            penalty = (5 + len(tokens) + 1) / 6  # length_penalty 1; the end counts
            assert float(found.scores[row, index]) == pytest.approx(probability / penalty, abs=1e-4)
    assert (np.diff(found.scores, axis=1) <= 0).all()


@pytest.mark.parametrize("beam_size", [1, 3])
def test_a_sentence_is_translated_alike_alone_and_in_any_batch(beam_size: int) -> None:
    translator = translator_of(spread=0.9)
    together = search(
        translator, batch_of(sources=[5, 3, 1, 0], targets=[1] * 4, longer=3, padding=7), beam_size=beam_size
    )
    batch = batch_of(sources=[5, 3, 1, 0], targets=[1] * 4)
    for row, length in enumerate([5, 3, 1, 0]):
        single = {"source": batch["source"][row : row + 1, :length]}
        single["source_mask"] = tf.ones_like(single["source"], tf.bool)
        alone = search(translator, single, beam_size=beam_size)
        count = int(alone.lengths[0, 0])
        assert int(together.lengths[row, 0]) == count
        np.testing.assert_array_equal(together.tokens[row, 0, :count], alone.tokens[0, 0, :count])
        np.testing.assert_array_equal(together.tokens[row, 0, count:], PAD)
        np.testing.assert_allclose(together.scores[row], alone.scores[0], atol=1e-4)


def test_search_attends_to_real_tokens_only() -> None:
    translator = translator_of()
    encoded = translator.encode(BATCH["source"], BATCH["source_mask"])
    found = translator.search(
        encoded, maximum_lengths=tf.fill([4], 4), beam_size=2, minimum_length=2, with_attention=True
    )
    for row, length in enumerate([5, 3, 1, 0]):
        attention = found.attention[row, 0, : int(found.lengths[row, 0])].numpy()
        assert len(attention) >= 2
        np.testing.assert_allclose(attention[:, :length].sum(axis=1), float(length > 0), atol=1e-5)
        np.testing.assert_array_equal(attention[:, length:], 0)


@pytest.mark.parametrize("training", [False, True])
def test_all_true_tokens_are_teacher_forcing(training: bool) -> None:
    translator = translator_of()
    forced, count = translator.loss_sum(BATCH, label_smoothing=0.1, training=training)
    sampled, sampled_count = translator.loss_sum(
        BATCH, label_smoothing=0.1, truth_share=tf.constant(1.0), training=training
    )
    assert (float(sampled), float(sampled_count)) == (float(forced), float(count))


def previous_tokens_by_hand(translator: Translator) -> np.ndarray:
    guesses = translator(BATCH).numpy().argmax(axis=-1)
    return np.concatenate([np.full([4, 1], BOS), guesses[:, :-1]], axis=1)


def test_no_true_tokens_are_the_model_s_own_guesses() -> None:
    translator = translator_of()
    previous = previous_tokens_by_hand(translator)
    # The call sees a target one token behind: with the guesses as the target, it scores what follows them.
    shifted = {**BATCH, "target": tf.constant(np.concatenate([previous[:, 1:], np.zeros([4, 1])], axis=1), tf.int32)}
    expected = cross_entropy(translator(shifted), BATCH, 0.1)
    forced, _ = translator.loss_sum(BATCH, label_smoothing=0.1)
    sampled, _ = translator.loss_sum(BATCH, label_smoothing=0.1, truth_share=tf.constant(0.0))
    assert abs(float(sampled) - float(forced)) > 0.01
    assert float(sampled) == pytest.approx(expected, rel=1e-5)


def test_a_share_between_mixes_both_anew_each_time() -> None:
    translator = translator_of()
    losses = {float(translator.loss_sum(BATCH, label_smoothing=0.0, truth_share=tf.constant(0.5))[0]) for _ in range(4)}
    assert len(losses) > 1


def test_shared_embeddings_need_one_vocabulary() -> None:
    with pytest.raises(ValueError, match="source_vocabulary_size is 11 and target_vocabulary_size 13"):
        translator_of(share_embeddings=True, target_vocabulary_size=13)


@pytest.mark.parametrize(
    ("share_embeddings", "tie_embeddings", "tables"), [(False, False, 3), (False, True, 2), (True, True, 1)]
)
def test_embeddings_are_one_variable_where_they_are_one(
    share_embeddings: bool, tie_embeddings: bool, tables: int
) -> None:
    translator = translator_of(share_embeddings=share_embeddings, tie_embeddings=tie_embeddings)
    parts = (translator.source_embedding, translator.target_embedding, translator.output_embedding)
    assert len({id(part.embeddings) for part in parts}) == tables
    assert sum("embedding" in weight.path for weight in translator.trainable_variables) == tables


@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"share_embeddings": True, "tie_embeddings": True, "cell": "gru", "residual": True, "training_path": "cudnn"},
        {"decoder_layers": 2, "encoder_layers": 2, "dropout": 0.25},
    ],
)
def test_comes_back_from_a_file(changed: dict, tmp_path: Path) -> None:
    translator = translator_of(**changed)
    assert "training_path" not in translator.get_config()
    translator.save(tmp_path / "translator.keras")
    again = keras.saving.load_model(tmp_path / "translator.keras")
    np.testing.assert_array_equal(again(BATCH), translator(BATCH))
    translator.save_weights(tmp_path / "translator.weights.h5")
    fresh = Translator.from_config(translator.get_config())
    assert np.abs(fresh(BATCH) - translator(BATCH)).max() > 1e-3
    fresh.load_weights(tmp_path / "translator.weights.h5")
    np.testing.assert_array_equal(fresh(BATCH), translator(BATCH))


@pytest.mark.parametrize("dtype", ["mixed_float16", "mixed_bfloat16"])
def test_half_precision_has_a_float32_loss_that_is_close(dtype: str) -> None:
    half = translator_of(dtype, tie_embeddings=True)
    assert {weight.dtype for weight in half.trainable_variables} == {"float32"}
    assert half(BATCH).dtype == tf.float32
    expected, _ = translator_of(tie_embeddings=True).loss_sum(BATCH, label_smoothing=0.1)
    with tf.GradientTape() as tape:
        loss, _ = half.loss_sum(BATCH, label_smoothing=0.1, training=True)
    assert loss.dtype == tf.float32
    assert float(loss) == pytest.approx(float(expected), rel=0.01)
    for gradient in tape.gradient(loss, [weight.value for weight in half.trainable_variables]):
        assert np.isfinite(tf.convert_to_tensor(gradient)).all()


@pytest.mark.parametrize(("weights", "tolerance"), [("float16", 1e-5), ("bfloat16", 0.05)])
def test_weights_of_16_bits_are_computed_with_as_is_said(weights: str, tolerance: float) -> None:
    """In float16 they are stored alone; in bfloat16 products are computed as well."""
    rounded = translator_of()
    small = Translator(**rounded.arguments, dtype=policy_of(weights))
    for ours, theirs in zip(small.variables, rounded.variables, strict=True):
        ours.assign(tf.cast(theirs.value, ours.dtype))
        theirs.assign(tf.cast(ours.value, theirs.dtype))
    assert small.target_embedding.embeddings.dtype == weights
    np.testing.assert_allclose(small(BATCH), rounded(BATCH), atol=tolerance)


def test_dropout_is_of_training_alone() -> None:
    translator, without = translator_of(dropout=0.5), translator_of()
    np.testing.assert_array_equal(translator(BATCH), without(BATCH))
    losses = {float(translator.loss_sum(BATCH, label_smoothing=0.0, training=True)[0]) for _ in range(2)}
    assert len(losses) == 2
