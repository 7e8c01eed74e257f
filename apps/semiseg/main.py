"""The app that ``monailabel start_server --app apps/semiseg`` loads, and its command line.

``python apps/semiseg/main.py train|infer|next|evaluate ...`` works without a server.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

if __name__ == "__main__":
    from lib.command_line import main

    sys.exit(main())
elif __name__ != "__mp_main__":  # that is a worker process of the command line, which needs nothing from here
    # MONAI Label looks for the app in this module
    from lib.server.app import SemisegApp  # noqa: F401
