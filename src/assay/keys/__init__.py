"""Key services and data keys: a KEK that stays where it is, data keys wrapped under it.

Example:
    >>> from assay.core import DataKeyClass
    >>> from assay.keys import Keyring, MemoryDataKeyTable, MemoryKeyService
    >>> keyring = Keyring(MemoryKeyService(), MemoryDataKeyTable())
    >>> keyring.current("tenant-1", DataKeyClass.ROWS)
    DataKey(owner='tenant-1', key_class=<DataKeyClass.ROWS: 'rows'>, version=1, key_id=...)
"""

from assay.keys.data_key import DataKey, data_key_id
from assay.keys.errors import (
    CiphertextError,
    DestroyedDataKeyError,
    DestroyedOwnerError,
    KeyAccessError,
    KeyCommitmentError,
    KeyDisabledError,
    KeyExistsError,
    KeyNotFoundError,
    KeysError,
    KeyServiceError,
    KeyServiceUnavailableError,
    KeyStoreError,
    KeyStoreFormatError,
    KeyStoreKdfError,
    KeyStorePermissionError,
    KeyUriError,
    PassphraseError,
    SessionLostError,
    SigningError,
    TokenError,
    TokenPinError,
    UnknownDataKeyError,
    UnwrapError,
)
from assay.keys.kept_keys import DerivesFromKeys, tell_of_dropped_keys
from assay.keys.keyring import Keyring
from assay.keys.memory import MemoryDataKeyTable, MemoryKeyService
from assay.keys.rotation import (
    MOST_AGE,
    MOST_MESSAGES,
    MOST_NONCE_PREFIXES,
    ClassRotation,
    RotationPolicy,
)
from assay.keys.service import (
    Custody,
    ExportAttempt,
    KeyOrigin,
    KeyProvider,
    KeyService,
    KeySigner,
    KmsFacts,
    StoreFacts,
    TokenFacts,
)
from assay.keys.token_keys import (
    AES_256,
    ED25519,
    KeyKind,
    KeyToken,
    KeyType,
    SigningMechanism,
)
from assay.keys.uris import (
    create_key,
    create_signing_key,
    initialise_token,
    key_custody,
    leaky_key,
    open_key_service,
    open_signer,
    open_token,
)

__all__ = [
    "AES_256",
    "ED25519",
    "MOST_AGE",
    "MOST_MESSAGES",
    "MOST_NONCE_PREFIXES",
    "CiphertextError",
    "ClassRotation",
    "Custody",
    "DataKey",
    "DerivesFromKeys",
    "DestroyedDataKeyError",
    "DestroyedOwnerError",
    "ExportAttempt",
    "KeyAccessError",
    "KeyCommitmentError",
    "KeyDisabledError",
    "KeyExistsError",
    "KeyKind",
    "KeyNotFoundError",
    "KeyOrigin",
    "KeyProvider",
    "KeyService",
    "KeyServiceError",
    "KeyServiceUnavailableError",
    "KeySigner",
    "KeyStoreError",
    "KeyStoreFormatError",
    "KeyStoreKdfError",
    "KeyStorePermissionError",
    "KeyToken",
    "KeyType",
    "KeyUriError",
    "Keyring",
    "KeysError",
    "KmsFacts",
    "MemoryDataKeyTable",
    "MemoryKeyService",
    "PassphraseError",
    "RotationPolicy",
    "SessionLostError",
    "SigningError",
    "SigningMechanism",
    "StoreFacts",
    "TokenError",
    "TokenFacts",
    "TokenPinError",
    "UnknownDataKeyError",
    "UnwrapError",
    "create_key",
    "create_signing_key",
    "data_key_id",
    "initialise_token",
    "key_custody",
    "leaky_key",
    "open_key_service",
    "open_signer",
    "open_token",
    "tell_of_dropped_keys",
]
