"""Normalisation and tokenizers: exact round trips, edge inputs, files, and the exported graph alone."""

import gc
import json
import time
import unicodedata
from pathlib import Path

import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from text_cases import CORPUS, EDGES, NOUNS, VERBS, run_python, strings, trained

from nlp_rnn import text
from nlp_rnn.config import ConfigError, TextConfig
from nlp_rnn.text import BOS, EOS, PAD, UNK, Normalizer, Tokenizer
from nlp_rnn.vocabularies import train_tokenizer


@pytest.fixture(scope="module", params=["unigram", "bpe"])
def subwords(request: pytest.FixtureRequest) -> Tokenizer:
    return trained("sentencepiece", subword_model=request.param)


@pytest.fixture(scope="module", params=["unigram", "bpe", "characters", "words"])
def tokenizer(request: pytest.FixtureRequest) -> Tokenizer:
    if request.param in ("characters", "words"):
        return trained(request.param)
    return trained("sentencepiece", subword_model=request.param)


def normalized(form: str, lowercase: bool, *texts: str | bytes) -> list[str]:
    return strings(Normalizer(unicode_normalization=form, lowercase=lowercase)(tf.constant(texts)))


def test_special_ids_are_those_of_the_whole_project() -> None:
    assert (PAD, UNK, BOS, EOS) == (0, 1, 2, 3)


def test_a_tokenizer_that_lacks_a_direction_cannot_be_made() -> None:
    class OneWay(Tokenizer):
        def tokenize(self, text: tf.Tensor) -> tf.RaggedTensor:
            return tf.strings.split(text)

    with pytest.raises(TypeError, match="abstract methods '?detokenize'?, '?pieces'?"):
        OneWay(normalizer=Normalizer(unicode_normalization="nfc", lowercase=False))  # type: ignore[abstract]


@given(st.lists(st.one_of(st.binary(max_size=8), st.text(max_size=8).map(str.encode)), min_size=1, max_size=20))
@settings(max_examples=60, deadline=None)
def test_invalid_utf8_is_replaced_as_python_replaces_it(raw: list[bytes]) -> None:
    expected = [item.decode("utf-8", "replace").replace("\0", "\ufffd") for item in raw]
    assert normalized("none", False, *raw) == expected


def test_a_null_does_not_end_the_text() -> None:
    assert normalized("none", True, "A\0B") == ["a\ufffdb"]


@pytest.mark.parametrize("form", ["nfc", "nfkc"])
def test_normal_forms_are_the_standard_s(form: str) -> None:
    texts = ["e\u0301", "ﬁ", "①", "Å", "ＡＢ", "각", "x\u0327\u0301", "½"]
    assert normalized(form, False, *texts) == [unicodedata.normalize(form.upper(), item) for item in texts]
    assert normalized("none", False, *texts) == texts


def test_an_unknown_normal_form_is_refused() -> None:
    with pytest.raises(ConfigError, match="must be none, nfc or nfkc, not 'nfd'"):
        Normalizer(unicode_normalization="nfd", lowercase=False)  # type: ignore[arg-type]


def test_lower_casing_is_unicode_s() -> None:
    texts = ["ÄÖÜ GRÖẞE Straße", "ΟΔΥΣΣΕΥΣ ΣΑΣ", "İIıi", "ЖУК", "Ǆ", "𐐀", "IJ\u0301 Ì Į"]
    assert normalized("none", True, *texts) == [item.lower() for item in texts]


def test_lower_casing_leaves_the_normal_form_intact() -> None:
    assert normalized("nfc", True, "J\u030c") == ["\u01f0"]  # J with caron has no code point, j with caron has


@given(st.text(max_size=12))
@settings(max_examples=60, deadline=None)
def test_normalising_twice_changes_nothing(value: str) -> None:
    for form in ("none", "nfc", "nfkc"):
        once = normalized(form, True, value)
        assert normalized(form, True, *once) == once


def test_subwords_come_back_exactly(subwords: Tokenizer) -> None:
    texts = tf.constant(CORPUS[:50] + EDGES)
    assert strings(subwords.detokenize(subwords.tokenize(texts))) == strings(subwords.normalize(texts))


