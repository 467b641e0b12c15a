"""Moving a row to another owner: every group is opened, and sealed anew when it is saved.

Example:
    >>> move_to_owner(customer, "tenant-2")                              # doctest: +SKIP
    >>> customer.save()                                                  # doctest: +SKIP
"""

from __future__ import annotations

from typing import Any

from assay.encryption.concealment import concealed
from assay.encryption.django.contents import Contents
from assay.encryption.django.declared import AT
from assay.encryption.django.errors import OwnerMissingError, RowIdChangedError
from assay.encryption.django.sealing import declared_by, open_group


@concealed
def move_to_owner(instance: Any, owner: object) -> None:
    """Give a row to another owner, by the next ``save()``.

    The owner, the envelopes and the indexes are written by one UPDATE, which fails when somebody
    else has changed the row meanwhile. Fields that were assigned move along.

    Args:
        instance: a stored row of a sealed model; a new one is simply assigned its owner.
        owner: the new value of the owner field; of a foreign key the key of the row it points to.

    Raises:
        OwnerMissingError: the new owner is nobody, or of another type.
        RowIdChangedError: the owner is part of the primary key.
        EnvelopeError: a group does not open; see its leaves.
        assay.keys.KeysError: a data key is not to be had.
    """
    declared = declared_by(instance)
    declared.owner_of(owner)
    if instance._state.adding:
        setattr(instance, declared.owner, owner)
        return
    present = getattr(instance, declared.owner)
    if type(owner) is not type(present):
        raise OwnerMissingError(
            f"expected an owner of type {type(present).__name__} for {declared.name}, found "
            f"{type(owner).__name__}"
        )
    if owner == present:
        return
    if declared.owner in declared.key:
        raise RowIdChangedError(
            f"expected a row of {declared.name} to keep its primary key, of which the owner is a "
            "part; make a new row for the new owner and delete this one"
        )
    opened = {g: open_group(instance, declared, g) for g in declared.groups.values()}
    for group, contents in opened.items():
        replaces = contents.replaces if contents.envelope is None else contents.envelope
        assigned = frozenset(group.fields)
        held = Contents(dict(contents.fields), None, replaces, assigned, contents.version)
        instance.__dict__[group.column] = held
    setattr(instance, declared.owner, owner)
    instance.__dict__[AT] = (owner, *instance.__dict__[AT][1:])
    instance._state.sealed_moving = True
