"""Assay keeps a company's security and privacy promises, and proves it.

Each room is imported on its own, so that sealing a model needs no scanner and verifying a bundle
needs no database::

    from assay.encryption.sqlalchemy import Sealed, bind, sealed     # seal a model
    from assay.keys import Keyring, open_key_service                 # its keys
    from assay.evidence import verify_bundle                         # verify, offline

The command line is ``assay``; see ``docs/``.
"""
