"""A service in this process, and real clients of AWS that speak to it without a socket.

boto3 serialises, signs and parses as it does with AWS; only the sending is ours: its event
``before-send`` hands the request to the service and takes the answer back.
"""

from __future__ import annotations

import io
import json
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import boto3
import botocore.awsrequest
import botocore.config
from sqlalchemy import Engine

from assay.database import open_engine
from assay.kms.administration import Administration, MadeAccessKey, initialise
from assay.kms.memory_token import MemoryToken
from assay.kms.request import Answer, SignedRequest
from assay.kms.service import Service
from assay.kms.store import Store

ACCOUNT, REGION = "111122223333", "eu-central-1"
ROOT = f"arn:aws:iam::{ACCOUNT}:root"
FULL_ACCESS = json.dumps(
    {
        "Version": "2012-10-17",
        "Statement": {"Effect": "Allow", "Action": "kms:*", "Resource": "*"},
    }
)


class MovedClock:
    """The machine's clock, with days added to it: signatures are made with the machine's own."""

    def __init__(self) -> None:
        self.ahead = timedelta()

    def now(self) -> datetime:
        """Now, and what was added."""
        return datetime.now(UTC) + self.ahead


@dataclass
class Office:
    """A service and its clients.

    Attributes:
        folder: for the database.
        token: holds the keys.
        clock: of the service.
        url: of the database.
    """

    folder: Path
    token: Any = field(default_factory=MemoryToken)
    clock: MovedClock = field(default_factory=MovedClock)
    url: str = ""

    def __post_init__(self) -> None:
        self.url = self.url or f"sqlite:///{self.folder / 'kms.db'}"
        initialise(self.engine(), self.token, account=ACCOUNT, region=REGION)
        self.administration = Administration(Store(self.engine(), "admin"), self.token)
        self.service = self.start("first")
        self.access: dict[str, MadeAccessKey] = {}

    def engine(self) -> Engine:
        """An engine of its own for each store."""
        return open_engine(self.url)

    def start(self, chain: str) -> Service:
        """Another process of the same service, as it were."""
        return Service(Store(self.engine(), chain), self.token, clock=self.clock)

    def restart(self) -> None:
        """End the service and start it again from what is durable."""
        self.service.close()
        self.service = self.start(f"again-{datetime.now(UTC).timestamp()}")

    def user(self, name: str, *policies: str) -> str:
        """A new principal with an access key; returns its ARN."""
        arn = self.administration.add_principal(name)
        for number, policy in enumerate(policies):
            self.administration.put_policy(name, f"policy-{number}", policy)
        self.access[name] = self.administration.create_access_key(name)
        return arn

    def client(self, name: str = "admin", service: Service | None = None) -> Any:
        """boto3's client of a user; ``admin`` may do everything that key policies delegate."""
        if name not in self.access:
            self.user(name, *([FULL_ACCESS] if name == "admin" else []))
        access = self.access[name]
        return made_client(access.access_key_id, access.secret, self, service)

    def events(self) -> list[dict[str, Any]]:
        """The audit trail, in order of time."""
        found = [json.loads(each[2]) for each in self.administration.trail()]
        return sorted(found, key=lambda each: each["time"])


def made_client(
    access_key_id: str, secret: str, office: Office, service: Service | None = None
) -> Any:
    """boto3's client, whose requests the service answers."""
    client = boto3.client(
        "kms",
        region_name=REGION,
        endpoint_url="https://kms.test",
        aws_access_key_id=access_key_id,
        aws_secret_access_key=secret,
        config=botocore.config.Config(retries={"total_max_attempts": 1}),
    )

    def send(request: Any, **_: Any) -> Any:
        answer = (service or office.service).submit(signed(request)).result(30)
        headers = {"x-amzn-RequestId": answer.request_id}
        return botocore.awsrequest.AWSResponse(
            request.url, answer.status, headers, _Raw(answer.body)
        )

    client.meta.events.register("before-send.kms", send)
    return client


def signed(request: Any, source: str = "192.0.2.7") -> SignedRequest:
    """What botocore would send, as the HTTP side of the service hands it on."""
    parts = urlsplit(request.url)
    headers = {
        name.lower(): value.decode("latin-1") if isinstance(value, bytes) else value
        for name, value in request.headers.items()
    }
    headers.setdefault("host", parts.netloc)
    body = request.body or b""
    return SignedRequest(
        method=request.method,
        path=parts.path or "/",
        query=parts.query,
        headers=tuple(headers.items()),
        body=body if isinstance(body, bytes) else body.encode(),
        source=source,
    )


class _Raw(io.BytesIO):
    """The body as urllib3 would stream it."""

    def stream(self, **_: Any) -> Any:
        yield self.read()


__all__ = ["ACCOUNT", "FULL_ACCESS", "REGION", "ROOT", "Answer", "Office", "made_client", "signed"]
