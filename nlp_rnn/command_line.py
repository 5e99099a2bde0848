"""Flags from the configuration's dataclasses; results to stdout; errors to exit statuses.

The only module that reads arguments, prints or exits. A script's `main` calls
`parse`, then the library, and is itself called by `run`. Exit status: 0 done,
2 the user's input is wrong (one line says how), 130 interrupted, 143
terminated, 1 anything else.
"""

import contextlib
import dataclasses
import errno
import io
import json
import logging
import os
import re
import signal
import sys
import threading
import types
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal

import tyro

from nlp_rnn.config import ConfigError
from nlp_rnn.settings import Config, flat_values, from_dict, nearest, plain, read_table

_NOT_GIVEN = "\0"  # no command-line argument can hold a NUL
_METAVARS = {int: "INT", float: "FLOAT", str: "STR"}
# Failures of the user's machine or files rather than of this program.
_USERS_ERRNOS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.ENAMETOOLONG)
_USERS_OS_ERRORS = (FileNotFoundError, FileExistsError, PermissionError, IsADirectoryError, NotADirectoryError)


def parse(kind: type[Config], arguments: list[str] | None = None, description: str | None = None) -> Config:
    """Builds a configuration from `--config FILE` and flags, of which flags win.

    Every field, at any depth of nested dataclasses, is one flat flag:
    `beam_size` is `--beam-size`, a boolean `samples` is `--samples` or
    `--no-samples`, a tuple takes several values. Help texts are the
    `Attributes` of the classes' docstrings.

    Args:
        kind: A frozen dataclass, maybe of dataclasses, with unique field names.
        arguments: Those of the command line, if not given.
        description: What the help says first.

    Raises:
        ConfigError: Unknown, missing, malformed or refused settings.
        SystemExit: With status 0, after `--help`.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    path = _config_path(arguments)
    from_file = {} if path is None else _read_config(kind, path)
    flags = _with_config_flag(_flags_class(kind, from_file))
    values = from_file | _given(kind, _parse_flags(flags, arguments, description))
    for name in _required(kind):
        if name not in values:
            raise ConfigError(f"--{name.replace('_', '-')} is required. See --help.")
    return from_dict(kind, values)


def parse_one_of(kinds: Mapping[str, type], arguments: list[str] | None = None, description: str | None = None) -> Any:
    """Builds the configuration that the first argument names, from `--config FILE` and flags; see `parse`.

    Raises:
        ConfigError: The first argument is none of the names; or as `parse`.
        SystemExit: With status 0, after `--help`.
    """
    name, *rest = (sys.argv[1:] if arguments is None else arguments) or [""]
    if name in ("-h", "--help"):
        print(f"{description or ''}\nGive one of {', '.join(kinds)} first; --help after it lists the flags.")
        sys.exit(0)
    if name not in kinds:
        given = f"not {name!r}" if name else "not nothing"
        raise ConfigError(f"The first argument must be one of {', '.join(kinds)}, {given}.{nearest(name, kinds)}")
    return parse(kinds[name], rest, description)


def run(main: Callable[[], None]) -> None:
    """Runs a script's main function and turns what it raises, or SIGTERM, into an exit status."""
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(message)s", force=True)
    logging.getLogger("nlp_rnn").setLevel(logging.INFO)
    if isinstance(sys.stdout, io.TextIOWrapper):  # JSON is UTF-8, whatever the locale
        sys.stdout.reconfigure(encoding="utf-8", errors="backslashreplace")
    try:
        with _terminable():
            main()
        sys.stdout.flush()
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        # The reader has gone (`| head`): flushing at exit must not complain again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except Exception as error:
        if not _is_users(error) and not _is_elsewhere(error):
            raise
        print(f"error: {_one_line(error)}", file=sys.stderr)
        sys.exit(2 if _is_users(error) else 1)


@contextlib.contextmanager
def _terminable() -> Iterator[None]:
    """Lets SIGTERM end what runs here in order, as an error would."""
    if threading.current_thread() is not threading.main_thread():  # which alone may say so
        yield
        return
    former = signal.signal(signal.SIGTERM, _end)
    try:
        yield
    finally:
        if signal.getsignal(signal.SIGTERM) is _end:
            signal.signal(signal.SIGTERM, former or signal.SIG_DFL)


def _end(*_: object) -> None:
    """Ends the process as one that SIGTERM has ended, but cleans up before."""
    # It may come twice, as timeout(1) sends it: what cleans up is to be let be.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sys.exit(128 + signal.SIGTERM)


