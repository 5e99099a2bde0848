import json
import tracemalloc
from pathlib import Path

import datasets
import pyarrow as pa
import pyarrow.parquet
import pytest

from nlp_rnn import readers
from nlp_rnn.config import ConfigError
from nlp_rnn.readers import DataError

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"


def rows_of(path, form, *, columns=("source", "target"), header=False, tag_column="upos"):
    source = readers.read(str(path), form, columns=columns, header=header, tag_column=tag_column)
    return [(number, dict(row)) for number, row in source.rows]


def written(folder, name, content):
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.mark.parametrize(
    ("name", "override", "expected"),
    [
        ("a.jsonl", None, "jsonl"),
        ("a.TSV", None, "tsv"),
        ("a.iob", None, "conll"),
        ("a.bio", None, "conll"),
        ("a.conllu", None, "conllu"),
        ("train.de", None, "txt"),
        ("train", None, "txt"),
        ("test.annotated", "conll", "conll"),
    ],
)
def test_the_format_follows_the_extension_unless_overridden(name, override, expected):
    assert readers.format_of(name, override) == expected


def test_an_unknown_format_is_refused_with_the_nearest_one():
    with pytest.raises(DataError, match=r"Unknown format 'connl': .*jsonl.* Did you mean conll\?"):
        readers.format_of("a.txt", "connl")


def test_only_line_feeds_end_a_line_of_text(tmp_path):
    path = written(tmp_path, "a.txt", "\ufeff one\u2028two \r\n\x0bthree\x85\x1c\rfour\n\nfive")
    assert rows_of(path, "txt") == [
        (1, {"text": " one\u2028two "}),
        (2, {"text": "\x0bthree\x85\x1c\rfour"}),
        (3, {"text": ""}),
        (4, {"text": "five"}),
    ]


@pytest.mark.parametrize("name", ["a.txt", "a.tsv", "a.csv", "a.jsonl", "a.json", "a.conll", "a.conllu"])
def test_invalid_utf_8_is_reported_with_its_line(tmp_path, name):
    first = {
        "a.tsv": "a\tb\n",
        "a.csv": "text\n",
        "a.jsonl": "{}\n",
        "a.json": '[{"text": "a"},\n',
        "a.conll": "a\tO\n",
        "a.conllu": "# a\n",
    }.get(name, "a\n")
    path = written(tmp_path, name, first.encode() + b"caf\xe9\tO\n")
    with pytest.raises(DataError, match=rf"{name}, line 2: byte 0xe9 is not UTF-8.*iconv"):
        rows_of(path, readers.format_of(name, None))


def test_parallel_lines_are_paired(tmp_path):
    left, right = written(tmp_path, "a.en", "one\ntwo\n"), written(tmp_path, "a.de", "eins\r\nzwei")
    source = readers.read_parallel(str(left), str(right))
    assert list(source.rows) == [(1, {"source": "one", "target": "eins"}), (2, {"source": "two", "target": "zwei"})]


@pytest.mark.parametrize(("left", "right", "counts"), [("a\n" * 5, "b\n" * 2, "5.*2"), ("a", "b\nc\n", "1.*2")])
def test_parallel_files_of_unequal_length_are_refused_with_both_counts(tmp_path, left, right, counts):
    paths = [str(written(tmp_path, "a.en", left)), str(written(tmp_path, "a.de", right))]
    first, second = counts.split(".*")
    with pytest.raises(DataError, match=rf"a\.en has {first}, .*a\.de has {second}\."):
        list(readers.read_parallel(*paths).rows)


def test_tsv_without_a_header_is_unquoted_and_named_by_position(tmp_path):
    path = written(tmp_path, "a.tsv", 'say "hi\tsag "hallo\n\nb,c\t\n')
    assert rows_of(path, "tsv") == [
        (1, {"source": 'say "hi', "target": 'sag "hallo'}),
        (3, {"source": "b,c", "target": ""}),
    ]


def test_tsv_with_a_header_takes_its_names(tmp_path):
    path = written(tmp_path, "a.tsv", "id\ten\tde\n7\tone\teins\n")
    assert rows_of(path, "tsv", header=True) == [(2, {"id": "7", "en": "one", "de": "eins"})]


