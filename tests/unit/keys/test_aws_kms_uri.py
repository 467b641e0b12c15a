from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.keys import KeyUriError
from assay.keys.aws_kms_uri import (
    AwsKmsUri,
    KeyArn,
    parse_aws_kms_uri,
    parse_key_arn,
)
from assay.keys.uri_options import is_safe_endpoint

ID = "1234abcd-12ab-34cd-56ef-1234567890ab"
MRK = "mrk-1234abcd12ab34cd56ef1234567890ab"
ARN = f"arn:aws:kms:eu-central-1:111122223333:key/{ID}"
ALIAS_ARN = "arn:aws-us-gov:kms:us-gov-east-1:111122223333:alias/a/b_c-d"
MRK_ARN = f"arn:aws:kms:us-east-1:111122223333:key/{MRK}"

ACCEPTED = {
    f"aws-kms:{ARN}": AwsKmsUri(ARN),
    f"aws-kms:{ARN}?region=eu-central-1": AwsKmsUri(ARN, "eu-central-1"),
    f"aws-kms:{MRK_ARN}?region=eu-west-1": AwsKmsUri(MRK_ARN, "eu-west-1"),
    f"aws-kms:{ALIAS_ARN}": AwsKmsUri(ALIAS_ARN),
    "aws-kms:arn:aws-cn:kms:cn-north-1:111122223333:alias/k": AwsKmsUri(
        "arn:aws-cn:kms:cn-north-1:111122223333:alias/k"
    ),
    "aws-kms:alias/kek?region=ap-southeast-7": AwsKmsUri("alias/kek", "ap-southeast-7"),
    "aws-kms:alias/kek": AwsKmsUri("alias/kek"),
    "aws-kms:alias/kek?": AwsKmsUri("alias/kek"),
    f"aws-kms:{ID}?region=us-east-1": AwsKmsUri(ID, "us-east-1"),
    f"aws-kms:{MRK}": AwsKmsUri(MRK),
    "aws-kms:alias/k?endpoint=https://kms.example:8443&ca=data/ca%20new.pem&deadline=3": AwsKmsUri(
        "alias/k", None, "https://kms.example:8443", "data/ca new.pem", None, 3
    ),
    "aws-kms:alias/k?profile=M%C3%BCller%26Co&deadline=300": AwsKmsUri(
        "alias/k", profile="Müller&Co", deadline_seconds=300
    ),
    "aws-kms:alias/k?endpoint=http://127.0.0.1:4566/": AwsKmsUri(
        "alias/k", endpoint="http://127.0.0.1:4566/"
    ),
}
REFUSED = {
    "": "begins with aws-kms:",
    "aws-kms": "begins with aws-kms:",
    "AWS-KMS:alias/k": "begins with aws-kms:",
    "aws-kms:": "a key ARN",
    "aws-kms:alias/": "a key ARN",
    "aws-kms:alias": "a key ARN",
    "aws-kms:alias/k k": "a key ARN",
    "aws-kms:alias/ä": "a key ARN",
    "aws-kms:alias/k\n": "a key ARN",
    f"aws-kms:alias/{'k' * 251}": "a key ARN",
    f"aws-kms:{ID.upper()}": "a key ARN",
    f"aws-kms:{ID[:-1]}": "a key ARN",
    f"aws-kms:mrk-{ID}": "a key ARN",
    f"aws-kms:key/{ID}": "a key ARN",
    f"aws-kms:{ARN}x": "a key ARN",
    f"aws-kms:{ARN.replace('kms', 's3')}": "a key ARN",
    f"aws-kms:{ARN.replace('arn:aws:', 'arn:aws-iso:')}": "a key ARN",
    f"aws-kms:{ARN.replace('111122223333', '11112222333')}": "a key ARN",
    f"aws-kms:{ARN.replace('eu-central-1', '')}": "a key ARN",
    f"aws-kms:{ARN.replace('eu-central-1', 'cn-north-1')}": "Region of the partition aws ",
    f"aws-kms:{ARN.replace('arn:aws:', 'arn:aws-cn:')}": "Region of the partition aws-cn",
    f"aws-kms:{ARN.replace('arn:aws:', 'arn:aws-us-gov:')}": "Region of the partition aws-us-gov",
    "aws-kms:alias/aws/s3": "of a key that AWS manages",
    "aws-kms:arn:aws:kms:eu-central-1:111122223333:alias/aws/s3": "of a key that AWS manages",
    f"aws-kms:{ARN}?region=eu-west-1": "only a multi-Region key",
    f"aws-kms:{ALIAS_ARN}?region=us-gov-west-1": "only a multi-Region key",
    f"aws-kms:{MRK_ARN}?region=cn-north-1": "of the ARN's partition aws",
    "aws-kms:alias/k?region=nowhere": "region= such as eu-central-1",
    "aws-kms:alias/k?region=eu-central-1/": "region= such as eu-central-1",
    "aws-kms:alias/k?region=": "a value for region",
    "aws-kms:alias/k?region": "a value for region",
    "aws-kms:alias/k?region=eu-central-1&region=eu-central-1": "region once",
    "aws-kms:alias/k?Region=eu-central-1": "found 'Region'",
    "aws-kms:alias/k?&": "found ''",
    "aws-kms:alias/k?verify=false": "found 'verify'",
    "aws-kms:alias/k?aws_access_key_id=AKIA1234": "no credentials",
    "aws-kms:alias/k?aws_secret_access_key=hunter2": "no credentials",
    "aws-kms:alias/k?SecretAccessKey=hunter2": "no credentials",
    "aws-kms:alias/k?session-token=hunter2": "no credentials",
    "aws-kms:alias/k?password=hunter2": "no credentials",
    "aws-kms:alias/k?credentials=hunter2": "no credentials",
    "aws-kms:alias/k?endpoint=http://kms.example": "http:// only for this machine",
    "aws-kms:alias/k?endpoint=http://127.0.0.1.example": "http:// only for this machine",
    "aws-kms:alias/k?endpoint=http://localhost.example": "http:// only for this machine",
    "aws-kms:alias/k?endpoint=https://me:hunter2@kms.example": "http:// only for this machine",
    "aws-kms:alias/k?endpoint=http://127.0.0.1@kms.example": "http:// only for this machine",
    "aws-kms:alias/k?endpoint=https://kms.example/path": "http:// only for this machine",
    "aws-kms:alias/k?endpoint=https://kms.example?q": "http:// only for this machine",
    "aws-kms:alias/k?endpoint=https://kms.example:0": "http:// only for this machine",
    "aws-kms:alias/k?endpoint=https://kms.example:65536": "http:// only for this machine",
    "aws-kms:alias/k?endpoint=https://": "http:// only for this machine",
    "aws-kms:alias/k?endpoint=file:///etc": "http:// only for this machine",
    "aws-kms:alias/k?ca=%ff": "percent-encoded UTF-8",
    "aws-kms:alias/k?ca=a%00b": "percent-encoded UTF-8",
    "aws-kms:alias/k?deadline=0": "from 1 to 300",
    "aws-kms:alias/k?deadline=301": "from 1 to 300",
    "aws-kms:alias/k?deadline=1.5": "from 1 to 300",
    "aws-kms:alias/k?deadline=-1": "from 1 to 300",
    "aws-kms:alias/k?deadline=٣": "from 1 to 300",
}


