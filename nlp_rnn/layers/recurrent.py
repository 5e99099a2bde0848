"""Recurrent layers that train fast and run anywhere.

The weights are laid out exactly as in `keras.layers.LSTM`, `GRU` and
`SimpleRNN`, so that either's can be loaded into the other. What differs: masks
are explicit, no row or batch is too empty, and the way of computing is chosen
by whoever builds the layer, never by the hardware that is visible while a
graph is traced.
"""

import functools
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Literal, get_args

import keras
import tensorflow as tf

from nlp_rnn.layers import cudnn
from nlp_rnn.layers.masked import MaskedLayer, check_mask, compatible
from nlp_rnn.layers.scan import Affine, Scan

Path = Literal["cudnn", "portable"]
States = tuple[tf.Tensor, ...]

# Up to this many units, a fused loop outweighs what half precision saves in its products.
_SMALL = 256


class _Recurrent(MaskedLayer):
    """What LSTM, GRU and SimpleRNN share.

    Call arguments:
        inputs: float (batch, time, features).
        mask: bool (batch, time). True = real token; padding on the right.
        initial_state: tuple of float (batch, units), as `final_state`.
            Zeros by default.
        training: bool. Whether dropout applies and gradients will be taken.

    Returns:
        outputs: (batch, time, units) in the compute dtype, zero at padding.
        final_state: tuple of float32 (batch, units): the state after the last
            real token (the first one with `reverse`). Feeding it to the next
            call continues the sequence. A row without real tokens keeps its
            initial state.

    Raises:
        ValueError: `units` < 1, a dropout rate outside [0, 1), an impossible
            path, inputs, a mask or an initial state of a wrong shape, or a
            mask with padding on the left.
    """

    _step: ClassVar[Callable[..., States]]
    _gates: ClassVar[int]
    _states: ClassVar[int] = 1
    _cudnn_mode: ClassVar[str | None] = None

    def __init__(
        self,
        *,
        units: int,
        reverse: bool = False,
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        training_path: Path = "portable",
        seed: int | None = None,
        **options: Any,
    ):
        super().__init__(**options)
        if units < 1:
            raise ValueError(f"units must be at least 1, not {units}.")
        for name, rate in (("dropout", dropout), ("recurrent_dropout", recurrent_dropout)):
            if not 0 <= rate < 1:
                raise ValueError(f"{name} must be at least 0 and below 1, not {rate}.")
        if training_path not in get_args(Path):
            raise ValueError(f"training_path must be {' or '.join(map(repr, get_args(Path)))}, not {training_path!r}.")
        if training_path == "cudnn" and (recurrent_dropout or self._cudnn_mode is None):
            raise ValueError(
                "training_path 'cudnn' computes LSTM, GRU and SimpleRNN without recurrent dropout, not a "
                f"{type(self).__name__} with recurrent_dropout={recurrent_dropout}; use 'portable'."
            )
        self.units = units
        self.reverse = reverse
        self.dropout = dropout
        self.recurrent_dropout = recurrent_dropout
        self.training_path = training_path
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(seed)

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Creates the weights, under Keras's names and in Keras's layout."""
        width = self._gates * self.units
        self.kernel = self.add_weight(
            name="kernel", shape=(input_shape[-1], width), initializer="glorot_uniform", autocast=False
        )
        # There is no QR decomposition in bfloat16; a network that stores its weights so is given them.
        beginning = "zeros" if self.variable_dtype == "bfloat16" else "orthogonal"
        self.recurrent_kernel = self.add_weight(
            name="recurrent_kernel", shape=(self.units, width), initializer=beginning, autocast=False
        )
        self._build_bias(width)

    def _build_bias(self, width: int) -> None:
        self.bias = self._vector("bias", (width,), "zeros")

    def _vector(self, name: str, shape: tuple[int, ...], initializer: Any) -> Any:
        # Of 16 bits are matrices alone: vectors are small, and added to what is float32.
        return self.add_weight(name=name, shape=shape, initializer=initializer, dtype="float32", autocast=False)

    def call(
        self,
        inputs: tf.Tensor,
        *,
        mask: tf.Tensor,
        initial_state: States | None = None,
        training: bool = False,
    ) -> tuple[tf.Tensor, States]:
        """Runs the layer over a batch; see the class."""
        check_mask(inputs, mask)
        inputs = tf.cast(inputs, self.compute_dtype)
        state = self._initial_state(inputs, initial_state)
        if training and self.dropout:
            shape = (tf.shape(inputs)[0], 1, inputs.shape[-1])
            inputs = keras.random.dropout(inputs, self.dropout, noise_shape=shape, seed=self.seed_generator)
        compute = self._cudnn if training and self.training_path == "cudnn" else self._portable
        outputs, final = compute(inputs, mask, state, training)
        # The sequence is cast, the state kept: it accumulates over calls.
        outputs = tf.cast(outputs, self.compute_dtype)
        return outputs * tf.cast(mask, self.compute_dtype)[:, :, tf.newaxis], final

    def _initial_state(self, inputs: tf.Tensor, given: States | None) -> States:
        if given is None:
            return (tf.zeros([tf.shape(inputs)[0], self.units]),) * self._states
        shapes = [tuple(tensor.shape) for tensor in given]
        expected = [(inputs.shape[0], self.units)] * self._states
        if len(shapes) != len(expected) or not all(map(compatible, shapes, expected)):
            raise ValueError(f"initial_state must be a tuple of tensors of shapes {expected}, not {shapes}.")
        return tuple(tf.cast(tensor, tf.float32) for tensor in given)

    def _portable(self, inputs: tf.Tensor, mask: tf.Tensor, state: States, training: bool) -> tuple[tf.Tensor, States]:
        outputs, final = _scan_of(type(self)._step, self.reverse, self.units <= _SMALL)(
            self._scan_inputs(tf.transpose(inputs, [1, 0, 2])),
            mask=tf.transpose(mask),
            state=state,
            constants=self._constants(tf.shape(inputs)[0], training),
            weights={"recurrent": tf.cast(self.recurrent_kernel, self.compute_dtype)},
            record=_first,
            training=training,
        )
        return tf.transpose(outputs, [1, 0, 2]), final

    def _scan_inputs(self, inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        """Projects the inputs of all time steps in one product; `recurrent` is added to the recurrent product."""
        return {"recurrent": self._project(inputs, self.bias)}

    def _project(self, inputs: tf.Tensor, bias: tf.Tensor | None) -> tf.Tensor:
        kernel = tf.cast(self.kernel, self.compute_dtype)
        flat = tf.matmul(tf.reshape(inputs, [-1, kernel.shape[0]]), kernel)
        if bias is not None:
            flat = tf.nn.bias_add(flat, tf.cast(bias, self.compute_dtype))
        result = tf.reshape(flat, tf.concat([tf.shape(inputs)[:2], [kernel.shape[1]]], axis=0))
        result.set_shape([inputs.shape[0], inputs.shape[1], kernel.shape[1]])
        return result

    def _constants(self, batch: tf.Tensor, training: bool) -> dict[str, tf.Tensor]:
        if not (training and self.recurrent_dropout):
            return {}
        ones = tf.ones([batch, self.units])
        return {"dropout": keras.random.dropout(ones, self.recurrent_dropout, seed=self.seed_generator)}

    def _cudnn(self, inputs: tf.Tensor, mask: tf.Tensor, state: States, training: bool) -> tuple[tf.Tensor, States]:
        assert self._cudnn_mode is not None
        weights = [tf.cast(weight, self.compute_dtype) for weight in (self.kernel, self.recurrent_kernel, self.bias)]
        return cudnn.run(
            inputs,
            mask=mask,
            state=state,
            parameters=cudnn.parameters(self._cudnn_mode, *weights),
            mode=self._cudnn_mode,
            reverse=self.reverse,
            training=training,
        )

    def compute_output_spec(self, inputs: Any, **_: Any) -> tuple[Any, tuple[Any, ...]]:
        """Gives Keras the shapes without running the layer."""
        batch, time, _features = inputs.shape
        outputs = keras.KerasTensor((batch, time, self.units), dtype=self.compute_dtype)
        state = keras.KerasTensor((batch, self.units), dtype="float32")
        return outputs, (state,) * self._states

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments, without `training_path`: it belongs to a machine, not to a model."""
        return {
            **super().get_config(),
            "units": self.units,
            "reverse": self.reverse,
            "dropout": self.dropout,
            "recurrent_dropout": self.recurrent_dropout,
            "seed": self.seed_generator.get_config()["seed"],
        }


