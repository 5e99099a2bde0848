"""How outputs are scored that a model writes one token at a time, and how each of them goes on best.

Shapes: r rows, k beam, c continuations considered.
"""

from dataclasses import dataclass

import tensorflow as tf

# "No such hypothesis". Finite, so that no sum or quotient is NaN; far below any sum of _WORST.
IMPOSSIBLE = -1e30
_WORST = -1e9  # the log-probability of the end token is cut here, so that every output can end
_BLOCK = 32


@dataclass(frozen=True, kw_only=True)
class SearchRules:
    """What an output may look like, and how it is scored.

    The score of an output Y for a source X is

        log P(Y | X) / ((5 + |Y|) / 6) ** length_penalty
            + coverage_penalty * sum_i log(min(sum_j attention_ji, 1))

    where |Y| and j count the end token too, and i runs over the real source
    tokens. Probabilities are the model's own: barring some tokens does not
    make the others more probable.

    Attributes:
        beginning_token: Fed to the first step; never produced.
        end_token: Ends an output.
        padding_token: Stands after an output's end; never produced.
        forbidden_tokens: Further tokens never produced. Meant for a few.
        minimum_length: Fewest tokens of an output, the end token not counted.
            Where a row's maximum is smaller, that counts.
        length_penalty: The exponent alpha; 0 compares bare log-probabilities.
        coverage_penalty: The weight beta; above 0 it needs a source mask.

    Raises:
        ValueError: A negative number, or an end token that is never produced.

    Reference:
        Wu et al. (2016), section 7. arXiv:1609.08144
    """

    beginning_token: int
    end_token: int
    padding_token: int = 0
    forbidden_tokens: tuple[int, ...] = ()
    minimum_length: int = 0
    length_penalty: float = 0.0
    coverage_penalty: float = 0.0

    def __post_init__(self) -> None:
        for name in ("minimum_length", "length_penalty", "coverage_penalty"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} must be at least 0, not {getattr(self, name)!r}.")
        if self.end_token in self.excluded_tokens:
            raise ValueError(
                f"end_token {self.end_token} must differ from the beginning, the padding and the forbidden tokens, "
                f"{self.excluded_tokens}, which are never produced."
            )

    @property
    def excluded_tokens(self) -> tuple[int, ...]:
        """All tokens that are never produced, sorted."""
        return tuple(sorted({self.beginning_token, self.padding_token, *self.forbidden_tokens}))


def length_penalty(lengths: tf.Tensor, rules: SearchRules) -> tf.Tensor:
    """Returns what log-probabilities are divided by; float32, at least 1.

    Args:
        lengths: int32 of any shape. Tokens before the end token.
        rules: for the exponent.
    """
    return ((5.0 + tf.cast(lengths + 1, tf.float32)) / 6.0) ** rules.length_penalty


def continuations(logits: tf.Tensor, count: int, rules: SearchRules) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Finds how each live hypothesis goes on best.

    Args:
        logits: float32 (r, k, vocabulary), of static vocabulary size. Of the next token.
        count: How many continuations are wanted of each.
        rules: for the tokens that end an output, and those that are never produced.

    Returns:
        Tokens int32 (r, k, c), among them the `count` best that may be produced; their log-probabilities
        (r, k, c), IMPOSSIBLE for the end and those that may not be; the end's log-probability (r, k).
    """
    barred = (*rules.excluded_tokens, rules.end_token)
    values, tokens = top_k(logits, min(count + len(barred), logits.shape[-1]))
    # log p(token) = logit - largest logit + log p(largest). Softmax is one fused operation, faster than logsumexp, and
    # its largest value never underflows.
    largest = tf.gather(tf.nn.softmax(logits), tokens[:, :, :1], batch_dims=2)
    shift = tf.math.log(largest) - values[:, :, :1]
    allowed = tf.reduce_all(tokens[..., tf.newaxis] != tf.constant(barred), axis=-1)
    gains = tf.where(allowed, values + shift, IMPOSSIBLE)
    return tokens, gains, tf.maximum(logits[:, :, rules.end_token] + shift[:, :, 0], _WORST)


def top_k(values: tf.Tensor, count: int) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns `tf.math.top_k` of (r, k, vocabulary); on a CPU in a third of its time for a large vocabulary.

    The `count` largest values lie in the blocks with the largest maxima, and maxima, unlike top_k, are vectorised.
    """
    size = values.shape[-1]
    if size < 4 * _BLOCK * count:
        return tf.math.top_k(values, count)
    if size % _BLOCK:
        values = tf.pad(values, [[0, 0], [0, 0], [0, -size % _BLOCK]], constant_values=float("-inf"))
    shape = tf.shape(values)
    blocks = tf.reshape(values, [shape[0], shape[1], -(-size // _BLOCK), _BLOCK])
    best_blocks = tf.math.top_k(tf.reduce_max(blocks, axis=-1), count).indices
    few = tf.reshape(tf.gather(blocks, best_blocks, batch_dims=2), [shape[0], shape[1], count * _BLOCK])
    best, places = tf.math.top_k(few, count)
    return best, tf.gather(best_blocks, places // _BLOCK, batch_dims=2) * _BLOCK + places % _BLOCK