_TRAPS = "▁\ue000\ue001\ue002\u2585 \t\nae\u0301\u00a0\u0000"


@given(st.lists(st.text(st.one_of(st.characters(codec="utf-8"), st.sampled_from(_TRAPS)), max_size=12), min_size=1))
@settings(max_examples=60, deadline=None)
def test_any_text_comes_back_exactly(subwords: Tokenizer, texts: list[str]) -> None:
    assert strings(subwords.detokenize(subwords.tokenize(texts))) == strings(subwords.normalize(texts))


def test_a_word_has_the_same_pieces_at_the_start_and_within(subwords: Tokenizer) -> None:
    alone, pair = subwords.tokenize(["house", "house house"]).to_list()
    assert pair == alone + alone


def test_subword_pieces_are_readable(subwords: Tokenizer) -> None:
    (pieces,) = subwords.pieces(subwords.tokenize(["the cat é"]).to_tensor()).numpy().tolist()
    assert b"".join(pieces).decode() == "▁the▁cat▁<0xC3><0xA9>"


def test_characters_come_back_exactly() -> None:
    letters = train_tokenizer(EDGES, TextConfig(tokenizer="characters", unicode_normalization="none"))
    assert strings(letters.detokenize(letters.tokenize(EDGES))) == EDGES
    # 👩 ZERO WIDTH JOINER 👧 are three code points.
    assert letters.tokenize(["👩\u200d👧"]).row_lengths().numpy() == [3]


@given(
    st.text(st.one_of(st.characters(codec="utf-8"), st.sampled_from("ab \t\n\x0b\x1c\x85\xa0\u2003\u3000")), max_size=9)
)
@settings(max_examples=60, deadline=None)
def test_words_are_split_as_python_splits(value: str) -> None:
    (words,) = text.WordTokenizer.split(tf.constant([value])).to_list()
    assert [word.decode() for word in words] == value.split()


def test_tokens_are_int32_and_readable_in_any_shape(tokenizer: Tokenizer) -> None:
    tokens = tokenizer.tokenize(CORPUS[:2])
    assert tokens.dtype == tf.int32
    assert int(tf.reduce_max(tokens)) < tokenizer.vocabulary_size <= 400
    special = tf.constant([[[PAD, UNK], [BOS, EOS]], [[-1, 400], [9999, UNK]]])
    assert tokenizer.pieces(special).numpy().tolist() == [
        [[b"<pad>", b"<unk>"], [b"<s>", b"</s>"]],
        [[b"<unk>", b"<unk>"], [b"<unk>", b"<unk>"]],
    ]
    assert tokenizer.pieces(tf.constant(BOS)).numpy() == b"<s>"


def test_special_and_impossible_ids_are_left_out_of_text(tokenizer: Tokenizer) -> None:
    tokens = tokenizer.tokenize(["The cat"]).to_list()[0]
    rows = tf.ragged.constant([[BOS, *tokens, UNK, EOS, PAD, -7, 99999], [PAD], []], dtype=tf.int32)
    assert strings(tokenizer.detokenize(rows)) == ["The cat", "", ""]
    narrow = rows.with_row_splits_dtype(tf.int32)
    assert strings(tokenizer.detokenize(narrow)) == ["The cat", "", ""]


def test_a_tokenizer_outlives_tensorflow_s_caches(tokenizer: Tokenizer) -> None:
    """Setting the seed drops cached operations, and with them what they own."""
    before = tokenizer.tokenize(CORPUS[:3]).to_list()
    compiled = tf.function(tokenizer.tokenize)
    compiled(CORPUS[:3])
    tf.random.set_seed(3)
    gc.collect()
    assert tokenizer.tokenize(CORPUS[:3]).to_list() == before
    assert compiled(CORPUS[:3]).to_list() == before


def test_two_models_in_one_process_keep_apart() -> None:
    config = TextConfig(subword_model="bpe", vocabulary_size=400)
    first, second = (train_tokenizer([words] * 9, config) for words in ("abcde abcde", "vwxyz vwxyz"))
    assert first.tokenize(["abcde"]).row_lengths().numpy() == [1]
    assert second.tokenize(["vwxyz"]).row_lengths().numpy() == [1]
    assert second.tokenize(["abcde"]).row_lengths().numpy() > [1]


