"""How numbers change over the training steps: learning rates, and the share of true tokens."""

import math
from collections.abc import Callable, Sequence
from typing import Any, Literal

import keras
import tensorflow as tf

Decay = Literal["constant", "inverse_square_root", "cosine"]
# What a one-cycle schedule rises from, as a share of its peak, and for how long, as a share of all steps.
_CYCLE_START, _CYCLE_RISE = 1 / 25, 0.3
Fall = Literal["linear", "exponential", "inverse_sigmoid"]


@keras.saving.register_keras_serializable(package="nlp_rnn")
class WarmUpThenDecay(keras.optimizers.schedules.LearningRateSchedule):
    """Rises linearly to the peak, then stays or falls.

    Args:
        peak: float > 0. Learning rate at the end of the warm-up.
        warmup_steps: int >= 0. Steps of linear increase from zero.
        total_steps: int >= 1. Where `"cosine"` arrives at zero.
        decay: `"constant"`; `"inverse_square_root"`, the peak times
            sqrt(warmup_steps / step) (Vaswani et al., 2017, section 5.3); or
            `"cosine"`, half a period (Loshchilov and Hutter, 2017).
    """

    def __init__(self, *, peak: float, warmup_steps: int, total_steps: int, decay: Decay):
        self.peak = peak
        self.warmup_steps = warmup_steps
        self.total_steps = total_steps
        self.decay = decay

    def __call__(self, step: Any) -> tf.Tensor:
        """Returns the learning rate of a step, the first being 0; float32 ()."""
        done = tf.cast(step, tf.float32) + 1.0
        warm_up = float(max(self.warmup_steps, 1))
        if self.decay == "cosine":
            left = max(self.total_steps - self.warmup_steps, 1)
            progress = tf.clip_by_value((done - self.warmup_steps) / left, 0.0, 1.0)
            factor = 0.5 * (1.0 + tf.cos(math.pi * progress))
        elif self.decay == "inverse_square_root":
            factor = tf.sqrt(warm_up / tf.maximum(done, warm_up))
        else:
            factor = tf.ones([])
        return self.peak * tf.minimum(done / warm_up, 1.0) * factor

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments."""
        return {
            "peak": self.peak,
            "warmup_steps": self.warmup_steps,
            "total_steps": self.total_steps,
            "decay": self.decay,
        }


@keras.saving.register_keras_serializable(package="nlp_rnn")
class OneCycle(keras.optimizers.schedules.LearningRateSchedule):
    """Rises from a 25th of the peak over the first 30 % of the steps and falls to zero over the rest.

    Both ways are half a cosine. The momentum, which the paper moves the other
    way, is left alone.

    Args:
        peak: float > 0. Largest learning rate.
        total_steps: int >= 1. Where it arrives at zero.

    Reference:
        Smith and Topin (2018), section 3. arXiv:1708.07120
    """

    def __init__(self, *, peak: float, total_steps: int):
        self.peak = peak
        self.total_steps = total_steps

    def __call__(self, step: Any) -> tf.Tensor:
        """Returns the learning rate of a step, the first being 0; float32 ()."""
        progress = (tf.cast(step, tf.float32) + 1.0) / self.total_steps
        risen = tf.clip_by_value(progress / _CYCLE_RISE, 0.0, 1.0)
        fallen = tf.clip_by_value((progress - _CYCLE_RISE) / (1.0 - _CYCLE_RISE), 0.0, 1.0)
        rise = _CYCLE_START + (1.0 - _CYCLE_START) * 0.5 * (1.0 - tf.cos(math.pi * risen))
        return self.peak * rise * 0.5 * (1.0 + tf.cos(math.pi * fallen))

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments."""
        return {"peak": self.peak, "total_steps": self.total_steps}


