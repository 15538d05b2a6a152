"""What AUTOMATIC1111's web interface runs at its start, from its `extensions` folder."""

from __future__ import annotations

from modules import devices, hashes, sd_models, shared

from hoist.integrations.automatic1111.hook import WebInterface, install

install(WebInterface(sd_models, hashes, shared, devices))
