"""Clients that send slowly, do not read, or ask for too much, against a broker on this machine: another client's requests
stay fast, every connection ends, and the memory is given back.

Only Python's standard library. Attackers call from 127.1.0.0/16, the other client from 127.0.0.1. Ends by itself.
Run: python3 tests/attack/hoarders.py [path to the binary] [--full]
A short run takes half a minute and checks what does not depend on the machine's speed. With `--full` (ten minutes) there
are 2,000 slow heads, 500 slow bodies, 500 slow readers and 300 requests at once, and times are checked as well.
"""

import asyncio
import json
import multiprocessing
import os
import resource
import socket
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))

from broker import broker  # noqa: E402

FULL = "--full" in sys.argv
sys.argv = [argument for argument in sys.argv if argument != "--full"]

# How many attackers of each kind, and how many requests at once.
HEADS, BODIES, READERS, AT_ONCE = (2000, 500, 500, 300) if FULL else (200, 50, 50, 100)
# Connections of one address.
OF_ONE = 100
# Seconds: how long an attack is watched, until every connection must have ended, and until the memory must be back.
WATCHED, ENDED_WITHIN, BACK_WITHIN = (15, 30, 60) if FULL else (3, 30, 10)
# How many times slower than at rest the other client's slowest requests may be, and what is never slow, in seconds.
SLOWER, NEVER_SLOW = 5, 0.02
# How much more memory may be in use afterwards, in bytes: the allocator keeps some of it for the next connections.
MORE = 64 << 20

PUBLIC = [
    "/healthz", "/readyz", "/v1/health", "/documentation", "/documentation/json", "/connect/selection/x",
    "/v1/connect/facebook/selection/x", "/v1/connect/twitter/callback?state=x",
]


def memory(pid):
    with open(f"/proc/{pid}/status") as status:
        return next(int(line.split()[1]) << 10 for line in status if line.startswith("VmRSS"))


def percentile(times):
    return sorted(times)[max(0, int(len(times) * 0.99) - 1)]


def probe(port, key, seconds, until=None):
    """Seconds that each request of a well-behaved client takes, on a connection of its own, for so long."""
    request = f"GET /v1/profiles HTTP/1.1\r\nhost: x\r\nx-access-key: {key}\r\n\r\n".encode()
    times, end = [], time.monotonic() + seconds
    with socket.create_connection(("127.0.0.1", port), 30) as client:
        while time.monotonic() < end and not (until and until()):
            started = time.monotonic()
            client.sendall(request)
            answer = client.recv(65536)
            assert answer.startswith(b"HTTP/1.1 200"), answer
            times.append(time.monotonic() - started)
            time.sleep(0.002)
    return times


async def connect(port, number):
    address = f"127.1.{number // OF_ONE}.1"
    return await asyncio.open_connection("127.0.0.1", port, local_addr=(address, 0), limit=2048)


async def slow_head(port, number, _):
    """Sends a head, a byte at a time."""
    reader, writer = await connect(port, number)
    for byte in b"GET /v1/health HTTP/1.1\r\nhost: x\r\n" + b"x-a: " + b"a" * 10_000:
        writer.write(bytes([byte]))
        await writer.drain()
        if reader.at_eof():
            return
        await asyncio.sleep(0.5)


async def slow_body(port, number, key):
    """Sends most of a body, and then a byte at a time."""
    reader, writer = await connect(port, number)
    routes = [
        ("/v1/profiles", f"x-access-key: {key}\r\ncontent-type: application/json", 65_000),
        ("/connect/selection/x", "content-type: application/x-www-form-urlencoded", 511_000),
        ("/v1/connect/facebook/selection/x", "content-type: application/json", 511_000),
    ]
    path, lines, length = routes[number % len(routes)]
    head = f"POST {path} HTTP/1.1\r\nhost: x\r\n{lines}\r\ncontent-length: {length}\r\n\r\n"
    writer.write(head.encode() + b"a" * (length - 1000))
    for _ in range(1000):
        await writer.drain()
        if reader.at_eof():
            return
        await asyncio.sleep(0.5)
        writer.write(b"a")


