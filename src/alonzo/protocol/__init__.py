"""botocore's service models to HTTP and back: parse, validate, serialize. Pure; the only code that knows botocore."""
