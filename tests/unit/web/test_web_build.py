from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest

import assay.web
from assay.core import AssayError
from assay.web import FolderRefusedError, TrustPageError, WebError, build_trust_page
from assay.web.folder import MARKER


def _bytes_of(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_the_folder_holds_the_page_and_its_proofs(sample: ModuleType, tmp_path: Path) -> None:
    page = sample.sample_page()
    target = tmp_path / "trust"
    written = build_trust_page(page, target)
    assert written[0] == target / "index.html"
    found = _bytes_of(target)
    assert {path.relative_to(target).as_posix() for path in written} == set(found) - {MARKER}
    assert found["checkpoint"] == page.checkpoint.encode()
    assert found["log.vkey"] == f"{page.verifier_key}\n".encode()
    for index, proof in page.proofs.items():
        assert found[f"proofs/{index}.dsse.json"] == proof.entry
        assert found[f"proofs/{index}.tlog-proof"] == proof.tlog_proof.encode()
        assert found[f"proofs/{index}.observation.json"] == proof.observation


def test_every_link_of_the_page_leads_to_a_file(sample: ModuleType, tmp_path: Path, parsed) -> None:
    target = tmp_path / "trust"
    build_trust_page(sample.sample_page(), target)
    for href in parsed((target / "index.html").read_bytes()).values("href"):
        if not href.startswith("#"):
            assert (target / href).is_file(), href


def test_two_builds_are_the_same_byte_for_byte(sample: ModuleType, tmp_path: Path) -> None:
    page = sample.sample_page()
    build_trust_page(page, tmp_path / "one")
    backwards = dict(sorted(page.proofs.items(), reverse=True))
    build_trust_page(replace(page, proofs=backwards), tmp_path / "other")
    assert _bytes_of(tmp_path / "one") == _bytes_of(tmp_path / "other")


def test_a_refused_page_leaves_the_old_one(sample: ModuleType, tmp_path: Path) -> None:
    target = tmp_path / "trust"
    build_trust_page(sample.kept_page(), target)
    before = _bytes_of(target)
    with pytest.raises(TrustPageError):
        build_trust_page(replace(sample.sample_page(), proofs={}), target)
    assert _bytes_of(target) == before


def test_a_newer_page_replaces_the_old_one(sample: ModuleType, tmp_path: Path) -> None:
    target = tmp_path / "trust"
    build_trust_page(sample.sample_page(), target)
    build_trust_page(sample.kept_page(), target)
    assert b"All 2 promises are kept." in (target / "index.html").read_bytes()
    assert len(list((target / "proofs").iterdir())) == 3 * len(sample.kept_page().proofs)


def test_somebodys_folder_is_refused(sample: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text("my own site")
    with pytest.raises(FolderRefusedError):
        build_trust_page(sample.sample_page(), tmp_path)
    assert _bytes_of(tmp_path) == {"index.html": b"my own site"}


def test_the_public_names() -> None:
    assert sorted(assay.web.__all__) == assay.web.__all__
    for name in assay.web.__all__:
        found = getattr(assay.web, name)
        if name.endswith("Error"):
            assert issubclass(found, WebError)
            assert issubclass(found, AssayError)
