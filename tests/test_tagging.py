"""From text to tags and entities: an export's signatures, by hand and against the network itself."""

from pathlib import Path

import numpy as np
import pytest
import tagger_cases as cases
import tensorflow as tf

from nlp_rnn.models.tagging import SpanTags, TaggingModule, _entities, _outlines, shown


def module(**changes: object) -> TaggingModule:
    side = cases.text(**changes)
    return TaggingModule(
        network=cases.network(side, head="crf" if side.scheme != "bio" else "softmax"),
        reader=side.reader, tags=side.tags, spans=side.scheme is not None, maximum_length=8,
    )  # fmt: skip


@pytest.fixture(scope="module")
def entities() -> TaggingModule:
    return module()


TEXTS = [
    "Anna Smith lives in New York.",
    "",
    "👋🏽 The  zebra",
    "a b c d e f g h i j",
    "\ud800".encode("utf-8", "surrogatepass"),
]


def rows(answer: dict[str, tf.Tensor], row: int) -> dict[str, list]:
    """One text's outputs, padding left out."""
    count, spans = int(answer["lengths"][row]), int(answer["entity_counts"][row])
    values = {key: value[row].numpy() for key, value in answer.items()}
    return {
        key: value[: spans if key.startswith("entity_") else count].tolist() if value.ndim else value.tolist()
        for key, value in values.items()
    }


def test_tokens_and_offsets_are_those_of_the_text(entities: TaggingModule) -> None:
    answer = entities.tag_text(tf.constant(TEXTS))
    first, empty, emoji, long, broken = (rows(answer, row) for row in range(5))
    assert first["tokens"] == [b"Anna", b"Smith", b"lives", b"in", b"New", b"York", b"."]
    assert list(zip(first["starts"], first["ends"], strict=True))[-2:] == [(24, 28), (28, 29)]
    assert (empty["tokens"], empty["lengths"], empty["truncated"]) == ([], 0, False)
    assert (emoji["tokens"][1], emoji["starts"][:3], emoji["ends"][:3]) == (b"The", [0, 3, 8], [2, 6, 13])
    assert (long["lengths"], long["truncated"], long["tokens"][-1]) == (8, True, b"h")
    assert broken["tokens"] == ["\ufffd".encode()] * 3
    padding = tf.sequence_mask(answer["lengths"], 8)
    assert set(answer["tags"][~padding].numpy()) == {b""}
    assert not answer["scores"][~padding].numpy().any()


def test_tags_are_the_best_path_in_bio_and_scores_its_merged_probabilities(entities: TaggingModule) -> None:
    words, mask = cases.padded(cases.SENTENCES)
    network, side = entities.network, cases.text()
    emissions = network(side.reader(words), mask=mask)
    path = network.head.decode(emissions, mask=mask)[0].numpy()
    probabilities = network.head.marginals(emissions, mask=mask).numpy()
    answer = entities.tag_tokens(words, tf.constant([7, 2, 1]))
    for row, sentence in enumerate(cases.SENTENCES):
        for place in range(len(sentence)):
            tag = side.tags[path[row, place]]
            bio = tag.replace("S-", "B-").replace("E-", "I-")
            alike = [n for n, other in enumerate(side.tags) if other.replace("S-", "B-").replace("E-", "I-") == bio]
            assert answer["tags"][row, place].numpy().decode() == bio
            assert float(answer["scores"][row, place]) == pytest.approx(
                probabilities[row, place, alike].sum(), abs=1e-5
            )


def test_entities_cover_their_tokens_and_bear_the_probability_of_all_their_tags(entities: TaggingModule) -> None:
    texts = [" ".join(sentence) for sentence in cases.SENTENCES]
    answer = entities.tag_text(tf.constant(texts))
    words, mask = cases.padded(cases.SENTENCES)
    network, side = entities.network, cases.text()
    emissions = network(side.reader(words), mask=mask)
    path = network.head.decode(emissions, mask=mask)[0]
    found = 0
    for row, text in enumerate(texts):
        mine, spans = rows(answer, row), []
        for place, tag in enumerate(mine["tags"]):
            if tag.startswith(b"B-"):
                spans.append([tag[2:], place, place])
            elif tag.startswith(b"I-"):
                spans[-1][2] = place
        assert mine["entity_labels"] == [label for label, _, _ in spans]
        assert mine["entity_starts"] == [mine["starts"][first] for _, first, _ in spans]
        assert mine["entity_ends"] == [mine["ends"][last] for _, _, last in spans]
        assert all(end <= len(text) for end in mine["entity_ends"])
        for score, (_, first, last) in zip(mine["entity_scores"], spans, strict=True):
            expected = network.head.span_probabilities(
                emissions[row : row + 1], path[row : row + 1], mask=mask[row : row + 1],
                starts=tf.constant([[first]]), ends=tf.constant([[last + 1]]),
            )  # fmt: skip
            assert score == pytest.approx(float(expected[0, 0]), abs=1e-5)
            found += 1
    assert found > 1


