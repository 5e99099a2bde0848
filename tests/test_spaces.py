from pathlib import Path
from typing import Any

import pytest

from nlp_rnn.config import ConfigError
from nlp_rnn.jobs import ClassifierRun, TaggerRun
from nlp_rnn.spaces import Choices, Range, Space, chosen, read_space, with_values

RUN = TaggerRun(output="o")


def read(folder: Path, text: str) -> Space:
    (folder / "space.yaml").write_text(text)
    return read_space(str(folder / "space.yaml"), RUN)


def test_ranges_and_choices_have_the_types_of_their_fields(tmp_path: Path) -> None:
    space = read(
        tmp_path,
        "learning-rate: {low: 1e-4, high: 1, log: true}\nencoder_size: {low: 8, high: 24, step: 8}\n"
        "head: [crf, softmax]\nbatch_tokens: [null, 500]\n",
    )
    assert space == {
        "learning_rate": Range(low=1e-4, high=1.0, log=True),
        "encoder_size": Range(low=8, high=24, step=8),
        "head": Choices(values=("crf", "softmax")),
        "batch_tokens": Choices(values=(None, 500)),
    }
    assert isinstance(space["learning_rate"].high, float)  # type: ignore[union-attr]


class Trial:
    """Answers with what it is asked."""

    def __getattr__(self, name: str) -> Any:
        return lambda *arguments, **options: (name, *arguments, options)


def test_integers_and_real_numbers_are_asked_for_as_such() -> None:
    trial = Trial()
    whole = Range(low=8, high=24, step=8).suggest(trial, "a")
    assert whole == ("suggest_int", "a", 8, 24, {"step": 8, "log": False})
    real = Range(low=0.5, high=1.0, log=True).suggest(trial, "b")
    assert real == ("suggest_float", "b", 0.5, 1.0, {"step": None, "log": True})


def test_lists_are_offered_as_text_and_read_back(tmp_path: Path) -> None:
    """A storage would return a list where it was given a tuple."""
    (tmp_path / "space.yaml").write_text("pools: [[max, attention], mean]\nbatch_tokens: [600, null]\n")
    space = read_space(str(tmp_path / "space.yaml"), ClassifierRun(output="o"))
    offered: dict[str, Any] = {}

    class First:
        def suggest_categorical(self, name: str, values: Any) -> Any:
            offered[name] = values
            return values[0]

    taken = {name: dimension.suggest(First(), name) for name, dimension in space.items()}
    assert offered == {"pools": ('["max", "attention"]', '["mean"]'), "batch_tokens": (600, None)}
    assert taken == {"pools": ("max", "attention"), "batch_tokens": 600}
    assert chosen(space, {"pools": '["mean"]', "batch_tokens": None}) == {"pools": ("mean",), "batch_tokens": None}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("learnin_rate: [1e-3]", "Unknown configuration key 'learnin_rate'. Did you mean learning_rate?"),
        ("beam_size: [1, 2]", "Unknown configuration key 'beam_size'"),
        ("learning_rate: {low: 1e-3, hihg: 1}", "not 'hihg'. Did you mean high?"),
        ("learning_rate: {low: 1e-3}", "high must be given too"),
        ("learning_rate: 1e-3", "expected a list of choices, or a table with low and high, not 0.001"),
        ("learning_rate: []", "expected at least one choice"),
        ("learning_rate: {low: 2, high: 1}", "low must be a number below high; they are 2.0 and 1.0"),
        ("head: {low: crf, high: softmax}", "low must be a number below high"),
        ("dropout: {low: 0, high: 0.5, log: true}", "true only if low is above 0"),
        ("encoder_size: {low: 8, high: 16, step: 0.5}", "step must be an integer above 0, not 0.5"),
        ("dropout: {low: 0.0, high: 1.0}", "dropout must be at least 0 and below 1, not 1.0"),
        ("encoder_size: [32, large]", "encoder_size must be an integer, not 'large'"),
        ("monitor: [f1, loss]", "monitor cannot be searched over"),
        ("validation_share: [0.1]", "validation_share cannot be searched over"),
        ("resume: [true, false]", "resume makes no difference to a trial"),
        ("training: [1]", "training must be a table of settings"),
        ("{}", "expected at least one setting to vary"),
        ("- learning_rate", "must hold a table of settings, not list"),
    ],
)
def test_mistakes_are_named_with_the_file(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, text)
    assert message in str(caught.value)
    assert str(caught.value).startswith(str(tmp_path / "space.yaml"))


def test_other_values_go_to_their_groups() -> None:
    changed = with_values(RUN, {"encoder_size": 8, "learning_rate": 0.5})
    assert (changed.model.encoder_size, changed.training.learning_rate) == (8, 0.5)
    assert changed.data == RUN.data
