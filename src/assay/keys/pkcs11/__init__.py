"""PKCS#11 by python-pkcs11: the one package that speaks to it.

Standard: OASIS PKCS#11 3.0 (2.40 is enough). Three thin types, `Module`, `Token` and `Session`,
whose calls take and give plain values and raise `TokenError`. They know nothing of threads, forks
and shared logins: that is ``pkcs11_sharing``, the only one who may call them.

Least privilege: keys are made with the uses that their kind names and no other, SENSITIVE, not
EXTRACTABLE, and not MODIFIABLE and not COPYABLE where the token knows these.

Example:
    >>> module = Module("/usr/lib/softhsm/libsofthsm2.so")       # doctest: +SKIP
    >>> [token.selector.label for token in module.tokens()]      # doctest: +SKIP
    ['assay']
"""

from assay.keys.pkcs11.module import SOFTWARE_TOKENS, Module, Token
from assay.keys.pkcs11.session import ATTRIBUTES, Session

__all__ = ["ATTRIBUTES", "SOFTWARE_TOKENS", "Module", "Session", "Token"]
