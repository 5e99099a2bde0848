"""Every family's train step and decoding on this machine's GPU, or its CPU: tokens a second, and how much of its peak.

    python -m benchmarks.gpu                     # on a machine with an NVIDIA GPU: cuDNN and portable, small and large
    python -m benchmarks.gpu --repeats 5         # without one: portable alone, at sizes that a CPU can bear

Texts are random words, all of one length, so that nothing is padded and one shape is compiled. The train step is that
of `nlp_rnn.train`, over batches that lie in memory. The peak is what a product of two square matrices reaches here in
the same number format; of a step only the products with weights are counted (twice a weight and token, three times that
in training), so that its share of the peak is a little understated: attention and the CRF are left out.

Before anything is timed, the loss and its gradient are computed from the same weights and batch on every path and in
every format, and compared with the portable path in float32. The exit status is 1 if one is too far off. Decoding never
runs on cuDNN: what is exported is portable.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import random
import statistics
import string
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import datasets
import keras
import numpy as np
import tensorflow as tf

from benchmarks import steps
from nlp_rnn.corpora import Corpus
from nlp_rnn.jobs import ClassifierRun, TaggerRun, TranslatorRun
from nlp_rnn.settings import from_dict
from nlp_rnn.tasks.classification import ClassificationTask
from nlp_rnn.tasks.tagging import TaggingTask
from nlp_rnn.tasks.translation import TranslationTask

PRECISIONS = {"float32": "float32", "mixed_bfloat16": "bfloat16", "mixed_float16": "float16"}
# How far a loss, and the direction and length of its gradient, may be from the portable ones in float32.
TOLERANCES = {"float32": (1e-4, 1e-3), "mixed_bfloat16": (2e-2, 0.15), "mixed_float16": (2e-2, 0.05)}
GRADIENT_SCALE = 1024.0  # keeps small gradients above what float16 can hold
WARM_UP = 3
BEAM = 5


@dataclasses.dataclass(frozen=True)
class Size:
    """How large the networks and their batches are."""

    name: str
    units: int
    layers: int
    embedding: int
    batch: int
    length: int
    words: int


GPU_SIZES = (
    Size("small", units=256, layers=1, embedding=256, batch=64, length=30, words=8_000),
    Size("large", units=1024, layers=2, embedding=512, batch=256, length=50, words=32_000),
)
CPU_SIZES = (
    Size("tiny", units=16, layers=1, embedding=16, batch=8, length=8, words=100),
    Size("small", units=128, layers=1, embedding=128, batch=32, length=20, words=2_000),
)


@dataclasses.dataclass(frozen=True)
class Family:
    """How a family's runs, examples and decoding are made."""

    run: type
    task: Any
    settings: dict[str, Any]
    example: Callable[[list[str]], dict[str, Any]]
    decode: Callable[[Any, Mapping[str, Any]], Any]


def _translate(network: Any, batch: Mapping[str, Any]) -> Any:
    encoded = network.encode(batch["source"], batch["source_mask"])
    limits = tf.reduce_sum(tf.cast(batch["source_mask"], tf.int32), axis=1)
    # As many tokens as the source has, neither more nor fewer: all networks here are untrained.
    length = int(batch["source"].shape[1])
    return network.search(encoded, maximum_lengths=limits, beam_size=BEAM, minimum_length=length).tokens


def _tag(network: Any, batch: Mapping[str, Any]) -> Any:
    emissions = network(dict(batch), mask=batch["mask"])
    return network.head.decode(emissions, mask=batch["mask"])[0], network.head.marginals(emissions, mask=batch["mask"])


FAMILIES = {
    "tagger": Family(
        TaggerRun, TaggingTask, {"head": "crf", "tag_scheme": "none", "character_encoder": "none"},
        lambda words: {"tokens": words, "tags": [f"tag{ord(word[0]) % 17}" for word in words]}, _tag,
    ),
    "classifier": Family(
        ClassifierRun, ClassificationTask, {"ngrams": 0, "character_ngrams": 0},
        lambda words: {"text": " ".join(words), "label": f"label{ord(words[0][0]) % 5}"},
        lambda network, batch: network.vote(network(list(batch["texts"])).scores),
    ),
    "translator": Family(
        TranslatorRun, TranslationTask, {"tokenizer": "words"},
        lambda words: {"source": " ".join(words), "target": " ".join(reversed(words))}, _translate,
    ),
}  # fmt: skip


# ---- What is run


