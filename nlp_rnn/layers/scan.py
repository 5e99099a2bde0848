"""One loop over time for every recurrent network of the package.

A recurrent network is a `step`, a pure function from one time step's inputs
and the previous state to the next state. `Scan` runs a step over a sequence.
It has two ways of doing so, with equal results:

* In inference an ordinary TensorFlow loop, which runs wherever TensorFlow
  does and is what an export contains.
* In training a loop with a gradient of its own. Autodiff of a loop adds a full
  weight gradient at every step. Here the backward loop only collects the
  operands of each product and the gradients of its result; each weight
  gradient is then one large product over all steps. The step's other,
  element-wise operations are differentiated by TensorFlow and recomputed on
  the way back instead of being stored. XLA compiles the loops and fuses these
  operations, unless products are in half precision: XLA computes those in
  float32 on a CPU, so that an ordinary loop is faster.
"""

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import tensorflow as tf

nest = tf.nest

State = Any
"""A nest of float32 tensors, each (batch, ...)."""

Tensors = dict[str, tf.Tensor]
Nest = Any


class Affine(Protocol):
    """The one way in which a step multiplies by a weight matrix."""

    def __call__(self, name: str, operand: tf.Tensor) -> tf.Tensor:
        """Returns operand @ weights[name], plus inputs[name] where there is such an input, in float32."""


Step = Callable[[Mapping[str, tf.Tensor], State, Mapping[str, tf.Tensor], Affine], State]
"""`step(inputs, state, constants, affine)` returns the next state.

A step is pure: all tensors reach it through its arguments, each matrix is
multiplied once, and everything it sees and returns is float32.
"""


def product(operand: tf.Tensor, weight: tf.Tensor) -> tf.Tensor:
    """Returns operand (..., n) @ weight (n, m) in float32, computed in the weight's dtype."""
    operand = tf.cast(operand, weight.dtype)
    if operand.shape.rank == 2:
        return tf.cast(tf.matmul(operand, weight), tf.float32)
    flat = tf.reshape(operand, [-1, weight.shape[0]])
    shape = tf.concat([tf.shape(operand)[:-1], [weight.shape[1]]], axis=0)
    result = tf.reshape(tf.cast(tf.matmul(flat, weight), tf.float32), shape)
    result.set_shape(operand.shape[:-1].concatenate(weight.shape[1]))
    return result


def plain_affine(inputs: Mapping[str, tf.Tensor], weights: Mapping[str, tf.Tensor]) -> Affine:
    """Returns the affine map of a single step, for use outside of any scan."""

    def affine(name: str, operand: tf.Tensor) -> tf.Tensor:
        result = product(operand, weights[name])
        return result + inputs[name] if name in inputs else result

    return affine


