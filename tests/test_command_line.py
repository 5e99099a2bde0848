import errno
import json
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest

from nlp_rnn.command_line import parse, print_json, print_table, run
from nlp_rnn.config import ConfigError
from nlp_rnn.jobs import TranslatorRun
from nlp_rnn.model_config import SearchConfig


@dataclass(frozen=True, kw_only=True)
class PredictArguments:
    """A small script's arguments.

    Attributes:
        model: The model directory to read.
        input: Text files to read.
        strategy: How the work is spread.
        limit: Most lines to read.
        attention_plots: Draw the attention.
        search: How translations are searched for.
    """

    model: str
    input: tuple[str, ...] = ()
    strategy: Literal["one", "mirrored"] | None = None
    limit: int | None = 10
    attention_plots: bool = False
    search: SearchConfig = field(default_factory=SearchConfig)


def translator(*arguments: str) -> TranslatorRun:
    return parse(TranslatorRun, ["--output", "o", *arguments])


def test_without_flags_every_field_has_its_default() -> None:
    assert translator() == TranslatorRun(output="o")


def test_flags_are_flat_whatever_the_nesting() -> None:
    made = translator("--beam-size", "3", "--learning-rate=1e-4", "--cell", "gru", "--coverage-penalty", "0.2")
    assert made.search.beam_size == 3
    assert made.training.learning_rate == 1e-4
    assert made.model.cell == "gru"
    assert made.search.coverage_penalty == 0.2


def test_a_tuple_takes_several_values() -> None:
    made = translator("--train", "a.en", "a.de", "--validation", "b.en", "b.de", "--seed", "3")
    assert made.data.train == ("a.en", "a.de")
    assert made.data.validation == ("b.en", "b.de")
    assert made.data.test == ()
    assert made.training.seed == 3


def test_a_boolean_is_switched_on_and_off() -> None:
    assert translator("--no-samples").samples is False
    assert translator("--samples").samples is True
    assert translator("--deterministic").training.deterministic is True


def test_none_stands_for_no_value() -> None:
    assert parse(PredictArguments, ["--model", "m", "--limit", "none"]).limit is None
    assert parse(PredictArguments, ["--model", "m", "--strategy", "mirrored"]).strategy == "mirrored"


def test_none_is_a_word_where_it_is_a_choice() -> None:
    assert translator("--scheduled-sampling", "none").training.scheduled_sampling == "none"


def test_negative_numbers_are_values_not_flags() -> None:
    with pytest.raises(ConfigError, match=r"length_penalty must be at least 0, not -1\.5"):
        translator("--length-penalty", "-1.5")


