"""Raw text to translations, against the search and the teacher-forced network called by hand."""

from collections.abc import Sequence

import keras
import numpy as np
import pytest
import tensorflow as tf

from nlp_rnn.models.translation import TranslationModule
from nlp_rnn.models.translator import Translator
from nlp_rnn.text import BOS, EOS, CharacterTokenizer, Normalizer

SOURCE_CHARACTERS = "abcdefgh "
TARGET_CHARACTERS = "ABCDEFG "
SIZES = {
    "cell": "lstm", "embedding_size": 8, "encoder_size": 8, "encoder_layers": 1, "decoder_size": 8,
    "decoder_layers": 1, "attention_size": 8, "residual": False, "dropout": 0.1, "tie_embeddings": False,
}  # fmt: skip
SEARCH = {
    "beam_size": 3, "length_penalty": 1.0, "coverage_penalty": 0.0, "minimum_length": 0, "maximum_length": 30,
    "maximum_length_ratio": 2.0, "n_best": 3,
}  # fmt: skip


def character_tokenizer(characters: str) -> CharacterTokenizer:
    return CharacterTokenizer(
        vocabulary=characters, normalizer=Normalizer(unicode_normalization="nfc", lowercase=False)
    )


def random_network(dtype: str = "float32") -> Translator:
    """A network whose translations are of several lengths: its weights are spread wider than at a training's start."""
    keras.utils.set_random_seed(3)
    network = Translator(
        source_vocabulary_size=4 + len(SOURCE_CHARACTERS), target_vocabulary_size=4 + len(TARGET_CHARACTERS),
        share_embeddings=False, dtype=keras.DTypePolicy(dtype), **SIZES,
    )  # fmt: skip
    generator = np.random.default_rng(5)
    for variable in network.trainable_variables:
        variable.assign(generator.normal(0, 0.9, variable.shape))
    return network


def module_of(network: Translator, **search: float) -> TranslationModule:
    return TranslationModule(
        network=network, source_tokenizer=character_tokenizer(SOURCE_CHARACTERS),
        target_tokenizer=character_tokenizer(TARGET_CHARACTERS), **{**SEARCH, **search},
    )  # fmt: skip


@pytest.fixture(scope="module")
def network() -> Translator:
    return random_network()


@pytest.fixture(scope="module")
def module(network: Translator) -> TranslationModule:
    return module_of(network)


def call(module: TranslationModule, signature: str, texts: Sequence[str | bytes]) -> dict[str, np.ndarray]:
    answer = module.signatures[signature](tf.constant(texts, tf.string))
    return {name: tensor.numpy() for name, tensor in answer.items()}


def log_probability(network: Translator, source: str, target: str) -> float:
    """Teacher forcing, in numpy: the sum over the target's characters and its end."""
    read = [4 + SOURCE_CHARACTERS.index(character) for character in source] + [EOS]
    written = [4 + TARGET_CHARACTERS.index(character) for character in target] + [EOS]
    batch = {
        "source": tf.constant([read]), "source_mask": tf.ones([1, len(read)], tf.bool),
        "target": tf.constant([written]), "target_mask": tf.ones([1, len(written)], tf.bool),
    }  # fmt: skip
    logits = network(batch, training=False).numpy()[0].astype(np.float64)
    logits -= np.log(np.exp(logits).sum(axis=-1, keepdims=True))
    return sum(logits[place, token] for place, token in enumerate(written))


TEXTS = ("abc", "hgfedcba", "a", "cab a", "fade", "dead beef")


def test_a_score_is_the_log_probability_of_the_text_over_the_length_penalty(
    network: Translator, module: TranslationModule
) -> None:
    answer = call(module, "n_best", TEXTS)
    lengths = set()
    for text, translations, scores in zip(TEXTS, answer["translations"], answer["scores"], strict=True):
        assert len(set(translations)) == 3
        assert (np.diff(scores) <= 0).all()
        for translation, score in zip(translations, scores, strict=True):
            penalty = (5 + len(translation) + 1) / 6
            expected = log_probability(network, text, translation.decode()) / penalty
            assert score == pytest.approx(expected, rel=1e-4, abs=1e-4)
            lengths.add(len(translation))
    assert len(lengths) > 2  # else the test would say little


