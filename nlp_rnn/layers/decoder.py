"""The attention decoder: one step, which training unrolls and search repeats."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from nlp_rnn.layers.attention import BahdanauAttention, Memory, attend
from nlp_rnn.layers.encoder import CELLS, Cell
from nlp_rnn.layers.masked import MaskedLayer, check_mask
from nlp_rnn.layers.precision import in_float32
from nlp_rnn.layers.recurrent import gru_cell, lstm_cell
from nlp_rnn.layers.scan import Affine, Scan, plain_affine, product

Constants = Mapping[str, tf.Tensor]


class DecoderState(NamedTuple):
    """What one step hands to the next, float32 (batch, hypotheses, ...).

    Attributes:
        output: (..., output_size). The last output, fed back as an input.
        layers: one tuple a layer: (hidden, cell) or (hidden,).
    """

    output: tf.Tensor
    layers: tuple[tuple[tf.Tensor, ...], ...]


@keras.saving.register_keras_serializable(package="nlp_rnn")
class AttentionDecoder(MaskedLayer):
    """Recurrent layers with additive attention and input feeding.

    At each step

        hidden  = cells([embedded token; last output], last state)
        context = attention(top hidden, memory)
        output  = tanh(W [hidden; context])

    Products with what is known beforehand, the embedded tokens and the
    attention's keys, are done once for all steps.

    Its methods are called before the layer itself, so `build` it first.

    Args:
        units: int >= 1. Units of each layer.
        output_size: int >= 1. Width of the outputs.
        attention_units: int >= 1. Width of the attention's score space.
        layers: int >= 1. Number of recurrent layers.
        cell: `"lstm"` or `"gru"`.
        residual: Add a layer's input to its output from the second layer on.
        dropout: Share of units dropped, the same ones at every time step: of
            the embedded tokens and of the top hidden state.
        seed: Seed of the dropout.

    Call arguments:
        embedded: float (batch, target, features). The previous tokens.
        mask: bool (batch, target). True = real token.
        memory: from `prepare`.
        state: DecoderState with one hypothesis a row, from `initial_state`.
        training: bool. Whether dropout applies and gradients will be taken.

    Returns:
        outputs (batch, target, output_size) in the compute dtype; at padding
        they repeat the last real one.

    Reference:
        Bahdanau et al. (2015), arXiv:1409.0473, for the attention; Luong et
        al. (2015), section 3.3, arXiv:1508.04025, for input feeding.
    """

    def __init__(
        self,
        *,
        units: int,
        output_size: int,
        attention_units: int,
        layers: int = 1,
        cell: Cell = "lstm",
        residual: bool = False,
        dropout: float = 0.0,
        seed: int | None = None,
        **options: Any,
    ):
        super().__init__(**options)
        for name, value in (("units", units), ("output_size", output_size), ("layers", layers)):
            if value < 1:
                raise ValueError(f"{name} must be at least 1, not {value}.")
        if cell not in CELLS:
            raise ValueError(f"cell must be one of {sorted(CELLS)}, not {cell!r}.")
        self.units = units
        self.output_size = output_size
        self.layers = layers
        self.cell = cell
        self.residual = residual
        self.dropout = dropout
        self.attention = BahdanauAttention(units=attention_units, dtype=self.dtype_policy)
        self.seed_generator = keras.random.SeedGenerator(seed)
        self._scan = Scan(self._scan_step, compile_half_precision=True)

    def build(self, embedded_shape: tuple[int | None, ...], memory_shape: tuple[int | None, ...]) -> None:
        """Creates the weights for embedded tokens and encoder outputs of these shapes (..., features)."""
        features, memory_size = embedded_shape[-1], memory_shape[-1]
        if features is None or memory_size is None:
            raise ValueError(f"The last axes of {embedded_shape} and {memory_shape} must be known to build weights.")
        gates = {"lstm": 4, "gru": 3}[self.cell] * self.units
        self.attention.build((self.units,), memory_shape)
        self.input_kernel = self._matrix("input_kernel", features, gates)
        self.output_kernel = self._matrix("output_kernel", self.units + memory_size, self.output_size)
        self.recurrent, self.biases = {}, {}
        for index in range(self.layers):
            below = self.units if index else self.output_size
            for name, rows in self._products(index, below).items():
                self.recurrent[name] = self._matrix(name, rows, gates)
            self.biases[f"bias_{index}"] = self._vector(f"bias_{index}", gates, forget=self.cell == "lstm")
            if self.cell == "gru":
                self.biases[f"recurrent_bias_{index}"] = self._vector(f"recurrent_bias_{index}", gates)
        parts, exact = 2 if self.cell == "lstm" else 1, in_float32(self.dtype_policy)
        self.bridges = [
            keras.layers.Dense(self.units, activation="tanh", name=f"bridge_{index}_{part}", dtype=exact)
            for index in range(self.layers)
            for part in range(parts)
        ]
        for bridge in self.bridges:
            bridge.build(memory_shape)

    def _products(self, index: int, below: int) -> dict[str, int]:
        """Names the recurrent products of a layer, with the sizes of what they multiply."""
        if self.cell == "lstm":
            return {f"layer_{index}": below + self.units}
        return {f"layer_{index}": below, f"recurrent_{index}": self.units}

    def _matrix(self, name: str, rows: int, columns: int) -> Any:
        return self.add_weight(name=name, shape=(rows, columns), initializer="glorot_uniform", autocast=False)

    def _vector(self, name: str, size: int, *, forget: bool = False) -> Any:
        def initializer(shape: tuple[int, ...], dtype: str | None = None) -> tf.Tensor:
            second_gate = (tf.range(size) // self.units == 1) & forget
            return tf.cast(second_gate, dtype)

        return self.add_weight(name=name, shape=(size,), initializer=initializer, dtype="float32", autocast=False)

    def prepare(self, values: tf.Tensor, *, mask: tf.Tensor) -> Memory:
        """Prepares the encoder's outputs for attention; see `BahdanauAttention.prepare`."""
        return self.attention.prepare(values, mask=mask)

    def initial_state(self, summary: tf.Tensor) -> DecoderState:
        """Bridges the encoder's summary, float (batch, size), to the state before the first token."""
        states = [bridge(summary)[:, tf.newaxis] for bridge in self.bridges]
        parts = len(states) // self.layers
        layers = tuple(tuple(states[index * parts : (index + 1) * parts]) for index in range(self.layers))
        return DecoderState(tf.zeros([tf.shape(summary)[0], 1, self.output_size]), layers)

    def step(
        self, embedded: tf.Tensor, state: DecoderState, memory: Memory
    ) -> tuple[tf.Tensor, DecoderState, tf.Tensor]:
        """Advances every hypothesis by one token, without dropout.

        Args:
            embedded: float (batch, hypotheses, features). The last tokens.
            state: the state before.
            memory: from `prepare`; shared by a row's hypotheses.

        Returns:
            output float32 (batch, hypotheses, output_size), the state after,
            and the attention float32 (batch, hypotheses, source).
        """
        return self.step_for_loop()(embedded, state, memory)

    def step_for_loop(self) -> Callable[[tf.Tensor, DecoderState, Memory], tuple[tf.Tensor, DecoderState, tf.Tensor]]:
        """Returns `step` for a loop: weights are read and cast here, and not at every step."""
        kernel, bias = tf.cast(self.input_kernel, self.compute_dtype), tf.convert_to_tensor(self.biases["bias_0"])
        matrices, vectors = self._matrices(), self._vectors()

        def step(embedded: tf.Tensor, state: DecoderState, memory: Memory) -> tuple[tf.Tensor, DecoderState, tf.Tensor]:
            affine = plain_affine({"layer_0": product(embedded, kernel) + bias}, matrices)
            state, weights = self._advance(state, {**memory._asdict(), **vectors}, affine)
            return state.output, state, weights

        return step

    def call(
        self,
        embedded: tf.Tensor,
        *,
        mask: tf.Tensor,
        memory: Memory,
        state: DecoderState,
        training: bool = False,
    ) -> tf.Tensor:
        """Unrolls `step` over given tokens: teacher forcing; see the class."""
        check_mask(embedded, mask)
        constants = {**memory._asdict(), **self._vectors()}
        if training and self.dropout:
            embedded = self._drop(embedded, (tf.shape(embedded)[0], 1, embedded.shape[-1]))
            constants["dropout"] = self._drop(tf.ones([tf.shape(embedded)[0], 1, self.units]))
        projected = self._project(tf.transpose(embedded, [1, 0, 2]))
        outputs, _ = self._scan(
            {"layer_0": projected[:, :, tf.newaxis]},  # one hypothesis a row
            mask=tf.transpose(mask),
            state=state,
            constants=constants,
            weights=self._matrices(),
            record=lambda state: state.output,
            training=training,
        )
        return tf.cast(tf.transpose(outputs[:, :, 0], [1, 0, 2]), self.compute_dtype)

    def _drop(self, values: tf.Tensor, shape: Any = None) -> tf.Tensor:
        return keras.random.dropout(values, self.dropout, noise_shape=shape, seed=self.seed_generator)

    def _project(self, embedded: tf.Tensor) -> tf.Tensor:
        """The input product of the first layer, with its bias."""
        return product(embedded, tf.cast(self.input_kernel, self.compute_dtype)) + self.biases["bias_0"]

    def _matrices(self) -> dict[str, tf.Tensor]:
        matrices = {**self.recurrent, "query": self.attention.query_kernel, "output": self.output_kernel}
        return {name: tf.cast(matrix, self.compute_dtype) for name, matrix in matrices.items()}

    def _vectors(self) -> dict[str, tf.Tensor]:
        # The first layer's bias is part of its projected inputs.
        biases = {name: tf.convert_to_tensor(bias) for name, bias in self.biases.items() if name != "bias_0"}
        return {**biases, "score": tf.convert_to_tensor(self.attention.score)}

    def _scan_step(self, inputs: Constants, state: DecoderState, constants: Constants, affine: Affine) -> DecoderState:
        del inputs  # `affine` adds them
        return self._advance(state, constants, affine)[0]

    def _advance(self, state: DecoderState, constants: Constants, affine: Affine) -> tuple[DecoderState, tf.Tensor]:
        below, layers = state.output, []
        for index, layer in enumerate(state.layers):
            after = self._cell(index, below, layer, constants, affine)
            below = after[0] + below if self.residual and index else after[0]
            layers.append(after)
        if "dropout" in constants:
            below = below * constants["dropout"]
        memory = Memory(constants["keys"], constants["values"], constants["mask"])
        context, weights = attend(affine("query", below), memory, constants["score"])
        output = tf.tanh(affine("output", tf.concat([below, context], axis=-1)))
        return DecoderState(output, tuple(layers)), weights

    def _cell(
        self, index: int, below: tf.Tensor, state: tuple[tf.Tensor, ...], constants: Constants, affine: Affine
    ) -> tuple[tf.Tensor, ...]:
        bias = constants.get(f"bias_{index}", 0.0)
        if self.cell == "lstm":
            return lstm_cell(affine(f"layer_{index}", tf.concat([below, state[0]], axis=-1)) + bias, state[1])
        recurrent = affine(f"recurrent_{index}", state[0]) + constants[f"recurrent_bias_{index}"]
        return (gru_cell(affine(f"layer_{index}", below) + bias, recurrent, state[0]),)

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments."""
        return {
            **super().get_config(),
            "units": self.units,
            "output_size": self.output_size,
            "attention_units": self.attention.units,
            "layers": self.layers,
            "cell": self.cell,
            "residual": self.residual,
            "dropout": self.dropout,
            "seed": self.seed_generator.get_config()["seed"],
        }
