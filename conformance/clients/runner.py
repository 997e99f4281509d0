"""Runs a client's steps in a process of their own, and prints tables."""

import multiprocessing
import os
import time
import traceback


def load(entry):
    """The class of a client, by module and name; imported late, so that --list needs no client installed."""
    module, name = entry
    return getattr(__import__(module), name)


def explain(error):
    """An exception in a line."""
    if os.environ.get("CLIENTS_TRACE"):
        traceback.print_exception(error)
    return f"{type(error).__name__}: {error}"[:800]


def in_child(action, seconds, environment=None):
    """What a function returns, and how an exception reads: one of the two is None. It runs in a process of its own, so
    that a client can neither hang nor leave anything behind, and libkrb5 sees its own environment."""
    context = multiprocessing.get_context("fork")
    reading, writing = context.Pipe(duplex=False)

    def run():
        os.environ.update(environment or {})
        try:
            outcome = action(), None
        except BaseException as error:  # a client may raise anything: all of it is a result
            outcome = None, explain(error)
        writing.send(outcome)
        os._exit(0)

    child = context.Process(target=run)
    child.start()
    writing.close()
    try:
        outcome = reading.recv() if reading.poll(seconds) else (None, f"no end after {seconds} s")
    except EOFError:
        outcome = None, "the process died"
    child.kill()
    child.join()
    return outcome


def timed(action):
    """Carries a step out: "ok" and its time, or "FAILED" and why."""
    began = time.monotonic()
    try:
        action()
    except Exception as error:  # as in in_child
        return "FAILED", explain(error)
    return "ok", f"{(time.monotonic() - began) * 1000:.0f} ms"


def print_table(heads, rows):
    """Columns as wide as they need to be."""
    widths = [max(len(row[column]) for row in [heads, *rows]) for column in range(len(heads))]
    print()
    for row in [heads, *rows]:
        print("  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths)).rstrip())
    print(flush=True)
