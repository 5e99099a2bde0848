"""What it costs to share a training: the step of two workers on this machine against that of one, the same batches.

The workers meet on this machine and share its cores, so that they cannot be faster than one: what they take longer is
the price of dividing batches, of sending gradients from one to the other, and of waiting. With machines of their own
they would save about half of what one worker computes.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from typing import Any

from benchmarks import measuring
from benchmarks.measuring import Result, less_is_better

ROUNDS = 3
STEPS = 40
WARM_UP = 15  # steps, within which all shapes are compiled
SIZES = (128, 256)  # units of each direction


def measure(options: argparse.Namespace) -> list[Result]:
    """Measures a tagger's step, one or two workers in turns."""
    del options
    results = []
    for units in SIZES:
        print(f"workers {units}", file=sys.stderr, flush=True)
        seconds: dict[int, list[float]] = {1: [], 2: []}
        for _ in range(ROUNDS):
            for workers, found in seconds.items():
                found.append(_step(workers, units))
        alone, shared = (1000 * statistics.median(found) for found in seconds.values())
        name = f"step of a tagger of {units} units by 2 workers"
        results.append(less_is_better(name, shared, "ms", "1 worker, the same batches and cores", alone))
    return results


def _step(workers: int, units: int) -> float:
    """Returns the median seconds of a step."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(workers)]
    addresses = [f"127.0.0.1:{server.getsockname()[1]}" for server in sockets]
    for server in sockets:
        server.close()
    command = [sys.executable, "-m", "benchmarks.workers", "multi-worker" if workers > 1 else "single", str(units)]
    quiet = {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": ""}
    running = []
    for index in range(workers):
        config = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
        own = {"TF_CONFIG": json.dumps(config)} if workers > 1 else {}
        environment = {**os.environ, **quiet, **own}
        running.append(
            subprocess.Popen(command, cwd=measuring.ROOT, env=environment, stdout=subprocess.PIPE, encoding="utf-8")
        )
    said = [process.communicate()[0] for process in running]
    if any(process.returncode for process in running):
        raise RuntimeError(
            f"{command} ended with {[process.returncode for process in running]}; see the messages above"
        )
    return json.loads(said[0])


def train(strategy: str, units: int) -> float:
    """Takes some steps as one worker, and returns the median seconds of the later ones."""
    import keras

    import nlp_rnn

    class EnoughError(Exception):
        pass

    class Clock(keras.callbacks.Callback):
        def on_train_begin(self, logs: Any = None) -> None:
            self.times: list[float] = []

        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            float(logs["loss"])  # the step has ended
            self.times.append(time.perf_counter())
            if len(self.times) == WARM_UP + STEPS:
                time.sleep(1.0)  # until the other has heard all it waits for
                raise EnoughError

    clock = Clock()
    with tempfile.TemporaryDirectory() as folder:
        run = nlp_rnn.TaggerRun(
            output=f"{folder}/model",
            data=nlp_rnn.DataConfig(dataset="sample:tagging"),
            batching=nlp_rnn.BatchConfig(batch_size=32, bucket_width=32),
            model=nlp_rnn.TaggerConfig(encoder_size=units, character_encoder="none"),
            training=nlp_rnn.TaggerTrainingConfig(strategy=strategy, checkpoint_steps=0),  # type: ignore[arg-type]
        )
        with contextlib.suppress(EnoughError):
            nlp_rnn.train(run, callbacks=[clock])
    later = clock.times[WARM_UP:]
    return statistics.median(end - begin for begin, end in zip(later[:-1], later[1:], strict=True))


if __name__ == "__main__":
    print(json.dumps(train(sys.argv[1], int(sys.argv[2]))))