def test_edge_inputs_under_a_graph_with_unknown_batch(tokenizer: Tokenizer) -> None:
    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
    def both_ways(value: tf.Tensor) -> tuple[tf.RaggedTensor, tf.Tensor]:
        tokens = tokenizer.tokenize(value)
        return tokens, tokenizer.detokenize(tokens)

    tokens, back = both_ways(tf.constant([], tf.string))
    assert tokens.to_list() == [] and back.shape == (0,)
    tokens, back = both_ways(tf.constant(["", "The cat", ""]))
    assert tokens.row_lengths().numpy()[[0, 2]].tolist() == [0, 0]
    assert strings(back) == ["", "The cat", ""]
    _, back = both_ways(tf.constant([b"The\xff cat \xf0\x9f"]))
    expected = {"sentencepiece": "The\ufffd cat \ufffd", "characters": "The cat ", "words": "cat"}
    assert strings(back) == [expected[tokenizer.kind]]


def test_what_the_model_spells_wrongly_is_still_utf8(subwords: Tokenizer) -> None:
    first = len(text.SPECIAL_PIECES)  # the byte pieces come next, in order
    assert subwords.pieces([first + 0xC3]).numpy().tolist() == [b"<0xC3>"]
    rows = tf.ragged.constant([[first + 0xC3, first + 0x28]], dtype=tf.int32)
    assert strings(subwords.detokenize(rows)) == ["\ufffd("]


