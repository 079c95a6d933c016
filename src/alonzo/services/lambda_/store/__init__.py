"""The service's SQL: plain functions of a connection, so that one transaction can be made of several."""
