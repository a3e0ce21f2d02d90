"""pip_for.py VERSION ARGUMENT…: pip, for a Python of that version.

With --python-version pip chooses wheels for another Python, but still reads conditions in their metadata, such as
'typing-extensions; python_version < "3.11"', as if for the Python it runs on itself. So those are told the version here.
"""

import sys

from pip._internal.cli.main import main
from pip._vendor.packaging import markers

version = sys.argv[1]
own_environment = markers.default_environment


def environment():
    """What conditions are evaluated against."""
    return dict(own_environment(), python_version=".".join(version.split(".")[:2]), python_full_version=version)


markers.default_environment = environment
sys.exit(main(sys.argv[2:]))
