"""The model card: what a model is, as the Hugging Face hub reads it, for people and for its search.

No text of the data is quoted, and no path of the machine that trained it.
"""

import re
import string
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import huggingface_hub

from nlp_rnn.families import Run, family_of
from nlp_rnn.reviews import Findings, shown
from nlp_rnn.settings import to_dict

# What the hub calls the families' tasks, and metrics of ours.
_TASKS = {
    "translator": "translation",
    "tagger": "token-classification",
    "classifier": "text-classification",
    "language_model": "text-generation",
}
_HUB_METRICS = {
    "bleu": "bleu", "chrf": "chrf", "accuracy": "accuracy", "f1": "f1", "precision": "precision", "recall": "recall",
    "macro_f1": "f1", "perplexity": "perplexity",
}  # fmt: skip
_CALIBRATED = (
    "Probabilities are calibrated on the validation set: on texts of another kind they say less about how often the "
    "answer is right."
)
_NOT_CALIBRATED = "Scores and probabilities are the network's own, not calibrated afterwards."


def card(findings: Findings) -> str:
    """Returns a model card as the Hugging Face hub reads it: data in YAML, then prose in Markdown."""
    run = findings.run
    family = family_of(run).name
    prose = _CARD.substitute(
        name=_plain_line(findings.name),
        summary=findings.summary,
        data=_card_data(findings),
        metrics="\n".join(f"| {name} | {shown(value)} |" for name, value in findings.figures.items()),
        sizes="\n".join(f"| {name} | {_code(shown(value))} |" for name, value in to_dict(run.model).items()),
        limits="\n".join(f"- {limit}" for limit in _limits(run)),
    )
    return f"---\n{_front_matter(findings, family)}\n---\n\n{prose}"


_CARD = string.Template("""# $name

$summary

## Use

The folder above this one is a model directory: the numbered folders in it are SavedModels that take raw text, with the
tokenizer, the search and the decoding inside.

```python
import nlp_rnn

predictor = nlp_rnn.Predictor("saved_models/NAME")  # the model directory, or one version in it
print(predictor.predict(["a text"])[0])
```

It is also a base path for TensorFlow Serving:

```
docker run --rm -p 8501:8501 -v "$$PWD/saved_models/NAME:/models/NAME" -e MODEL_NAME=NAME tensorflow/serving:2.20.0
curl -d '{"inputs": {"text": ["a text"]}}' localhost:8501/v1/models/NAME:predict
```

## Training data

$data

## Sizes

| setting | value |
| --- | --- |
$sizes

All settings are in `config.json`, the epochs in `history.csv`, pictures in `plots/` and on the page `report.html`.

## Metrics

On the validation set, by which the best epoch was chosen, and what a classifier fits at the end; on texts that had
no part in the training expect a little less.

| metric | value |
| --- | --- |
$metrics

## Limits

$limits
""")


def _front_matter(findings: Findings, family: str) -> str:
    run = findings.run
    hub_id = _hub_id(run.data.dataset)
    languages = [language for language in (run.data.source_language, run.data.target_language) if language]
    measured = {name: value for name, value in findings.figures.items() if name in _HUB_METRICS}
    results = [
        huggingface_hub.EvalResult(
            task_type=_TASKS[family],
            **_measured_on(findings),
            metric_type=_HUB_METRICS[name],
            metric_name=name,
            metric_value=round(value, 6),
        )
        for name, value in measured.items()
    ]
    data = huggingface_hub.ModelCardData(
        language=languages or None,
        library_name="nlp_rnn",
        pipeline_tag=_TASKS[family],
        tags=["tensorflow", "keras", "saved-model", "recurrent", family.replace("_", "-")],
        datasets=[hub_id] if hub_id else None,
        metrics=list(dict.fromkeys(_HUB_METRICS[name] for name in measured)) or None,
        # A name without results is refused by the hub's own class.
        model_name=findings.name if results else None,
        eval_results=results or None,
    )
    return data.to_yaml()


def _measured_on(findings: Findings) -> dict[str, Any]:
    """Returns how the hub calls what the metrics were measured on; what a hub data set does not hold is local."""
    data = findings.run.data
    hub_id = _hub_id(data.dataset)
    if hub_id is None or data.validation:
        return {"dataset_type": "local", "dataset_name": "validation set"}
    revision = {"dataset_config": data.dataset_config, "dataset_revision": data.dataset_revision}
    if findings.own_validation:
        return {"dataset_type": hub_id, "dataset_name": hub_id, "dataset_split": "validation", **revision}
    name = f"{hub_id}, held-out training examples"
    return {"dataset_type": hub_id, "dataset_name": name, "dataset_split": "train", **revision}


def _hub_id(dataset: str | None) -> str | None:
    """Returns a data set's name if it is one on the hub: no sample, and no folder of this machine."""
    if dataset is None or Path(dataset).exists() or not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", dataset):
        return None
    return dataset


def _card_data(findings: Findings) -> str:
    data = findings.run.data
    # The names alone: where files lay is nobody's business.
    files = [_code(Path(path).name) for path in data.train]
    dataset = _hub_id(data.dataset)
    if dataset:
        origin = f"The data set [{dataset}](https://huggingface.co/datasets/{dataset})"
    elif data.dataset:
        origin = (
            f"The data set {_code(data.dataset if data.dataset.startswith('sample:') else Path(data.dataset).name)}"
        )
    else:
        origin = f"Local files: {', '.join(files)}"
    lengths = "; ".join(
        f"{name}: {values.mean():.1f} on average, at most {values.max():,}"
        for name, values in findings.review.lengths.items()
    )
    if data.streaming:
        origin += ", read as a stream. What is said here of training examples is said of those it began with"
    held_out = "" if findings.own_validation or data.validation else ", these held out of the former"
    return (
        f"{origin}. {findings.training_examples:,} training and {findings.validation_examples:,} validation examples"
        f"{held_out}. Length of the training examples in {lengths}."
    )


def _limits(run: Run) -> list[str]:
    settings = to_dict(run)
    groups = [group for group in settings.values() if isinstance(group, Mapping)]
    longest = next((group["maximum_length"] for group in groups if "maximum_length" in group), 512)
    limits = [
        "It has learned from the data above and nothing else; texts of another kind or language are answered all the "
        "same, and worse.",
        f"Texts are read up to {longest} tokens; `truncated` says where more were cut off.",
        _CALIBRATED if family_of(run).name == "classifier" else _NOT_CALIBRATED,
    ]
    if "search" in settings:
        limits.append(
            "The metrics are those of greedy translations; "
            f"the export searches with a beam of {settings['search']['beam_size']}."
        )
    return limits


def _code(text: str) -> str:
    """Returns a text as Markdown's code, whatever it holds, for a line or a cell of a table."""
    line = _plain_line(text)
    fence = "`" * (1 + max(map(len, re.findall("`+", line)), default=0))
    air = " " if "`" in line else ""
    return f"{fence}{air}{line}{air}{fence}" if line else ""


def _plain_line(text: str) -> str:
    """Returns a text without line breaks, markup and cell borders."""
    line = " ".join(text.split())
    return re.sub(r"[<>|\\\[\]]", " ", line)
