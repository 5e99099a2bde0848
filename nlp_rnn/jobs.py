"""What each command is told: one configuration a command, made of the groups in `config`."""

import dataclasses
import re
from dataclasses import dataclass, field
from typing import Literal

from nlp_rnn.config import BatchConfig, ConfigError, DataConfig, TextConfig, require
from nlp_rnn.model_config import (
    ClassifierConfig,
    ClassifierTrainingConfig,
    ReadingConfig,
    SearchConfig,
    TaggerConfig,
    TaggerTrainingConfig,
    TranslatorConfig,
    TranslatorTrainingConfig,
    WordsConfig,
)


@dataclass(frozen=True, kw_only=True)
class TranslatorRun:
    """Everything a translator's training needs to know.

    Attributes:
        output: The model directory to write.
        data: Where the examples come from.
        text: How text becomes tokens.
        batching: How examples are put together.
        model: The network's sizes.
        search: How translations are searched for.
        training: How the parameters are learned.
        init_from: A model directory to begin with: how it reads, its
            embeddings and its encoder are taken over, sizes included.
        samples: Keep held-out examples in the model directory, for the
            checks of its exports (`--no-samples` keeps all text out).
    """

    output: str
    data: DataConfig = field(default_factory=DataConfig)
    text: TextConfig = field(default_factory=TextConfig)
    batching: BatchConfig = field(default_factory=BatchConfig)
    model: TranslatorConfig = field(default_factory=TranslatorConfig)
    search: SearchConfig = field(default_factory=SearchConfig)
    training: TranslatorTrainingConfig = field(default_factory=TranslatorTrainingConfig)
    init_from: str | None = None
    samples: bool = True

    def __post_init__(self) -> None:
        _check(self, longest="longest_example", tokens=self.batching.longest_example)


@dataclass(frozen=True, kw_only=True)
class TaggerRun:
    """Everything a tagger's training needs to know.

    Attributes:
        output: The model directory to write.
        data: Where the examples come from.
        words: How words are read.
        batching: How examples are put together.
        model: The network's sizes, and how it reads tags.
        training: How the parameters are learned.
        init_from: A model directory to begin with: how it reads, its
            embeddings and its encoder are taken over, sizes included.
        samples: Keep held-out examples in the model directory, for the
            checks of its exports (`--no-samples` keeps all text out).
    """

    output: str
    data: DataConfig = field(default_factory=DataConfig)
    words: WordsConfig = field(default_factory=WordsConfig)
    batching: BatchConfig = field(default_factory=BatchConfig)
    model: TaggerConfig = field(default_factory=TaggerConfig)
    training: TaggerTrainingConfig = field(default_factory=TaggerTrainingConfig)
    init_from: str | None = None
    samples: bool = True

    def __post_init__(self) -> None:
        _check(self, longest="longest_example", tokens=self.batching.longest_example)


@dataclass(frozen=True, kw_only=True)
class ClassifierRun:
    """Everything a classifier's training needs to know.

    Attributes:
        output: The model directory to write.
        data: Where the examples come from.
        reading: How text is read.
        batching: How examples are put together. `longest_example` leaves
            nothing out here: `maximum_length` cuts.
        model: The network's sizes.
        training: How the parameters are learned.
        init_from: A model directory to begin with: how it reads, its
            embeddings and its encoder are taken over, sizes included.
        samples: Keep held-out examples in the model directory, for the
            checks of its exports (`--no-samples` keeps all text out).
    """

    output: str
    data: DataConfig = field(default_factory=DataConfig)
    reading: ReadingConfig = field(default_factory=ReadingConfig)
    batching: BatchConfig = field(default_factory=BatchConfig)
    model: ClassifierConfig = field(default_factory=ClassifierConfig)
    training: ClassifierTrainingConfig = field(default_factory=ClassifierTrainingConfig)
    init_from: str | None = None
    samples: bool = True

    def __post_init__(self) -> None:
        # Texts are cut there, and `longest_example` leaves none of them out.
        _check(self, longest="maximum_length", tokens=self.reading.maximum_length)
        if self.reading.subword_sampling and (self.training.deterministic or self.training.resume):
            raise ConfigError(
                "subword_sampling has no seed: neither deterministic nor resume can keep its word with it."
            )
        if self.data.multi_label and self.training.class_weights == "balanced":
            raise ConfigError("class_weights are for examples with one label: leave them out with multi_label.")
        tokenizer, model = self.reading.tokenizer, self.model
        if tokenizer != "words" and (model.character_encoder != "none" or model.shape_size):
            raise ConfigError(
                "character_encoder and shape_size are for words: leave them out, or set tokenizer to words, not "
                f"{tokenizer}."
            )


