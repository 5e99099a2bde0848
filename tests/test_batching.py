"""Batches: the right tokens and masks, every row once, few shapes, exact resume."""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
import tensorflow as tf

from nlp_rnn.batching import (
    evaluation_batches,
    measure,
    measure_sentences,
    pair_measure,
    source_batches,
    tagging_batches,
    tagging_evaluation_batches,
    translation_batches,
)
from nlp_rnn.config import BatchConfig, ConfigError, TextConfig
from nlp_rnn.plans import BatchPlan, Shape
from nlp_rnn.text import EOS, PAD, UNK, Normalizer, Tokenizer, WordTokenizer
from nlp_rnn.vocabularies import train_tokenizer

NORMALIZER = Normalizer(unicode_normalization="none", lowercase=False)
# Ids: a 4, b 5, c 6; x 4, y 5.
SOURCE = WordTokenizer(vocabulary=["a", "b", "c"], normalizer=NORMALIZER)
TARGET = WordTokenizer(vocabulary=["x", "y"], normalizer=NORMALIZER)
TOKENIZERS: dict[str, Any] = {"source_tokenizer": SOURCE, "target_tokenizer": TARGET}


def corpus(pairs: Iterable[tuple[str, str]]) -> datasets.Dataset:
    sources, targets = zip(*pairs, strict=True)
    return datasets.Dataset.from_dict({"source": list(sources), "target": list(targets)})


def numbered(count: int, seed: int = 0) -> tuple[datasets.Dataset, dict[str, Any]]:
    """Rows whose first source word names them, of correlated lengths; and their tokenizers."""
    generator = np.random.default_rng(seed)
    words = WordTokenizer(vocabulary=[f"r{i}" for i in range(count)], normalizer=NORMALIZER)
    lengths = generator.integers(0, 30, count)
    rows = [(f"r{i}" + " and" * n, "y " * int(n * 0.8)) for i, n in enumerate(lengths.tolist())]
    return corpus(rows), {"source_tokenizer": words, "target_tokenizer": TARGET}


def planned(dataset: datasets.Dataset, tokenizers: dict[str, Tokenizer], **settings: Any) -> BatchPlan:
    return BatchPlan(lengths=measure(dataset, **tokenizers), batching=BatchConfig(**settings))


WORD_IDS = tf.lookup.StaticHashTable(
    tf.lookup.KeyValueTensorInitializer(tf.constant(["a", "b", "c"]), tf.constant([4, 5, 6])), UNK
)


def read_words(words: tf.Tensor) -> dict[str, tf.Tensor]:
    """Numbers and lengths of the distinct words, in order of appearance, and each token's place among them."""
    distinct, positions = tf.unique(tf.reshape(words, [-1]))
    characters = tf.strings.unicode_decode(distinct, "UTF-8").to_tensor()
    return {
        "words": WORD_IDS.lookup(distinct), "characters": characters,
        "positions": tf.reshape(positions, tf.shape(words)),
    }  # fmt: skip


def tagged(rows: Iterable[tuple[str, list[int]]]) -> datasets.Dataset:
    """Sentences, their words separated by spaces here, and their tags' numbers."""
    texts, tags = zip(*rows, strict=True)
    columns = {"tokens": [text.split(" ") if text else [] for text in texts], "tags": list(tags)}
    features = {
        "tokens": datasets.List(datasets.Value("string")), "tags": datasets.List(datasets.Value("int32")),
    }  # fmt: skip
    return datasets.Dataset.from_dict(columns, features=datasets.Features(features))


def named_sentences(count: int, seed: int = 0) -> datasets.Dataset:
    """Sentences whose words, and whose tags, are all the row's number."""
    lengths = np.random.default_rng(seed).integers(1, 30, count).tolist()
    return tagged((" ".join([f"w{row}"] * length), [row] * length) for row, length in enumerate(lengths))


