"""The cells of tensors: from JSON to arrays, and back."""
