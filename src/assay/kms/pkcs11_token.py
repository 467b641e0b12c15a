"""The keys of the service on a PKCS#11 token: SoftHSM2 on a laptop, an HSM in production.

Each key has a CKA_ID of 16 random bytes of the token (its handle), the label
``assay-kms/KEY-ID/VERSION``, is sensitive, not extractable, private, and may what its usage needs:
ENCRYPT and DECRYPT, or SIGN, or DECRYPT. Digests are computed here, signatures and MACs in the
token. Every signature is verified with the public key before it leaves: a faulty one can reveal
the key (Boneh, DeMillo, Lipton, "On the Importance of Checking Cryptographic Protocols for
Faults", 1997).

A process makes one call of the token at a time. A software token makes an RSA key of 4096 bits in
seconds, and signs with it in milliseconds; meanwhile the other calls of that process wait.

Standard: PKCS#11 3.0; least privileges as above.

Example:
    >>> token = Pkcs11Token(open_token("pkcs11:token=assay", directory=Path("."),
    ...                                environment=os.environ))             # doctest: +SKIP
    >>> token.create_key(KeySpec.HMAC_256, KeyUsage.GENERATE_VERIFY_MAC,
    ...                  "1b9e…/1")                                         # doctest: +SKIP
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from assay.core import Fidelity
from assay.keys import (
    CiphertextError,
    KeyNotFoundError,
    KeysError,
    KeyToken,
    KeyType,
    SigningMechanism,
    TokenError,
)
from assay.kms.algorithms import OAEP_HASHES, Scheme, SigningAlgorithm, mac_hash, signing_algorithm
from assay.kms.errors import (
    InternalError,
    InvalidCiphertextError,
    InvalidSignatureError,
    TokenUnavailableError,
    UnsupportedError,
)
from assay.kms.key_kinds import kind_of
from assay.kms.public_keys import PublicKey, load_public_key, verify_digest
from assay.kms.records import KeySpec, KeyUsage
from assay.kms.token import LABEL_PREFIX, MadeKey

HANDLE_BYTES = 16
PUBLIC_KEYS_KEPT = 10_000

_KEY_TYPES = {
    Scheme.PSS: KeyType.RSA,
    Scheme.PKCS1: KeyType.RSA,
    Scheme.ECDSA: KeyType.EC,
    Scheme.ED25519: KeyType.EC_EDWARDS,
}
_DIGEST_INFO = {
    "sha256": bytes.fromhex("3031300d060960864801650304020105000420"),
    "sha384": bytes.fromhex("3041300d060960864801650304020205000430"),
    "sha512": bytes.fromhex("3051300d060960864801650304020305000440"),
}
"""What stands before a digest in a DigestInfo: RFC 8017, section 9.2, note 1."""

# A token that has no such mechanism, or not with these parameters.
_UNSUPPORTED = frozenset(
    {"MechanismInvalid", "MechanismParamInvalid", "FunctionNotSupported", "CurveNotSupported",
     "KeySizeRange"}
)  # fmt: skip
_NOT_FOR_THIS = frozenset({"KeyFunctionNotPermitted", "KeyTypeInconsistent"})


@contextmanager
def _named_errors(what: str, unsupported: frozenset[str] = _UNSUPPORTED) -> Iterator[None]:
    try:
        yield
    except CiphertextError as exc:
        raise InvalidCiphertextError(
            "expected a ciphertext that opens under this key and encryption context, found another"
        ) from exc
    except KeyNotFoundError as exc:
        raise InternalError(f"expected the token to hold the key to {what}: {exc}") from exc
    except TokenError as exc:
        if exc.answer in unsupported:
            raise UnsupportedError(f"the token cannot {what}: it answers {exc.answer}") from exc
        if exc.answer in _NOT_FOR_THIS:
            raise InternalError(f"expected a key to {what}, found one that may not") from exc
        raise TokenUnavailableError(str(exc)) from exc
    except KeysError as exc:
        raise TokenUnavailableError(str(exc)) from exc


class Pkcs11Token:
    """A `Token` over a token that `assay.keys.open_token` opened."""

    def __init__(self, token: KeyToken) -> None:
        self._token = token
        self._public_keys: dict[bytes, PublicKey] = {}

    @property
    def fidelity(self) -> Fidelity:
        """``emulated`` for software tokens, ``live`` for those that say they are hardware."""
        return self._token.fidelity

    def create_key(self, spec: KeySpec, usage: KeyUsage, label: str) -> MadeKey:
        """Make a key that stays."""
        kind = kind_of(spec, usage)
        with _named_errors(f"make a key of the kind {spec}"):
            handle = self._token.random(HANDLE_BYTES)
            self._token.create(kind, handle, LABEL_PREFIX + label)
            if not kind.key_type.paired:
                return MadeKey(handle, None)
            return MadeKey(handle, self._token.public_key(handle, kind.key_type))

    def destroy_key(self, handle: bytes) -> None:
        """Destroy a key and its public half."""
        self._public_keys.pop(handle, None)
        with _named_errors("destroy a key"):
            self._token.destroy(handle)

    def handles(self) -> frozenset[bytes]:
        """The handles of the service's keys."""
        with _named_errors("list its keys"):
            labels = self._token.labels()
        return frozenset(
            handle for handle, label in labels.items() if label.startswith(LABEL_PREFIX)
        )

    def random(self, size_bytes: int) -> bytes:
        """Random bytes of the token's own generator."""
        with _named_errors("give random bytes"):
            return self._token.random(size_bytes)

    def encrypt(self, handle: bytes, plaintext: bytes, associated: bytes) -> tuple[bytes, bytes]:
        """AES-256-GCM: the nonce (12 bytes), and ciphertext with tag."""
        with _named_errors("encrypt by AES-GCM"):
            return self._token.seal(handle, plaintext, associated)

    def decrypt(self, handle: bytes, nonce: bytes, sealed: bytes, associated: bytes) -> bytes:
        """Open what `encrypt` made."""
        with _named_errors("decrypt by AES-GCM"):
            return self._token.open(handle, nonce, sealed, associated)

    def decrypt_oaep(self, handle: bytes, hash_name: str, ciphertext: bytes) -> bytes:
        """RSAES-OAEP."""
        if hash_name not in OAEP_HASHES:
            raise UnsupportedError(f"expected SHA_1 or SHA_256, found {hash_name[:40]!r}")
        # SoftHSM 2.6 takes no hash but SHA-1, and says so by CKR_ARGUMENTS_BAD.
        unsupported = _UNSUPPORTED | ({"ArgumentsBad"} if hash_name != "SHA_1" else set())
        with _named_errors(f"decrypt by RSAES_OAEP_{hash_name}", unsupported):
            return self._token.decrypt_oaep(handle, hash_name, ciphertext)

    def sign(self, handle: bytes, algorithm: str, message: bytes, *, digested: bool) -> bytes:
        """Sign under an asymmetric key, and verify."""
        chosen = signing_algorithm(algorithm)
        digest = chosen.digest(message, digested=digested)
        prefix = _DIGEST_INFO[chosen.hash_name] if chosen.scheme is Scheme.PKCS1 else b""
        with _named_errors(f"sign by {algorithm}"):
            signature = self._token.sign(handle, _signing_mechanism(chosen), prefix + digest)
            public = self._public_key(handle, _KEY_TYPES[chosen.scheme])
        if chosen.scheme is Scheme.ECDSA:
            half = len(signature) // 2
            r, s = int.from_bytes(signature[:half]), int.from_bytes(signature[half:])
            signature = encode_dss_signature(r, s)
        try:
            verify_digest(public, chosen, digest, signature)
        except InvalidSignatureError as exc:
            raise TokenUnavailableError(
                "expected the token to sign so that it verifies, found a signature that does not; "
                "it was thrown away"
            ) from exc
        return signature

    def mac(self, handle: bytes, algorithm: str, message: bytes) -> bytes:
        """HMAC, not truncated."""
        name = f"{mac_hash(algorithm).upper()}_HMAC"
        with _named_errors(f"compute {algorithm}"):
            mechanism = SigningMechanism(KeyType.GENERIC_SECRET, name)
            return self._token.sign(handle, mechanism, message)

    def close(self) -> None:
        """Let go of the token."""
        self._token.close()

    def _public_key(self, handle: bytes, key_type: KeyType) -> PublicKey:
        found = self._public_keys.get(handle)
        if found is None:
            found = load_public_key(self._token.public_key(handle, key_type))
            if len(self._public_keys) >= PUBLIC_KEYS_KEPT:
                self._public_keys.clear()
            self._public_keys[handle] = found
        return found


def _signing_mechanism(algorithm: SigningAlgorithm) -> SigningMechanism:
    key_type = _KEY_TYPES[algorithm.scheme]
    if algorithm.scheme is Scheme.PSS:
        hashed = algorithm.hash_name.upper()
        return SigningMechanism(key_type, "RSA_PKCS_PSS", hashed, algorithm.digest_bytes)
    names = {Scheme.PKCS1: "RSA_PKCS", Scheme.ECDSA: "ECDSA", Scheme.ED25519: "EDDSA"}
    return SigningMechanism(key_type, names[algorithm.scheme])