def corpus(family: Family, size: Size, batches: int) -> Corpus:
    """Returns examples of random words, enough for some batches."""
    letters = random.Random(1)
    words = ["".join(letters.choices(string.ascii_lowercase, k=6)) for _ in range(size.words)]
    rows = [family.example(letters.choices(words, k=size.length)) for _ in range(batches * size.batch)]
    examples = datasets.Dataset.from_list(rows)
    return Corpus(train=examples, validation=examples.select(range(size.batch)), notes=())


def prepare(name: str, size: Size, precision: str, path: str, examples: Corpus) -> Any:
    """Returns a family's task, its network new and without dropout, so that numbers can be compared."""
    family = FAMILIES[name]
    settings = {
        "output": "unused", "precision": precision, "dropout": 0.0, "vocabulary_size": size.words + 10,
        "batch_size": size.batch, "longest_example": size.length + 2, "encoder_layers": size.layers, **family.settings,
    }  # fmt: skip
    if name == "translator":
        settings |= {
            "embedding_size": size.embedding, "encoder_size": size.units, "decoder_size": 2 * size.units,
            "attention_size": size.units,
        }  # fmt: skip
    else:
        width = "word_size" if name == "tagger" else "embedding_size"
        settings |= {"encoder_size": size.units, width: size.embedding, "word_dropout": 0.0}
    keras.utils.set_random_seed(1)
    return family.task.prepare(from_dict(family.run, settings), examples, path)


def tokens_of(batch: Mapping[str, Any]) -> int:
    """Returns the tokens that a batch is counted as: words tagged or read, or tokens of the translations."""
    mask = batch["texts"][0]["mask"] if "texts" in batch else batch["target_mask"] if "target" in batch else None
    return int(tf.reduce_sum(tf.cast(batch["mask"] if mask is None else mask, tf.int32)))


def operations(task: Any) -> int:
    """Returns how many operations a forward pass takes for each token: two for each weight it is multiplied with."""
    looked_up = ("words", "shapes", "source_embedding", "target_embedding", "embeddings")
    weights = {variable.path: int(np.prod(variable.shape)) for variable in task.network.trainable_variables}
    # The target's output embedding is a product; the others are looked up.
    products = [count for path, count in weights.items() if "output_embedding" in path or not path.endswith(looked_up)]
    return 2 * sum(products)


def train_step(task: Any) -> tuple[Callable[[Any], Any], Any]:
    """Returns a family's train step and a batch for it."""
    made = task.set_up()
    return steps.step_of(task, made), next(iter(made.epoch_batches(0)))


def loss_and_gradient(task: Any) -> tuple[float, np.ndarray]:
    """Returns the loss of the first batch and its gradient in all weights, flat."""
    made = task.set_up()
    variables = task.network.trainable_variables

    @tf.function(autograph=False)
    def compute(batch: Any) -> tuple[tf.Tensor, list[tf.Tensor]]:
        with tf.GradientTape() as tape:
            total, items = made.objective(batch, tf.constant(0))
            loss = total / items
            scaled = GRADIENT_SCALE * loss
        gradients = tape.gradient(scaled, [variable.value for variable in variables])
        return loss, [tf.reshape(tf.convert_to_tensor(gradient), [-1]) / GRADIENT_SCALE for gradient in gradients]

    loss, gradients = compute(next(iter(made.epoch_batches(0))))
    return float(loss), np.concatenate([gradient.numpy() for gradient in gradients])


# ---- What is measured


def seconds_of(function: Callable[[], Any], repeats: int) -> float:
    """Returns the median time until the results are there."""
    found = []
    for number in range(WARM_UP + repeats):
        start = time.perf_counter()
        # Fetching waits for the device.
        [tensor.numpy() for tensor in tf.nest.flatten(function())]
        if number >= WARM_UP:
            found.append(time.perf_counter() - start)
    return statistics.median(found)


def peak(kind: str, width: int, repeats: int) -> float:
    """Returns the operations a second of a product of two square matrices."""
    left, right = (tf.cast(tf.random.normal([width, width]), kind) for _ in range(2))

    @tf.function(autograph=False)
    def product() -> tf.Tensor:
        # Products in a row, as asking for each would cost as much as a small one; one number comes back.
        value = left
        for _ in range(4):
            value = tf.matmul(value, right) / tf.cast(width**0.5, kind)
        return tf.reduce_sum(tf.cast(value, tf.float32))

    return 4 * 2 * width**3 / seconds_of(lambda: [product()], repeats)


