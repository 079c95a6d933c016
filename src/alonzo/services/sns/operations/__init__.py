"""The handlers, by noun."""

from alonzo.services.sns.operations import permissions, publish, subscriptions, tags, topics

MODULES = (topics, subscriptions, publish, tags, permissions)
