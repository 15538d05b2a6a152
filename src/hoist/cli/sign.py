"""The verbs of signatures: sign a version that is there, and get a signature out."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from hoist.cli.parser import Root, add_json, add_location, add_signed_by, completes
from hoist.cli.text import print_json, printable, short_digest

if TYPE_CHECKING:
    from argparse import Namespace

GROUP = "publish and bring"


def add_to(root: Root) -> None:
    """Add the verbs of this group."""
    parser = root.add_verb(
        GROUP,
        "sign",
        run_sign,
        "Sign a version that is in a storage",
        about=(
            "The signature is kept beside the version, and goes along when it is copied. Nothing is read but the manifest: "
            "verify the version first, if you do not know it. HOIST_SIGN_PASSWORD is the key's password, if it has one."
        ),
        examples=("hoist sign nas//sd15/anything:v5 --key release.pem",),
    )
    add_location(parser)
    text = (
        "the private key (PEM, of a curve P-256, P-384 or P-521), or sigstore: by the identity in HOIST_IDENTITY_TOKEN"
    )
    completes(parser.add_argument("--key", required=True, metavar="KEY", help=text), "file")
    add_json(parser)
    parser = root.add_verb(
        GROUP,
        "signature",
        run_signature,
        "Get a version's signature out, for other programs",
        about="A Sigstore bundle of OpenSSF model-signing: `model_signing verify` takes it for a folder that was pulled.",
        examples=("hoist signature nas//sd15/anything:v5 --signed-by release.pub > model.sig",),
    )
    add_location(parser)
    add_signed_by(parser)
    completes(
        parser.add_argument("-o", "--output", metavar="FILE", help="write it there, not to standard output"), "file"
    )


def run_sign(args: Namespace) -> int:
    """Sign."""
    from hoist.verbs import sign

    done = sign(args.location, args.key)
    if args.json:
        print_json(
            {
                "location": args.location,
                "name": done.version.name,
                "version": done.version.label,
                "digest": done.digest,
                "signed_by": done.by,
                "key": done.hint or None,
                "already": done.already,
            }
        )
    else:
        state = "was signed already" if done.already else "is signed"
        print(printable(f"{args.location} {state} by {done.by}  {short_digest(done.digest)}"))
    return 0


def run_signature(args: Namespace) -> int:
    """Print the signature, or write it to a file."""
    from hoist.verbs import signature

    data = signature(args.location, signed_by=args.signed_by)
    if args.output:
        from pathlib import Path

        from hoist.errors import LocalError

        try:
            Path(args.output).write_bytes(data)
        except OSError as error:
            raise LocalError(f"cannot write {args.output}: {error.strerror}") from None
    else:
        sys.stdout.write(data.decode().rstrip("\n") + "\n")
    return 0
