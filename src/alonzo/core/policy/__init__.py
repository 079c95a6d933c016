"""IAM's policy language: documents, conditions, and the decision. Pure: it knows no store and no clock."""

from alonzo.core.policy.document import MAX_DOCUMENT, MalformedPolicy, Policy, compile_policy
from alonzo.core.policy.evaluate import Decision, Layer, Question, denial, evaluate
from alonzo.core.policy.patterns import Lookup
from alonzo.core.policy.validate import check_identity, check_resource, check_trust

__all__ = [
    "MAX_DOCUMENT",
    "Decision",
    "Layer",
    "Lookup",
    "MalformedPolicy",
    "Policy",
    "Question",
    "check_identity",
    "check_resource",
    "check_trust",
    "compile_policy",
    "denial",
    "evaluate",
]
