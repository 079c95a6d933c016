"""The tables.

A bucket's name is global across accounts and regions, as on AWS, so it leads the keys in their place; the bucket's row
names its account and region. Object keys are bytes, so that they sort as S3 sorts them whatever the database's
collation, and may hold any character.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, ForeignKey, Index, Integer, LargeBinary, Table, Text

from alonzo.storage.database import metadata, only_where

buckets = Table(
    "s3_bucket",
    metadata,
    Column("name", Text, primary_key=True),
    Column("account_id", Text, nullable=False),
    Column("region", Text, nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    Column("versioning", Text, nullable=False),
    Column("tagged", Boolean, nullable=False),
    Column("config", Text, nullable=False),
    Index("s3_bucket_account", "account_id", "name"),
)

#: `current` is 1 for what a GET without version finds: the latest version, if it is no delete marker.
objects = Table(
    "s3_object",
    metadata,
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=False),
    Column("bucket", Text, ForeignKey("s3_bucket.name"), nullable=False),
    Column("key", LargeBinary, nullable=False),
    Column("version_id", Text),
    Column("current", Integer, nullable=False),
    Column("delete_marker", Integer, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("etag", Text, nullable=False),
    Column("modified_ms", BigInteger, nullable=False),
    Column("storage_class", Text, nullable=False),
    Column("extents", Integer, nullable=False),
    Column("owner", Text, nullable=False),
    Column("details", Text, nullable=False),
    Column("tags", Text),
    Column("data", LargeBinary),
)
Index(
    "s3_object_current",
    objects.c.bucket,
    objects.c.key,
    unique=True,
    **only_where("current = 1"),
)
Index("s3_object_versions", objects.c.bucket, objects.c.key, objects.c.id)
Index(
    "s3_object_version_id",
    objects.c.bucket,
    objects.c.key,
    objects.c.version_id,
    **only_where("version_id IS NOT NULL"),
)

uploads = Table(
    "s3_upload",
    metadata,
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=False),
    Column("bucket", Text, ForeignKey("s3_bucket.name"), nullable=False),
    Column("key", LargeBinary, nullable=False),
    Column("upload_id", Text, nullable=False, unique=True),
    Column("initiated_ms", BigInteger, nullable=False),
    Column("algorithm", Text, nullable=False),
    Column("checksum_type", Text, nullable=False),
    Column("storage_class", Text, nullable=False),
    Column("initiator", Text, nullable=False),
    Column("details", Text, nullable=False),
    Column("tags", Text),
    Index("s3_upload_key", "bucket", "key", "id"),
)

#: Parts of an upload while it lasts, then of the object it became: completing changes the owner.
parts = Table(
    "s3_part",
    metadata,
    Column("owner", BigInteger, primary_key=True, autoincrement=False),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("size", BigInteger, nullable=False),
    Column("etag", Text, nullable=False),
    Column("checksum", Text, nullable=False),
    Column("modified_ms", BigInteger, nullable=False),
)

#: The pieces of a content, in the order of (part, n). Several may name one blob: copying copies no bytes.
extents = Table(
    "s3_extent",
    metadata,
    Column("owner", BigInteger, primary_key=True, autoincrement=False),
    Column("part", Integer, primary_key=True, autoincrement=False),
    Column("n", Integer, primary_key=True, autoincrement=False),
    Column("blob_id", Text),
    Column("offset", BigInteger, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("data", LargeBinary),
    Index("s3_extent_blob", "blob_id"),
)
