import contextlib
import json
from datetime import timedelta
from pathlib import Path

import jsonschema
import msgspec
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from assay.controls import ProgrammeError, load_programme, programme_schema
from assay.keys import (
    MOST_AGE,
    MOST_MESSAGES,
    MOST_NONCE_PREFIXES,
    ClassRotation,
    RotationPolicy,
)

GOOD = """\
organisation: Metal
keys: env:METAL_KEYS
log: {store: data/assay, signer: env:METAL_LOG, origin: metal.example/assay}
assets:
  - {id: app-db, kind: datastore, url: env:DATABASE_URL, models: metal.models:Base}
  - {id: uploads, kind: bucket, url: file:data/uploads, index: metal.uploads:objects}
  - {id: api, kind: endpoint, url: "https://localhost:8443", ca: data/ca.pem}
  - {id: app, kind: application, plant: metal.canaries:plant, stores: [app-db], logs: [data/logs]}
  - {id: code, kind: repository, path: .}
promises: all
"""


@pytest.fixture
def load(tmp_path):
    def loaded(text):
        path = tmp_path / "assay.yaml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return load_programme(path)

    return loaded


def test_a_good_programme_loads(load):
    programme = load(GOOD)
    assert programme.organisation == "Metal"
    assert [asset.id for asset in programme.assets] == ["app-db", "uploads", "api", "app", "code"]
    assert programme.assets[0].holds == "customer-data"


def test_keys_and_the_file_itself_are_assets_that_cannot_be_forgotten(load):
    derived = load(GOOD).in_scope("assay.yaml")[5:]
    assert [(asset.id, asset.location()) for asset in derived] == [
        ("kek", "env:METAL_KEYS"), ("log-key", "env:METAL_LOG"), ("programme", "assay.yaml"),
    ]  # fmt: skip


def test_keks_before_this_one_are_assets_while_they_are_named(load):
    derived = load(f"{GOOD}former_keys: [env:OLD, env:OLDER]\n").in_scope("assay.yaml")[5:]
    assert [(asset.id, asset.location(), asset.purpose) for asset in derived[:3]] == [
        ("kek", "env:METAL_KEYS", "encryption"),
        ("former-kek-1", "env:OLD", "encryption"),
        ("former-kek-2", "env:OLDER", "encryption"),
    ]


def test_rotation_is_that_of_the_key_room_unless_told(load):
    assert load(GOOD).key_rotation.policy() == RotationPolicy()
    told = "key_rotation: {rows: {age_days: 90, messages: 1000}, indexes: {age_days: 30}}\n"
    policy = load(GOOD + told).key_rotation.policy()
    assert policy.rows == ClassRotation(timedelta(days=90), 1000)
    assert policy.indexes == ClassRotation(timedelta(days=30), None, None)
    assert policy.objects == policy.files == ClassRotation()


@pytest.mark.parametrize("name", ["rows", "objects", "files", "indexes"])
def test_the_highest_numbers_of_the_file_are_those_of_the_key_room(load, name):
    highest = {"age_days": MOST_AGE.days}
    if name != "indexes":
        highest |= {"messages": MOST_MESSAGES, "nonce_prefixes": MOST_NONCE_PREFIXES}
    load(GOOD + yaml.safe_dump({"key_rotation": {name: highest}})).key_rotation.policy()
    for field, value in highest.items():
        with pytest.raises(ProgrammeError):
            load(GOOD + yaml.safe_dump({"key_rotation": {name: {field: value + 1}}}))


