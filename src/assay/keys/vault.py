"""HashiCorp Vault or OpenBao by hvac (``assay[vault]``): the one file that speaks to it.

A thin type, `Vault`, whose calls take and give plain values, keep to one deadline with all their
attempts, and raise errors of this room. What is wrapped and signed with it: ``vault_service``.

Least privileges, as a policy; leave out the parts for what is not done. Keys are made with the
capability ``create`` on their own path, never on ``encrypt``, where it would make them unasked:

.. code-block:: hcl

    # SealAndRead, and rewrapping to this key
    path "transit/keys/kek" { capabilities = ["read"] }
    path "transit/encrypt/kek" { capabilities = ["update"] }
    path "transit/decrypt/kek" { capabilities = ["update"] }

    # SignTheLog
    path "transit/keys/log" { capabilities = ["read"] }
    path "transit/sign/log" { capabilities = ["update"] }

    # ObserveCustody
    path "transit/keys/kek" { capabilities = ["read"] }
    path "transit/export/encryption-key/kek" { capabilities = ["read"] }
    path "transit/backup/kek" { capabilities = ["read"] }
    path "transit/encrypt/kek" { capabilities = ["update"] }
    path "transit/decrypt/kek" { capabilities = ["update"] }

    # CreateKeys
    path "transit/keys/kek" { capabilities = ["create", "read", "update"] }

    # Drill
    path "transit/keys/assay-drill-*" { capabilities = ["create", "read", "update", "delete"] }

Source: Vault's HTTP API (headers, status codes), AppRole and transit; OpenBao's is the same here.

Example:
    >>> vault = Vault(parse_vault_uri("vault:transit/keys/kek"), Path("."), os.environ)
    ... # doctest: +SKIP
    >>> vault.call("GET", "transit/keys/kek", "vault:transit/keys/kek")    # doctest: +SKIP
    {'name': 'kek', 'type': 'aes256-gcm96', ...}
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

try:
    import requests
    from hvac.adapters import RawAdapter
    from requests import exceptions as requests_errors
    from requests.adapters import BaseAdapter, HTTPAdapter

    from assay.keys.attempts import (
        ANSWER_SHARE,
        CONNECT_SHARE,
        TryAgainError,
        ended_in_tls,
        within_deadline,
    )
except ModuleNotFoundError as exc:
    raise ModuleNotFoundError(
        f"expected the package {exc.name} for keys in Vault, found none; install assay[vault]",
        name=exc.name,
    ) from exc

from assay.core import resolve_reference
from assay.keys.errors import (
    KeyAccessError,
    KeyDisabledError,
    KeyNotFoundError,
    KeysError,
    KeyServiceError,
    KeyServiceUnavailableError,
    KeyUriError,
)
from assay.keys.vault_uri import (
    DEFAULT_APPROLE,
    DEFAULT_TOKEN_SOURCE,
    VaultUri,
    require_safe_address,
)
from assay.keys.wrapping import does_not_open

_CONNECTIONS = 50
_CONNECTION_BROKE = (
    requests_errors.ConnectionError,
    requests_errors.Timeout,
    requests_errors.ChunkedEncodingError,
)
_RENEW_SHARE = 2 / 3
_TOKEN = re.compile(r"[\x21-\x7e]{1,8192}")
_PASSING: Mapping[int, str] = {
    412: "not yet replicated",
    429: "too many requests, or a standby",
    472: "a standby of another cluster",
    473: "a standby",
    500: "an internal error",
    501: "it is not initialised",
    502: "an error of a server behind it",
    503: "it is sealed, or under maintenance",
    504: "no answer of a server behind it",
}
_DECIDED = "is disallowed on the policy"  # of a backup: status 500, and no other will come
_CAPABILITIES = {"GET": "read", "POST": "update", "DELETE": "delete"}


@dataclass(frozen=True)
class Refusal:
    """What the server answered instead of doing it.

    Attributes:
        status: of HTTP.
        errors: its own words; they may quote what was sent, and are not shown.
    """

    status: int
    errors: str = field(repr=False)

    def says(self, *phrases: str) -> bool:
        """Whether it is said for one of these reasons."""
        return any(phrase in self.errors for phrase in phrases)

    @property
    def of_the_token(self) -> bool:
        """Whether it knows no such token, or no longer."""
        return self.status in {401, 403} and self.says("invalid token")


@dataclass(frozen=True)
class _Connection:
    process: int
    adapter: Any = field(repr=False)
    token: str = field(repr=False)
    renew_at: float | None


class Vault:
    """A connection to a server. Safe to share between threads, and over a fork.

    The deadline covers logging in, connecting, asking, and the pauses between attempts. It does
    not cover what the machine's resolver takes to find the host. No proxy and no ``.netrc`` is
    used, and no redirect is followed: it could take the token elsewhere.

    Args:
        uri: address, namespace, CA, deadline, and where credentials are.
        directory: where its relative paths start.
        environment: the variables to which its references may point.
        transport: what carries requests, instead of the network.
        monotonic: a clock, in seconds.

    Attributes:
        address: the server that is asked.

    Raises:
        KeyUriError: no address, or one without TLS.
        KeyServiceError: no such CA file.
        KeyAccessError: no credentials.
        SecretReferenceError: the reference to credentials leads nowhere.
    """

    def __init__(
        self,
        uri: VaultUri,
        directory: Path,
        environment: Mapping[str, str],
        *,
        transport: BaseAdapter | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._uri = uri
        self._directory, self._environment = directory, environment
        self._transport, self._monotonic = transport, monotonic
        found = uri.address or environment.get("VAULT_ADDR")
        if not found:
            raise KeyUriError(
                "expected the address of a Vault server, found none; name it in the URI (address=) "
                "or set VAULT_ADDR"
            )
        self.address = require_safe_address(found).removesuffix("/")
        self._ca = str(directory / uri.ca) if uri.ca else None
        if self._ca and not Path(self._ca).is_file():
            raise KeyServiceError(f"expected certificates to trust at {self._ca}, found no file")
        # Read now, so that a reference that leads nowhere is named when the key is opened.
        self._credentials()
        self._connected: _Connection | None = None

    def call(
        self, method: str, path: str, key: str, body: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """Do it, or raise. It may be done twice: everything that is asked for bears it.

        Args:
            method: of HTTP.
            path: below ``/v1/``.
            key: which key, for messages.
            body: is sent as JSON.

        Returns:
            what stands under ``data`` in the answer.

        Raises:
            UnwrapError: a ciphertext does not open under this key and context.
            KeyAccessError: the token is not valid, or not allowed to.
            KeyNotFoundError: no such key.
            KeyDisabledError: the key's version is no longer used.
            KeyServiceUnavailableError: no answer within the deadline.
            KeyServiceError: anything else.
        """
        answer = self.ask(method, path, key, body)
        if isinstance(answer, Refusal):
            raise self._named(answer, method, path, key)
        return answer

    def ask(
        self, method: str, path: str, key: str, body: Mapping[str, Any] | None = None
    ) -> dict[str, Any] | Refusal:
        """The answer, also when it is a refusal; arguments as in `call`.

        Raises:
            KeyAccessError: logging in was refused.
            KeyServiceUnavailableError: no answer within the deadline.
            KeyServiceError: the connection cannot be made, or the answer is not understood.
        """
        seconds = self._uri.deadline_seconds
        try:
            answer = within_deadline(seconds, self._attempt, method, path, body)
        except TryAgainError as exc:
            raise KeyServiceUnavailableError(
                f"expected {self.address} to answer {method} {path} for {key} within the deadline "
                f"of {seconds} s, found {exc.answer} to the last attempt; try again later"
            ) from exc.__cause__
        if isinstance(answer, Refusal):
            return answer
        data = answer.get("data", answer)
        if data is not None and not isinstance(data, dict):
            raise self._odd(method, path, "another form of answer")
        return data or {}

    def _attempt(
        self, method: str, path: str, body: Mapping[str, Any] | None
    ) -> dict[str, Any] | Refusal:
        connection = self._connection()
        answer = self._send(connection.adapter, method, path, body)
        if isinstance(answer, Refusal) and answer.of_the_token:
            # It expired or was revoked. An agent may have written a new one; an AppRole gets one.
            renewed = self._connect()
            if renewed.token != connection.token:
                self._connected = renewed
                return self._send(renewed.adapter, method, path, body)
        return answer

    def _send(
        self, adapter: Any, method: str, path: str, body: Mapping[str, Any] | None
    ) -> dict[str, Any] | Refusal:
        try:
            response = adapter.request(method, f"/v1/{path}", json=body)
        except requests_errors.SSLError as exc:
            if ended_in_tls(exc):
                raise TryAgainError("an end of the connection") from exc
            raise KeyServiceError(
                f"expected a certificate of {self.address} that is trusted and valid, found "
                "another; name the file of its CA (ca=) when it is one of your own"
            ) from exc
        except _CONNECTION_BROKE as exc:
            raise TryAgainError(type(exc).__name__) from exc
        except requests_errors.RequestException as exc:
            raise self._odd(method, path, type(exc).__name__) from exc
        status = response.status_code
        if status in _PASSING and not (status == 500 and _DECIDED in response.text):
            raise TryAgainError(f"{status} ({_PASSING[status]})")
        if 300 <= status < 400:
            raise self._odd(method, path, f"{status}, a redirect, which is not followed")
        if status == 204:
            return {}
        try:
            answer = response.json()
        except ValueError:
            answer = None
        if status != 200:
            errors = answer.get("errors") if isinstance(answer, dict) else None
            return Refusal(status, " ".join(map(str, errors)) if isinstance(errors, list) else "")
        if not isinstance(answer, dict):
            raise self._odd(method, path, "no JSON object; is it a Vault server?")
        return answer

    def _connection(self) -> _Connection:
        connection = self._connected
        if connection is None or self._is_due(connection):
            connection = self._connected = self._connect()
        elif connection.process != os.getpid():
            # A connection that parent and child both use would mix their answers.
            adapter = self._adapter(connection.token)
            connection = replace(connection, process=os.getpid(), adapter=adapter)
            self._connected = connection
        return connection

    def _is_due(self, connection: _Connection) -> bool:
        return connection.renew_at is not None and self._monotonic() >= connection.renew_at

    def _connect(self) -> _Connection:
        credentials = self._credentials()
        if isinstance(credentials, str):
            return _Connection(os.getpid(), self._adapter(credentials), credentials, None)
        began = self._monotonic()
        path = f"auth/{self._uri.approle or DEFAULT_APPROLE}/login"
        answer = self._send(self._adapter(""), "POST", path, credentials)
        if isinstance(answer, Refusal):
            raise KeyAccessError(
                f"expected {self.address} to let the AppRole in ({path}), it answered "
                f"{answer.status}; check role id, secret id and how often that may be used, "
                "approle= and namespace="
            )
        auth = answer.get("auth")
        said = auth if isinstance(auth, dict) else {}
        token, lease = said.get("client_token"), said.get("lease_duration")
        if not isinstance(token, str) or not _TOKEN.fullmatch(token) or not isinstance(lease, int):
            raise self._odd("POST", path, "no token")
        renew_at = began + _RENEW_SHARE * lease if lease > 0 else None
        return _Connection(os.getpid(), self._adapter(token), token, renew_at)

    def _credentials(self) -> str | dict[str, str]:
        """A token, or what is sent to log in."""
        uri = self._uri
        if uri.role_id_source is None or uri.secret_id_source is None:
            return self._secret(uri.token_source or DEFAULT_TOKEN_SOURCE, "a token")
        return {
            "role_id": self._secret(uri.role_id_source, "a role id"),
            "secret_id": self._secret(uri.secret_id_source, "a secret id"),
        }

    def _secret(self, reference: str, what: str) -> str:
        value = resolve_reference(reference, self._directory, self._environment).strip()
        if not _TOKEN.fullmatch(value):
            raise KeyAccessError(
                f"expected {what} of Vault at {reference}, found something else: nothing, or "
                "characters that none has"
            )
        return value

    def _adapter(self, token: str) -> Any:
        session = requests.Session()
        session.trust_env = False
        session.verify = self._ca or True  # hvac overlooks its own argument beside a session
        transport = self._transport or HTTPAdapter(pool_maxsize=_CONNECTIONS)
        session.mount(self.address, transport)
        seconds = self._uri.deadline_seconds
        return RawAdapter(
            base_uri=self.address,
            token=token,
            timeout=(CONNECT_SHARE * seconds, ANSWER_SHARE * seconds),
            allow_redirects=False,
            session=session,
            namespace=self._uri.namespace,
            ignore_exceptions=True,
        )

    def _odd(self, method: str, path: str, found: str) -> KeyServiceError:
        return KeyServiceError(
            f"expected {self.address} to answer {method} {path}, found {found}; check address="
        )

    def _named(self, refusal: Refusal, method: str, path: str, key: str) -> KeysError:
        """The error of this room for a refusal: what was asked, of which key, and what to do."""
        asked = (
            f"expected {self.address} to do {method} {path} for {key}, it answered {refusal.status}"
        )
        if refusal.of_the_token:
            return KeyAccessError(
                f"{asked}; the token is not valid there: expired, revoked, or of another server or "
                "namespace. Give a new one"
            )
        if refusal.status in {401, 403}:
            return KeyAccessError(
                f"{asked}; allow the token {_CAPABILITIES.get(method, method)} on {path} in a "
                "policy, and check namespace="
            )
        if refusal.status == 404 or refusal.says("key not found", "no handler for route"):
            return KeyNotFoundError(f"{asked}; check mount, name and namespace of the key")
        if refusal.says("(too old)", "version is disallowed"):
            return KeyDisabledError(
                f"{asked}: it was made under a version of the key that is no longer used; lower "
                "min_decryption_version, or restore a backup from before it was trimmed"
            )
        if refusal.status == 400 and "/decrypt/" in path:
            return does_not_open()
        return KeyServiceError(f"{asked}; see the server's log")
