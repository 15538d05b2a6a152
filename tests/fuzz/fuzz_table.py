"""Every fuzz target by name: hypothesis tests, regressions and the coverage-guided campaign share this table."""

from __future__ import annotations

import fuzz_answers
import fuzz_documents
import fuzz_gguf
import fuzz_images
import fuzz_signatures
import fuzz_weights

_MODULES = (fuzz_weights, fuzz_gguf, fuzz_documents, fuzz_images, fuzz_answers, fuzz_signatures)
TARGETS = {target.name: target for module in _MODULES for target in module.TARGETS}
