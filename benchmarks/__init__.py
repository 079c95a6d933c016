"""Measured promises: `make bench` runs every case and prints a table and JSON."""
