"""What adoption refuses, one name for each reason.

::

    EncryptionError
    └── AdoptionError
        ├── NothingToAdoptError      no model says that a column is on its way
        ├── AdoptionBlockedError     the table cannot be sealed as it is
        ├── NotExpandedError         the columns or the trigger are not there yet
        ├── NotVerifiedError         nobody verified the rows lately, or they did not pass
        ├── MigrationError           a migration cannot be written or applied
        ├── CheckpointError          how far the work is cannot be read, believed or kept
        ├── ClusterError             no cluster to work on
        ├── CrewError                a process that worked was killed
        └── PurgeError               the plaintext cannot be removed from the storage

Example:
    >>> issubclass(NotExpandedError, AdoptionError)
    True
"""

from __future__ import annotations

from assay.core import WrongInputError
from assay.encryption.errors import EncryptionError


class AdoptionError(EncryptionError):
    """A table cannot be moved from plaintext to envelopes like this."""


class NothingToAdoptError(AdoptionError, WrongInputError):
    """No sealed field of the models names a column in the clear."""


class AdoptionBlockedError(AdoptionError, WrongInputError):
    """Something about the table stands in the way; the message says what, and the way out."""


class NotExpandedError(AdoptionError):
    """The table has no sealed columns yet, or no trigger that keeps them true."""


class NotVerifiedError(AdoptionError):
    """The plaintext must not be removed: that every row opens was not shown lately."""


class MigrationError(AdoptionError):
    """A migration cannot be written, found or applied."""


class CheckpointError(AdoptionError):
    """What is kept between runs is of another database or table, damaged, or cannot be kept."""


class ClusterError(AdoptionError):
    """The cluster that was to do the work is not there."""


class CrewError(AdoptionError):
    """A process that worked on the rows ended before its work did."""


class PurgeError(AdoptionError):
    """The database refused to remove what is left of the plaintext."""
