"""Trainings on several devices: real processes that meet on this machine, and one whose CPU counts as two devices."""

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from distribution_worker import Scenario

FOLDER = Path(__file__).parent
NOISY: dict[str, Any] = {"dropout": 0.3}
SCENARIOS = (
    Scenario("alone", workers=1),
    Scenario("headless", killed=0, after=7),
    Scenario("whole", **NOISY, exported=True, changes={"tensorboard": True}),
    Scenario("killed", **NOISY, killed=1, after=5),
    Scenario("resumed", **NOISY, output="killed", changes={"resume": True}),
    Scenario("other", of_last={"epochs": 3}),
    Scenario("missing", missing=1, changes={"worker_timeout": 1.5}),
)
LOST = 1
WRONG = 2
KILLED = -9


@dataclass(frozen=True)
class Played:
    """What came of a scenario."""

    folder: Path
    name: str
    addresses: list[str]
    ended: dict[str, list[float]]

    @property
    def statuses(self) -> list[int]:
        return [int(self.ended[index][0]) for index in sorted(self.ended)]

    def weights(self, index: int) -> list[np.ndarray]:
        with np.load(self.folder / f"{self.name}.{index}.npz") as stored:
            return [stored[name] for name in stored.files]

    def found(self, index: int, name: str) -> Any:
        return json.loads((self.folder / f"{self.name}.{index}.json").read_text())[name]

    def result(self, index: int) -> Any:
        """What was printed at the end."""
        return json.loads(self.log(index).splitlines()[-1])

    def log(self, index: int) -> str:
        return (self.folder / f"{self.name}.{index}.log").read_text()

    def error(self, index: int) -> str:
        """The line that the user sees."""
        (line,) = [line for line in self.log(index).splitlines() if line.startswith("error: ")]
        return line


