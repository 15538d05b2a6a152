"""Scenarios from TOML and options: what is wrong is told with the field and the mend."""

from __future__ import annotations

from pathlib import Path

import pytest
from advise_cases import GIB, case

from hoist.advise.facts import shipped
from hoist.advise.scenario import FIELDS, make_scenario, parse_fields, read_scenario
from hoist.advise.units import Money
from hoist.errors import UsageError


def test_a_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "case.toml"
    path.write_text(
        """
        size = "12GiB"
        files = 3
        models = 4
        shared = "60%"
        mode = "provisioned"
        instances = 100
        bursts = "2/day"
        updates = "3/week"
        regions = ["cn-hangzhou", "cn-beijing"]
        deadline = "300s"
        budget = "500CNY"
        link = "2.5Gbit/s"
        instances_per_host = 2
        gpu = "tesla"
        gpu_memory = "16GB"
        warmup = "1500ms"
        """
    )
    found = make_scenario(parse_fields(read_scenario(path), str(path)), shipped())
    assert (found.size, found.files, found.models, found.shared) == (12 * GIB, 3, 4, 0.6)
    assert (found.instances, found.instances_per_host, found.deadline, found.warmup) == (100, 2, 300, 1.5)
    assert (found.link, found.budget, found.gpu_memory) == (312.5e6, Money(500, "CNY"), 16_000_000_000)
    # By schedule: twice a day, a hundred in each of two regions.
    assert found.starts * 86400 == pytest.approx(400)
    assert found.burst_starts_a_month == pytest.approx(found.starts_a_month)
    assert found.stored == 48 * GIB
    assert found.update_bytes == round(12 * GIB * 0.4)
    assert "size" not in found.assumed
    assert "loader" in found.assumed


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('size = "12"', "size = '12': the unit is missing; write 12GiB or 600MB"),
        ("size = 12", "size = 12: the unit is missing"),
        ('size = "-4GiB"', "size = '-4GiB': it cannot be negative"),
        ('size = "0GiB"', "size = '0GiB': it must be above 0"),
        ("deadline = 120", "deadline = 120: the unit is missing; write 120s, 5min or 2h"),
        ('updates = "3"', "updates = '3': the unit is missing; write 200/day, 3/week"),
        ('link = "5"', "link = '5': the unit is missing; write 600MB/s or 5Gbit/s"),
        ('budget = "50"', "budget = '50': write an amount with its currency, as 50USD"),
        ("instances = 1.5", "instances = 1.5: it is a whole number"),
        ("instances = 0", "instances = 0: it must be above 0"),
        ('shared = "120%"', "a part of a whole is at most 100%"),
        ('instance = "8"', "unknown field 'instance'; did you mean instances?"),
        ('gpu-memory = "8GB"', "unknown field 'gpu-memory'; did you mean gpu_memory?"),
        ('zzz = "8"', "unknown field 'zzz'; there are model, size, deadline"),
        ('mode = ["idle", "provisioned"]', "mode = ['idle', 'provisioned']: give one"),
        ('mode = "idle,provisioned"', "give one"),
        ('mode = "ideal"', "mode = 'ideal' is none of on-demand, idle, provisioned; did you mean idle?"),
        ('mode = "idle"\nmode = "provisioned"', "overwrite"),
        ("regions = []", "regions: there is none; write cn-hangzhou"),
        ("regions = [3]", "write names of regions"),
        ("loader = 3", "loader = 3 is none of hoist, plain"),
        ('gpu = ""', "gpu = '': write a name"),
        ("size = ", "Invalid value"),
    ],
)
def test_what_is_wrong_is_told(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "case.toml"
    path.write_text(text)
    with pytest.raises(UsageError) as caught:
        make_scenario(parse_fields(read_scenario(path), str(path)), shipped())
    assert said in str(caught.value)
    assert "case.toml" in str(caught.value)


def test_what_is_missing_is_told() -> None:
    with pytest.raises(UsageError, match="how large is the model"):
        make_scenario({}, shipped())
    with pytest.raises(UsageError, match="gpu = 'hopper': its price is not known; there are ada, tesla"):
        case(gpu="hopper")
    with pytest.raises(UsageError, match=r"gone\.toml"):
        read_scenario(Path("gone.toml"))


@pytest.mark.parametrize(("mode", "starts"), [("on-demand", 60), ("idle", 3), ("provisioned", 3)])
def test_starts_are_assumed_by_mode(mode: str, starts: float) -> None:
    found = case(mode=mode, instances=3)
    assert found.starts * 86400 == pytest.approx(starts)
    assert "starts" in found.assumed
    assert set(FIELDS) - found.assumed == {"size", "mode", "instances"}
