"""The first part: what each client does step by step, over plain HTTP with Basic, with real disks."""

from runner import in_child, load, print_table, timed

STEPS = [
    "identify", "get", "enumerate", "pull", "query", "association", "classes", "fragment", "put", "create", "delete",
    "subscribe", "invoke", "job", "events",
]
# Name on the command line: module, class.
CLIENTS = {
    "curl": ("with_curl", "Curl"),
    "pypsrp": ("with_pypsrp", "Pypsrp"),
    "pywinrm": ("with_pywinrm", "Pywinrm"),
    "dracclient": ("with_dracclient", "Dracclient"),
    "wsl": ("with_wsl", "Wsl"),
    "wsmancli": ("with_shapes", "Wsmancli"),
    "wsmancli-utf16": ("with_shapes", "WsmancliUtf16"),
    "omicli": ("with_shapes", "Omicli"),
    "cimcmdlets": ("with_shapes", "CimCmdlets"),
}
# A real transfer may take its time.
SECONDS_MAX = 200


def run_client(name, client):
    """The version of a client, and word and reason of each step. A step that it does not have is a dash."""
    results = []
    for step in STEPS:
        action = getattr(client, step, None)
        results.append(timed(action) if action else ("-", ""))
        print(f"{name:<15} {step:<10} {' '.join(results[-1])}", flush=True)
    return client.version(), results


def run(server, scratch, names):
    """Runs the named clients, each on a machine of its own; what failed, as lines."""
    rows, failures = [], []
    for name, machine in zip(names, server.machines, strict=False):
        print(f"{name:<15} machine    {machine.name} {machine.guid}", flush=True)
        lab = server.lab(scratch, "basic", "http", host="127.0.0.1")
        kind = load(CLIENTS[name])
        done, failure = in_child(lambda k=kind, l=lab, m=machine, n=name: run_client(n, k(l, m)), SECONDS_MAX)
        if failure:
            failures.append(f"{name}: {failure}")
            rows.append([name, *["FAILED"] * len(STEPS), ""])
            continue
        version, results = done
        rows.append([name, *[word for word, _ in results], version])
        failures += [f"{name} {step}: {why}" for step, (word, why) in zip(STEPS, results) if word == "FAILED"]
    print_table(["client", *STEPS, "version"], rows)
    return failures
