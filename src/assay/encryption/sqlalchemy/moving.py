"""Moving a row to another owner.

A row is sealed under its owner's key and bound to the owner's name, and its blind indexes are
computed under the owner's index key. So a row whose owner attribute alone changed could be neither
read nor found; assigning it is refused. Moving opens every group under the old owner's key, seals
it under the new one's, and computes every blind index anew. The owner, the envelopes and the
indexes are written by one UPDATE, which fails when another session has changed the row meanwhile.

Example:
    >>> move_to_owner(document, "tenant-2")                              # doctest: +SKIP
    >>> session.commit()                                                 # doctest: +SKIP
"""

from __future__ import annotations

from typing import Any

from sqlalchemy.orm import InstanceState
from sqlalchemy.orm.attributes import set_attribute
from sqlalchemy.orm.base import instance_state

from assay.encryption.concealment import concealed
from assay.encryption.row_address import standard_uuid
from assay.encryption.sqlalchemy.attributes import contents_of
from assay.encryption.sqlalchemy.columns import Contents
from assay.encryption.sqlalchemy.errors import (
    DeclarationError,
    OwnerMissingError,
    RowIdChangedError,
)
from assay.encryption.sqlalchemy.model import UNSET, SealedModel

MOVE: Any = object()
"""Says that an owner is assigned by `move_to_owner`."""


@concealed
def move_to_owner(instance: Any, owner: object) -> None:
    """Give a row to another owner: it is sealed anew, in all groups, when its session is flushed.

    Fields that were assigned before or are assigned afterwards move along. With an asynchronous
    session call it by ``await session.run_sync(lambda _: move_to_owner(instance, owner))``, since
    it may have to load groups. A loaded relationship to the old owner shows it until it is
    refreshed, as with any foreign key.

    Args:
        instance: a sealed instance in a session; one that is new needs no moving, and is assigned.
        owner: the new value of the owner attribute, of the type that it has.

    Raises:
        DeclarationError: the instance is not of a sealed model.
        OwnerMissingError: the new owner is nobody, or of another type.
        RowIdChangedError: the owner is part of the primary key.
        UnopenedError: the instance is detached and not all of its groups were opened.
        EnvelopeError: a group does not open; see its leaves.
        assay.keys.KeysError: a data key is not to be had.
    """
    model: SealedModel | None = getattr(type(instance), "__sealed__", None)
    if model is None:
        raise DeclarationError(
            f"expected an instance of a sealed model, found {type(instance).__name__}"
        )
    model.owner_of(owner)
    state: InstanceState[Any] = instance_state(instance)
    if state.key is None:
        setattr(instance, model.owner, owner)
        return
    present = getattr(instance, model.owner)
    if type(standard_uuid(owner)) is not type(standard_uuid(present)):
        raise OwnerMissingError(
            f"expected an owner of type {type(present).__name__} for {model.name}, found "
            f"{type(owner).__name__}"
        )
    if owner == present:
        return
    if model.owner in model.key:
        raise RowIdChangedError(
            f"expected a row of {model.name} to keep its primary key, of which the owner is a "
            "part; make a new row for the new owner and delete this one"
        )
    opened = {group: contents_of(instance, model, group) for group in model.groups.values()}
    set_attribute(instance, model.owner, owner, initiator=MOVE)
    for group, contents in opened.items():
        if contents is not None:
            fields, replaces = dict(contents.fields), contents.envelope or contents.replaces
            moving = Contents(fields, None, None, id(state.dict), replaces)
            setattr(instance, group.column, moving)


def is_moved(state: InstanceState[Any], model: SealedModel) -> bool:
    """Whether a stored row is about to get another owner."""
    before = state.committed_state.get(model.owner, UNSET)
    return before is not UNSET and before != state.dict.get(model.owner)
