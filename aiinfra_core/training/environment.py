"""The environment lock: which interpreter, platform and packages a training ran with.

What variables a training sees is in `process`.
"""

import importlib.metadata
import platform
import re
import site
from typing import Any

from aiinfra_core import canonical_json, checksums


def capture() -> dict[str, Any]:
    """Return interpreter, platform and installed packages, with `digest`, the SHA-256 of the canonical JSON of the rest.

    The same installation always gives the same value; nothing of the running process or the machine's name is in it.
    """
    environment: dict[str, Any] = {
        "implementation": platform.python_implementation(),
        "interpreter": platform.python_version(),
        "packages": _packages(),
        "platform": "-".join(filter(None, [platform.system(), platform.machine(), *platform.libc_ver()])),
    }
    return environment | {"digest": checksums.sha256_hex(canonical_json.dumps(environment))}


# Only what the interpreter itself finds: a training inherits neither PYTHONPATH nor a user's own site directory.
def _packages() -> list[str]:
    versions: dict[str, str] = {}
    for distribution in importlib.metadata.distributions(path=site.getsitepackages()):
        name = distribution.metadata["Name"]
        if name:
            versions.setdefault(re.sub(r"[-_.]+", "-", name).lower(), distribution.version)
    return [f"{name}=={versions[name]}" for name in sorted(versions)]
