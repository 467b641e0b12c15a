"""Statements about sealed models: what a blind index can answer, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import (
    CompoundSelect,
    LargeBinary,
    and_,
    bindparam,
    cast,
    column,
    delete,
    desc,
    event,
    exists,
    func,
    insert,
    literal,
    not_,
    or_,
    select,
    text,
    union_all,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import aliased, with_loader_criteria

from assay.core import DataKeyClass
from assay.encryption.sqlalchemy import (
    Equality,
    KeyringNotBoundError,
    OwnerMissingError,
    RowIdMissingError,
    SealedExpressionError,
    SealedValueError,
    TooManyOwnersError,
    UnresolvedCriterionError,
    UnsealedWriteError,
    casefold,
    searching,
)
from assay.encryption.sqlalchemy.expressions import SealedExpression
from assay.encryption.sqlalchemy.model import SealedField

SECRET = "quartz@obsidian.example"


@pytest.fixture
def rows(library: Any) -> dict[str, UUID]:
    """Five documents by a name for each."""
    return {
        "north ada": library.add("north", owner_email="Ada@Example.com", number="030-1"),
        "north grace": library.add("north", owner_email="grace@example.com", number="030-2"),
        "north ada 2": library.add("north", owner_email="ada@example.com"),
        "south ada": library.add("south", owner_email="ada@example.com", number="0301"),
        "south alan": library.add("south", owner_email="alan@example.com", label="north"),
    }


@pytest.fixture
def find(library: Any, rows: dict[str, UUID]) -> Callable[..., set[str]]:
    """The names of the documents that a criterion or statement finds."""

    def find(*criteria: Any) -> set[str]:
        statement = criteria[0]
        if not hasattr(statement, "is_select") or not statement.is_select:
            statement = select(library.Document.id).where(*criteria)
        names = {row: name for name, row in rows.items()}
        with library.sessions() as session:
            found = session.scalars(statement).all()
            assert len(found) == len(set(found))
            return {names[row] for row in found}

    return find


@pytest.fixture
def parameters(library: Any) -> list[Any]:
    """What is sent along with each statement."""
    seen: list[Any] = []
    event.listen(
        library.engine,
        "before_cursor_execute",
        lambda _c, _k, _s, parameters, *_: seen.append(parameters),
    )
    return seen


def test_equality_finds_rows_of_all_owners(library: Any, find: Any) -> None:
    email = library.Document.owner_email
    ada = {"north ada", "north ada 2", "south ada"}
    assert find(email == "ADA@example.com") == ada
    assert find(email == "nobody@example.com") == set()
    assert find(email != "ada@example.com") == {"north grace", "south alan"}
    assert find(not_(email == "ada@example.com")) == {"north grace", "south alan"}
    assert find(~(email != "ada@example.com")) == ada
    assert find(email.in_(["ada@example.com", "ALAN@example.com"])) == ada | {"south alan"}
    assert find(email.in_({"grace@example.com"})) == {"north grace"}
    assert find(email.in_([])) == set()
    assert find(email.not_in(("ada@example.com",))) == {"north grace", "south alan"}
    assert find(email.not_in([])) == ada | {"north grace", "south alan"}


def test_null_is_found_without_a_key(library: Any, find: Any) -> None:
    number = library.Document.number
    for none in (number.is_(None), number == None, ~number.is_not(None)):  # noqa: E711 - as a statement has it
        assert find(none) == {"north ada 2", "south alan"}
    for some in (number.is_not(None), number != None):  # noqa: E711 - as a statement has it
        assert find(some) == {"north ada", "north grace", "south ada"}
    assert find(number != "0301") == {"north grace"}, "as in SQL, null is not unequal"
    with library.unbound() as session:
        assert len(session.scalars(select(library.Document).where(number.is_(None))).all()) == 2


def test_an_owner_beside_it_narrows_the_keys(
    library: Any, find: Any, parameters: list[Any]
) -> None:
    document = library.Document
    email = document.owner_email == "ada@example.com"

    def keys_tried(*criteria: Any) -> int:
        del parameters[:]
        find(*criteria)
        return sum(bool(each) for each in parameters[-1] if isinstance(each, bytes))

    north = {"north ada", "north ada 2"}
    assert find(document.tenant_id == "north", email) == north
    assert keys_tried(email) == 2
    assert keys_tried(document.tenant_id == "north", email) == 1
    assert keys_tried(email, document.tenant_id == "north") == 1
    assert keys_tried(and_(document.label.is_(None), email, document.tenant_id == "north")) == 1
    assert keys_tried(document.tenant_id == "north", or_(email, document.label == "x")) == 1
    assert keys_tried(document.tenant_id == "north", not_(email)) == 1
    assert keys_tried(document.tenant_id.in_(["north", "south"]), email) == 2
    assert keys_tried(document.tenant_id.in_(["north"]), email) == 1
    assert keys_tried(document.tenant_id == "nobody", email) == 0
    assert keys_tried(document.tenant_id != "north", email) == 2
    assert keys_tried(document.tenant_id > "a", email) == 2
    assert keys_tried(document.label == "north", email) == 2
    assert keys_tried(or_(document.tenant_id == "north", email)) == 2
    assert keys_tried(not_(document.tenant_id == "north"), email) == 2
    assert keys_tried(document.tenant_id == document.label, email) == 2


def test_an_owner_that_need_not_hold_does_not_narrow(library: Any, find: Any) -> None:
    document = library.Document
    email = document.owner_email == "ada@example.com"
    assert find(or_(document.tenant_id == "north", email)) == {
        "north ada", "north ada 2", "north grace", "south ada",
    }  # fmt: skip
    assert find(or_(and_(document.tenant_id == "south", email), document.label == "x")) == {
        "south ada"
    }
    assert find(not_(and_(document.tenant_id == "north", email))) == {
        "north grace", "south ada", "south alan",
    }  # fmt: skip
    assert find(document.tenant_id != "north", email) == {"south ada"}
    assert find(document.tenant_id.not_in(["north"]), email) == {"south ada"}


def test_owners_that_come_as_parameters(library: Any, rows: Any, parameters: list[Any]) -> None:
    document = library.Document
    statement = select(document.id).where(
        document.tenant_id == bindparam("owner"), document.owner_email == "ada@example.com"
    )
    with library.sessions() as session:
        for owner, wanted in (("north", 2), ("south", 1), ("nobody", 0)):
            assert len(session.scalars(statement, {"owner": owner}).all()) == wanted
            tried = [each for each in parameters[-1] if isinstance(each, bytes)]
            assert tried != []
            assert all(tried) == (owner != "nobody")  # that nobody's value is empty


def test_one_statement_runs_many_times(library: Any, rows: Any) -> None:
    """What is resolved once must not stick to the statement: keys come and go."""
    statement = select(func.count()).where(library.Document.owner_email == "new@example.com")
    with library.sessions() as session:
        assert session.scalar(statement) == 0
        library.add("north", owner_email="new@example.com")
        assert session.scalar(statement) == 1
        library.write("INSERT INTO tenants (id) VALUES ('west')")
        library.add("west", owner_email="new@example.com")
        assert session.scalar(statement) == 2


def test_aliases_and_joins(library: Any, find: Any, parameters: list[Any]) -> None:
    document, other = library.Document, aliased(library.Document)
    same_number = select(document.id).join(other, other.number.is_not(None))
    assert find(
        select(document.id)
        .join(other, other.tenant_id == document.tenant_id)
        .where(document.owner_email == "ada@example.com", other.owner_email == "grace@example.com")
    ) == {"north ada", "north ada 2"}
    del parameters[:]
    # The owner of one does not narrow the other.
    assert find(
        select(other.id)
        .distinct()
        .join(document, document.tenant_id == "north")
        .where(document.tenant_id == "north", other.owner_email == "ada@example.com")
    ) == {"north ada", "north ada 2", "south ada"}
    assert find(
        same_number.where(
            other.tenant_id == "south",
            other.owner_email == "ada@example.com",
            document.owner_email == "grace@example.com",
        )
    ) == {"north grace"}
    tenant = library.Tenant
    assert find(
        select(document.id)
        .join(
            tenant, and_(tenant.id == document.tenant_id, document.owner_email == "ada@example.com")
        )
        .where(tenant.id == "south")
    ) == {"south ada"}


def test_queries_within_queries(library: Any, find: Any) -> None:
    document = library.Document
    ada = document.owner_email == "ada@example.com"
    inner = select(document.id).where(ada)
    assert find(document.id.in_(inner)) == {"north ada", "north ada 2", "south ada"}
    # The outer owner says nothing about the inner rows.
    assert find(document.tenant_id == "south", ~document.id.in_(inner)) == {"south alan"}
    nested = select(func.count()).where(ada).scalar_subquery()
    assert find(document.tenant_id == "north", document.label.is_(None), nested == 3) == {
        "north ada", "north ada 2", "north grace",
    }  # fmt: skip
    part = select(document.id).where(ada, document.tenant_id == "north").cte()
    assert find(select(part.c.id)) == {"north ada", "north ada 2"}
    tenant = library.Tenant
    with library.sessions() as session:
        having = select(tenant.id).where(
            exists().where(
                document.tenant_id == tenant.id, document.owner_email == "alan@example.com"
            )
        )
        assert session.scalars(having).all() == ["south"]
        both: CompoundSelect[Any] = union_all(
            select(document.id).where(ada), select(document.id).where(~ada)
        )
        assert len(session.execute(both).all()) == 5
        assert (
            len(session.scalars(select(document).from_statement(select(document).where(ada))).all())
            == 3
        )
        counted = select(func.count().filter(ada)).select_from(document)
        assert session.scalar(counted) == 3


def test_older_queries_and_keywords(library: Any, rows: Any) -> None:
    with library.sessions() as session:
        query = session.query(library.Document)
        assert query.filter(library.Document.owner_email == "alan@example.com").count() == 1
        assert query.filter_by(owner_email="alan@example.com", tenant_id="south").one()
        statement = select(library.Document).filter_by(owner_email="alan@example.com")
        assert session.scalars(statement).one().id == rows["south alan"]


def test_deleting_and_updating_by_a_sealed_field(library: Any, find: Any, rows: Any) -> None:
    document = library.Document
    with library.sessions() as session:
        kept = session.get(document, rows["south alan"])
        session.execute(
            update(document).where(document.owner_email == "alan@example.com").values(label="x")
        )
        assert kept.label == "x"
        session.execute(
            delete(document).where(
                document.tenant_id == "north", document.owner_email == "ada@example.com"
            )
        )
        session.commit()
        assert kept.text == "Dear Ada"
    assert find(document.label.is_(None)) == {"north grace", "south ada"}


def test_too_many_owners_must_be_narrowed(
    library: Any, find: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    document = library.Document
    monkeypatch.setattr(searching, "MOST_OWNERS", 1)
    with pytest.raises(TooManyOwnersError, match="2 owners"):
        find(document.owner_email == "ada@example.com")
    assert find(document.tenant_id == "south", document.owner_email == "ada@example.com")


def test_searching_makes_no_keys(library: Any) -> None:
    document = library.Document
    with library.sessions() as session:
        statement = select(document).where(
            document.tenant_id == "north", document.owner_email == "x"
        )
        assert session.scalars(statement).all() == []
    assert library.keyring.owners(DataKeyClass.INDEXES) == []


@pytest.mark.parametrize(
    "build",
    [
        lambda d: d.owner_email.like("ada%"),
        lambda d: d.owner_email.ilike("ada%"),
        lambda d: d.owner_email.contains("ada"),
        lambda d: d.owner_email.startswith("ada"),
        lambda d: d.owner_email.regexp_match("ada"),
        lambda d: d.owner_email.match("ada"),
        lambda d: d.owner_email < "b",
        lambda d: d.owner_email >= "b",
        lambda d: d.owner_email.between("a", "b"),
        lambda d: d.owner_email + "x",
        lambda d: "x" + d.owner_email,
        lambda d: d.owner_email.desc(),
        lambda d: d.owner_email.asc(),
        lambda d: d.owner_email.distinct(),
        lambda d: d.owner_email.is_distinct_from("x"),
        lambda d: d.owner_email.is_("x"),
        lambda d: d.owner_email.collate("nocase"),
        lambda d: d.owner_email.op("~")("x"),
        lambda d: d.owner_email == d.label,
        lambda d: d.owner_email == d.text,
        lambda d: d.owner_email == bindparam("email"),
        lambda d: d.owner_email == func.lower("x"),
        lambda d: d.owner_email == 5,
        lambda d: d.owner_email == b"x",
        lambda d: d.owner_email.in_(["x", None]),
        lambda d: d.owner_email.in_(select(d.label)),
        lambda d: d.owner_email.in_("abc"),
        lambda d: d.label == d.owner_email,
        lambda d: d.text == "x",
        lambda d: d.text.in_(["x"]),
        lambda d: d.text.is_(None),
        lambda d: select(d.text),
        lambda d: select(d.id, d.owner_email),
        lambda d: select(d).order_by(d.text),
        lambda d: select(d).order_by(desc(d.owner_email)),
        lambda d: select(func.lower(d.owner_email)),
        lambda d: select(d.id).group_by(d.owner_email),
        lambda d: update(d).values({d.text: "x"}),
        lambda d: insert(d).values({d.text: "x"}),
        lambda d: select(d).where(d.owner_email),
    ],
)  # fmt: skip
def test_what_a_blind_index_cannot_answer_is_refused_when_it_is_built(
    library: Any, build: Callable[[Any], Any]
) -> None:
    for entity in (library.Document, aliased(library.Document)):
        with pytest.raises(SealedExpressionError) as raised:
            build(entity)
        for word in ("expected", "found"):
            assert word in str(raised.value)


def test_short_indexes_find_candidates_and_no_others() -> None:
    for bits, approximate in ((63, True), (64, False)):
        field = SealedField("x", "default", str, False, None, (Equality(casefold, bits=bits),))
        criterion: Any = SealedExpression(field, Columns) == "x"  # type: ignore[comparison-overlap]  # the point
        assert (criterion.search.accepts is not None) is approximate
    with pytest.raises(SealedExpressionError, match="would miss some"):
        SealedExpression(field_of_bits(63), Columns) != "x"  # type: ignore[comparison-overlap]  # the point  # noqa: B015
    with pytest.raises(SealedExpressionError, match="would miss some"):
        ~(SealedExpression(field_of_bits(63), Columns) == "x")  # type: ignore[comparison-overlap]  # the point


class Columns:
    """Stands for a model, which such a field never has."""

    x_index = type("Attribute", (), {"expression": column("x_index")})


def field_of_bits(bits: int) -> SealedField:
    return SealedField("x", "default", str, False, None, (Equality(casefold, bits=bits),))


def test_unresolved_comparisons_never_reach_the_database(library: Any, rows: Any) -> None:
    document = library.Document
    statement = select(document).where(document.owner_email == SECRET)
    with library.unbound() as session, pytest.raises(KeyringNotBoundError, match="bind"):
        session.scalars(statement).all()
    with library.engine.connect() as connection:
        with pytest.raises(UnresolvedCriterionError, match="'owner_email'"):
            connection.execute(statement)
        with pytest.raises(UnresolvedCriterionError):
            connection.execute(delete(document.__table__).where(document.owner_email == SECRET))
    with library.sessions() as session, pytest.raises(UnresolvedCriterionError) as raised:
        session.scalars(
            select(document).options(with_loader_criteria(document, document.owner_email == SECRET))
        ).all()
    assert SECRET not in str(raised.value)
    for dialect in (sqlite.dialect(), postgresql.dialect()):
        with pytest.raises(UnresolvedCriterionError):
            statement.compile(dialect=dialect)
    assert "owner_email_index IN (<blind index>)" in str(statement)
    assert "NOT IN" in str(select(document.id).where(document.owner_email != SECRET))


def test_rows_that_are_inserted_are_sealed(library: Any, parameters: list[Any]) -> None:
    document = library.Document
    given = [
        {"tenant_id": "north", "owner_email": SECRET, "text": SECRET, "label": f"{n}", "body": None}
        for n in range(3)
    ]
    kept = [dict(row) for row in given]
    key = uuid4()
    with library.sessions() as session:
        session.execute(insert(document), given)
        session.execute(
            insert(document),
            {"id": key, "tenant_id": "south", "owner_email": SECRET, "text": "x", "number": "7"},
        )
        returned = session.scalars(
            insert(document).returning(document, sort_by_parameter_order=True),
            [{**row, "text": f"{n}"} for n, row in enumerate(given)],
        ).all()
        assert [each.text for each in returned] == ["0", "1", "2"]
        session.commit()
        assert given == kept
        found = session.scalars(select(document).where(document.owner_email == SECRET)).all()
        assert len(found) == 7
        assert session.get(document, key).pages == 1
        assert session.get(document, key).number == "7"
    assert SECRET not in repr(parameters)


@pytest.mark.parametrize(
    ("row", "error"),
    [
        ({"owner_email": "a", "text": "x"}, OwnerMissingError),
        ({"tenant_id": None, "owner_email": "a", "text": "x"}, OwnerMissingError),
        ({"tenant_id": "north", "owner_email": "a"}, SealedValueError),
        ({"tenant_id": "north", "owner_email": "a", "text": None}, SealedValueError),
        ({"tenant_id": "north", "owner_email": "a", "text": 5}, SealedValueError),
    ],
)
def test_rows_that_cannot_be_sealed_are_refused(library: Any, row: Any, error: Any) -> None:
    with library.sessions() as session, pytest.raises(error):
        session.execute(insert(library.Document), [row])


def test_rows_without_a_key_are_refused(library: Any) -> None:
    with library.sessions() as session, pytest.raises(RowIdMissingError):
        session.execute(insert(library.Everything), [{"part": 1, "owner": uuid4()}])


def test_inserts_that_nobody_could_seal_are_refused(library: Any) -> None:
    document = library.Document
    row = {"id": uuid4(), "tenant_id": "north", "owner_email": SECRET, "text": SECRET}
    upsert = sqlite.insert(document)
    attempts: list[Callable[[Any], Any]] = [
        lambda s: s.execute(insert(document).values(**row)),
        lambda s: s.execute(insert(document).values([row, row])),
        lambda s: s.execute(insert(document).values({**row, "tenant_id": "south"})),
        lambda s: s.execute(insert(document).values(id=uuid4(), tenant_id="north")),
        lambda s: s.execute(insert(document).from_select(["id"], select(document.id))),
        lambda s: s.execute(
            insert(document).from_select(
                ["id", "tenant_id", "sealed", "sealed_content"],
                select(
                    literal(uuid4().hex), document.tenant_id, *[cast(SECRET, LargeBinary)] * 2
                ).select_from(text("(SELECT 'north' AS tenant_id) AS documents")),
            )
        ),
        lambda s: s.execute(
            upsert.on_conflict_do_update(
                index_elements=["id"], set_={"sealed": upsert.excluded.sealed}
            ),
            [row],
        ),
        lambda s: s.bulk_insert_mappings(document, [row]),
        lambda s: s.bulk_save_objects([document(**row)]),
        lambda s: s.execute(insert(document.__table__), [{"id": uuid4(), "tenant_id": "north"}]),
        lambda s: s.execute(
            insert(document.__table__),
            [{"id": uuid4(), "tenant_id": "north", "sealed": SECRET.encode()}],
        ),
    ]
    for attempt in attempts:
        for sessions in (library.sessions, library.unbound):
            with sessions() as session:
                with pytest.raises((UnsealedWriteError, KeyringNotBoundError)) as raised:
                    attempt(session)
                assert SECRET not in str(raised.value)
    with library.unbound() as session, pytest.raises(KeyringNotBoundError):
        session.execute(insert(document), [row])
    with library.engine.connect() as connection:
        assert connection.scalar(select(func.count()).select_from(document.__table__)) == 0


def test_an_insert_that_does_nothing_on_conflict_is_sealed(library: Any) -> None:
    document = library.Document
    row = {"id": uuid4(), "tenant_id": "north", "owner_email": "a@b", "text": "one"}
    for made in (sqlite, postgresql):
        statement = made.insert(document).on_conflict_do_nothing(index_elements=["id"])
        if made is postgresql:
            continue
        with library.sessions.begin() as session:
            session.execute(statement, [row])
            session.execute(statement, [{**row, "text": "two"}])
    with library.sessions() as session:
        assert session.get(document, row["id"]).text == "one"
        with pytest.raises(IntegrityError) as raised:
            session.execute(insert(document), [{**row, "text": SECRET}])
        assert SECRET not in str(raised.value)


def test_updates_that_nobody_could_seal_are_refused(library: Any) -> None:
    row = library.add()
    document, table = library.Document, library.Document.__table__
    attempts: list[Callable[[Any], Any]] = [
        lambda s: s.execute(update(document).values(text=SECRET)),
        lambda s: s.execute(update(document).values({"text": SECRET, "label": "x"})),
        lambda s: s.execute(update(document).values(owner_email=SECRET)),
        lambda s: s.execute(update(document).ordered_values(("text", SECRET))),
        lambda s: s.execute(update(document), [{"id": row, "text": SECRET}]),
        lambda s: s.execute(update(document), [{"id": row, "tenant_id": "south"}]),
        lambda s: s.execute(update(document).values(tenant_id="south")),
        lambda s: s.execute(update(document).values({document.tenant_id: "south"})),
        lambda s: s.execute(update(document).values(id=uuid4())),
        lambda s: s.query(document).update({"text": SECRET}),
        lambda s: s.query(document).update({document.tenant_id: "south"}),
        lambda s: s.execute(update(document).values(sealed=SECRET.encode())),
        lambda s: s.execute(update(document).values(sealed=None)),
        lambda s: s.execute(update(document).values(owner_email_index=SECRET.encode())),
        lambda s: s.execute(update(table).values(sealed=SECRET.encode())),
        lambda s: s.execute(update(table).values(owner_email_index=SECRET.encode())),
        lambda s: s.bulk_update_mappings(document, [{"id": row, "text": SECRET}]),
    ]
    for attempt in attempts:
        for sessions in (library.sessions, library.unbound):
            with sessions() as session:
                with pytest.raises(UnsealedWriteError) as raised:
                    attempt(session)
                assert SECRET not in str(raised.value)
                assert ";" in str(raised.value), "an error names the way out"
    with library.sessions() as session:
        stored = session.get(document, row)
        assert (stored.text, stored.tenant_id) == ("Dear Ada", "north")


def test_unsealed_columns_are_updated_freely(library: Any) -> None:
    row = library.add()
    document = library.Document
    with library.sessions.begin() as session:
        session.execute(update(document).values(label="one"))
        session.execute(update(document), [{"id": row, "label": "two"}])
        session.bulk_update_mappings(document, [{"id": row, "label": "three"}])
        session.query(document).update({"label": "four"})
    with library.sessions() as session:
        assert session.get(document, row).label == "four"
        assert session.get(document, row).text == "Dear Ada"


def test_bulk_saving_a_changed_instance_is_refused(library: Any) -> None:
    row = library.add()
    with library.sessions() as session:
        document = session.get(library.Document, row)
        document.text = SECRET
        with pytest.raises(UnsealedWriteError, match="bulk operations do not seal"):
            session.bulk_save_objects([document])


def test_literals_are_refused(library: Any) -> None:
    table = library.Document.__table__
    with pytest.raises(UnsealedWriteError, match="bound parameter"):
        insert(table).values(sealed=SECRET.encode()).compile(compile_kwargs={"literal_binds": True})


def test_ordinary_models_and_statements_are_left_alone(library: Any) -> None:
    tenant = library.Tenant
    for sessions in (library.sessions, library.unbound):
        with sessions() as session:
            session.execute(insert(tenant), [{"id": "east"}])
            session.execute(update(tenant).where(tenant.id == "east").values(id="far east"))
            assert session.scalars(select(tenant.id).order_by(tenant.id)).all() == [
                "far east", "north", "south",
            ]  # fmt: skip
            session.execute(delete(tenant).where(tenant.id == "far east"))
            session.rollback()
