"""The scenarios of a conformance test: runs all of them, or those that the command line names after the binary."""

import signal
import sys
import time
import traceback

EVENTUALLY_WITHIN = 10
_SCENARIOS = {}


def scenario(function):
    """Makes a function that takes the reference server a scenario of the test."""
    _SCENARIOS[function.__name__] = function
    return function


def check(what, condition):
    if not condition:
        raise AssertionError(what)


def eventually(what, condition):
    """Waits until something is so that the broker does in the background."""
    until = time.monotonic() + EVENTUALLY_WITHIN
    while not condition():
        check(f"{what}, within {EVENTUALLY_WITHIN} s", time.monotonic() < until)
        time.sleep(0.02)


def run(reference):
    """Runs the scenarios against the server that `reference` starts, and ends the test."""
    names = sys.argv[2:] or list(_SCENARIOS)
    unknown = [name for name in names if name not in _SCENARIOS]
    if unknown:
        sys.exit(f"no such scenario: {', '.join(unknown)}. There are {', '.join(_SCENARIOS)}")
    # Servers are stopped however the test ends.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("terminated"))
    failed = 0
    with reference as server:
        for name in names:
            try:
                _SCENARIOS[name](server)
                print(f"{name}: ok", flush=True)
            except Exception:
                failed += 1
                traceback.print_exc()
                print(f"{name}: FAILED", flush=True)
    print(f"{len(names) - failed} passed, {failed} failed")
    sys.exit(1 if failed else 0)
