"""All SQL of S3, by noun."""
