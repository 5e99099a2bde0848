"""What a last look at a trained model found: how long its texts are, and where it goes wrong.

Each family's task fills in what it has; `report` and `model_card` show it, whatever the family.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nlp_rnn.families import Run, family_of


@dataclass(frozen=True, kw_only=True)
class Slip:
    """A word that was read wrongly.

    Attributes:
        text: The word.
        expected: What it should have been taken for.
        predicted: What it was taken for.
    """

    text: str
    expected: str
    predicted: str


@dataclass(frozen=True, kw_only=True)
class Mistake:
    """An example that went wrong.

    Attributes:
        lines: What to show of it, each with a name: a text, or the words of
            one, of which the wrong ones are slips.
        note: How wrong it is, in a few words.
    """

    lines: tuple[tuple[str, str | tuple[str | Slip, ...]], ...]
    note: str


@dataclass(frozen=True, kw_only=True)
class Attention:
    """What each token of an answer looked at.

    Attributes:
        source_tokens: Tokens of the source, without padding.
        target_tokens: Tokens of the answer, without padding.
        weights: float (target tokens, source tokens).
    """

    source_tokens: tuple[str, ...]
    target_tokens: tuple[str, ...]
    weights: np.ndarray


@dataclass(frozen=True, kw_only=True)
class Review:
    """All that a family's task has to say of its trained model.

    Attributes:
        lengths: Of every training example, by what is counted (`words`): int (examples,).
        longest: Training examples that are longer were left out; None where none are.
        examples: How many validation examples were looked at.
        confusion: Labels, and how often each (a row) was taken for which (a
            column); None where there are no labels.
        attention: Of some validation examples.
        mistakes: The worst validation examples, the worst one first.
    """

    lengths: Mapping[str, np.ndarray]
    longest: int | None = None
    examples: int = 0
    confusion: tuple[list[str], np.ndarray] | None = None
    attention: tuple[Attention, ...] = ()
    mistakes: tuple[Mistake, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Findings:
    """All that there is to tell of a training.

    Attributes:
        run: What it was told. Without `run.samples` no text of the data is shown.
        parameters: Numbers in the network.
        training_examples: Examples learned from; of a stream, those it began
            with, which its vocabulary and lengths are taken from.
        validation_examples: Examples that the best epoch was chosen by.
        own_validation: Whether they are the data set's own for that, neither a
            user's files nor held out of the training set.
        notes: What is to be known of how the corpus came to be.
        metrics: What was measured on the validation set, with the weights that are stored.
        history: A row for each epoch.
        review: What the family's task found.
    """

    run: Run
    parameters: int
    training_examples: int
    validation_examples: int
    own_validation: bool
    notes: Sequence[str]
    metrics: Mapping[str, Any]
    history: Sequence[Mapping[str, float]]
    review: Review

    @property
    def name(self) -> str:
        """What the model is called: as its directory."""
        return Path(self.run.output).absolute().name

    @property
    def summary(self) -> str:
        """One sentence on what the model is."""
        family = family_of(self.run).name.replace("_", " ")
        examples = f"{self.training_examples:,} examples"
        data = f"a stream that began with {examples}" if self.run.data.streaming else examples
        return (
            f"A recurrent {family} of {self.parameters:,} parameters, trained by nlp_rnn on {data} for "
            f"{len(self.history)} epochs."
        )

    @property
    def figures(self) -> dict[str, float]:
        """The metrics that are single numbers."""
        return {
            name: float(value)
            for name, value in self.metrics.items()
            if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        }


def shown(value: Any) -> str:
    """Returns a setting or a metric as people read it."""
    if isinstance(value, float):
        return f"{value:.4g}" if abs(value) < 1e4 else f"{value:,.0f}"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value)) or "none"
    return "none" if value is None else str(value)
