"""Convolutions in groups, which Keras has XLA compile, by TensorFlow's own kernels.

XLA compiles them for every new shape: that takes 140 ms, and 0.15 MiB that stay for ever, so that
any client could fill the memory. TensorFlow 2.21 computes those of one and two dimensions itself.
"""

from __future__ import annotations

from typing import Any, Final

CHANNELS_FIRST: Final = "NC"  # how TensorFlow's names of such layouts begin


def without_xla(original: Any) -> Any:
    """Return the convolution of Keras 3 with TensorFlow's own kernels where it has XLA compile.

    Also those of three dimensions with the channels first, which Keras has XLA compile as well.
    """
    import keras
    from keras.src.backend.tensorflow import nn  # not public; as in Keras 3.15

    def conv(
        inputs: Any,
        kernel: Any,
        strides: Any = 1,
        padding: str = "valid",
        data_format: str | None = None,
        dilation_rate: Any = 1,
    ) -> Any:
        standard = data_format or keras.config.image_data_format()
        layout = nn._convert_data_format(standard, len(inputs.shape))
        if not _is_compiled(inputs, kernel, layout):
            return original(inputs, kernel, strides, padding, data_format, dilation_rate)
        return convolve(inputs, kernel, strides, padding.upper(), layout, dilation_rate)

    return conv


def use_own_kernels_in_keras_2() -> None:
    """Have `tf_keras` compute grouped convolutions so."""
    from tf_keras.src.layers.convolutional.base_conv import Conv  # not public; of tf_keras 2.21

    def compute(layer: Any, inputs: Any, kernel: Any) -> Any:
        padding = "VALID" if layer.padding == "causal" else layer.padding.upper()
        layout = layer._tf_data_format
        return convolve(
            inputs, kernel, list(layer.strides), padding, layout, list(layer.dilation_rate)
        )

    Conv._jit_compiled_convolution_op = compute


def _is_compiled(inputs: Any, kernel: Any, layout: str) -> bool:
    """Return whether Keras has XLA compile a convolution."""
    first = layout.startswith(CHANNELS_FIRST)
    if first and len(inputs.shape) == 5:
        return True
    return bool(inputs.shape[1 if first else -1] != kernel.shape[-2])


def convolve(
    inputs: Any, kernel: Any, strides: Any, padding: str, layout: str, dilations: Any
) -> Any:
    """Return the convolution of `inputs` with `kernel`, whose inputs are those of one group.

    `layout` is TensorFlow's name, such as "NHWC" or "NCDHW".
    """
    import tensorflow as tf

    rank = len(inputs.shape)
    if layout.startswith(CHANNELS_FIRST):
        inputs = tf.transpose(inputs, [0, *range(2, rank), 1])
    arguments = {"strides": strides, "padding": padding, "dilations": dilations}
    groups = inputs.shape[-1] // kernel.shape[-2]
    if rank == 5 and groups > 1:  # there is no kernel of TensorFlow for these
        parts = zip(tf.split(inputs, groups, -1), tf.split(kernel, groups, -1), strict=True)
        answer = tf.concat([tf.nn.convolution(*part, **arguments) for part in parts], -1)
    else:
        answer = tf.nn.convolution(inputs, kernel, **arguments)
    if layout.startswith(CHANNELS_FIRST):
        answer = tf.transpose(answer, [0, rank - 1, *range(1, rank - 1)])
    return answer
