"""A space of settings to search: which fields vary, and over what."""

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from nlp_rnn.config import ConfigError, DataConfig
from nlp_rnn.families import Run
from nlp_rnn.settings import flat_values, from_dict, nearest, read_table, to_dict

_RANGE = ("low", "high", "log", "step")
# These say what is measured, on which examples, or where the results go: trials that differ in them do not compare.
_FIXED = {"output", "samples", "monitor", "seed", "init_from", *(item.name for item in dataclasses.fields(DataConfig))}
# A trial takes no notice of these: it is trained from its beginning to its end, on one device, and leaves nothing.
UNUSED = ("checkpoint_steps", "resume", "tensorboard", "strategy", "worker_timeout")


@dataclass(frozen=True, kw_only=True)
class Range:
    """Numbers from `low` to `high`, both included; integers where both are.

    Attributes:
        low: The least.
        high: The greatest.
        log: Draw their logarithm evenly.
        step: Their distance, if not all are possible.
    """

    low: float
    high: float
    log: bool = False
    step: float | None = None

    def suggest(self, trial: Any, name: str) -> Any:
        """Asks an Optuna trial for a value."""
        if isinstance(self.low, int) and isinstance(self.high, int):
            return trial.suggest_int(name, self.low, self.high, step=self.step or 1, log=self.log)
        return trial.suggest_float(name, self.low, self.high, step=self.step, log=self.log)


@dataclass(frozen=True, kw_only=True)
class Choices:
    """Some values, of which one is chosen."""

    values: tuple[Any, ...]

    def suggest(self, trial: Any, name: str) -> Any:
        """Asks an Optuna trial for a value."""
        return self.chosen(trial.suggest_categorical(name, tuple(map(_offered, self.values))))

    def chosen(self, kept: Any) -> Any:
        """Returns the value that a trial's parameter stands for."""
        return next(value for value in self.values if _offered(value) == kept)


def _offered(value: Any) -> Any:
    """Returns a choice as Optuna can keep it: a list as JSON text."""
    return json.dumps(value) if isinstance(value, tuple) else value


Space = dict[str, Range | Choices]


def read_space(path: str, run: Run) -> Space:
    """Reads a space from a JSON or YAML file.

    Args:
        path: The file: field names, each with a list of choices, or a table of
            `low`, `high` and maybe `log: true` or `step`.
        run: What the other settings are. A value that does not agree with them is refused.

    Raises:
        ConfigError: The file, a name or a value is not what it should be.
        OSError: The file cannot be read.
    """
    table = {str(name).replace("-", "_"): value for name, value in read_table(path).items()}
    if not table:
        raise ConfigError(f"{path}: expected at least one setting to vary, found none.")
    space: Space = {}
    for name, described in table.items():
        if name in _FIXED:
            raise ConfigError(
                f"{path}: {name} cannot be searched over, since trials that differ in it do not compare. "
                "Leave it out, and give it with --config or as a flag."
            )
        if name in UNUSED:
            raise ConfigError(f"{path}: {name} makes no difference to a trial. Leave it out.")
        try:
            space[name] = _dimension(name, described, run)
        except ConfigError as error:
            raise ConfigError(f"{path}: {error}") from error
    return space


def chosen(space: Space, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the settings that a trial's parameters stand for."""
    return {
        name: dimension.chosen(parameters[name]) if isinstance(dimension, Choices) else parameters[name]
        for name, dimension in space.items()
    }


def with_values(run: Run, values: Mapping[str, Any]) -> Run:
    """Returns a run with other values of some fields, whatever their nesting.

    Raises:
        ConfigError: There is no such field, or the values do not agree with the rest.
    """
    return from_dict(type(run), {**flat_values(type(run), to_dict(run)), **flat_values(type(run), values)})


def _dimension(name: str, described: Any, run: Run) -> Range | Choices:
    if isinstance(described, list):
        if not described:
            raise ConfigError(f"{name}: expected at least one choice, found none.")
        return Choices(values=tuple(_checked(name, value, run) for value in described))
    if not isinstance(described, Mapping):
        raise ConfigError(f"{name}: expected a list of choices, or a table with low and high, not {described!r}.")
    for key in described:
        if key not in _RANGE:
            raise ConfigError(f"{name}: expected low, high, log or step, not {key!r}.{nearest(str(key), _RANGE)}")
    missing = [key for key in ("low", "high") if key not in described]
    if missing:
        raise ConfigError(f"{name}: {' and '.join(missing)} must be given too, or a list of choices instead.")
    low, high = (_checked(name, described[key], run) for key in ("low", "high"))
    log, step = described.get("log", False), described.get("step")
    return _range(name, low, high, log, step)


def _range(name: str, low: Any, high: Any, log: Any, step: Any) -> Range:
    numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in (low, high))
    if not numbers or low >= high:
        raise ConfigError(f"{name}: low must be a number below high; they are {low!r} and {high!r}.")
    if not isinstance(log, bool) or (log and (low <= 0 or step is not None)):
        raise ConfigError(f"{name}: log must be true or false, and true only if low is above 0 and there is no step.")
    kinds = (int,) if isinstance(low, int) else (int, float)
    if step is not None and (not isinstance(step, kinds) or isinstance(step, bool) or step <= 0):
        kind = "an integer" if kinds == (int,) else "a number"
        raise ConfigError(f"{name}: step must be {kind} above 0, not {step!r}.")
    return Range(low=low, high=high, log=log, step=step)


def _checked(name: str, value: Any, run: Run) -> Any:
    """Returns a value as its field holds it, once the field has been found to take it."""
    values = flat_values(type(run), {name: value})
    with_values(run, values)
    if name not in values:
        raise ConfigError(f"{name} is a group of settings; name the settings themselves.")
    return values[name]
