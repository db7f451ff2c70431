"""Who calls: the header that development believes, and the names in a certificate."""

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import grpc
import grpc.aio
import pytest

from governance.v1 import governance_service_pb2 as wire
from governor.config.listener import Listener
from governor.domain.errors import Unauthenticated
from governor.usecases.app import App
from governor.usecases.commands import Caller
from governor.wire.identity import ACTOR_KEY, CertificateIdentity, DevelopmentIdentity
from governor.wire.listening import TlsFiles
from governor.wire.rpcs import Unary
from governor.wire.server import GovernorServer
from tests.wire.serving import told


def peer(**auth: Sequence[bytes]) -> Any:
    return SimpleNamespace(auth_context=lambda: auth)


def name_of(metadata: Sequence[tuple[str, str | bytes]]) -> str:
    return DevelopmentIdentity().authenticate(peer(), metadata)


def test_development_believes_the_header() -> None:
    assert name_of([("user-agent", "x"), (ACTOR_KEY, "ann")]) == "ann"


@pytest.mark.parametrize(
    "names",
    [
        [],
        [""],
        ["ann", "ann"],
        ["with space"],
        ["ümläut"],
        ["x" * 257],
        [b"ann"],
        ["governor"],
    ],
    ids=str,
)
def test_development_believes_nothing_else(names: list[str | bytes]) -> None:
    """Least of all that a caller is the sidecar itself."""
    with pytest.raises(Unauthenticated):
        name_of([(ACTOR_KEY, name) for name in names])


URI, DNS, COMMON = [b"spiffe://a/ann", b"spiffe://a/two"], [b"ann.example"], [b"Ann"]


@pytest.mark.parametrize(
    ("auth", "name"),
    [
        ({"peer_uri": URI, "peer_dns": DNS, "x509_common_name": COMMON}, "spiffe://a/ann"),
        ({"peer_dns": DNS, "x509_common_name": COMMON}, "ann.example"),
        ({"x509_common_name": COMMON}, "Ann"),
    ],
)
def test_a_certificate_names_its_owner(auth: Mapping[str, list[bytes]], name: str) -> None:
    assert CertificateIdentity().authenticate(peer(**auth), ()) == name


@pytest.mark.parametrize(
    "auth",
    [
        {},
        {"transport_security_type": [b"ssl"]},
        {"peer_uri": [b"\xff"]},
        {"x509_common_name": [b""]},
        {"x509_common_name": [b"governor"]},
    ],
)
def test_a_certificate_that_names_nobody_is_refused(auth: Mapping[str, list[bytes]]) -> None:
    with pytest.raises(Unauthenticated):
        CertificateIdentity().authenticate(peer(**auth), [(ACTOR_KEY, "ann")])


# --- With real certificates ---------------------------------------------------------------------


class Authority:
    """A certificate authority of the test's own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._openssl(
            "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2"
            " -keyout ca.key -out ca.pem -subj /CN=test-authority"
        )

    def issue(self, name: str, *, common: str, alternatives: str = "") -> None:
        self._openssl(
            "req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes"
            f" -keyout {name}.key -out {name}.csr -subj /CN={common}"
        )
        extension = (
            f"subjectAltName={alternatives}" if alternatives else "basicConstraints=CA:FALSE"
        )
        (self.folder / "extension").write_text(extension)
        self._openssl(
            f"x509 -req -in {name}.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2"
            f" -out {name}.pem -extfile extension"
        )

    def read(self, name: str) -> bytes:
        return (self.folder / name).read_bytes()

    def channel(self, address: str, name: str | None) -> grpc.aio.Channel:
        credentials = grpc.ssl_channel_credentials(
            self.read("ca.pem"),
            self.read(f"{name}.key") if name else None,
            self.read(f"{name}.pem") if name else None,
        )
        return grpc.aio.secure_channel(address.replace("127.0.0.1", "localhost"), credentials)

    def _openssl(self, arguments: str) -> None:
        try:
            subprocess.run(
                ["openssl", *arguments.split()], cwd=self.folder, check=True, capture_output=True
            )
        except FileNotFoundError:
            pytest.skip("makes its certificates with openssl, which is not here")


async def test_mutual_tls_lets_in_whom_the_authority_knows_by_their_name(tmp_path: Path) -> None:
    async def whoami(app: App, caller: Caller, request: Any) -> wire.GetRequestResponse:
        response = wire.GetRequestResponse()
        response.request.context.actor = caller.actor
        return response

    authority = Authority(tmp_path)
    authority.issue("server", common="server", alternatives="DNS:localhost")
    authority.issue("ann", common="x", alternatives="DNS:ann.example,URI:spiffe://acme/ann")
    server = GovernorServer(
        SimpleNamespace(tail=SimpleNamespace(close=lambda: None)),  # type: ignore[arg-type]  # as much of it as draining needs
        listener=Listener(host="127.0.0.1", port=0),
        authenticator=CertificateIdentity(),
        incident_id=lambda: "incident-1",
        tls=TlsFiles(
            certificate=authority.read("server.pem"),
            key=authority.read("server.key"),
            client_ca=authority.read("ca.pem"),
        ),
        calls=[Unary(name="GetRequest", request=wire.GetRequestRequest, handle=whoami)],
        streams=[],
    )
    await server.start()
    asked = wire.GetRequestRequest(id="mr-1").SerializeToString()
    method = "/governance.v1.GovernanceService/GetRequest"
    try:
        async with authority.channel(server.address, "ann") as channel:
            known: Any = channel.unary_unary(method)
            response = wire.GetRequestResponse.FromString(await known(asked, timeout=10))
            assert response.request.context.actor == "spiffe://acme/ann"
        async with authority.channel(server.address, None) as channel:
            unknown: Any = channel.unary_unary(method)
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await unknown(asked, timeout=10)
            assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    finally:
        await server.drain(0)


async def test_tls_without_client_certificates_names_nobody(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    authority.issue("server", common="server", alternatives="DNS:localhost")
    server = GovernorServer(
        SimpleNamespace(tail=SimpleNamespace(close=lambda: None)),  # type: ignore[arg-type]  # as much of it as draining needs
        listener=Listener(host="127.0.0.1", port=0),
        authenticator=CertificateIdentity(),
        incident_id=lambda: "incident-1",
        tls=TlsFiles(certificate=authority.read("server.pem"), key=authority.read("server.key")),
    )
    await server.start()
    try:
        async with authority.channel(server.address, None) as channel:
            call: Any = channel.unary_unary("/governance.v1.GovernanceService/GetRequest")
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call(b"", timeout=10, metadata=((ACTOR_KEY, "ann"),))
        assert told(caught.value).info.reason == "UNAUTHENTICATED"
    finally:
        await server.drain(0)
