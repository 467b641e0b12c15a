"""Metal, a small company that stores other companies' documents: Assay's reference company.

It is real: an API over HTTPS, tenants with keys, a database, a bucket, logs, an audit trail. Its
programme file is ``assay.yaml`` beside this package, and ``run.py`` runs it from end to end.

Example:
    >>> from metal.settings import Settings
    >>> Settings.from_environment({}).https_port
    8443
"""
