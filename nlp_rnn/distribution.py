"""On which devices a training computes: one, all GPUs of a machine, or those of several machines.

Every planned batch is divided into as many parts as there are devices. Each
device computes the loss and the gradient of its part; their sums over all
devices, divided by the items of the whole batch, are what one device would
have computed of it.

The parameters are ordinary variables, once in every process: only gradients
are sent around. A strategy's own mirrored variables would need Keras's
optimizers, seed generators and loss scaling to know of them in every place, a
step that is compiled apart for each device, and their own way into
checkpoints; Keras 3 does not support that on several workers. So everything
besides the gradients works, and is tested, as on one device. The price is paid
with several GPUs in a process: each fetches the parameters from the first one.
"""

import contextlib
import functools
import json
import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import keras
import numpy as np
import tensorflow as tf

from nlp_rnn.cluster import VARIABLE, Cluster, lost_worker, meet, read_cluster
from nlp_rnn.config import ConfigError
from nlp_rnn.plans import WHOLE, Part

_log = logging.getLogger(__name__)

Sums = tuple[tf.Tensor, tf.Tensor, list[tf.Tensor]]
"""The summed loss, the number of items, and the gradient of the mean loss, dense and float32."""
Compute = Callable[[Any], Sums]

# How a collective operation ends when a worker is gone, and some computations that are themselves at fault.
_BROKEN = (
    tf.errors.UnavailableError,
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
    tf.errors.FailedPreconditionError,
    tf.errors.InternalError,
    tf.errors.UnknownError,
)
_SUM = tf.distribute.ReduceOp.SUM
# Numbers exchanged at once where workers tell each other something.
_MESSAGE = 4096
# Far from the seeds of other generators, which count up from the training's own.
_SEEDS_APART = 1_000_000_007
_FAREWELL = 0.5  # seconds
_SEED_STATE = "seed_generator_state"


class EpochBatches(Protocol):
    """The batches of a training, the same ones for the same numbers."""

    def __call__(self, epoch: int, start: int = 0, part: Part = WHOLE) -> tf.data.Dataset:
        """Returns those of an epoch, or a part of each, from one of them on; both are counted from 0."""


class Devices:
    """One device, and what a training asks of any number of them."""

    is_chief = True
    """Whether this process writes the files."""
    may_stop_alone = True
    """Whether this process may end an epoch early; where others would wait for it, it may not."""

    def batches(self, epoch_batches: EpochBatches, epoch: int, start: int) -> tf.data.Dataset:
        """Returns what `mean` computes of, from a batch of an epoch on."""
        return epoch_batches(epoch, start)

    def rows(self, batch: Any) -> tf.Tensor | None:
        """Returns the rows that this process computes of, if they are known."""
        return batch.get("rows")

    def mean(self, compute: Compute, batch: Any) -> Sums:
        """Computes a whole batch; all devices get the same result."""
        return compute(batch)

    def from_chief(self, compute: Callable[[], Any]) -> Any:
        """Computes something in one process only, and tells the others: numbers, text, lists, dictionaries of them."""
        return compute()

    def agree(self, identity: Mapping[str, Any]) -> None:
        """Refuses processes that were told or have read something else than the chief.

        Raises:
            ConfigError: this process, or another one, has.
        """

    def begin(self, variables: Sequence[keras.Variable]) -> None:
        """Gives all processes the same parameters, and other random numbers to each."""

    @contextlib.contextmanager
    def guarding(self) -> Iterator[None]:
        """Turns what a lost process leads to into a `LostWorkerError`."""
        yield