def test_answers_do_not_depend_on_the_batch(entities: TaggingModule) -> None:
    together = entities.tag_text(tf.constant(TEXTS))
    for row, text in enumerate(TEXTS):
        alone = rows(entities.tag_text(tf.constant([text])), 0)
        beside = rows(together, row)
        for key, value in alone.items():
            if key.endswith("scores"):
                np.testing.assert_allclose(beside[key], value, atol=1e-5)
            else:
                assert beside[key] == value


def test_empty_batches_and_sentences(entities: TaggingModule) -> None:
    assert {len(value) for value in entities.tag_text(tf.constant([], tf.string)).values()} == {0}
    none = entities.tag_tokens(tf.constant([], tf.string, [0, 0]), tf.constant([], tf.int32))
    assert {len(value) for value in none.values()} == {0}
    empty = entities.tag_tokens(tf.zeros([2, 0], tf.string), tf.constant([0, 5]))
    assert empty["lengths"].numpy().tolist() == [0, 0]


def test_what_stands_behind_a_sentence_is_not_read(entities: TaggingModule) -> None:
    padded = entities.tag_tokens(tf.constant([["Anna", "lives", "", ""]]), tf.constant([2]))
    garbage = entities.tag_tokens(tf.constant([["Anna", "lives", "in", "York"]]), tf.constant([2]))
    for key, value in padded.items():
        np.testing.assert_array_equal(value, garbage[key])


def test_parts_of_speech_have_no_entities_and_their_own_names() -> None:
    tagger = module(scheme=None)
    answer = tagger.tag_text(tf.constant(["Anna lives"]))
    assert set(answer) == {"tokens", "tags", "scores", "starts", "ends", "lengths", "truncated"}
    assert set(answer["tags"][0].numpy()) <= {b"NOUN", b"VERB", b"X"}


def test_a_softmax_s_disorderly_tags_are_read_as_spans() -> None:
    """B-a I-b I-b O I-a B-a I-a: five entities begin; the last one is two tokens long."""
    spans = SpanTags.of(("O", "B-a", "B-b", "I-a", "I-b"))
    assert spans.names == ("O", "B-a", "I-a", "B-b", "I-b")
    path = tf.constant([[1, 4, 4, 0, 3, 1, 3, 3]])
    mask = tf.constant([[True] * 7 + [False]])
    chosen, starts, ends = _outlines(path, mask, spans)
    names = [spans.names[number] for number in chosen.numpy()[0]]
    assert names == ["B-a", "B-b", "I-b", "O", "B-a", "B-a", "I-a", "O"]
    assert starts.numpy()[0].tolist() == [True, True, False, False, True, True, False, False]
    assert ends.numpy()[0].tolist() == [True, False, True, False, True, False, True, False]


def test_a_tag_out_of_order_bears_the_probability_of_what_was_chosen() -> None:
    """I-a at the start is shown as B-a, which had a probability of 0.2; in IOBES E-a goes by the name of I-a."""
    mask = tf.constant([[True, True, True, False]])
    bio = SpanTags.of(("O", "B-a", "I-a"))
    marginals = tf.constant([[[0.1, 0.2, 0.7], [0.3, 0.1, 0.6], [0.8, 0.1, 0.1], [0.0, 0.0, 0.0]]])
    found = shown(tf.constant([[2, 2, 0, 0]]), marginals, mask, bio)
    assert found.places.numpy().tolist() == [[1, 2, 0, 0]]
    np.testing.assert_allclose(found.scores, [[0.7, 0.6, 0.8, 0.0]], rtol=1e-6)
    iobes = SpanTags.of(("O", "B-a", "E-a", "I-a", "S-a"))
    real = [[0.1, 0.2, 0.4, 0.1, 0.2], [0.1, 0.5, 0.1, 0.1, 0.2], [0.2, 0.1, 0.3, 0.2, 0.2], [0.0] * 5]
    found = shown(tf.constant([[2, 1, 2, 0]]), tf.constant([real]), mask, iobes)
    assert found.places.numpy().tolist() == [[1, 1, 2, 0]]
    np.testing.assert_allclose(found.scores, [[0.5, 0.7, 0.5, 0.0]], rtol=1e-6)


