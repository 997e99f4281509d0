"""Runs the clients one after the other and prints what each could do. Exit code 1 when something did not work."""

import argparse
import os
import sys
import time
import traceback
from pathlib import Path

STEPS = ["identify", "get", "enumerate", "pull", "query", "invoke", "job"]
# Name on the command line, module, class.
CLIENTS = [
    ("curl", "with_curl", "Curl"),
    ("pypsrp", "with_pypsrp", "Pypsrp"),
    ("pywinrm", "with_pywinrm", "Pywinrm"),
    ("dracclient", "with_dracclient", "Dracclient"),
    ("wsl", "with_wsl", "Wsl"),
    ("wsmancli", "with_shapes", "Wsmancli"),
    ("wsmancli-utf16", "with_shapes", "WsmancliUtf16"),
    ("omicli", "with_shapes", "Omicli"),
    ("cimcmdlets", "with_shapes", "CimCmdlets"),
]


def load(module, name):
    """The class of a client; imported late, so that --list needs no client installed."""
    return getattr(__import__(module), name)


def run_client(name, client):
    """All steps of a client: step to (word, reason). A step that a client does not have is a dash."""
    results = {}
    for step in STEPS:
        action = getattr(client, step, None)
        if action is None:
            results[step] = ("-", "")
            continue
        began = time.monotonic()
        try:
            action()
            results[step] = ("ok", f"{(time.monotonic() - began) * 1000:.0f} ms")
        except Exception as error:  # a client may raise anything: all of it is a result
            results[step] = ("FAIL", f"{type(error).__name__}: {error}"[:500])
            if os.environ.get("CLIENTS_TRACE"):
                traceback.print_exc()
        print(f"{name:<15} {step:<10} {results[step][0]:<5} {results[step][1]}", flush=True)
    return results


def print_matrix(table):
    """The matrix: clients down, steps across, reasons below."""
    width = max(len(name) for name in table) + 2
    print()
    print(" " * width + "".join(f"{step:<11}" for step in STEPS) + "version")
    for name, (version, results) in table.items():
        print(f"{name:<{width}}" + "".join(f"{results[step][0]:<11}" for step in STEPS) + version)
    failures = [
        (name, step, reason)
        for name, (_, results) in table.items()
        for step, (word, reason) in results.items()
        if word == "FAIL"
    ]
    for name, step, reason in failures:
        print(f"FAIL {name} {step}: {reason}")
    return not failures


def main():
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--list", action="store_true", help="print the clients' names")
    parser.add_argument("--port", type=int)
    parser.add_argument("--scratch", type=Path)
    parser.add_argument("client", nargs="*", help="only these clients")
    arguments = parser.parse_args()
    names = [name for name, _, _ in CLIENTS]
    if arguments.list:
        print("\n".join(names))
        return 0
    unknown = [name for name in arguments.client if name not in names]
    if unknown:
        parser.error(f"unknown clients {unknown}; there are {names}")

    from lab import Lab

    lab = Lab(
        "127.0.0.1", arguments.port, os.environ["CLIENTS_USER"], os.environ["CLIENTS_PASSWORD"], arguments.scratch
    )
    chosen = [entry for entry in CLIENTS if not arguments.client or entry[0] in arguments.client]
    machines = lab.machines()
    if len(machines) < len(chosen):
        print(f"{len(chosen)} clients, but only {len(machines)} machines are ready for a failback")
        return 1
    table = {}
    for (name, module, kind), machine in zip(chosen, machines):
        client = load(module, kind)(lab, machine)
        print(f"{name:<15} machine    {machine.name} {machine.guid}")
        table[name] = (client.version(), run_client(name, client))
    return 0 if print_matrix(table) else 1


if __name__ == "__main__":
    sys.exit(main())
