"""Sealed models as migrations see them: they know columns and owners, and no sealed fields.

Code in a migration can change what is in the clear, and nothing that envelopes are bound to.

Example:
    >>> apps.get_model("shop", "Customer").objects.update(label="new")       # doctest: +SKIP
"""

from __future__ import annotations

from typing import Any, ClassVar

from django.core.exceptions import FieldDoesNotExist

from assay.encryption.django.columns import EnvelopeField
from assay.encryption.django.declared import AT, SealedModel, known_owner
from assay.encryption.django.queries import use_sealed_managers
from assay.encryption.django.sealing import place_now, refuse_moved


class HistoricalModel:
    """What a sealed model is in a migration, beside what its migrations say."""

    __sealed__: ClassVar[None] = None
    __sealed_flaws__: ClassVar[tuple[str, ...]] = ()
    __sealed_history__: ClassVar[SealedModel]

    @classmethod
    def from_db(cls, db: Any, field_names: Any, values: Any) -> Any:
        """As Django's; remembers owner and primary key, to which the envelopes are bound."""
        new = super().from_db(db, field_names, values)  # type: ignore[misc]  # of the model
        new.__dict__[AT] = place_now(new, cls.__sealed_history__)
        return new

    def _save_table(self, *args: Any, **options: Any) -> Any:
        known_owner(self.__sealed_history__)
        refuse_moved(self, self.__sealed_history__)
        return super()._save_table(*args, **options)  # type: ignore[misc]  # of the model


def guard_history(cls: Any) -> None:
    """Let a model that has the columns of a sealed one, and not its fields, keep to them.

    A migration makes such models, also of one that was not sealed when its table was made.
    """
    meta = cls._meta
    envelopes = [each for each in meta.concrete_fields if isinstance(each, EnvelopeField)]
    if not envelopes:
        return
    use_sealed_managers(cls, derive=True)
    if issubclass(cls, HistoricalModel):
        return
    try:
        owner = meta.get_field(envelopes[0].owner or "").attname
    except FieldDoesNotExist:
        owner = ""
    key = tuple(field.attname for field in meta.pk_fields)
    cls.__bases__ = (HistoricalModel, *cls.__bases__)
    cls.__sealed_history__ = SealedModel(
        meta.db_table, owner, key, lambda _: b"", {}, {}, {}, {}, ()
    )