def test_an_export_s_score_is_that_of_the_tag_a_softmax_chose() -> None:
    tagger = module(scheme="bio")
    kernel, bias = tagger.network.emission.get_weights()
    bias[:] = 0
    bias[cases.text(scheme="bio").tags.index("I-LOC")] = 2
    tagger.network.emission.set_weights([np.zeros_like(kernel), bias])
    answer = tagger.tag_tokens(tf.constant([["York", "lives"]]), tf.constant([2]))
    assert answer["tags"].numpy().tolist() == [[b"B-LOC", b"I-LOC"]]
    chosen = np.exp(2) / (np.exp(2) + 4)  # of five tags
    np.testing.assert_allclose(answer["scores"], [[chosen, chosen]], rtol=1e-5)


@pytest.mark.parametrize("shape", [(3, 6), (2, 1), (0, 4), (4, 7)])
def test_entities_are_listed_sentence_by_sentence(shape: tuple[int, int]) -> None:
    """Tags drawn at random, in any order, against a loop over them."""
    spans = SpanTags.of(("O", "B-a", "B-b", "I-a", "I-b"))
    generator = np.random.default_rng(shape[1])
    lengths = generator.integers(shape[1] + 1, size=shape[0])
    mask = tf.sequence_mask(lengths, shape[1])
    path = np.where(mask, generator.integers(5, size=shape), 0).astype(np.int32)
    chosen, starts, ends = _outlines(tf.constant(path), mask, spans)
    found = _entities(tf.constant(path), starts, ends, spans)
    expected: list[list[tuple[bytes, int, int]]] = [[] for _ in range(shape[0])]
    for row, names in enumerate(chosen.numpy()):
        for place, name in enumerate(spans.names[number] for number in names[: lengths[row]]):
            if name.startswith("B-"):
                expected[row].append((name[2:].encode(), place, place + 1))
            elif name.startswith("I-"):
                expected[row][-1] = (*expected[row][-1][:2], place + 1)
    assert found["counts"].numpy().tolist() == list(map(len, expected))
    width = max(map(len, expected), default=0)
    padded = [row + [(b"", 0, 0)] * (width - len(row)) for row in expected]
    for part, name in enumerate(("labels", "starts", "ends")):
        assert found[name].shape == (shape[0], width)
        assert found[name].numpy().tolist() == [[entity[part] for entity in row] for row in padded]


def test_a_label_may_hold_hyphens() -> None:
    assert SpanTags.of(("O", "B-creative-work", "I-creative-work")).labels == ("creative-work",)


def test_a_saved_module_answers_alike(entities: TaggingModule, tmp_path: Path) -> None:
    tf.saved_model.save(entities, str(tmp_path), signatures=entities.signatures)
    loaded = tf.saved_model.load(str(tmp_path)).signatures
    for key, value in loaded["serving_default"](text=tf.constant(TEXTS)).items():
        expected = entities.tag_text(tf.constant(TEXTS))[key]
        assert value.dtype == expected.dtype
        np.testing.assert_array_equal(value, expected)
    assert set(loaded["tokens"].structured_outputs) == {"tags", "scores", "lengths", "truncated"}


def test_other_precisions_and_tags_are_refused() -> None:
    side = cases.text()
    half = cases.network(side, precision="mixed_bfloat16")
    options = {"reader": side.reader, "spans": True, "maximum_length": 8}
    with pytest.raises(ValueError, match="network must compute in float32, not bfloat16"):
        TaggingModule(network=half, tags=side.tags, **options)
    with pytest.raises(ValueError, match="tags must be the network's 9, not 2"):
        TaggingModule(network=cases.network(side), tags=side.tags[:2], **options)
