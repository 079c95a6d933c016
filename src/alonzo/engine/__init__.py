"""Runs functions: environments, the Runtime API, concurrency, the durable queue and what it delivers."""
