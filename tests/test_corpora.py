import json
import os
import subprocess
import sys
import tracemalloc
from pathlib import Path

import datasets
import pyarrow as pa
import pytest

from nlp_rnn import corpora
from nlp_rnn.config import ConfigError, DataConfig
from nlp_rnn.corpora import DataError

ROOT = Path(__file__).resolve().parents[1]


def written(folder, name, content):
    path = folder / name
    path.write_text(content, encoding="utf-8", newline="")
    return str(path)


def parallel(folder, pairs, name="train"):
    sides = zip(*pairs, strict=True)
    return tuple(
        written(folder, f"{name}.{language}", "".join(f"{text}\n" for text in side))
        for language, side in zip(("en", "de"), sides, strict=True)
    )


PAIRS = [("one", "eins"), ("two", "zwei"), ("three", "drei")]


def rows(dataset):
    return dataset.to_list()


# Splits


def test_local_files_become_the_splits_they_were_given_as(tmp_path):
    files = {split: parallel(tmp_path, [(split, "x")], split) for split in ("train", "validation")}
    corpus = corpora.load(DataConfig(**files), "translation")
    assert rows(corpus.train) == [{"source": "train", "target": "x"}]
    assert rows(corpus.validation) == [{"source": "validation", "target": "x"}]
    assert not corpus.own_validation
    assert corpus.notes == ()


def test_validation_is_held_out_by_a_hash_that_keeps_duplicates_together(tmp_path):
    pairs = [(f"sentence {i % 1000}", f"Satz {i}") for i in range(4000)]
    data = DataConfig(train=parallel(tmp_path, pairs), validation_share=0.1)
    corpus = corpora.load(data, "translation")
    train, validation = set(corpus.train["source"]), set(corpus.validation["source"])
    assert not train & validation
    assert len(train) + len(validation) == 1000
    assert 70 <= len(validation) <= 130
    assert len(corpus.validation) == 4 * len(validation)
    assert len(corpus.train) + len(corpus.validation) == 4000
    assert corpus.notes == (
        f"No validation set was given: {len(corpus.validation):,} of 4,000 training rows are held out for it, "
        "chosen by a hash of their text.",
    )
    # The rule itself: the MD5 of "sentence 999" begins with 0xbacd82b3, which is 0.7297 of 2 ** 32.
    held_out = {}
    for share in (0.729, 0.73):
        again = corpora.load(DataConfig(train=data.train, validation_share=share), "translation")
        held_out[share] = set(again.validation["source"])
    assert held_out[0.73] - held_out[0.729] >= {"sentence 999"}
    assert validation < held_out[0.729]


def test_a_small_corpus_still_gets_a_validation_set(tmp_path):
    corpus = corpora.load(DataConfig(train=parallel(tmp_path, PAIRS), validation_share=1e-6), "translation")
    assert (len(corpus.train), len(corpus.validation), corpus.own_validation) == (2, 1, False)


def test_one_text_alone_cannot_be_split(tmp_path):
    with pytest.raises(DataError, match="too few different texts to hold some out. Give --validation"):
        corpora.load(DataConfig(train=parallel(tmp_path, PAIRS[:1] * 3)), "translation")


def test_one_split_alone(tmp_path):
    data = DataConfig(test=parallel(tmp_path, [*PAIRS, (" ", "leer")]))
    test, notes = corpora.load_split(data, "translation")
    assert len(test) == 3
    assert notes == (f"{data.test[0]} and {data.test[1]}: rows with blank text left out: 1.",)
    with pytest.raises(ConfigError, match="There is no validation set: give --validation FILE"):
        corpora.load_split(data, "translation", "validation")
    with pytest.raises(ConfigError, match="nothing to train on: give --dataset or --train"):
        corpora.load(DataConfig(), "translation")


def test_what_a_training_would_pass_over_is_refused(tmp_path):
    data = DataConfig(train=parallel(tmp_path, PAIRS), test=("missing",))
    with pytest.raises(ConfigError, match="test is for evaluate.py"):
        corpora.load(data, "translation")
    for name in ("stream_sample", "shuffle_buffer"):
        with pytest.raises(ConfigError, match=f"{name} is for streams: give --streaming too"):
            corpora.load(DataConfig(train=data.train, **{name: 7}), "translation")
    with pytest.raises(ConfigError, match="dataset_config is for a data set given by --dataset"):
        corpora.load(DataConfig(train=data.train, dataset_config="x"), "translation")


# What becomes of the rows


