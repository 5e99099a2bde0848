"""Beam search of the Multi30k test set by our translators, OpenNMT-tf and JoeyNMT.

Ours are model directories given as `--translator`, of which there may be several, exported in one number format and
another; the peers' models are as `peers.py` trains them. All take turns in one run. What is missing is left out, with
a note.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import sacrebleu

from benchmarks import measuring, peers
from benchmarks.measuring import Result, more_is_better
from benchmarks.translation import BATCH_SIZE, NAMES, in_turns


def measure(options: argparse.Namespace) -> list[Result]:
    """Measures ours and each peer in turns; figures are medians over the turns."""
    if not options.translator:
        print("decoding: no --translator given, left out", file=sys.stderr)
        return []
    peers.prepare()
    decode = {"opennmt": peers.decode_opennmt, "joeynmt": peers.decode_joeynmt}
    contenders: dict[str, Callable[[], float]] = {str(ours): partial(_ours, ours) for ours in options.translator}
    for peer, function in decode.items():
        contenders[peer] = lambda function=function: function(peers=options.peers)["sentences_per_second"]
    rates = in_turns("decoding", contenders)
    return [
        more_is_better(f"translation beam 5, {ours.name}", rates[str(ours)], "sentences/s", name, rates[peer])
        for peer, name in NAMES.items()
        if peer in rates
        for ours in options.translator
    ]


def _ours(translator: Path) -> float:
    return measuring.run_json([sys.executable, "-m", "benchmarks.decoding", str(translator)])["sentences_per_second"]


def decode(translator: str) -> dict[str, float]:
    """Translates the test set with an exported model, loaded and warm."""
    from nlp_rnn.serving import Predictor

    folder = peers.prepare()
    source, reference = ((folder / f"test.{code}").read_text("utf-8").split("\n")[:-1] for code in ("en", "de"))
    predictor = Predictor(Path(translator), batch_size=BATCH_SIZE)
    predictor.predict(source[:BATCH_SIZE])
    start = time.perf_counter()
    translations = [found.text for found in predictor.predict(source)]
    seconds = time.perf_counter() - start
    bleu = sacrebleu.corpus_bleu(translations, [reference], lowercase=True).score
    return {"sentences_per_second": len(source) / seconds, "bleu": bleu}


if __name__ == "__main__":
    print(json.dumps(decode(sys.argv[1])))
