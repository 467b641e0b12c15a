"""One session on a token: keys are made, found, used and looked at.

Example:
    >>> session.create(KeySelector("kek", None, KeyType.AES), AES_256)     # doctest: +SKIP
    >>> sealed = session.encrypt(key, nonce, b"data", b"associated")       # doctest: +SKIP
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import Any

import pkcs11
from pkcs11 import MGF, Attribute, KeyType, Mechanism, MechanismFlag, ObjectClass

from assay.keys.errors import KeyExistsError, KeyNotFoundError, TokenError
from assay.keys.pkcs11.answers import named_errors
from assay.keys.pkcs11_uri import KeySelector
from assay.keys.service import KeyOrigin
from assay.keys.token_keys import KeyKind, SigningMechanism

ATTRIBUTES = (
    "ALWAYS_SENSITIVE", "COPYABLE", "DECRYPT", "DERIVE", "DESTROYABLE", "ENCRYPT", "EXTRACTABLE",
    "LOCAL", "MODIFIABLE", "NEVER_EXTRACTABLE", "PRIVATE", "SENSITIVE", "SIGN", "TOKEN", "UNWRAP",
    "VERIFY", "WRAP",
)  # fmt: skip
"""The boolean attributes (CKA_...) that say what a key is and may."""

HANDLES_KEPT = 10_000
"""How many handles a session remembers; to find one costs a search of the token."""

_GUARDED: Mapping[Attribute, bool] = {Attribute.SENSITIVE: True, Attribute.EXTRACTABLE: False}
_EXPORTABLE: Mapping[Attribute, bool] = {Attribute.SENSITIVE: False, Attribute.EXTRACTABLE: True}
# Not every token knows these two (they came with PKCS#11 2.40), so they are given up in turn.
_FROZEN: tuple[Mapping[Attribute, bool], ...] = (
    {Attribute.MODIFIABLE: False, Attribute.COPYABLE: False},
    {Attribute.MODIFIABLE: False},
    {},
)
_TEMPLATE_REFUSED = (
    pkcs11.AttributeTypeInvalid, pkcs11.AttributeValueInvalid, pkcs11.AttributeReadOnly,
    pkcs11.TemplateInconsistent, pkcs11.DomainParamsInvalid,
)  # fmt: skip
# What the public half of a pair may, so that the private half may what its kind says.
_OPPOSITE = {"SIGN": MechanismFlag.VERIFY, "DECRYPT": MechanismFlag.ENCRYPT}
_OAEP_HASHES = {"SHA_1": (Mechanism.SHA_1, MGF.SHA1), "SHA_256": (Mechanism.SHA256, MGF.SHA256)}
_KEY_CLASSES = (ObjectClass.SECRET_KEY, ObjectClass.PRIVATE_KEY, ObjectClass.PUBLIC_KEY)


class Session:
    """One session, logged in. Key handles are looked up once: they end with the session."""

    def __init__(self, session: Any) -> None:
        self._session = session
        self._handles: dict[tuple[KeySelector, bool], Any] = {}
        self._probes: dict[KeySelector, tuple[bytes, bytes]] = {}

    def close(self) -> None:
        """Close, and log out when this session logged in."""
        with named_errors("close a session"):
            self._session.close()

    def random(self, size_bytes: int) -> bytes:
        """Random bytes of the token's own generator (C_GenerateRandom)."""
        with named_errors("give random bytes"):
            return bytes(self._session.generate_random(size_bytes * 8))

    def encrypt(self, key: KeySelector, nonce: bytes, data: bytes, associated: bytes) -> bytes:
        """AES-GCM (CKM_AES_GCM): ciphertext and tag, 16 bytes longer than the data."""
        with named_errors("encrypt"):
            return self._use(key, "encrypt", data, **_gcm(nonce, associated))

    def decrypt(self, key: KeySelector, nonce: bytes, sealed: bytes, associated: bytes) -> bytes:
        """Open what `encrypt` made."""
        with named_errors("decrypt"):
            return self._use(key, "decrypt", sealed, **_gcm(nonce, associated))

    def decrypt_oaep(self, key: KeySelector, hash_name: str, ciphertext: bytes) -> bytes:
        """RSAES-OAEP (CKM_RSA_PKCS_OAEP) with one hash for message and mask, without a label."""
        hashed = (*_OAEP_HASHES[hash_name], None)
        with named_errors(f"decrypt by RSAES-OAEP with {hash_name}"):
            options = {"mechanism": Mechanism.RSA_PKCS_OAEP, "mechanism_param": hashed}
            return self._use(key, "decrypt", ciphertext, **options)

    def sign(self, key: KeySelector, mechanism: SigningMechanism, data: bytes) -> bytes:
        """A signature or a MAC, as the mechanism gives it."""
        options: dict[str, Any] = {"mechanism": Mechanism[mechanism.name]}
        if mechanism.pss_hash:
            hashed = Mechanism[mechanism.pss_hash], MGF[mechanism.pss_hash]
            options["mechanism_param"] = (*hashed, mechanism.salt_bytes)
        with named_errors(f"sign by {mechanism.name}"):
            return self._use(key, "sign", data, **options)

    def check_that_it_opens(self, key: KeySelector) -> None:
        """Open what this session sealed itself, so that a token in trouble raises.

        It is sealed once for a session and key: who sends what does not open uses up no nonces.
        """
        if key not in self._probes:
            nonce = self.random(12)
            self._probes[key] = nonce, self.encrypt(key, nonce, b"", b"probe")
        nonce, sealed = self._probes[key]
        self.decrypt(key, nonce, sealed, b"probe")

    def public_attributes(self, key: KeySelector, *names: str) -> tuple[bytes, ...]:
        """Attributes of the public half, by name (MODULUS, EC_POINT, ...), as the token has them.

        They are read anew each time, in one call of the token each.
        """
        with named_errors("give the public key"):
            half = self._find(key, public=True)
            return tuple(bytes(half[Attribute[name]]) for name in names)

    def count(self, key: KeySelector) -> int:
        """How many keys answer to the selector."""
        with named_errors("look for a key"):
            return len(self._search(_template(key)))

    def create(
        self, key: KeySelector, kind: KeyKind, *, exportable: bool = False, store: bool = True
    ) -> None:
        """Generate a key inside the token, and be the only one who has a key of that name.

        Args:
            key: its label and id; without an id, a random one.
            kind: its kind.
            exportable: make a key that can leave, for drills that must catch it.
            store: keep it (CKA_TOKEN); else it ends with the session.

        Raises:
            KeyExistsError: a key answers to that name.
        """
        if self.count(key):
            raise KeyExistsError(
                f"expected no key {key.name()!r} on the token, found one; it was not overwritten"
            )
        made = self._generate(key, kind, exportable=exportable, store=store)
        if self.count(key) != 1:
            with named_errors("destroy a key"):
                for half in made:
                    half.destroy()
            raise KeyExistsError(
                f"expected to be the only one who makes the key {key.name()!r}, "
                "found another made in the same moment; it was not overwritten"
            )

    def create_by_id(self, key_id: bytes, label: str, kind: KeyKind) -> None:
        """Generate a key under a random id, so that nobody needs to look for another such key."""
        found = KeySelector(None, key_id, kind.key_type)
        made = self._generate(KeySelector(label, key_id, kind.key_type), kind)
        for public, half in zip((True, False) if len(made) == 2 else (False,), made, strict=True):
            self._keep(found, half, public=public)

    def _generate(
        self, key: KeySelector, kind: KeyKind, *, exportable: bool = False, store: bool = True
    ) -> tuple[Any, ...]:
        generate = self._generate_pair if kind.key_type.paired else self._generate_secret
        freedom = _EXPORTABLE if exportable else _GUARDED
        options: dict[str, Any] = {
            "label": key.label, "id": key.id or self.random(8), "store": store,
            "mechanism": Mechanism[kind.generation],
        }  # fmt: skip
        with named_errors(f"generate a key of the type {kind.key_type}"):
            made: tuple[Any, ...] = _first_accepted(
                lambda frozen: generate(kind, {**freedom, **frozen}, options),
                ({},) if exportable else _FROZEN,
            )
            return made

    def _generate_secret(
        self, kind: KeyKind, template: Mapping[Attribute, bool], options: dict[str, Any]
    ) -> tuple[Any, ...]:
        made = self._session.generate_key(
            KeyType[kind.key_type], kind.size_bits, capabilities=_capabilities(kind),
            template=template, **options,
        )  # fmt: skip
        return (made,)

    def _generate_pair(
        self, kind: KeyKind, template: Mapping[Attribute, bool], options: dict[str, Any]
    ) -> tuple[Any, ...]:
        def generate(curve: bytes | None) -> Any:
            # Whoever reaches a public half may change it, without a PIN, unless it is frozen too.
            public: dict[Attribute, Any] = {Attribute.PRIVATE: False}
            public |= {name: value for name, value in template.items() if name in _FROZEN[0]}
            if curve is not None:
                public[Attribute.EC_PARAMS] = curve
            return self._session.generate_keypair(
                KeyType[kind.key_type], kind.size_bits or None, capabilities=_capabilities(kind),
                public_template=public, private_template=template, **options,
            )  # fmt: skip

        made: tuple[Any, ...] = _first_accepted(generate, kind.curves or (None,))
        return made

    def destroy(self, key: KeySelector) -> None:
        """Destroy a key, and its public half."""
        self._handles.clear()  # the same key may be known by its label, and by its id
        self._probes.clear()
        self._destroy(_template(key, public=public) for public in _halves(key))

    def destroy_by_id(self, key_id: bytes) -> None:
        """Destroy every key with this id: of whatever type, and both halves."""
        for key in {key for key, _ in self._handles if key.id in {key_id, None}}:
            self._forget(key)
        self._destroy({Attribute.CLASS: each, Attribute.ID: key_id} for each in _KEY_CLASSES)

    def _destroy(self, templates: Iterable[Mapping[Attribute, Any]]) -> None:
        for template in templates:
            with named_errors("destroy a key"):
                for found in self._search(template):
                    with suppress(pkcs11.ObjectHandleInvalid):  # another was faster
                        found.destroy()

    def labels(self) -> dict[bytes, str]:
        """CKA_ID -> CKA_LABEL of every key that has both."""
        labels: dict[bytes, str] = {}
        with named_errors("list its keys"):
            for each in _KEY_CLASSES:
                for found in self._search({Attribute.CLASS: each}):
                    key_id = _attribute(found, Attribute.ID)
                    label = _attribute(found, Attribute.LABEL)
                    if key_id and label is not None:
                        labels[bytes(key_id)] = label
        return labels

    def attributes(self, key: KeySelector) -> dict[str, bool | None]:
        """What the token says that a key is and may, by `ATTRIBUTES`; None where it is silent."""
        with named_errors("describe a key"):
            handle = self._find(key)
            return {name: _flag(handle, Attribute[name]) for name in ATTRIBUTES}

    def origin(self, key: KeySelector) -> KeyOrigin:
        """Where the token says that a key was made (CKA_LOCAL, CKA_KEY_GEN_MECHANISM)."""
        with named_errors("describe a key"):
            handle = self._find(key)
            mechanism = _attribute(handle, Attribute.KEY_GEN_MECHANISM)
            return KeyOrigin(_flag(handle, Attribute.LOCAL), getattr(mechanism, "name", None))

    def read_material(self, key: KeySelector, name: str) -> int:
        """Try to read material (CKA_VALUE, ...); how many bytes came, never which."""
        with named_errors("give a key away"):
            return len(bytes(self._find(key)[Attribute[name]]))

    def change(self, key: KeySelector, name: str, value: bool) -> bool | None:
        """Try to set an attribute (C_SetAttributeValue); what it is afterwards."""
        with named_errors("change a key"):
            handle = self._find(key)
            handle[Attribute[name]] = value
            return _flag(handle, Attribute[name])

    def copy(self, key: KeySelector, name: str, value: bool) -> bool | None:
        """Try to copy with another attribute (C_CopyObject); what it is in the copy."""
        with named_errors("copy a key"):
            copy = self._find(key).copy({Attribute[name]: value, Attribute.TOKEN: False})
            try:
                return _flag(copy, Attribute[name])
            finally:
                copy.destroy()

    def wrap(self, key: KeySelector, mechanism: str, wrapping: KeySelector) -> int:
        """Try to wrap a key under another (C_WrapKey); how many bytes came, never which."""
        with named_errors("wrap a key"):
            handle = self._find(wrapping)
            return len(handle.wrap_key(self._find(key), mechanism=Mechanism[mechanism]))

    def create_wrapping_key(self, key: KeySelector) -> None:
        """Generate an AES-256 key for the session that may wrap others."""
        with named_errors("make a wrapping key"):
            self._session.generate_key(
                KeyType.AES, 256, label=key.label, store=False, capabilities=MechanismFlag.WRAP
            )

    def _use(self, key: KeySelector, use: str, data: bytes, **options: Any) -> bytes:
        method = getattr(self._find(key), use, None)
        if method is None:  # python-pkcs11 gives a key the methods that its attributes allow
            self._handles.pop((key, False), None)
            raise TokenError(use, "KeyFunctionNotPermitted")
        return bytes(method(data, **options))

    def _search(self, template: Mapping[Attribute, Any]) -> list[Any]:
        # A search that cannot begin is also reported by python-pkcs11 0.10 when it is collected,
        # where nobody can catch it; so a session that is void is noticed before.
        self._session.generate_random(8)
        return list(self._session.get_objects(template))

    def _find(self, key: KeySelector, *, public: bool = False) -> Any:
        handle = self._handles.get((key, public))
        if handle is None:
            found = self._search(_template(key, public=public))
            if len(found) != 1:
                raise KeyNotFoundError(
                    f"expected one {key.key_type.spoken} key {key.name()!r} on the token, found "
                    f"{len(found)}; create it, or name it more closely (id=)"
                )
            handle = self._keep(key, found[0], public=public)
        return handle

    def _keep(self, key: KeySelector, handle: Any, *, public: bool) -> Any:
        if len(self._handles) >= HANDLES_KEPT:
            self._forget(next(iter(self._handles))[0])
        self._handles[key, public] = handle
        return handle

    def _forget(self, key: KeySelector) -> None:
        for public in (False, True):
            self._handles.pop((key, public), None)
        self._probes.pop(key, None)


