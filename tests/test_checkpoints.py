import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest

from nlp_rnn.checkpoints import Checkpoints, Snapshot, fingerprint_of_files, fingerprint_of_rows
from nlp_rnn.config import ConfigError

SETTINGS: dict[str, Any] = {"family": "tagger", "batch_size": 32, "learning_rate": 0.1, "train": ("a", "b")}


def snapshot(number: int) -> Snapshot:
    return Snapshot(state={"number": number}, arrays={"variables": [np.full([2, 3], number, np.float32)]})


def numbers(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def filled(folder: Path, count: int = 2) -> Checkpoints:
    checkpoints = Checkpoints(folder=folder, settings=SETTINGS)
    for number in range(1, count + 1):
        checkpoints.write(snapshot(number))
    return checkpoints


def test_what_is_written_is_read(tmp_path: Path) -> None:
    state = {"value": math.nan, "lowest": -math.inf, "third": 1 / 3, "best": None, "rows": [{"loss": 0.1}]}
    arrays = {
        "variables": [np.array(7, np.int64), np.array([1, 2**32 - 1], np.uint32), np.eye(2, dtype=np.float32)],
        "none": [],
    }
    Checkpoints(folder=tmp_path / "new" / "checkpoint", data={"rows": "x"}).write(Snapshot(state=state, arrays=arrays))
    found = Checkpoints(folder=tmp_path / "new" / "checkpoint").read()
    assert found is not None
    assert math.isnan(found.state["value"])
    assert {**found.state, "value": 0} == {**state, "value": 0}
    assert found.data == {"rows": "x"}
    assert found.arrays.keys() == arrays.keys()
    for before, after in zip(arrays["variables"], found.arrays["variables"], strict=True):
        assert (before.dtype, before.shape) == (after.dtype, after.shape)
        np.testing.assert_array_equal(before, after)


def test_the_newest_two_are_kept(tmp_path: Path) -> None:
    checkpoints = filled(tmp_path, 4)
    assert numbers(tmp_path) == ["3", "4"]
    assert checkpoints.newest == tmp_path / "4"
    found = Checkpoints(folder=tmp_path, settings=SETTINGS).read()
    assert found is not None
    assert found.state == {"number": 4}


def test_equal_arrays_take_their_place_once(tmp_path: Path) -> None:
    large = np.random.default_rng(1).normal(size=10_000)
    Checkpoints(folder=tmp_path).write(Snapshot(state={}, arrays={"variables": [large], "best": [large.copy()]}))
    assert large.nbytes < (tmp_path / "1" / "arrays.npz").stat().st_size < 1.1 * large.nbytes
    found = Checkpoints(folder=tmp_path).read()
    assert found is not None
    np.testing.assert_array_equal(found.arrays["best"][0], large)


def test_arrays_of_the_same_bytes_stay_apart(tmp_path: Path) -> None:
    zeros = [np.zeros([2, 3], np.float32), np.zeros([3, 2], np.float32), np.zeros([2, 3], np.int32)]
    Checkpoints(folder=tmp_path).write(Snapshot(state={}, arrays={"variables": zeros}))
    found = Checkpoints(folder=tmp_path).read()
    assert found is not None
    assert [(array.shape, array.dtype) for array in found.arrays["variables"]] == [(z.shape, z.dtype) for z in zeros]


def halved(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def flipped(file: Path) -> None:
    """Changes a bit of an array's values."""
    content = bytearray(file.read_bytes())
    place = content.index(np.full([2, 3], 2, np.float32).tobytes())
    content[place] ^= 1
    file.write_bytes(bytes(content))


def edited(file: Path) -> None:
    file.write_text(file.read_text().replace('"number": 2', '"number": 3'))


def emptied(file: Path) -> None:
    file.write_bytes(b"")


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("arrays.npz", halved), ("arrays.npz", flipped), ("arrays.npz", emptied), ("arrays.npz", Path.unlink),
        ("state.json", halved), ("state.json", edited), ("state.json", emptied), ("state.json", Path.unlink),
    ],
)  # fmt: skip
def test_a_damaged_one_is_passed_over_and_told(
    name: str, damage: Callable[[Path], None], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    filled(tmp_path)
    damage(tmp_path / "2" / name)
    checkpoints = Checkpoints(folder=tmp_path, settings=SETTINGS)
    found = checkpoints.read()
    assert found is not None
    assert found.state == {"number": 1}
    assert f"{tmp_path / '2'} is broken and passed over" in caplog.text
    # The good one is kept, not the broken one.
    checkpoints.write(snapshot(3))
    assert numbers(tmp_path) == ["1", "3"]


def test_every_cut_of_the_arrays_is_noticed(tmp_path: Path) -> None:
    filled(tmp_path, 1)
    file = tmp_path / "1" / "arrays.npz"
    whole = file.read_bytes()
    for length in range(0, len(whole), 7):
        file.write_bytes(whole[:length])
        assert Checkpoints(folder=tmp_path, settings=SETTINGS).read() is None, length


def test_without_any_there_is_nothing_to_read(tmp_path: Path) -> None:
    assert Checkpoints(folder=tmp_path / "nowhere").read() is None
    (tmp_path / ".export.writing-0123").mkdir()
    assert Checkpoints(folder=tmp_path).read() is None


def test_those_of_an_earlier_training_stay_until_there_is_a_new_one(tmp_path: Path) -> None:
    filled(tmp_path)
    anew = Checkpoints(folder=tmp_path, settings={"family": "translator"})
    assert numbers(tmp_path) == ["1", "2"]
    anew.write(snapshot(3))
    assert numbers(tmp_path) == ["3"]


def test_other_settings_are_named(tmp_path: Path) -> None:
    filled(tmp_path)
    changed = {**SETTINGS, "batch_size": 64, "learning_rate": 0.2}
    with pytest.raises(
        ConfigError, match=r"other settings: batch_size was 32, not 64; learning_rate was 0.1, not 0.2. .* --resume"
    ):
        Checkpoints(folder=tmp_path, settings=changed).read()
    with pytest.raises(ConfigError, match=r"; and 7 more\."):
        Checkpoints(folder=tmp_path, settings={f"name{number}": number for number in range(8)}).read()


def test_settings_that_another_version_has_are_told_as_such(tmp_path: Path) -> None:
    filled(tmp_path)
    for changed in ({**SETTINGS, "novelty": True}, dict(list(SETTINGS.items())[1:])):
        with pytest.raises(
            ConfigError, match="Give the same settings .*, with the version of nlp_rnn that wrote it, or"
        ):
            Checkpoints(folder=tmp_path, settings=changed).read()


def test_one_of_a_newer_format_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as newer:
        newer.setattr("nlp_rnn.checkpoints.FORMAT", 3)
        filled(tmp_path)
    with pytest.raises(ConfigError, match="has format 3; .* goes on from format 2"):
        Checkpoints(folder=tmp_path, settings=SETTINGS).read()


def test_other_data_is_named(tmp_path: Path) -> None:
    first = Checkpoints(folder=tmp_path, data={"the training set": "a", "the vocabulary": "b"})
    first.write(snapshot(1))
    second = Checkpoints(folder=tmp_path)
    found = second.read()
    assert found is not None
    second.data = {"the training set": "a", "the vocabulary": "b"}
    second.require_same_data(found)
    second.data = {"the training set": "other", "the vocabulary": "b"}
    with pytest.raises(ConfigError, match=r"this has changed: the training set\. Give what it was written with"):
        second.require_same_data(found)


def test_removed_ones_are_gone(tmp_path: Path) -> None:
    filled(tmp_path / "checkpoint").remove()
    assert list(tmp_path.iterdir()) == []


def test_rows_have_the_fingerprint_of_their_content_and_order() -> None:
    rows = [{"text": f"a{number}", "tags": ["x", None], "other": 0.5} for number in range(1500)]
    whole = datasets.Dataset.from_list(rows)
    other_way = datasets.concatenate_datasets([whole.select([1]), whole.select([0]), whole.select(range(2, 1500))])
    back = other_way.select([1, 0, *range(2, 1500)])
    prints = [fingerprint_of_rows(dataset) for dataset in (whole, back, other_way, whole.select(range(1499)))]
    assert prints[0] == prints[1]
    assert len(set(prints[1:])) == 3
    changed = datasets.Dataset.from_list([*rows[:-1], {**rows[-1], "tags": ["x", "y"]}])
    assert fingerprint_of_rows(changed) != prints[0]


def test_files_have_the_fingerprint_of_their_names_and_content() -> None:
    def writes(**content: str) -> Callable[[Path], None]:
        def save(folder: Path) -> None:
            (folder / "inner").mkdir()
            for name, text in content.items():
                (folder / "inner" / name).write_text(text)

        return save

    same = [fingerprint_of_files(writes(a="1", b="2")), fingerprint_of_files(writes(b="2", a="1"))]
    others = [fingerprint_of_files(writes(**each)) for each in ({"a": "12", "b": ""}, {"a": "1", "c": "2"}, {"a": "1"})]
    assert same[0] == same[1]
    assert len({same[0], *others}) == 4


def test_the_state_can_be_read_by_people(tmp_path: Path) -> None:
    filled(tmp_path, 1)
    assert json.loads((tmp_path / "1" / "state.json").read_text())["settings"]["batch_size"] == 32
