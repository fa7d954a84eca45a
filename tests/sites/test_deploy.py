"""What docs/deploy.md and deploy/ tell people to type exists: commands, flags, files, units."""

import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from fnmatch import fnmatch
from itertools import pairwise
from pathlib import Path

import click
import pytest
import typer

from fedtt.cli.app import app
from fedtt.config import parse_config

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
GUIDE = (ROOT / "docs" / "deploy.md").read_text()
UNITS = sorted(DEPLOY.glob("*.service"))
FEDTT = "/opt/fedtt/bin/fedtt"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def joined(text: str) -> list[str]:
    """Lines, with those that end in a backslash continued; without comments."""
    lines = re.sub(r"\\\n\s*", " ", text).splitlines()
    return [line for line in lines if line.strip() and not line.lstrip().startswith("#")]


def blocks(kind: str) -> Iterator[str]:
    yield from re.findall(rf"^```{kind}\n(.*?)^```", GUIDE, flags=re.MULTILINE | re.DOTALL)


def fedtt_calls(line: str) -> Iterator[list[str]]:
    """Arguments of every call of fedtt in a line of shell, also within quotes and containers."""
    words = shlex.split(line, comments=True)
    for word in words:
        if " " in word:  # a script in quotes
            for part in re.split(r";|&&|\bthen\b|\belse\b", word):
                yield from fedtt_calls(part)
    places = [index for index, word in enumerate(words) if Path(word).name == "fedtt"]
    verbs = set(click_app().commands)
    for place in places:
        if place + 1 < len(words) and words[place + 1] in verbs:
            yield words[place + 1 :]


def click_app() -> click.Group:
    command = typer.main.get_command(app)
    assert isinstance(command, click.Group)
    return command


def unknown(arguments: list[str]) -> str | None:
    """What the command line would say of arguments that it does not know."""
    verb, *rest = arguments
    try:
        click_app().commands[verb].make_context(verb, rest)
    except click.UsageError as error:
        return error.message
    return None


def unit(path: Path) -> dict[str, list[str]]:
    """Every key of a unit with its values; all sections together."""
    keys: dict[str, list[str]] = {}
    for line in joined(path.read_text()):
        if not re.fullmatch(r"\[\w+\]", line):
            key, _, value = line.partition("=")
            keys.setdefault(key, []).append(value)
    return keys


CALLS = [
    *[call for block in blocks("sh") for line in joined(block) for call in fedtt_calls(line)],
    *[call for path in UNITS for line in unit(path)["ExecStart"] for call in fedtt_calls(line)],
]


@pytest.mark.parametrize("call", CALLS, ids=lambda call: " ".join(call)[:60])
def test_every_command_is_one(call: list[str]) -> None:
    assert unknown(call) is None


def test_commands_are_found_and_checked() -> None:
    assert {call[0] for call in CALLS} == {"keys", "serve", "join"}
    assert sum(call[0] == "serve" for call in CALLS) == 5  # two and a container; two in the unit
    assert unknown(["serve", "--adress", "x:1"]) is not None
    assert unknown(["join"]) is not None
    (call,) = fedtt_calls("docker run -v /etc/fedtt:/x --init fedtt join --server h:1 # this")
    assert call == ["join", "--server", "h:1"]


def test_the_configuration_of_the_guide_is_one() -> None:
    (block,) = blocks("toml")
    config = parse_config(tomllib.loads(block), where="docs/deploy.md")
    first = next(call for call in CALLS if call[0] == "keys")
    sites = [name for option, name in pairwise(first) if option == "--site"]
    assert config.sites.names == tuple(sites)


def test_every_file_of_ours_that_is_named_is_there() -> None:
    for name in re.findall(r"(?<![\w/])deploy/[\w.-]+", GUIDE):
        assert (ROOT / name.rstrip(".")).exists(), name


@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.name)
def test_a_unit_stops_cleanly_and_may_touch_little(path: Path) -> None:
    keys = unit(path)
    assert all(
        value.count("exec " + FEDTT) or value.startswith(FEDTT) for value in keys["ExecStart"]
    )
    assert keys["User"] == ["fedtt"]
    assert keys["KillSignal"] == ["SIGINT"]
    assert keys["SuccessExitStatus"] == ["130"]  # Ctrl-C, see fedtt.cli
    assert keys["RestartPreventExitStatus"] == ["2"]
    for key in ("NoNewPrivileges", "PrivateTmp", "ProtectHome", "RestrictNamespaces"):
        assert keys[key] == ["yes"]
    assert keys["ProtectSystem"] == ["strict"]
    assert keys["CapabilityBoundingSet"] == [""]
    assert any("NO_PROXY=localhost,127.0.0.1,::1" in value for value in keys["Environment"])


