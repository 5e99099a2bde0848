"""Runs the benchmarks, prints a table and keeps the figures in benchmarks/latest.json.

    python -m benchmarks                 # all
    python -m benchmarks recurrent       # one

A peer that is not installed here is looked for where you say: `--torch-python PATH`, or the environment variable
BENCHMARK_TORCH_PYTHON, names the interpreter of an environment that holds torch. Without it the figures against torch
are left out, with a note. Measure on a machine that does nothing else.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from pathlib import Path

from benchmarks import measuring, peers

BENCHMARKS = (
    "recurrent",
    "translation",
    "decoding",
    "tagging",
    "classification",
    "training",
    "serving",
    "memory",
    "streaming",
    "workers",
)
"""Modules with a function `measure(options)` that returns results."""


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("only", nargs="*", metavar="ONLY", help=f"one or more of: {', '.join(BENCHMARKS)}")
    parser.add_argument(
        "--torch-python",
        default=os.environ.get("BENCHMARK_TORCH_PYTHON", sys.executable),
        help="interpreter of the environment that holds torch (default: this one)",
    )
    parser.add_argument(
        "--peers",
        type=Path,
        default=peers.WORK / "peers",
        help="folder of the environments that peers.py makes (default: %(default)s)",
    )
    parser.add_argument(
        "--translator", type=Path, nargs="+", default=[], help="model directories of trained translators, for decoding"
    )
    parser.add_argument(
        "--models", type=Path, nargs="+", default=[], help="model directories, for the time their answers take"
    )
    options = parser.parse_args()
    if unknown := set(options.only) - set(BENCHMARKS):
        parser.error(f"expected ONLY among {', '.join(BENCHMARKS)}, not {', '.join(sorted(unknown))}")
    for name in options.only or BENCHMARKS:
        results = importlib.import_module(f"benchmarks.{name}").measure(options)
        print(measuring.table(results), flush=True)
        measuring.save(results)


if __name__ == "__main__":
    main()
