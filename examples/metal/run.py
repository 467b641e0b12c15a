"""Runs Metal and its programme from end to end: ``python examples/metal/run.py``, or ``make run``.

Set up, serve keys and API, drive traffic, run the programme, write the bundle, verify it, build
the trust page, stop. What it keeps is in ``data/`` beside this file; another run adds to the same
log.

Exit code: 0 when the programme ran and nothing is broken or in error (promises may still be
unproven, which is said plainly), else the code of the command that said otherwise.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from metal.addresses import read_address
from metal.errors import MetalError, StartError
from metal.server import listen
from metal.settings import Settings

HERE = Path(__file__).resolve().parent
PROGRAMME = HERE / "assay.yaml"
START_SECONDS = 60.0
STOP_SECONDS = 15.0
BROKEN = 1
UNPROVEN = 3
STEPS = 8


class StepError(Exception):
    """A step ended otherwise than it must; the exit code is its own."""

    def __init__(self, what: str, code: int) -> None:
        super().__init__(f"{what} ended with exit code {code}")
        self.code = code


def say(step: int, line: str) -> None:
    """Show which step begins."""
    print(f"\n[{step}/{STEPS}] {line}", flush=True)


async def run_to_end(arguments: Sequence[str], environment: Mapping[str, str]) -> int:
    """Run a Python program with this interpreter, output shown; the exit code comes back."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *arguments,
        env=environment,
        stdin=asyncio.subprocess.DEVNULL,
        start_new_session=True,  # Ctrl-C ends this program, which stops that one
    )
    try:
        return await process.wait()
    finally:
        await stop(process)


async def must_run(arguments: Sequence[str], environment: Mapping[str, str], what: str) -> None:
    """Run a program that has to succeed."""
    code = await run_to_end(arguments, environment)
    if code:
        raise StepError(what, code)


async def stop(process: asyncio.subprocess.Process) -> None:
    """Stop a program, at first politely."""
    if process.returncode is not None:
        return
    process.terminate()
    try:
        await asyncio.wait_for(process.wait(), STOP_SECONDS)
    except TimeoutError:
        process.kill()
        await process.wait()


async def run_for_output(
    arguments: Sequence[str], environment: Mapping[str, str]
) -> tuple[int, bytes]:
    """Run a Python program with this interpreter; exit code and standard output come back."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, *arguments),
        env=environment,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    try:
        output, _ = await process.communicate()
    finally:
        await stop(process)
    return process.returncode or 0, output


async def set_up(environment: Mapping[str, str]) -> dict[str, str]:
    """Make keys and folders; returns the environment that everything else runs in."""
    code, output = await run_for_output(["-m", "metal", "setup", "--json"], environment)
    if code:
        raise StepError("setting up", code)
    prepared = json.loads(output)
    for note in prepared["notes"]:
        print(f"  {note}")
    return {**environment, **prepared["environment"]}


def preferred_ports(settings: Settings) -> dict[str, str]:
    """The usual ports, or any free ones where those are taken."""
    ports = {}
    for name, wanted in (
        ("METAL_HTTPS_PORT", settings.https_port),
        ("METAL_HTTP_PORT", settings.http_port),
        ("METAL_KMS_PORT", settings.kms_port),
    ):
        ports[name] = str(wanted)
        try:
            for opened in listen(wanted).sockets:
                opened.close()
        except StartError:
            print(f"  port {wanted} is taken; another one is used")
            ports[name] = "0"
    return ports


@asynccontextmanager
async def serving(
    environment: Mapping[str, str], settings: Settings
) -> AsyncIterator[dict[str, str]]:
    """Run the server; gives its addresses, and stops it whatever happens."""
    async with running("serve", "the server", environment, settings.address_file) as address:
        print(f"  {address['https']}, and {address['http']} redirects to it")
        yield {"METAL_URL": address["https"], "METAL_HTTP_URL": address["http"]}
    print("\nThe server has stopped.", flush=True)


@asynccontextmanager
async def serving_keys(
    environment: Mapping[str, str], settings: Settings
) -> AsyncIterator[dict[str, str]]:
    """Run the key service, where Metal has one; gives its address, and stops it in any case."""
    if "ASSAY_KMS_STATE" not in environment:
        print("  none: the keys are where METAL_KEYS says")
        yield {}
        return
    file = settings.key_service_file
    async with running("keys", "the key service", environment, file) as address:
        print(f"  {address['https']}")
        yield {"AWS_ENDPOINT_URL_KMS": address["https"]}
    print("The key service has stopped.", flush=True)


@asynccontextmanager
async def running(
    command: str, what: str, environment: Mapping[str, str], file: Path
) -> AsyncIterator[dict[str, str]]:
    """Run a server of Metal's until the block ends; gives what it says of itself.

    Args:
        command: which of Metal's commands it is.
        what: its name for a reader.
        environment: what it runs in.
        file: where it says that it is ready.
    """
    # The pipe ends with this process, and the server with the pipe: it cannot be left behind.
    server = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "metal", command, "--stop-at-end-of-input"),
        env=environment,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        yield await wait_until_ready(server, what, file)
    finally:
        await stop(server)


async def wait_until_ready(
    server: asyncio.subprocess.Process, what: str, file: Path
) -> dict[str, str]:
    """What a server says of itself, as soon as it serves."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if server.returncode is not None:
            raise StepError(what, server.returncode or 1)
        address = read_address(file, server.pid)
        if address is not None:
            return address
        await asyncio.sleep(0.05)
    raise StartError(f"expected {what} to be ready within {START_SECONDS:.0f} s, it was not")


