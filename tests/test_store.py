"""The model directory: what is written is read again, and nothing is lost on the way."""

import contextlib
import csv
import dataclasses
import errno
import fcntl
import json
import os
import resource
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from pipeline_cases import content

from nlp_rnn import folders, store, text
from nlp_rnn.config import ConfigError, TextConfig
from nlp_rnn.families import TranslationText, build_translator
from nlp_rnn.jobs import TranslatorRun
from nlp_rnn.model_config import TranslatorConfig
from nlp_rnn.models.translator import Translator

SAMPLES = ({"source": "a bad cab", "target": "ein Taxi"}, {"source": "\ud800 fade", "target": "weiß\nnicht"})
TINY = TranslatorConfig(embedding_size=8, encoder_size=8, decoder_size=8, attention_size=8)


def run(*, shared: bool = False, samples: bool = True, model: TranslatorConfig = TINY) -> TranslatorRun:
    settings = TextConfig(tokenizer="characters", shared_vocabulary=shared)
    return TranslatorRun(output="/home/somebody/elsewhere", text=settings, model=model, samples=samples)


def tokenizer(characters: str) -> text.Tokenizer:
    return text.CharacterTokenizer(
        vocabulary=characters, normalizer=text.Normalizer(unicode_normalization="nfc", lowercase=True)
    )


def tokenizers(*, shared: bool = False) -> TranslationText:
    source = tokenizer("abcdef ")
    return TranslationText(source=source, target=source if shared else tokenizer("xyz"))


def save(path: Path, config: TranslatorRun, seed: int = 1, **options: Any) -> Translator:
    """Saves a network with weights of a seed's."""
    texts = tokenizers(shared=config.text.shared_vocabulary)
    network = build_translator(config, texts)
    generator = np.random.default_rng(seed)
    for variable in network.trainable_variables:
        variable.assign(generator.normal(0, 1, variable.shape))
    arguments = {"metrics": {"bleu": 12.5}, "samples": SAMPLES, **options}
    folder = store.save(path, config=config, network=network, text=texts, **arguments)
    assert folder == path / "model"
    return network


def outputs(network: Translator) -> np.ndarray:
    batch = {
        "source": tf.constant([[4, 5, 6, 3]]), "source_mask": tf.ones([1, 4], tf.bool),
        "target": tf.constant([[5, 4, 3]]), "target_mask": tf.ones([1, 3], tf.bool),
    }  # fmt: skip
    return network(batch, training=False).numpy()


MODELS = {
    "lstm": TINY,
    "deep tied gru": dataclasses.replace(TINY, cell="gru", encoder_layers=2, decoder_layers=2, tie_embeddings=True),
}


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)
def test_what_is_saved_is_loaded(tmp_path: Path, model: TranslatorConfig, shared: bool) -> None:
    config = run(shared=shared, model=model)
    network = save(tmp_path / "new" / "model_directory", config)
    keras.utils.set_random_seed(99)
    stored = store.load(str(tmp_path / "new" / "model_directory"))
    np.testing.assert_array_equal(outputs(stored.network), outputs(network))
    assert stored.folder == tmp_path / "new" / "model_directory"
    assert stored.config == dataclasses.replace(config, output=str(stored.folder))
    for texts in (stored.text, store.load_text(stored.folder)):
        assert isinstance(texts, TranslationText)
        assert texts.source.tokenize(tf.constant(["BAD"])).to_list() == [[5, 4, 7]]
        assert texts.target.vocabulary_size == (11 if shared else 7)
        assert (texts.target is texts.source) == shared
    assert stored.metrics == {"bleu": 12.5}
    assert stored.samples == SAMPLES


def test_a_model_that_is_replaced_while_it_is_read_is_not_mixed_with_the_new_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(tmp_path, run(shared=False))
    newer = dataclasses.replace(TINY, dropout=0.1)
    networks, read = [], store._read_weights

    def read_late(file: Path, network: keras.Model) -> None:
        if not networks:
            networks.append(save(tmp_path, run(model=newer), seed=2))
        read(file, network)

    monkeypatch.setattr(store, "_read_weights", read_late)
    stored = store.load(tmp_path)
    assert stored.config.model == newer
    np.testing.assert_array_equal(outputs(stored.network), outputs(networks[0]))


def test_the_files_of_a_model(tmp_path: Path) -> None:
    metrics = {"bleu": np.float32(0.5), "loss": float("nan"), "sizes": np.array([1, 2])}
    history = [{"epoch": 1, "loss": np.float32(0.25)}, {"epoch": 2, "loss": 0.125, "bleu": 3.0}]
    save(tmp_path, run(), metrics=metrics, history=history)
    assert set(content(tmp_path)) == {
        f"model/{name}"
        for name in ("config.json", "weights.npz", "metrics.json", "history.csv", "samples.jsonl",
                     "source_tokenizer/tokenizer.json", "target_tokenizer/tokenizer.json")
    }  # fmt: skip
    assert json.loads((tmp_path / "model/metrics.json").read_text()) == {"bleu": 0.5, "loss": None, "sizes": [1, 2]}
    with (tmp_path / "model/history.csv").open(newline="") as file:
        assert list(csv.reader(file)) == [["epoch", "loss", "bleu"], ["1", "0.25", ""], ["2", "0.125", "3.0"]]


