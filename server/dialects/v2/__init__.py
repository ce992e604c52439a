"""The Open Inference Protocol (V2), in JSON and with binary tensors."""