def test_arguments_come_from_the_command_line_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["script.py", "--output", "there"])
    assert parse(TranslatorRun).output == "there"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--beam-sise", "3"], r"^Unknown argument --beam-sise\. Did you mean --beam-size\? See --help\.$"),
        (["--search.beam-size", "3"], r"^Unknown argument --search\.beam-size\. Did you mean --beam-size\?"),
        (["--no-sample"], r"^Unknown argument --no-sample\. Did you mean --no-samples\?"),
        (["--beam-sise=3"], r"^Unknown argument --beam-sise\. Did you mean --beam-size\?"),
        (["--xyzzy"], r"^Unknown argument --xyzzy\. See --help\.$"),
        (["--seed", "3", "stray"], r"^Unknown argument stray\."),
        (["--beam-size", "x"], r"^beam_size must be an integer, not 'x'\.$"),
        (["--beam-size", "2.5"], r"^beam_size must be an integer, not '2\.5'\.$"),
        (["--batch-tokens", "x"], r"^batch_tokens must be an integer, not 'x'\.$"),
        (["--dropout", "high"], r"^dropout must be a number, not 'high'\.$"),
        (["--cell", "rnn"], r"^cell must be one of 'lstm', 'gru', not 'rnn'\.$"),
        (["--beam-size", "0"], r"^beam_size must be at least 1, not 0\.$"),
        (["--beam-size"], r"^Missing value for argument '--beam-size'\."),
        (["--config"], r"^Missing value for argument '--config'\."),
    ],
)
def test_wrong_arguments_are_named_in_one_line(arguments: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        translator(*arguments)
    assert "\n" not in str(caught.value)


def test_a_required_argument_is_asked_for() -> None:
    with pytest.raises(ConfigError, match=r"^--output is required\. See --help\.$"):
        parse(TranslatorRun, ["--beam-size", "3"])
    with pytest.raises(ConfigError, match=r"^--model is required\."):
        parse(PredictArguments, [])


def test_help_groups_documented_flags_by_concern(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        parse(TranslatorRun, ["--help"], "Trains a translator.")
    shown = capsys.readouterr().out
    assert stop.value.code == 0
    assert "Trains a translator." in shown
    assert "search options" in shown
    assert "How translations are searched for." in shown
    assert "Epochs; each ends with a look at the validation set." in shown
    assert "--beam-size INT" in shown
    assert "Hypotheses kept at each step; 1 is greedy search." in shown
    assert "--cell {lstm,gru}" in shown
    assert "--train STR ..." in shown
    assert "--config FILE" in shown
    assert "(required)" in shown
    assert "(default: 8000)" in shown
    assert "\0" not in shown


def test_help_shows_the_file_s_values_as_defaults(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse(TranslatorRun, ["--config", written(tmp_path / "c.yaml", "vocabulary_size: 12345"), "--help"])
    assert "(default: 12345)" in capsys.readouterr().out


def written(path: Path, text: str) -> str:
    path.write_text(text, encoding="utf-8")
    return str(path)


YAML = "output: here\ntrain: [a.en, a.de]\nbeam_size: 9\nlearning-rate: 1e-4\nsamples: false\n"
JSON = (
    '{"output": "here", "train": ["a.en", "a.de"], "search": {"beam_size": 9}, "learning_rate": 1e-4, "samples": false}'
)


@pytest.mark.parametrize(("name", "text"), [("c.yaml", YAML), ("c.yml", YAML), ("c.json", JSON)])
def test_a_file_gives_settings_and_flags_win(tmp_path: Path, name: str, text: str) -> None:
    path = written(tmp_path / name, text)
    made = parse(TranslatorRun, ["--config", path])
    assert (made.output, made.data.train, made.search.beam_size) == ("here", ("a.en", "a.de"), 9)
    assert (made.training.learning_rate, made.samples) == (1e-4, False)
    # Before or after --config, given as the default value or not: flags win.
    made = parse(TranslatorRun, ["--beam-size", "5", f"--config={path}", "--samples", "--train", "b.en", "b.de"])
    assert (made.output, made.search.beam_size, made.samples) == ("here", 5, True)
    assert made.data.train == ("b.en", "b.de")


def test_a_flag_may_mend_what_the_file_alone_would_have_wrong(tmp_path: Path) -> None:
    path = written(tmp_path / "c.yaml", "output: o\nbatch_tokens: 50\n")
    with pytest.raises(ConfigError, match="batch_tokens must be at least longest_example plus two"):
        parse(TranslatorRun, ["--config", path])
    assert parse(TranslatorRun, ["--config", path, "--longest-example", "48"]).batching.batch_tokens == 50
    assert parse(TranslatorRun, ["--config", path, "--batch-tokens", "none"]).batching.batch_tokens is None


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("c.yaml", "beam_sise: 3", r"c\.yaml: Unknown configuration key 'beam_sise'\. Did you mean beam_size\?"),
        ("c.yaml", "beam_size: five", r"c\.yaml: beam_size must be an integer, not 'five'"),
        ("c.yaml", "beam_size: [", r"c\.yaml: not well-formed YAML"),
        ("c.json", "{'beam_size': 3}", r"c\.json: not well-formed JSON"),
        ("c.json", "[1]", r"c\.json: must hold a table of settings, not list"),
        ("c.yaml", "", r"c\.yaml: must hold a table of settings, not NoneType"),
        ("c.toml", "beam_size = 3", r"c\.toml: a configuration file ends in \.json, \.yaml or \.yml"),
    ],
)
def test_a_wrong_file_is_named(tmp_path: Path, name: str, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        translator("--config", written(tmp_path / name, text))


def test_a_file_that_is_not_text_is_named(tmp_path: Path) -> None:
    (tmp_path / "c.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match=r"c\.json: not well-formed JSON"):
        translator("--config", str(tmp_path / "c.json"))


def failing(error: BaseException) -> Callable[[], None]:
    def main() -> None:
        raise error

    return main


def status_of(main: Callable[[], None]) -> Any:
    with pytest.raises(SystemExit) as stop:
        run(main)
    return stop.value.code


USERS_ERRORS = [
    (ConfigError("beam_size must be\n at least 1."), "error: beam_size must be at least 1.\n"),
    (
        FileNotFoundError(errno.ENOENT, "No such file or directory", "x.txt"),
        "error: No such file or directory: x.txt.\n",
    ),
    (PermissionError(errno.EACCES, "Permission denied", "x.txt"), "error: Permission denied: x.txt.\n"),
    (IsADirectoryError(errno.EISDIR, "Is a directory", "x"), "error: Is a directory: x.\n"),
    (FileNotFoundError("Nothing called x."), "error: Nothing called x.\n"),
    (
        OSError(errno.ENOSPC, "No space left on device"),
        "error: No space left on device. Free some space and run again.\n",
    ),
]


@pytest.mark.parametrize(("error", "line"), USERS_ERRORS)
def test_the_user_s_errors_are_one_line_and_status_2(
    error: Exception, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert status_of(failing(error)) == 2
    assert capsys.readouterr() == ("", line)


def test_the_data_s_errors_are_the_user_s(capsys: pytest.CaptureFixture[str]) -> None:
    corpora = pytest.importorskip("nlp_rnn.corpora")
    assert status_of(failing(corpora.DataError("a.en has 3 lines, a.de 4."))) == 2
    assert capsys.readouterr().err == "error: a.en has 3 lines, a.de 4.\n"


@pytest.mark.parametrize("error", [ValueError("ours"), RuntimeError("ours"), OSError(errno.EBADF, "ours"), KeyError()])
def test_our_own_errors_are_not_hidden(error: Exception) -> None:
    with pytest.raises(type(error)) as caught:
        run(failing(error))
    assert caught.value is error


def test_an_interrupt_is_status_130(capsys: pytest.CaptureFixture[str]) -> None:
    assert status_of(failing(KeyboardInterrupt())) == 130
    assert capsys.readouterr().err == ""


def test_success_returns(capsys: pytest.CaptureFixture[str]) -> None:
    run(lambda: print_json({"done": True}))
    assert capsys.readouterr() == ('{"done": true}\n', "")


def test_signals_are_handled_afterwards_as_they_were() -> None:
    before = signal.getsignal(signal.SIGTERM)
    run(lambda: None)
    assert signal.getsignal(signal.SIGTERM) == before
    assert status_of(failing(ConfigError("wrong"))) == 2
    assert signal.getsignal(signal.SIGTERM) == before


def test_progress_goes_to_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    run(lambda: logging.getLogger("nlp_rnn.training").info("epoch 1"))
    assert capsys.readouterr() == ("", "epoch 1\n")
    run(lambda: logging.getLogger("elsewhere").info("chatter"))
    assert capsys.readouterr() == ("", "")


def test_a_table_has_its_columns_under_each_other(capsys: pytest.CaptureFixture[str]) -> None:
    print_table([{"sample": "a", "figure": "bleu 7.0"}, {"sample": "long:name", "figure": "f1 1"}])
    assert capsys.readouterr().out == "sample     figure\na          bleu 7.0\nlong:name  f1 1\n"


def test_results_are_one_json_object_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"bleu": np.float32(0.5), "counts": np.array([1, 2]), "examples": np.int64(3), "text": "Äpfel\n"})
    print_json({"loss": float("nan"), "norms": [float("inf"), np.float64("nan"), 1.0], "names": ("a", b"b")})
    first, second = capsys.readouterr().out.splitlines()
    assert first == '{"bleu": 0.5, "counts": [1, 2], "examples": 3, "text": "Äpfel\\n"}'
    assert json.loads(second) == {"loss": None, "norms": [None, None, 1.0], "names": ["a", "b"]}


SCRIPT = """
import sys
from nlp_rnn import command_line
from nlp_rnn.jobs import TranslatorRun

def main():
    made = command_line.parse(TranslatorRun)
    if made.output == "crash":
        raise RuntimeError("ours")
    for _ in range(made.search.beam_size):
        command_line.print_json({"output": made.output})

command_line.run(main)
"""


def script(*arguments: str, **options: Any) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([sys.executable, "-c", SCRIPT, *arguments], capture_output=True, timeout=60, **options)


def test_a_script_s_exit_status() -> None:
    wrong = script("--beam-size", "3")
    assert (wrong.returncode, wrong.stdout) == (2, b"")
    assert wrong.stderr == b"error: --output is required. See --help.\n"
    crashed = script("--output", "crash")
    assert (crashed.returncode, crashed.stdout) == (1, b"")
    assert b"Traceback" in crashed.stderr
    done = script("--output", "o", "--beam-size", "1")
    assert (done.returncode, done.stdout, done.stderr) == (0, b'{"output": "o"}\n', b"")


def test_results_are_utf8_whatever_the_locale() -> None:
    done = script("--output", "Äpfel", "--beam-size", "1", env=os.environ | {"PYTHONIOENCODING": "ascii"})
    assert json.loads(done.stdout.decode("utf-8")) == {"output": "Äpfel"}


def test_a_reader_that_leaves_is_no_news() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-c", SCRIPT, "--output", "o", "--beam-size", "9"]
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, timeout=60)
    os.close(writer)
    assert (done.returncode, done.stderr) == (1, b"")


TERMINATED = """
import time
from nlp_rnn import command_line, scratch

def main():
    print(scratch.folder(), flush=True)
    time.sleep(60)

command_line.run(main)
"""


def test_a_termination_is_status_143_and_leaves_nothing_behind(tmp_path: Path) -> None:
    command = [sys.executable, "-c", TERMINATED]
    process = subprocess.Popen(
        command, env=os.environ | {"TMPDIR": str(tmp_path)}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert Path(process.stdout.readline().strip()).is_dir()
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=60)
    assert (process.returncode, said) == (143, "")
    assert list(tmp_path.iterdir()) == []