def sentence_plan(dataset: datasets.Dataset, **settings: Any) -> BatchPlan:
    return BatchPlan(lengths=measure_sentences(dataset), batching=BatchConfig(**settings), end_tokens=0)


def arrays(batches: tf.data.Dataset) -> list[dict[str, np.ndarray]]:
    return list(batches.as_numpy_iterator())


def assert_same(some: list[dict[str, np.ndarray]], others: list[dict[str, np.ndarray]]) -> None:
    assert len(some) == len(others)
    for one, other in zip(some, others, strict=True):
        assert one.keys() == other.keys()
        for key in one:
            np.testing.assert_array_equal(one[key], other[key], strict=True)


def test_tokens_masks_and_padding_by_hand() -> None:
    dataset = corpus([("a b", "x"), ("", "y x y"), ("c q", "")])
    (batch,) = arrays(evaluation_batches(dataset, **TOKENIZERS, batching=BatchConfig(bucket_width=1)))
    # By target length: the third, the first, the second row. Longest: 2 and 3 tokens, and EOS.
    np.testing.assert_array_equal(batch["source"], np.int32([[6, UNK, EOS], [4, 5, EOS], [EOS, PAD, PAD]]), strict=True)
    np.testing.assert_array_equal(
        batch["target"], np.int32([[EOS, PAD, PAD, PAD], [4, EOS, PAD, PAD], [5, 4, 5, EOS]]), strict=True
    )
    np.testing.assert_array_equal(batch["source_mask"], np.bool([[1, 1, 1], [1, 1, 1], [1, 0, 0]]), strict=True)
    np.testing.assert_array_equal(
        batch["target_mask"], np.bool([[1, 0, 0, 0], [1, 1, 0, 0], [1, 1, 1, 1]]), strict=True
    )


def test_a_text_s_odd_characters_reach_the_tokenizer() -> None:
    words = WordTokenizer(vocabulary=["ß", "n\ufffd", "\ufffd"], normalizer=NORMALIZER)
    # Normalisation makes U+FFFD of a NUL; NumPy would have dropped it from the end of a string.
    dataset = corpus([("ß n\0", ""), ("\0", "")])
    (batch,) = arrays(source_batches(dataset, tokenizer=words, batching=BatchConfig(), maximum_length=9))
    np.testing.assert_array_equal(batch["source"], [[6, EOS, PAD], [4, 5, EOS]])


def test_measured_lengths_are_counted_without_end_tokens() -> None:
    rows = [("a " * (i % 7), "x " * (i % 5)) for i in range(2500)]  # several chunks
    lengths = measure(corpus(rows), **TOKENIZERS)
    np.testing.assert_array_equal(lengths.source, np.arange(2500, dtype=np.int32) % 7, strict=True)
    np.testing.assert_array_equal(lengths.target, np.arange(2500, dtype=np.int32) % 5, strict=True)


def test_small_data_sets_are_measured_alike_one_after_the_other() -> None:
    measured = pair_measure(**TOKENIZERS)
    for rows in ([("a " * (i % 7), "x " * (i % 5)) for i in range(2500)], [("ß n\0 c", "")], []):
        dataset = datasets.Dataset.from_dict({"source": [row[0] for row in rows], "target": [row[1] for row in rows]})
        lengths = measured(dataset)
        np.testing.assert_array_equal(lengths.source, [len(source.split()) for source, _ in rows])
        np.testing.assert_array_equal(lengths.target, [len(target.split()) for _, target in rows])
        assert lengths.source.dtype == lengths.target.dtype == np.int32