def test_the_answer_is_the_search_s(network: Translator, module: TranslationModule) -> None:
    tokens = tf.constant([[4, 5, 6, EOS]])
    encoded = network.encode(tokens, tf.ones([1, 4], tf.bool))
    found = network.search(encoded, maximum_lengths=tf.constant([26]), beam_size=3, n_best=1)
    expected = "".join(TARGET_CHARACTERS[token - 4] for token in found.tokens.numpy()[0, 0][: found.lengths[0, 0]])
    answer = call(module, "serving_default", ["abc"])
    assert answer["translation"][0].decode() == expected
    assert answer["score"][0] == pytest.approx(float(found.scores[0, 0]), rel=1e-5)


def test_all_signatures_agree_on_the_best(module: TranslationModule) -> None:
    best, several, explained = (call(module, name, TEXTS) for name in module.signatures)
    assert best["translation"].tolist() == several["translations"][:, 0].tolist() == explained["translation"].tolist()
    np.testing.assert_allclose(best["score"], several["scores"][:, 0], rtol=1e-5)
    np.testing.assert_allclose(best["score"], explained["score"], rtol=1e-5)


def test_a_text_gets_the_same_answer_alone_and_in_any_batch(module: TranslationModule) -> None:
    for signature in ("serving_default", "n_best"):
        together = call(module, signature, [*TEXTS, "abcdefgh" * 3, ""])
        for index, text in enumerate(TEXTS):
            alone = call(module, signature, [text])
            for name, column in together.items():
                if column.dtype == np.float32:
                    np.testing.assert_allclose(column[index], alone[name][0], rtol=1e-4, atol=1e-4)
                else:
                    np.testing.assert_array_equal(column[index], alone[name][0])


@pytest.mark.parametrize(
    ("ratio", "lengths"),
    [(2.0, [22, 26, 30, 0]), (1.5, [21, 24, 30, 0]), (0.0, [20, 20, 20, 0]), (1e12, [30, 30, 30, 0])],
)
def test_greatest_length_is_the_source_s_times_a_ratio_plus_twenty_and_never_above_the_maximum(
    ratio: float, lengths: list[int]
) -> None:
    network = random_network()
    bias = np.zeros(4 + len(TARGET_CHARACTERS), np.float32)
    bias[EOS] = -1e4  # the end never comes of its own
    network.output_bias.assign(bias)
    module = module_of(network, beam_size=1, n_best=1, maximum_length=30, maximum_length_ratio=ratio)
    answer = call(module, "explain", ["a", "abc", "abcdefgh", ""])
    assert answer["target_lengths"].tolist() == lengths
    assert [len(text) for text in answer["translation"]] == lengths


def test_explain_gives_the_tokens_and_where_each_target_token_looked(
    network: Translator, module: TranslationModule
) -> None:
    answer = call(module, "explain", ["abc", "a xb", ""])
    assert answer["source_lengths"].tolist() == [4, 5, 1]
    assert answer["source_tokens"].tolist() == [
        [b"a", b"b", b"c", b"</s>", b""],
        [b"a", b" ", b"<unk>", b"b", b"</s>"],
        [b"</s>", b"", b"", b"", b""],
    ]
    lengths = answer["target_lengths"]
    assert lengths[2] == 0 < lengths[0]
    for row, length in enumerate(lengths):
        tokens = answer["target_tokens"][row]
        assert b"".join(tokens[:length]) == answer["translation"][row]
        assert all(token == b"" for token in tokens[length:])
    attention, source = answer["attention"], answer["source_lengths"]
    assert attention.shape == (3, lengths.max(), 5)
    for row in range(3):
        np.testing.assert_allclose(attention[row, : lengths[row]].sum(axis=-1), 1, atol=1e-5)
        assert (attention[row, lengths[row] :] == 0).all()
        assert (attention[row, :, source[row] :] == 0).all()
    np.testing.assert_allclose(attention[0, : lengths[0], :4], forced_attention(network, answer), atol=1e-4)


def forced_attention(network: Translator, answer: dict[str, np.ndarray]) -> np.ndarray:
    """What the decoder's step attends to in "abc" while it is fed the first row's translation."""
    encoded = network.encode(tf.constant([[4, 5, 6, EOS]]), tf.ones([1, 4], tf.bool))
    written = [4 + TARGET_CHARACTERS.index(character) for character in answer["translation"][0].decode()]
    state, weights = encoded.state, []
    for token in [BOS, *written[:-1]]:
        embedded = network.target_embedding(tf.constant([[token]]))
        _, state, attention = network.decoder.step(embedded, state, encoded.memory)
        weights.append(attention.numpy()[0, 0])
    return np.array(weights)


