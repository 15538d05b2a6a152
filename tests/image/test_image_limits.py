"""Limits of platforms, registries and runtimes: what they are of, and which apply."""

from __future__ import annotations

from dataclasses import replace

from hoist.image.limits import Measures, judge, limits


def verdicts(host: str = "", **measures: int) -> dict[tuple[str, str], bool]:
    measured = replace(Measures(1, 1, 1, 1), **measures)  # type: ignore[arg-type]
    return {(each.limit.name, each.limit.of): each.fits for each in judge(measured, host)}


def test_every_limit_has_a_source_and_a_date() -> None:
    assert {limit.name for limit in limits()} >= {"Function Compute GPU", "AWS Lambda", "Docker Engine", "overlayfs"}
    for limit in limits():
        assert limit.source
        assert limit.read
        assert limit.most > 0
        assert limit.kind in ("platform", "registry", "runtime")


def test_function_compute_in_the_stricter_reading() -> None:
    assert verdicts(image=15 * 10**9)["Function Compute GPU", "image"]
    assert not verdicts(image=15 * 10**9 + 1)["Function Compute GPU", "image"]


def test_each_measure_meets_its_own_limits() -> None:
    assert not verdicts(unpacked=10**10 + 1)["AWS Lambda", "unpacked"]
    assert verdicts(image=10**10 + 1)["AWS Lambda", "unpacked"]
    assert not verdicts(layers=126)["Docker Engine", "layers"]
    assert verdicts(layers=127)["overlayfs", "layers"]
    assert not verdicts(layers=128)["overlayfs", "layers"]


def test_only_the_registry_that_is_meant_counts() -> None:
    names = {name for name, _ in verdicts("ghcr.io")}
    assert "GitHub Container Registry" in names
    assert "Amazon ECR" not in names
    assert "Amazon ECR" in {name for name, _ in verdicts("1.dkr.ecr.eu-west-1.amazonaws.com")}
    assert not {name for name, _ in verdicts("registry.local")} & {"Amazon ECR", "GitHub Container Registry"}
    assert "Amazon ECR" in {name for name, _ in verdicts()}


def test_what_is_too_large_has_a_mend() -> None:
    found = {each.limit.of: each.mend for each in judge(Measures(10**12, 10**12, 10**12, 1000)) if not each.fits}
    assert "oss" in found["image"]
    assert "reshard" in found["layer"]
    assert "reshard" in found["layers"]
    assert all(not each.mend for each in judge(Measures(1, 1, 1, 1)))
