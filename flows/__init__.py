"""One file per verb: each flow reads as a sentence of tasks. The rules behind them are in `aiinfra_core`."""
