"""Who may have signed a version, and whether one of them has."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from hoist.errors import Damaged, InvalidConfig, Unsigned
from hoist.model.manifest import Manifest
from hoist.settings import IDENTITY
from hoist.signing.bundle import Bundle, parse_bundle
from hoist.signing.keys import read_public_key
from hoist.signing.statement import parse_statement, statement_of


class Trusted(Protocol):
    """One who may have signed."""

    @property
    def name(self) -> str:
        """How the user named it."""

    @property
    def hint(self) -> str:
        """See Bundle; empty where the bundle does not say it."""

    def why_not(self, bundle: Bundle) -> str:
        """Empty if the bundle's signature is by this one, else what is wrong."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Who has shown a Sigstore certificate authority, by an account of `issuer`, to be `identity`."""

    identity: str
    issuer: str
    hint: str = ""

    @property
    def name(self) -> str:
        """As it is written."""
        return f"{self.identity}@{self.issuer}"

    def why_not(self, bundle: Bundle) -> str:
        """See Trusted. Asks Sigstore's servers for its own keys. Raises LocalError, StorageUnavailable."""
        from hoist.signing.keyless import why_not

        return (
            "it is by a key, and not by a certificate" if bundle.hint else why_not(bundle, self.identity, self.issuer)
        )


def is_identity(text: str) -> bool:
    """Whether a text names an identity (`me@example.com@https://accounts.example.com`), and not a file."""
    return bool(IDENTITY.fullmatch(text))


def trusted(texts: Sequence[str]) -> list[Trusted]:
    """Those who are named: paths of public keys, or IDENTITY@ISSUER. Raises InvalidConfig, LocalError."""
    if not texts:
        raise InvalidConfig("nobody is named whose signature is wanted")
    found: list[Trusted] = []
    for text in texts:
        named = IDENTITY.fullmatch(text)
        if not named and (not text.strip() or ("@" in Path(text).name and not Path(text).exists())):
            raise InvalidConfig(
                f"{text!r} names nobody: write the path of a public key, or IDENTITY@ISSUER, as "
                "me@example.com@https://accounts.example.com"
            )
        found.append(Identity(named[1], named[2]) if named else read_public_key(Path(text)))
    return found


def hints_of(those: Sequence[Trusted]) -> list[str]:
    """By what their signatures can be found without reading others; empty where that is not known of all."""
    hints = [each.hint for each in those]
    return hints if all(hints) else []


def find_signer(
    version: str, where: str, manifest: Manifest, found: Sequence[bytes], those: Sequence[Trusted]
) -> Trusted:
    """Who of `those` has signed this version, by one of the signatures that were `found`; `version` is NAME:LABEL, `where`
    its storage's address. Raises Unsigned, which says why none of them will do."""
    wanted = statement_of(version, manifest)
    reasons: list[str] = []
    for data in found:
        try:
            bundle = parse_bundle(data)
        except Damaged as error:
            reasons.append(str(error))
            continue
        for each in those:
            why = each.why_not(bundle)
            if not why:
                # Only now is it worth being read.
                try:
                    said = parse_statement(bundle.payload)
                except Damaged as error:
                    why = str(error)
                else:
                    if said == wanted:
                        return each
                    why = f"it is of {said.subject}" if said.subject != wanted.subject else "it names other files"
            reasons.append(why)
    names = " or ".join(each.name for each in those)
    why = "; ".join(dict.fromkeys(reasons)) or "it has none by them"
    raise Unsigned(
        f"{version} in {where} has no good signature by {names}: {why}. Who may sign it: hoist sign LOCATION --key KEY.pem"
    )
