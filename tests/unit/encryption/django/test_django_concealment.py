"""What errors show of values that were about to be sealed: in tracebacks, and on error pages."""

from __future__ import annotations

import traceback
from pathlib import Path

import pytest
from django.apps import apps
from django.core import mail
from django.db import IntegrityError, transaction
from django.db.models import Q
from django.test import Client, override_settings
from tests.sealed_shop.project import run_async

from assay.encryption.django import bind
from assay.keys import Keyring, KeysError, MemoryDataKeyTable, MemoryKeyService

CANARY = "quartz@obsidian.example"
HERE = str(Path(__file__).parents[3])
REPORTER = "assay.encryption.django.SealedExceptionReporter"


def customers():
    return apps.get_model("sealed_shop", "Customer").objects


class Broken(MemoryKeyService):
    """A key service that is down."""

    def generate_data_key(self, context):
        raise KeysError(f"the key service is down for {len(context)} names")


def given(**fields):
    return {"tenant_id": "north", "email": CANARY, **fields}


CASES = {
    "create": lambda: customers().create(**given()),
    "acreate": lambda: run_async(customers().acreate(**given())),
    "get_or_create": lambda: customers().get_or_create(id=None, defaults=given()),
    "aget_or_create": lambda: run_async(customers().aget_or_create(id=None, defaults=given())),
    "update_or_create": lambda: customers().update_or_create(id=None, defaults=given()),
    "bulk_create": lambda: customers().bulk_create([customers().model(**given(age=[CANARY]))]),
    "new": lambda: customers().model(**given(nothing=1)),
    "save": lambda: customers().model(**given()).save(),
    "filter": lambda: customers().filter(email=CANARY, notes=CANARY),
    "filter by another name": lambda: customers().filter(email=CANARY, nothing=CANARY),
    "filter of a queryset": lambda: customers().all().filter(**given(email__regex=CANARY)),
    "exclude": lambda: customers().exclude(email__startswith=CANARY),
    "Q": lambda: customers().filter(~Q(email=CANARY) & Q(notes=CANARY)),
    "get": lambda: customers().get(tenant_id="north", email=CANARY),
    "aget": lambda: run_async(customers().aget(tenant_id="north", email=CANARY)),
    "update": lambda: customers().update(email=CANARY),
    "in_bulk": lambda: customers().in_bulk([CANARY], field_name="email"),
}


@pytest.mark.parametrize("case", CASES)
def test_no_frame_shows_what_was_given(keyring, case):
    bind(Keyring(Broken(), MemoryDataKeyTable()))
    with pytest.raises(Exception) as caught, transaction.atomic():  # noqa: PT011 - whichever it is
        CASES[case]()
    bind(keyring)
    shown = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
    waiting, frames = [shown], []
    while waiting:
        each = waiting.pop()
        frames += each.stack
        waiting += [other for other in (each.__cause__, each.__context__) if other is not None]
    assert len(frames) > 1
    assert [f"{f.filename}:{f.lineno}" for f in frames if CANARY in str(f.locals)] == []
    assert CANARY not in f"{caught.value} {caught.value!r}"


def test_what_the_database_says_shows_no_value(keyring):
    customers().create(**given())
    with pytest.raises(IntegrityError) as caught, transaction.atomic():
        customers().create(**given())
    assert CANARY not in f"{caught.value} {caught.value.__cause__}"


def ask(accept="text/html"):
    posted = given(plan="f", notes=CANARY, extra=f'["{CANARY}"]')
    client = Client(raise_request_exception=False, headers={"accept": accept})
    client.cookies["messages"] = CANARY
    told = client.post(f"/broken/?q={CANARY}", posted, headers={"referer": f"/?q={CANARY}"})
    assert told.status_code == 500
    return told.content.decode()


@pytest.mark.parametrize("accept", ["text/html", "text/plain"])
def test_the_error_page_shows_names_and_types(keyring, accept):
    with override_settings(DEBUG=True):
        assert CANARY in ask(accept), "Django's own page shows it"
        with override_settings(DEFAULT_EXCEPTION_REPORTER=REPORTER):
            shown = ask(accept)
    assert CANARY not in shown
    assert "has no attribute" in shown
    assert "broken" in shown
    if accept == "text/html":
        assert "cleaned_data" in shown
        assert "builtins.dict" in shown


def test_the_mail_to_the_admins_shows_no_values(keyring):
    logging = {
        "version": 1,
        "handlers": {
            "mail": {"class": "django.utils.log.AdminEmailHandler", "include_html": True},
        },
        "loggers": {"django.request": {"handlers": ["mail"], "level": "ERROR", "propagate": False}},
    }
    import logging as standard
    from logging.config import dictConfig

    logger = standard.getLogger("django.request")
    before = list(logger.handlers), logger.level
    with override_settings(
        ADMINS=[("Ada", "ada@example.com")],
        EMAIL_BACKEND="django.core.mail.backends.locmem.EmailBackend",
        DEFAULT_EXCEPTION_REPORTER=REPORTER,
    ):
        mail.outbox = []
        dictConfig({**logging, "disable_existing_loggers": False})
        try:
            ask()
        finally:
            logger.handlers[:], logger.level, logger.propagate = *before, True
        sent = list(mail.outbox)
    shown = [text for each in sent for text in (each.body, each.subject)]
    shown += [html for each in sent for html, _ in each.alternatives]
    assert any("builtins.dict" in text for text in shown), "a page with variables was sent"
    assert any("has no attribute" in text for text in shown)
    assert not [text for text in shown if CANARY in text]