class Scan:
    """Runs a step over time-major sequences.

    Args:
        step: The recurrent network, see `Step`.
        reverse: Run from the last time step to the first.
        compile_half_precision: Compile training in half precision too. Pays
            where the step does much besides its products, as attention does.

    Call arguments:
        inputs: dict of float (time, batch, ...). What differs at each step.
        mask: bool (time, batch). True = real token. At padding the state is
            handed on unchanged, in either direction.
        state: nest of float32 (batch, ...). The state before the first step.
        constants: dict of float tensors that all steps see.
        weights: dict of float matrices, in the dtype to multiply in.
        record: picks from a state the part that is wanted at every step.
        training: whether gradients will be taken. Selects the compiled loop.

    Returns:
        The recorded part of the state after each step, (time, batch, ...),
        and the state after the last step, all float32.
    """

    def __init__(self, step: Step, *, reverse: bool = False, compile_half_precision: bool = False):
        self._step = step
        self._reverse = reverse
        self._compile_half_precision = compile_half_precision
        self._loops = {
            compiled: [
                tf.function(loop, jit_compile=compiled, autograph=False) for loop in (self._forward, self._backward)
            ]
            for compiled in (True, False)
        }

    def __call__(
        self,
        inputs: Mapping[str, tf.Tensor],
        *,
        mask: tf.Tensor,
        state: State,
        constants: Mapping[str, tf.Tensor],
        weights: Mapping[str, tf.Tensor],
        record: Callable[[State], Any],
        training: bool,
    ) -> tuple[Any, State]:
        """Runs the step over the sequence; see the class."""
        if not training:
            return self._infer(inputs, mask, state, constants, weights, record)
        states, final = self._train(dict(inputs), mask, state, dict(constants), dict(weights))
        return record(states), final

    def _infer(
        self,
        inputs: Mapping[str, tf.Tensor],
        mask: tf.Tensor,
        state: State,
        constants: Mapping[str, tf.Tensor],
        weights: Mapping[str, tf.Tensor],
        record: Callable[[State], Nest],
    ) -> tuple[Nest, State]:
        time = tf.shape(mask)[0]

        def body(count: tf.Tensor, state: State, arrays: Nest) -> tuple:
            index = self._index(count, time)
            now = _at(inputs, index)
            state = _select(mask[index], self._step(now, state, constants, plain_affine(now, weights)), state)
            return count + 1, state, self._write(arrays, index, record(state))

        arrays = self._arrays(record(state), time)
        _, final, arrays = _loop(time, body, (state, arrays))
        return nest.map_structure(self._after, _stack(arrays)), final

    def _train(
        self, inputs: Tensors, mask: tf.Tensor, state: State, constants: Tensors, weights: Tensors
    ) -> tuple[State, State]:
        time = tf.shape(mask)[0]
        arguments = (inputs, state, constants, weights)
        in_float32 = all(weight.dtype == tf.float32 for weight in weights.values())
        compiled = in_float32 or self._compile_half_precision
        forward, backward = self._loops[compiled]

        @tf.custom_gradient
        def run(*tensors: tf.Tensor) -> tuple[list[tf.Tensor], Callable[..., list[tf.Tensor]]]:
            # A tape that saw the compiled functions would ask XLA for their gradients too.
            hidden_from_tape = [tf.stop_gradient(tensor) for tensor in tensors]
            inputs, state, constants, weights = nest.pack_sequence_as(arguments, hidden_from_tape)
            inputs, some = _at_least_one_step((inputs, mask))
            # XLA would do this at every step.
            factors = {name: tf.cast(weight, tf.float32) if compiled else weight for name, weight in weights.items()}
            states, products, final = forward(inputs, some, state, constants, factors)
            loose = {name: tensor for name, tensor in inputs.items() if name not in weights}

            def gradient(*upstream: tf.Tensor) -> list[tf.Tensor]:
                # What is gathered from the states sends back a sparse gradient.
                dense = list(map(tf.convert_to_tensor, upstream))
                d_states, d_final = nest.pack_sequence_as((state, state), dense)
                d_loose, d_state, d_constants, operands, d_products = backward(
                    loose, some, constants, factors, states, products, _at_least_one_step(d_states), d_final
                )
                d_all = {**d_products, **d_loose}
                d_inputs = {name: tf.cast(d_all[name][:time], inputs[name].dtype) for name in inputs}
                d_weights = {name: _outer(operands[name], d_products[name], weights[name].dtype) for name in weights}
                return nest.flatten((d_inputs, d_state, d_constants, d_weights))

            after = nest.map_structure(lambda tensor: self._after(tensor)[:time], states)
            return nest.flatten((after, final)), gradient

        return nest.pack_sequence_as((state, state), run(*nest.flatten(arguments)))

    def _forward(
        self, inputs: Tensors, mask: tf.Tensor, state: State, constants: Tensors, weights: Tensors
    ) -> tuple[State, Tensors, State]:
        """Returns all states with the initial one, the results of all products, and the final state."""
        time = tf.shape(mask)[0]

        def body(count: tf.Tensor, state: State, arrays: Nest, products: Nest) -> tuple:
            index = self._index(count, time)
            now = _at(inputs, index)
            plain = plain_affine(now, weights)
            results = {}

            def affine(name: str, operand: tf.Tensor) -> tf.Tensor:
                results[name] = plain(name, operand)
                return results[name]

            state = _select(mask[index], self._step(now, state, constants, affine), state)
            products = {name: array.write(index, results[name]) for name, array in products.items()}
            return count + 1, state, self._write(arrays, index, state), products

        arrays = self._arrays(state, time)
        products = {name: tf.TensorArray(tf.float32, time) for name in weights}
        _, final, arrays, products = _loop(time, body, (state, arrays, products))
        return _stack(arrays), _stack(products), final

    def _backward(
        self,
        loose: Tensors,
        mask: tf.Tensor,
        constants: Tensors,
        weights: Tensors,
        states: State,
        products: Tensors,
        d_states: State,
        d_final: State,
    ) -> tuple[Tensors, State, Tensors, Tensors, Tensors]:
        """Returns the gradients of loose inputs, state and constants, and each product's operands and gradients.

        Loose inputs are those that no product adds to its result. The others' gradients are the products'.
        """
        time = tf.shape(mask)[0]
        before = nest.map_structure(self._before, states)
        transposed = {name: tf.transpose(weight) for name, weight in weights.items()}

        def body(count: tf.Tensor, d_state: State, d_constants: Tensors, arrays: Nest) -> tuple:
            index = self._index(time - 1 - count, time)
            d_state = nest.map_structure(tf.add, d_state, _at(d_states, index))
            known = {name: result[index] for name, result in products.items()}
            found, d_state, d_more = self._step_back(
                _at(loose, index), mask[index], _at(before, index), constants, transposed, known, d_state
            )
            d_constants = nest.map_structure(tf.add, d_constants, d_more)
            arrays = nest.map_structure(
                lambda array, value: array.write(index, tf.cast(value, array.dtype)), arrays, found
            )
            return count + 1, d_state, d_constants, arrays

        arrays = (
            {name: tf.TensorArray(tensor.dtype, time) for name, tensor in loose.items()},
            {name: tf.TensorArray(weight.dtype, time) for name, weight in weights.items()},
            {name: tf.TensorArray(weight.dtype, time) for name, weight in weights.items()},
        )
        zeros = nest.map_structure(tf.zeros_like, constants)
        _, d_state, d_constants, arrays = _loop(time, body, (d_final, zeros, arrays))
        d_loose, operands, d_products = _stack(arrays)
        return d_loose, d_state, d_constants, operands, d_products

    def _step_back(
        self,
        now: Tensors,
        mask: tf.Tensor,
        state: State,
        constants: Tensors,
        transposed: Tensors,
        products: Tensors,
        d_state: State,
    ) -> tuple[tuple[Tensors, Tensors, Tensors], State, Tensors]:
        """Differentiates one step, from the state before it and the results of its products.

        Returns the gradient of its inputs with the products' operands and gradients, and those of state and constants.
        """
        taps = {name: tf.zeros_like(result) for name, result in products.items()}
        operands: Tensors = {}

        def affine(name: str, operand: tf.Tensor) -> tf.Tensor:
            operands[name] = operand
            return _recall(operand, taps[name], products[name], transposed[name])

        with tf.GradientTape() as tape:
            sources = (now, state, constants, taps)
            tape.watch(nest.flatten(sources))
            after = _select(mask, self._step(now, state, constants, affine), state)
        gradients = tape.gradient(
            nest.flatten(after),
            nest.flatten(sources),
            output_gradients=nest.flatten(d_state),
            unconnected_gradients=tf.UnconnectedGradients.ZERO,
        )
        d_now, d_state, d_constants, d_taps = nest.pack_sequence_as(sources, gradients)
        return (d_now, operands, d_taps), d_state, d_constants

    def _index(self, count: tf.Tensor, time: tf.Tensor) -> tf.Tensor:
        return time - 1 - count if self._reverse else count

    # A sequence of states holds the initial one too, at the end where the scan
    # starts: the states before and after each step are then two slices of it,
    # and a sequence of no steps is still a tensor of known shape.

    def _arrays(self, state: State, time: tf.Tensor) -> Nest:
        start = time if self._reverse else 0

        def array(value: tf.Tensor) -> tf.TensorArray:
            return tf.TensorArray(value.dtype, time + 1, element_shape=value.shape).write(start, value)

        return nest.map_structure(array, state)

    def _write(self, arrays: Nest, index: tf.Tensor, state: State) -> Nest:
        position = index if self._reverse else index + 1
        return nest.map_structure(lambda array, value: array.write(position, value), arrays, state)

    def _before(self, states: tf.Tensor) -> tf.Tensor:
        return states[1:] if self._reverse else states[:-1]

    def _after(self, states: tf.Tensor) -> tf.Tensor:
        return states[:-1] if self._reverse else states[1:]


