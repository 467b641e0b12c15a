"""``assay kms``: a key management service of one's own, in front of a PKCS#11 token."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from assay.cli.run import AsJson
from assay.cli.screen import BROKEN, KEPT, out, print_json, report_error

if TYPE_CHECKING:
    from assay.assemble import ServicePlace
    from assay.core import Fidelity

app = typer.Typer(
    help="A key management service with AWS's API, in front of a PKCS#11 token.",
    no_args_is_help=True,
)
principal = typer.Typer(help="Who may sign requests, and their policies.", no_args_is_help=True)
access_key = typer.Typer(help="What principals sign requests with.", no_args_is_help=True)
audit = typer.Typer(help="The trail of every call.", no_args_is_help=True)
app.add_typer(principal, name="principal")
app.add_typer(access_key, name="access-key")
app.add_typer(audit, name="audit")

State = Annotated[
    str,
    typer.Option(
        "--state",
        envvar="ASSAY_KMS_STATE",
        help="Database URL (SQLite or PostgreSQL), or env:NAME.",
        metavar="URL",
    ),
]
Token = Annotated[
    str,
    typer.Option(
        "--token",
        envvar="ASSAY_KMS_TOKEN",
        help="pkcs11:token=LABEL, with module-path and pin-source when they are not the usual.",
        metavar="URI",
    ),
]
Name = Annotated[str, typer.Argument(help="A user's name, or root.", metavar="NAME")]

_STATE, _TOKEN = "sqlite:///kms.db", "pkcs11:token=assay-kms"


@app.callback()
def kms() -> None:
    """A key management service with AWS's API, in front of a PKCS#11 token."""


@app.command("init")
def init(
    account: Annotated[str, typer.Option(help="12 digits, for ARNs.")] = "000000000000",
    region: Annotated[str, typer.Option(help="For ARNs and signatures.")] = "eu-central-1",
    state: State = _STATE,
    token: Token = _TOKEN,
    as_json: AsJson = False,
) -> int:
    """Make the state of a new service; what is there already is not touched."""
    from assay import assemble

    fidelity = assemble.initialise_key_server(_place(state, token), account=account, region=region)
    if as_json:
        print_json(
            {"account": account, "region": region, "fidelity": fidelity.value, "exit_code": KEPT}
        )
        return KEPT
    out.print(f"A key management service of account {account} in {region}: {_realness(fidelity)}")
    out.print("Next: assay kms principal add NAME --full-access; assay kms access-key create NAME")
    return KEPT


@app.command("serve")
def serve(  # noqa: PLR0913, PLR0917 - each is an option with a name
    certificate: Annotated[Path, typer.Option(help="PEM, with its chain.")],
    private_key: Annotated[Path, typer.Option(help="PEM, not encrypted.")],
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="0 for any that is free.")] = 8443,
    state: State = _STATE,
    token: Token = _TOKEN,
    as_json: AsJson = False,
) -> int:
    """Serve the API over TLS until a signal ends it."""
    from assay import assemble

    def ready(address: str, found: int, fidelity: Fidelity) -> None:
        url = f"https://{f'[{address}]' if ':' in address else address}:{found}"
        if as_json:
            print_json({"url": url, "fidelity": fidelity.value, "core_dumps": "forbidden"})
        else:
            out.print(f"{url}: {_realness(fidelity)}; core dumps are forbidden", soft_wrap=True)

    assemble.serve_keys(
        _place(state, token),
        host=host,
        port=port,
        certificate=certificate,
        private_key=private_key,
        ready=ready,
    )
    return KEPT


@principal.command("add")
def add(
    name: Name,
    full_access: Annotated[
        bool, typer.Option("--full-access", help="Allow every action that key policies delegate.")
    ] = False,
    state: State = _STATE,
    token: Token = _TOKEN,
    as_json: AsJson = False,
) -> int:
    """Name a new principal. Without a policy it may do nothing."""
    from assay import assemble
    from assay.kms import FULL_ACCESS

    with assemble.open_administration(_place(state, token)) as administration:
        arn = administration.add_principal(name)
        if full_access:
            administration.put_policy(name, "full-access", FULL_ACCESS)
    if as_json:
        print_json({"principal": arn, "exit_code": KEPT})
    else:
        out.print(arn, soft_wrap=True)
    return KEPT


@principal.command("list")
def list_principals(state: State = _STATE, token: Token = _TOKEN, as_json: AsJson = False) -> int:
    """List principals, their policies and access keys."""
    from assay import assemble

    with assemble.open_administration(_place(state, token)) as administration:
        found = [
            {
                "principal": each.arn,
                "enabled": each.enabled,
                "policies": sorted(each.policies),
                "access_keys": [k.access_key_id for k in administration.access_keys(each.arn)],
            }
            for each in administration.principals()
        ]
    if as_json:
        print_json({"principals": found, "exit_code": KEPT})
        return KEPT
    for one in found:
        state_of = "" if one["enabled"] else " (disabled)"
        out.print(f"{one['principal']}{state_of}", soft_wrap=True)
        out.print(f"  policies: {', '.join(one['policies']) or 'none'}", soft_wrap=True)  # type: ignore[arg-type]  # a list
        out.print(f"  access keys: {', '.join(one['access_keys']) or 'none'}", soft_wrap=True)  # type: ignore[arg-type]  # a list
    return KEPT


