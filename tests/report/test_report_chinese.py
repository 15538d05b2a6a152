"""What the advisor says in Chinese has the numbers of its English sentences, and no English left in it."""

from __future__ import annotations

import re
from typing import Any

import pytest

from hoist.advise.advice import Advice, advise
from hoist.advise.facts import shipped
from hoist.advise.scenario import make_scenario, parse_fields
from hoist.advise.table import comparison
from hoist.report import chinese

CASES: list[dict[str, Any]] = [
    {"size": "3.97GiB"},
    {"size": "3.97GiB", "loader": "plain", "instances": "16"},
    {"size": "3.97GiB", "models": "10", "mode": "provisioned", "instances": "100", "regions": "cn-chengdu"},
    {"size": "100MiB", "mode": "idle", "regions": "cn-hangzhou,cn-beijing", "base_image": "3GB"},
    {"size": "200GiB", "files": "40000", "budget": "20USD"},
    {"size": "200GiB", "files": "4000000", "loader": "plain", "deadline": "10s", "instances": "50"},
    {"size": "2GiB", "platform": "generic", "instances": "32", "deadline": "60s"},
    {"size": "60MiB", "starts": "5000/day", "nas": "extreme", "currency": "CNY"},
]
# Names, units and products that Chinese texts have as they are.
KEPT = re.compile(
    r"p95|nas|oss|accl|image|Hoist|POSIX|NFS|FUSE|VPC|API|GPU|PageCache|Bucket|[KMGTP]i?B(?:/s)?|\bs\b|\bmin\b"
)


def case(fields: dict[str, Any]) -> Advice:
    return advise(make_scenario(parse_fields(fields, ""), shipped()), shipped())


def numbers(text: str) -> list[str]:
    return sorted(re.findall(r"\d[\d,.]*\d|\d", text.replace("p95", "")))


def chinese_only(text: str) -> bool:
    return not re.search("[A-Za-z]", KEPT.sub("", text)) and not re.search("[\u3400-\u9fff][,:;()]", text)


@pytest.mark.parametrize("fields", CASES, ids=lambda fields: "-".join(map(str, fields.values())))
def test_cells_and_reasons_say_the_same_numbers(fields: dict[str, Any]) -> None:
    found = case(fields)
    english, translated = comparison(found), chinese.cells(found)
    assert english.keys() == translated.keys()
    for row, cells in english.items():
        for kind, cell in cells.items():
            own = translated[row][kind]
            # How many zones is a word in English.
            assert numbers(own) == numbers(cell), (row, cell, own)
            assert chinese_only(own), own
    for place, each in enumerate(found.ranked):
        own, other = chinese.reason(found, place), found.reasons[each.kind]
        assert set(numbers(own)) <= set(numbers(other)) | {f"{found.scenario.deadline:.1f}"}, (other, own)
        assert chinese_only(own) and own.endswith("。"), own