def _check(run: TranslatorRun | TaggerRun | ClassifierRun, *, longest: str, tokens: int) -> None:
    """Raises a ConfigError unless settings of different groups agree, whatever the family.

    Args:
        run: The settings.
        longest: The name of the setting that bounds the examples' lengths.
        tokens: Its value.
    """
    data, training, batch_tokens = run.data, run.training, run.batching.batch_tokens
    require(bool(run.output), "output", run.output, "the path of a model directory")
    require(
        batch_tokens is None or batch_tokens >= tokens + 2,
        "batch_tokens",
        batch_tokens,
        f"at least {longest} plus two ({tokens + 2}), so that every example fits",
    )
    if data.streaming and training.strategy != "single":
        raise ConfigError(
            f"strategy {training.strategy} divides batches that are planned from all of the data: it cannot be had "
            "with streaming. Leave one of them out."
        )
    if run.init_from is None and (training.layer_decay != 1 or training.thaw_epochs):
        raise ConfigError("layer_decay and thaw_epochs are for what init_from takes over: leave them out.")


@dataclass(frozen=True, kw_only=True)
class TuneConfig:
    """How good settings are searched for.

    Attributes:
        space: A JSON or YAML file: the names of settings, and for each a list
            of choices, or `low` and `high`, maybe with `log: true` or `step`.
        trials: Settings to try, those that the storage holds already included.
        storage: Where trials are kept, as an Optuna URL such as
            `sqlite:///trials.db`; a file in the output folder, if not given.
        study: The trials' name in the storage; the output folder's, if not given.
        pruner: What ends a trial that does worse than others did after as many
            epochs: Optuna's median pruner, Hyperband, or nothing.
    """

    space: str
    trials: int = 20
    storage: str | None = None
    study: str | None = None
    pruner: Literal["median", "hyperband", "none"] = "median"

    def __post_init__(self) -> None:
        require(self.trials >= 1, "trials", self.trials, "at least 1")


@dataclass(frozen=True, kw_only=True)
class TuneTranslatorRun(TranslatorRun):
    """Everything a search for a translator's settings needs to know; `output` is the folder of its results.

    Attributes:
        tuning: How the settings are searched for.
    """

    tuning: TuneConfig


@dataclass(frozen=True, kw_only=True)
class TuneTaggerRun(TaggerRun):
    """Everything a search for a tagger's settings needs to know; `output` is the folder of its results.

    Attributes:
        tuning: How the settings are searched for.
    """

    tuning: TuneConfig


@dataclass(frozen=True, kw_only=True)
class TuneClassifierRun(ClassifierRun):
    """Everything a search for a classifier's settings needs to know; `output` is the folder of its results.

    Attributes:
        tuning: How the settings are searched for.
    """

    tuning: TuneConfig


TuneRun = TuneTranslatorRun | TuneTaggerRun | TuneClassifierRun
TUNE_RUNS: dict[str, type[TuneRun]] = {
    "translator": TuneTranslatorRun,
    "tagger": TuneTaggerRun,
    "classifier": TuneClassifierRun,
}


@dataclass(frozen=True, kw_only=True)
class EvaluateRun:
    """Everything the evaluation of a model on a test set needs to know.

    Attributes:
        model: The model directory; its newest SavedModel is evaluated.
        data: Where the test set comes from.
        ignore_pattern: Regular expression; what it matches is taken out of
            a translator's hypotheses and references before the error rates
            are computed.
        predictions: A file to write what was predicted to, an example a line:
            a translation, a sentence's tags separated by spaces, or a label.
        pictures: A folder for the confusion matrix and the reliability diagram
            of a tagger or classifier.
        batch_size: Examples given to the model at once.
    """

    model: str
    data: DataConfig = field(default_factory=DataConfig)
    ignore_pattern: str | None = None
    predictions: str | None = None
    pictures: str | None = None
    batch_size: int = 64

    def __post_init__(self) -> None:
        require(bool(self.model), "model", self.model, "the path of a model directory")
        require(self.batch_size >= 1, "batch_size", self.batch_size, "at least 1")
        for name in ("train", "validation"):
            if getattr(self.data, name):
                raise ConfigError(f"{name} is for trainings: an evaluation reads --test, or a data set's test split.")
        try:
            re.compile(self.ignore_pattern or "")
        except re.error as error:
            raise ConfigError(
                f"ignore_pattern must be a regular expression, not {self.ignore_pattern!r}: {error}."
            ) from error


@dataclass(frozen=True, kw_only=True)
class PredictRun:
    """Everything a prediction for new texts needs to know.

    Attributes:
        model: The model directory; its newest SavedModel predicts.
        input: A file with one text a line; standard input, if not given.
        n_best: Give this many translations of each text instead of the best
            one, at most as many as the export was made for.
        attention_plots: A folder to draw each translation's attention in.
        explain: An HTML file to write, in which the words that a classifier's
            decisions leaned on are shaded.
        batch_size: Texts given to the model at once.
    """

    model: str
    input: str | None = None
    n_best: int | None = None
    attention_plots: str | None = None
    explain: str | None = None
    batch_size: int = 64

    def __post_init__(self) -> None:
        require(bool(self.model), "model", self.model, "the path of a model directory")
        require(self.n_best is None or self.n_best >= 1, "n_best", self.n_best, "at least 1")
        require(self.batch_size >= 1, "batch_size", self.batch_size, "at least 1")
        if self.n_best and self.attention_plots:
            raise ConfigError("n_best and attention_plots exclude each other: attention is of the best translation.")