class Replicas(Devices):
    """Several devices, some or all of them in this process.

    Args:
        strategy: Runs a function on each device of this process.
        replicas: Devices of all processes.
        first: The number of this process's first one among them.
    """

    def __init__(self, *, strategy: tf.distribute.Strategy, replicas: int, first: int):
        self._strategy = strategy
        self._replicas = replicas
        self._own = range(first, first + len(strategy.extended.worker_devices))

    def batches(self, epoch_batches: EpochBatches, epoch: int, start: int) -> tf.data.Dataset:  # noqa: D102
        parts = [epoch_batches(epoch, start, Part(index, self._replicas)) for index in self._own]
        return tf.data.Dataset.zip(tuple(parts))

    def rows(self, batch: Any) -> tf.Tensor | None:  # noqa: D102
        return tf.concat([part["rows"] for part in batch], axis=0) if "rows" in batch[0] else None

    def mean(self, compute: Compute, batch: Any) -> Sums:  # noqa: D102
        shapes: list[tf.TensorShape] = []

        def one_part() -> tf.Tensor:
            index = tf.get_static_value(tf.distribute.get_replica_context().replica_id_in_sync_group)
            total, items, gradients = compute(batch[index - self._own.start])
            shapes[:] = [gradient.shape for gradient in gradients]
            # As one vector: each exchange has its price, however little is exchanged.
            flat = [tf.reshape(items * gradient, [-1]) for gradient in gradients]
            return tf.concat([*flat, [total, items]], axis=0)

        sums = self._sum(self._strategy.run(one_part))
        *flat, total, items = tf.split(sums, [*(shape.num_elements() for shape in shapes), 1, 1])
        items = tf.reshape(items, [])
        means = [
            tf.reshape(tf.math.divide_no_nan(gradient, items), shape)
            for gradient, shape in zip(flat, shapes, strict=True)
        ]
        return tf.reshape(total, []), items, means

    def _sum(self, values: Any) -> tf.Tensor:
        """Adds up what the devices of all processes have; what overflowed on one has then overflowed on all."""
        with tf.device(self._strategy.extended.worker_devices[0]):
            return self._strategy.reduce(_SUM, values, axis=None)


class Workers(Replicas):
    """The devices of several processes, which train in lock step.

    Args:
        strategy: Runs a function on each device of this process, and adds up over all processes.
        cluster: All processes, and which one this is.
    """

    may_stop_alone = False

    def __init__(self, *, strategy: tf.distribute.MultiWorkerMirroredStrategy, cluster: Cluster):
        own = len(strategy.extended.worker_devices)
        replicas = own * len(cluster.addresses)
        super().__init__(strategy=strategy, replicas=replicas, first=own * cluster.index)
        self._cluster = cluster
        self.is_chief = cluster.index == 0
        self._add = tf.function(self._added, autograph=False)

    def _added(self, vector: tf.Tensor) -> tf.Tensor:
        # Each of a process's devices adds the same.
        return self._sum(self._strategy.run(lambda: tf.identity(vector))) / len(self._own)

    def _add_up(self, values: np.ndarray) -> np.ndarray:
        """Returns the sum over all processes, element by element; float32 (n,)."""
        return self._add(tf.constant(values, tf.float32)).numpy()

    def from_chief(self, compute: Callable[[], Any]) -> Any:  # noqa: D102
        content = json.dumps(compute(), default=float).encode() if self.is_chief else b""
        said, length = bytearray(), 1
        while len(said) < length:
            message: np.ndarray = np.zeros(1 + _MESSAGE, np.float32)
            piece = content[len(said) : len(said) + _MESSAGE]
            message[: 1 + len(piece)] = [len(content), *piece]
            heard: np.ndarray = self._add_up(message).astype(np.int64)
            length = int(heard[0])
            said += bytes(heard[1:].astype(np.uint8))[: length - len(said)]
        return json.loads(said)

    def agree(self, identity: Mapping[str, Any]) -> None:  # noqa: D102
        own = json.loads(json.dumps(identity))
        chiefs = self.from_chief(lambda: own)
        different = [name for name in {**chiefs, **own} if chiefs.get(name) != own.get(name)]
        flags: np.ndarray = np.zeros(1 + _MESSAGE, np.float32)
        flags[self._cluster.index] = bool(different)
        wrong = np.flatnonzero(self._add_up(flags)).tolist()
        if different:
            shown = "; ".join(f"{name}: {own.get(name)!r} here, {chiefs.get(name)!r} there" for name in different[:3])
            raise ConfigError(
                f"{self._cluster.named([self._cluster.index])} differs from the chief, {self._cluster.named([0])}, in "
                f"{shown}. Give all workers the same settings and the same data, and an output that all of them see."
            )
        if wrong:
            raise ConfigError(
                f"Other settings, data or checkpoints than here were found by {self._cluster.named(wrong)}, whose own "
                "message says which."
            )

    def begin(self, variables: Sequence[keras.Variable]) -> None:  # noqa: D102
        for variable in variables:
            if variable.path.endswith(_SEED_STATE):
                variable.assign(variable.numpy() + np.array([_SEEDS_APART * self._cluster.index, 0]))
        shared = [variable for variable in variables if variable.dtype == "float32"]
        flat = np.concatenate([variable.numpy().ravel() for variable in shared])
        chiefs = self._add_up(flat if self.is_chief else np.zeros_like(flat))
        ends = np.cumsum([variable.numpy().size for variable in shared])
        for variable, values in zip(shared, np.split(chiefs, ends[:-1]), strict=True):
            variable.assign(values.reshape(variable.shape))

    @contextlib.contextmanager
    def guarding(self) -> Iterator[None]:  # noqa: D102
        try:
            yield
            # Until the last of what the others wait for has left this process, which may end now.
            time.sleep(_FAREWELL)
        except _BROKEN as error:
            lost = lost_worker(self._cluster, error)
            if lost is None:
                raise
            raise lost from error