def test_text_is_kept_as_it_is_and_blank_pairs_are_dropped_and_counted(tmp_path):
    pairs = [(" one\u2028a ", "eins\t"), ("two", " \t"), ("", "drei"), ("four", "vier")]
    data = DataConfig(train=parallel(tmp_path, pairs), validation=parallel(tmp_path, PAIRS, "validation"))
    corpus = corpora.load(data, "translation")
    assert rows(corpus.train) == [
        {"source": " one\u2028a ", "target": "eins\t"},
        {"source": "four", "target": "vier"},
    ]
    assert corpus.notes == (f"{data.train[0]} and {data.train[1]}: rows with blank text left out: 2.",)


def test_blank_lines_are_part_of_running_text(tmp_path):
    path = written(tmp_path, "a.txt", "one\n \ntwo\n")
    loaded, notes = corpora.load_split(DataConfig(test=(path, path)), "language_modelling")
    assert loaded["text"] == ["one", " ", "two"] * 2
    assert notes == ()


def test_labels_become_names(tmp_path):
    lines = [{"text": "a", "label": 1}, {"text": "b", "label": "good"}, {"text": "c", "label": True}]
    path = written(tmp_path, "a.jsonl", "".join(json.dumps(line) + "\n" for line in lines))
    loaded, _ = corpora.load_split(DataConfig(test=(path,)), "classification")
    assert loaded["label"] == ["1", "good", "True"]


def test_blank_tokens_are_dropped_and_counted(tmp_path):
    path = written(tmp_path, "a.conll", "a\tX\n \tO\nb\tY\n\n\tO\n\nc\tX\n")
    loaded, notes = corpora.load_split(DataConfig(test=(path,)), "tagging")
    assert rows(loaded) == [{"tokens": ["a", "b"], "tags": ["X", "Y"]}, {"tokens": ["c"], "tags": ["X"]}]
    assert notes == (f"{path}: blank tokens left out: 2.", f"{path}: sentences without tokens left out: 1.")


def test_columns_are_mapped_and_the_format_overridden(tmp_path):
    path = written(tmp_path, "a.data", "id\ten\tde\n1\tone\teins\n")
    data = DataConfig(test=(path,), format="tsv", source_column="en", target_column="de")
    loaded, _ = corpora.load_split(data, "translation")
    assert rows(loaded) == [{"source": "one", "target": "eins"}]


def test_a_two_column_tsv_needs_no_header(tmp_path):
    path = written(tmp_path, "a.tsv", "source\ttarget\none\teins\n")
    loaded, _ = corpora.load_split(DataConfig(test=(path,)), "translation")
    assert loaded["source"] == ["source", "one"]
    loaded, _ = corpora.load_split(DataConfig(test=(path,), source_column="source"), "translation")
    assert loaded["source"] == ["one"]


def test_columns_of_a_tsv_without_a_header_are_named_by_their_places(tmp_path):
    path = written(tmp_path, "a.tsv", "one\teins\tby A\ntwo\tzwei\tby B\n")
    data = DataConfig(test=(path,), source_column="2", target_column="1")
    dataset, _ = corpora.load_split(data, "translation")
    assert rows(dataset) == [{"source": "eins", "target": "one"}, {"source": "zwei", "target": "two"}]


def test_nested_translations_work_in_either_direction(tmp_path):
    path = written(tmp_path, "a.jsonl", '{"translation": {"en": "one", "de": "eins"}}\n')
    data = DataConfig(test=(path,), source_language="de", target_language="en")
    loaded, _ = corpora.load_split(data, "translation")
    assert rows(loaded) == [{"source": "eins", "target": "one"}]


# Errors


@pytest.mark.parametrize(
    ("content", "task", "options", "complaint"),
    [
        (
            '{"txt": "a", "label": 1}',
            "classification",
            {},
            r"no column 'text'; there are 'txt', 'label'. Did you mean txt\? .*--text-column",
        ),
        ('{"text": "a"}', "classification", {"label_column": "tone"}, r"no column 'tone'; there are 'text'"),
        ('{"text": "a", "label": null}', "classification", {}, r"a\.jsonl, line 2: no value in column 'label'"),
        ('{"text": null, "label": 1}', "classification", {}, r"a\.jsonl, line 2: no value in column 'text'"),
        ('{"text": 7, "label": 1}', "classification", {}, r"a\.jsonl, line 2: column 'text' must hold text, not 7"),
        ('{"text": "a", "label": [1]}', "classification", {}, r"line 2: column 'label' must hold a name or a number"),
        ('{"text": "a", "label": 0.5}', "classification", {}, r"line 2: column 'label' must hold the name or number"),
        (
            '{"text": "a", "pair": "b", "label": 1}',
            "classification",
            {"text_pair_column": "pairs"},
            r"no column 'pairs'; there are 'text', 'pair', 'label'. Did you mean pair\? .*--text-pair-column",
        ),
        (
            '{"tokens": ["a"], "tags": []}',
            "tagging",
            {},
            r"line 2: expected one tag a token, found 1 tokens and 0 tags",
        ),
        ('{"tokens": "a", "tags": "X"}', "tagging", {}, r"line 2: column 'tokens' must hold a list, not 'a'"),
        ('{"tokens": ["a", null], "tags": ["X", "X"]}', "tagging", {}, r"line 2: no value in column 'tokens'"),
        ('{"translation": {"en": "a", "de": "b"}}', "translation", {}, r"no column 'source'.*--source-language"),
        (
            '{"translation": {"en": "a", "de": "b"}}',
            "translation",
            {"source_language": "en", "target_language": "fr"},
            r"no language 'fr'; there are 'en', 'de'. .*--target-language",
        ),
        (
            '{"en": "a"}',
            "translation",
            {"source_language": "en", "target_language": "fr"},
            r"no column 'translation'; there are 'en'. .*--source-column",
        ),
        (
            '{"translation": "a"}',
            "translation",
            {"source_language": "en", "target_language": "fr"},
            r"'translation' must map languages",
        ),
        ("", "classification", {}, "a.jsonl: there are no examples in it"),
    ],
)
def test_bad_rows_are_refused_with_place_expectation_and_remedy(tmp_path, content, task, options, complaint):
    path = written(tmp_path, "a.jsonl", f"\n{content}\n")
    with pytest.raises(DataError, match=complaint) as caught:
        corpora.load_split(DataConfig(test=(path,), **options), task)
    assert "\n" not in str(caught.value)


