"""What may be believed about the custody of a key on a PKCS#11 token.

Fidelity: a token that names itself like a known software token is ``emulated``; another is
``live`` only when its slot or its key generation says that it is hardware.

Example:
    >>> read_custody(shared_token, "pkcs11:token=assay;object=kek", key, AES_256)  # doctest: +SKIP
    Custody(provider='pkcs11', fidelity=<Fidelity.EMULATED: 'emulated'>, ...)
"""

from __future__ import annotations

from assay.core import Fidelity
from assay.keys.pkcs11_doors import try_doors
from assay.keys.pkcs11_sharing import SharedToken
from assay.keys.pkcs11_uri import KeySelector
from assay.keys.service import Custody, TokenFacts
from assay.keys.token_keys import KeyKind, KeyType

_ALGORITHMS = {KeyType.AES: "AES-256-GCM", KeyType.EC_EDWARDS: "Ed25519"}


def token_fidelity(facts: TokenFacts) -> Fidelity:
    """How real a token is, by what it says about itself."""
    hardware = facts.hardware_slot or facts.hardware_mechanism
    return Fidelity.LIVE if hardware and not facts.known_software else Fidelity.EMULATED


def _residual_risk(facts: TokenFacts) -> str:
    if facts.known_software:
        return (
            "Whoever holds the token's files and the PIN holds the keys: a software token keeps "
            "them on a disk, encrypted under the PIN alone."
        )
    if token_fidelity(facts) is Fidelity.LIVE:
        return (
            "Whoever reaches the token with the PIN can use the key, though not copy it; that it "
            "cannot be copied rests on the token's own word."
        )
    return (
        "The token does not say that it is hardware: whoever runs it may hold the keys, and "
        "whoever reaches it with the PIN can use them."
    )


def read_custody(token: SharedToken, uri: str, key: KeySelector, kind: KeyKind) -> Custody:
    """Read a key's attributes, and try every door by which it might leave.

    Args:
        token: which holds it.
        uri: which key, without secrets.
        key: the same for the token.
        kind: its kind.

    Raises:
        KeyServiceError: the token failed, so nothing can be said.
    """
    facts = token.facts(kind.generation)
    origin = token.run(lambda session: session.origin(key))
    attributes = token.run(lambda session: session.attributes(key))
    attempts, untried = token.run(lambda session: try_doors(session, key))
    return Custody(
        provider="pkcs11",
        fidelity=token_fidelity(facts),
        uri=uri,
        algorithm=_ALGORITHMS.get(kind.key_type, f"{kind.key_type.spoken} {kind.size_bits}"),
        origin=origin,
        attributes={name.lower(): value for name, value in attributes.items()},
        export_attempts=attempts,
        untried_doors=untried,
        residual_risk=_residual_risk(facts),
        token=facts,
    )
