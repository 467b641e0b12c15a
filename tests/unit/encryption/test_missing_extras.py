"""An adapter without its vendor's package names the extra to install."""

import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    ("module", "missing", "extra"),
    [
        ("boto3", "botocore", "aws"),
        ("django", "django", "django"),
        ("mongodb", "pymongo", "mongodb"),
        ("mongodb", "bson", "mongodb"),
        ("pyarrow", "pyarrow", "parquet"),
    ],
)
def test_a_missing_package_is_named_with_its_extra(module: str, missing: str, extra: str) -> None:
    program = (
        f"import sys; sys.modules[{missing!r}] = None\n"
        f"try:\n    import assay.encryption.{module}\n"
        "except ModuleNotFoundError as error:\n    print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], check=False, capture_output=True, text=True
    )
    assert f"install assay[{extra}]" in done.stdout, done.stderr
