"""One file per verb: each flow reads as a sentence of tasks. The rules behind them are in `aiinfra_core`.

`requests` holds what a run is asked for and `outcomes` what it ends with; `command_line` and `laptop` are for `python -m flows.VERB`.
"""

import os

# Prefect reads these when it is imported: what the core logs during a run belongs into the log of that run.
os.environ.setdefault("PREFECT_LOGGING_EXTRA_LOGGERS", "aiinfra_core")
os.environ.setdefault("PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW", "ignore")
