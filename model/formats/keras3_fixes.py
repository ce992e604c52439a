"""Corrections of Keras 3.15, whose answers are wrong or depend on how a model is called.

Some layers look at sizes while they are traced, when a size that varies is not known. Others answer
otherwise when they are not traced. The tests show that Keras still needs each of these.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from model.formats.grouped_convolution import without_xla


def fix_layers() -> None:
    """Replace methods of Keras' layers by corrected ones; a second call changes nothing.

    The method of Keras is the attribute `original` of the corrected one.
    """
    from keras import layers
    from keras.src.backend.tensorflow import nn  # not public; as in Keras 3.15
    from keras.src.backend.tensorflow import numpy as operations  # as above
    from keras.src.layers.preprocessing.data_layer import DataLayer  # as above

    _replace(nn, "conv", without_xla)
    _replace(operations, "add", _add)
    _replace(DataLayer, "__call__", _data_layer)
    _replace(layers.TimeDistributed, "call", _time_distributed)
    _replace(layers.CenterCrop, "transform_images", _center_crop)


def _replace(owner: Any, name: str, corrected: Callable[[Any], Callable[..., Any]]) -> None:
    original = getattr(owner, name)
    if not hasattr(original, "original"):
        method: Any = corrected(original)
        method.original = original
        setattr(owner, name, method)


def _add(original: Any) -> Callable[..., Any]:
    """Where there is one row, Keras may add along another axis than TensorFlow and numpy do.

    It takes a second tensor of shape [1, n, 1] for a bias of n channels, though its n values belong
    to an axis in the middle.
    """
    import keras
    import tensorflow as tf

    def add(x1: Any, x2: Any) -> Any:
        one, other = (tuple(getattr(x, "shape", ())) for x in (x1, x2))
        if len(one) == len(other) > 1 and one[0] == other[0] == 1:
            dtype = keras.backend.result_type(x1.dtype, x2.dtype)
            return tf.add(*(keras.ops.convert_to_tensor(x, dtype) for x in (x1, x2)))
        return original(x1, x2)

    return add


def _data_layer(original: Any) -> Callable[..., Any]:
    """A layer of preprocessing converts its inputs only while it is traced.

    Otherwise `Resizing` rounds what it makes of integers.
    """
    import keras
    import tensorflow as tf

    def call(self: Any, inputs: Any, **arguments: Any) -> Any:
        if all(isinstance(each, tf.Tensor) for each in tf.nest.flatten(inputs)):
            inputs = tf.nest.map_structure(
                lambda each: keras.ops.convert_to_tensor(each, dtype=self.compute_dtype), inputs
            )
        return original(self, inputs, **arguments)

    return call


def _time_distributed(original: Any) -> Callable[..., Any]:
    """Where the number of steps varies, Keras makes as many steps as there are rows.

    Here, as in Keras 2, the inner layer is called once, with the steps of all rows as its rows.
    """
    from keras import ops

    def call(self: Any, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        if inputs.shape[1] is not None:
            return original(self, inputs, training=training, mask=mask)
        rows, steps = ops.shape(inputs)[:2]
        arguments: dict[str, Any] = {}
        if self.layer._call_has_mask_arg and mask is not None:
            arguments["mask"] = ops.reshape(mask, (-1, *ops.shape(mask)[2:]))
        if self.layer._call_has_training_arg:
            arguments["training"] = training
        each = self.layer.call(ops.reshape(inputs, (-1, *ops.shape(inputs)[2:])), **arguments)
        return ops.reshape(each, (rows, steps, *ops.shape(each)[1:]))

    return call


def _center_crop(original: Any) -> Callable[..., Any]:
    """Where the size of an image varies, Keras does not enlarge one that is too small."""
    from keras import ops
    from keras.preprocessing.image import smart_resize

    def transform_images(
        self: Any, images: Any, transformation: Any = None, training: bool = True
    ) -> Any:
        axes = (-2, -1) if self.data_format == "channels_first" else (-3, -2)
        wanted = (self.height, self.width)
        sizes = [ops.shape(images)[axis] for axis in axes]
        if all(isinstance(size, int) for size in sizes):
            return original(self, images, transformation, training)
        images = ops.cast(images, self.compute_dtype)

        def enlarged() -> Any:
            resized = smart_resize(images, wanted, data_format=self.data_format)
            return ops.cast(resized, self.compute_dtype)

        def cropped() -> Any:
            return original(self, images, transformation, training)

        is_large = ops.all(ops.stack(sizes) >= ops.convert_to_tensor(wanted, "int32"))
        shape = list(ops.shape(images))
        for axis, size in zip(axes, wanted, strict=True):
            shape[axis] = size
        return ops.reshape(ops.cond(is_large, cropped, enlarged), shape)

    return transform_images