@functools.cache
def _scan_of(step: Callable[..., States], reverse: bool, small: bool) -> Scan:
    """One scan, and thus one compiled program a shape, for all layers of a kind."""
    return Scan(step, reverse=reverse, compile_half_precision=small)


def _first(state: States) -> tf.Tensor:
    return state[0]


def _dropped(hidden: tf.Tensor, constants: Mapping[str, tf.Tensor]) -> tf.Tensor:
    return hidden * constants["dropout"] if "dropout" in constants else hidden


def _lstm_step(
    inputs: Mapping[str, tf.Tensor], state: States, constants: Mapping[str, tf.Tensor], affine: Affine
) -> States:
    del inputs  # `affine` adds them
    hidden, cell = state
    gates = affine("recurrent", _dropped(hidden, constants))
    return lstm_cell(gates, cell)


def lstm_cell(gates: tf.Tensor, cell: tf.Tensor) -> States:
    """Returns the next (hidden, cell) from the gates' pre-activations i, f, g, o, all float32 (..., units)."""
    write, keep, candidate, read = tf.split(gates, 4, axis=-1)
    cell = tf.sigmoid(keep) * cell + tf.sigmoid(write) * tf.tanh(candidate)
    return tf.sigmoid(read) * tf.tanh(cell), cell


