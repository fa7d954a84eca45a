"""Keys: what the certificates say, who can read what, and that nothing is lost or mixed up."""

import json
import os
import shutil
import ssl
import stat
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_ssh_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID

from fedtt.cli import main
from fedtt.errors import ConfigError
from fedtt.sites import certificates
from fedtt.sites.keygen import make_keys
from fedtt.sites.keys import load_server_keys, load_site_keys, public_key_pem

HOST = "federation.example.org"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("made") / "keys"
    make_keys(directory, hosts=[HOST, "192.0.2.7"], names=["north", "south"])
    return directory


@pytest.fixture
def keys(made: Path, tmp_path: Path) -> Path:
    """A copy to spoil."""
    return Path(shutil.copytree(made, tmp_path / "keys"))


def certificate(path: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate(path.read_bytes())


def files(directory: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(directory)): path.read_bytes()
        for path in directory.rglob("*")
        if path.is_file()
    }


def test_every_machine_gets_just_what_it_needs(made: Path) -> None:
    assert set(files(made / "sites" / "north")) == {"ca.crt", "node.key", "node.pub", "site.json"}
    assert set(files(made / "server")) == {
        *("ca.crt", "server.crt", "server.key"),
        *("sites/north.pub", "sites/south.pub"),
    }
    assert {path.name for path in made.iterdir()} == {"ca.crt", "ca.key", "server", "sites"}
    secrets = [made / "ca.key", made / "server" / "server.key", made / "sites/north/node.key"]
    for secret in secrets:  # each in one place only
        assert sum(content == secret.read_bytes() for content in files(made).values()) == 1


def test_the_authority_signs_end_certificates_only(made: Path) -> None:
    extensions = certificate(made / "ca.crt").extensions
    basic = extensions.get_extension_for_class(x509.BasicConstraints)
    assert (basic.critical, basic.value.ca, basic.value.path_length) == (True, True, 0)
    usage = extensions.get_extension_for_class(x509.KeyUsage)
    assert usage.critical
    assert usage.value.key_cert_sign
    assert not usage.value.digital_signature


def test_the_servers_certificate_is_for_its_hosts_and_for_serving(made: Path) -> None:
    extensions = certificate(made / "server" / "server.crt").extensions
    names = extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == [HOST, "localhost"]
    numbers = names.get_values_for_type(x509.IPAddress)
    assert [str(number) for number in numbers] == ["192.0.2.7", "127.0.0.1", "::1"]
    usages = extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usages) == [ExtendedKeyUsageOID.SERVER_AUTH]
    assert not extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert not extensions.get_extension_for_class(x509.KeyUsage).value.key_cert_sign


def handshake(server: Path, *, ca: Path, host: str) -> None:
    """TLS as a site does it, strictly, in memory."""
    theirs = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    theirs.load_cert_chain(server / "server.crt", server / "server.key")
    ours = ssl.create_default_context(cafile=str(ca))
    ours.verify_flags |= ssl.VERIFY_X509_STRICT  # the default from Python 3.13 on
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = ours.wrap_bio(down, up, server_hostname=host)
    server_side = theirs.wrap_bio(up, down, server_side=True)
    for end in (client, server_side, client):
        try:
            end.do_handshake()
        except ssl.SSLWantReadError:
            continue


@pytest.mark.parametrize("host", [HOST, "192.0.2.7", "127.0.0.1", "localhost", "::1"])
def test_a_site_believes_the_server_under_its_hosts(made: Path, host: str) -> None:
    handshake(made / "server", ca=made / "sites" / "north" / "ca.crt", host=host)


def test_a_site_believes_it_under_no_other_host_and_by_no_other_authority(
    made: Path, tmp_path: Path
) -> None:
    with pytest.raises(ssl.SSLCertVerificationError, match="mismatch"):
        handshake(made / "server", ca=made / "ca.crt", host="other.example.org")
    make_keys(tmp_path / "other", hosts=[HOST])
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(made / "server", ca=tmp_path / "other" / "ca.crt", host=HOST)


