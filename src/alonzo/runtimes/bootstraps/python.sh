#!/bin/sh
# bootstrap PYTHON ARGUMENT...: runs the interpreter through the wrapper that AWS_LAMBDA_EXEC_WRAPPER names.
# Source: https://docs.aws.amazon.com/lambda/latest/dg/runtimes-modify.html#runtime-wrapper
if [ ! -f "$AWS_LAMBDA_EXEC_WRAPPER" ]; then
  echo "$AWS_LAMBDA_EXEC_WRAPPER: does not exist"
  exit 127
fi
if [ ! -x "$AWS_LAMBDA_EXEC_WRAPPER" ]; then
  echo "$AWS_LAMBDA_EXEC_WRAPPER: is not an executable"
  exit 126
fi
exec "$AWS_LAMBDA_EXEC_WRAPPER" "$@"
