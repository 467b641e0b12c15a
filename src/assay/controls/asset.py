"""Assets: the things in scope, as the programme file declares them.

Each kind is a struct; the field ``kind`` says which. `Key` and `ProgrammeFile` assets are not
written down by hand: they follow from the programme's ``keys`` and ``log`` entries, so that no
programme can forget them.

Example:
    >>> Endpoint(id="api", url="https://example.com").facets()
    {}
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from assay.core import Fidelity

AssetId = Annotated[
    str,
    Meta(
        pattern=r"^[a-z0-9][a-z0-9-]{0,62}$",
        description="A name of one's own: lower-case letters, digits and hyphens.",
    ),
]
Holds = Annotated[
    Literal["customer-data", "no-customer-data"],
    Meta(description="Whether customer data is stored there; customer-data unless told."),
]
Location = Annotated[
    str,
    Meta(min_length=1, description="A URL or path, or a reference to one (env:NAME)."),
]


class _Declared(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    id: AssetId
    fidelity: Annotated[
        Fidelity,
        Meta(description="live unless this asset is a stand-in (emulated) or test data (fixture)."),
    ] = Fidelity.LIVE

    def facets(self) -> Mapping[str, str]:
        """Properties by which a control may narrow the assets that it applies to."""
        return {}

    def location(self) -> str:
        """Where it is, in the words of the programme file; never a resolved reference."""
        raise NotImplementedError


class Datastore(_Declared, frozen=True, kw_only=True, tag_field="kind", tag="datastore"):
    """A relational database.

    Attributes:
        url: an SQLAlchemy URL, or a reference to one; a URL with a password must be a reference.
        models: ``module:name`` of the declarative base whose models live there.
        key_table: the database of the wrapped data keys, when it is another one.
        holds: whether customer data is stored there.
    """

    url: Location
    models: Annotated[str, Meta(pattern=r"^[\w.]+:\w+$", description="module:Base")]
    key_table: Location | None = None
    holds: Holds = "customer-data"

    def facets(self) -> Mapping[str, str]:
        """What it holds; `assay.controls.scope` adds whether it is reached over a network."""
        return {"holds": self.holds}

    def location(self) -> str:
        """The URL or reference, as it stands in the programme file."""
        return self.url


class Bucket(_Declared, frozen=True, kw_only=True, tag_field="kind", tag="bucket"):
    """A place for objects.

    Attributes:
        url: ``file:PATH`` of a folder, relative to the programme file.
        index: ``module:name`` of a function that lists the objects which the application stores.
        store: the id of the datastore whose key table seals the objects.
        holds: whether customer data is stored there.
    """

    url: Location
    index: Annotated[str, Meta(pattern=r"^[\w.]+:\w+$", description="module:function")]
    store: AssetId | None = None
    holds: Holds = "customer-data"

    def facets(self) -> Mapping[str, str]:
        """What it holds."""
        return {"holds": self.holds}

    def location(self) -> str:
        """The URL or reference, as it stands in the programme file."""
        return self.url


class Endpoint(_Declared, frozen=True, kw_only=True, tag_field="kind", tag="endpoint"):
    """A server that clients reach over HTTPS.

    Attributes:
        url: its ``https://`` URL, or a reference to it.
        http: the plain ``http://`` URL that must redirect; port 80 of the same host unless told.
        ca: the file of the certificate authority that clients trust; the system's unless told.
    """

    url: Location
    http: Location | None = None
    ca: Location | None = None

    def location(self) -> str:
        """The URL or reference, as it stands in the programme file."""
        return self.url


class Repository(_Declared, frozen=True, kw_only=True, tag_field="kind", tag="repository"):
    """A folder of source code.

    Attributes:
        path: the folder, relative to the programme file.
        exclude: folders below it that are not the company's code, each with its reason.
    """

    path: Location
    exclude: Mapping[str, str] = msgspec.field(default_factory=dict)

    def location(self) -> str:
        """The path, as it stands in the programme file."""
        return self.path


class Application(_Declared, frozen=True, kw_only=True, tag_field="kind", tag="application"):
    """A running application that writes into stores and logs.

    Attributes:
        plant: ``module:name`` of a function that writes given values through its own write path.
        stores: ids of the datastores and buckets that it writes to.
        logs: folders of its logs, relative to the programme file.
    """

    plant: Annotated[str, Meta(pattern=r"^[\w.]+:\w+$", description="module:function")]
    stores: Annotated[tuple[AssetId, ...], Meta(min_length=1)]
    logs: Annotated[tuple[Location, ...], Meta(min_length=1)]

    def location(self) -> str:
        """The function that stands for its write path."""
        return self.plant


class Key(_Declared, frozen=True, kw_only=True, tag_field="kind", tag="key"):
    """A key in a key service; follows from the programme's ``keys`` and ``log``.

    Attributes:
        uri: the key's URI, or a reference to it.
        purpose: ``encryption`` for a KEK, ``signing`` for the log's key.
    """

    uri: Location
    purpose: Literal["encryption", "signing"]

    def facets(self) -> Mapping[str, str]:
        """What it is for."""
        return {"purpose": self.purpose}

    def location(self) -> str:
        """The URI or reference, as it stands in the programme file."""
        return self.uri


class ProgrammeFile(_Declared, frozen=True, kw_only=True, tag_field="kind", tag="programme"):
    """The programme itself, as a thing that can be incomplete.

    Attributes:
        path: the programme file's name.
    """

    path: str

    def location(self) -> str:
        """The programme file's name."""
        return self.path


DeclaredAsset = Datastore | Bucket | Endpoint | Repository | Application
Asset = DeclaredAsset | Key | ProgrammeFile

KINDS = ("datastore", "bucket", "endpoint", "repository", "application", "key", "programme")


def kind_of(asset: Asset) -> str:
    """The kind of an asset, as the catalogue and the programme file name it."""
    return str(asset.__struct_config__.tag)