def test_the_server_starts_a_run_and_goes_on_with_it(tmp_path: Path) -> None:
    """What the unit's line of shell calls, with a fedtt that only says how it was called."""
    (line,) = unit(DEPLOY / "fedtt-serve.service")["ExecStart"]
    fake = tmp_path / "fedtt"
    fake.write_text('#!/bin/sh\necho "$@"\n')
    fake.chmod(0o755)
    command = shlex.split(line.replace(FEDTT, str(fake)))

    def said() -> str:
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    rest = "--address 0.0.0.0:9092 --keys /etc/fedtt/server"
    assert said() == f"serve /etc/fedtt/federation.toml --run run {rest}"
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.toml").touch()
    assert said() == f"serve --resume run {rest}"


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")
@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.name)
def test_systemd_takes_a_unit_and_finds_it_closed(path: Path, tmp_path: Path) -> None:
    fake = tmp_path / "fedtt"
    fake.write_text("#!/bin/sh\n")
    fake.chmod(0o755)
    copy = tmp_path / path.name
    copy.write_text(path.read_text().replace(FEDTT, str(fake)))
    for command in (["verify"], ["security", "--offline=true", "--threshold=25"]):
        done = subprocess.run(
            ["systemd-analyze", *command, str(copy)], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
    done = subprocess.run(
        ["systemd-analyze", "verify", str(copy)], capture_output=True, text=True, check=False
    )
    assert done.stderr == ""


INSTRUCTIONS = [line.split(maxsplit=1) for line in joined((DEPLOY / "Dockerfile").read_text())]
KNOWN = {
    *("FROM", "ENV", "WORKDIR", "COPY", "RUN", "USER", "VOLUME", "EXPOSE", "STOPSIGNAL"),
    *("ENTRYPOINT", "CMD"),
}


def values(name: str) -> list[str]:
    return [value for key, value in INSTRUCTIONS if key == name]


def sent(path: str) -> bool:
    """Whether Docker's build is given that path of the repository."""
    lines = joined((DEPLOY / "Dockerfile.dockerignore").read_text())
    given = True
    for line in lines:
        pattern = line.lstrip("!").removeprefix("**/")
        if fnmatch(path, pattern) or path.startswith(pattern + "/"):
            given = line.startswith("!")
    return given


def test_the_image_is_made_of_what_is_there_and_of_no_secret() -> None:
    assert INSTRUCTIONS[0][0] == "FROM"
    assert {key for key, _ in INSTRUCTIONS} <= KNOWN
    copied = [name for value in values("COPY") for name in value.split()[:-1]]
    files = {"pyproject.toml", "README.md", "LICENSE", "constraints.txt"}
    assert set(copied) == {*files, "src", "presets"}
    for name in copied:
        assert (ROOT / name).exists()
        assert sent(name)
    for secret in ("keys", "keys/ca.key", "runs", "data.csv", ".git", ".venv", "deploy"):
        assert not sent(secret)
    # What the build of the package itself reads.
    wheel = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]
    read = [PROJECT["project"]["readme"], *PROJECT["project"]["license-files"]]
    for name in (*read, *wheel["force-include"]):
        assert name in copied


def test_the_image_installs_and_starts_what_the_package_has() -> None:
    (install,) = [value for value in values("RUN") if "pip install" in value]
    words = shlex.split(install.partition("&&")[0])
    assert words[:4] == ["pip", "install", "--constraint", "constraints.txt"]
    (extra,) = re.findall(r"\.\[(\w+)\]", words[4])
    assert extra in PROJECT["project"]["optional-dependencies"]
    (entry,) = values("ENTRYPOINT")
    assert entry == '["fedtt"]'
    assert "fedtt" in PROJECT["project"]["scripts"]
    (image,) = re.findall(r"^python:(3\.\d+)-slim$", values("FROM")[0])
    assert f"Programming Language :: Python :: {image}" in PROJECT["project"]["classifiers"]


def test_the_image_runs_as_nobody_in_particular_and_stops_cleanly() -> None:
    (user,) = values("USER")
    assert user == "10001"
    assert any(f"useradd --uid {user} " in value for value in values("RUN"))
    assert user in GUIDE
    assert values("STOPSIGNAL") == ["SIGINT"]
    (port,) = values("EXPOSE")
    assert f"-p {port}:{port}" in GUIDE
    (line,) = unit(DEPLOY / "fedtt-serve.service")["ExecStart"]
    assert f"--address 0.0.0.0:{port} " in line


def test_the_guide_says_the_fences_limits_as_they_are() -> None:
    from fedtt.sites import certificates, keygen
    from fedtt.sites.flower import fence_hall, fence_relay, fence_rules

    assert len(fence_rules.ROUTES) == 10
    assert "ten paths" in GUIDE
    assert (fence_relay.HEAD, fence_relay.HEAD_BYTES) == (10, 2**14)
    assert "| head of a request | 10 s, 16 kB at a time |" in GUIDE
    assert (fence_rules.SMALL, fence_rules.TREE) == (2**16, 2**18)
    assert (fence_relay.NEXT, fence_relay.WHOLE) == (60, 900)
    assert (fence_hall.UNKNOWN, fence_hall.UNKNOWN_EACH) == (128, 32)
    assert "| 128, of one address 32;" in GUIDE
    assert (fence_hall.KNOWN_EACH, fence_rules.AT_ONCE) == (32, 8)
    assert fence_hall.LINES_A_MINUTE == 60
    assert (keygen.SERVER_DAYS, certificates.AUTHORITY_DAYS) == (825, 3650)
    assert "825 days" in GUIDE
    assert sys.version_info >= (3, 11)
