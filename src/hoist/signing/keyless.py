"""Signing without a key, by an identity that Sigstore's servers vouch for: where they can be reached.

No server of Sigstore's runs on a test machine, so that what is here was tried only as far as its errors.
"""

from __future__ import annotations

import re

from hoist.errors import HoistError, StorageUnavailable, UsageError
from hoist.model.manifest import Manifest
from hoist.signing.bundle import Bundle
from hoist.signing.keys import missing


def sign(version: str, manifest: Manifest, token: str | None) -> bytes:
    """A signature by who the token says, or by what this machine is to its CI system. Raises UsageError without either,
    StorageUnavailable."""
    from model_signing import signing
    from sigstore.oidc import detect_credential

    from hoist.signing import package

    try:
        token = token or detect_credential()
        if not token:
            raise UsageError(
                "nobody says who signs: give an identity token as HOIST_IDENTITY_TOKEN, or sign in a CI job"
            )
        return package.sign_with(signing.Config().use_sigstore_signer(identity_token=token), version, manifest)
    except HoistError:
        raise
    except Exception as error:  # noqa: BLE001 a foreign package over the network raises anything
        raise _failed("signing by Sigstore", error, token) from None


def why_not(bundle: Bundle, identity: str, issuer: str) -> str:
    """See Trusted.why_not. Raises LocalError without the package, StorageUnavailable where Sigstore's keys are not got."""
    try:
        from model_signing import verifying

        from hoist.signing import package
    except ModuleNotFoundError:
        raise missing("checking a signature by an identity", "model-signing", "sign") from None
    try:
        config = verifying.Config().use_sigstore_verifier(identity=identity, oidc_issuer=issuer)
    except Exception as error:  # noqa: BLE001 as above
        raise _failed("asking Sigstore for its keys", error, None) from None
    try:
        package.verify_with(config, bundle)
    except Exception as error:  # noqa: BLE001 whatever it is, the signature is not believed
        return f"Sigstore does not vouch for it ({type(error).__name__})"
    return ""


def _failed(what: str, error: Exception, token: str | None) -> StorageUnavailable:
    # A proxy's URL may hold a password.
    text = re.sub(r"//[^/@\s]+@", "//", f"{type(error).__name__}: {error}")
    return StorageUnavailable(f"{what} failed: {text.replace(token, '...') if token else text}")
