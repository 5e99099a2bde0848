"""What all tests share: no network, no traces left behind, the same seed each time."""

import logging
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

# Read when the libraries are imported, hence before any test module is.
_SCRATCH = tempfile.TemporaryDirectory(prefix="nlp_rnn_tests_")
os.environ |= {
    "HF_HOME": _SCRATCH.name,
    "HF_HUB_OFFLINE": "1",
    "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
    "MPLBACKEND": "agg",
    "MPLCONFIGDIR": _SCRATCH.name,
    "TF_CPP_MIN_LOG_LEVEL": os.environ.get("TF_CPP_MIN_LOG_LEVEL", "2"),
    "TQDM_DISABLE": "1",
    # Most of what XLA compiles here runs a few times: machine code that is good enough is there sooner.
    "XLA_FLAGS": os.environ.get(
        "XLA_FLAGS", "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"
    ),
}

# Imported by test modules; their asserts should say as much as those of the tests.
pytest.register_assert_rewrite(
    "c_api_cases", "pipeline_cases", "recurrent_cases", "search_reference", "serving_cases", "tagger_cases",
    "text_cases",
)  # fmt: skip


def pytest_unconfigure() -> None:
    _SCRATCH.cleanup()


@pytest.fixture(autouse=True)
def _same_start() -> Iterator[None]:
    """Every test starts from one seed and float32, whichever ran before it."""
    if "keras" in sys.modules:
        import keras

        keras.utils.set_random_seed(1)
        policy = keras.config.dtype_policy()
        yield
        keras.config.set_dtype_policy(policy)
    else:
        yield


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real corpora beside the repository, where there is one."""
    folder = Path(__file__).resolve().parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"needs the corpora in {folder}")
    return folder


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Gives the model directory of one of `small_exports.STORED`, its weights in a format, to be read only."""
    import small_exports

    folder, made = tmp_path_factory.mktemp("exported"), {}

    def find(name: str, weights: str = "float32") -> Path:
        if (name, weights) not in made:
            path = folder / f"{name} {weights}".replace(" ", "_")
            made[name, weights] = small_exports.write(name, path, weights=weights)
        return made[name, weights]

    return find


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Any]:
    """Runs pipeline scripts in this process."""
    import pipeline_cases

    root, package = logging.getLogger(), logging.getLogger("nlp_rnn")
    levels = root.level, package.level
    yield pipeline_cases.Script(monkeypatch, capsys)
    for handler in list(root.handlers):  # it writes to a stream that ends with the test
        root.removeHandler(handler)
    root.setLevel(levels[0])
    package.setLevel(levels[1])
