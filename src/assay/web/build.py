"""Writing the page: first everything, then all at once.

Example:
    >>> build_trust_page(page, Path("trust"))[0]                 # doctest: +SKIP
    PosixPath('trust/index.html')
"""

from __future__ import annotations

from pathlib import Path

from assay.web.folder import replace_folder
from assay.web.jinja import render_index, template_file
from assay.web.page import TrustPage, refuse_contradictions


def build_trust_page(page: TrustPage, directory: Path) -> tuple[Path, ...]:
    """Write a trust page into a folder, or leave the folder as it was.

    The folder holds ``index.html``, ``style.css``, ``icon.svg``, ``checkpoint``, ``log.vkey`` and
    for each statement that a card rests on ``proofs/<index>.dsse.json``,
    ``proofs/<index>.tlog-proof`` and ``proofs/<index>.observation.json``. It can be served as it
    is by anything that serves files.

    Args:
        page: what to show, made from a verified bundle.
        directory: the folder; missing, empty, or a trust page that this function wrote.

    Returns:
        the files of the page, ``index.html`` first.

    Raises:
        TrustPageError: the states, results and proofs do not fit together.
        FolderRefusedError: the folder holds something else.
        RendererError: Jinja2 is not installed.
        OSError: for example a full disk; the old page is untouched.
    """
    refuse_contradictions(page)
    return replace_folder(directory, _files(page))


def _files(page: TrustPage) -> dict[str, bytes]:
    files = {
        "index.html": render_index(page),
        "style.css": template_file("style.css"),
        "icon.svg": template_file("icon.svg"),
        "checkpoint": page.checkpoint.encode(),
        "log.vkey": f"{page.verifier_key.strip()}\n".encode(),
    }
    for index, proof in sorted(page.proofs.items()):
        files[f"proofs/{index}.dsse.json"] = proof.entry
        files[f"proofs/{index}.tlog-proof"] = proof.tlog_proof.encode()
        files[f"proofs/{index}.observation.json"] = proof.observation
    return files
