"""Runs clients against servers with different settings and prints what each could do.

Three parts: what each client does step by step (steps.py); every client by every mechanism over every transport, as
cells.toml expects it (cells.py); attacks with real tools (negative.py). Exit code 1 when anything is not as it should
be."""

import argparse
import os
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

PARTS = ["steps", "cells", "negative"]
# A cell takes a machine for itself.
VMS = 160


def arguments():
    """The command line."""
    import cells
    import steps

    names = list(dict.fromkeys([*steps.CLIENTS, *cells.CLIENTS]))
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--list", action="store_true", help="print the clients' names")
    parser.add_argument("--binary", type=Path, help="failbackd")
    parser.add_argument("--part", action="append", choices=PARTS, help="only this part; may be given again")
    parser.add_argument("client", nargs="*", help="only these clients")
    given = parser.parse_args()
    if given.list:
        print("\n".join(names))
        sys.exit(0)
    unknown = [name for name in given.client if name not in names]
    if unknown:
        parser.error(f"unknown clients {unknown}; there are {names}")
    given.client = given.client or names
    given.part = given.part or PARTS
    return given


def run_steps(given, scratch, credentials):
    """The first part, on a server of its own with real disks."""
    import steps
    from servers import Server

    names = [name for name in steps.CLIENTS if name in given.client]
    server = Server(given.binary, scratch, "steps", credentials)
    # The last machine is not ready for a failback.
    server.prepare("--vms", str(len(names) + 1))
    try:
        server.start({"allow_unencrypted": True})
        server.wait()
        return tell_log(server, steps.run(server, scratch, names))
    finally:
        server.stop()


def run_cells(given, scratch, credentials):
    """The second and the third part, on a server for each setting."""
    import cells
    import negative
    from servers import Server

    table = cells.Table.read()
    servers = {name: Server(given.binary, scratch, name, credentials) for name in table.servers}
    first, *others = servers.values()
    first.prepare("--diskless", "--vms", str(VMS))
    for server in others:
        server.copy(first)
    failures = []
    try:
        for name, settings in table.servers.items():
            servers[name].start({"fault_backend": True, **settings})
        for server in servers.values():
            server.wait()
        if "cells" in given.part:
            failures += cells.Matrix(table, servers, credentials, scratch).run(given.client)
        if "negative" in given.part:
            failures += negative.run(servers, credentials, scratch)
        for server in servers.values():
            tell_log(server, [failure for failure in failures if f", {server.name}, " in failure])
    finally:
        for server in servers.values():
            server.stop()
    return failures


def tell_log(server, failures):
    """The end of a server's log, when something failed there."""
    if failures:
        print(f"--- the log of the server {server.name}, its end\n{server.end_of_log(30)}")
    return failures


def main():
    """Entry point."""
    given = arguments()
    from servers import make_credentials, start_kdc, stop_kdc

    # Whoever ends this script ends what it started too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    began = time.monotonic()
    scratch = Path(tempfile.mkdtemp(prefix="clients-"))
    failures = []
    try:
        credentials = make_credentials(scratch)
        start_kdc(scratch, credentials)
        if "steps" in given.part:
            failures += run_steps(given, scratch, credentials)
        if "cells" in given.part or "negative" in given.part:
            failures += run_cells(given, scratch, credentials)
    finally:
        stop_kdc(scratch)
        if os.environ.get("KEEP_LAB"):
            print(f"the lab is kept in {scratch}")
        else:
            shutil.rmtree(scratch, ignore_errors=True)
    for failure in failures:
        print(f"FAILED {failure}")
    print(f"{len(failures)} failures after {time.monotonic() - began:.0f} s")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
