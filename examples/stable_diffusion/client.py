"""Ask a running Stable Diffusion function for a picture, and save it.

python client.py "a red fox in the snow" fox.png --model anything
"""

import argparse
import json
import urllib.error
import urllib.request
from pathlib import Path


def main() -> None:
    """Send one request; needs nothing but Python."""
    parser = argparse.ArgumentParser(description="Ask for a picture.")
    parser.add_argument("prompt")
    parser.add_argument("file", type=Path)
    parser.add_argument("--url", default="http://127.0.0.1:9000")
    parser.add_argument("--model", help="its name in GET /models; the function's first without")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    body = {"prompt": asked.prompt, "steps": asked.steps, "width": asked.size, "height": asked.size, "seed": asked.seed}
    headers = {"Content-Type": "application/json"}
    if asked.model:
        headers["X-Hoist-Model"] = asked.model
    request = urllib.request.Request(f"{asked.url}/invoke", json.dumps(body).encode(), headers)  # noqa: S310
    try:
        with urllib.request.urlopen(request) as answer:  # noqa: S310
            asked.file.write_bytes(answer.read())
    except urllib.error.HTTPError as error:
        raise SystemExit(f"{error.code}: {error.read().decode(errors='replace')}") from None
    print(asked.file)


if __name__ == "__main__":
    main()
