"""The protocols a client can speak: JSON to tensors, tensors to JSON, a schema, its errors."""
