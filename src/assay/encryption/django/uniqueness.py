"""Unique values: in forms, and while rows stand under several index keys.

Specification: ``spec/blind-index.md``, "Unique values".

Example:
    >>> taken(customer, Customer.__sealed__, "email", "default")    # doctest: +SKIP
    True
"""

from __future__ import annotations

from typing import Any

from assay.encryption.django.binding import keys_of
from assay.encryption.django.declared import SealedModel
from assay.encryption.django.errors import DuplicateValueError
from assay.encryption.django.sealing import changed, convert_place, is_elsewhere


def taken(
    instance: Any, declared: SealedModel, name: str, using: str, *, older_only: bool = False
) -> bool:
    """Whether another row of the instance's owner has its value of a unique field.

    Args:
        instance: has the value, and an owner.
        declared: what its model declares.
        name: the field.
        using: the database's alias.
        older_only: look only for values that stand under other index keys than the newest.

    Raises:
        UnsupportedValueError: the index does not take the value.
        assay.keys.KeysError: an index key is not to be had.
    """
    value = declared.fields[name].accept(getattr(instance, name))
    if value is None:
        return False
    convert_place(instance, declared)
    owner = declared.owner_of(instance.__dict__.get(declared.owner))
    column = f"{name}_index"
    index = declared.indexes[name][column]
    indexers = keys_of(using).indexes.all(index, owner)
    if older_only:
        newest = keys_of(using).indexes.newest(index, owner).key
        indexers = [each for each in indexers if each.key is not newest]
    if not indexers:
        return False
    wanted = [bytes(each.compute(value) or b"") for each in indexers]
    rows = type(instance)._base_manager.using(using)
    rows = rows.filter(**{f"{column}__in": wanted})
    if not instance._state.adding:
        rows = rows.exclude(pk=instance.pk)
    return bool(rows.exists())


def refuse_duplicates(instance: Any, declared: SealedModel, using: str) -> None:
    """Refuse a value that another row of the owner has under an older index key.

    The constraint of the database compares what stands under the newest one.

    Raises:
        DuplicateValueError: there is such a row.
        UnsupportedValueError: an index does not take a value.
        assay.keys.KeysError: an index key is not to be had.
    """
    for name in declared.unique:
        new = instance._state.adding or is_elsewhere(instance, using)
        new = new or changed(instance, declared.group_of(name))
        if new and taken(instance, declared, name, using, older_only=True):
            raise DuplicateValueError(
                f"expected a value of {name!r} that no other row of its owner has, found one that "
                "is taken; its index is still computed under an older key"
            )
