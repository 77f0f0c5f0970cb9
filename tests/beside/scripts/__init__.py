"""What is asked of each configuration. A module, or what its `script` returns for a name, has:

CONF: a file of conf/, or "stock". STEPS: see steps.py. HOST: the host of requests that name none. CACHE_FIELD: where the
configuration tells the cache status. FILES: what else lies in the server's folder, by name.
"""

import importlib

# The configurations in their order, with their modules.
SCRIPTS = {
    "stock": "stock",
    "tutorial-1-paths": "tutorials",
    "tutorial-2-pool": "tutorials",
    "tutorial-2-tls": "tutorials",
    "tutorial-2-end-to-end": "tutorials",
    "tutorial-2-cache": "tutorials",
    "tutorial-3-api": "tutorials",
    "tutorial-3-paths": "tutorials",
    "tutorial-4-basic": "tutorials",
    "tutorial-4-balance": "tutorials",
    "tutorial-4-health": "tutorials",
    "tutorial-4-websocket": "tutorials",
    "tutorial-4-paths": "tutorials",
    "tutorial-4-buffering": "tutorials",
    "wordpress": "wordpress",
    "gateway": "gateway",
    "mirror": "mirror",
    "rules": "rules",
}


def load(name):
    module = importlib.import_module(f"scripts.{SCRIPTS[name]}")
    return module.script(name) if hasattr(module, "script") else module