@keras.saving.register_keras_serializable(package="nlp_rnn")
class ReduceOnPlateau(keras.optimizers.schedules.LearningRateSchedule):
    """Rises linearly to the peak, and is reduced whenever epochs bring nothing better.

    Args:
        peak: float > 0. Learning rate at the end of the warm-up.
        warmup_steps: int >= 0. Steps of linear increase from zero.
        factor: above 0, below 1. What a reduction multiplies the rate by.
        patience: int >= 1. Epochs without a better one before a reduction;
            counted anew after it.

    Attributes:
        epochs_since: Epochs since the best one, or since the last reduction.
    """

    def __init__(self, *, peak: float, warmup_steps: int, factor: float, patience: int):
        self.peak = peak
        self.warmup_steps = warmup_steps
        self.factor = factor
        self.patience = patience
        self.epochs_since = 0
        # A variable, so that compiled steps see it change; of floats, since integers do not live on GPUs.
        self._reductions = keras.Variable(0.0, dtype="float32", trainable=False, name="reductions")

    @property
    def reductions(self) -> int:
        """How often the rate was reduced so far."""
        return int(self._reductions)

    def __call__(self, step: Any) -> tf.Tensor:
        """Returns the learning rate of a step, the first being 0; float32 ()."""
        risen = tf.minimum((tf.cast(step, tf.float32) + 1.0) / float(max(self.warmup_steps, 1)), 1.0)
        return self.peak * risen * tf.pow(self.factor, self._reductions.value)

    def after_epoch(self, *, better: bool) -> bool:
        """Counts an epoch, and returns whether it led to a reduction.

        Args:
            better: whether it was the best so far.
        """
        self.epochs_since = 0 if better else self.epochs_since + 1
        reduced = self.epochs_since >= self.patience
        if reduced:
            self.restore(reductions=self.reductions + 1, epochs_since=0)
        return reduced

    def restore(self, *, reductions: int, epochs_since: int) -> None:
        """Takes up the attributes of an interrupted training."""
        self._reductions.assign(reductions)
        self.epochs_since = epochs_since

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments."""
        return {
            "peak": self.peak,
            "warmup_steps": self.warmup_steps,
            "factor": self.factor,
            "patience": self.patience,
        }


def truth_share(fall: Fall, *, floor: float, steps: int) -> Callable[[tf.Tensor], tf.Tensor]:
    """Returns how likely each previous token is the true one, by training step.

    All three fall to `floor` over `steps` and stay there: from 1, except the
    inverse sigmoid, which starts at k / (k + 1), below 0.97 for falls of 100 steps or fewer.

    Args:
        fall: `"linear"`; `"exponential"`; or `"inverse_sigmoid"`,
            k / (k + exp(step / k)), which first falls slowly.
        floor: between 0 and 1. The least share.
        steps: int >= 1. Steps until the share has fallen to the floor.

    Reference:
        Bengio et al. (2015), section 2.4. arXiv:1506.03099
    """
    # The curves other than the line never touch zero.
    end = max(floor, 1e-2)
    if fall == "inverse_sigmoid":
        scale = _sigmoid_scale(end, steps)

    def share(step: tf.Tensor) -> tf.Tensor:
        step = tf.cast(step, tf.float32)
        if fall == "linear":
            value = 1.0 - (1.0 - floor) * step / steps
        elif fall == "exponential":
            value = tf.pow(end, step / steps)
        else:
            # k / (k + exp(step / k)), written so that an endless k, of a floor of 1, gives 1.
            value = 1.0 / (1.0 + tf.exp(tf.minimum(step / scale, 80.0)) / scale)
        return tf.where(step >= steps, floor, tf.maximum(value, floor))

    return share


def _sigmoid_scale(end: float, steps: int) -> float:
    """Finds the k with k / (k + exp(steps / k)) = end; the left side rises with k."""
    if end >= 1.0:
        return float("inf")
    low, high = steps / 80.0 / max(1.0, math.log(steps + 1.0)), 2.0 * steps + 2.0 / (1.0 - end)
    for _ in range(100):
        middle = (low + high) / 2
        ratio = middle / (middle + math.exp(min(steps / middle, 700.0)))
        low, high = (middle, high) if ratio < end else (low, middle)
    return high


def thawing(depths: Sequence[int], *, decay: float, steps: int) -> Callable[[tf.Tensor], list[tf.Tensor]]:
    """Returns how large a parameter's steps are, as a share of the usual ones, by training step.

    Args:
        depths: Of each parameter: 0 if it is new, else how many layers down
            the network it is.
        decay: Above 0, at most 1. What each layer further down multiplies the share by.
        steps: At least 0. How much later each layer further down begins.

    Returns:
        A function from the step, int32 (), the first being 0, to a float32 () for each parameter.

    Reference:
        Howard and Ruder (2018), "Universal Language Model Fine-tuning for Text
        Classification", sections 3.2 and 3.3. arXiv:1801.06146
    """

    def shares(step: tf.Tensor) -> list[tf.Tensor]:
        return [decay**depth * tf.cast(tf.cast(step, tf.int32) >= depth * steps, tf.float32) for depth in depths]

    return shares
