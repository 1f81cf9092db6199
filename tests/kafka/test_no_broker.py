"""Where no Kafka can be had, the message says what was tried and what to do."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.broker import KafkaBroker, KafkaUnavailable
from tests.broker.jars import kafka_jars, kafka_version
from tests.broker.unavailable import ENVIRONMENT_VARIABLE

ROOT = Path(__file__).parent.parent.parent
REMEDY = "apt-get install openjdk-17-jre-headless maven"


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An otherwise empty PATH, and an empty cache."""
    directory = tmp_path / "bin"
    directory.mkdir()
    monkeypatch.setenv("PATH", str(directory))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("LOYALTY_KAFKA_CACHE", str(tmp_path / "cache"))
    return directory


def add_tool(directory: Path, name: str, script: str) -> None:
    tool = directory / name
    tool.write_text(f"#!/bin/sh\n{script}\n")
    tool.chmod(0o755)


@pytest.mark.usefixtures("tools")
def test_without_java_it_says_so() -> None:
    with pytest.raises(KafkaUnavailable, match=r"no java on the PATH") as refused:
        KafkaBroker().start()
    assert REMEDY in str(refused.value)
    assert f"{ENVIRONMENT_VARIABLE}=host:port" in str(refused.value)


def test_without_maven_it_says_so(tools: Path, tmp_path: Path) -> None:
    add_tool(tools, "java", "exit 1")
    with pytest.raises(KafkaUnavailable, match="no mvn on the PATH") as refused:
        KafkaBroker().start()
    assert f"{tmp_path}/cache/kafka-{kafka_version()}: not there" in str(refused.value)


def test_without_maven_central_it_says_so(tools: Path, tmp_path: Path) -> None:
    """Maven's own words follow, and no half of a broker stays in the cache."""
    add_tool(tools, "mvn", "echo '[ERROR] Could not transfer artifact a:b:pom:1: Unknown host'; exit 1")
    with pytest.raises(KafkaUnavailable, match="cannot reach Maven Central") as refused:
        kafka_jars()
    assert "Could not transfer artifact a:b:pom:1" in str(refused.value)
    assert [entry.name for entry in (tmp_path / "cache").iterdir()] == ["kafka.lock"]


def test_another_failure_of_maven_is_not_blamed_on_the_network(tools: Path) -> None:
    add_tool(tools, "mvn", "echo '[ERROR] Non-parseable POM'; exit 3")
    with pytest.raises(KafkaUnavailable, match="exit code 3") as refused:
        kafka_jars()
    assert "Maven Central:" not in str(refused.value)
    assert "Non-parseable POM" in str(refused.value)


def test_a_java_that_is_too_old_is_named(tools: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    add_tool(tools, "java", "echo 'java.lang.UnsupportedClassVersionError: kafka/Kafka' >&2; exit 1")
    monkeypatch.setattr("tests.broker.broker.kafka_jars", lambda: tmp_path)
    monkeypatch.setenv("PATH", f"{tools}:/usr/bin:/bin")
    with pytest.raises(KafkaUnavailable, match="too old, Kafka needs 17"):
        KafkaBroker().start()


def test_compose_names_the_same_kafka() -> None:
    """The broker of the tests and the one of compose.yaml are of one version."""
    images = re.findall(r"image: apache/kafka:(\S+)", (ROOT / "compose.yaml").read_text())
    assert set(images) == {kafka_version()}