def test_one_language_alone_is_refused():
    with pytest.raises(ConfigError, match="give both or neither"):
        corpora.load(DataConfig(dataset="sample:translation", source_language="en"), "translation")


def test_parallel_text_takes_two_text_files(tmp_path):
    source, target = parallel(tmp_path, PAIRS)
    table = written(tmp_path, "a.tsv", "a\tb\n")
    for files in ((source,), (source, target, source), (source, table)):
        with pytest.raises(DataError, match="Parallel text is two text files, source and target, not "):
            corpora.load(DataConfig(train=files), "translation")
    both, _ = corpora.load_split(DataConfig(test=(table, table)), "translation")
    assert len(both) == 2


def test_text_where_a_table_is_needed_suggests_a_format(tmp_path):
    path = written(tmp_path, "test.annotated", "a\tO\n")
    with pytest.raises(DataError, match=r"no column 'tokens'; there are 'text'\. .*--format"):
        corpora.load_split(DataConfig(test=(path,)), "tagging")


def test_all_files_are_looked_for_before_any_is_read(tmp_path):
    unequal = (written(tmp_path, "a.en", "a\nb\n"), written(tmp_path, "a.de", "a\n"))
    with pytest.raises(DataError, match="Cannot read missing.en"):
        corpora.load(DataConfig(train=unequal, validation=("missing.en", "missing.de")), "translation")


# Data sets


def stored(folder, **splits):
    features = datasets.Features(
        {
            "text": datasets.Value("string"),
            "label": datasets.ClassLabel(names=["bad", "good"]),
            "tokens": datasets.List(datasets.Value("string")),
            "ner_tags": datasets.List(datasets.ClassLabel(names=["O", "B-PER"])),
            "translation": datasets.Translation(languages=["en", "de"]),
        }
    )
    made = {
        split: datasets.Dataset.from_list(
            [
                {
                    "text": text,
                    "label": label,
                    "tokens": [text, "!"],
                    "ner_tags": [1, 0],
                    "translation": {"en": text, "de": text.upper()},
                }
                for text, label in examples
            ],
            features=features,
        )
        for split, examples in splits.items()
    }
    datasets.DatasetDict(made).save_to_disk(folder)
    return str(folder)


def test_a_stored_data_set_is_read_for_every_task(tmp_path):
    data = DataConfig(
        dataset=stored(tmp_path / "set", train=[("a", 1)], dev=[("b", 0)], test=[("c", -1)]),
        tags_column="ner_tags",
        source_language="en",
        target_language="de",
    )
    corpus = corpora.load(data, "classification")
    assert rows(corpus.train) == [{"text": "a", "label": "good"}]
    assert rows(corpus.validation) == [{"text": "b", "label": "bad"}]
    assert corpus.notes == ()
    with pytest.raises(DataError, match=r"set \(test\), row 1: no value in column 'label'. Fill it or remove the row"):
        corpora.load_split(data, "classification")
    assert rows(corpora.load_split(data, "tagging")[0]) == [{"tokens": ["c", "!"], "tags": ["B-PER", "O"]}]
    assert rows(corpora.load_split(data, "translation")[0]) == [{"source": "c", "target": "C"}]
    assert rows(corpora.load(data, "language_modelling").train) == [{"text": "a"}]