async def slow_reader(port, number, _):
    """Asks for long answers and reads none of them."""
    reader, writer = await connect(port, number)
    reader._transport.pause_reading()
    asked = b"GET /documentation/json HTTP/1.1\r\nhost: x\r\n\r\n"
    for _ in range(100):
        writer.write(asked * 20)
        await asyncio.wait_for(writer.drain(), ENDED_WITHIN)
        await asyncio.sleep(0.5)


async def all_at_once(port, number, _):
    """Sends many requests before it reads an answer."""
    path = PUBLIC[number % len(PUBLIC)]
    reader, writer = await connect(port, number)
    last = f"GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
    writer.write((f"GET {path} HTTP/1.1\r\nhost: x\r\n\r\n" * (AT_ONCE - 1) + last).encode())
    answers = 0
    while chunk := await reader.read(1 << 20):
        answers += chunk.count(b"HTTP/1.1 ")


async def garbage(port, number, _):
    """Sends what is no request."""
    reader, writer = await connect(port, number)
    writer.write([b"\x16\x03\x01" + os.urandom(500), b"GET / HTTP/1.1\nhost: x\n\n", b"\r\n" * 500, b"GET"][number % 4])
    while await reader.read(65536):
        pass


def attack(kind, count, port, key, ended):
    """Attacks, in a process of its own, until the broker has ended every connection."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)

    async def one(number):
        try:
            await kind(port, number, key)
        except TimeoutError:
            raise
        except OSError:
            pass

    async def all_of_them():
        attackers = [asyncio.create_task(one(number)) for number in range(count)]
        done, open_still = await asyncio.wait(attackers, timeout=ENDED_WITHIN)
        ended.value = sum(1 for attacker in done if attacker.exception() is None)
        for attacker in open_still:
            attacker.cancel()

    asyncio.run(all_of_them())


def check(name, kind, count, running, port, at_rest, before):
    ended = multiprocessing.Value("i", 0)
    attacker = multiprocessing.Process(target=attack, args=(kind, count, port, running.key, ended))
    attacker.start()
    time.sleep(0.5)
    under_attack = percentile(probe(port, running.key, WATCHED))
    most = memory(running.process.pid)
    attacker.join(ENDED_WITHIN + 30)
    assert attacker.exitcode == 0, f"{name}: the attack failed"
    deadline = time.monotonic() + BACK_WITHIN
    while memory(running.process.pid) > before + MORE and time.monotonic() < deadline:
        probe(port, running.key, 1)
    after = memory(running.process.pid)
    result = {
        "attack": name, "attackers": count, "ended": ended.value,
        "p99_ms": round(under_attack * 1000, 1), "p99_ms_at_rest": round(at_rest * 1000, 1),
        "mib_before": before >> 20, "mib_during": most >> 20, "mib_after": after >> 20,
    }
    print(json.dumps(result), flush=True)
    assert ended.value == count, f"{name}: {count - ended.value} connections are still open"
    assert after <= before + MORE, f"{name}: the memory is not given back"
    assert not FULL or under_attack <= max(SLOWER * at_rest, NEVER_SLOW), f"{name}: others have to wait"


def main():
    with broker("") as running:
        port = int(running.url.rsplit(":", 1)[1])
        at_rest = percentile(probe(port, running.key, WATCHED))
        before = memory(running.process.pid)
        for name, kind, count in [
            ("slow heads", slow_head, HEADS),
            ("slow bodies", slow_body, BODIES),
            ("slow readers", slow_reader, READERS),
            ("garbage", garbage, HEADS),
            ("all at once", all_at_once, len(PUBLIC) * (4 if FULL else 1)),
        ]:
            check(name, kind, count, running, port, at_rest, before)
    errors = [line for line in running.log.splitlines() if "ERROR" in line]
    assert not errors, errors[:3]
    print("nobody held it up")


if __name__ == "__main__":
    main()