@dataclass(frozen=True, kw_only=True)
class ExportRun:
    """Everything a new export of a stored model needs to know.

    Settings of a family that are not given stay as the model was trained
    with, whatever earlier exports had: `maximum_length` for all families,
    `threshold` for classifiers, the others for translators.

    Attributes:
        model: The model directory; the export becomes its next version.
        beam_size: Hypotheses kept at each step; 1 is greedy search.
        length_penalty: Exponent by which long translations are favoured.
        coverage_penalty: Weight of the coverage penalty.
        minimum_length: Fewest tokens of a translation.
        maximum_length: Most tokens read from a text, and written to a translation.
        maximum_length_ratio: Most tokens of a translation for each token of its
            source; any may have 20 more.
        n_best: Translations returned by the `n_best` signature.
        threshold: Probability from which on a label of several is selected.
        weights: The number format of the weights, float32 if not given; those
            of 16 bits make the export half as large. bfloat16 is computed in as well, float16 is not.
        keep: Versions to leave in the model directory, this one counted; the
            oldest are removed. All are left, if not given.
    """

    model: str
    beam_size: int | None = None
    length_penalty: float | None = None
    coverage_penalty: float | None = None
    minimum_length: int | None = None
    maximum_length: int | None = None
    maximum_length_ratio: float | None = None
    n_best: int | None = None
    threshold: float | None = None
    weights: Literal["float32", "bfloat16", "float16"] = "float32"
    keep: int | None = None

    def __post_init__(self) -> None:
        require(bool(self.model), "model", self.model, "the path of a model directory")
        known = ("float32", "bfloat16", "float16")
        require(self.weights in known, "weights", self.weights, f"one of {', '.join(known)}")
        require(self.keep is None or self.keep >= 1, "keep", self.keep, "at least 1: the newest version always stays")

    def fixed(self, trained_with: "TranslatorRun | TaggerRun | ClassifierRun") -> dict[str, float | int]:
        """Returns what the graph fixes: the model's own settings with those given here in their place.

        Raises:
            ConfigError: The settings do not agree with each other, or are not
                this family's.
        """
        names = [item.name for item in dataclasses.fields(self) if item.name not in ("model", "weights", "keep")]
        given = {name: getattr(self, name) for name in names if getattr(self, name) is not None}
        kinds: dict[type, tuple[str, dict[str, list[str]]]] = {
            TranslatorRun: ("translator", {"search": [item.name for item in dataclasses.fields(SearchConfig)]}),
            TaggerRun: ("tagger", {"words": ["maximum_length"]}),
            ClassifierRun: ("classifier", {"reading": ["maximum_length"], "model": ["threshold"]}),
        }
        name, groups = kinds[type(trained_with)]
        fixed: dict[str, float | int] = {}
        for group, own in groups.items():
            changed = dataclasses.replace(
                getattr(trained_with, group), **{key: value for key, value in given.items() if key in own}
            )
            fixed |= {key: getattr(changed, key) for key in own}
        strange = sorted(given.keys() - fixed.keys())
        if strange:
            raise ConfigError(f"{', '.join(strange)}: a {name} has no such setting; it has {', '.join(sorted(fixed))}.")
        if isinstance(trained_with, ClassifierRun) and "threshold" in given and not trained_with.data.multi_label:
            raise ConfigError("threshold is for classifiers that give several labels: leave it out.")
        return fixed


@dataclass(frozen=True, kw_only=True)
class VerifyRun:
    """Everything the check of an export needs to know.

    Attributes:
        model: The model directory.
        version: The number of the export to check; the newest, if not given.
        json: Print one JSON object instead of lines for people.
        python: The interpreter that answers for the SavedModel in the parity
            check, such as one with TensorFlow in a server's version; this
            one, if not given.
    """

    model: str
    version: int | None = None
    json: bool = False
    python: str | None = None

    def __post_init__(self) -> None:
        require(bool(self.model), "model", self.model, "the path of a model directory")
        require(self.version is None or self.version >= 0, "version", self.version, "at least 0")


@dataclass(frozen=True, kw_only=True)
class ServerConfigRun:
    """Everything a model server's list of models needs to know.

    Attributes:
        models: The folder with the model directories, at any depth.
        base_path: Where the server finds that folder.
        output: The file to write; models.config in the folder, if not given.
    """

    models: str = "saved_models"
    base_path: str = "/models"
    output: str | None = None

    def __post_init__(self) -> None:
        require(bool(self.models), "models", self.models, "the path of a folder with model directories")
