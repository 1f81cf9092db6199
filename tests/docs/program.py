"""`loyalty` for the pages: a process that has imported the program forks one that runs each command.

A command of a page is run as a process of its own, with its own standard streams, environment and folder, but does not
pay a second of imports. `python -m tests.docs.program SOCKET` is the process; `install` writes the program `loyalty`
that hands a command to it, passes signals on, and ends with its exit code.
"""

from __future__ import annotations

import array
import atexit
import gc
import importlib
import json
import os
import pkgutil
import signal
import socket
import sys
import threading
import traceback
from pathlib import Path

_CLIENT = """#!{python} -IS
import array, json, os, signal, socket, sys
end = socket.socket(socket.AF_UNIX)
end.connect({path!r})
request = json.dumps([sys.argv[1:], dict(os.environ), os.getcwd()]).encode()
descriptors = array.array("i", [0, 1, 2]).tobytes()
end.sendmsg([len(request).to_bytes(4, "big")], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, descriptors)])
end.sendall(request)
answers = end.makefile("r")
pid = int(answers.readline())
for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, lambda given, frame: os.kill(pid, given))
code = answers.readline()
sys.exit(int(code) if code else 137)
"""
_PACKAGES = ("service", "service.http", "projections", "consumers", "audit", "ledger", "ledger.store")
NEVER_SECONDS = 86_400.0
"""Pages show what is said where nothing takes so long that progress is told."""
_MAIN_ONLY = {"service.demo"}


def install(target: Path, path: Path) -> None:
    """Write the program `loyalty` that speaks to the process at a socket."""
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(_CLIENT.format(python=sys.executable, path=str(path)))
    target.chmod(0o755)


def serve(path: str) -> None:
    """Import the program, listen, and fork for each command until the standard input ends."""
    for package in _PACKAGES:
        for module in pkgutil.iter_modules(importlib.import_module(package).__path__, f"{package}."):
            if module.name not in _MAIN_ONLY:
                importlib.import_module(module.name)
    gc.collect()
    gc.freeze()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(path)
        listening.listen(64)
        print("ready", flush=True)  # noqa: T201
        threading.Thread(target=_end_with_standard_input, daemon=True).start()
        while True:
            end, _ = listening.accept()
            if os.fork() == 0:
                listening.close()
                _child(end)
            end.close()


def _end_with_standard_input() -> None:
    while os.read(0, 1):  # not sys.stdin, whose lock children would inherit
        pass
    os._exit(0)


def _child(end: socket.socket) -> None:
    code = 1
    try:
        arguments = _become(end)
        code = _run(arguments)
    except BaseException:  # noqa: BLE001 - as the interpreter does at the end of a program
        traceback.print_exc()
    finally:
        threading._shutdown()
        atexit._run_exitfuncs()
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        end.sendall(f"{code}\n".encode())
        os._exit(code)


def _become(end: socket.socket) -> list[str]:
    """Take the standard streams, environment and folder of who asks; the arguments of the command."""
    descriptors = array.array("i")
    size, ancillary, _, _ = end.recvmsg(4, socket.CMSG_SPACE(3 * descriptors.itemsize))
    descriptors.frombytes(ancillary[0][2])
    for number, descriptor in enumerate(descriptors):
        os.dup2(descriptor, number)
        os.close(descriptor)
    arguments, environment, folder = json.loads(end.makefile("rb").read(int.from_bytes(size, "big")))
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    end.sendall(f"{os.getpid()}\n".encode())
    return list(arguments)


def _run(arguments: list[str]) -> int:
    from service import cli_ingest, cli_kafka, runtime, watching
    from service.cli import cli

    runtime.settle()
    watching.PROGRESS_SECONDS = cli_kafka.PROGRESS_SECONDS = cli_ingest.PLAIN_PROGRESS_SECONDS = NEVER_SECONDS
    port = os.environ.get("DOCS_PORT")
    try:
        cli.main(arguments, prog_name="loyalty", default_map={"serve": {"port": port, "wait": 60}} if port else None)
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    return 0


if __name__ == "__main__":
    serve(sys.argv[1])
