"""A model small enough that all its outputs can be enumerated, and a plain search that never stops early."""

import functools
import itertools
import math

import numpy as np
import tensorflow as tf

from nlp_rnn.scoring import IMPOSSIBLE, SearchRules
from nlp_rnn.search import Hypotheses, beam_search, greedy_search

PAD, UNK, BOS, EOS = range(4)
VOCABULARY = 7
WORDS = (4, 5, 6)
SOURCE = 4


class Model:
    """Random logits and attention for every row and every possible history, up to a length.

    A history is numbered by reading it as digits, so that no two share a
    number and nothing is forgotten.
    """

    def __init__(self, seed: int, rows: int, length: int, spread: float = 1.5, end: float = 0.0):
        generator = np.random.default_rng(seed)
        histories = sum(len(WORDS) ** n for n in range(length + 1)) + 1
        self.logits = generator.normal(size=(rows, histories, VOCABULARY)).astype(np.float32) * spread
        self.logits[:, :, EOS] += end
        self.mask = np.arange(SOURCE) < generator.integers(1, SOURCE + 1, size=(rows, 1))
        weights = generator.random(size=(rows, histories, SOURCE)).astype(np.float32) * self.mask[:, np.newaxis]
        self.attention = weights / weights.sum(-1, keepdims=True)
        self.lengths = np.full(rows, length, np.int32)

    def rows(self, chosen) -> "Model":
        """A model of some of the rows, in this order."""
        part = object.__new__(Model)
        for name in ("logits", "mask", "attention", "lengths"):
            setattr(part, name, getattr(self, name)[chosen])
        return part

    @staticmethod
    def number(history: tuple[int, ...]) -> int:
        number = 0
        for token in history:
            number = number * len(WORDS) + WORDS.index(token) + 1
        return number

    def initial_state(self):
        zeros = tf.zeros([tf.shape(self.logits)[0]], tf.int32)
        return {"number": zeros, "twice": (tf.cast(zeros, tf.float32)[:, tf.newaxis],)}

    def memory(self):
        return {"logits": self.logits, "attention": self.attention}

    @staticmethod
    def step(tokens, state, memory):
        digits = tokens - WORDS[0] + 1
        number = tf.where(tokens == BOS, 0, state["number"] * len(WORDS) + digits)
        # What dead hypotheses feed back may be no word, and a finished row goes on beyond its length.
        number = tf.clip_by_value(number, 0, tf.shape(memory["logits"])[1] - 1)
        state = {"number": number, "twice": (2 * tf.cast(number, tf.float32)[..., tf.newaxis],)}
        logits = tf.gather(memory["logits"], number, batch_dims=1)
        return logits, state, tf.gather(memory["attention"], number, batch_dims=1)

    def beam(self, rules: SearchRules, beam_size: int, n_best: int | None = None, attention: bool = True) -> Hypotheses:
        return beam_search(
            self.step,
            self.initial_state(),
            maximum_lengths=tf.constant(self.lengths),
            rules=rules,
            beam_size=beam_size,
            n_best=n_best,
            memory=self.memory(),
            source_mask=tf.constant(self.mask) if attention else None,
        )

    def greedy(self, rules: SearchRules) -> Hypotheses:
        return greedy_search(
            self.step,
            self.initial_state(),
            maximum_lengths=tf.constant(self.lengths),
            rules=rules,
            memory=self.memory(),
            source_mask=tf.constant(self.mask),
        )

    # The reference, in plain Python and float64, knows nothing of beams as tensors.

    def gain(self, row: int, history: tuple[int, ...], token: int) -> float:
        logits = self.logits[row, self.number(history)].astype(np.float64)
        return float(logits[token] - logits.max() - math.log(np.exp(logits - logits.max()).sum()))

    def log_probability(self, row: int, output: tuple[int, ...]) -> float:
        full = (*output, EOS)
        return sum(self.gain(row, full[:place], token) for place, token in enumerate(full))

    def attended(self, row: int, output: tuple[int, ...]) -> np.ndarray:
        """The attention of each token of an output, and that of its end."""
        return np.stack([self.attention[row, self.number(output[:n])] for n in range(len(output) + 1)])

    def score(self, row: int, output: tuple[int, ...], rules: SearchRules) -> float:
        score = self.log_probability(row, output) / ((5 + len(output) + 1) / 6) ** rules.length_penalty
        for place in range(SOURCE):
            if rules.coverage_penalty and self.mask[row, place]:
                score += rules.coverage_penalty * math.log(min(1.0, self.attended(row, output)[:, place].sum()))
        return score

    def ranking(self, row: int, rules: SearchRules) -> list[tuple[tuple[int, ...], float]]:
        """All possible outputs, best first."""
        words = [word for word in WORDS if word not in rules.forbidden_tokens]
        longest = int(self.lengths[row])
        outputs = itertools.chain.from_iterable(
            itertools.product(words, repeat=n) for n in range(min(rules.minimum_length, longest), longest + 1)
        )
        return sorted(((output, self.score(row, output, rules)) for output in outputs), key=lambda pair: -pair[1])

    def plain_beam(self, row: int, rules: SearchRules, beam_size: int) -> list[tuple[tuple[int, ...], float]]:
        """The search without any early stop: to the greatest length, always."""
        live, finished, longest = [((), 0.0)], [], int(self.lengths[row])
        for time in range(longest + 1):
            options = []
            for output, total in live:
                if time >= min(rules.minimum_length, longest):
                    options.append((total + self.gain(row, output, EOS), output, None))
                if time < longest:
                    options += [(total + self.gain(row, output, word), output, word) for word in WORDS]
            options.sort(key=lambda option: -option[0])
            finished += [output for _, output, word in options[:beam_size] if word is None]
            live = [((*output, word), total) for total, output, word in options if word is not None][:beam_size]
        return sorted(((output, self.score(row, output, rules)) for output in finished), key=lambda pair: -pair[1])