def test_a_text_without_tokens_has_the_empty_translation(module: TranslationModule) -> None:
    blanks = ["", " ", "\t\n", "\u3000\u00a0", "\v\x1c"]
    answer = call(module, "serving_default", ["abc", *blanks])
    assert answer["translation"].tolist() == [answer["translation"][0], *[b""] * 5]
    assert answer["translation"][0] != b""
    assert answer["score"][1:].tolist() == [0] * 5
    several = call(module, "n_best", blanks)
    assert several["translations"].tolist() == [[b""] * 3] * 5
    np.testing.assert_array_equal(several["scores"], np.float32([[0, -1e30, -1e30]] * 5))
    assert call(module, "explain", blanks)["target_lengths"].tolist() == [0] * 5


def test_an_empty_batch_gives_empty_outputs(module: TranslationModule) -> None:
    shapes = {name: {key: column.shape for key, column in call(module, name, []).items()} for name in module.signatures}
    best = {"translation": (0,), "score": (0,), "truncated": (0,)}
    assert shapes == {
        "serving_default": best,
        "n_best": {"translations": (0, 3), "scores": (0, 3), "truncated": (0,)},
        "explain": {
            **best, "source_tokens": (0, 1), "source_lengths": (0,), "target_tokens": (0, 1), "target_lengths": (0,),
            "attention": (0, 1, 1),
        },
    }  # fmt: skip


def test_what_is_too_long_is_cut_and_said_to_be(module: TranslationModule) -> None:
    whole, more = "abcdefgh a" * 3, "abcdefgh a" * 3 + "b"
    answer = call(module, "serving_default", [whole, more, "abc " * 10_000])
    assert answer["truncated"].tolist() == [False, True, True]
    assert answer["translation"][0] == answer["translation"][1]
    assert call(module, "explain", [more])["source_lengths"].tolist() == [31]
    assert call(module, "n_best", [more])["truncated"].tolist() == [True]


def test_invalid_utf_8_is_read_as_replacement_characters(module: TranslationModule) -> None:
    answer = call(module, "explain", [b"a\xffb", "a\ufffdb"])
    assert answer["source_tokens"][0].tolist() == [b"a", b"<unk>", b"b", b"</s>"]
    for column in answer.values():
        np.testing.assert_array_equal(column[0], column[1])


def test_n_best_has_a_beam_that_holds_them(network: Translator) -> None:
    """A beam of one would find the first ends it passes; these are those of a beam of three."""
    greedy = call(module_of(network, beam_size=1), "n_best", TEXTS)
    wide = call(module_of(network, beam_size=3), "n_best", TEXTS)
    assert greedy["translations"].tolist() == wide["translations"].tolist()


def test_search_settings_reach_the_search(network: Translator, module: TranslationModule) -> None:
    plain = call(module, "explain", TEXTS)
    long = call(module_of(network, minimum_length=15, length_penalty=0.0), "explain", TEXTS)
    assert plain["target_lengths"].min() < 15 <= long["target_lengths"].min()
    expected = log_probability(network, "abc", long["translation"][0].decode())
    assert long["score"][0] == pytest.approx(expected, rel=1e-4)
    answer = call(module_of(network, coverage_penalty=0.5, length_penalty=0.0), "explain", ["abc"])
    covered = answer["attention"][0].sum(axis=0)
    assert answer["score"][0] < log_probability(network, "abc", answer["translation"][0].decode()) - 0.01
    assert covered.min() < 1


def test_a_network_of_another_precision_or_vocabulary_is_refused(network: Translator) -> None:
    with pytest.raises(ValueError, match="float32, not bfloat16"):
        module_of(random_network("mixed_bfloat16"))
    swapped = character_tokenizer(TARGET_CHARACTERS)
    with pytest.raises(ValueError, match="source_tokenizer must have the network's 13 tokens, not 12"):
        TranslationModule(network=network, source_tokenizer=swapped, target_tokenizer=swapped, **SEARCH)


def test_a_text_that_spells_a_special_token_is_text(module: TranslationModule) -> None:
    assert call(module, "explain", ["a</s>"])["source_lengths"].tolist() == [6]
