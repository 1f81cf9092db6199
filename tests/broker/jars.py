"""The jars of the broker, copied once from Maven Central into a folder that survives runs.

The folder is `.cache/kafka-<version>` in the project's root, or in the directory that LOYALTY_KAFKA_CACHE names. It
holds a copy of the pom.xml that it was made from, and is made again when that has changed.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.broker.unavailable import KafkaUnavailable

POM = Path(__file__).with_name("pom.xml")
ROOT = Path(__file__).parent.parent.parent
FETCH_SECONDS_MAX = 240  # under the 300 s that a test may take, so that our message is the one read
MAVEN_LINES_MAX = 12
_UNREACHABLE = re.compile(
    r"Could not transfer|Unknown ?host|Connection (refused|timed out|reset)|Connect timed out|Network is unreachable"
    r"|No route to host|Name or service not known|Temporary failure in name resolution|status code: 5|offline mode"
)


def kafka_version() -> str:
    """The version of Apache Kafka that pom.xml pins."""
    found = re.search(r"<kafka\.version>([^<]+)<", POM.read_text())
    assert found is not None, f"{POM} pins no kafka.version"
    return found[1]


def kafka_jars() -> Path:
    """The folder of jars, fetched first where it is missing.

    Raises KafkaUnavailable where Maven is missing or fails.
    """
    cache = Path(os.environ.get("LOYALTY_KAFKA_CACHE") or ROOT / ".cache").resolve()
    folder = cache / f"kafka-{kafka_version()}"
    if _is_complete(folder):
        return folder
    cache.mkdir(parents=True, exist_ok=True)
    with _alone(cache / "kafka.lock"):
        if not _is_complete(folder):
            _fetch(folder)
    return folder


def _is_complete(folder: Path) -> bool:
    made_from = folder / POM.name
    return made_from.is_file() and made_from.read_bytes() == POM.read_bytes()


@contextmanager
def _alone(lock: Path) -> Iterator[None]:
    """Two runs at once must not copy into one folder."""
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _fetch(folder: Path) -> None:
    """Copy beside the folder, and rename only what is whole: a run that is cut off leaves no half of a broker."""
    attempt = f"the jars of an earlier run in {folder}: not there"
    maven = shutil.which("mvn")
    if maven is None:
        raise KafkaUnavailable(attempt, "Maven: there is no mvn on the PATH")
    with tempfile.TemporaryDirectory(prefix="kafka-", dir=folder.parent) as beside:
        fetched = Path(beside) / "jars"
        _run_maven(maven, fetched, attempt)
        shutil.copy(POM, fetched)
        shutil.rmtree(folder, ignore_errors=True)
        fetched.rename(folder)


def _run_maven(maven: str, target: Path, attempt: str) -> None:
    goal = ["dependency:copy-dependencies", "-DincludeScope=runtime", f"-DoutputDirectory={target}"]
    command = [maven, "-q", "-B", "-f", str(POM), *goal]
    try:
        run = subprocess.run(command, capture_output=True, text=True, timeout=FETCH_SECONDS_MAX, check=False)
    except subprocess.TimeoutExpired:
        slow = f"Maven ({maven}): not done in {FETCH_SECONDS_MAX} s; run it again, it keeps what it has downloaded"
        raise KafkaUnavailable(attempt, slow) from None
    if run.returncode != 0:
        output = run.stdout + run.stderr
        reason = "cannot reach Maven Central" if _UNREACHABLE.search(output) else f"exit code {run.returncode}"
        said = "\n".join(output.strip().splitlines()[:MAVEN_LINES_MAX])
        raise KafkaUnavailable(attempt, f"Maven ({maven}): {reason}", detail=f"{' '.join(command)} said:\n{said}")
