"""Beside its peers: the same work given to Alonzo and to other programs, alternating, in one run."""
