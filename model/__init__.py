"""All that knows Keras. Nothing here knows HTTP or asyncio."""

import os

# Keras reads the first when it is imported, TensorFlow the second; both come later than this.
os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # its errors arrive as exceptions anyway