def test_a_tsv_row_of_another_width_is_refused_with_its_line(tmp_path):
    path = written(tmp_path, "a.tsv", "a\tb\nc\td\te\n")
    with pytest.raises(DataError, match=r"a\.tsv, line 2: expected 2 columns \(source, target\), found 3"):
        rows_of(path, "tsv")


def test_csv_keeps_quoted_line_feeds_and_counts_physical_lines(tmp_path):
    path = written(tmp_path, "a.csv", '\ufefftext,label\r\n"one\ntwo, ""three""",x\r\n\r\nfour,y\r\n')
    assert rows_of(path, "csv") == [
        (2, {"text": 'one\ntwo, "three"', "label": "x"}),
        (5, {"text": "four", "label": "y"}),
    ]


def test_a_csv_row_of_another_width_is_refused_with_its_line(tmp_path):
    path = written(tmp_path, "a.csv", 'text,label\n"a\nb",x\nc,d,y\n')
    with pytest.raises(DataError, match=r"a\.csv, line 4: expected 2 columns \(text, label\), found 3"):
        rows_of(path, "csv")


def test_an_open_quote_in_csv_is_refused(tmp_path):
    path = written(tmp_path, "a.csv", 'text,label\na,x\n"b,y\nc,z\n')
    with pytest.raises(DataError, match=r"a\.csv, the row from line 3 on is not CSV"):
        rows_of(path, "csv")


def test_a_csv_cell_may_be_longer_than_the_csv_module_allows_by_default(tmp_path):
    path = written(tmp_path, "a.csv", f"text,label\n{'a' * 200_000},x\n")
    assert len(rows_of(path, "csv")[0][1]["text"]) == 200_000


def test_json_lines(tmp_path):
    path = written(tmp_path, "a.jsonl", '{"text": "a\\u2028b", "label": 1}\n\n{"text": "\\ud83d\\ude00"}\n')
    assert rows_of(path, "jsonl") == [(1, {"text": "a\u2028b", "label": 1}), (3, {"text": "😀"})]
    assert rows_of(path, "json") == rows_of(path, "jsonl")


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ('{"text": "a"', "expected one JSON object a line"),
        ("[1, 2]", r"expected a JSON object .* found \[1, 2\]"),
        ('{"text": "\\ud83d"}', "half of a surrogate pair"),
    ],
)
def test_a_bad_json_line_is_refused_with_its_number(tmp_path, line, complaint):
    path = written(tmp_path, "a.jsonl", '{"text": "a"}\n' + line + "\n")
    with pytest.raises(DataError, match=rf"a\.jsonl, line 2: {complaint}"):
        rows_of(path, "jsonl")


@pytest.mark.parametrize("indent", [None, 2])
def test_a_json_array_is_read_across_window_borders(tmp_path, indent, monkeypatch):
    rows = [{"text": f'a ] , }} "{i}"', "label": i, "more": {"x": ["]"]}} for i in range(50)]
    path = written(tmp_path, "a.json", json.dumps(rows, indent=indent))
    monkeypatch.setattr(readers, "_CHUNK_CHARACTERS", 7)
    assert rows_of(path, "json") == list(enumerate(rows, start=1))


@pytest.mark.parametrize("content", ['[{"text": "a"}, {"text"', '[{"text": "a"}, oops]', '[{"text": "a"}'])
def test_a_broken_json_array_is_refused_with_its_row(tmp_path, content):
    path = written(tmp_path, "a.json", content)
    with pytest.raises(DataError, match=r"a\.json, row 2: not a JSON array"):
        rows_of(path, "json")


@pytest.mark.parametrize("rest", ["[]", '\n[{"text": "b"}]\n', "]", "junk"])
def test_nothing_may_follow_a_json_array(tmp_path, rest):
    with pytest.raises(DataError, match=r"a\.json: expected the end of the file after the array of 1 rows, found"):
        rows_of(written(tmp_path, "a.json", '[{"text": "a"}]' + rest), "json")


def test_a_json_array_that_is_nested_too_deeply_is_refused_with_its_row(tmp_path):
    with pytest.raises(DataError, match=r"a\.json, row 2: nested too deeply"):
        rows_of(written(tmp_path, "a.json", '[{"text": "a"}, ' + "[" * 100_000), "json")


