"""Values without I/O: what every layer above may use."""
