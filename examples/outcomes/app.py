"""Divides two numbers; where that fails, the event and the error go to the function's destination and dead letters."""


def lambda_handler(event, context):
    return {"quotient": event["dividend"] / event["divisor"]}
