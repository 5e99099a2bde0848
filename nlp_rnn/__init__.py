"""Recurrent taggers, classifiers and translators that ship as one SavedModel.

The public names below are found on first use (PEP 562), so that importing the
package, or its configuration alone, does not load TensorFlow.

No public function bears a submodule's name: importing `nlp_rnn.export` sets
the attribute `export` of this package to that module, whatever stood there
before. Hence `export_model`.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nlp_rnn import layers as layers
    from nlp_rnn.clients import GrpcClient, RestClient, ServingError
    from nlp_rnn.cluster import LostWorkerError
    from nlp_rnn.config import BatchConfig, ConfigError, DataConfig, TextConfig
    from nlp_rnn.evaluation import evaluate
    from nlp_rnn.explanations import write_explanations
    from nlp_rnn.export import ExportError, export_model
    from nlp_rnn.jobs import (
        TUNE_RUNS,
        ClassifierRun,
        EvaluateRun,
        ExportRun,
        PredictRun,
        ServerConfigRun,
        TaggerRun,
        TranslatorRun,
        TuneClassifierRun,
        TuneConfig,
        TuneTaggerRun,
        TuneTranslatorRun,
        VerifyRun,
    )
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
    from nlp_rnn.plots import attention_heat_map
    from nlp_rnn.readers import DataError
    from nlp_rnn.runs import train
    from nlp_rnn.server_files import write_models_config
    from nlp_rnn.serving import Predictor
    from nlp_rnn.store import load
    from nlp_rnn.training import DivergenceError
    from nlp_rnn.tuning import tune
    from nlp_rnn.verification import verify

__all__ = [
    "BatchConfig",
    "ClassifierConfig",
    "ClassifierRun",
    "ClassifierTrainingConfig",
    "ConfigError",
    "DataConfig",
    "DataError",
    "DivergenceError",
    "EvaluateRun",
    "ExportError",
    "ExportRun",
    "GrpcClient",
    "LostWorkerError",
    "PredictRun",
    "Predictor",
    "ReadingConfig",
    "RestClient",
    "SearchConfig",
    "ServerConfigRun",
    "ServingError",
    "TUNE_RUNS",
    "TaggerConfig",
    "TaggerRun",
    "TaggerTrainingConfig",
    "TextConfig",
    "TranslatorConfig",
    "TranslatorRun",
    "TranslatorTrainingConfig",
    "TuneClassifierRun",
    "TuneConfig",
    "TuneTaggerRun",
    "TuneTranslatorRun",
    "VerifyRun",
    "WordsConfig",
    "attention_heat_map",
    "evaluate",
    "export_model",
    "layers",
    "load",
    "train",
    "tune",
    "verify",
    "write_explanations",
    "write_models_config",
]

_MODULE_OF = {
    "BatchConfig": "config",
    "ClassifierConfig": "model_config",
    "ClassifierRun": "jobs",
    "ClassifierTrainingConfig": "model_config",
    "ConfigError": "config",
    "DataConfig": "config",
    "DataError": "readers",
    "DivergenceError": "training",
    "EvaluateRun": "jobs",
    "ExportError": "export",
    "ExportRun": "jobs",
    "GrpcClient": "clients",
    "LostWorkerError": "cluster",
    "PredictRun": "jobs",
    "Predictor": "serving",
    "ReadingConfig": "model_config",
    "RestClient": "clients",
    "SearchConfig": "model_config",
    "ServerConfigRun": "jobs",
    "ServingError": "clients",
    "TUNE_RUNS": "jobs",
    "TaggerConfig": "model_config",
    "TaggerRun": "jobs",
    "TaggerTrainingConfig": "model_config",
    "TextConfig": "config",
    "TranslatorConfig": "model_config",
    "TranslatorRun": "jobs",
    "TranslatorTrainingConfig": "model_config",
    "TuneClassifierRun": "jobs",
    "TuneConfig": "jobs",
    "TuneTaggerRun": "jobs",
    "TuneTranslatorRun": "jobs",
    "VerifyRun": "jobs",
    "WordsConfig": "model_config",
    "attention_heat_map": "plots",
    "evaluate": "evaluation",
    "export_model": "export",
    "load": "store",
    "train": "runs",
    "tune": "tuning",
    "verify": "verification",
    "write_explanations": "explanations",
    "write_models_config": "server_files",
}


def __getattr__(name: str) -> Any:
    if name == "layers":
        return importlib.import_module("nlp_rnn.layers")
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'nlp_rnn' has no attribute {name!r}")
    return getattr(importlib.import_module(f"nlp_rnn.{_MODULE_OF[name]}"), name)


def __dir__() -> list[str]:
    return __all__