def test_node_keys_are_p384_in_openssh_form_and_all_different(made: Path) -> None:
    seen = set()
    for name in ("north", "south"):
        content = (made / "sites" / name / "node.key").read_bytes()
        assert content.startswith(b"-----BEGIN OPENSSH PRIVATE KEY-----")
        key = load_ssh_private_key(content, None)
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        assert isinstance(key.curve, ec.SECP384R1)
        public = made / "sites" / name / "node.pub"
        assert public.read_text().startswith("ecdsa-sha2-nistp384 ")
        assert public.read_text().endswith(f" {name}\n")
        assert public.read_bytes() == (made / "server" / "sites" / f"{name}.pub").read_bytes()
        seen.add(public_key_pem(public))
    assert len(seen) == 2


def test_private_files_are_their_owners_alone_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        make_keys(tmp_path / "keys", hosts=[HOST], names=["north"])
    finally:
        os.umask(before)
    for path in (tmp_path / "keys").rglob("*"):
        mode = stat.S_IMODE(path.stat().st_mode)
        if path.suffix == ".key":
            assert mode == 0o600
        elif path.is_dir():
            assert mode == 0o700
        assert not path.name.startswith("."), "left beside"


def test_nothing_is_overwritten_unasked(keys: Path) -> None:
    before = files(keys)
    for hosts, names in ([HOST], []), ([], ["north"]), ([], ["east", "south"]):
        with pytest.raises(ConfigError, match="there are keys already") as caught:
            make_keys(keys, hosts=hosts, names=names)
        assert "--overwrite" in str(caught.value)
    assert files(keys) == before


def test_a_site_is_added_without_touching_the_others(keys: Path) -> None:
    before = files(keys)
    written = make_keys(keys, names=["east"])
    after = files(keys)
    assert {name: after[name] for name in before} == before
    assert {str(path.relative_to(keys)) for path in written} == after.keys() - before.keys()
    assert set(load_server_keys(keys).nodes) == {"east", "north", "south"}
    assert (keys / "sites/east/ca.crt").read_bytes() == before["ca.crt"]


def test_a_new_server_certificate_keeps_the_authority_and_the_sites(keys: Path) -> None:
    before = files(keys)
    make_keys(keys, hosts=["new.example.org"], overwrite=True)
    after = files(keys)
    changed = {name for name in before if after[name] != before[name]}
    assert changed == {"server/server.crt", "server/server.key"}
    handshake(keys / "server", ca=keys / "sites/north/ca.crt", host="new.example.org")


def test_a_site_gets_a_new_key_where_asked(keys: Path) -> None:
    before = files(keys)
    make_keys(keys, names=["north"], overwrite=True)
    after = files(keys)
    assert {name for name in before if after[name] != before[name]} == {
        *("sites/north/node.key", "sites/north/node.pub", "server/sites/north.pub")
    }
    load_server_keys(keys)


