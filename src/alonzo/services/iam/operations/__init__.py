"""IAM's operations, one module per noun."""
