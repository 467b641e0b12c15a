"""What the key services refuse or cannot do.

::

    KeysError
    ├── KeyUriError            a key URI is malformed, or names an unknown scheme
    │                          (also a WrongInputError)
    ├── KeyNotFoundError       the service is there, the named key is not (or is not unique)
    ├── KeyExistsError         a key would have to be overwritten; nothing was changed
    ├── KeyServiceError        the service cannot be reached, or failed
    │   ├── KeyAccessError     it refused the PIN, or the caller is not allowed the action
    │   ├── KeyDisabledError   the key is there, and in a state in which it is not used
    │   ├── KeyServiceUnavailableError  it did not answer in time, or was too busy to
    │   │                      (also an UnavailableError)
    │   └── TokenError         a PKCS#11 token answered with an error
    │       ├── SessionLostError   the session is void; a new one may work
    │       └── TokenPinError      it refused the PIN (also a KeyAccessError)
    ├── SigningError           the service could not sign
    ├── KeyStoreError          an embedded key store
    │   ├── KeyStoreFormatError      has not the form of its specification
    │   ├── KeyStoreKdfError         names a key derivation that is too weak or too costly
    │   ├── KeyStorePermissionError  can be read by others, or is a symbolic link
    │   ├── KeyStoreAlteredError     opens, and what it seals was altered
    │   ├── PassphraseError          does not open under this passphrase
    │   └── RecoveryError            break-glass recovery by shares
    │       ├── NoRecoveryError      the store has no shares
    │       ├── RecoveryExistsError  it has shares, which would have to be revoked
    │       ├── RehearsalFormatError the notes of rehearsals have another form
    │       └── ShareError           shares that do not open the store
    │           ├── ShareFormatError     no share of a key store
    │           ├── DamagedShareError    a word is none, or the checksum is wrong
    │           ├── DuplicateShareError  one share twice
    │           ├── MixedSharesError     of different splits
    │           ├── ForeignShareError    of another store
    │           ├── RevokedShareError    of a split that was revoked
    │           ├── TooFewSharesError    fewer than the threshold
    │           └── SharesRefusedError   joined, they do not open it
    ├── UnwrapError            a wrapped data key does not open under this KEK and context
    ├── CiphertextError        a ciphertext does not open under a key of a token
    ├── KeyCommitmentError     a data key is not the one that its key id commits to
    ├── UnknownDataKeyError    an owner has no data key with this key id
    │   └── DestroyedDataKeyError  it had one, which was destroyed
    └── DestroyedOwnerError    an owner's keys were destroyed, and no new one is made

Example:
    >>> issubclass(KeyAccessError, KeyServiceError)
    True
"""

from __future__ import annotations

from assay.core import AssayError, OwnerDestroyedError, UnavailableError, WrongInputError


class KeysError(AssayError):
    """Anything that the room ``keys`` refuses or cannot do."""


class KeyUriError(KeysError, WrongInputError):
    """A key URI is malformed, carries a secret, or names a scheme that nobody serves."""


class KeyNotFoundError(KeysError):
    """The key service holds no such key, or more than one that answers to the name."""


class KeyExistsError(KeysError):
    """A key of that name is there already; it was not overwritten."""


class KeyServiceError(KeysError):
    """The key service cannot be reached, is misconfigured, or failed."""


class KeyAccessError(KeyServiceError):
    """The key service refused the PIN, or does not allow the caller the action."""


class KeyDisabledError(KeyServiceError):
    """The key is there but not used: disabled, pending deletion, or without its material."""


class KeyServiceUnavailableError(KeyServiceError, UnavailableError):
    """The key service did not answer within the deadline, or was too busy; later it may."""


class TokenError(KeyServiceError):
    """A PKCS#11 token answered with an error.

    Attributes:
        answer: the name of its return value ("KeyUnextractable" for CKR_KEY_UNEXTRACTABLE).
    """

    def __init__(self, what: str, answer: str) -> None:
        super().__init__(f"expected the token to {what}, it answered {answer}")
        self.answer = answer


class SessionLostError(TokenError):
    """The session or a handle of it is void; a new session may work."""


class TokenPinError(TokenError, KeyAccessError):
    """The token refused the PIN."""

    def __init__(self, what: str, answer: str) -> None:
        super().__init__(what, f"{answer}; check the PIN. Too many wrong ones lock a token")
        self.answer = answer


class SigningError(KeysError):
    """The key service could not sign."""


class KeyStoreError(KeysError):
    """An embedded key store cannot be used."""


class KeyStoreFormatError(KeyStoreError):
    """The file has not the form of ``spec/embedded-key-store.md``."""


class KeyStoreKdfError(KeyStoreError):
    """The file names a key derivation that is weaker or more costly than is allowed."""


class KeyStorePermissionError(KeyStoreError):
    """Others may read or replace the file: mode wider than 0600, or a symbolic link."""


class PassphraseError(KeyStoreError):
    """The file does not open: the passphrase is another one, or the file was altered."""


class KeyStoreAlteredError(KeyStoreError):
    """The passphrase or the shares are right, and what they open was altered."""


class RecoveryError(KeyStoreError):
    """Break-glass recovery of an embedded key store."""


class NoRecoveryError(RecoveryError):
    """The store was not split, or its split was revoked."""


class RecoveryExistsError(RecoveryError):
    """The store has shares already; nothing was changed."""


class RehearsalFormatError(RecoveryError):
    """The notes of rehearsals have another form, or are of another store."""


class ShareError(RecoveryError):
    """The shares that were given do not open the store. No message of it holds a word."""


class ShareFormatError(ShareError):
    """A text or file is no share of a key store."""


class DamagedShareError(ShareError):
    """A share was miscopied: a word that is none, or a checksum that is wrong."""


class DuplicateShareError(ShareError):
    """One share was given twice."""


class MixedSharesError(ShareError):
    """The shares that were given are of different splits."""


class ForeignShareError(ShareError):
    """A share is of another store, or of a split that this store never had."""


class RevokedShareError(ShareError):
    """A share is of a split of this store that was revoked."""


class TooFewSharesError(ShareError):
    """Fewer shares than open the store."""


class SharesRefusedError(ShareError):
    """The shares look right, and what they give when joined does not open the store."""


class UnwrapError(KeysError):
    """A wrapped data key does not open: altered, or another KEK or context."""


class CiphertextError(KeysError):
    """A ciphertext does not open under a key of a token: altered, or another key or context."""


class KeyCommitmentError(KeysError):
    """An unwrapped data key is not the one that its key id commits to."""


class UnknownDataKeyError(KeysError):
    """The owner has no data key with this key id."""


class DestroyedDataKeyError(UnknownDataKeyError):
    """The owner had a data key with this key id; it was destroyed."""


class DestroyedOwnerError(KeysError, OwnerDestroyedError):
    """The owner's data keys were destroyed; nothing can be sealed for this owner any more."""