def print_json(value: Any) -> None:
    """Prints one result as one line of JSON; numbers that JSON lacks become null."""
    print(json.dumps(plain(value), ensure_ascii=False, allow_nan=False), flush=True)


def print_table(rows: Sequence[Mapping[str, str]]) -> None:
    """Prints rows in columns, under the names that all of them have; at least one row."""
    lines = [tuple(rows[0]), *(tuple(row.values()) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        print("  ".join(map(str.ljust, line, widths)).rstrip())


def progress_bar() -> Any:
    """Returns a Keras callback that shows each epoch's progress and its outcome on standard error."""
    import keras  # parsing alone must not wait for TensorFlow
    import tqdm

    class ProgressBar(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
            self.title = f"Epoch {epoch + 1}/{self.params['epochs']}"
            self.bar = tqdm.tqdm(
                total=self.params["steps"], desc=self.title, unit="batch", leave=False, mininterval=1.0
            )

        def on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
            # A resumed epoch begins further on.
            self.bar.update(batch + 1 - self.bar.n)

        def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
            self.bar.close()
            shown = [f"{name} {value:.4g}" for name, value in (logs or {}).items() if name != "epoch"]
            print(f"{self.title}: {', '.join(shown)}", file=sys.stderr, flush=True)

    return ProgressBar()


def _flags_class(kind: type, defaults: Mapping[str, Any]) -> type:
    """Returns a dataclass that tells flags given from flags left out.

    It mirrors `kind` in nesting, names and docstrings, hence in the help. Its
    values are text, to be read and checked by the same code as a configuration
    file's; only booleans are read by the parser, which needs their defaults.
    """
    hints = typing.get_type_hints(kind)
    members: list[tuple[str, Any, Any]] = []
    for item in dataclasses.fields(kind):
        hint = hints[item.name]
        if dataclasses.is_dataclass(hint):
            child = _flags_class(typing.cast(type, hint), defaults)
            members.append((item.name, child, dataclasses.field(default_factory=child)))
            continue
        default = defaults.get(item.name, _own_default(item))
        if hint is bool and default is not dataclasses.MISSING:
            members.append((item.name, bool, default))
            continue
        note = "(required)" if default is dataclasses.MISSING else f"(default: {_shown(default)})"
        argument = tyro.conf.arg(metavar=_metavar(hint), help_behavior_hint=note)
        if typing.get_origin(hint) is tuple:
            members.append((item.name, Annotated[tuple[str, ...], argument], (_NOT_GIVEN,)))
        else:
            members.append((item.name, Annotated[str, argument], _NOT_GIVEN))
    # An inherited field is documented where it is declared.
    above = kind.__mro__[1:-1]
    bases = tuple(dataclasses.make_dataclass(base.__name__, (), namespace={"__doc__": base.__doc__}) for base in above)
    namespace = {"__doc__": kind.__doc__}
    return dataclasses.make_dataclass(kind.__name__, members, bases=bases, kw_only=True, namespace=namespace)


def _with_config_flag(flags: type) -> type:
    """Adds `--config`, so that the help and the parser know it; `_config_path` reads it."""
    text = "Settings as JSON or YAML; flags win over them."
    flag = Annotated[str, tyro.conf.arg(metavar="FILE", help=text, help_behavior_hint="")]
    space = {"__doc__": flags.__doc__}
    return dataclasses.make_dataclass(
        flags.__name__, [("config", flag, "")], bases=(flags,), kw_only=True, namespace=space
    )


def _required(kind: type) -> list[str]:
    hints, names = typing.get_type_hints(kind), []
    for item in dataclasses.fields(kind):
        if dataclasses.is_dataclass(hints[item.name]):
            names += _required(hints[item.name])
        elif _own_default(item) is dataclasses.MISSING:
            names.append(item.name)
    return names


def _own_default(item: dataclasses.Field[Any]) -> Any:
    return item.default if item.default_factory is dataclasses.MISSING else item.default_factory()


def _parse_flags(flags: type, arguments: list[str], description: str | None) -> Any:
    complaint = io.StringIO()
    try:
        with contextlib.redirect_stderr(complaint):
            flat = (tyro.conf.OmitArgPrefixes,)
            parsed: Any
            parsed, unknown = tyro.cli(
                flags, args=arguments, description=description, config=flat, return_unknown_args=True
            )
    except SystemExit as stop:
        if stop.code:
            raise ConfigError(_without_frame(complaint.getvalue())) from None
        raise
    if unknown:
        # What follows an unknown flag is unknown too: the flag is what to name.
        first = next((token for token in unknown if token.startswith("--")), unknown[0]).partition("=")[0]
        raise ConfigError(f"Unknown argument {first}.{nearest(first, _flag_names(flags))} See --help.")
    return parsed


def _given(kind: type, parsed: Any) -> dict[str, Any]:
    """Returns the values of the flags that were given, by field name."""
    hints = typing.get_type_hints(kind)
    given: dict[str, Any] = {}
    for item in dataclasses.fields(kind):
        value, hint = getattr(parsed, item.name), hints[item.name]
        if dataclasses.is_dataclass(hint):
            given |= _given(typing.cast(type, hint), value)
        elif isinstance(value, tuple) and value != (_NOT_GIVEN,):
            given[item.name] = tuple(_from_text(text, typing.get_args(hint)[0]) for text in value)
        elif isinstance(value, bool):
            given[item.name] = value
        elif isinstance(value, str) and value != _NOT_GIVEN:
            given[item.name] = _from_text(value, hint)
    return given


def _from_text(text: str, hint: Any) -> Any:
    """Reads one argument; what cannot be read is left for the types' check to refuse."""
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        if text.lower() == "none":
            return None
        hint = _without_none(hint)
    if hint not in (int, float):
        return text
    with contextlib.suppress(ValueError):
        return hint(text)
    return text


def _without_none(hint: Any) -> Any:
    return next(option for option in typing.get_args(hint) if option is not type(None))


def _metavar(hint: Any) -> str:
    origin = typing.get_origin(hint)
    if origin in (typing.Union, types.UnionType):
        return _metavar(_without_none(hint))
    if origin is Literal:
        return "{" + ",".join(typing.get_args(hint)) + "}"
    if origin is tuple:
        return f"{_metavar(typing.get_args(hint)[0])} ..."
    return _METAVARS.get(hint, "VALUE")


def _shown(default: Any) -> str:
    return (" ".join(map(str, default)) or "none") if isinstance(default, tuple) else str(default).lower()


def _flag_names(flags: type) -> list[str]:
    names = []
    for item in dataclasses.fields(flags):
        if dataclasses.is_dataclass(item.type):
            names += _flag_names(typing.cast(type, item.type))
        else:
            names.append("--" + item.name.replace("_", "-"))
            if item.type is bool:
                names.append("--no-" + item.name.replace("_", "-"))
    return names


def _config_path(arguments: list[str]) -> str | None:
    """Finds `--config` before all else is parsed, since the file's values are defaults."""
    path = None
    for index, argument in enumerate(arguments):
        if argument == "--config" and index + 1 < len(arguments):
            path = arguments[index + 1]
        elif argument.startswith("--config="):
            path = argument.partition("=")[2]
    return path


def _read_config(kind: type, path: str) -> dict[str, Any]:
    values = read_table(path)
    try:
        return flat_values(kind, values)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error


def _without_frame(box: str) -> str:
    """Returns the sentence in tyro's framed message, without title and footer."""
    lines = [re.sub(r"\x1b\[[0-9;]*m", "", line).strip() for line in box.splitlines()]
    inner = [line.strip("│| ") for line in lines[1:] if line[:1] in "│|"]
    sentence = []
    for line in inner:
        if line and set(line) <= set("─-"):
            break
        sentence.append(line)
    return " ".join(sentence) or _one_line(box) or "The arguments cannot be read; see --help."


def _is_users(error: Exception) -> bool:
    # A module that was never imported cannot have raised; importing it here
    # would only delay the message, or bury it under another error.
    readers = sys.modules.get("nlp_rnn.readers")
    if isinstance(error, ConfigError) or (readers is not None and isinstance(error, readers.DataError)):
        return True
    return isinstance(error, _USERS_OS_ERRORS) or (isinstance(error, OSError) and error.errno in _USERS_ERRNOS)


def _is_elsewhere(error: Exception) -> bool:
    """Tells whether another process is gone, of which no traceback of this one could tell more."""
    cluster = sys.modules.get("nlp_rnn.cluster")
    return cluster is not None and isinstance(error, cluster.LostWorkerError)


def _one_line(error: object) -> str:
    if isinstance(error, OSError) and error.strerror:
        place = f": {error.filename}" if error.filename else ""
        advice = " Free some space and run again." if error.errno in (errno.ENOSPC, errno.EDQUOT) else ""
        return f"{error.strerror}{place}.{advice}"
    return " ".join(str(error).split())
