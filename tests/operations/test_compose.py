"""compose.yaml and the Dockerfile against the program: what they name must be there. (Nothing is started here.)"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from service.cli import cli
from service.settings import Settings, read_environment
from tests.operations.documented import ROOT

COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text("utf-8"))
SERVICES: dict[str, Any] = COMPOSE["services"]
OURS = [name for name, service in SERVICES.items() if service.get("image") == "loyalty-ledger"]
LONG_RUNNING = [name for name in OURS if SERVICES[name]["restart"] != "no"]


def test_the_services_are_all_there() -> None:
    assert {"postgres", "kafka", "migrate", "ingest", "projector", "relay", "api"} <= set(SERVICES)
    assert {"migrate", "ingest", "projector", "relay", "api"} <= set(OURS)


@pytest.mark.parametrize("name", OURS)
def test_its_command_is_one_of_the_program(name: str) -> None:
    """With these options, and nothing missing that the environment does not give."""
    command, *arguments = SERVICES[name]["command"]
    context = click.Context(cli, obj=Settings.from_environment(SERVICES[name]["environment"]))
    found = cli.get_command(context, command)
    assert found is not None
    found.make_context(command, list(arguments), parent=context)


@pytest.mark.parametrize("name", OURS)
def test_its_environment_is_known_and_right(name: str) -> None:
    found = read_environment(SERVICES[name]["environment"])
    assert found.problems == found.unknown == {}
    assert found.values["kafka_bootstrap"].split(":")[0] in SERVICES
    assert "@postgres:5432/" in found.values["database_url"]


@pytest.mark.parametrize("name", LONG_RUNNING)
def test_it_is_watched_on_the_port_that_it_serves(name: str) -> None:
    service = SERVICES[name]
    port = service["environment"]["LOYALTY_METRICS_PORT"]
    assert f"http://localhost:{port}/health/ready" in service["healthcheck"]["test"][-1]
    assert service["environment"]["LOYALTY_METRICS_HOST"] == "0.0.0.0"
    published = [mapping.split(":") for mapping in service["ports"]]
    assert ("127.0.0.1", port) in [(host, inner) for host, _, inner in published]


def test_no_port_is_published_twice_or_to_others() -> None:
    published = [mapping for service in SERVICES.values() for mapping in service.get("ports", [])]
    assert all(mapping.startswith("127.0.0.1:") for mapping in published)
    assert len({mapping.split(":")[1] for mapping in published}) == len(published)


def test_what_a_service_waits_for_is_there_and_can_come_true() -> None:
    for service in SERVICES.values():
        for name, wanted in service.get("depends_on", {}).items():
            if wanted["condition"] == "service_healthy":
                assert "test" in SERVICES[name]["healthcheck"]
            else:
                assert SERVICES[name]["restart"] == "no"


def test_the_consumed_topic_is_made() -> None:
    wanted = next(each for each in SERVICES["ingest"]["command"] if each.startswith("--topic="))
    assert wanted in SERVICES["topics"]["command"]


def test_the_image_has_every_package_and_runs_the_program() -> None:
    """Files that the build copies are there and let through; the entry point is the one that the package installs."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    dockerfile = (ROOT / "Dockerfile").read_text("utf-8")
    copied = {name for line in re.findall(r"^COPY (?!--)(.*) \S+$", dockerfile, re.MULTILINE) for name in line.split()}
    let_through = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    packages = {name.partition(".")[0] for name in project["tool"]["setuptools"]["packages"]}
    assert copied == let_through == packages | {"pyproject.toml", project["project"]["readme"]}
    assert all((ROOT / name).exists() for name in copied)
    (entry_point,) = re.findall(r'^ENTRYPOINT \["(\w+)"\]$', dockerfile, re.MULTILINE)
    assert entry_point in project["project"]["scripts"]
    (version,) = set(re.findall(r"^FROM python:([\d.]+)-slim", dockerfile, re.MULTILINE))
    assert tuple(map(int, version.split("."))) >= (3, 11)


def test_kafka_is_the_one_that_the_tests_run() -> None:
    pom = (ROOT / "tests" / "broker" / "pom.xml").read_text("utf-8")
    (image,) = {service["image"] for service in SERVICES.values() if service["image"].startswith("apache/kafka")}
    assert f">{image.partition(':')[2]}<" in pom


def test_the_comments_name_services_and_ports_that_are_there() -> None:
    head = (ROOT / "compose.yaml").read_text("utf-8").partition("\nname:")[0]
    named = dict(re.findall(r"(ingest|projector|relay) (94\d\d)", head))
    assert named == {name: SERVICES[name]["ports"][0].split(":")[1] for name in named}
    assert len(named) == 3
    assert Path("Dockerfile").name in head
