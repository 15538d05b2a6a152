"""ComfyUI custom node: load a checkpoint from a storage. Link this folder into ComfyUI's `custom_nodes`:

    ln -s "$(python -c 'import hoist.integrations.comfyui as m; print(m.__path__[0])')" ComfyUI/custom_nodes/hoist

ComfyUI imports it as a module of its own, so everything here is imported by its full name.
"""

from __future__ import annotations

from hoist.integrations.comfyui.nodes import NODE_CLASS_MAPPINGS, NODE_DISPLAY_NAME_MAPPINGS

__all__ = ["NODE_CLASS_MAPPINGS", "NODE_DISPLAY_NAME_MAPPINGS"]