def _gru_step(
    inputs: Mapping[str, tf.Tensor], state: States, constants: Mapping[str, tf.Tensor], affine: Affine
) -> States:
    (hidden,) = state
    recurrent = affine("recurrent", _dropped(hidden, constants)) + constants["recurrent_bias"]
    return (gru_cell(inputs["kernel"], recurrent, hidden),)


def gru_cell(projected: tf.Tensor, recurrent: tf.Tensor, hidden: tf.Tensor) -> tf.Tensor:
    """Returns the next hidden state from the projections z, r, h of input and state, float32 (..., 3 units)."""
    update_input, reset_input, candidate_input = tf.split(projected, 3, axis=-1)
    update_state, reset_state, candidate_state = tf.split(recurrent, 3, axis=-1)
    update = tf.sigmoid(update_input + update_state)
    candidate = tf.tanh(candidate_input + tf.sigmoid(reset_input + reset_state) * candidate_state)
    return update * hidden + (1.0 - update) * candidate


def _simple_step(
    inputs: Mapping[str, tf.Tensor], state: States, constants: Mapping[str, tf.Tensor], affine: Affine
) -> States:
    del inputs
    return (tf.tanh(affine("recurrent", _dropped(state[0], constants))),)


def _normalized_lstm_step(
    inputs: Mapping[str, tf.Tensor], state: States, constants: Mapping[str, tf.Tensor], affine: Affine
) -> States:
    hidden, cell = state
    recurrent = _standardized(affine("recurrent", _dropped(hidden, constants)))
    gates = (
        _standardized(inputs["kernel"]) * constants["kernel_scale"]
        + recurrent * constants["recurrent_scale"]
        + constants["bias"]
    )
    write, keep, candidate, read = tf.split(gates, 4, axis=-1)
    cell = tf.sigmoid(keep) * cell + tf.sigmoid(write) * tf.tanh(candidate)
    shown = _standardized(cell) * constants["cell_scale"] + constants["cell_shift"]
    return tf.sigmoid(read) * tf.tanh(shown), cell


def _standardized(values: tf.Tensor) -> tf.Tensor:
    centered = values - tf.reduce_mean(values, axis=-1, keepdims=True)
    variance = tf.reduce_mean(tf.square(centered), axis=-1, keepdims=True)
    return centered * tf.math.rsqrt(variance + 1e-5)