@pytest.mark.parametrize(
    ("name", "text", "place"),
    [
        ("a.json", '[{"text": "a"}, {"text": %s}]', "row 2: cannot"),
        ("a.jsonl", '{"text": "a"}\n{"text": %s}', "line 2: expected"),
    ],
)
def test_numbers_of_too_many_digits_are_refused_with_their_place(tmp_path, name, text, place):
    with pytest.raises(DataError, match=rf"{name}, {place}.*; Exceeds the limit"):
        rows_of(written(tmp_path, name, text % ("7" * 5000)), name.partition(".")[2])


def test_json_array_entries_must_be_objects(tmp_path):
    with pytest.raises(DataError, match=r"row 2: expected a JSON object .* found 12"):
        rows_of(written(tmp_path, "a.json", '[{"text": "a"}, 12]'), "json")


def test_parquet_decodes_class_labels(tmp_path):
    features = datasets.Features(
        {
            "text": datasets.Value("string"),
            "label": datasets.ClassLabel(names=["bad", "good"]),
            "tags": datasets.List(datasets.ClassLabel(names=["O", "B"])),
        }
    )
    rows = {"text": ["a", "b", "c"], "label": [1, 0, -1], "tags": [[0, 1], [], [1]]}
    path = tmp_path / "a.parquet"
    datasets.Dataset.from_dict(rows, features=features).to_parquet(path)
    assert rows_of(path, "parquet") == [
        (1, {"text": "a", "label": "good", "tags": ["O", "B"]}),
        (2, {"text": "b", "label": "bad", "tags": []}),
        (3, {"text": "c", "label": None, "tags": ["B"]}),
    ]


def test_parquet_of_other_writers(tmp_path):
    path = tmp_path / "a.parquet"
    pa.parquet.write_table(pa.table({"text": ["a"], "label": [3]}), path)
    assert rows_of(path, "parquet") == [(1, {"text": "a", "label": 3})]


@pytest.mark.parametrize("name", ["a.en.gz", "a.jsonl.ZST"])
def test_packed_files_are_refused_by_name(name):
    with pytest.raises(DataError, match=f"{name} is packed, and only plain files are read: unpack it first"):
        readers.format_of(name, None)


def test_what_is_not_parquet_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"a\.parquet is not a Parquet file"):
        rows_of(written(tmp_path, "a.parquet", "text\n"), "parquet")


def test_conll_splits_on_tabs_where_there_are_any(tmp_path):
    path = written(tmp_path, "a.conll", "New York\tB\n \tO\n\t\nof\u00a0\tO\n\n\n \nend\tI\n")
    assert rows_of(path, "conll") == [
        (1, {"tokens": ["New York", " "], "tags": ["B", "O"]}),
        (4, {"tokens": ["of\u00a0"], "tags": ["O"]}),
        (8, {"tokens": ["end"], "tags": ["I"]}),
    ]


def test_conll_with_spaces_takes_the_first_and_the_last_column(tmp_path):
    path = written(tmp_path, "a.conll", "-DOCSTART- -X- -X- O\n\nEU NNP  I-NP B-ORG\na\u00a0b NN I-NP O \n")
    assert rows_of(path, "conll") == [(3, {"tokens": ["EU", "a\u00a0b"], "tags": ["B-ORG", "O"]})]


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("a\tO\nb\n", r"line 2: expected 2 columns as in the lines before.*found 1: 'b'"),
        ("10 000 O\n20 O\n", r"line 2: expected 3 columns"),
        ("a\n", r"line 1: expected at least 2 columns"),
        ("a\tO\nb\t\n", r"line 2: expected 2 columns"),
    ],
)
def test_a_bad_conll_line_is_refused_with_its_number(tmp_path, content, complaint):
    with pytest.raises(DataError, match=rf"a\.conll, {complaint}"):
        rows_of(written(tmp_path, "a.conll", content), "conll")


CONLLU = """# text = Don't # stop
1-2\tDon't\t_\t_\t_\t_\t_\t_\t_\t_
1\tDo\tdo\tAUX\tVB\t_\t0\troot\t_\t_
2\tn't\tnot\tPART\tRB\t_\t1\tadvmod\t_\t_
2.1\tever\tever\tADV\tRB\t_\t_\t_\t_\t_
3\t#\t#\tSYM\tNN\t_\t1\tobj\t_\t_

1\tstop\tstop\tVERB\tVB\t_\t0\troot\t_\t_"""


