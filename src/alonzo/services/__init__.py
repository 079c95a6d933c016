"""One folder per AWS service, all alike; none imports another."""
