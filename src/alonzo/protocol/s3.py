"""What S3's wire format has beyond its model.

Source: https://docs.aws.amazon.com/AmazonS3/latest/API/API_Operations.html (each operation's response syntax)
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from typing import Any

from alonzo.protocol.write_xml import escape

NAMESPACE = "http://s3.amazonaws.com/doc/2006-03-01/"
LOCATION_OPERATION = "GetBucketLocation"

#: Root elements where they are not the shape's name.
ROOTS: dict[str, str] = {
    "CompleteMultipartUpload": "CompleteMultipartUploadResult",
    "CopyObject": "CopyObjectResult",
    "CreateMultipartUpload": "InitiateMultipartUploadResult",
    "CreateSession": "CreateSessionResult",
    "DeleteObjects": "DeleteResult",
    "GetBucketAccelerateConfiguration": "AccelerateConfiguration",
    "GetBucketAcl": "AccessControlPolicy",
    "GetBucketCors": "CORSConfiguration",
    "GetBucketLifecycle": "LifecycleConfiguration",
    "GetBucketLifecycleConfiguration": "LifecycleConfiguration",
    "GetBucketLogging": "BucketLoggingStatus",
    "GetBucketNotification": "NotificationConfiguration",
    "GetBucketNotificationConfiguration": "NotificationConfiguration",
    "GetBucketRequestPayment": "RequestPaymentConfiguration",
    "GetBucketTagging": "Tagging",
    "GetBucketVersioning": "VersioningConfiguration",
    "GetBucketWebsite": "WebsiteConfiguration",
    "GetObjectAcl": "AccessControlPolicy",
    "GetObjectAttributes": "GetObjectAttributesResponse",
    "GetObjectTagging": "Tagging",
    "ListBucketAnalyticsConfigurations": "ListBucketAnalyticsConfigurationResult",
    "ListBucketIntelligentTieringConfigurations": "ListBucketIntelligentTieringConfigurationsResult",
    "ListBucketInventoryConfigurations": "ListInventoryConfigurationsResult",
    "ListBucketMetricsConfigurations": "ListMetricsConfigurationsResult",
    "ListBuckets": "ListAllMyBucketsResult",
    "ListDirectoryBuckets": "ListAllMyDirectoryBucketsResult",
    "ListMultipartUploads": "ListMultipartUploadsResult",
    "ListObjectVersions": "ListVersionsResult",
    "ListObjects": "ListBucketResult",
    "ListObjectsV2": "ListBucketResult",
    "ListParts": "ListPartsResult",
    "UploadPartCopy": "CopyPartResult",
}


def host_id(request_id: str) -> str:
    """S3's second identifier of a request, made from the first."""
    return base64.b64encode(hashlib.blake2b(request_id.encode(), digest_size=48).digest()).decode()


def bucket_location(result: Mapping[str, Any]) -> bytes:
    """GetBucketLocation's body: the root element itself holds the text, none for us-east-1."""
    text = escape(result.get("LocationConstraint") or "")
    inner = f">{text}</LocationConstraint>" if text else "/>"
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<LocationConstraint xmlns="{NAMESPACE}"{inner}'.encode()