async def assay(environment: Mapping[str, str], *arguments: object) -> int:
    """One verb of Assay's command line."""
    return await run_to_end(["-m", "assay", *map(str, arguments)], environment)


async def prove(environment: Mapping[str, str], data: Path) -> tuple[int, int]:
    """Run the programme, then write, verify and publish what it proved.

    Returns:
        the programme's exit code, and how many promises are in error.
    """
    say(5, "Running the programme")
    code = await assay(environment, "run", "-c", PROGRAMME)
    if code not in {0, BROKEN, UNPROVEN}:
        raise StepError("the programme", code)
    bundle, key, page = data / "metal.bundle", data / "assay" / "log.vkey", data / "trust"
    say(6, "Writing the bundle for auditors")
    if wrong := await assay(environment, "bundle", "-c", PROGRAMME, "-o", bundle):
        raise StepError("writing the bundle", wrong)
    say(7, "Verifying it as an auditor would, offline")
    errors = await verify(environment, bundle, key, last=data / "last-run")
    say(8, "Building the trust page from it")
    if wrong := await assay(environment, "trust", "build", page, "--bundle", bundle, "--key", key):
        raise StepError("building the trust page", wrong)
    print(f"\n  bundle       {bundle}\n  log's key    {key}\n  trust page   {page / 'index.html'}")
    return code, errors


async def verify(environment: Mapping[str, str], bundle: Path, key: Path, *, last: Path) -> int:
    """Verify the bundle, and see that it holds a run that was not there before.

    A run that could not begin ends with the same code as one that left promises unproven; what an
    older run proved must not be taken for it.

    Args:
        environment: what the verifier runs in.
        bundle: the bundle.
        key: the file of the log's key.
        last: a file that holds the id of the newest run that was seen here.

    Returns:
        how many promises are in error.
    """
    arguments = ["-m", "assay", "verify", str(bundle), "--key", str(key), "--json"]
    code, output = await run_for_output(arguments, environment)
    if code:
        print(f"  {output.decode(errors='replace').strip()}")
        raise StepError("verifying the bundle", code)
    found = json.loads(output)
    refuse_old_run(found["run"], last)
    print(
        f"  verified: {found['size'] - found['first']} statements of {found['origin']}; every "
        "judgement was made again from its recorded facts"
    )
    return sum(promise["state"] == "error" for promise in found["promises"])


def refuse_old_run(run_id: str, last: Path) -> None:
    """Refuse the run that was the newest before, and remember this one."""
    if last.exists() and last.read_text(encoding="utf-8") == run_id:
        raise StepError("the programme began no new run, or did not finish it, and", UNPROVEN)
    last.write_text(run_id, encoding="utf-8")


async def run() -> int:
    """All steps; returns the exit code."""
    task = asyncio.current_task()
    if task is not None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    inherited = os.environ.get("PYTHONPATH")
    python_path = os.pathsep.join([str(HERE), *([inherited] if inherited else [])])
    environment = {"METAL_HOME": str(HERE), **os.environ, "PYTHONPATH": python_path}
    settings = Settings.from_environment(environment)

    say(1, "Setting up Metal, the reference company")
    environment = await set_up(environment)
    environment.update(preferred_ports(settings))
    async with AsyncExitStack() as opened:
        say(2, "Starting its key service")
        environment.update(await opened.enter_async_context(serving_keys(environment, settings)))
        say(3, "Starting its server")
        environment.update(await opened.enter_async_context(serving(environment, settings)))
        say(4, "Driving traffic through its API")
        seed = str(time.time_ns() % 1_000_000)
        await must_run(["-m", "metal", "traffic", "--seed", seed], environment, "the traffic")
        code, errors = await prove(environment, settings.data)
    if code == UNPROVEN and errors:
        print(
            f"\n{errors} promises are in error: Assay could not tell whether they are kept, which "
            "counts as if they were broken. The matrix above says why, and so does the trust page."
        )
        return code
    if code == UNPROVEN:
        print(
            "\nNothing is broken. Some promises could not be proven (assay's exit code 3): the "
            "matrix above says which and why, and so does the trust page."
        )
        return 0
    if code == BROKEN:
        print("\nSomething is broken: the matrix above says what, and so does the trust page.")
    return code


def main() -> int:
    """Run, and say in one line what went wrong, if anything did."""
    try:
        return asyncio.run(run())
    except KeyboardInterrupt:
        print("\nInterrupted; everything was stopped.", file=sys.stderr)
        return 128 + signal.SIGINT
    except asyncio.CancelledError:
        print("\nTerminated; everything was stopped.", file=sys.stderr)
        return 128 + signal.SIGTERM
    except StepError as exc:
        print(f"\nrun.py: error: {exc}", file=sys.stderr)
        return exc.code
    except MetalError as exc:
        print(f"\nrun.py: error: {exc}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
