"""Pictures in requests: files of JPEG, PNG, WebP, BMP or GIF that become rows of an input."""