def checks(sizes: tuple[Size, ...], paths: tuple[str, ...]) -> Iterator[tuple[list[str], bool]]:
    """Yields a row of the table for each family, path and format, and whether it is near enough."""
    # Products in TensorFloat-32, which is the default on a GPU, are not float32 enough to compare paths.
    tf.config.experimental.enable_tensor_float_32_execution(False)
    size = sizes[0]
    for name, family in FAMILIES.items():
        examples = corpus(family, size, 1)
        reference = prepare(name, size, "float32", "portable", examples)
        weights = reference.network.get_weights()
        loss, gradient = loss_and_gradient(reference)
        for precision, path in itertools.product(PRECISIONS, paths):
            task = prepare(name, size, precision, path, examples)
            task.network.set_weights(weights)
            other_loss, other = loss_and_gradient(task)
            off = abs(other_loss - loss) / abs(loss)
            turned = float(np.linalg.norm(other - gradient) / np.linalg.norm(gradient))
            fine = off <= TOLERANCES[precision][0] and turned <= TOLERANCES[precision][1]
            yield [name, path, precision, f"{off:.1e}", f"{turned:.1e}", "ok" if fine else "TOO FAR OFF"], fine
    tf.config.experimental.enable_tensor_float_32_execution(True)


def speeds(
    sizes: tuple[Size, ...], paths: tuple[str, ...], repeats: int, peaks: dict[str, float]
) -> Iterator[list[str]]:
    """Yields a row of the table for each family, size, work, path and format."""
    for (name, family), size in itertools.product(FAMILIES.items(), sizes):
        examples = corpus(family, size, 1)
        for precision, path in itertools.product(PRECISIONS, paths):
            task = prepare(name, size, precision, path, examples)
            step, batch = train_step(task)
            tokens, work = tokens_of(batch), operations(task)

            def row(what: str, seconds: float, operations_a_token: int, path: str) -> list[str]:
                rate = tokens / seconds  # noqa: B023
                share = rate * operations_a_token / peaks[precision]  # noqa: B023
                figures = [f"{1000 * seconds:,.2f}", f"{rate:,.0f}", f"{100 * share:.1f} %"]
                return [name, size.name, what, path, precision, *figures]  # noqa: B023

            yield row("train step", seconds_of(lambda: step(batch), repeats), 3 * work, path)  # noqa: B023
            if path == "portable":
                decode = tf.function(lambda batch: family.decode(task.network, batch), autograph=False)  # noqa: B023
                # A beam computes each hypothesis.
                times = BEAM if name == "translator" else 1
                yield row("decode", seconds_of(lambda: decode(batch), repeats), times * work, path)  # noqa: B023


def table(rows: list[list[str]]) -> str:
    """Lays rows out in columns, the first row being their headings."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=20, help="steps of which the median counts (default: 20)")
    parser.add_argument("--sizes", nargs="+", help="only these: small and large on a GPU, tiny and small without one")
    options = parser.parse_args()
    datasets.disable_progress_bars()
    tf.get_logger().setLevel("ERROR")  # each network is traced anew, as it must be
    gpus = tf.config.list_physical_devices("GPU")
    known = GPU_SIZES if gpus else CPU_SIZES
    sizes = tuple(size for size in known if options.sizes is None or size.name in options.sizes)
    if not sizes or options.repeats < 1:
        parser.error(f"expected --sizes among {', '.join(size.name for size in known)}, and --repeats of at least 1")
    paths = ("portable", "cudnn") if gpus else ("portable",)
    name = tf.config.experimental.get_device_details(gpus[0]).get("device_name") if gpus else "CPU, no GPU found"
    print(f"{name}; TensorFlow {tf.__version__}, Keras {keras.__version__}\n", flush=True)
    found = list(checks(sizes, paths))
    headings = ["family", "path", "precision", "loss off by", "gradient off by", ""]
    print(table([headings, *(row for row, _ in found)]), flush=True)
    peaks = {precision: peak(kind, 8192 if gpus else 768, options.repeats) for precision, kind in PRECISIONS.items()}
    print("\nPeak, operations a second: " + ", ".join(f"{kind} {1e-12 * value:.2f} T" for kind, value in peaks.items()))
    headings = ["family", "size", "work", "path", "precision", "ms", "tokens/s", "of the peak"]
    print(table([headings, *speeds(sizes, paths, options.repeats, peaks)]), flush=True)
    sys.exit(0 if all(fine for _, fine in found) else 1)


if __name__ == "__main__":
    main()
