"""Sealed models beside others: loader strategies, association proxies, and graphs that are merged."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import ForeignKey, create_engine, select
from sqlalchemy.exc import InvalidRequestError
from sqlalchemy.ext.associationproxy import AssociationProxy, association_proxy
from sqlalchemy.orm import (
    DeclarativeBase,
    Mapped,
    aliased,
    contains_eager,
    immediateload,
    joinedload,
    lazyload,
    mapped_column,
    raiseload,
    relationship,
    selectinload,
    sessionmaker,
    subqueryload,
)

from assay.encryption.sqlalchemy import (
    Equality,
    OwnerChangedError,
    RowIdChangedError,
    Sealed,
    SealedExpressionError,
    bind,
    casefold,
    exact,
    sealed,
)


class Base(DeclarativeBase):
    pass


class Clinic(Base):
    __tablename__ = "clinics"

    id: Mapped[str] = mapped_column(primary_key=True)
    patients: Mapped[list[Patient]] = relationship(back_populates="clinic", order_by="Patient.room")
    emails: AssociationProxy[list[str]] = association_proxy("patients", "email")
    names: AssociationProxy[list[str]] = association_proxy("patients", "name")


class Patient(Sealed, Base):
    __tablename__ = "patients"
    __owner__ = "clinic_id"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    clinic_id: Mapped[str] = mapped_column(ForeignKey("clinics.id"))
    room: Mapped[int]
    email: Mapped[str] = sealed(index=Equality(casefold))
    name: Mapped[str] = sealed()
    clinic: Mapped[Clinic] = relationship(back_populates="patients")
    visits: Mapped[list[Visit]] = relationship(
        back_populates="patient", order_by="Visit.day", cascade="all, delete-orphan"
    )


class Visit(Sealed, Base):
    __tablename__ = "visits"
    __owner__ = "doctor"
    __sealed_versions__ = True

    patient_id: Mapped[UUID] = mapped_column(ForeignKey("patients.id"), primary_key=True)
    day: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    doctor: Mapped[str]
    reason: Mapped[str] = sealed(index=Equality(exact))
    patient: Mapped[Patient] = relationship(back_populates="visits")
    patient_email: AssociationProxy[str] = association_proxy("patient", "email")


@pytest.fixture
def sessions(keyring: Any) -> Iterator[Any]:
    engine = create_engine("sqlite://")
    Base.metadata.create_all(engine)
    made = bind(sessionmaker(engine), keyring)
    with made.begin() as session:
        for room, (clinic, name) in enumerate([("a", "Ada"), ("a", "Bob"), ("b", "Cleo")]):
            visits = [Visit(day=day, doctor="dr", reason=f"{name} {day}") for day in (1, 2)]
            home = session.get(Clinic, clinic) or Clinic(id=clinic)
            session.add(
                Patient(clinic=home, room=room, name=name, email=f"{name}@x", visits=visits)
            )
            session.flush()
    yield made
    engine.dispose()


@pytest.mark.parametrize(
    "loaded", [selectinload, joinedload, subqueryload, immediateload, lazyload]
)
def test_every_way_of_loading(sessions: Any, loaded: Any) -> None:
    down = loaded(Clinic.patients).options(loaded(Patient.visits))
    with sessions() as session:
        clinic = (
            session.scalars(select(Clinic).where(Clinic.id == "a").options(down)).unique().one()
        )
        assert [patient.name for patient in clinic.patients] == ["Ada", "Bob"]
        reasons = [visit.reason for patient in clinic.patients for visit in patient.visits]
        assert reasons == ["Ada 1", "Ada 2", "Bob 1", "Bob 2"]
    with sessions() as session:
        up = loaded(Visit.patient).options(loaded(Patient.clinic))
        found = session.scalars(select(Visit).where(Visit.reason == "Cleo 2").options(up)).one()
        assert (found.patient.name, found.patient.clinic.id) == ("Cleo", "b")


def test_loading_along_a_join_and_not_at_all(sessions: Any) -> None:
    with sessions() as session:
        visit = aliased(Visit)
        along = select(Patient).join(visit, Patient.visits).where(visit.reason == "Bob 2")
        along = along.options(contains_eager(Patient.visits.of_type(visit)))
        patient = session.scalars(along).unique().one()
        assert (patient.name, [each.reason for each in patient.visits]) == ("Bob", ["Bob 2"])
        session.expunge_all()
        patient = session.scalars(select(Patient).options(raiseload(Patient.visits)).limit(1)).one()
        assert patient.name
        with pytest.raises(InvalidRequestError, match="not available"):
            _ = patient.visits


def test_association_proxies(sessions: Any) -> None:
    with sessions() as session:
        assert list(session.get(Clinic, "a").emails) == ["Ada@x", "Bob@x"]
        for criterion, found in (
            (Clinic.emails == "CLEO@x", ["b"]),
            (Clinic.emails.in_(["ada@x", "bob@x"]), ["a"]),
            (Clinic.emails != "cleo@x", ["a"]),
            (Clinic.emails == "nobody@x", []),
        ):
            assert [each.id for each in session.scalars(select(Clinic).where(criterion))] == found
        visit = session.scalars(select(Visit).where(Visit.patient_email == "bob@x")).first()
        visit.patient_email = "robert@x"
        session.commit()
        assert (
            session.scalars(select(Patient).where(Patient.email == "robert@x")).one().name == "Bob"
        )
        for build in (lambda: Clinic.names == "Ada", lambda: Clinic.emails.contains("a")):
            with pytest.raises(SealedExpressionError, match="declare sealed"):
                build()


def test_a_graph_goes_to_another_process_and_comes_back_changed(sessions: Any) -> None:
    with sessions() as session:
        patient = session.scalars(select(Patient).where(Patient.email == "ada@x")).one()
        assert [visit.reason for visit in patient.visits] == ["Ada 1", "Ada 2"]
        pickled = pickle.dumps(patient)
    assert b"Ada " not in pickled
    assert b"@x" not in pickled
    with sessions() as session:
        merged = session.merge(pickle.loads(pickled))  # noqa: S301 - made here
        assert not session.is_modified(merged)
        merged.visits[0].reason = "changed"
        session.commit()
        versions = [(visit.reason, visit.sealed_version) for visit in merged.visits]
        assert versions == [("changed", 2), ("Ada 2", 1)]


def test_what_rows_are_bound_to_does_not_change_by_a_relationship(sessions: Any) -> None:
    with sessions() as session:
        patient = session.scalars(select(Patient).where(Patient.email == "ada@x")).one()
        home = session.get(Clinic, "b")
        patient.clinic = home
        with pytest.raises(OwnerChangedError, match="move_to_owner"):
            session.flush()
        session.rollback()
        home.patients.append(patient)
        with pytest.raises(OwnerChangedError, match="move_to_owner"):
            session.flush()
        session.rollback()
        other = session.scalars(select(Patient).where(Patient.email == "bob@x")).one()
        patient.visits[0].patient = other
        with pytest.raises(RowIdChangedError, match="make a new row"):
            session.flush()
        session.rollback()
        assert (patient.name, patient.clinic.id, patient.visits[0].reason) == ("Ada", "a", "Ada 1")
