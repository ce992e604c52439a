"""Values of tensors, as JSON holds them, from and to arrays."""
