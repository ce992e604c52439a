"""A SavedModel that decodes pictures in its graph, asked as TensorFlow Serving's pages show it."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import numpy as np
import pytest

from model.formats.load import load_model
from server.dialects.tfserving.dialect import TFServingDialect
from tests.support.pictures import base, saved

pytestmark = pytest.mark.keras

FILES = [saved(base(37, 23), "PNG"), saved(base(64, 64), "PNG")]


def test_its_files_come_as_base64(tmp_path: Path) -> None:
    import tensorflow as tf

    def red(file: tf.Tensor) -> tf.Tensor:
        return tf.cast(tf.io.decode_png(file, channels=3)[0, 0, 0], tf.float32)

    class Decoding(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="image_bytes")])
        def serve(self, image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
            return {"red": tf.map_fn(red, image_bytes, fn_output_signature=tf.float32)}

    module = Decoding()
    tf.saved_model.save(module, str(tmp_path / "m"), signatures={"serving_default": module.serve})
    engine = load_model(tmp_path / "m")
    texts = [{"b64": base64.b64encode(file).decode()} for file in FILES]
    dialect = TFServingDialect(engine.signature)

    for instances in (texts, [{"image_bytes": text} for text in texts]):
        request = dialect.decode(json.dumps({"instances": instances}).encode())
        [answer] = engine.call([request.tensors.arrays["image_bytes"]])

        assert answer.tolist() == [
            float(np.asarray(base(*size))[0, 0, 0]) for size in ((37, 23), (64, 64))
        ]
