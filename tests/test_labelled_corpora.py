"""Labelled texts of every source: pairs of texts, several labels, missing ones; see test_corpora.py."""

import datasets

from nlp_rnn import corpora
from nlp_rnn.config import DataConfig


def written(folder, name, content):
    path = folder / name
    path.write_text(content, encoding="utf-8", newline="")
    return str(path)


def rows(dataset):
    return dataset.to_list()


def test_pairs_of_texts_come_from_tables_of_every_kind(tmp_path):
    expected = [{"text": "a man", "text_pair": "a person", "label": "yes"}]
    lines = written(tmp_path, "a.jsonl", '{"text": "a man", "hypothesis": "a person", "label": "yes", "id": 1}\n')
    headed = written(tmp_path, "a.tsv", "label\thypothesis\ttext\nyes\ta person\ta man\n")
    for path in (lines, headed):
        loaded, notes = corpora.load_split(DataConfig(test=(path,), text_pair_column="hypothesis"), "classification")
        assert (rows(loaded), notes) == (expected, ())
    bare = written(tmp_path, "b.tsv", "yes\ta man\ta person\n")
    places = {"label_column": "1", "text_column": "2", "text_pair_column": "3"}
    assert rows(corpora.load_split(DataConfig(test=(bare,), **places), "classification")[0]) == expected


def test_pairs_with_the_same_first_text_stay_together(tmp_path):
    content = "".join(f'{{"text": "{i % 100}", "second": "{i}", "label": 0}}\n' for i in range(400))
    data = DataConfig(train=(written(tmp_path, "a.jsonl", content),), text_pair_column="second", validation_share=0.2)
    corpus = corpora.load(data, "classification")
    train, validation = set(corpus.train["text"]), set(corpus.validation["text"])
    assert len(train) + len(validation) == 100
    assert len(corpus.validation) == 4 * len(validation)


def test_several_labels_are_lists_of_names(tmp_path):
    lines = written(tmp_path, "a.jsonl", '{"text": "a", "label": ["x", "y"]}\n{"text": "b", "label": []}\n')
    table = written(tmp_path, "a.csv", 'text,label\na,"x, y"\nb,\n')
    for path in (lines, table):
        loaded, notes = corpora.load_split(DataConfig(test=(path,), multi_label=True), "classification")
        assert rows(loaded) == [{"text": "a", "label": ["x", "y"]}, {"text": "b", "label": []}]
        assert notes == ()
    classes = datasets.List(datasets.ClassLabel(names=["joy", "fear"]))
    features = datasets.Features({"text": datasets.Value("string"), "label": classes})
    examples = [{"text": "a", "label": [1, 0]}, {"text": "b", "label": []}]
    datasets.DatasetDict({"test": datasets.Dataset.from_list(examples, features=features)}).save_to_disk(tmp_path / "s")
    data = DataConfig(dataset=str(tmp_path / "s"), multi_label=True)
    loaded, _ = corpora.load_split(data, "classification")
    assert rows(loaded) == [{"text": "a", "label": ["fear", "joy"]}, {"text": "b", "label": []}]


def test_a_test_set_without_labels_is_no_hindrance(tmp_path):
    """As tables with missing values have it: all labels are numbers with a point, and the missing ones NaN."""
    for split, label in (("train", 1.0), ("validation", 0.0), ("test", float("nan"))):
        datasets.Dataset.from_list([{"text": split, "label": label}]).to_parquet(tmp_path / f"{split}.parquet")
    stored = datasets.DatasetDict.from_parquet(
        {s: str(tmp_path / f"{s}.parquet") for s in ("train", "validation", "test")}
    )
    stored.save_to_disk(tmp_path / "set")
    corpus = corpora.load(DataConfig(dataset=str(tmp_path / "set")), "classification")
    assert rows(corpus.train) == [{"text": "train", "label": "1"}]
    assert corpus.notes == ()