@pytest.mark.parametrize("uri", ACCEPTED)
def test_accepted(uri: str) -> None:
    assert parse_aws_kms_uri(uri) == ACCEPTED[uri]


@pytest.mark.parametrize("uri", REFUSED)
def test_refused(uri: str) -> None:
    with pytest.raises(KeyUriError, match=REFUSED[uri]) as caught:
        parse_aws_kms_uri(uri)
    assert "hunter2" not in str(caught.value)
    assert "AKIA" not in str(caught.value)


REGIONS = st.sampled_from(["eu-central-1", "us-east-1", "ap-southeast-7", "me-central-1"])
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1)
KEYS = st.one_of(
    st.uuids().map(str),
    st.uuids().map(lambda each: f"mrk-{each.hex}"),
    st.from_regex(r"alias/k[A-Za-z0-9/_-]{0,200}", fullmatch=True),
)


URIS = st.builds(
    AwsKmsUri,
    KEYS,
    st.none() | REGIONS,
    st.none() | st.sampled_from(["https://[::1]:8443", "http://localhost", "https://a.b"]),
    st.none() | TEXT,
    st.none() | TEXT,
    st.integers(1, 300),
)


@given(URIS)
def test_what_is_written_is_read_back(uri: AwsKmsUri) -> None:
    assert parse_aws_kms_uri(uri.with_query()) == uri
    assert parse_aws_kms_uri(uri.without_options()) == AwsKmsUri(uri.key, uri.region)


def test_what_is_asked_for() -> None:
    uri = parse_aws_kms_uri(f"aws-kms:{MRK_ARN}?region=eu-west-1")
    assert uri.region_asked == "eu-west-1"
    assert uri.key_asked == MRK_ARN.replace("us-east-1", "eu-west-1")
    assert parse_aws_kms_uri(f"aws-kms:{ARN}").region_asked == "eu-central-1"
    assert parse_aws_kms_uri(f"aws-kms:{ARN}").key_asked == ARN
    alias = parse_aws_kms_uri("aws-kms:alias/kek?region=eu-west-1")
    assert (alias.region_asked, alias.key_asked) == ("eu-west-1", "alias/kek")
    assert (alias.alias, uri.alias) == ("alias/kek", None)
    assert parse_aws_kms_uri(f"aws-kms:{ALIAS_ARN}").alias == "alias/a/b_c-d"
    assert parse_aws_kms_uri("aws-kms:alias/kek").region_asked is None


def test_key_arns() -> None:
    arn = parse_key_arn(MRK_ARN)
    assert arn == KeyArn("aws", "us-east-1", "111122223333", MRK)
    assert str(arn) == MRK_ARN
    assert arn.multi_region
    assert not parse_key_arn(ARN).multi_region  # type: ignore[union-attr]
    assert str(arn.related("eu-west-1")) == MRK_ARN.replace("us-east-1", "eu-west-1")
    for other in ("", ID, ALIAS_ARN, f"{ARN}\n", ARN.replace("eu-central-1", "cn-north-1")):
        assert parse_key_arn(other) is None


@pytest.mark.parametrize(
    ("address", "safe"),
    [
        ("https://kms.eu-central-1.amazonaws.com", True),
        ("http://127.9.9.9:80", True),
        ("http://[::1]:80", True),
        ("http://LOCALHOST", True),
        ("http://kms.eu-central-1.amazonaws.com", False),
        ("http://[::2]", False),
        ("https://a..b", True),
        ("https://-a", False),
        ("https://a b", False),
        ("https://a\n", False),
    ],
)
def test_endpoints(address: str, safe: bool) -> None:
    assert is_safe_endpoint(address) is safe
