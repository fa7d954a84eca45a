"""What ``import fedtt`` offers, and what it does not drag in."""

import subprocess
import sys

import pytest

import fedtt


def test_the_face_is_small_sorted_and_there() -> None:
    assert list(fedtt.__all__) == sorted(fedtt.__all__)
    assert set(fedtt.__all__) <= set(dir(fedtt))
    assert all(getattr(fedtt, name) is not None for name in fedtt.__all__)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'nope'"):
        _ = fedtt.nope


def test_importing_it_is_light() -> None:
    check = (
        "import sys, fedtt; heavy = {'torch', 'transformers', 'peft', 'matplotlib', 'numpy'}"
        " & set(sys.modules); sys.exit(', '.join(heavy) or None)"
    )
    subprocess.run([sys.executable, "-c", check], check=True)
