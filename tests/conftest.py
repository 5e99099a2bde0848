"""What all tests share: no network, no traces left behind, the same seed each time."""

import logging
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

# Read when the libraries are imported, hence before any test module is. What runs tests side by side, and what tests
# start, inherit it.
_SCRATCH = tempfile.TemporaryDirectory(prefix="nlp_rnn_tests_")
os.environ |= {
    "HF_HOME": _SCRATCH.name,
    "HF_HUB_OFFLINE": "1",
    "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
    "MPLBACKEND": "agg",
    "MPLCONFIGDIR": os.environ.get("MPLCONFIGDIR", _SCRATCH.name),
    # Not even errors: a compiled program that is taken from the cache is said to be another machine's.
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "TQDM_DISABLE": "1",
    # Most of what XLA compiles here runs a few times, and some of it in several processes.
    "XLA_FLAGS": os.environ.get(
        "XLA_FLAGS", "--xla_backend_optimization_level=1 --xla_llvm_disable_expensive_passes=true"
    ),
    "TF_XLA_FLAGS": os.environ.get("TF_XLA_FLAGS", f"--tf_xla_persistent_cache_directory={_SCRATCH.name}"),
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
    """Gives the model directory of one of `small_exports.STORED`, its weights in a format, to be read only.

    Processes that run tests side by side share them.
    """
    import small_exports

    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "exported"
    folder.mkdir(exist_ok=True)

    def find(name: str, weights: str = "float32") -> Path:
        path = folder / f"{name} {weights}".replace(" ", "_")
        written = path.with_suffix(".written")
        with FileLock(path.with_suffix(".lock")):
            if not written.exists():
                shutil.rmtree(path, ignore_errors=True)
                small_exports.write(name, path, weights=weights)
                written.touch()
        return path

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