@keras.saving.register_keras_serializable(package="nlp_rnn")
class LSTM(_Recurrent):
    """Long short-term memory, with forget bias 1.

    Args:
        units: int >= 1. Width of the hidden and the cell state.
        reverse: Read from right to left. Outputs stay where their inputs are.
        dropout: Share of input features dropped, the same at every time step.
        recurrent_dropout: The same for the hidden state in the recurrent
            product (Gal and Ghahramani, 2016).
        training_path: How training computes: `"cudnn"` (an NVIDIA GPU) or
            `"portable"`. Inference is always portable. Not part of the config.
        seed: Seed of the dropout.

    Final state: (hidden, cell).

    Reference:
        Hochreiter and Schmidhuber (1997); the forget gate is Gers et al. (2000).
    """

    __doc__ = f"{__doc__}\n{_Recurrent.__doc__}"
    _step = staticmethod(_lstm_step)
    _gates = 4
    _states = 2
    _cudnn_mode: ClassVar[str | None] = "lstm"

    def _build_bias(self, width: int) -> None:
        self.bias = self._vector("bias", (width,), self._forget_one)

    def _forget_one(self, shape: tuple[int, ...], dtype: str | None = None) -> tf.Tensor:
        zeros = tf.zeros([self.units], dtype)
        return tf.concat([zeros, zeros + 1, zeros, zeros], axis=0)


@keras.saving.register_keras_serializable(package="nlp_rnn")
class GRU(_Recurrent):
    """Gated recurrent unit, reset gate applied after the recurrent product.

    Args: as `LSTM`.

    Final state: (hidden,).

    Reference:
        Cho et al. (2014), arXiv:1406.1078, in cuDNN's variant.
    """

    __doc__ = f"{__doc__}\n{_Recurrent.__doc__}"
    _step = staticmethod(_gru_step)
    _gates = 3
    _cudnn_mode = "gru"

    def _build_bias(self, width: int) -> None:
        self.bias = self._vector("bias", (2, width), "zeros")

    def _scan_inputs(self, inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"kernel": self._project(inputs, self.bias[0])}

    def _constants(self, batch: tf.Tensor, training: bool) -> dict[str, tf.Tensor]:
        return {**super()._constants(batch, training), "recurrent_bias": tf.convert_to_tensor(self.bias[1])}


@keras.saving.register_keras_serializable(package="nlp_rnn")
class SimpleRNN(_Recurrent):
    """Elman network with tanh.

    Args: as `LSTM`.

    Final state: (hidden,).

    Reference:
        Elman (1990), Finding structure in time.
    """

    __doc__ = f"{__doc__}\n{_Recurrent.__doc__}"
    _step = staticmethod(_simple_step)
    _gates = 1
    _cudnn_mode = "rnn_tanh"


@keras.saving.register_keras_serializable(package="nlp_rnn")
class LayerNormalizedLSTM(LSTM):
    """LSTM with layer normalisation of both products and of the cell state.

    Args: as `LSTM`; `training_path` is always `"portable"`.

    Final state: (hidden, cell).

    Reference:
        Ba et al. (2016), supplementary material, equations 20 to 22.
        arXiv:1607.06450
    """

    __doc__ = f"{__doc__}\n{_Recurrent.__doc__}"
    _step = staticmethod(_normalized_lstm_step)
    _cudnn_mode = None

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Creates the LSTM's weights and the scales and shifts of the normalisation."""
        super().build(input_shape)
        shapes = {
            "kernel_scale": ("ones", 4), "recurrent_scale": ("ones", 4), "cell_scale": ("ones", 1),
            "cell_shift": ("zeros", 1),
        }  # fmt: skip
        for name, (initializer, gates) in shapes.items():
            setattr(self, name, self._vector(name, (gates * self.units,), initializer))

    def _scan_inputs(self, inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"kernel": self._project(inputs, None)}

    def _constants(self, batch: tf.Tensor, training: bool) -> dict[str, tf.Tensor]:
        names = ("kernel_scale", "recurrent_scale", "cell_scale", "cell_shift", "bias")
        return {
            **super()._constants(batch, training),
            **{name: tf.convert_to_tensor(getattr(self, name)) for name in names},
        }
