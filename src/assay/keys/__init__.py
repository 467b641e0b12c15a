"""Key services and data keys: a KEK that stays where it is, data keys wrapped under it.

Example:
    >>> from assay.core import DataKeyClass
    >>> from assay.keys import Keyring, MemoryDataKeyTable, MemoryKeyService
    >>> keyring = Keyring(MemoryKeyService(), MemoryDataKeyTable())
    >>> keyring.current("tenant-1", DataKeyClass.ROWS)
    DataKey(owner='tenant-1', key_class=<DataKeyClass.ROWS: 'rows'>, version=1, key_id=...)
"""

from assay.core import CoreDumps, forbid_core_dumps
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
from assay.keys.key_status import (
    ClassStatus,
    KekStatus,
    KeyTableStatus,
    OwnerKeyStatus,
    due_of_table,
    key_table_status,
)
from assay.keys.keyring import Keyring
from assay.keys.memory import MemoryDataKeyTable, MemoryKeyService
from assay.keys.rewrapping import RewrapReport, rewrap_keys
from assay.keys.rotating import RotationReport, rotate_keys
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
from assay.keys.succession import SuccessorKeyService
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
    longest_signed_bytes,
    open_key_service,
    open_signer,
    open_token,
)
from assay.keys.versions import KekVersion, VersionedKek, kek_version

__all__ = [
    "AES_256",
    "ED25519",
    "MOST_AGE",
    "MOST_MESSAGES",
    "MOST_NONCE_PREFIXES",
    "CiphertextError",
    "ClassRotation",
    "ClassStatus",
    "CoreDumps",
    "Custody",
    "DataKey",
    "DerivesFromKeys",
    "DestroyedDataKeyError",
    "DestroyedOwnerError",
    "ExportAttempt",
    "KekStatus",
    "KekVersion",
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
    "KeyTableStatus",
    "KeyToken",
    "KeyType",
    "KeyUriError",
    "Keyring",
    "KeysError",
    "KmsFacts",
    "MemoryDataKeyTable",
    "MemoryKeyService",
    "OwnerKeyStatus",
    "PassphraseError",
    "RewrapReport",
    "RotationPolicy",
    "RotationReport",
    "SessionLostError",
    "SigningError",
    "SigningMechanism",
    "StoreFacts",
    "SuccessorKeyService",
    "TokenError",
    "TokenFacts",
    "TokenPinError",
    "UnknownDataKeyError",
    "UnwrapError",
    "VersionedKek",
    "create_key",
    "create_signing_key",
    "data_key_id",
    "due_of_table",
    "forbid_core_dumps",
    "initialise_token",
    "kek_version",
    "key_custody",
    "key_table_status",
    "leaky_key",
    "longest_signed_bytes",
    "open_key_service",
    "open_signer",
    "open_token",
    "rewrap_keys",
    "rotate_keys",
    "tell_of_dropped_keys",
]