def test_local_files_go_before_a_data_sets_own_splits(tmp_path):
    folder = stored(tmp_path / "set", train=[("a", 1)], validation=[("b", 0)])
    path = written(tmp_path, "a.csv", "text,label\nd,good\n")
    corpus = corpora.load(DataConfig(dataset=folder, validation=(path,)), "classification")
    assert (corpus.train["text"], corpus.validation["text"]) == (["a"], ["d"])


def test_a_stored_single_data_set_is_the_training_set(tmp_path):
    datasets.Dataset.from_dict({"text": ["a", "b"]}).save_to_disk(tmp_path / "set")
    data = DataConfig(dataset=str(tmp_path / "set"), validation_share=0.5)
    corpus = corpora.load(data, "language_modelling")
    assert sorted([*corpus.train["text"], *corpus.validation["text"]]) == ["a", "b"]
    with pytest.raises(DataError, match="set has no test split; it has 'train'"):
        corpora.load_split(data, "language_modelling")


def test_a_folder_of_data_files_is_a_data_set(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    folder = tmp_path / "set"
    folder.mkdir()
    for split in ("train", "validation"):
        written(folder, f"{split}.csv", f"text,label\n{split},1\n")
    corpus = corpora.load(DataConfig(dataset=str(folder)), "classification")
    assert rows(corpus.train) == [{"text": "train", "label": "1"}]


@pytest.mark.parametrize("setting", ["dataset_config", "dataset_revision"])
def test_what_only_the_hub_has_is_refused_elsewhere(tmp_path, setting):
    folder = stored(tmp_path / "set", train=[("a", 1), ("b", 0)])
    for name, what in (("sample:sentiment", "a sample"), (folder, "a folder here")):
        with pytest.raises(ConfigError, match=f"{setting} is for data sets of the hub, but '{name}' is {what}: leave"):
            corpora.load(DataConfig(dataset=name, **{setting: "v1"}), "classification")


def test_a_folder_of_data_files_has_no_revisions(tmp_path):
    written(tmp_path, "train.csv", "text,label\na,1\nb,2\n")
    with pytest.raises(ConfigError, match="dataset_revision is for data sets of the hub"):
        corpora.load(DataConfig(dataset=str(tmp_path), dataset_revision="v1"), "classification")


@pytest.mark.parametrize("name", ["./no/such/data/set", "sample:poetry"])
def test_a_data_set_that_cannot_be_loaded_is_one_clear_line(name):
    with pytest.raises(
        DataError, match=rf"{name}.*expected one of sample:translation|could not be loaded.*Expected"
    ) as caught:
        corpora.load(DataConfig(dataset=name), "translation")
    assert "\n" not in str(caught.value)


def test_the_sample_needs_nothing_else():
    corpus = corpora.load(DataConfig(dataset="sample:translation"), "translation")
    assert (len(corpus.train), len(corpus.validation)) == (4000, 200)
    assert corpus.train[0] == {
        "source": "In the evening they look for the children.",
        "target": "Am Abend suchen sie die Kinder.",
    }


# Storage


def test_a_changed_file_is_read_anew(tmp_path):
    path = written(tmp_path, "a.txt", "old\n")
    stamps = os.stat(path)
    data = DataConfig(test=(path,))
    first, _ = corpora.load_split(data, "language_modelling")
    written(tmp_path, "a.txt", "new\n")
    os.utime(path, ns=(stamps.st_atime_ns, stamps.st_mtime_ns))
    second, _ = corpora.load_split(data, "language_modelling")
    assert (first["text"], second["text"]) == (["old"], ["new"])
    assert first._fingerprint != second._fingerprint


def test_memory_does_not_grow_with_the_corpus(tmp_path):
    """Loading 24 megabytes takes less than six, of Python's and of Arrow's."""
    path = written(tmp_path, "a.tsv", "".join(f"{i} {'word ' * 60}\t{'Wort ' * 60}\n" for i in range(40_000)))
    allocated = pa.total_allocated_bytes()
    tracemalloc.start()
    corpus = corpora.load(DataConfig(train=(path,)), "translation")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(corpus.train) + len(corpus.validation) == 40_000
    assert peak < 6e6
    assert pa.total_allocated_bytes() - allocated < 1e6
    assert corpus.train.cache_files


def test_the_arrow_files_are_gone_when_the_process_ends(tmp_path):
    program = (
        "from nlp_rnn import corpora, config\n"
        "corpus = corpora.load(config.DataConfig(dataset='sample:translation'), 'translation')\n"
        "print(corpus.train.cache_files[0]['filename'])\n"
    )
    environment = {**os.environ, "TMPDIR": str(tmp_path), "PYTHONPATH": str(ROOT)}
    ended = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    assert ended.stdout.startswith(str(tmp_path / "nlp_rnn-"))
    assert list(tmp_path.glob("nlp_rnn-*")) == []