def _halves(key: KeySelector) -> tuple[bool, ...]:
    return (True, False) if key.key_type.paired else (False,)


def _template(key: KeySelector, *, public: bool = False) -> dict[Attribute, Any]:
    half = ObjectClass.PUBLIC_KEY if public else ObjectClass.PRIVATE_KEY
    template: dict[Attribute, Any] = {
        Attribute.CLASS: half if key.key_type.paired else ObjectClass.SECRET_KEY,
        Attribute.KEY_TYPE: KeyType[key.key_type],
    }
    if key.label is not None:
        template[Attribute.LABEL] = key.label
    if key.id is not None:
        template[Attribute.ID] = key.id
    return template


def _capabilities(kind: KeyKind) -> MechanismFlag:
    flags = MechanismFlag(0)
    for use in kind.uses:
        flags |= MechanismFlag[use]
        if kind.key_type.paired:
            flags |= _OPPOSITE[use]
    return flags


def _gcm(nonce: bytes, associated: bytes) -> dict[str, Any]:
    parameters = pkcs11.GCMParams(nonce, associated, 128)
    return {"mechanism": Mechanism.AES_GCM, "mechanism_param": parameters}


def _flag(handle: Any, attribute: Attribute) -> bool | None:
    value = _attribute(handle, attribute)
    return None if value is None else bool(value)


def _attribute(handle: Any, attribute: Attribute) -> Any:
    try:
        return handle[attribute]
    except (pkcs11.AttributeTypeInvalid, pkcs11.AttributeSensitive, pkcs11.FunctionFailed):
        return None
    except ValueError:
        return None  # a vendor's own mechanism number, which python-pkcs11 has no name for


def _first_accepted(attempt: Callable[[Any], Any], choices: tuple[Any, ...]) -> Any:
    """The outcome of the first choice whose template the token accepts."""
    for choice in choices[:-1]:
        try:
            return attempt(choice)
        except _TEMPLATE_REFUSED:
            continue
    return attempt(choices[-1])
