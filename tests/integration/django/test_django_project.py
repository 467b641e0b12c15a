"""`docs/django.md` from an empty folder: a project, its migrations, a live server, and the admin."""

from __future__ import annotations

import http.cookiejar
import os
import re
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

CANARY = "quartz@obsidian.example"
PASSWORD = "a password of the test"
START_SECONDS = 60


class Project:
    """A folder with a Django project, whose commands run in processes of their own."""

    def __init__(self, folder, page):
        self.folder = folder
        self._blocks = re.findall(
            r"^```(?:python|text|yaml)\n(.*?)^```$", page, re.MULTILINE | re.DOTALL
        )
        self.environment = {
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
            "HOME": str(folder),
            "ASSAY_PASSPHRASE": "a passphrase of the test",
            "DJANGO_SUPERUSER_PASSWORD": PASSWORD,
        }

    def block(self, start):
        """The block of the page that has a line which starts so."""
        line = re.compile(f"^{re.escape(start)}", re.MULTILINE)
        (found,) = [each for each in self._blocks if line.search(each)]
        return found

    def write(self, path, *parts):
        (self.folder / path).write_text("\n".join(parts))

    def run(self, *words):
        done = subprocess.run(
            words,
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def manage(self, *words):
        return self.run("python", "manage.py", *words)

    def migrations(self):
        return sorted(each.name for each in (self.folder / "shop/migrations").glob("0*.py"))

    def stored(self):
        """The database's files, by name."""
        return {each.name: each.read_bytes() for each in self.folder.glob("*.sqlite3*")}

    @contextmanager
    def server(self) -> Iterator[str]:
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            port = listener.getsockname()[1]
        command = ["python", "manage.py", "runserver", "--noreload", f"127.0.0.1:{port}"]
        with (self.folder / "server.log").open("w") as log:
            process = subprocess.Popen(
                command, cwd=self.folder, env=self.environment, stdout=log, stderr=log
            )
        try:
            self._await(process, port)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait(START_SECONDS)

    def _await(self, process, port):
        deadline = time.monotonic() + START_SECONDS
        while process.poll() is None and time.monotonic() < deadline:
            try:
                socket.create_connection(("127.0.0.1", port), 2).close()
            except OSError:
                time.sleep(0.05)
            else:
                return
        pytest.fail((self.folder / "server.log").read_text()[-2000:], pytrace=False)


class Visitor:
    """A browser without a window: cookies, and the token of a form."""

    def __init__(self, address):
        self._address = address
        self._cookies = http.cookiejar.CookieJar()
        self._opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPCookieProcessor(self._cookies)
        )

    def get(self, path):
        with self._opener.open(self._address + path, timeout=START_SECONDS) as answer:
            return answer.read().decode()

    def post(self, path, **fields):
        token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', self.get(path))[1]
        body = urllib.parse.urlencode({"csrfmiddlewaretoken": token, **fields}).encode()
        with self._opener.open(self._address + path, body, timeout=START_SECONDS) as answer:
            shown = answer.read().decode()
        assert "errornote" not in shown, re.findall(r"errorlist.*", shown)
        return shown


@pytest.fixture
def project(tmp_path, repository):
    made = Project(tmp_path, (repository / "docs" / "django.md").read_text())
    made.run("django-admin", "startproject", "store", ".")
    made.manage("startapp", "shop")
    made.write("shop/models.py", made.block("class Customer(Sealed"))
    made.write("shop/apps.py", made.block("class ShopConfig(AppConfig)"))
    made.write("shop/admin.py", made.block("@admin.register(Customer)"))
    settings = (tmp_path / "store/settings.py").read_text()
    installed = settings.replace("INSTALLED_APPS = [", "INSTALLED_APPS = [\n    'shop',")
    assert installed != settings
    made.write("store/settings.py", installed)
    made.write("assay.yaml", made.block("organisation:"))
    for line in made.block("$ export ASSAY_PASSPHRASE").splitlines()[1:]:
        made.run(*line.removeprefix("$ ").split())
    return made


