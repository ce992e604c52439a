"""TensorFlow Serving's REST protocol (V1)."""