def test_a_long_text_takes_seconds_at_most(tokenizer: Tokenizer) -> None:
    words = (NOUNS + VERBS + ["the"]) * (100_000 // 17 + 1)
    value = " ".join(words[:100_000])
    start = time.perf_counter()
    (back,) = strings(tokenizer.detokenize(tokenizer.tokenize([value])))
    assert time.perf_counter() - start < 20
    if not isinstance(tokenizer, text.WordTokenizer):
        assert back == value


class Exported(tf.Module):
    """What an export looks like: one tokenizer, two signatures."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        super().__init__()
        self.tokenizer = tokenizer

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="text")])
    def explain(self, text: tf.Tensor) -> dict[str, tf.Tensor]:
        tokens = self.tokenizer.tokenize(text)
        return {"ids": tokens.to_tensor(), "pieces": self.tokenizer.pieces(tokens.to_tensor())}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="text")])
    def both_ways(self, text: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"text": self.tokenizer.detokenize(self.tokenizer.tokenize(text))}


SERVE = """
import json, os, sys
import tensorflow as tf, tensorflow_text
if "tr_TR" in os.environ.get("LC_ALL", ""):
    assert tf.strings.lower("I", encoding="utf-8").numpy().decode() == "\\u0131", "the locale has no effect here"
results = []
for folder in sys.argv[2:]:
    model = tf.saved_model.load(folder)
    tf.random.set_seed(1)
    value = tf.constant(json.loads(sys.argv[1]), tf.string)
    explained = model.signatures["explain"](value)
    results.append({
        "text": [item.decode() for item in model.signatures["serving_default"](value)["text"].numpy()],
        "ids": explained["ids"].numpy().tolist(),
        "pieces": [[item.decode() for item in row] for row in explained["pieces"].numpy()],
    })
assert not {"nlp_rnn", "sentencepiece", "keras", "datasets"} & set(sys.modules) - {"keras"}
print(json.dumps(results))
"""


def test_an_export_serves_with_tensorflow_and_its_text_operations_alone(tmp_path: Path) -> None:
    tokenizers = [trained(kind, lowercase=True) for kind in ("sentencepiece", "characters", "words")]
    value = ["The CAT finds İ I  Ì", "", "日本 the house"]
    for tokenizer in tokenizers:
        module = Exported(tokenizer)
        signatures = {"serving_default": module.both_ways, "explain": module.explain}
        tf.saved_model.save(module, str(tmp_path / tokenizer.kind), signatures=signatures)
    done = run_python(
        SERVE, json.dumps(value), *(tmp_path / tokenizer.kind for tokenizer in tokenizers), LC_ALL="tr_TR.UTF-8"
    )
    for tokenizer, served in zip(tokenizers, json.loads(done.stdout), strict=True):
        tokens = tokenizer.tokenize(value)
        assert served["ids"] == tokens.to_tensor().numpy().tolist()
        assert served["text"] == strings(tokenizer.detokenize(tokens))
        assert served["pieces"] == [strings(row) for row in tokenizer.pieces(tokens.to_tensor())]
    # Once, however many signatures.
    stored = (tmp_path / "sentencepiece" / "saved_model.pb").read_bytes()
    assert stored.count(tokenizers[0].model) == 1


def test_saved_and_loaded_the_same(tokenizer: Tokenizer, tmp_path: Path) -> None:
    tokenizer.save(tmp_path / "new" / "folder")
    again = text.load(tmp_path / "new" / "folder")
    assert type(again) is type(tokenizer)
    assert (again.normalizer, again.vocabulary_size) == (tokenizer.normalizer, tokenizer.vocabulary_size)
    assert again.tokenize(CORPUS + EDGES).to_list() == tokenizer.tokenize(CORPUS + EDGES).to_list()
    names = {path.name for path in (tmp_path / "new" / "folder").iterdir()}
    assert names == {"tokenizer.json"} | ({"tokenizer.model"} if tokenizer.kind == "sentencepiece" else set())


def test_files_can_be_read_by_people_and_keep_every_unit(tmp_path: Path) -> None:
    units = ["\n", "\u2028", '"', "\\", "ß", "\ufeff", "\x7f", "日"]
    normalizer = Normalizer(unicode_normalization="none", lowercase=False)
    text.CharacterTokenizer(vocabulary=units, normalizer=normalizer).save(tmp_path)
    assert '"ß"' in (tmp_path / "tokenizer.json").read_text(encoding="utf-8")
    assert text.load(tmp_path).tokenize(["".join(units)]).to_list() == [list(range(4, 12))]


def change(folder: Path, **values: object) -> None:
    path = folder / "tokenizer.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def test_files_that_are_missing_or_broken_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"Cannot read .*tokenizer\.json .*No such file"):
        text.load(tmp_path / "nowhere")
    trained("sentencepiece").save(tmp_path)
    model = (tmp_path / "tokenizer.model").read_bytes()
    for broken in (model[:1000], b"", b"broken"):
        (tmp_path / "tokenizer.model").write_bytes(broken)
        with pytest.raises(ConfigError, match=r"tokenizer\.model: .*not a SentencePiece model|do not belong together"):
            text.load(tmp_path)
    (tmp_path / "tokenizer.model").unlink()
    with pytest.raises(ConfigError, match=r"Cannot read .*tokenizer\.model"):
        text.load(tmp_path)
    (tmp_path / "tokenizer.model").write_bytes(model)
    change(tmp_path, vocabulary_size=399)
    with pytest.raises(ConfigError, match="expects a vocabulary of 399, but its tokenizer has"):
        text.load(tmp_path)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"format": 2}, "has format 2; this version reads format 1"),
        ({"tokenizer": "morphemes"}, "not 'morphemes'"),
        ({"unicode_normalization": "nfd"}, "not 'nfd'"),
        ({"vocabulary": ["a", "a"]}, "none twice"),
        ({"vocabulary": []}, "at least one unit"),
        ({"vocabulary": [1, 2]}, r"tokenizer\.json is broken"),
        ({"vocabulary": None}, r"tokenizer\.json is broken"),
    ],
)
def test_settings_that_make_no_sense_are_refused(values: dict, message: str, tmp_path: Path) -> None:
    trained("words").save(tmp_path)
    change(tmp_path, **values)
    with pytest.raises(ConfigError, match=message):
        text.load(tmp_path)


@pytest.mark.parametrize("content", [b"{", b"\xff\xfe", b"[]", b"{}", b"7"])
def test_a_file_that_is_no_settings_file_is_broken(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_bytes(content)
    with pytest.raises(ConfigError, match=r"tokenizer\.json is broken"):
        text.load(tmp_path)
