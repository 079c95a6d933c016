"""pytest fixtures: a server of one's own."""