def test_every_row_comes_once_an_epoch_with_its_own_target() -> None:
    dataset, tokenizers = numbered(500)
    plan = planned(dataset, tokenizers, batch_size=16)
    batches = arrays(translation_batches(dataset, plan=plan, **tokenizers, seed=3, epoch=0))
    assert len(batches) == len(plan)
    assert len(plan.shapes) > 1
    seen = []
    for batch in batches:
        for source, source_mask, target_mask in zip(
            batch["source"], batch["source_mask"], batch["target_mask"], strict=True
        ):
            if source_mask.any():
                row = int(source[0]) - 4
                seen.append(row)
                assert source_mask.sum() == len(dataset[row]["source"].split()) + 1
                assert target_mask.sum() == len(dataset[row]["target"].split()) + 1
            else:
                assert not source.any() and not target_mask.any()
    assert sorted(seen) == list(range(500))


def test_batches_have_the_planned_shapes_and_one_empty_example_at_most() -> None:
    dataset, tokenizers = numbered(333)
    plan = planned(dataset, tokenizers, batch_size=16)
    counts: Counter[Shape] = Counter()
    for batch in arrays(translation_batches(dataset, plan=plan, **tokenizers, seed=3, epoch=0)):
        counts[Shape(*batch["source"].shape, batch["target"].shape[1])] += 1
        assert batch["source"].shape == batch["source_mask"].shape
        assert batch["target"].shape == batch["target_mask"].shape
        filled = batch["source_mask"].any(axis=1)
        assert filled[:-1].all()
        np.testing.assert_array_equal(batch["target_mask"].any(axis=1), filled)
    assert set(counts) == set(plan.shapes)
    assert sum(counts.values()) == len(plan)
    assert all(shape.examples <= 16 for shape in counts)


def test_padding_is_the_share_of_masked_positions() -> None:
    dataset, tokenizers = numbered(333)
    plan = planned(dataset, tokenizers, batch_size=16)
    batches = arrays(translation_batches(dataset, plan=plan, **tokenizers, seed=3, epoch=0))
    for side, share in zip(("source_mask", "target_mask"), plan.padding, strict=True):
        masks = np.concatenate([batch[side].ravel() for batch in batches])
        assert share == pytest.approx(1 - masks.mean())


def test_seed_and_epoch_tell_the_batches_and_others_differ() -> None:
    dataset, tokenizers = numbered(200)
    plan = planned(dataset, tokenizers, batch_size=8)

    def batches(seed: int, epoch: int) -> list[dict[str, np.ndarray]]:
        return arrays(translation_batches(dataset, plan=plan, **tokenizers, seed=seed, epoch=epoch))

    assert_same(batches(1, 2), batches(1, 2))
    members = {
        at: [frozenset(batch.rows.tolist()) for batch in plan.shuffled(seed=at[0], epoch=at[1])]
        for at in ((1, 2), (2, 1), (1, 3))
    }
    for at in ((2, 1), (1, 3)):
        assert len(set(members[at]) & set(members[1, 2])) < 3, "rows must meet others in each epoch"


def test_a_resumed_epoch_is_the_rest_of_the_whole_one() -> None:
    dataset, tokenizers = numbered(200)
    plan = planned(dataset, tokenizers, batch_size=8)
    whole = arrays(translation_batches(dataset, plan=plan, **tokenizers, seed=1, epoch=4))
    # A resumed run measures and plans anew.
    plan = planned(dataset, tokenizers, batch_size=8)
    for start in (0, 7, len(plan)):
        rest = translation_batches(dataset, plan=plan, **tokenizers, seed=1, epoch=4, start=start)
        assert len(rest) == len(plan) - start
        assert_same(arrays(rest), whole[start:])
    for start in (-1, len(plan) + 1):
        with pytest.raises(ValueError, match=f"start must lie between 0 and the {len(plan)} batches"):
            translation_batches(dataset, plan=plan, **tokenizers, seed=1, epoch=4, start=start)


def test_overlong_pairs_are_left_out_and_counted_on_either_side() -> None:
    dataset = corpus([("a a a", "x"), ("a a", "x x"), ("a", "x x x x"), ("b b b b", "x x x x"), ("b", "")])
    plan = planned(dataset, TOKENIZERS, longest_example=2, bucket_width=1)
    assert (plan.overlong, plan.examples) == (3, 2)
    (batch,) = arrays(translation_batches(dataset, plan=plan, **TOKENIZERS, seed=1, epoch=0))
    assert sorted(batch["source"].tolist()) == [[4, 4, EOS], [5, EOS, PAD]]