def test_conllu_skips_multiword_tokens_empty_nodes_and_comments(tmp_path):
    path = written(tmp_path, "a.conllu", CONLLU)
    assert rows_of(path, "conllu") == [
        (3, {"tokens": ["Do", "n't", "#"], "tags": ["AUX", "PART", "SYM"]}),
        (8, {"tokens": ["stop"], "tags": ["VERB"]}),
    ]
    assert rows_of(path, "conllu", tag_column="xpos")[0][1]["tags"] == ["VB", "RB", "NN"]


def test_conllu_complains_of_the_tag_column_and_of_the_width(tmp_path):
    path = written(tmp_path, "a.conllu", CONLLU.replace("\tadvmod\t_\t_", "\tadvmod"))
    with pytest.raises(ConfigError, match=r"tag_column must be one of .*, not 'xpoz'. Did you mean xpos\?"):
        rows_of(path, "conllu", tag_column="xpoz")
    with pytest.raises(DataError, match=r"a\.conllu, line 4: expected 10 columns .*found 8"):
        rows_of(path, "conllu")


def test_files_that_cannot_be_read_are_refused(tmp_path):
    with pytest.raises(DataError, match=r"Cannot read .*nothing\.txt: No such file"):
        readers.check_file(str(tmp_path / "nothing.txt"))
    with pytest.raises(DataError, match="is a folder: expected a file"):
        readers.check_file(str(tmp_path))


@pytest.mark.parametrize("form", ["txt", "tsv", "csv", "jsonl", "json", "conll", "parquet"])
def test_no_reader_holds_its_file_in_memory(tmp_path, form):
    """Six megabytes are read with less than two held at a time; Parquet's batches here are one megabyte each."""
    count, text = 6000, "word " * 200
    row = json.dumps({"text": text})
    content = {
        "tsv": f"{text}\tx\n" * count,
        "csv": "text,label\n" + f'"{text}",x\n' * count,
        "jsonl": f"{row}\n" * count,
        "json": f"[{', '.join([row] * count)}]",
        "conll": f"{text}\tO\n\n" * count,
    }.get(form, f"{text}\n" * count)
    path = written(tmp_path, f"a.{form}", content)
    if form == "parquet":
        pa.parquet.write_table(pa.table({"text": [f"{text}{i}" for i in range(count)]}), path, row_group_size=500)
    tracemalloc.start()
    source = readers.read(str(path), form, columns=("text", "label"), header=False, tag_column="upos")
    read = sum(1 for _ in source.rows)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert read == count
    assert peak < (4e6 if form == "parquet" else 2e6)


def shared(name):
    path = SHARED / name
    if not path.exists():
        pytest.skip(f"needs the shared data set file {name}")
    return path


@pytest.mark.parametrize(
    ("name", "form", "sentences", "tokens", "tags"),
    [
        ("wnut17/wnut17train.conll", "conll", 3394, 62730, 13),
        ("wnut17/emerging.dev.conll", "conll", 1009, 15733, 13),
        ("wnut17/emerging.test.annotated", "conll", 1287, 23394, 13),
        ("btc/f.conll", "conll", 2000, 35427, 7),
        ("btc/h.conll", "conll", 2001, 29480, 7),
        ("ud_english_ewt/en_ewt-ud-dev.conllu", "conllu", 2001, 25147, 17),
        ("ud_english_ewt/en_ewt-ud-test.conllu", "conllu", 2077, 25094, 17),
    ],
)
def test_real_tagged_files_have_the_stated_sizes(name, form, sentences, tokens, tags):
    rows = rows_of(shared(name), form)
    assert len(rows) == sentences
    assert sum(len(row["tokens"]) for _, row in rows) == tokens
    assert len({tag for _, row in rows for tag in row["tags"]}) == tags


@pytest.mark.parametrize(
    ("name", "count"),
    [("cmudict/validation.tsv", 6385), ("tatoeba_spa_eng/test.tsv", 2339), ("tatoeba_spa_eng/spa.txt", 118964)],
)
def test_real_tables_have_the_stated_sizes(name, count):
    source = readers.read(str(shared(name)), "tsv", columns=("source", "target"), header=False, tag_column="upos")
    assert sum(1 for _ in source.rows) == count


def test_real_csv_with_line_feeds_in_quotes():
    rows = rows_of(shared("banking77/train.csv"), "csv")
    assert len(rows) == 10003
    assert sum("\n" in row["text"] for _, row in rows) == 10
    assert len({row["category"] for _, row in rows}) == 77
