"""The page, of findings made by hand: what it says, and that hostile texts stay texts."""

from html.parser import HTMLParser
from pathlib import Path

from report_cases import HOSTILE, findings

from nlp_rnn import report
from nlp_rnn.config import DataConfig
from nlp_rnn.jobs import TaggerRun
from nlp_rnn.reviews import Findings


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


def test_of_a_stream_the_first_examples_are_told_as_such(tmp_path: Path) -> None:
    data = DataConfig(dataset="org/names", streaming=True)
    reader, model_card = written(tmp_path, findings(run=TaggerRun(output="models/names", data=data)))
    assert "trained by nlp_rnn on a stream that began with 4 examples for 2 epochs." in reader.text
    assert "first training examples4" in reader.text
    assert "read as a stream. What is said here of training examples is said of those it began with. 4" in model_card