@pytest.mark.parametrize(
    ("hosts", "names", "message"),
    [
        ([], [], "no keys to make"),
        ([], ["north"], "no authority there yet"),
        (["10.0.0.300"], ["north"], "not a host"),
        (["https://example.org"], ["north"], "not a host"),
        (["example.org:9092"], ["north"], "not a host"),
        (["bücher.example"], ["north"], "not a host"),
        (["-a.example"], ["north"], "not a host"),
        ([HOST], ["../north"], "not a name for a site"),
        ([HOST], [""], "not a name for a site"),
        ([HOST], ["a.b"], "not a name for a site"),
        ([HOST], ["nörth"], "not a name for a site"),
        ([HOST], ["north\n"], "not a name for a site"),
        ([HOST], ["n" * 64], "not a name for a site"),
        ([HOST], ["north", "North"], "two sites of one name"),
    ],
)
def test_what_cannot_be_made_leaves_nothing(
    tmp_path: Path, hosts: list[str], names: list[str], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        make_keys(tmp_path / "keys", hosts=hosts, names=names)
    assert not (tmp_path / "keys").exists()


def test_a_disk_that_fails_is_an_error_and_leaves_no_half_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(ConfigError, match="No space left"):
        make_keys(tmp_path / "keys", hosts=[HOST], names=["north"])
    assert files(tmp_path / "keys") == {}


def test_keys_are_found_from_the_directory_above_too(made: Path) -> None:
    assert load_server_keys(made) == load_server_keys(made / "server")
    site = load_site_keys(made / "sites" / "south")
    assert (site.name, site.ca.parent, site.private_key.name) == (
        *("south", made / "sites" / "south", "node.key"),
    )


def spoil(path: Path) -> None:
    path.write_bytes(b"-----BEGIN NOTHING-----\n")


@pytest.mark.parametrize("name", ["ca.crt", "server.crt", "server.key", "sites/north.pub"])
def test_a_server_names_the_file_that_it_cannot_use(keys: Path, name: str) -> None:
    spoil(keys / "server" / name)
    with pytest.raises(ConfigError) as caught:
        load_server_keys(keys)
    assert str(keys / "server" / name) in str(caught.value)
    assert "fedtt keys DIR --host NAME" in str(caught.value)
    (keys / "server" / name).unlink()
    if name.startswith("sites"):
        assert set(load_server_keys(keys).nodes) == {"south"}
    else:
        with pytest.raises(ConfigError):
            load_server_keys(keys)


@pytest.mark.parametrize("name", ["ca.crt", "node.key", "site.json"])
def test_a_site_names_the_file_that_it_cannot_use(keys: Path, name: str) -> None:
    bundle = keys / "sites" / "north"
    spoil(bundle / name)
    with pytest.raises(ConfigError) as caught:
        load_site_keys(bundle)
    assert str(bundle / name) in str(caught.value)
    (bundle / name).unlink()
    with pytest.raises(ConfigError, match="cannot be read"):
        load_site_keys(bundle)


@pytest.mark.parametrize("name", [5, "../etc", None, ["north"]])
def test_a_bundle_of_no_site_is_refused(keys: Path, name: object) -> None:
    (keys / "sites/north/site.json").write_text(json.dumps({"site": name}))
    with pytest.raises(ConfigError, match="not a name for a site"):
        load_site_keys(keys / "sites" / "north")


def test_a_private_key_that_others_can_read_is_refused(keys: Path) -> None:
    for path, load in (
        (keys / "server" / "server.key", lambda: load_server_keys(keys)),
        (keys / "sites/north/node.key", lambda: load_site_keys(keys / "sites/north")),
    ):
        load()
        path.chmod(0o640)
        with pytest.raises(ConfigError, match="mode 0640") as caught:
            load()
        assert f"chmod 600 {path}" in str(caught.value)


def test_what_does_not_belong_together_is_refused(keys: Path, tmp_path: Path) -> None:
    make_keys(tmp_path / "other", hosts=[HOST], names=["north"])
    server, other = keys / "server", tmp_path / "other" / "server"
    shutil.copy(other / "server.key", server / "server.key")
    with pytest.raises(ConfigError, match="not the key of"):
        load_server_keys(keys)
    shutil.copy(other / "server.crt", server / "server.crt")
    with pytest.raises(ConfigError, match="not signed by"):
        load_server_keys(keys)


def test_one_key_is_for_one_site(keys: Path) -> None:
    shutil.copy(keys / "server/sites/north.pub", keys / "server/sites/south.pub")
    with pytest.raises(ConfigError, match="the key of site 'north' too"):
        load_server_keys(keys)


def test_a_server_without_sites_is_refused(keys: Path) -> None:
    shutil.rmtree(keys / "server" / "sites")
    with pytest.raises(ConfigError, match="no public key of any site"):
        load_server_keys(keys)


@pytest.mark.parametrize("year", [2020, 2100])
def test_a_certificate_out_of_its_time_is_refused(
    keys: Path, monkeypatch: pytest.MonkeyPatch, year: int
) -> None:
    class Then(datetime):
        @classmethod
        def now(cls, tz: object = None) -> datetime:
            return datetime(year, 1, 1, tzinfo=UTC)

    monkeypatch.setattr(certificates, "datetime", Then)
    make_keys(keys, hosts=[HOST], days=1, overwrite=True)
    with pytest.raises(ConfigError, match="not valid now") as caught:
        load_server_keys(keys)
    assert "--overwrite" in str(caught.value)


def test_there_must_be_a_directory(tmp_path: Path) -> None:
    for load in (load_server_keys, load_site_keys):
        with pytest.raises(ConfigError, match="no keys there"):
            load(tmp_path / "gone")


def test_the_command_says_which_machine_needs_what(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["keys", str(tmp_path / "keys"), "--host", HOST, "--site", "north"]
    monkeypatch.setattr("sys.argv", ["fedtt", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 0
    output = capsys.readouterr().out
    assert str(tmp_path / "keys" / "server") in output
    assert str(tmp_path / "keys" / "sites" / "north") in output
    monkeypatch.setattr("sys.argv", ["fedtt", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert "there are keys already" in capsys.readouterr().err