def test_pictures_are_part_of_the_model_or_there_is_no_model(tmp_path: Path) -> None:
    save(tmp_path, run(), draw=lambda folder: (folder / "curve.png").write_bytes(b"old"))
    before = content(tmp_path)
    assert before["model/plots/curve.png"] == b"old"

    def fail(folder: Path) -> None:
        (folder / "curve.png").write_bytes(b"new")
        raise OSError("No space left on device")

    with pytest.raises(OSError, match="No space left"):
        save(tmp_path, run(), seed=2, draw=fail)
    assert content(tmp_path) == before


def test_one_vocabulary_is_stored_once(tmp_path: Path) -> None:
    save(tmp_path, run(shared=True))
    assert [name for name in content(tmp_path) if "tokenizer" in name] == ["model/tokenizer/tokenizer.json"]


def test_without_samples_no_text_is_kept(tmp_path: Path) -> None:
    save(tmp_path, run(samples=False))
    assert store.load(tmp_path).samples == ()
    for name, data in content(tmp_path).items():
        assert b"Taxi" not in data, name


def test_a_model_directory_does_not_say_where_it_lies(tmp_path: Path) -> None:
    save(tmp_path / "here", run())
    assert not any(b"elsewhere" in data or bytes(tmp_path) in data for data in content(tmp_path).values())
    (tmp_path / "here").rename(tmp_path / "there")
    assert store.load(tmp_path / "there").config.output == str(tmp_path / "there")


def test_others_may_read_what_the_umask_lets_them(tmp_path: Path) -> None:
    """Model servers run as users of their own."""
    umask = os.umask(0o022)
    try:
        save(tmp_path, run())
        version = folders.add_version(tmp_path, lambda folder: None)
    finally:
        os.umask(umask)
    assert [stat.S_IMODE(folder.stat().st_mode) for folder in (tmp_path / "model", version)] == [0o755] * 2


def test_the_network_computes_as_asked(tmp_path: Path) -> None:
    mixed = build_translator(run(), tokenizers(), precision="mixed_bfloat16", training_path="portable")
    assert (mixed.compute_dtype, mixed.variable_dtype) == ("bfloat16", "float32")
    store.save(tmp_path, config=run(), network=mixed, text=tokenizers(), metrics={})
    loaded = store.load(tmp_path).network
    assert loaded.compute_dtype == "float32"
    for mine, theirs in zip(mixed.trainable_variables, loaded.trainable_variables, strict=True):
        np.testing.assert_array_equal(mine.numpy(), theirs.numpy())


def test_saving_again_replaces_the_model_and_leaves_the_rest(tmp_path: Path) -> None:
    save(tmp_path, run(), seed=1)
    (tmp_path / "model" / "old.txt").touch()
    (tmp_path / "1").mkdir()
    (tmp_path / "notes.txt").touch()
    network = save(tmp_path, run(), seed=2)
    np.testing.assert_array_equal(outputs(store.load(tmp_path).network), outputs(network))
    assert sorted(os.listdir(tmp_path)) == ["1", "model", "notes.txt"]
    assert not (tmp_path / "model" / "old.txt").exists()


