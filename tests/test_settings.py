import json
from dataclasses import dataclass, field
from typing import Literal

import pytest

from nlp_rnn.config import BatchConfig, ConfigError, DataConfig
from nlp_rnn.jobs import TranslatorRun
from nlp_rnn.model_config import SearchConfig
from nlp_rnn.settings import flat_values, from_dict, nearest, to_dict


@dataclass(frozen=True, kw_only=True)
class Inner:
    size: int = 3
    rate: float = 0.5
    kind: Literal["a", "b"] = "a"


@dataclass(frozen=True, kw_only=True)
class Outer:
    output: str
    inner: Inner = field(default_factory=Inner)
    files: tuple[str, ...] = ()
    limit: int | None = None
    keep: bool = True


def test_a_run_survives_json() -> None:
    run = TranslatorRun(
        output="here",
        data=DataConfig(train=("a.en", "a.de")),
        batching=BatchConfig(batch_tokens=4000),
        search=SearchConfig(beam_size=8, length_penalty=0.6),
        samples=False,
    )
    assert from_dict(TranslatorRun, json.loads(json.dumps(to_dict(run)))) == run


def test_nested_and_flat_keys_mean_the_same() -> None:
    expected = Outer(output="o", inner=Inner(size=7, kind="b"))
    assert from_dict(Outer, {"output": "o", "inner": {"size": 7, "kind": "b"}}) == expected
    assert from_dict(Outer, {"output": "o", "size": 7, "kind": "b"}) == expected


def test_hyphens_and_underscores_mean_the_same() -> None:
    assert from_dict(TranslatorRun, {"output": "o", "beam-size": 2}).search.beam_size == 2


def test_flat_values_holds_only_what_was_given() -> None:
    assert flat_values(Outer, {"inner": {"rate": 1}, "files": ["x"]}) == {"rate": 1.0, "files": ("x",)}


def test_values_take_the_type_of_their_field() -> None:
    made = from_dict(Outer, {"output": "o", "rate": 1, "files": ["x", "y"], "limit": None})
    assert (made.inner.rate, made.files, made.limit) == (1.0, ("x", "y"), None)
    assert isinstance(made.inner.rate, float)
    assert from_dict(Outer, {"output": "o", "files": "alone"}).files == ("alone",)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"beam_sise": 3}, r"Unknown configuration key 'beam_sise'\. Did you mean beam_size\?"),
        ({"xyzzy": 3}, r"Unknown configuration key 'xyzzy'\.$"),
        ({"searhc": {}}, r"Unknown configuration key 'searhc'\. Did you mean search\?"),
        ({1: 2}, r"Unknown configuration key 1\."),
        ({"search": {"beam_size": 3}, "beam_size": 4}, r"beam_size is given twice"),
        ({"search": 3}, r"search must be a table of settings, not 3"),
        ({"beam_size": "3"}, r"beam_size must be an integer, not '3'"),
        ({"beam_size": 3.0}, r"beam_size must be an integer, not 3\.0"),
        ({"beam_size": True}, r"beam_size must be an integer, not True"),
        ({"beam_size": None}, r"beam_size must be an integer, not None"),
        ({"learning_rate": True}, r"learning_rate must be a number, not True"),
        ({"learning_rate": "fast"}, r"learning_rate must be a number, not 'fast'"),
        ({"samples": 1}, r"samples must be true or false, not 1"),
        ({"dataset": 3}, r"dataset must be text, not 3"),
        ({"train": 3}, r"train must be a list, not 3"),
        ({"train": [3]}, r"train must be text, not 3"),
        ({"cell": "rnn"}, r"cell must be one of 'lstm', 'gru', not 'rnn'"),
        ({"batch_tokens": "many"}, r"batch_tokens must be an integer, not 'many'"),
        ({"output": ""}, r"output must be the path of a model directory, not ''"),
    ],
)
def test_wrong_values_are_named(values: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        from_dict(TranslatorRun, {"output": "o"} | values)


def test_a_missing_key_is_named() -> None:
    with pytest.raises(ConfigError, match=r"^output is required\.$"):
        from_dict(TranslatorRun, {"beam_size": 3})


def test_nearest_offers_only_what_is_near() -> None:
    assert nearest("--beam-sise", ["--beam-size", "--seed"]) == " Did you mean --beam-size?"
    assert nearest("--frobnicate", ["--beam-size", "--seed"]) == ""
