"""Managed runtimes: what exists, how it is prepared, how code becomes a root tree."""
