"""Look for what the decoder of messages can't take, guided by coverage.

``python -m tests.fuzz -max_total_time=60 tests/fuzz/corpus`` needs ``atheris``; its options are
libFuzzer's (https://llvm.org/docs/LibFuzzer.html). The corpus is kept, and read by the tests.
"""

from __future__ import annotations

import sys

import atheris

with atheris.instrument_imports(include=["quart_realtime.protocol"]):
    from .check import check

atheris.Setup(sys.argv, check)
atheris.Fuzz()
