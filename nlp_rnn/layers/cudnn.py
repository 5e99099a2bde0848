"""The cuDNN path of the recurrent layers, for training on an NVIDIA GPU.

Only training runs through here, so no exported graph can hold these
operations. cuDNN wants right-padded rows of at least one token each and its
own order of the weights; both are arranged here.
"""

import tensorflow as tf


def parameters(mode: str, kernel: tf.Tensor, recurrent_kernel: tf.Tensor, bias: tf.Tensor) -> tf.Tensor:
    """Returns a layer's weights as the one vector that cuDNN reads.

    cuDNN takes each gate's input matrix, then each gate's recurrent matrix,
    all transposed, then the input biases and the recurrent biases. Its GRU has
    the reset gate before the update gate.

    Args:
        mode: `"lstm"`, `"gru"` or `"rnn_tanh"`.
        kernel: float (features, gates * units).
        recurrent_kernel: float (units, gates * units).
        bias: float (gates * units,), or (2, gates * units) for the GRU, whose
            recurrent bias is separate.
    """
    gates = kernel.shape[1] // recurrent_kernel.shape[0]
    if mode != "gru":
        bias = tf.stack([bias, tf.zeros_like(bias)])
    matrices = [tf.split(matrix, gates, axis=1) for matrix in (kernel, recurrent_kernel)]
    vectors = [tf.split(vector, gates) for vector in tf.unstack(bias)]
    if mode == "gru":
        for parts in (*matrices, *vectors):
            parts[0], parts[1] = parts[1], parts[0]
    flat = [tf.reshape(tf.transpose(part), [-1]) for parts in matrices for part in parts]
    return tf.concat(flat + [part for parts in vectors for part in parts], axis=0)


def run(
    inputs: tf.Tensor,
    *,
    mask: tf.Tensor,
    state: tuple[tf.Tensor, ...],
    parameters: tf.Tensor,
    mode: str,
    reverse: bool,
    training: bool,
) -> tuple[tf.Tensor, tuple[tf.Tensor, ...]]:
    """Runs one direction of one layer.

    Args:
        inputs: float (batch, time, features).
        mask: bool (batch, time). True = real token; padding on the right.
        state: the initial state, float32 (batch, units) each.
        parameters: from `parameters`.
        mode: `"lstm"`, `"gru"` or `"rnn_tanh"`.
        reverse: read each row from its last real token to its first.
        training: whether gradients will be taken.

    Returns:
        outputs (batch, time, units), undefined at padding, and the final state
        as float32. A row without real tokens keeps its initial state.

    Raises:
        tf.errors.InvalidArgumentError: while running, if a row is not
            right-padded.
    """
    lengths = _lengths(mask)
    # cuDNN refuses rows of length 0, and batches and sequences of size 0: they
    # get one token, one row, one step, which are taken away below.
    batch, time = tf.unstack(tf.shape(mask))
    rows, steps = [0, 1 - tf.minimum(batch, 1)], [0, 1 - tf.minimum(time, 1)]
    served = tf.maximum(tf.pad(lengths, [rows]), 1)
    inputs = tf.pad(inputs, [rows, steps, [0, 0]])
    given = [tf.pad(tensor, [rows, [0, 0]]) for tensor in state]
    if reverse:
        inputs = tf.reverse_sequence(inputs, served, seq_axis=1)
    # Beside batch-major inputs, cuDNN's states are (batch, layers, units).
    hidden = tf.cast(given[0], inputs.dtype)[:, tf.newaxis]
    cell = tf.cast(given[1], inputs.dtype)[:, tf.newaxis] if len(given) > 1 else tf.zeros([], inputs.dtype)
    outputs, final_hidden, final_cell, *_ = tf.raw_ops.CudnnRNNV3(
        input=inputs,
        input_h=hidden,
        input_c=cell,
        params=parameters,
        sequence_lengths=served,
        rnn_mode=mode,
        is_training=training,
        time_major=False,
    )
    if reverse:
        outputs = tf.reverse_sequence(outputs, served, seq_axis=1)
    ends = (final_hidden[:batch, 0], final_cell[:batch, 0]) if len(state) > 1 else (final_hidden[:batch, 0],)
    real = (lengths > 0)[:, tf.newaxis]
    return outputs[:batch, :time], tuple(
        tf.where(real, tf.cast(end, tf.float32), start) for end, start in zip(ends, state, strict=True)
    )


def _lengths(mask: tf.Tensor) -> tf.Tensor:
    """Returns each row's real tokens, int32 (batch,), if all of them stand before its padding."""
    lengths = tf.reduce_sum(tf.cast(mask, tf.int32), axis=1)
    right_padded = tf.reduce_all(mask == tf.sequence_mask(lengths, tf.shape(mask)[1]))
    check = tf.debugging.Assert(right_padded, ["mask must be right-padded, but real tokens follow padding."])
    with tf.control_dependencies([check] if check is not None else []):
        return tf.identity(lengths)
