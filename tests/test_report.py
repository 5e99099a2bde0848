"""The page and the model card, of findings made by hand: what they say, and that hostile texts stay texts."""

from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import huggingface_hub
import numpy as np
import pytest

from nlp_rnn import report
from nlp_rnn.config import DataConfig
from nlp_rnn.jobs import TaggerRun, TranslatorRun
from nlp_rnn.model_card import card
from nlp_rnn.model_config import TaggerConfig
from nlp_rnn.reviews import Attention, Findings, Mistake, Review, Slip

HOSTILE = "<script>alert('x')</script>\"><img src=http://evil.example/a.png> \u202eevil & `|` \ud800"
SLIP = Slip(text=f"York{HOSTILE}", expected="B-LOC", predicted="<i>O</i>")
REVIEW = Review(
    lengths={"words": np.array([2, 3, 3, 40])},
    examples=7,
    confusion=(["B-LOC", "O"], np.array([[1, 2], [0, 9]])),
    attention=(Attention(source_tokens=("a", "b"), target_tokens=("x",), weights=np.array([[0.1, 0.9]])),),
    mistakes=(Mistake(lines=(("sentence", ("In", SLIP)), ("text", HOSTILE)), note="1 of 2 tags wrong"),),
)


def findings(run: Any = None, **changes: Any) -> Findings:
    plain: dict[str, Any] = {
        "run": run or TaggerRun(output="models/<names>", data=DataConfig(train=(f"/home/me/{HOSTILE[:8]}.conll",))),
        "parameters": 12345,
        "training_examples": 4,
        "validation_examples": 7,
        "notes": (f"note {HOSTILE}",),
        "metrics": {"validation_loss": 0.5, "f1": 0.75, "accuracy": 0.9, "name": "x", "macro_f1": float("nan")},
        "history": [{"epoch": 1, "loss": 0.7}, {"epoch": 2, "loss": 0.5}],
        "review": REVIEW,
    }
    return Findings(**{**plain, **changes})


class Reader(HTMLParser):
    """Collects what a browser would see."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def written(folder: Path, told: Findings) -> tuple[Reader, str]:
    """Returns the page as read, and the card's text."""
    (folder / "plots").mkdir()
    report.draw(told, folder / "plots")
    report.write(told, folder)
    reader = Reader()
    reader.feed((folder / "report.html").read_text(encoding="utf-8"))
    reader.close()
    assert reader.open == []
    return reader, (folder / "README.md").read_text(encoding="utf-8")


def test_hostile_texts_are_shown_as_they_are_and_do_nothing(tmp_path: Path) -> None:
    page, _ = written(tmp_path, findings())
    shown = HOSTILE.replace("\ud800", "\\ud800")
    # In a note, as a word, and as a text.
    assert page.text.count(shown) == 3
    assert "<i>O</i>, not B-LOC" in page.text
    assert {tag for tag, _ in page.tags} & {"script", "i", "iframe", "link", "object", "names"} == set()
    addresses = [value for _, attributes in page.tags for name, value in attributes.items() if name in ("src", "href")]
    assert len(addresses) == 4
    assert all(str(address).startswith("data:image/png;base64,") for address in addresses)
    assert not any(name.startswith("on") for _, attributes in page.tags for name in attributes)


def test_the_page_shows_settings_metrics_epochs_and_mistakes(tmp_path: Path) -> None:
    page, _ = written(tmp_path, findings())
    for expected in ("f10.75", "encoder size256", "learning rate0.001", "1 of 2 tags wrong", "12,345 parameters"):
        assert expected in page.text
    assert sorted(path.name for path in (tmp_path / "plots").iterdir()) == [
        "attention_1.png", "confusion_matrix.png", "learning_curves.png", "lengths.png",
    ]  # fmt: skip
    # The wrong word is marked, the right one is not.
    assert [tag for tag, _ in page.tags].count("mark") == 1


def test_without_samples_no_text_of_the_data_is_written(tmp_path: Path) -> None:
    run = TaggerRun(output="models/names", samples=False)
    page, described = written(tmp_path, findings(run, notes=()))
    assert "York" not in page.text + described
    assert "--no-samples" in page.text
    assert not list((tmp_path / "plots").glob("attention*"))


def test_the_card_is_read_by_the_hub_s_own_reader() -> None:
    data = DataConfig(dataset="organisation/pairs", source_language="en", target_language="de")
    text = card(findings(TranslatorRun(output="models/en-de", data=data), metrics={"bleu": 31.4, "chrf": 50.0}))
    read = huggingface_hub.ModelCard(text)
    assert read.data.pipeline_tag == "translation"
    assert read.data.library_name == "nlp_rnn"
    assert read.data.language == ["en", "de"]
    assert read.data.datasets == ["organisation/pairs"]
    assert read.data.metrics == ["bleu", "chrf"]
    assert read.data.model_name == "en-de"
    results = [(result.metric_type, result.metric_value, result.dataset_split) for result in read.data.eval_results]
    assert results == [("bleu", 31.4, "validation"), ("chrf", 50.0, "validation")]
    assert 'nlp_rnn.Predictor("saved_models/NAME")' in read.text
    assert "beam of 5" in read.text
    assert '"$PWD/saved_models/NAME:/models/NAME"' in read.text


def test_a_card_of_local_files_names_them_without_their_folders_and_claims_no_hub_data_set() -> None:
    text = card(findings())
    read = huggingface_hub.ModelCard(text)
    assert read.data.datasets is None
    assert read.data.pipeline_tag == "token-classification"
    assert "/home/me" not in text
    assert "<script" not in read.text
    # What is no finite number is no result.
    assert [result.metric_name for result in read.data.eval_results] == ["f1", "accuracy"]


@pytest.mark.parametrize("dataset", ["sample:tagging", "."])
def test_samples_and_folders_are_no_data_sets_of_the_hub(dataset: str) -> None:
    run = TaggerRun(output="o", data=DataConfig(dataset=dataset), model=TaggerConfig())
    assert huggingface_hub.ModelCard(card(findings(run))).data.datasets is None


def test_of_a_stream_the_first_examples_are_told_as_such(tmp_path: Path) -> None:
    data = DataConfig(dataset="org/names", streaming=True)
    reader, model_card = written(tmp_path, findings(run=TaggerRun(output="models/names", data=data)))
    assert "trained by nlp_rnn on a stream that began with 4 examples for 2 epochs." in reader.text
    assert "first training examples4" in reader.text
    assert "read as a stream. What is said here of training examples is said of those it began with. 4" in model_card
