"""Findings of a training made by hand, hostile texts among them, for the tests of what is written about one."""

from typing import Any

import numpy as np

from nlp_rnn.config import DataConfig
from nlp_rnn.jobs import TaggerRun
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
        "own_validation": True,
        "validation_examples": 7,
        "notes": (f"note {HOSTILE}",),
        "metrics": {"validation_loss": 0.5, "f1": 0.75, "accuracy": 0.9, "name": "x", "macro_f1": float("nan")},
        "history": [{"epoch": 1, "loss": 0.7}, {"epoch": 2, "loss": 0.5}],
        "review": REVIEW,
    }
    return Findings(**{**plain, **changes})