def test_evaluation_keeps_overlong_pairs_and_can_be_repeated() -> None:
    dataset = corpus([("a a a a", "x"), ("b", "x x x")])
    for budget in (None, 4):
        batching = BatchConfig(longest_example=2, batch_tokens=budget)
        batches = evaluation_batches(dataset, **TOKENIZERS, batching=batching)
        first, second = arrays(batches), arrays(batches)
        assert_same(first, second)
        assert sum(int(batch["target_mask"].sum()) for batch in first) == 2 + 4
        assert sum(int(batch["source_mask"].sum()) for batch in first) == 5 + 2


def test_source_batches_cover_all_rows_by_length_and_cut_long_ones() -> None:
    dataset, tokenizers = numbered(200)
    tokenizer = tokenizers["source_tokenizer"]
    batches = arrays(
        source_batches(
            dataset.remove_columns("target"),
            tokenizer=tokenizer,
            batching=BatchConfig(batch_size=16, longest_example=5),
            maximum_length=12,
        )
    )
    rows = np.concatenate([batch["rows"] for batch in batches])
    assert sorted(rows.tolist()) == list(range(200))
    lengths = np.concatenate([batch["source_mask"].sum(axis=1)[: len(batch["rows"])] for batch in batches])
    assert lengths.max() == 13
    assert (np.diff(lengths) >= 0).all()
    for batch in batches:
        source, mask = batch["source"][: len(batch["rows"])], batch["source_mask"][: len(batch["rows"])]
        np.testing.assert_array_equal(source[:, 0], batch["rows"] + 4)
        np.testing.assert_array_equal(source[np.arange(len(source)), mask.sum(axis=1) - 1], EOS)
        assert not batch["source_mask"][len(batch["rows"]) :].any()


def test_no_examples_is_an_error_that_says_so() -> None:
    empty = datasets.Dataset.from_dict({"source": [], "target": []})
    with pytest.raises(ValueError, match="the data set is empty"):
        planned(empty, TOKENIZERS)
    with pytest.raises(ValueError, match="the data set is empty"):
        evaluation_batches(empty, **TOKENIZERS, batching=BatchConfig())
    with pytest.raises(ValueError, match="the data set is empty"):
        source_batches(empty, tokenizer=SOURCE, batching=BatchConfig(), maximum_length=9)
    overlong = corpus([("a a a", "x"), ("a a a a", "x")])
    with pytest.raises(ConfigError, match="All 2 examples have more than 2 tokens; the shortest has 3: raise"):
        planned(overlong, TOKENIZERS, longest_example=2)


def test_a_plan_of_other_data_is_refused() -> None:
    dataset = corpus([("a", "x"), ("b", "y")])
    plan = planned(dataset, TOKENIZERS, bucket_width=1)
    with pytest.raises(ValueError, match="The plan is for 2 rows, not for 1"):
        translation_batches(dataset.select([0]), plan=plan, **TOKENIZERS, seed=1, epoch=0)
    longer = corpus([("a b c", "x"), ("b", "y")])
    with pytest.raises(tf.errors.InvalidArgumentError, match="A text has more tokens than its plan says"):
        arrays(translation_batches(longer, plan=plan, **TOKENIZERS, seed=1, epoch=0))


def test_rows_chosen_from_a_data_set_and_other_columns_do_not_matter() -> None:
    dataset, tokenizers = numbered(50)
    chosen = dataset.add_column("number", list(range(50))).select(range(49, -1, -2)).with_format("numpy")
    batches = arrays(evaluation_batches(chosen, **tokenizers, batching=BatchConfig(batch_size=64)))
    rows = np.concatenate([batch["source"][:, 0] - 4 for batch in batches])
    assert sorted(rows.tolist()) == list(range(1, 50, 2))