def of_very_different_lengths(rows: int) -> Model:
    """Rows end at very different times, so that some are left behind while others go on."""
    model = Model(seed=10, rows=rows, length=6, end=0.5)
    model.logits[::3, :, EOS] += 3
    model.logits[1::3, :, EOS] -= 4
    model.lengths = 6 - np.arange(rows, dtype=np.int32) % 7
    return model


def rules(**settings) -> SearchRules:
    return SearchRules(**{"beginning_token": BOS, "end_token": EOS, "forbidden_tokens": (UNK,), **settings})


def outputs(found: Hypotheses, row: int) -> list[tuple[int, ...]]:
    """A row's hypotheses as tuples; checks that what follows an end is padding."""
    result = []
    for tokens, length, score in zip(*(values.numpy()[row] for values in found[:3]), strict=True):
        assert (tokens[length:] == PAD).all()
        if score != IMPOSSIBLE:
            result.append(tuple(int(token) for token in tokens[:length]))
    return result


def assert_ranked(model: Model, found: Hypotheses, row: int, expected: list, search_rules: SearchRules) -> None:
    assert outputs(found, row) == [output for output, _ in expected]
    np.testing.assert_allclose(found.scores[row][: len(expected)], [score for _, score in expected], rtol=1e-5)
    log_probabilities = [model.log_probability(row, output) for output, _ in expected]
    np.testing.assert_allclose(found.log_probabilities[row][: len(expected)], log_probabilities, rtol=1e-5)


class Exported(tf.Module):
    """Both searches over a small recurrent network with attention, the memory given to the step."""

    def __init__(self):
        super().__init__()
        random = functools.partial(tf.random.stateless_normal, dtype=tf.float32)
        self.embedding = tf.Variable(random([50, 8], seed=(1, 1)))
        self.output = tf.Variable(random([8, 50], seed=(1, 2)) * 2)

    @tf.function(input_signature=[tf.TensorSpec([None, None, 8]), tf.TensorSpec([None, None], tf.bool)])
    def search(self, memory, mask):
        def step(tokens, state, memory):
            values, real = memory
            hidden = tf.tanh(tf.gather(self.embedding, tokens) + state["hidden"])
            weights = tf.nn.softmax(tf.where(real[:, tf.newaxis], tf.matmul(hidden, values, transpose_b=True), -1e9))
            hidden = tf.tanh(hidden + tf.matmul(weights, values))
            return tf.matmul(hidden, self.output), {"hidden": hidden}, weights

        state = {"hidden": tf.reduce_sum(tf.where(mask[..., tf.newaxis], memory, 0.0), axis=1)}
        limits = 2 + tf.reduce_sum(tf.cast(mask, tf.int32), axis=1)
        given = {"memory": (memory, mask), "source_mask": mask}
        common = {"maximum_lengths": limits, "rules": rules(length_penalty=1.0), **given}
        greedy = greedy_search(step, state, **common)
        beam = beam_search(step, state, beam_size=3, **common)
        return {f"greedy_{name}": value for name, value in greedy._asdict().items()} | {
            f"beam_{name}": value for name, value in beam._asdict().items()
        }