def customer(visitor):
    """The path of the only customer in the admin."""
    found = set(re.findall(r'href="(/admin/shop/customer/[0-9a-f-]+/change/)', listing(visitor)))
    assert len(found) == 1
    return found.pop()


def listing(visitor, query=""):
    return visitor.get(f"/admin/shop/customer/{query}")


def test_from_an_empty_folder_to_a_row_that_was_changed_in_the_admin(project):
    project.manage("check", "--database", "default")
    project.manage("makemigrations", "shop")
    project.manage("migrate")
    assert "No changes" in project.manage("makemigrations", "--check")
    project.manage(
        "createsuperuser", "--noinput", "--username", "root", "--email", "root@shop.example"
    )
    given = {"id": "9e6ea1b0-6f4e-4d0c-9c77-4b8b0f2c1a55", "tenant_id": "north"}
    with project.server() as address:
        visitor = Visitor(address)
        visitor.post("/admin/login/?next=/admin/", username="root", password=PASSWORD)
        row = {**given, "email": CANARY, "name": "Ada Lovelace", "notes": "Prefers letters."}
        visitor.post("/admin/shop/customer/add/", **row)
        assert CANARY in visitor.get(customer(visitor))
        visitor.post(customer(visitor), **{**row, "notes": "Prefers telegrams."})
        assert "Prefers telegrams." in visitor.get(customer(visitor))
        assert CANARY in listing(visitor, f"?q={CANARY.upper()}")
        assert CANARY not in listing(visitor, "?q=nobody@obsidian.example")
        before = project.stored()
    assert b"north" in before["db.sqlite3"], "what is in the clear is found"
    for value in (CANARY, "Ada Lovelace", "Prefers letters.", "Prefers telegrams."):
        assert [name for name, held in before.items() if value.encode() in held] == []
        assert value.encode() not in (project.folder / "keys.db").read_bytes()

    add_a_field(project)
    with project.server() as address:
        visitor = Visitor(address)
        visitor.post("/admin/login/?next=/admin/", username="root", password=PASSWORD)
        assert CANARY in visitor.get(customer(visitor)), "another process opens the row"
        visitor.post(customer(visitor), **{**row, "phone": "555-0100-555"})
        assert "555-0100-555" in visitor.get(customer(visitor))
        assert CANARY in listing(visitor, "?q=555-0100-555")
    assert [name for name, held in project.stored().items() if b"555-0100-555" in held] == []


def add_a_field(project):
    """A second migration: one more sealed field, and its index."""
    models = (project.folder / "shop/models.py").read_text()
    line = 'phone = sealed(models.CharField(max_length=20, default=""), index=Equality(casefold))'
    project.write("shop/models.py", models.replace("    notes =", f"    {line}\n    notes ="))
    admin = (project.folder / "shop/admin.py").read_text()
    project.write("shop/admin.py", admin.replace("email__exact", 'email__exact", "phone__exact'))
    project.manage("makemigrations", "shop")
    second = (project.folder / "shop/migrations" / project.migrations()[1]).read_text()
    assert re.findall(r"migrations\.(\w+)\(", second) == ["AddField"]
    assert "name='phone_index'" in second
    project.manage("migrate")


def test_envelopes_of_older_migrations_learn_their_owner_without_sql(project):
    project.manage("makemigrations", "shop")
    (first,) = project.migrations()
    path = f"shop/migrations/{first}"
    written = (project.folder / path).read_text()
    older = re.sub(r"owner='tenant_id'(, )?", "", written)
    assert written.count("owner=") == 2
    assert "owner=" not in older
    project.write(path, older)
    project.manage("migrate")
    project.manage("makemigrations", "shop", "--name", "owner")
    second = (project.folder / "shop/migrations/0002_owner.py").read_text()
    assert re.findall(r"migrations\.(\w+)\(", second) == ["AlterField", "AlterField"]
    assert re.findall(r" name='(\w+)'", second) == ["sealed", "sealed_content"]
    told = project.manage("sqlmigrate", "shop", "0002")
    statements = [each for each in told.splitlines() if each and not each.startswith("--")]
    assert statements in ([], ["BEGIN;", "COMMIT;"])
    project.manage("migrate")
    assert "No changes" in project.manage("makemigrations", "--check")