@principal.command("policy")
def policy(  # noqa: PLR0913, PLR0917 - each is an option with a name
    name: Name,
    policy_name: Annotated[str, typer.Argument(help="The policy's name.", metavar="POLICY")],
    file: Annotated[
        Path | None, typer.Argument(help="JSON; without it the policy is taken away.")
    ] = None,
    state: State = _STATE,
    token: Token = _TOKEN,
    as_json: AsJson = False,
) -> int:
    """Put an identity policy of a principal, or take it away."""
    from assay import assemble

    text = None if file is None else file.read_text(encoding="utf-8")
    with assemble.open_administration(_place(state, token)) as administration:
        administration.put_policy(name, policy_name, text)
    return _done(f"{name}: policy {policy_name} {'removed' if text is None else 'put'}", as_json)


@principal.command("disable")
def disable(
    name: Name, state: State = _STATE, token: Token = _TOKEN, as_json: AsJson = False
) -> int:
    """Refuse all requests of a principal from now on."""
    return _enable(name, state, token, enabled=False, as_json=as_json)


@principal.command("enable")
def enable(
    name: Name, state: State = _STATE, token: Token = _TOKEN, as_json: AsJson = False
) -> int:
    """Accept the requests of a principal again."""
    return _enable(name, state, token, enabled=True, as_json=as_json)


@access_key.command("create")
def create_access_key(
    name: Name, state: State = _STATE, token: Token = _TOKEN, as_json: AsJson = False
) -> int:
    """Make an access key. Its secret is shown this once and never again."""
    from assay import assemble

    with assemble.open_administration(_place(state, token)) as administration:
        made = administration.create_access_key(name)
    if as_json:
        print_json(
            {
                "principal": made.principal,
                "access_key_id": made.access_key_id,
                "secret_access_key": made.secret,
                "exit_code": KEPT,
            }
        )
        return KEPT
    out.print(f"export AWS_ACCESS_KEY_ID={made.access_key_id}", soft_wrap=True)
    out.print(f"export AWS_SECRET_ACCESS_KEY={shlex.quote(made.secret)}", soft_wrap=True)
    return KEPT


@access_key.command("remove")
def remove_access_key(
    access_key_id: Annotated[str, typer.Argument(help="AKIA…", metavar="ID")],
    state: State = _STATE,
    token: Token = _TOKEN,
    as_json: AsJson = False,
) -> int:
    """Accept no more requests that were signed with an access key."""
    from assay import assemble

    with assemble.open_administration(_place(state, token)) as administration:
        administration.remove_access_key(access_key_id)
    return _done(f"{access_key_id}: removed", as_json)


@audit.command("verify")
def verify(state: State = _STATE, token: Token = _TOKEN, as_json: AsJson = False) -> int:
    """Check that no event of the trail was altered or removed.

    Exit code: 0 whole; 1 altered; 2 wrong input; 3 it could not be read.
    """
    from assay import assemble
    from assay.kms import AlteredTrailError

    with assemble.open_administration(_place(state, token)) as administration:
        try:
            trail = administration.verify_trail()
        except AlteredTrailError as exc:
            report_error(exc, as_json=as_json)
            return BROKEN
    heads = {chain: {"events": n, "digest": d.hex()} for chain, (n, d) in trail.chains.items()}
    if as_json:
        print_json({"events": trail.events, "chains": heads, "exit_code": KEPT})
    else:
        out.print(f"{trail.events} events in {len(heads)} chains: none was altered or removed")
    return KEPT


@audit.command("show")
def show(state: State = _STATE, token: Token = _TOKEN) -> int:
    """Write every event as one line of JSON."""
    from assay import assemble

    with assemble.open_administration(_place(state, token)) as administration:
        for _, _, event, _ in administration.trail():
            typer.echo(event)
    return KEPT


def _enable(name: str, state: str, token: str, *, enabled: bool, as_json: bool) -> int:
    from assay import assemble

    with assemble.open_administration(_place(state, token)) as administration:
        administration.enable_principal(name, enabled=enabled)
    return _done(f"{name}: {'enabled' if enabled else 'disabled'}", as_json)


def _done(what: str, as_json: bool) -> int:
    if as_json:
        print_json({"done": what, "exit_code": KEPT})
    else:
        out.print(what, soft_wrap=True)
    return KEPT


def _place(state: str, token: str) -> ServicePlace:
    from assay.assemble import ServicePlace

    return ServicePlace(state, token, Path.cwd())


def _realness(fidelity: Fidelity) -> str:
    kinds = {
        "live": "keys in a hardware security module",
        "emulated": "keys in a software token, which is no hardware security module",
        "fixture": "keys in memory, for tests",
    }
    return f"{kinds[fidelity.value]} ({fidelity.value})"
