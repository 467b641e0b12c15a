"""The root of every error that Assay raises on purpose, and the errors of ``core`` itself.

One root, one subclass per room, leaves end in ``Error``::

    AssayError
    ├── CanonicalJsonError        bytes are not the one canonical form
    ├── SecretReferenceError      an ``env:`` or ``file:`` reference cannot be resolved
    ├── ToolError                 a pinned external tool is missing, wrong or failed
    ├── CoreDumpError             the kernel did not forbid core dumps
    ├── LockHeldError             another process holds an exclusive lock
    ├── WrongInputError           what was asked for does not exist
    ├── UnavailableError          what is needed did not answer; some rooms' errors are this too
    ├── OwnerDestroyedError       an owner's data keys were destroyed
    ├── keys.KeysError            floor 1
    ├── ledger.LedgerError        floor 1
    ├── database.DatabaseError    floor 1
    ├── encryption.EncryptionError, evidence.EvidenceError, leakage.LeakageError,
    │   transport.TransportError, kms.KmsError, scan.ScanError            floor 2
    ├── controls.ControlsError    floor 3
    └── web.WebError              floor 5

An error message says what was expected, what was found and what to do. It never holds a key,
a plaintext or a token.

Example:
    >>> raise AssayError("expected a checkpoint, found an empty file")
    Traceback (most recent call last):
    ...
    assay.core.errors.AssayError: expected a checkpoint, found an empty file
"""

from __future__ import annotations


class AssayError(Exception):
    """Anything that Assay refuses or cannot do. Catch this to catch all of them."""


class CanonicalJsonError(AssayError):
    """A value cannot be written as canonical JSON, or bytes are not canonical JSON."""


class SecretReferenceError(AssayError):
    """A reference to a secret is malformed, or names something that is not there."""


class ToolError(AssayError):
    """A pinned external tool is missing, has another version, or failed to run."""


class WrongInputError(AssayError):
    """What was asked for does not exist; nothing was done."""


class UnavailableError(AssayError):
    """What is needed did not answer, or is busy; nothing is wrong with what was asked."""


class CoreDumpError(AssayError):
    """The kernel did not forbid core dumps of this process."""


class LockHeldError(AssayError):
    """Another process holds the lock; nothing was changed."""