@contextlib.contextmanager
def largest_file(size: int) -> Iterator[None]:
    """Stands for a full disk: no file may grow beyond so many bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


WEIGHTS_SIZE = 4 * build_translator(run(), tokenizers()).count_params()


@pytest.mark.parametrize("size", [0, 1000, WEIGHTS_SIZE - 1, WEIGHTS_SIZE + 1000])
def test_a_full_disk_loses_nothing(tmp_path: Path, size: int) -> None:
    save(tmp_path, run(), seed=1)
    before = content(tmp_path)
    with largest_file(size), pytest.raises(OSError) as caught:
        save(tmp_path, run(), seed=2)
    assert caught.value.errno == errno.EFBIG
    assert content(tmp_path) == before
    assert os.listdir(tmp_path) == ["model"]


def test_a_crash_between_the_renames_loses_nothing(tmp_path: Path) -> None:
    network = save(tmp_path, run(), seed=1)
    (tmp_path / "model").rename(tmp_path / ".model.previous")
    np.testing.assert_array_equal(outputs(store.load(tmp_path).network), outputs(network))
    store.check_output(tmp_path)
    save(tmp_path, run(), seed=2)
    assert os.listdir(tmp_path) == ["model"]


def test_what_a_killed_process_left_is_removed_and_what_a_living_one_writes_is_not(tmp_path: Path) -> None:
    dead, living = tmp_path / ".model.writing-dead", tmp_path / ".model.writing-living"
    dead.mkdir()
    living.mkdir()
    lock = os.open(living, os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_EX)
    save(tmp_path, run())
    assert sorted(os.listdir(tmp_path)) == [".model.writing-living", "model"]
    os.close(lock)
    save(tmp_path, run())
    assert os.listdir(tmp_path) == ["model"]


def test_an_output_that_can_be_used_is_accepted(tmp_path: Path) -> None:
    store.check_output(tmp_path)
    store.check_output(tmp_path / "not" / "there" / "yet")
    (tmp_path / "checkpoint").mkdir()
    (tmp_path / ".model.writing-1234").mkdir()
    store.check_output(tmp_path)


def test_an_output_that_holds_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(ConfigError, match="file is a file"):
        store.check_output(tmp_path / "file")
    with pytest.raises(ConfigError, match="file is not a folder that you can write to"):
        store.check_output(tmp_path / "file" / "below")
    with pytest.raises(ConfigError, match=r"holds something else \(file\); give a new or empty folder"):
        save(tmp_path, run())
    assert content(tmp_path) == {"file": b"mine"}
    (tmp_path / "file").rename(tmp_path / "checkpoint")  # TensorFlow's own checkpoints have such a file
    with pytest.raises(ConfigError, match="holds something else"):
        store.check_output(tmp_path)


def test_what_is_no_model_directory_is_not_loaded(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="There is no folder .*nothing"):
        store.load(tmp_path / "nothing")
    with pytest.raises(ConfigError, match="is not a model directory: it holds no model/config.json"):
        store.load(tmp_path)
    (tmp_path / ".model.writing-1234").mkdir()
    with pytest.raises(ConfigError, match="its training did not get that far"):
        store.load(tmp_path)
    save(tmp_path / "one", run())
    with pytest.raises(ConfigError, match=r"part of a model directory; give the whole, .*/one\."):
        store.load(tmp_path / "one" / "model")


@pytest.mark.parametrize("name", ["metrics.json", "weights.npz", "source_tokenizer", "target_tokenizer"])
def test_half_a_model_is_not_loaded(tmp_path: Path, name: str) -> None:
    save(tmp_path, run())
    path = tmp_path / "model" / name
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    with pytest.raises(ConfigError, match=f"lacks {name}: it was written or copied in part"):
        store.load(tmp_path)


def test_weights_that_do_not_fit_are_not_loaded(tmp_path: Path) -> None:
    save(tmp_path / "small", run())
    save(tmp_path / "large", run(model=dataclasses.replace(TINY, decoder_size=12)))
    weights = tmp_path / "small" / "model" / "weights.npz"
    whole = weights.read_bytes()
    middle = len(whole) // 2
    flipped = whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :]
    for broken in (whole[:-1000], whole[1000:], b"", b"text", flipped):
        weights.write_bytes(broken)
        with pytest.raises(ConfigError, match="weights.npz is broken .*: copy the folder whole"):
            store.load(tmp_path / "small")
    shutil.copy(tmp_path / "large" / "model" / "weights.npz", weights)
    with pytest.raises(ConfigError, match="holds the weights of another network than config.json"):
        store.load(tmp_path / "small")


@pytest.mark.parametrize("name", ["metrics.json", "samples.jsonl"])
def test_a_table_that_is_cut_off_or_none_is_not_loaded(tmp_path: Path, name: str) -> None:
    save(tmp_path, run())
    file = tmp_path / "model" / name
    for broken in (file.read_bytes()[:-5], b"[1]\n", b"\xff\n"):
        file.write_bytes(broken)
        with pytest.raises(ConfigError, match=f"{name} is broken .*: copy the folder whole, or train again"):
            store.load(tmp_path)


def test_a_configuration_that_cannot_be_read_says_so(tmp_path: Path) -> None:
    save(tmp_path, run())
    path = tmp_path / "model" / "config.json"
    good = json.loads(path.read_text())
    for changed, message in (
        (
            {**good, "format": 2},
            "holds a translator in format 2; this version of nlp_rnn reads translators and taggers",
        ),
        ({**good, "family": "parser"}, "holds a parser in format 1; .* reads .* up to format 1"),
        # A translator's settings are not those of a tagger.
        ({**good, "family": "tagger"}, "config.json: Unknown configuration key"),
        ({"format": 1}, "is broken .it has no family"),
        ([], "is broken .a table of names and values was expected"),
        ({**good, "config": []}, "is broken .its config is no table"),
        ({**good, "config": {**good["config"], "sampels": True}}, "config.json: Unknown configuration key 'sampels'"),
    ):
        path.write_text(json.dumps(changed))
        with pytest.raises(ConfigError, match=message):
            store.load(tmp_path)
    path.write_text("{")
    with pytest.raises(ConfigError, match="is broken"):
        store.load(tmp_path)
    path.unlink()
    with pytest.raises(ConfigError, match="lacks config.json: it was copied in part"):
        store.load(tmp_path)
