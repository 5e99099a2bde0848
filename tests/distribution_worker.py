"""Trainings by processes that TF_CONFIG joins: what the test of distribution runs.

    python distribution_worker.py FOLDER SCENARIO ...

A scenario is the JSON of a `Scenario`. Its processes are forked from this one, so that TensorFlow is imported once.
Each writes what it says to NAME.INDEX.log, and after each batch its weights and what it saw so far to NAME.INDEX.npz
and NAME.INDEX.json; one line of standard output tells how and when they ended.
"""

import dataclasses
import json
import os
import signal
import socket
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np
import resume_worker

from nlp_rnn import command_line, runs

DEADLINE = 100


@dataclass(frozen=True)
class Scenario:
    """A training by several processes.

    Attributes:
        name: What its files are called by.
        workers: How many there are; a single one has no TF_CONFIG.
        output: The model directory's name, if it is another one.
        killed: Which of them is killed by the signal that cannot be caught.
        after: After how many batches.
        missing: Which of them is never started.
        exported: Whether the model is stored and exported.
        dropout: That of the network.
        changes: Further settings.
        of_last: Settings of the last one alone.
    """

    name: str
    workers: int = 2
    output: str = ""
    killed: int = -1
    after: int = 0
    missing: int = -1
    exported: bool = False
    dropout: float = 0.0
    changes: Mapping[str, Any] = field(default_factory=dict)
    of_last: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return json.dumps(asdict(self))


class Watcher(keras.callbacks.Callback):
    """Keeps what comes of the training, and kills its own process if it is told to."""

    def __init__(self, result: Path, scenario: Scenario, index: int) -> None:
        super().__init__()
        self.result = result
        self.left = scenario.after if scenario.killed == index else 0
        self.ends = not scenario.exported
        self.found: dict[str, Any] = {"losses": [], "rows": []}

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.found["losses"].append(float(logs["loss"]))
        self.write()
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.found["rows"].append(dict(logs or {}))

    def on_train_end(self, logs: Any = None) -> None:
        self.write()
        if self.ends:
            raise SystemExit(0)

    def write(self) -> None:
        seeds = [variable.numpy().tolist() for variable in self.model.variables if "seed" in variable.path]
        np.savez(self.result.with_suffix(".npz"), *self.model.get_weights())
        self.result.with_suffix(".json").write_text(json.dumps({**self.found, "seeds": seeds}))


def work(folder: Path, scenario: Scenario, index: int, addresses: list[str]) -> None:
    result = folder / f"{scenario.name}.{index}.log"
    log = os.open(result, os.O_WRONLY | os.O_CREAT)
    os.dup2(log, 1)
    os.dup2(log, 2)
    several = scenario.workers > 1
    if several:
        task = {"type": "worker", "index": index}
        os.environ["TF_CONFIG"] = json.dumps({"cluster": {"worker": addresses}, "task": task})
    settings: dict[str, Any] = {"epochs": 1, "word_dropout": 0.0, "resume": False}
    settings["strategy"] = "multi-worker" if several else "single"
    settings |= {**scenario.changes, **(scenario.of_last if index == scenario.workers - 1 else {})}
    run: Any = resume_worker.a_run(folder, "tagger", scenario.output or scenario.name, **settings)
    run = dataclasses.replace(run, model=dataclasses.replace(run.model, dropout=scenario.dropout))
    callbacks = [Watcher(result, scenario, index)]
    command_line.run(lambda: command_line.print_json(runs.train(run, callbacks=callbacks).metrics))


def play(folder: Path, scenario: Scenario) -> dict[str, Any]:
    addresses = free_addresses(scenario.workers)
    began, children = time.monotonic(), {}
    for index in range(scenario.workers):
        if index != scenario.missing:
            child = os.fork()
            if not child:
                work(folder, scenario, index, addresses)
                sys.exit(0)
            children[child] = index
    ended: dict[str, list[float]] = {}
    while children and time.monotonic() - began < DEADLINE:
        child, status = os.waitpid(-1, os.WNOHANG)
        if child:
            ended[str(children.pop(child))] = [os.waitstatus_to_exitcode(status), time.monotonic() - began]
        time.sleep(0.01)
    for child in children:
        os.kill(child, signal.SIGKILL)
    return {"name": scenario.name, "addresses": addresses, "ended": ended}


def free_addresses(count: int) -> list[str]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    addresses = [f"127.0.0.1:{server.getsockname()[1]}" for server in sockets]
    for server in sockets:
        server.close()
    return addresses


def main() -> None:
    folder, *scenarios = sys.argv[1:]
    resume_worker.write_data(Path(folder))
    for scenario in scenarios:
        print(json.dumps(play(Path(folder), Scenario(**json.loads(scenario)))), flush=True)


if __name__ == "__main__":
    main()
