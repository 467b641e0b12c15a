"""URIs of keys in AWS KMS, and the ARNs that name such keys.

::

    aws-kms:arn:aws:kms:REGION:ACCOUNT:key/ID
    aws-kms:alias/NAME?region=REGION
    aws-kms:KEY-ID?region=REGION

========== =====================================================================================
option     meaning
========== =====================================================================================
region     which Region is asked; without it that of the ARN, or what boto3 finds (AWS_REGION, …).
           Beside the ARN of a multi-Region key (``mrk-``): its related key in that Region
endpoint   the service's address: ``https://HOST[:PORT]``, or ``http://`` on this machine
ca         a file with the certificates to trust, relative to where the URI stands
profile    the profile of boto3's configuration
deadline   how long a call may take with all its attempts, in whole seconds: 1 to 300, default 10
========== =====================================================================================

Credentials never stand in a URI, which is written into files and logs; boto3 finds them where it
always does.

Source: AWS KMS API reference 2014-11-01, "Key identifiers (KeyId)"; AWS reference, "ARNs".

Example:
    >>> parse_aws_kms_uri("aws-kms:alias/kek?region=eu-central-1").key
    'alias/kek'
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from urllib.parse import quote

from assay.keys.errors import KeyUriError
from assay.keys.uri_options import (
    DEFAULT_DEADLINE_SECONDS,
    is_safe_endpoint,
    read_deadline,
    read_options,
)

SCHEME = "aws-kms"

_OPTIONS = ("region", "endpoint", "ca", "profile", "deadline")
_REGION = r"[a-z]{2,4}(?:-[a-z]{2,20}){1,3}-[0-9]{1,2}"
_ID = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|mrk-[0-9a-f]{32}"
_ALIAS = r"alias/[A-Za-z0-9/_-]{1,250}"
_ARN = re.compile(
    rf"arn:(aws|aws-cn|aws-us-gov):kms:({_REGION}):([0-9]{{12}}):(?:key/({_ID})|({_ALIAS}))"
)
_NAME = re.compile(rf"{_ID}|{_ALIAS}")
_SECRET = re.compile(r"key|secret|token|password|passphrase|credential", re.IGNORECASE)
_SAFE = "/:@!$'()*+,;=~"


@dataclass(frozen=True, slots=True)
class KeyArn:
    """The ARN of a key.

    Attributes:
        partition: "aws", "aws-cn" or "aws-us-gov".
        region: "eu-central-1".
        account: 12 digits.
        key_id: a UUID, or ``mrk-`` and 32 hexadecimal digits for a multi-Region key.
    """

    partition: str
    region: str
    account: str
    key_id: str

    def __str__(self) -> str:
        return f"arn:{self.partition}:kms:{self.region}:{self.account}:key/{self.key_id}"

    @property
    def multi_region(self) -> bool:
        """Whether it is one of several related keys with the same material."""
        return self.key_id.startswith("mrk-")

    def related(self, region: str) -> KeyArn:
        """The related key in a Region."""
        return replace(self, region=region)


@dataclass(frozen=True, slots=True)
class AwsKmsUri:
    """A parsed URI; options that it does not name are None.

    Attributes:
        key: a key ARN, an alias ARN, ``alias/NAME`` or a key id, as written.
        region: as written.
        endpoint: as written.
        ca: as written.
        profile: as written.
        deadline_seconds: 1 to 300.
    """

    key: str
    region: str | None = None
    endpoint: str | None = None
    ca: str | None = None
    profile: str | None = None
    deadline_seconds: int = DEFAULT_DEADLINE_SECONDS

    @property
    def region_asked(self) -> str | None:
        """Which Region is asked; None when boto3's configuration decides."""
        found = _ARN.fullmatch(self.key)
        return self.region or (found[2] if found else None)

    @property
    def key_asked(self) -> str:
        """The identifier to give to the service: in the Region that is asked."""
        arn = parse_key_arn(self.key)
        return self.key if arn is None or self.region is None else str(arn.related(self.region))

    @property
    def alias(self) -> str | None:
        """``alias/NAME``, when the URI names an alias."""
        found = _ARN.fullmatch(self.key)
        name = found[5] if found else self.key
        return name if name and name.startswith("alias/") else None

    def without_options(self) -> str:
        """Which key, and nothing else but its Region where the key does not say it."""
        region = f"?region={self.region}" if self.region else ""
        return f"{SCHEME}:{self.key}{region}"

    def with_query(self) -> str:
        """The whole URI."""
        values = {
            "region": self.region,
            "endpoint": self.endpoint,
            "ca": self.ca,
            "profile": self.profile,
            "deadline": str(self.deadline_seconds),
        }
        query = "&".join(
            f"{name}={quote(value, safe=_SAFE)}"
            for name, value in values.items()
            if value is not None
        )
        return f"{SCHEME}:{self.key}?{query}"


