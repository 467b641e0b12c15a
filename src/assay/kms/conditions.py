"""Conditions of a policy statement: read once, asked for every request.

1. A key that the request has not: a negated operator holds, ``…IfExists`` and ``ForAllValues``
   hold, ``Null`` tells, everything else does not hold.
2. A value matches when it matches one of the policy's values; a negated operator holds for it when
   it matches none of them.
3. ``ForAllValues`` holds when that is so for every value of the request, ``ForAnyValue`` when it is
   so for one.
4. All operators and all keys in them must hold.

What AWS does not tell is read so that less is allowed. Two names of an encryption context that
differ in case only give one key two values: then an ``Allow`` must hold for both, a ``Deny`` for
one. A variable that stands for nothing matches nothing, and a negated operator with it does not
hold in an ``Allow``. A key with many values needs a set operator; an operator must fit the type of
its key.

Source: IAM user guide, "Condition operators" and "Multivalued context keys".

Example:
    >>> block = {"StringEquals": {"kms:EncryptionContext:Department": ["IT", "HR"]}}
    >>> (condition,) = ConditionReader(deny=False).read(block, "Condition")
    >>> condition.holds(Query("arn:…", "kms:Decrypt", "*", {}, context={"department": "HR"}))
    True
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from assay.kms.condition_keys import ConditionKey, find_key
from assay.kms.documents import listed_at, named, object_at, shown
from assay.kms.errors import DocumentError
from assay.kms.operators import OPERATORS, Matcher, Operator
from assay.kms.query import Query, Value

_QUALIFIERS = frozenset({(False, ""), (True, "ForAllValues"), (True, "ForAnyValue")})


@dataclass(frozen=True, slots=True)
class Condition:
    """One operator upon one key.

    Attributes:
        key: the condition key, in lower case.
        matchers: one for each value in the policy.
        negated: whether a value must match none of them.
        cautious: whether a variable that stands for nothing makes a negated operator not hold.
        over: `all` or `any`: for how many values of the request it must hold.
        absent: whether it holds when the request has no value.
    """

    key: str
    matchers: tuple[Matcher, ...]
    negated: bool
    cautious: bool
    over: Callable[[Iterable[bool]], bool]
    absent: bool

    def holds(self, query: Query) -> bool:
        """Whether the request is as the condition says."""
        values = query.values(self.key)
        if not values:
            return self.absent
        return self.over(self._holds_for(value, query) for value in values)

    def _holds_for(self, value: Value, query: Query) -> bool:
        for matches in self.matchers:
            found = matches(value, query)
            if found:
                return not self.negated
            if found is None and self.cautious:
                return False
        return self.negated


@dataclass(frozen=True, slots=True)
class Presence:
    """The operator ``Null``.

    Attributes:
        key: the condition key, in lower case.
        wanted: True for a key that the request must not have, False for one that it must have.
    """

    key: str
    wanted: frozenset[bool]

    def holds(self, query: Query) -> bool:
        """Whether the request is as the condition says."""
        return (not query.values(self.key)) in self.wanted


@dataclass(frozen=True, slots=True)
class ConditionReader:
    """Reads the element ``Condition`` of a statement.

    Attributes:
        deny: whether the statement denies.
        variables: whether the version of the document has variables.
        key_policy: whether the document is a key policy.
    """

    deny: bool
    variables: bool = True
    key_policy: bool = True

    def read(self, block: object, place: str) -> tuple[Condition | Presence, ...]:
        """Read all conditions.

        Args:
            block: the element, decoded.
            place: where it stands, for the error.

        Raises:
            DocumentError: something is not known, not of its type, or says nothing.
        """
        found: list[Condition | Presence] = []
        for name, raw in object_at(place, block).items():
            spot = f"{place}, {named(name)}"
            keys = object_at(spot, raw)
            if len(keys) != len({each.lower() for each in keys}):
                raise DocumentError(f"{spot}: expected each condition key once, in whatever case")
            found += [self._one(name, each, keys[each], f"{spot}, {named(each)}") for each in keys]
        return tuple(found)

    def _one(self, name: str, key_name: str, raw: object, place: str) -> Condition | Presence:
        key = self._known(key_name, place)
        values = _values(place, raw)
        if name == "Null":
            return Presence(key.fact, frozenset(_flag(place, each) for each in values))
        qualifier, colon, rest = name.rpartition(":")
        base = rest.removesuffix("IfExists")
        operator = OPERATORS.get(base)
        if operator is None or (bool(colon), qualifier) not in _QUALIFIERS:
            raise DocumentError(f"{place}: expected a condition operator, found {shown(name)}")
        _check_type(operator, base, key, place)
        _check_quantity(qualifier, key, base != rest, place)
        if qualifier:
            over: Callable[[Iterable[bool]], bool] = all if qualifier == "ForAllValues" else any
            absent = qualifier == "ForAllValues"
        else:
            over = any if self.deny else all
            absent = operator.negated or base != rest
        return Condition(
            key=key.fact,
            matchers=tuple(operator.read(each, place, self.variables) for each in values),
            negated=operator.negated,
            cautious=not self.deny and operator.negated,
            over=over,
            absent=absent,
        )

    def _known(self, name: str, place: str) -> ConditionKey:
        key = find_key(name)
        if key is None or "${" in name:
            raise DocumentError(f"{place}: expected a condition key that is known")
        if self.key_policy and not key.key_policies:
            raise DocumentError(f"{place}: {key.name} is for identity policies only")
        return key


def _check_type(operator: Operator, name: str, key: ConditionKey, place: str) -> None:
    if key.type not in operator.types:
        fitting = sorted(each for each, other in OPERATORS.items() if key.type in other.types)
        raise DocumentError(
            f"{place}: {name} cannot compare {named(key.name)}; "
            f"expected one of {', '.join(fitting)}"
        )


def _check_quantity(qualifier: str, key: ConditionKey, if_exists: bool, place: str) -> None:
    if key.many and not qualifier:
        raise DocumentError(
            f"{place}: it has many values; expected ForAllValues: or ForAnyValue: "
            "before the operator"
        )
    if qualifier == "ForAllValues" and not key.every:
        raise DocumentError(
            f"{place}: ForAllValues holds for a request without it, and it has one value only; "
            "leave it out"
        )
    if qualifier == "ForAnyValue" and if_exists:
        raise DocumentError(
            f"{place}: what ForAnyValue with IfExists says of a request without it is not "
            "documented; write two statements, one with Null"
        )


def _values(place: str, raw: object) -> list[str]:
    """The policy's values as text; numbers and truth values may stand there without quotes."""
    values: list[str] = []
    for each in listed_at(place, raw):
        if isinstance(each, bool):
            values.append("true" if each else "false")
        elif isinstance(each, str):
            values.append(str(each))
        else:
            raise DocumentError(
                f"{place}: expected texts, numbers or truth values, found {shown(each)}"
            )
    return values


def _flag(place: str, value: str) -> bool:
    if value.lower() not in ("true", "false"):
        raise DocumentError(f"{place}: expected true or false, found {shown(value)}")
    return value.lower() == "true"
