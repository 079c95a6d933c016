"""The command line; a client like any other, except `up`."""