def parse_key_arn(text: str) -> KeyArn | None:
    """The ARN of a key; None when the text is something else, such as the ARN of an alias."""
    found = _ARN.fullmatch(text)
    if found is None or found[4] is None or not _in_partition(found[2], found[1]):
        return None
    return KeyArn(found[1], found[2], found[3], found[4])


def parse_aws_kms_uri(uri: str) -> AwsKmsUri:
    """Read a URI.

    Raises:
        KeyUriError: malformed, an option twice or unknown, credentials in the URI, or a Region in
            which the named key is not.
    """
    scheme, colon, rest = uri.partition(":")
    if scheme != SCHEME or not colon:
        raise KeyUriError(f"expected a URI that begins with {SCHEME}:, found another")
    key, _, query = rest.partition("?")
    options = read_options(query, _OPTIONS, SCHEME, _refuse_secret)
    parsed = AwsKmsUri(
        _key(key),
        options.get("region"),
        options.get("endpoint"),
        options.get("ca"),
        options.get("profile"),
        read_deadline(options.get("deadline"), SCHEME),
    )
    _refuse_unsafe(parsed)
    return parsed


def _key(text: str) -> str:
    found = _ARN.fullmatch(text)
    if found is None and not _NAME.fullmatch(text):
        raise KeyUriError(
            f"expected {SCHEME}: and a key ARN (arn:aws:kms:REGION:ACCOUNT:key/ID), alias/NAME or "
            "a key id, found something else"
        )
    if found is not None and not _in_partition(found[2], found[1]):
        raise KeyUriError(
            f"expected a Region of the partition {found[1]} in the ARN, found {found[2]}"
        )
    if (text if found is None else found[5] or "").startswith("alias/aws/"):
        raise KeyUriError(
            "expected a key of one's own, found an alias/aws/… of a key that AWS manages and only "
            "its own services use"
        )
    return text


def _refuse_unsafe(uri: AwsKmsUri) -> None:
    arn = _ARN.fullmatch(uri.key)
    if uri.region is not None:
        if not re.fullmatch(_REGION, uri.region):
            raise KeyUriError(
                f"expected region= such as eu-central-1 in the {SCHEME} URI, found something else"
            )
        if arn is not None and not _in_partition(uri.region, arn[1]):
            raise KeyUriError(
                f"expected region= to be of the ARN's partition {arn[1]}, found {uri.region}"
            )
        if arn is not None and uri.region != arn[2] and not (arn[4] or "").startswith("mrk-"):
            raise KeyUriError(
                f"expected region= to be that of the ARN, {arn[2]}, found {uri.region}; only a "
                "multi-Region key (mrk-) has related keys in other Regions"
            )
    if uri.endpoint is not None and not is_safe_endpoint(uri.endpoint):
        raise KeyUriError(
            f"expected endpoint=https://HOST[:PORT] in the {SCHEME} URI (http:// only for this "
            "machine), found something else"
        )


def _in_partition(region: str, partition: str) -> bool:
    if region.startswith("cn-"):
        return partition == "aws-cn"
    if region.startswith("us-gov-"):
        return partition == "aws-us-gov"
    return partition == "aws"


def _refuse_secret(name: str) -> None:
    if _SECRET.search(name):
        raise KeyUriError(
            f"expected no credentials in the {SCHEME} URI, found {name[:40]!r}; boto3 finds "
            "them itself: the role of the machine, AWS_… variables, or a profile (profile=)"
        )