def script(name: str, *arguments: object) -> str:
    """Runs a script beside this file, and returns what it printed."""
    command = [sys.executable, str(FOLDER / name), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", timeout=600)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Played]:
    """All scenarios, one after the other."""
    folder = tmp_path_factory.mktemp("workers")
    said = script("distribution_worker.py", folder, *SCENARIOS)
    results = [Played(folder=folder, **json.loads(line)) for line in said.splitlines()]
    return {result.name: result for result in results}


def test_two_workers_learn_what_one_learns_of_the_same_batches(played: dict[str, Played]) -> None:
    """The survivor of two that trained without dropout has seen the losses of the whole batches."""
    alone, headless = played["alone"], played["headless"]
    assert alone.statuses == [0], alone.log(0)
    losses = headless.found(1, "losses")
    assert len(losses) == 7
    np.testing.assert_allclose(losses, alone.found(0, "losses")[:7], rtol=1e-5)
    assert losses[-1] < 0.95 * losses[0]


def test_two_workers_end_well_and_in_the_same_state(played: dict[str, Played]) -> None:
    whole = played["whole"]
    assert whole.statuses == [0, 0], whole.log(0) + whole.log(1)
    assert all(map(np.array_equal, whole.weights(0), whole.weights(1)))
    assert whole.found(0, "rows") == whole.found(1, "rows")
    assert whole.result(0) == whole.result(1)


def test_each_worker_has_its_own_noise(played: dict[str, Played]) -> None:
    both = (np.array(played["whole"].found(index, "seeds")) for index in (0, 1))
    (seeds, draws), (other_seeds, other_draws) = (found.T.tolist() for found in both)
    assert not set(seeds) & set(other_seeds)
    assert draws == other_draws
    assert max(draws) > 0


def test_the_chief_alone_writes_and_exports(played: dict[str, Played]) -> None:
    whole = played["whole"]
    output = whole.folder / "whole"
    assert {entry.name for entry in output.iterdir()} == {"model", "1", "logs"}
    assert len(list((output / "logs").iterdir())) == 1
    assert json.loads((output / "model" / "metrics.json").read_text()) == whole.result(0)
    assert "Exported" in whole.log(0)
    assert "Exported" not in whole.log(1)


def test_a_killed_worker_ends_the_other_which_names_it(played: dict[str, Played]) -> None:
    killed = played["killed"]
    assert killed.statuses == [LOST, KILLED], killed.log(0)
    assert killed.error(0).startswith(f"error: worker 1 at {killed.addresses[1]} no longer answers")
    assert "--resume" in killed.error(0)
    assert killed.ended["0"][1] - killed.ended["1"][1] < 30


def test_a_killed_chief_ends_the_other_which_names_it(played: dict[str, Played]) -> None:
    headless = played["headless"]
    assert headless.statuses == [KILLED, LOST], headless.log(1)
    assert f"worker 0 at {headless.addresses[0]} no longer answers" in headless.error(1)
    assert headless.ended["1"][1] - headless.ended["0"][1] < 30


def test_resumed_they_end_as_if_none_had_been_killed(played: dict[str, Played]) -> None:
    """Bit for bit, dropout included, and from the checkpoint of the third batch rather than anew."""
    unbroken, resumed = played["whole"], played["resumed"]
    assert resumed.statuses == [0, 0], resumed.log(0)
    assert len(resumed.found(0, "losses")) == 5
    for index in (0, 1):
        assert all(map(np.array_equal, resumed.weights(index), unbroken.weights(0)))


def test_workers_with_other_settings_are_refused_by_all(played: dict[str, Played]) -> None:
    other = played["other"]
    assert other.statuses == [WRONG, WRONG], other.log(0) + other.log(1)
    assert "epochs: 3 here, 1 there" in other.error(1)
    assert f"were found by worker 1 at {other.addresses[1]}" in other.error(0)


def test_who_does_not_come_is_named_when_the_time_is_up(played: dict[str, Played]) -> None:
    missing = played["missing"]
    assert missing.statuses == [LOST], missing.log(0)
    assert f"Within 1.5 seconds worker 1 at {missing.addresses[1]} did not answer" in missing.error(0)
    assert missing.ended["0"][1] < 10


REGRESSIONS = ("clipped", "accumulated", "thawed", "float16")


@pytest.fixture(scope="module")
def mirrored(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[dict[str, Any]]]:
    """What one device and what two devices came to, by case."""
    cases = (*REGRESSIONS, "overflow", "noise", "classifier")
    return json.loads(script("mirrored_worker.py", tmp_path_factory.mktemp("mirrored"), *cases))


@pytest.mark.parametrize("case", REGRESSIONS)
def test_two_devices_take_the_steps_of_one(mirrored: dict[str, Any], case: str) -> None:
    """Parts of unequal size, of which one is empty."""
    one, two = mirrored[case]
    tolerance = 1e-2 if case == "float16" else 1e-5
    np.testing.assert_allclose(two["figures"], one["figures"], rtol=tolerance)
    np.testing.assert_allclose(two["weights"], one["weights"], rtol=tolerance)
    assert not np.array_equal(one["weights"], [[1.0], [-1.0]])


def test_what_overflows_on_one_device_skips_the_step_on_both(mirrored: dict[str, Any]) -> None:
    _, two = mirrored["overflow"]
    assert two["weights"][0] == [1.0, -1.0]
    assert two["weights"][-1] != [1.0, -1.0]
    assert np.isfinite(two["weights"]).all()


def test_each_device_draws_its_own_random_numbers(mirrored: dict[str, Any]) -> None:
    one, two = mirrored["noise"]
    first, second = one["drawn"]
    assert first != second
    assert one["loss"] == pytest.approx(first)
    assert two["loss"] == pytest.approx((first + second) / 2)


def test_a_classifier_learns_on_two_devices_what_it_learns_on_one(mirrored: dict[str, Any]) -> None:
    check_same_training(*mirrored["classifier"])


@pytest.mark.slow
def test_a_translator_learns_on_two_devices_what_it_learns_on_one(tmp_path: Path) -> None:
    check_same_training(*json.loads(script("mirrored_worker.py", tmp_path, "translator"))["translator"])


def check_same_training(one: dict[str, Any], two: dict[str, Any]) -> None:
    assert len(one["losses"]) >= 3
    np.testing.assert_allclose(two["losses"], one["losses"], rtol=1e-5)
    for left, right in zip(two["weights"], one["weights"], strict=True):
        np.testing.assert_allclose(left, right, rtol=1e-3, atol=1e-5)