def test_sentences_are_measured_by_their_words_without_end_tokens() -> None:
    lengths = measure_sentences(tagged([("a b", [0, 0]), ("", []), ("c", [0])] * 1000))
    np.testing.assert_array_equal(lengths.source, np.int32([2, 0, 1] * 1000), strict=True)
    np.testing.assert_array_equal(lengths.target, np.zeros(3000, np.int32), strict=True)


def test_words_tags_and_masks_by_hand() -> None:
    dataset = tagged([("b ß b", [3, 4, 5]), ("a", [7])])
    (batch,) = arrays(tagging_evaluation_batches(dataset, read_words=read_words, batching=BatchConfig(bucket_width=1)))
    assert batch.keys() == {"words", "characters", "positions", "tags", "mask", "rows"}
    # The shortest first. Distinct: a, padding, b, ß; and empty ones up to 128; characters up to 8.
    np.testing.assert_array_equal(batch["rows"], np.int64([1, 0]), strict=True)
    np.testing.assert_array_equal(batch["words"], np.int32([4, UNK, 5, UNK] + [0] * 124), strict=True)
    characters = [[ord("a")], [0], [ord("b")], [ord("ß")]] + [[0]] * 124
    np.testing.assert_array_equal(batch["characters"], np.pad(np.int32(characters), [[0, 0], [0, 7]]), strict=True)
    np.testing.assert_array_equal(batch["positions"], np.int32([[0, 1, 1], [2, 3, 2]]), strict=True)
    np.testing.assert_array_equal(batch["tags"], np.int32([[7, 0, 0], [3, 4, 5]]), strict=True)
    np.testing.assert_array_equal(batch["mask"], np.bool([[1, 0, 0], [1, 1, 1]]), strict=True)


@pytest.mark.parametrize(("distinct", "rows"), [(127, 128), (128, 128), (129, 256)])
def test_distinct_words_are_padded_to_few_numbers(distinct: int, rows: int) -> None:
    dataset = tagged([(" ".join(f"w{i}" for i in range(distinct)), [0] * distinct)])
    (batch,) = arrays(tagging_evaluation_batches(dataset, read_words=read_words, batching=BatchConfig(bucket_width=1)))
    assert batch["words"].shape == (rows,)
    assert batch["characters"].shape == (rows, 8)
    np.testing.assert_array_equal(batch["words"], [UNK] * distinct + [PAD] * (rows - distinct))
    assert not batch["characters"][distinct:].any()
    np.testing.assert_array_equal(batch["positions"], [range(distinct)])


def test_every_sentence_comes_once_an_epoch_with_its_own_tags() -> None:
    dataset = named_sentences(333)
    plan = sentence_plan(dataset, batch_size=16)
    batches = arrays(tagging_batches(dataset, plan=plan, read_words=read_words, seed=3, epoch=0))
    assert len(batches) == len(plan)
    assert len(plan.shapes) > 1
    assert {Shape(*batch["mask"].shape, 0) for batch in batches} == set(plan.shapes)
    assert sorted(np.concatenate([batch["rows"] for batch in batches]).tolist()) == list(range(333))
    for batch in batches:
        assert batch["tags"].shape == batch["positions"].shape == batch["mask"].shape
        lengths = [len(dataset[row]["tokens"]) for row in batch["rows"].tolist()]
        empty = [0] * (len(batch["mask"]) - len(lengths))
        assert len(empty) <= 1
        np.testing.assert_array_equal(batch["mask"].sum(axis=1), lengths + empty)
        # Right padded: the real tokens stand first.
        np.testing.assert_array_equal(np.sort(batch["mask"], axis=1)[:, ::-1], batch["mask"])
        rows = np.append(batch["rows"], empty).astype(np.int32)
        np.testing.assert_array_equal(batch["tags"], np.where(batch["mask"], rows[:, np.newaxis], 0))
        spelt = batch["characters"][batch["positions"]]
        for row, mask, characters in zip(rows, batch["mask"], spelt, strict=True):
            words = {"".join(map(chr, word[word > 0])) for word in characters[mask]}
            assert words <= {f"w{row}"}
            assert not characters[~mask].any()