@pytest.mark.parametrize(
    ("old", "new", "line", "message"),
    [
        ("organisation: Metal", "organisation: [", 3, "expected YAML"),
        ("organisation: Metal", "organisation: 7", 1, "expected str, found int"),
        ("organisation: Metal", "organization: Metal", 1, "did you mean organisation?"),
        ("organisation: Metal\n", "", 1, "expected the field organisation, found none"),
        ("organisation: Metal", "organisation: A\norganisation: B", 2, "each key once"),
        ("organisation: Metal", "organisation: &a Metal", 1, "anchor or alias"),
        ("organisation: Metal", "organisation: !!python/name:os.system x", 1, "plain YAML"),
        ("organisation: Metal", "7: Metal", 1, "a name as the key"),
        ("origin: metal.example/assay", "origin: Metal Inc", 3, "found 'Metal Inc'"),
        ("models:", "modles:", 5, "did you mean models?"),
        ("kind: bucket", "kind: buckett", 6, "expected a kind of asset"),
        ("id: uploads", "id: app-db", 6, "found app-db again (first on line 5)"),
        ("id: uploads", "id: kek", 6, "names an asset of Assay's own"),
        ("id: uploads", "id: My Bucket", 6, "found 'My Bucket'"),
        ("stores: [app-db]", "stores: [app-bd]", 8, "found app-bd"),
        ("stores: [app-db]", "stores: []", 8, "length >= 1"),
        ("url: env:DATABASE_URL", "url: postgresql://a:hunter2@db/x", 5, "no secret in this file"),
        ("keys: env:METAL_KEYS", "keys: pkcs11:token=a?pin-value=1234", 2, "no secret in this file"),
        ("promises: all", "promises: [hsts, hsts]", 10, "each promise once"),
        ("promises: all", "promises: [hsts, hstss]", 10, "found hstss"),
        ("promises: all", "promises: [{id: x, sentence: S, controls: [nope]}]", 10, "found nope"),
        ("promises: all", "promises: [{id: hsts, sentence: S, controls: [tls-floor]}]", 10, "of its own"),
        ("promises: all", "promises: everything", 10, "expected"),
        ("promises: all", "promises: []", 10, "length >= 1"),
        ("promises: all", "promises: all\nfresh_for_hours: 0", 11, ">= 1"),
        ("promises: all", "promises: all\nexceptions: x.yaml", 11, "found exceptions"),
        ("promises: all", "promises: all\nkey_rotation: {row: {}}", 11, "did you mean rows?"),
        ("promises: all", "promises: all\nkey_rotation: {rows: {age_days: 0}}", 11, ">= 1"),
        ("promises: all", "promises: all\nkey_rotation: {rows: {age_days: 731}}", 11, "<= 730"),
        ("promises: all", "promises: all\nkey_rotation: {files: {messages: 0}}", 11, ">= 1"),
        ("promises: all", "promises: all\nkey_rotation: {rows: {nonce_prefixes: 4294967297}}", 11, "<= 4294967296"),
        ("promises: all", "promises: all\nkey_rotation: {indexes: {messages: 9}}", 11, "found messages"),
        ("promises: all", "promises: all\nformer_keys: env:OLD", 11, "expected"),
        ("promises: all", "promises: all\nformer_keys: ['pkcs11:token=a?pin-value=1234']", 11, "no secret in this file"),
        ("id: uploads", "id: former-kek-1", 6, "names an asset of Assay's own"),
    ],
)  # fmt: skip
def test_each_mistake_is_named_with_its_line(load, old, new, line, message):
    assert old in GOOD
    with pytest.raises(ProgrammeError) as caught:
        load(GOOD.replace(old, new, 1))
    assert message in str(caught.value)
    assert caught.value.line == line
    assert "hunter2" not in str(caught.value)
    assert "1234" not in str(caught.value)


@pytest.mark.parametrize(
    "text", ["", "# only a comment\n", "- a\n", "a", b"\xff\xfe", "\x00", "[" * 5000]
)
def test_what_is_no_programme_at_all_is_refused(load, text):
    with pytest.raises(ProgrammeError):
        load(text)


def test_a_missing_file_names_the_command_that_makes_one(tmp_path):
    with pytest.raises(ProgrammeError, match="assay init"):
        load_programme(tmp_path / "assay.yaml")
    with pytest.raises(ProgrammeError, match="readable"):
        load_programme(tmp_path)


@given(st.text(max_size=200) | st.binary(max_size=200))
def test_any_text_is_a_programme_or_a_programme_error(load, text):
    with contextlib.suppress(ProgrammeError):
        load(text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text)


def test_published_schema_is_current_and_agrees(repository: Path, load):
    published = (repository / "spec" / "programme.schema.json").read_bytes()
    assert published == programme_schema(), "run `make schema`"
    schema = json.loads(published)
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    good = yaml.safe_load(GOOD)
    assert not list(validator.iter_errors(good))
    for path, value in [
        (("organisation",), 7), (("assets", 0, "kind"), "x"), (("assets", 0, "modles"), "a:b"),
        (("log", "origin"), "Metal Inc"), (("promises",), "everything"),
    ]:  # fmt: skip
        bad = json.loads(msgspec.json.encode(good))
        target = bad
        for step in path[:-1]:
            target = target[step]
        target[path[-1]] = value
        assert list(validator.iter_errors(bad)), path
