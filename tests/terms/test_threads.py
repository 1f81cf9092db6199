"""Terms that several threads read first at the same moment."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
PROGRAM = """
import sys, threading
from pathlib import Path
from ledger.terms import decode_terms

sys.setswitchinterval(1e-6)
document = Path("examples/terms/coffee.json").read_bytes()
together = threading.Barrier(16)
read = []

def first():
    together.wait()
    read.append(decode_terms(document))

threads = [threading.Thread(target=first) for _ in range(16)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
assert len(read) == 16
"""


def test_terms_are_read_by_many_threads_at_once() -> None:
    """In processes of their own: it is the first time in a process that once crashed it."""
    for _ in range(5):
        done = subprocess.run([sys.executable, "-c", PROGRAM], cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
