"""The doors of the program: command lines and the Python API behind them."""