def start(strategy: str, *, timeout: float) -> Devices:
    """Returns the devices of a training; with several workers, when all of them are there.

    Args:
        strategy: `"single"`, `"mirrored"` or `"multi-worker"`.
        timeout: Seconds to wait for the other workers.

    Raises:
        ConfigError: TF_CONFIG is missing or malformed, or TensorFlow has been
            at work in this process already.
        LostWorkerError: Other workers did not come.
    """
    if strategy == "multi-worker":
        cluster = read_cluster(os.environ.get(VARIABLE))
        return Workers(strategy=_connected(cluster, timeout), cluster=cluster)
    if os.environ.get(VARIABLE):
        _log.warning("%s is set, and ignored: strategy is %s, not multi-worker.", VARIABLE, strategy)
    return _mirrored() if strategy == "mirrored" else Devices()


def _mirrored() -> Devices:
    found = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
    names = [device.name for device in found]
    if len(names) == 1:
        _log.info("strategy mirrored: there is one device, %s, and thus one replica.", names[0])
        return Devices()
    _log.info("strategy mirrored: %d replicas on %s.", len(names), ", ".join(names))
    # Sums go where the parameters are, and nowhere else.
    strategy = tf.distribute.MirroredStrategy(names, cross_device_ops=tf.distribute.ReductionToOneDevice())
    return Replicas(strategy=strategy, replicas=len(names), first=0)


@functools.cache
def _connected(cluster: Cluster, timeout: float) -> tf.distribute.MultiWorkerMirroredStrategy:
    """Waits for all workers; a process can be part of one cluster only, as long as it lives."""
    others = cluster.named(cluster.peers) or "no other"
    _log.info("strategy multi-worker: %s, this one, waits for %s.", cluster.named([cluster.index]), others)
    gpus = len(tf.config.list_physical_devices("GPU"))
    meet(cluster, timeout, gpus=gpus)
    resolver = tf.distribute.cluster_resolver.SimpleClusterResolver(
        tf.train.ClusterSpec({"worker": list(cluster.addresses)}),
        task_type="worker",
        task_id=cluster.index,
        num_accelerators={"GPU": gpus},
        rpc_layer="grpc",
    )
    try:
        return tf.distribute.MultiWorkerMirroredStrategy(cluster_resolver=resolver)
    except RuntimeError as error:
        raise ConfigError(
            "strategy multi-worker must come first: TensorFlow has computed something in this process already. "
            f"Train in a process of its own. ({error})"
        ) from error
