"""Disposable twins: small real stand-ins for a company's assets, on which checks are drilled.

Each twin lives in an empty temporary folder or on a free loopback port, and is gone when its
block ends. Nothing here is used outside drills.

Example:
    >>> with company(Path("/tmp/twin")) as twin:            # doctest: +SKIP
    ...     twin.context.engine(twin.datastore.url)
"""
