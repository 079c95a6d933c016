"""The HTTP edge: which service is this, who asks, and back again."""
