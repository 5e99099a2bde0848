"""The page that shows what labels lean on."""

from pathlib import Path
from typing import Any

from nlp_rnn.answers import Classification, Evidence
from nlp_rnn.explanations import write_explanations


def evidence(
    tokens: tuple[str, ...], attention: tuple[float, ...], labels: tuple[str, ...] = ("good",), **second: Any
) -> Evidence:
    answer = Classification(labels=labels, score=0.75, probabilities={"bad": 0.25, "good": 0.75}, truncated=False)
    return Evidence(classification=answer, tokens=tokens, attention=attention, **second)


def page(tmp_path: Path, *some: Evidence) -> str:
    path = tmp_path / "page.html"
    write_explanations(path, some)
    return path.read_text(encoding="utf-8")


def test_the_heaviest_word_is_the_darkest(tmp_path: Path) -> None:
    written = page(tmp_path, evidence(("not", "bad"), (0.2, 0.8)))
    assert 'style="background: rgba(255, 150, 0, 0.188)" title="0.200">not</span>' in written
    assert 'style="background: rgba(255, 150, 0, 0.750)" title="0.800">bad</span>' in written
    assert "<b>good</b>" in written and "good 0.750, bad 0.250" in written


def test_both_texts_of_a_pair_are_shaded_each_for_itself(tmp_path: Path) -> None:
    written = page(tmp_path, evidence(("a", "b"), (0.2, 0.8), pair_tokens=("c", "d"), pair_attention=(0.25, 0.5)))
    first, second = (part.split("</p>")[0] for part in written.split("</p>\n<p><span class=")[1:])
    assert 'title="0.200">a</span>' in first and 'rgba(255, 150, 0, 0.750)" title="0.800">b</span>' in first
    assert 'title="0.250">c</span>' in second and 'rgba(255, 150, 0, 0.750)" title="0.500">d</span>' in second
    assert written.count("<section>") == 1


def test_texts_cannot_write_into_the_page(tmp_path: Path) -> None:
    written = page(tmp_path, evidence(("<script>alert(1)</script>", '"&'), (0.5, 0.5), labels=("<i>",)))
    assert "<script" not in written and "<i>" not in written
    assert "&lt;script&gt;" in written and "&quot;&amp;" in written


def test_empty_texts_and_white_space_are_shown(tmp_path: Path) -> None:
    written = page(tmp_path, evidence((), (), labels=()), evidence((" ",), (1.0,)), evidence(("a",), (0.0,)))
    assert "<b>no label</b>" in written
    assert ">\u2423</span>" in written
    assert written.count("<section>") == 3


def test_the_page_needs_nothing_from_elsewhere(tmp_path: Path) -> None:
    written = page(tmp_path, evidence(("a",), (1.0,)))
    assert "http" not in written and "src=" not in written
