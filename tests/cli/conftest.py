"""The command line, called in this process."""

from collections.abc import Callable
from pathlib import Path

import pytest

from fedtt.cli import main

Command = Callable[..., str]


@pytest.fixture
def command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Command:
    """Run the command line in the test's folder; what it prints, or of bad input, its error."""

    def call(*arguments: object, code: int = 0) -> str:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr("sys.argv", ["fedtt", *map(str, arguments)])
        with pytest.raises(SystemExit) as caught:
            main()
        output = capsys.readouterr()
        assert (caught.value.code or 0) == code, output.err
        return output.err if code == 2 else output.out

    return call
