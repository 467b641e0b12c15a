"""The HTTP side of ``assay kms serve`` with a stand-in for the service behind it.

It verifies signatures for real and answers a few actions; prints its address as JSON, and a line when it begins a slow answer; logs all
that anybody logs to standard error. Arguments: certificate, private key, limits by name=value.
"""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import sys
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from uuid import uuid4

from assay.kms import uvicorn as served
from assay.kms.errors import DisabledError, UnknownOperationError
from assay.kms.http import KmsApp
from assay.kms.request import Answer, SignedRequest
from assay.kms.sigv4 import verify
from assay.kms.tls import server_context

ACCESS_KEY = "AKIDKMSSTUB"
SECRET = "stub/secret+4f1c77aa0b"
REGION = "eu-central-1"


async def answer(request: SignedRequest) -> Answer:
    caller = verify(request, {ACCESS_KEY: SECRET}.get, region=REGION, now=datetime.now(UTC))
    action = (request.header("x-amz-target") or "").removeprefix("TrentService.")
    given = json.loads(request.body or b"{}")
    result: dict[str, object]
    if action == "ListKeys":
        form = "presigned" if caller.presigned else "header"
        result = {"Keys": [{"KeyId": form, "KeyArn": caller.access_key_id}], "Truncated": False}
    elif action == "Encrypt":
        digest = sha256(base64.b64decode(given["Plaintext"])).digest()
        result = {"KeyId": given["KeyId"], "CiphertextBlob": base64.b64encode(digest).decode()}
    elif action == "DescribeKey":
        raise DisabledError(f"expected an enabled key, found {given['KeyId']} disabled")
    elif action == "GenerateRandom":
        print("begun", flush=True)
        await asyncio.sleep(given["NumberOfBytes"] / 1000)
        result = {"Plaintext": base64.b64encode(b"slow").decode()}
    elif action == "ListAliases":
        result = {"Aliases": [], "Filler": "x" * given["Limit"] * 2**20}
    elif action == "GetPublicKey":
        raise RuntimeError(given["KeyId"])
    else:
        raise UnknownOperationError(f"expected an action of KMS, found {action}")
    return Answer(200, json.dumps(result).encode(), str(uuid4()))


def main(certificate: str, private_key: str, *limits: str) -> None:
    logging.basicConfig(level=1, stream=sys.stderr)
    for limit in limits:
        name, _, value = limit.partition("=")
        assert hasattr(served, name)
        setattr(served, name, int(value))
    tls = server_context(Path(certificate), Path(private_key))

    def ready(host: str, port: int) -> None:
        print(json.dumps({"host": host, "port": port}), flush=True)

    asyncio.run(served.serve(KmsApp(answer), host="localhost", port=0, tls=tls, ready=ready,
                             max_connections=served.MAX_CONNECTIONS))  # fmt: skip
    print("ended", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