def _loop(time: tf.Tensor, body: Callable[..., tuple], start: Nest) -> tuple:
    # Each step needs the one before it: preparing several at once would only cost time.
    return tf.while_loop(lambda count, *_: count < time, body, (0, *start), parallel_iterations=1)


def _at_least_one_step(sequences: Nest) -> Nest:
    """Gives sequences without any step one of zeros, thus of padding, as XLA cannot index nothing."""

    def some(tensor: tf.Tensor) -> tf.Tensor:
        if tensor.shape[0]:
            return tensor
        missing = tf.cast(tf.equal(tf.shape(tensor)[0], 0), tf.int32)
        return tf.pad(tensor, [[0, missing]] + [[0, 0]] * (tensor.shape.rank - 1))

    return nest.map_structure(some, sequences)


def _at(sequences: Nest, index: tf.Tensor) -> Nest:
    return nest.map_structure(lambda tensor: tf.cast(tensor[index], tf.float32), sequences)


def _stack(arrays: Nest) -> Nest:
    return nest.map_structure(lambda array: array.stack(), arrays)


def _select(mask: tf.Tensor, after: State, before: State) -> State:
    """Takes the new state in rows where the mask is true, the old one elsewhere."""

    def choose(new: tf.Tensor, old: tf.Tensor) -> tf.Tensor:
        # The older op copies whole rows; `tf.where` would broadcast the mask, at ten times the cost.
        chosen = tf.raw_ops.Select(condition=mask, x=new, y=old)
        chosen.set_shape(old.shape)
        return chosen

    return nest.map_structure(choose, after, before)


def _recall(operand: tf.Tensor, tap: tf.Tensor, result: tf.Tensor, transposed: tf.Tensor) -> tf.Tensor:
    """Stands for a product whose result is known; its gradient also arrives at the tap."""

    @tf.custom_gradient
    def known(operand: tf.Tensor, tap: tf.Tensor) -> tuple[tf.Tensor, Callable]:
        return tf.identity(result), lambda upstream: (product(upstream, transposed), upstream)

    return known(operand, tap)


def _outer(operands: tf.Tensor, gradients: tf.Tensor, dtype: tf.DType) -> tf.Tensor:
    """Returns the gradient of a weight (n, m): the sum over all steps and rows of operand times gradient."""
    left = tf.cast(tf.reshape(operands, [-1, operands.shape[-1]]), dtype)
    right = tf.cast(tf.reshape(gradients, [-1, gradients.shape[-1]]), dtype)
    return tf.matmul(left, right, transpose_a=True)