def test_a_seed_and_an_epoch_tell_the_sentences_of_each_batch() -> None:
    dataset = named_sentences(200)
    plan = sentence_plan(dataset, batch_size=8)

    def batches(seed: int, epoch: int, start: int = 0) -> list[dict[str, np.ndarray]]:
        return arrays(tagging_batches(dataset, plan=plan, read_words=read_words, seed=seed, epoch=epoch, start=start))

    def members(seed: int, epoch: int) -> set[frozenset[int]]:
        return {frozenset(batch["rows"].tolist()) for batch in batches(seed, epoch)}

    whole = batches(1, 2)
    assert_same(batches(1, 2), whole)
    for other in ((2, 1), (1, 3)):
        assert len(members(*other) & members(1, 2)) < 3, "rows must meet others in each epoch"
    for start in (7, len(plan)):
        assert_same(batches(1, 2, start), whole[start:])
    with pytest.raises(ValueError, match=f"start must lie between 0 and the {len(plan)} batches"):
        batches(1, 2, len(plan) + 1)
    with pytest.raises(ValueError, match="The plan is for 200 rows, not for 3"):
        tagging_batches(dataset.select(range(3)), plan=plan, read_words=read_words, seed=1, epoch=0)


def test_evaluation_keeps_overlong_sentences_and_wordless_ones_by_length() -> None:
    dataset = tagged([("a a a a a", [1] * 5), ("b", [2]), ("", []), ("c c", [3, 3])])
    for budget in (None, 4):
        batching = BatchConfig(batch_size=2, longest_example=2, batch_tokens=budget, bucket_width=1)
        batches = tagging_evaluation_batches(dataset, read_words=read_words, batching=batching)
        first = arrays(batches)
        assert_same(first, arrays(batches))
        rows = np.concatenate([batch["rows"] for batch in first]).tolist()
        assert sorted(rows) == [0, 1, 2, 3]
        lengths = [int(length) for batch in first for length in batch["mask"].sum(axis=1)[: len(batch["rows"])]]
        assert lengths == [0, 1, 2, 5]
        assert min(batch["mask"].shape[1] for batch in first) >= 1  # recurrent layers need a step
    with pytest.raises(ValueError, match="the data set is empty"):
        tagging_evaluation_batches(dataset.select([]), read_words=read_words, batching=BatchConfig())


def test_other_columns_and_chosen_sentences_do_not_matter() -> None:
    chosen = named_sentences(50).add_column("note", ["x"] * 50).select(range(49, -1, -2)).with_format("numpy")
    batches = arrays(tagging_evaluation_batches(chosen, read_words=read_words, batching=BatchConfig(batch_size=64)))
    tags = {int(tag) for batch in batches for tag in batch["tags"][batch["mask"]]}
    assert tags == set(range(1, 50, 2))


def test_multi30k_makes_few_shapes_with_little_padding(shared_data: Path) -> None:
    folder = shared_data / "multi30k"
    sides = [(folder / f"train.{language}").read_text(encoding="utf-8").splitlines() for language in ("en", "de")]
    dataset = corpus(zip(*sides, strict=True))
    tokenizer = train_tokenizer([*sides[0], *sides[1]], TextConfig())
    plan = planned(dataset, {"source_tokenizer": tokenizer, "target_tokenizer": tokenizer}, bucket_width=2)
    assert len(plan.shapes) <= 12
    assert max(plan.padding) < 0.12
    assert len(plan) < 1.02 * 29_000 / 64
