"""Folders appear whole or not at all, whatever fails, and whoever else writes."""

import fcntl
import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest
from pipeline_cases import content

from nlp_rnn import folders


def write(folder: Path) -> None:
    (folder / "inner").mkdir()
    (folder / "inner" / "file").write_text("new")


def test_a_folder_is_made_with_those_above_it(tmp_path: Path) -> None:
    folders.replace_folder(tmp_path / "not" / "there" / "yet", write)
    assert content(tmp_path) == {"not/there/yet/inner/file": b"new"}
    assert os.listdir(tmp_path / "not" / "there") == ["yet"]


def test_nothing_of_what_is_replaced_stays(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "old").touch()
    (tmp_path / "beside").touch()
    folders.replace_folder(tmp_path / "model", write)
    assert content(tmp_path) == {"model/inner/file": b"new", "beside": b""}
    assert sorted(os.listdir(tmp_path)) == ["beside", "model"]


def test_a_writer_that_fails_leaves_the_target_as_it_was(tmp_path: Path) -> None:
    target = tmp_path / "checkpoint"
    folders.replace_folder(target, lambda folder: (folder / "step").write_text("1"))

    def fail(folder: Path) -> None:
        (folder / "step").write_text("2")
        assert (target / "step").read_text() == "1"  # there while the new one is written
        raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        folders.replace_folder(target, fail)
    with pytest.raises(RuntimeError, match="stop"):
        folders.add_version(tmp_path, fail)
    assert content(tmp_path) == {"checkpoint/step": b"1"}
    assert os.listdir(tmp_path) == ["checkpoint"]


def test_a_file_is_replaced_whole_or_left_as_it_was(tmp_path: Path) -> None:
    folders.replace_file(tmp_path / "list", "old")
    with pytest.raises(UnicodeEncodeError):
        folders.replace_file(tmp_path / "list", "new\udcff")
    assert content(tmp_path) == {"list": b"old"}
    folders.replace_file(tmp_path / "list", "new")
    assert content(tmp_path) == {"list": b"new"}


def test_a_rename_that_fails_puts_the_old_folder_back(tmp_path: Path) -> None:
    target = tmp_path / "model"
    folders.replace_folder(target, write)
    aside = tmp_path / f".model.{folders.PREVIOUS}"

    def loses_its_folder(folder: Path) -> None:
        (folder / "file").touch()
        # As if someone took it away: the last rename fails.
        folder.rename(tmp_path / "elsewhere")

    with pytest.raises(OSError):
        folders.replace_folder(target, loses_its_folder)
    assert content(target) == {"inner/file": b"new"}
    assert not aside.exists()


def test_what_a_crash_left_aside_is_replaced(tmp_path: Path) -> None:
    folders.replace_folder(tmp_path / "model", lambda folder: (folder / "old").touch())
    (tmp_path / "model").rename(tmp_path / f".model.{folders.PREVIOUS}")
    folders.replace_folder(tmp_path / "model", write)
    assert os.listdir(tmp_path) == ["model"]
    assert content(tmp_path) == {"model/inner/file": b"new"}


def test_what_a_killed_process_left_is_removed_and_what_a_living_one_writes_is_not(tmp_path: Path) -> None:
    dead, living = (tmp_path / f".model.{folders.WRITING}-{name}" for name in ("dead", "living"))
    other = tmp_path / f".export.{folders.WRITING}-dead"
    for folder in (dead, living, other):
        folder.mkdir()
    lock = os.open(living, os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_EX)
    folders.replace_folder(tmp_path / "model", write)
    assert sorted(os.listdir(tmp_path)) == [other.name, living.name, "model"]
    os.close(lock)
    folders.replace_folder(tmp_path / "model", write)
    assert sorted(os.listdir(tmp_path)) == [other.name, "model"]


def test_what_is_in_its_place_before_it_is_looked_at_is_passed_over(tmp_path: Path) -> None:
    """As is a link to what is gone."""
    (tmp_path / f".model.{folders.WRITING}-gone").symlink_to("nothing")
    folders.replace_folder(tmp_path / "model", write)
    assert content(tmp_path / "model") == {"inner/file": b"new"}


@pytest.mark.parametrize(("module", "name"), [("os", "open"), ("fcntl", "flock")])
def test_a_folder_that_is_deleted_before_it_is_locked_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: str, name: str
) -> None:
    """Another process looks for abandoned folders just before the first call."""
    call, calls = getattr(getattr(folders, module), name), []

    def after_the_other(*arguments: Any, **named: Any) -> Any:
        calls.append(arguments)
        if len(calls) == 1:
            folders._remove_abandoned(tmp_path, "model")
        return call(*arguments, **named)

    monkeypatch.setattr(f"nlp_rnn.folders.{module}.{name}", after_the_other)
    folders.replace_folder(tmp_path / "model", write)
    assert content(tmp_path) == {"model/inner/file": b"new"}


def test_others_may_read_what_the_umask_lets_them(tmp_path: Path) -> None:
    """Model servers run as users of their own."""
    umask = os.umask(0o022)
    try:
        folders.replace_folder(tmp_path / "model", write)
        version = folders.add_version(tmp_path, write)
    finally:
        os.umask(umask)
    assert [stat.S_IMODE(folder.stat().st_mode) for folder in (tmp_path / "model", version)] == [0o755] * 2


def test_versions_count_up(tmp_path: Path) -> None:
    assert folders.versions(tmp_path / "nothing") == []
    assert folders.next_version(tmp_path) == 1
    for name in ("2", "10", "model", "x1", "²", "3.5"):
        (tmp_path / name).mkdir()
    (tmp_path / "77").touch()
    assert folders.versions(tmp_path) == [2, 10]
    version = folders.add_version(tmp_path, lambda folder: (folder / "file").write_text("content"))
    assert (version, (version / "file").read_text()) == (tmp_path / "11", "content")
    assert folders.next_version(tmp_path) == 78 - 66


def test_a_version_that_another_process_takes_first_is_not_touched(tmp_path: Path) -> None:
    def write(folder: Path) -> None:
        (folder / "mine").touch()
        # Not seen by the listing as a folder, but in the way of the rename all the same.
        (tmp_path / "1").mkdir()
        (tmp_path / "1" / "theirs").touch()

    assert folders.add_version(tmp_path, write) == tmp_path / "2"
    assert set(content(tmp_path)) == {"1/theirs", "2/mine"}


def test_the_oldest_versions_are_removed_and_the_newest_never_is(tmp_path: Path) -> None:
    for name in ("2", "10", "9", "model"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").touch()
    assert folders.remove_versions(tmp_path, keep=2) == [tmp_path / "2"]
    assert folders.remove_versions(tmp_path, keep=3) == []
    with pytest.raises(ValueError, match="keep must be at least 1, not 0: the newest version is never removed"):
        folders.remove_versions(tmp_path, keep=0)
    assert folders.remove_versions(tmp_path, keep=1) == [tmp_path / "9"]
    assert sorted(os.listdir(tmp_path)) == ["10", "model"]
    assert (tmp_path / "10" / "file").exists()


def test_two_may_remove_the_oldest_versions_at_once(tmp_path: Path) -> None:
    for number in range(1, 201):
        (tmp_path / str(number)).mkdir()
    together = Barrier(2)

    def remove(_: int) -> list[Path]:
        together.wait()
        return folders.remove_versions(tmp_path, keep=1)

    with ThreadPoolExecutor(2) as threads:
        first, second = threads.map(remove, range(2))
    assert sorted(first + second) == sorted(tmp_path / str(number) for number in range(1, 200))
    assert os.listdir(tmp_path) == ["200"]
