"""What the service offers, as an OpenAPI document and as a page that needs nothing else. Neither tells of the models."""

from __future__ import annotations

import json
from html import escape
from typing import Any, Final

from hoist import __version__

Object = dict[str, Any]
_TEXT: Final[Object] = {"type": "string"}
_ERROR: Final[Object] = {"$ref": "#/components/schemas/Error"}
_MODEL_HEADERS: Final = ("X-Hoist-Model", "serve_multiplexed_model_id")
_REFUSALS: Final = {
    "400": "the request makes no sense: a model in a body that is not JSON, a deadline that is no number",
    "401": "a token is wanted, and this is none",
    "404": "no such model; the message names near ones",
    "413": "the body is larger than --max-request",
    "429": "no turn now; Retry-After says when",
    "500": "the handler raised, or gave what cannot be sent; or the model cannot be loaded",
    "503": "the deadline came before the model, the storage is away, or this instance is ending; Retry-After says when",
    "504": "the deadline came while the handler ran",
}


def document() -> Object:
    """The OpenAPI document (3.1)."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Hoist function",
            "version": __version__,
            "description": "A handler that answers requests with one of several models, and switches between them.",
        },
        "security": [{}, {"bearer": []}],
        "paths": _paths(),
        "components": {
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}},
            "schemas": {"Error": _error_schema(), "Model": _model_schema()},
        },
    }


def _paths() -> Object:
    named = _json_body({"model": _TEXT}, "which model; without it the first of --models")
    any_json = _answer("done", {"type": "object"})
    return {
        "/invoke": {"post": _invoke()},
        "/switch": {
            "post": _operation("Make a model the ready one", "It is on the device when this is answered.", any_json)
            | {"requestBody": named, "parameters": [_deadline()]}
        },
        "/prefetch": {
            "post": _operation("Bring a model to host memory", "It does not wait for that to end.", any_json, "202")
            | {"requestBody": named}
        },
        "/models": {"get": _operation("The models and where each is", "", _answer("the models", _models_schema()))},
        "/healthz": {"get": _open("Whether this process answers", "Answered at once, whatever else goes on.")},
        "/readyz": {
            "get": _open("Whether requests are welcome", "503 until the first model is ready, and at the end.")
        },
        "/initialize": {
            "post": _open("Wait for the first model", "What Function Compute calls at an instance's start.")
        },
        "/pre-stop": {
            method: _operation("Prepare for the end", "Not ready from now on; waits for running requests.", any_json)
            for method in ("get", "post")
        },
        "/metrics": {"get": _operation("Metrics for Prometheus", "", _answer("metrics", _TEXT, "text/plain"))},
        "/trace": {"get": _trace()},
        "/openapi.json": {"get": _open("This document", "")},
        "/docs": {"get": _open("This document as a page", "")},
    }


def _invoke() -> Object:
    anything: Object = {"application/json": {"schema": {}}, "*/*": {"schema": {"type": "string", "format": "binary"}}}
    where = "Which model: by this header, ?model= or, in a JSON object, `model`; without one the first of --models."
    parameters = [_parameter(name, "header", _TEXT, where) for name in _MODEL_HEADERS]
    parameters += [_parameter("model", "query", _TEXT, where), _deadline()]
    done = {"description": "what the handler gave: JSON, bytes, or whatever it says", "content": anything}
    about = "The model is loaded first where it is not ready. The body goes to the handler as it is."
    return _operation("Ask the handler", about, done) | {"parameters": parameters, "requestBody": {"content": anything}}


def _trace() -> Object:
    form: Object = {"type": "string", "enum": ["json", "html"]}
    parameters = [
        _parameter("format", "query", form, "JSON, or a page with the waterfall"),
        _parameter("id", "query", _TEXT, "one of those that are remembered; without it the last"),
        _parameter("last", "query", {"type": "integer", "minimum": 1}, "so many, newest first, as a list"),
    ]
    about = "The phases of the last start or switch, with bytes and times."
    return _operation("Where the time went", about, _answer("a trace", {})) | {"parameters": parameters}


def _operation(summary: str, about: str, done: Object, status: str = "200") -> Object:
    refusals = {code: _answer(text, _ERROR) for code, text in _REFUSALS.items()}
    return {"summary": summary, "description": about, "responses": {status: done, **refusals}}


def _open(summary: str, about: str) -> Object:
    done = {"200": {"description": "yes"}, "503": {"description": "not now"}}
    return {"summary": summary, "description": about, "security": [], "responses": done}


def _parameter(name: str, where: str, schema: Object, about: str) -> Object:
    return {"name": name, "in": where, "schema": schema, "description": about}


def _deadline() -> Object:
    seconds: Object = {"type": "number", "exclusiveMinimum": 0}
    return _parameter("X-Hoist-Deadline", "header", seconds, "in so many seconds an answer is of no more use")


def _answer(about: str, schema: Object, kind: str = "application/json") -> Object:
    return {"description": about, "content": {kind: {"schema": schema}}}


def _json_body(properties: Object, about: str) -> Object:
    schema = {"type": "object", "properties": properties}
    return {"description": about, "content": {"application/json": {"schema": schema}}}


def _error_schema() -> Object:
    error = {"type": "object", "required": ["code", "message"], "properties": {"code": _TEXT, "message": _TEXT}}
    return {"type": "object", "required": ["error"], "properties": {"error": error}}


def _models_schema() -> Object:
    models = {"type": "array", "items": {"$ref": "#/components/schemas/Model"}}
    return {"type": "object", "required": ["models"], "properties": {"models": models}}


def _model_schema() -> Object:
    state = {"type": "string", "enum": ["storage", "cached", "host", "device"]}
    properties = {"name": _TEXT, "location": _TEXT, "state": state, "pinned": {"type": "boolean"}}
    return {"type": "object", "required": ["name", "state"], "properties": properties}


_STYLE = """
:root{color-scheme:light dark}body{font:16px/1.5 system-ui,sans-serif;max-width:52rem;margin:2rem auto;padding:0 1rem}
code,pre{font:14px/1.45 ui-monospace,monospace}pre{overflow:auto;padding:.8rem;border:1px solid #8884;border-radius:6px}
h2{font-size:1.05rem;margin:2rem 0 .2rem}b{display:inline-block;min-width:3.2rem}
td{padding:.1rem 1rem .1rem 0;vertical-align:top}
"""


def page() -> str:
    """The document as one HTML page without scripts."""
    found = document()
    parts = [f"<h1>{escape(found['info']['title'])}</h1><p>{escape(found['info']['description'])}</p>"]
    for path, methods in found["paths"].items():
        for method, operation in methods.items():
            parts.append(f"<h2><b>{method.upper()}</b> <code>{path}</code></h2><p>{escape(operation['summary'])}. ")
            parts.append(f"{escape(operation['description'])}</p>")
            rows = [
                (f"<code>{escape(each['name'])}</code> ({each['in']})", each["description"])
                for each in operation.get("parameters", ())
            ]
            rows += [(f"<code>{code}</code>", each["description"]) for code, each in operation["responses"].items()]
            parts.append(
                "<table>" + "".join(f"<tr><td>{a}</td><td>{escape(b)}</td></tr>" for a, b in rows) + "</table>"
            )
    example = "curl -H 'X-Hoist-Model: NAME' -H 'Content-Type: application/json' -d '{...}' http://HOST:PORT/invoke"
    parts.append(
        f"<h2>With curl</h2><pre>{escape(example)}</pre><p>The same as JSON: <a href=openapi.json>openapi.json</a></p>"
    )
    head = f"<!doctype html><html lang=en><meta charset=utf-8><title>Hoist function</title><style>{_STYLE}</style>"
    return head + "".join(parts) + "</html>"


def text() -> str:
    """The document as JSON."""
    return json.dumps(document(), indent=1)
