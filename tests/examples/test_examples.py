"""The examples as `hoist serve` finds and drives them: a picture and a text come out, models are switched."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from hoist.errors import Cancelled, UsageError
from hoist.function.handler import Handler, Request, find_handler
from hoist.function.switch import Switcher

pytest.importorskip("diffusers", reason="diffusers is not installed")
pytest.importorskip("transformers", reason="transformers is not installed")
pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")

EXAMPLES = Path(__file__).parents[2] / "examples"
SCALE = 0.02


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Networks as narrow as these are a hundred times slower where several threads wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@contextmanager
def inside(folder: str) -> Iterator[None]:
    """Modules are found in an example's folder, and forgotten afterwards: every example has a `handler`."""
    before = set(sys.modules)
    sys.path.insert(0, str(EXAMPLES / folder))
    try:
        yield
    finally:
        sys.path.remove(str(EXAMPLES / folder))
        for name in set(sys.modules) - before:
            if str(getattr(sys.modules[name], "__file__", "")).startswith(str(EXAMPLES)):
                del sys.modules[name]


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Switcher, Handler]]:
    """Two checkpoints behind the Stable Diffusion handler."""
    storage = str(tmp_path_factory.mktemp("storage"))
    with inside("stable_diffusion"):
        import make_models  # type: ignore[import-not-found]

        smallest = sorted(make_models.FIXTURES, key=lambda each: each.listed_gib)[:2]
        models = {each.model.partition("/")[2]: make_models.publish(each, storage, SCALE) for each in smallest}
        handler = find_handler("handler:StableDiffusion")
    with Switcher(models, handler) as switcher:
        yield switcher, handler


def asked(model: str, **body: Any) -> Request:
    sizes = {"steps": 2, "width": 64, "height": 64}
    return Request(model, json.dumps(sizes | body).encode(), "application/json")


def ask(served: tuple[Switcher, Handler], request: Request) -> Any:
    switcher, handler = served
    with switcher.acquire(request.model).result(60) as lease:
        return handler.handle(lease.object, request)


def test_a_picture_comes_out_of_each_model(pictures: tuple[Switcher, Handler]) -> None:
    names = [state.name for state in pictures[0].states()]
    found = []
    for name in names:
        answer = ask(pictures, asked(name, prompt="a red fox", seed=3))
        assert answer.content_type == "image/png"
        assert answer.headers["X-Seed"] == "3"
        image = Image.open(io.BytesIO(answer.body))
        assert (image.format, image.size, image.mode) == ("PNG", (64, 64), "RGB")
        assert answer.body == ask(pictures, asked(name, prompt="a red fox", seed=3)).body
        found.append(answer.body)
    assert len(set(found)) == 2


def test_the_pipeline_is_made_of_what_is_resident(pictures: tuple[Switcher, Handler]) -> None:
    switcher, handler = pictures
    location = switcher.states()[0].location
    both = Handler("both", lambda model: (model, handler.load(model)), handler.handle)
    with Switcher({"one": location}, both) as own, own.acquire("one").result(60) as lease:
        model, loaded = lease.object
        resident = {each.untyped_storage().data_ptr() for each in model.tensors().values()}
        for part in (loaded.pipeline.unet, loaded.pipeline.vae, loaded.pipeline.text_encoder):
            weights = [each for name, each in part.named_parameters() if "norm" not in name]
            assert {each.untyped_storage().data_ptr() for each in weights} <= resident


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "the body is not JSON"),
        (b"[]", "send JSON with a prompt"),
        (b'{"prompt": 3}', "send JSON with a prompt"),
        (b'{"prompt": "a", "steps": 0}', "steps is a whole number from 1 to 150"),
        (b'{"prompt": "a", "width": 4096}', "width is a whole number from 64 to 1024"),
        (b'{"prompt": "a", "seed": true}', "seed is a whole number"),
        (b'{"prompt": "a", "guidance": "much"}', "guidance is a number"),
    ],
)
def test_what_is_asked_wrongly(pictures: tuple[Switcher, Handler], body: bytes, message: str) -> None:
    name = pictures[0].states()[0].name
    with pytest.raises(UsageError, match=message):
        ask(pictures, Request(name, body))


def test_a_picture_that_nobody_waits_for_ends(pictures: tuple[Switcher, Handler]) -> None:
    request = asked(pictures[0].states()[0].name, prompt="a red fox", steps=150)
    request.stop.set()
    with pytest.raises(Cancelled, match="nobody waits"):
        ask(pictures, request)


def test_a_text_comes_out(tmp_path: Path) -> None:
    import hoist

    with inside("llm"):
        import make_model  # type: ignore[import-not-found]

        make_model.write_model(tmp_path / "made")
        (tmp_path / "storage").mkdir()
        hoist.publish(tmp_path / "made", f"{tmp_path}/storage//llm/tiny:v1")
        handler = find_handler("handler:Text")
    with Switcher({"tiny": f"{tmp_path}/storage//llm/tiny:v1"}, handler) as switcher:
        served = (switcher, handler)
        found = ask(served, Request("tiny", b'{"prompt": "a red fox", "tokens": 5}'))
        assert found == ask(served, Request("tiny", b'{"prompt": "a red fox", "tokens": 5}'))
        assert 1 <= found["tokens"] <= 5
        assert isinstance(found["text"], str)
        for body, message in (
            (b'{"prompt": ""}', "send JSON with a prompt"),
            (b'{"prompt": "a", "tokens": 0}', "tokens"),
        ):
            with pytest.raises(UsageError, match=message):
                ask(served, Request("tiny", body))
        gone = Request("tiny", b'{"prompt": "a red fox", "tokens": 100}')
        gone.stop.set()
        assert ask(served, gone)["tokens"] == 1
