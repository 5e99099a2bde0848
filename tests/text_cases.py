"""What the tests of the tokenizers and those of their training share: texts, and tokenizers trained on them."""

import os
import subprocess
import sys

import tensorflow as tf

from nlp_rnn.config import TextConfig
from nlp_rnn.text import Tokenizer
from nlp_rnn.vocabularies import train_tokenizer

NOUNS = ["cat", "dog", "house", "tree", "Straße", "Größe", "river", "boat", "train", "bridge"]
VERBS = ["sees", "finds", "paints", "überquert", "follows", "likes"]
CORPUS = [
    f"The {first} {verb} the {second}, {count} times."
    for first in NOUNS
    for verb in VERBS
    for second in NOUNS
    for count in (2, 17)
]
EDGES = [
    "", " ", "  ", " a", "a ", "  The   cat  ", "\t", "\n", "a\tb\nc\r\n",
    "日本語 ไทย", "👨\u200d👩\u200d👧\u200d👦🏳\ufe0f\u200d🌈", "<s> </s> <unk> <pad> <0x41>",
    "\u2581", "a\u2581\u2581 b", "\ue000\ue001\ue000\ue002\u2581", "\u2585",
    "\ufeffx", "\u2028\u3000\xa0", "\uffff\ufdd0",
]  # fmt: skip


def trained(kind: str, **settings: object) -> Tokenizer:
    return train_tokenizer(iter(CORPUS), TextConfig(tokenizer=kind, vocabulary_size=400, **settings))


def strings(tensor: tf.Tensor) -> list[str]:
    return [item.decode("utf-8") for item in tensor.numpy().tolist()]


def run_python(program: str, *arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", program, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
        env=os.environ | environment,
    )
